/* The mixture of experts: router, the rows sorted by expert, and the two products of every expert. */
#include <string.h>

#include "base/fmath.h"
#include "cpu/state.h"

struct task {
    struct backend *backend;
    const struct layer *layer;
    int n_row;
};

enum { ROUTER_ROWS = 16 /* rows of the batch in one unit of router work */ };

/* The n_active greatest logits, the lower index first among equals; then softmax over those alone, in order. */
static void choose(const float *logit, int n_expert, int n_active, int *chosen, float *weight)
{
    for (int s = 0; s < n_active; s++) {
        int best = -1;
        for (int e = 0; e < n_expert; e++) {
            bool used = false;
            for (int i = 0; i < s; i++)
                used = used || chosen[i] == e;
            if (!used && (best < 0 || logit[e] > logit[best]))
                best = e;
        }
        chosen[s] = best;
    }
    float sum = 0.0f;
    for (int s = 0; s < n_active; s++) {
        weight[s] = exp_f32(logit[chosen[s]] - logit[chosen[0]]);
        sum = s ? sum + weight[s] : weight[s];
    }
    for (int s = 0; s < n_active; s++)
        weight[s] = weight[s] / sum;
}

/* Router logits of rows [row, row + n) for one unit of row groups. */
static void router_logits(struct backend *b, int worker, const struct layer *layer, int row, int n, int first, int end)
{
    int n_expert = b->model->config.n_expert, d = b->model->config.d_model;
    struct slab slab = slab_of(&layer->router, 0, first, end - first);
    struct panel panel = {.n = n, .cols = d, .x = b->normed + (size_t)row * d};
    float *sum = b->scratch[worker].sum;
    kernels_product(b->kernels, &layer->router)(&slab, &panel, sum);
    for (int t = 0; t < n; t++)
        for (int e = first * LANES; e < end * LANES && e < n_expert; e++)
            b->router_logit[(size_t)(row + t) * n_expert + e] =
                sum[(size_t)t * (end - first) * LANES + e - first * LANES] + layer->router_bias[e];
}

static void route_work(void *argument, int worker)
{
    const struct task *task = argument;
    struct backend *b = task->backend;
    const struct model_config *c = &b->model->config;
    int d = c->d_model, n = task->n_row;
    for (int row, end; pool_next(b->pool, n, 1, &row, &end);)
        b->kernels->rms_norm(b->x + (size_t)row * d, task->layer->mlp_norm, d, c->rms_eps, b->normed + (size_t)row * d);
    pool_barrier(b->pool);
    int groups = group_count(c->n_expert), parts = (n + ROUTER_ROWS - 1) / ROUTER_ROWS;
    for (int unit, end; pool_next(b->pool, groups * parts, 1, &unit, &end);) {
        int row = unit / groups * ROUTER_ROWS, group = unit % groups;
        router_logits(b, worker, task->layer, row, n - row < ROUTER_ROWS ? n - row : ROUTER_ROWS, group, group + 1);
    }
    pool_barrier(b->pool);
    for (int row, end; pool_next(b->pool, n, 1, &row, &end);)
        choose(b->router_logit + (size_t)row * c->n_expert, c->n_expert, c->n_active,
               b->chosen + (size_t)row * c->n_active, b->weight + (size_t)row * c->n_active);
}

/* Counting sort of the slots by expert, rows in order within each. */
static void sort_slots(struct backend *b, int n_row)
{
    const struct model_config *c = &b->model->config;
    int n = n_row * c->n_active, *first = b->expert_first;
    memset(first, 0, ((size_t)c->n_expert + 1) * sizeof *first);
    for (int i = 0; i < n; i++)
        first[b->chosen[i] + 1]++;
    b->n_active = 0;
    for (int e = 0; e < c->n_expert; e++) {
        if (first[e + 1] > 0)
            b->active[b->n_active++] = e;
        first[e + 1] += first[e];
    }
    for (int i = 0; i < n; i++)
        b->place[i] = first[b->chosen[i]]++;
    for (int e = c->n_expert; e > 0; e--)
        first[e] = first[e - 1];
    first[0] = 0;
}

void cpu_route(struct backend *b, const struct batch *batch, int layer)
{
    pool_run(b->pool, route_work, &(struct task){b, &b->model->layers[layer], batch->n_row});
    sort_slots(b, batch->n_row);
}

static struct panel expert_panel(const struct backend *b, const struct panel *all, int expert, int cols)
{
    return panel_part(all, b->expert_first[expert], b->expert_first[expert + 1] - b->expert_first[expert], cols);
}

