/* The dense stages: embedding, the projections around attention, and the head. */
#include <string.h>

#include "base/fmath.h"
#include "cpu/state.h"
#include "weights/tile.h"

struct task {
    struct backend *backend;
    const struct batch *batch;
    int layer;
};

/* What becomes of a product: sum[column][n] are its rows base .. base + n - 1. */
typedef void epilogue(const struct task *task, int base, int n, const float *sum);

struct panel panel_part(const struct panel *all, int first, int n, int cols)
{
    size_t blocks = (size_t)cols / BLOCK, at = first * blocks;
    return (struct panel){
        .n = n,
        .cols = cols,
        .q = all->q + at * BLOCK,
        .scale = all->scale + at,
        .offset = all->offset + at,
        .x = all->x ? all->x + (size_t)first * cols : NULL,
    };
}

struct slab slab_of(const struct matrix *matrix, int index, int first, int n)
{
    uint64_t quants = tile_quant_bytes(matrix->type, TILE_ROWS, matrix->cols);
    uint64_t scales = tile_scale_bytes(matrix->type, TILE_ROWS, matrix->cols);
    return (struct slab){
        .quants = matrix->quants + index * matrix->stride + first * quants,
        .scales = matrix->scales ? matrix->scales + index * matrix->stride + first * scales : NULL,
        .groups = n,
        .cols = matrix->cols,
    };
}

int unit_groups(const struct backend *backend, int groups)
{
    int unit = groups / (4 * pool_threads(backend->pool));
    return unit < 1 ? 1 : unit > UNIT_GROUPS ? UNIT_GROUPS : unit;
}

int run_groups(const struct backend *backend, int unit, int columns)
{
    size_t room = backend->sum_columns / columns;
    return columns > STREAM_COLUMNS ? unit : UNIT_GROUPS * (int)(room < MOST_UNITS ? room : MOST_UNITS);
}

static void embed_row(struct backend *b, int token, float *x)
{
    const struct model *m = b->model;
    size_t d = m->config.d_model;
    if (m->embedding_type == DTYPE_BF16) {
        for (size_t i = 0; i < d; i++) {
            uint16_t half;
            memcpy(&half, m->embedding + ((size_t)token * d + i) * 2, sizeof half);
            x[i] = bf16_to_f32(half);
        }
        return;
    }
    for (size_t block = 0; block < d / BLOCK; block++) {
        const uint8_t *source = m->embedding + ((size_t)token * (d / BLOCK) + block) * 34;
        uint16_t half;
        memcpy(&half, source, sizeof half);
        for (size_t i = 0; i < BLOCK; i++)
            x[block * BLOCK + i] = f16_to_f32(half) * (float)(int8_t)source[2 + i];
    }
}

static void plan(void *argument)
{
    const struct task *task = argument;
    attend_plan(task->backend, task->batch);
}

void cpu_embed(struct backend *b, int worker, const struct batch *batch)
{
    (void)worker;
    for (int row, end; pool_next(b->pool, batch->n_row, 1, &row, &end);) {
        embed_row(b, batch->token[row], b->x + (size_t)row * b->model->config.d_model);
        rope_table(&b->rope, batch->position[row], b->cosine + (size_t)row * b->rope.half,
                   b->sine + (size_t)row * b->rope.half);
    }
    pool_barrier_once(b->pool, plan, &(struct task){b, batch, 0});
}

struct panel rows_panel(const struct backend *b, int worker, int n)
{
    return panel_part(n <= FEW_ROWS ? &b->scratch[worker].few : &b->rows, 0, n, b->model->config.d_model);
}

struct panel normed_rows(struct backend *b, int worker, const int32_t *row, int n, const float *gain, bool quantised)
{
    struct panel panel = rows_panel(b, worker, n);
    int d = panel.cols;
    bool own = n <= FEW_ROWS;
    for (int i = 0, end = n; own ? i < n : pool_next(b->pool, n, 1, &i, &end); i++) {
        float *y = panel.x + (size_t)i * d;
        b->kernels->rms_norm(b->x + (size_t)(row ? row[i] : i) * d, gain, d, b->model->config.rms_eps, y);
        if (quantised)
            b->kernels->quantise(y, d / BLOCK, &panel, 0, i);
    }
    if (!own)
        pool_barrier(b->pool);
    return panel;
}

