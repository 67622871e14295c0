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

static void embed_work(void *argument, int worker)
{
    const struct task *task = argument;
    struct backend *b = task->backend;
    (void)worker;
    for (int row, end; pool_next(b->pool, task->batch->n_row, 1, &row, &end);) {
        embed_row(b, task->batch->token[row], b->x + (size_t)row * b->model->config.d_model);
        rope_table(&b->rope, task->batch->position[row], b->cosine + (size_t)row * b->rope.half,
                   b->sine + (size_t)row * b->rope.half);
    }
}

void cpu_embed(struct backend *b, const struct batch *batch)
{
    pool_run(b->pool, embed_work, &(struct task){b, batch, 0});
}

/* n rows of source as the right-hand side of a product with `matrix`; its quantised planes are still to be filled. */
static struct panel panel_of_rows(struct backend *b, const struct matrix *matrix, float *source, int n)
{
    struct panel panel = panel_part(&b->rows, 0, n, matrix->cols);
    panel.x = source;
    return panel;
}

/* out[column][row] = product + bias, or += with residual; row < matrix->rows only. */
static void product_rows(struct backend *b, int worker, const struct matrix *matrix, const struct panel *panel,
                         const float *bias, bool residual, float *out)
{
    int groups = group_count(matrix->rows), unit = unit_groups(b, groups);
    product_fn *product = kernels_product(b->kernels, matrix);
    float *sum = b->scratch[worker].sum;
    for (int first, end; pool_next(b->pool, groups, unit, &first, &end);) {
        struct slab slab = slab_of(matrix, 0, first, end - first);
        product(&slab, panel, sum);
        int base = first * LANES, n = (end - first) * LANES, valid = matrix->rows - base < n ? matrix->rows - base : n;
        for (int t = 0; t < panel->n; t++) {
            const float *s = sum + (size_t)t * n;
            float *o = out + (size_t)t * matrix->rows + base;
            if (residual)
                for (int i = 0; i < valid; i++)
                    o[i] = o[i] + (s[i] + bias[base + i]);
            else if (bias)
                for (int i = 0; i < valid; i++)
                    o[i] = s[i] + bias[base + i];
            else
                memcpy(o, s, (size_t)valid * sizeof *o);
        }
    }
}

static void attn_in_work(void *argument, int worker)
{
    const struct task *task = argument;
    struct backend *b = task->backend;
    const struct model_config *c = &b->model->config;
    const struct layer *layer = &b->model->layers[task->layer];
    int n = task->batch->n_row, d = c->d_model, heads = c->n_head + c->n_kv_head;
    struct panel panel = panel_of_rows(b, &layer->qkv, b->normed, n);
    for (int row, end; pool_next(b->pool, n, 1, &row, &end);) {
        float *y = b->normed + (size_t)row * d;
        b->kernels->rms_norm(b->x + (size_t)row * d, layer->attn_norm, d, c->rms_eps, y);
        if (is_integer(&layer->qkv))
            b->kernels->quantise(y, d / BLOCK, &panel, 0, row);
    }
    pool_barrier(b->pool);
    product_rows(b, worker, &layer->qkv, &panel, layer->qkv_bias, false, b->qkv);
    pool_barrier(b->pool);
    for (int unit, end; pool_next(b->pool, n * heads, 8, &unit, &end);)
        for (; unit < end; unit++) {
            int row = unit / heads, head = unit % heads;
            b->kernels->rotate(b->qkv + (size_t)row * layer->qkv.rows + (size_t)head * c->head_dim,
                               b->cosine + (size_t)row * b->rope.half, b->sine + (size_t)row * b->rope.half,
                               b->rope.half);
        }
}

void cpu_attn_in(struct backend *b, const struct batch *batch, int layer)
{
    pool_run(b->pool, attn_in_work, &(struct task){b, batch, layer});
}

static void attn_out_work(void *argument, int worker)
{
    const struct task *task = argument;
    struct backend *b = task->backend;
    const struct layer *layer = &b->model->layers[task->layer];
    int n = task->batch->n_row, width = layer->attn_out.cols;
    struct panel panel = panel_of_rows(b, &layer->attn_out, b->attended, n);
    if (is_integer(&layer->attn_out)) {
        for (int row, end; pool_next(b->pool, n, 1, &row, &end);)
            b->kernels->quantise(b->attended + (size_t)row * width, width / BLOCK, &panel, 0, row);
        pool_barrier(b->pool);
    }
    product_rows(b, worker, &layer->attn_out, &panel, layer->attn_out_bias, true, b->x);
}

void cpu_attn_out(struct backend *b, const struct batch *batch, int layer)
{
    pool_run(b->pool, attn_out_work, &(struct task){b, batch, layer});
}

static void unembed_work(void *argument, int worker)
{
    const struct task *task = argument;
    struct backend *b = task->backend;
    const struct model *m = b->model;
    int n = task->batch->n_output, d = m->config.d_model;
    struct panel panel = panel_of_rows(b, &m->head, b->normed, n);
    for (int i, end; pool_next(b->pool, n, 1, &i, &end);) {
        float *y = b->normed + (size_t)i * d;
        b->kernels->rms_norm(b->x + (size_t)task->batch->output_row[i] * d, m->final_norm, d, m->config.rms_eps, y);
        if (is_integer(&m->head))
            b->kernels->quantise(y, d / BLOCK, &panel, 0, i);
    }
    pool_barrier(b->pool);
    product_rows(b, worker, &m->head, &panel, NULL, false, task->batch->logits);
}

void cpu_unembed(struct backend *b, const struct batch *batch)
{
    if (batch->n_output > 0)
        pool_run(b->pool, unembed_work, &(struct task){b, batch, 0});
}