/* The input of place `place` goes into its expert's panel. */
static void fill_in(struct backend *b, const struct task *task, int row, int slot)
{
    const struct model_config *c = &b->model->config;
    int expert = b->chosen[(size_t)row * c->n_active + slot], place = b->place[(size_t)row * c->n_active + slot];
    const float *x = b->normed + (size_t)row * c->d_model;
    struct panel panel = expert_panel(b, &b->in, expert, c->d_model);
    if (is_integer(&task->layer->gate_up))
        b->kernels->quantise(x, c->d_model / BLOCK, &panel, 0, place - b->expert_first[expert]);
    else
        memcpy(b->in.x + (size_t)place * c->d_model, x, (size_t)c->d_model * sizeof *x);
}

/* 32 hidden values of one expert, for all its columns: two groups of gate and two of up. */
static void gate_up_block(struct backend *b, int worker, const struct task *task, int expert, int block)
{
    const struct model_config *c = &b->model->config;
    const struct matrix *w = &task->layer->gate_up;
    struct panel in = expert_panel(b, &b->in, expert, c->d_model);
    struct panel out = expert_panel(b, &b->hidden, expert, c->d_ff);
    struct slab slab = slab_of(w, expert, 4 * block, 4);
    const float *bias = task->layer->gate_up_bias + (size_t)expert * 2 * c->d_ff + (size_t)block * 2 * BLOCK;
    float *sum = b->scratch[worker].sum;
    kernels_product(b->kernels, w)(&slab, &in, sum);
    for (int t = 0; t < in.n; t++) {
        float y[BLOCK];
        b->kernels->swiglu(sum + (size_t)t * 2 * BLOCK, bias, 2, c->swiglu_limit, y);
        if (is_integer(&task->layer->down))
            b->kernels->quantise(y, 1, &out, block, t);
        else
            memcpy(out.x + (size_t)t * c->d_ff + (size_t)block * BLOCK, y, sizeof y);
    }
}

/* Row groups [first, end) of the second product for all experts; then every row of the batch sums its slots. */
static void down_rows(struct backend *b, int worker, const struct task *task, int first, int end)
{
    const struct model_config *c = &b->model->config;
    const struct matrix *w = &task->layer->down;
    int base = first * LANES, n = (end - first) * LANES, k = c->n_active;
    float *sum = b->scratch[worker].sum;
    for (int i = 0; i < b->n_active; i++) {
        int expert = b->active[i];
        struct panel hidden = expert_panel(b, &b->hidden, expert, c->d_ff);
        struct slab slab = slab_of(w, expert, first, end - first);
        float *out = sum + (size_t)b->expert_first[expert] * n;
        const float *bias = task->layer->down_bias + (size_t)expert * c->d_model + base;
        kernels_product(b->kernels, w)(&slab, &hidden, out);
        for (int t = 0; t < hidden.n; t++)
            for (int r = 0; r < n; r++)
                out[(size_t)t * n + r] = out[(size_t)t * n + r] + bias[r];
    }
    for (int row = 0; row < task->n_row; row++) {
        const float *out[MODEL_MAX_ACTIVE];
        for (int s = 0; s < k; s++)
            out[s] = sum + (size_t)b->place[(size_t)row * k + s] * n;
        b->kernels->combine(b->x + (size_t)row * c->d_model + base, out, b->weight + (size_t)row * k, k, n);
    }
}

static void experts_work(void *argument, int worker)
{
    const struct task *task = argument;
    struct backend *b = task->backend;
    const struct model_config *c = &b->model->config;
    for (int i, end; pool_next(b->pool, task->n_row * c->n_active, 1, &i, &end);)
        fill_in(b, task, i / c->n_active, i % c->n_active);
    pool_barrier(b->pool);
    int blocks = c->d_ff / BLOCK;
    for (int unit, end; pool_next(b->pool, b->n_active * blocks, 1, &unit, &end);)
        gate_up_block(b, worker, task, b->active[unit / blocks], unit % blocks);
    pool_barrier(b->pool);
    int groups = c->d_model / LANES, grain = unit_groups(b, groups);
    for (int first, end; pool_next(b->pool, groups, grain, &first, &end);)
        down_rows(b, worker, task, first, end);
}

void cpu_experts(struct backend *b, const struct batch *batch, int layer)
{
    pool_run(b->pool, experts_work, &(struct task){b, &b->model->layers[layer], batch->n_row});
}
