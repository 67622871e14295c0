/* The mixture of experts: router, the rows sorted by expert, and the two products of every expert. */
#include <string.h>

#include "base/fmath.h"
#include "cpu/state.h"
#include "weights/tile.h"

struct task {
    struct backend *backend;
    const struct layer *layer;
    int n_row;
    struct panel rows; /* normed */
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

/* The router is shared out by row groups; for few rows by segments, too, since it would keep few workers busy. */
static int router_segments(const struct task *task)
{
    return task->n_row <= FEW_ROWS ? (task->rows.cols + SEGMENT - 1) / SEGMENT : 1;
}

static int router_rows(const struct task *task)
{
    return task->n_row <= FEW_ROWS ? 1 : ROUTER_ROWS;
}

/* Where the sums of one row and segment are. */
static float *router_sum(const struct task *task, int row, int segment)
{
    const struct backend *b = task->backend;
    size_t width = (size_t)group_count(b->model->config.n_expert) * LANES;
    return b->router_sum + ((size_t)row * router_segments(task) + segment) * width;
}

static void router_unit(const struct task *task, int worker, int unit)
{
    struct backend *b = task->backend;
    const struct matrix *router = &task->layer->router;
    int groups = group_count(b->model->config.n_expert), segments = router_segments(task);
    int group = unit % groups, segment = unit / groups % segments, row = unit / groups / segments * router_rows(task);
    int n = task->n_row - row < router_rows(task) ? task->n_row - row : router_rows(task);
    int first = segment * SEGMENT,
        cols = segments > 1 && router->cols - first > SEGMENT ? SEGMENT : router->cols - first;
    struct slab slab = slab_of(router, 0, group, 1);
    slab.quants += tile_quant_bytes(router->type, TILE_ROWS, first);
    slab.cols = cols;
    struct panel panel = {.n = n, .cols = cols, .x = task->rows.x + (size_t)row * router->cols + first};
    float *sum = b->scratch[worker].sum;
    kernels_product(b->kernels, router)(&slab, &panel, sum);
    for (int t = 0; t < n; t++)
        memcpy(router_sum(task, row + t, segment) + (size_t)group * LANES, sum + (size_t)t * LANES,
               LANES * sizeof *sum);
}

/* Joins the segments in order: the logits of one row. */
static void router_logits(const struct task *task, int row, float *logit)
{
    int n = task->backend->model->config.n_expert;
    memcpy(logit, router_sum(task, row, 0), n * sizeof *logit);
    for (int s = 1; s < router_segments(task); s++)
        for (int e = 0; e < n; e++)
            logit[e] = logit[e] + router_sum(task, row, s)[e];
    for (int e = 0; e < n; e++)
        logit[e] = logit[e] + task->layer->router_bias[e];
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

/* What is too little to share out: every row's choice, and the order of the slots. */
static void settle(void *argument)
{
    const struct task *task = argument;
    struct backend *b = task->backend;
    int n_expert = b->model->config.n_expert, k = b->model->config.n_active;
    for (int row = 0; row < task->n_row; row++) {
        router_logits(task, row, b->router_logit);
        choose(b->router_logit, n_expert, k, b->chosen + (size_t)row * k, b->weight + (size_t)row * k);
    }
    sort_slots(b, task->n_row);
}

void cpu_route(struct backend *b, int worker, const struct batch *batch, int layer)
{
    const struct layer *l = &b->model->layers[layer];
    struct task task = {b, l, batch->n_row,
                        normed_rows(b, worker, NULL, batch->n_row, l->mlp_norm, is_integer(&l->gate_up))};
    int parts = (batch->n_row + router_rows(&task) - 1) / router_rows(&task);
    int units = group_count(b->model->config.n_expert) * router_segments(&task) * parts;
    for (int unit, end; pool_next(b->pool, units, 1, &unit, &end);)
        router_unit(&task, worker, unit);
    pool_barrier_once(b->pool, settle, &task);
}

static struct panel expert_panel(const struct backend *b, const struct panel *all, int expert, int cols)
{
    return panel_part(all, b->expert_first[expert], b->expert_first[expert + 1] - b->expert_first[expert], cols);
}

/* The right-hand side of an expert's first product. A lone row is that of all its experts. */
static struct panel expert_input(const struct task *task, int expert)
{
    return task->n_row == 1 ? task->rows : expert_panel(task->backend, &task->backend->in, expert, task->rows.cols);
}

/* The row of one slot goes into its expert's panel. */
static void fill_in(const struct task *task, int slot)
{
    struct backend *b = task->backend;
    const struct panel *rows = &task->rows;
    int expert = b->chosen[slot], row = slot / b->model->config.n_active,
        column = b->place[slot] - b->expert_first[expert];
    struct panel in = expert_input(task, expert);
    if (!is_integer(&task->layer->gate_up)) {
        memcpy(in.x + (size_t)column * in.cols, rows->x + (size_t)row * in.cols, (size_t)in.cols * sizeof *in.x);
        return;
    }
    for (int block = 0; block < in.cols / BLOCK; block++) {
        size_t from = (size_t)block * rows->n + row, to = (size_t)block * in.n + column;
        memcpy(in.q + to * BLOCK, rows->q + from * BLOCK, BLOCK);
        in.scale[to] = rows->scale[from];
        in.offset[to] = rows->offset[from];
    }
}

/* 32 hidden values of one expert, for all its columns: two groups of gate and two of up. */
static void gate_up_block(const struct task *task, int worker, int expert, int block)
{
    struct backend *b = task->backend;
    const struct model_config *c = &b->model->config;
    const struct matrix *w = &task->layer->gate_up;
    struct panel in = expert_input(task, expert);
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
static void down_rows(const struct task *task, int worker, int first, int end)
{
    struct backend *b = task->backend;
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

void cpu_experts(struct backend *b, int worker, const struct batch *batch, int layer)
{
    const struct model_config *c = &b->model->config;
    struct task task = {b, &b->model->layers[layer], batch->n_row, rows_panel(b, worker, batch->n_row)};
    if (batch->n_row > 1) {
        for (int slot, end; pool_next(b->pool, batch->n_row * c->n_active, 1, &slot, &end);)
            fill_in(&task, slot);
        pool_barrier(b->pool);
    }
    int columns = batch->n_row * c->n_active, blocks = c->d_ff / BLOCK, most = columns > STREAM_COLUMNS ? 1 : blocks;
    for (int unit, end; pool_next_run(b->pool, b->n_active * blocks, 1, most, &unit, &end);)
        for (; unit < end; unit++)
            gate_up_block(&task, worker, b->active[unit / blocks], unit % blocks);
    pool_barrier(b->pool);
    int groups = c->d_model / LANES, grain = unit_groups(b, groups);
    most = run_groups(b, grain, columns);
    for (int first, end; pool_next_run(b->pool, groups, grain, most, &first, &end);)
        down_rows(&task, worker, first, end);
    pool_barrier(b->pool);
}