static void product_rows(const struct task *task, int worker, const struct matrix *matrix, const struct panel *panel,
                         int unit, epilogue *finish)
{
    struct backend *b = task->backend;
    product_fn *product = kernels_product(b->kernels, matrix);
    float *sum = b->scratch[worker].sum;
    int groups = group_count(matrix->rows), most = run_groups(b, unit, panel->n);
    for (int first, end; pool_next_run(b->pool, groups, unit, most, &first, &end);) {
        struct slab slab = slab_of(matrix, 0, first, end - first);
        product(&slab, panel, sum);
        finish(task, first * LANES, (end - first) * LANES, sum);
    }
    pool_barrier(b->pool);
}

/* Whole heads: bias, RoPE for queries and keys; the keys and values of the first round go into the cache. */
static void finish_heads(const struct task *task, int base, int n, const float *sum)
{
    struct backend *b = task->backend;
    const struct model_config *c = &b->model->config;
    const struct layer *layer = &b->model->layers[task->layer];
    int d = c->head_dim, half = b->rope.half, first = base / d, end = (base + n) / d;
    for (int row = 0; row < task->batch->n_row; row++) {
        float *out = b->qkv + (size_t)row * layer->qkv.rows + base;
        for (int i = 0; i < n; i++)
            out[i] = sum[(size_t)row * n + i] + layer->qkv_bias[base + i];
        for (int head = first; head < end && head < c->n_head + c->n_kv_head; head++)
            b->kernels->rotate(out + (size_t)(head - first) * d, b->cosine + (size_t)row * half,
                               b->sine + (size_t)row * half, half);
        if (row - b->sequence_of[row]->first_row < round_rows(b, task->layer))
            for (int head = first < c->n_head ? c->n_head : first; head < end; head++)
                attend_store(b, task->layer, row, head);
    }
}

void cpu_attn_in(struct backend *b, int worker, const struct batch *batch, int layer)
{
    const struct layer *l = &b->model->layers[layer];
    struct task task = {b, batch, layer};
    struct panel panel = normed_rows(b, worker, NULL, batch->n_row, l->attn_norm, is_integer(&l->qkv));
    product_rows(&task, worker, &l->qkv, &panel, head_groups(&b->model->config), finish_heads);
}

static void finish_residual(const struct task *task, int base, int n, const float *sum)
{
    struct backend *b = task->backend;
    const float *bias = b->model->layers[task->layer].attn_out_bias + base;
    for (int row = 0; row < task->batch->n_row; row++) {
        float *x = b->x + (size_t)row * b->model->config.d_model + base;
        for (int i = 0; i < n; i++)
            x[i] = x[i] + (sum[(size_t)row * n + i] + bias[i]);
    }
}

void cpu_attn_out(struct backend *b, int worker, const struct batch *batch, int layer)
{
    const struct matrix *matrix = &b->model->layers[layer].attn_out;
    struct panel panel = panel_part(&b->attended, 0, batch->n_row, matrix->cols);
    product_rows(&(struct task){b, batch, layer}, worker, matrix, &panel, unit_groups(b, group_count(matrix->rows)),
                 finish_residual);
}

static void finish_logits(const struct task *task, int base, int n, const float *sum)
{
    int n_vocab = task->backend->model->config.n_vocab, valid = n_vocab - base < n ? n_vocab - base : n;
    for (int i = 0; i < task->batch->n_output; i++)
        memcpy(task->batch->logits + (size_t)i * n_vocab + base, sum + (size_t)i * n, (size_t)valid * sizeof *sum);
}

void cpu_unembed(struct backend *b, int worker, const struct batch *batch)
{
    const struct model *m = b->model;
    if (batch->n_output == 0)
        return;
    struct panel panel =
        normed_rows(b, worker, batch->output_row, batch->n_output, m->final_norm, is_integer(&m->head));
    product_rows(&(struct task){b, batch, 0}, worker, &m->head, &panel, unit_groups(b, group_count(m->head.rows)),
                 finish_logits);
}
