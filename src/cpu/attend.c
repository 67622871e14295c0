/* Attention with sinks: every row looks at the keys it may see, in chunks of KEY_CHUNK aligned to absolute positions.
 * One unit of work is a few rows of one sequence and the query heads of one key head; if there are too few units (a
 * long context, one row), chunks are shared out instead, and whoever finishes the last one merges them. Both ways merge
 * the same numbers in the same order. */
#include <math.h>
#include <string.h>

#include "base/fmath.h"
#include "cpu/state.h"

struct task {
    struct backend *backend;
    const struct batch *batch;
    int layer;
    const struct tiling *tiling;
};

/* Keys [lo, hi) of a chunk; empty if lo >= hi. */
struct range {
    int lo, hi;
};

/* Vector i of a tile under one key head is row i / group, query head kv_head * group + i % group. */
static int group_size(const struct backend *b)
{
    return b->model->config.n_head / b->model->config.n_kv_head;
}

static int position_of(const struct query_tile *tile, int row)
{
    return tile->sequence->first_position + tile->first_row + row - tile->sequence->first_row;
}

static int first_key(const struct model_config *c, int layer, int position)
{
    return c->sliding[layer] && position >= c->window ? position - c->window + 1 : 0;
}

static struct range visible(const struct task *task, int position, int chunk)
{
    int lo = first_key(&task->backend->model->config, task->layer, position) - chunk * KEY_CHUNK;
    int hi = position + 1 - chunk * KEY_CHUNK;
    return (struct range){lo < 0 ? 0 : lo, hi > KEY_CHUNK ? KEY_CHUNK : hi};
}

void attend_store(struct backend *b, int layer, int row, int head)
{
    const struct model_config *c = &b->model->config;
    const struct batch_sequence *sequence = b->sequence_of[row];
    int d = c->head_dim, position = sequence->first_position + row - sequence->first_row, k = position % KEY_TILE;
    const float *source = b->qkv + (size_t)row * b->model->layers[layer].qkv.rows + (size_t)head * d;
    uint16_t *tile = kv_tile(b, layer, sequence, (head - c->n_head) % c->n_kv_head, position), half[2 * ROPE_MAX_HALF];
    if (head >= c->n_head + c->n_kv_head) {
        b->kernels->to_f16(source, d, tile + (KEY_TILE + k) * d);
        return;
    }
    b->kernels->to_f16(source, d, half);
    for (int i = 0; i < d; i++)
        tile[i * KEY_TILE + k] = half[i];
}

static void load_queries(struct backend *b, int worker, int layer, const struct query_tile *tile, int kv_head)
{
    int d = b->model->config.head_dim, group = group_size(b), m = tile->n_row * group;
    float *query = b->scratch[worker].query;
    for (int i = 0; i < m; i++) {
        const float *q = b->qkv + (size_t)(tile->first_row + i / group) * b->model->layers[layer].qkv.rows +
                         (size_t)(kv_head * group + i % group) * d;
        for (int j = 0; j < d; j++)
            query[(size_t)j * m + i] = q[j];
    }
}

/* Fills scratch's chunk, chunk_max and chunk_total for the vectors that see a key of this chunk. */
static void attend_chunk(const struct task *task, int worker, const struct query_tile *tile, int kv_head, int chunk)
{
    struct backend *b = task->backend;
    const struct model_config *c = &b->model->config;
    struct scratch *s = &b->scratch[worker];
    int d = c->head_dim, group = group_size(b);
    int lo = visible(task, position_of(tile, 0), chunk).lo;
    int hi = visible(task, position_of(tile, tile->n_row - 1), chunk).hi;
    int first = lo / KEY_TILE, last = (hi + KEY_TILE - 1) / KEY_TILE;
    const uint16_t *key[KEY_TILES] = {NULL}, *value[KEY_TILES] = {NULL};
    for (int t = first; t < last; t++) {
        key[t] = kv_tile(b, task->layer, tile->sequence, kv_head, chunk * KEY_CHUNK + t * KEY_TILE);
        value[t] = key[t] + KEY_TILE * d;
    }
    b->kernels->scores(s->query, tile->n_row * group, d, key, first, last, 1.0f / sqrtf((float)d), s->score);
    for (int row = 0; row < tile->n_row; row++) {
        struct range r = visible(task, position_of(tile, row), chunk);
        if (r.lo >= r.hi)
            continue;
        size_t i = (size_t)row * group;
        for (int head = 0; head < group; head++)
            b->kernels->softmax(s->score + (i + head) * KEY_CHUNK, r.lo, r.hi, &s->chunk_max[i + head],
                                &s->chunk_total[i + head]);
        b->kernels->values(s->score + i * KEY_CHUNK, group, value, r.lo, r.hi, d, s->chunk + i * d);
    }
}

/* (max, total, acc) takes in one chunk's. */
static void merge_chunk(struct backend *b, float *max, float *total, float *acc, float chunk_max, float chunk_total,
                        const float *chunk)
{
    float m = chunk_max > *max ? chunk_max : *max;
    float keep = exp_f32(*max - m), take = exp_f32(chunk_max - m);
    *total = fmaf(*total, keep, chunk_total * take);
    b->kernels->merge(acc, chunk, keep, take, b->model->config.head_dim);
    *max = m;
}

static void start(const struct task *task, int head, float *max, float *total, float *acc)
{
    const struct model *m = task->backend->model;
    *max = m->layers[task->layer].sinks[head];
    *total = 1.0f;
    memset(acc, 0, (size_t)m->config.head_dim * sizeof *acc);
}

/* One head's output, also as the right-hand side of the projection that comes next. */
static void finish(const struct task *task, int row, int head, float total, const float *acc)
{
    struct backend *b = task->backend;
    const struct matrix *next = &b->model->layers[task->layer].attn_out;
    int d = b->model->config.head_dim;
    float *out = b->attended.x + (size_t)row * next->cols + (size_t)head * d;
    b->kernels->divide(acc, total, d, out);
    if (is_integer(next)) {
        struct panel panel = panel_part(&b->attended, 0, task->batch->n_row, next->cols);
        b->kernels->quantise(out, d / BLOCK, &panel, head * d / BLOCK, row);
    }
}

static void attend_tile(const struct task *task, int worker, const struct query_tile *tile, int kv_head)
{
    struct backend *b = task->backend;
    struct scratch *s = &b->scratch[worker];
    int d = b->model->config.head_dim, group = group_size(b), m = tile->n_row * group;
    int begin = first_key(&b->model->config, task->layer, position_of(tile, 0)) / KEY_CHUNK;
    int end = position_of(tile, tile->n_row - 1) / KEY_CHUNK;
    load_queries(b, worker, task->layer, tile, kv_head);
    for (int i = 0; i < m; i++)
        start(task, kv_head * group + i % group, &s->max[i], &s->total[i], s->acc + (size_t)i * d);
    for (int chunk = begin; chunk <= end; chunk++) {
        attend_chunk(task, worker, tile, kv_head, chunk);
        for (int i = 0; i < m; i++) {
            struct range r = visible(task, position_of(tile, i / group), chunk);
            if (r.lo < r.hi)
                merge_chunk(b, &s->max[i], &s->total[i], s->acc + (size_t)i * d, s->chunk_max[i], s->chunk_total[i],
                            s->chunk + (size_t)i * d);
        }
    }
    for (int i = 0; i < m; i++)
        finish(task, tile->first_row + i / group, kv_head * group + i % group, s->total[i], s->acc + (size_t)i * d);
}

/* [head_dim values, maximum, total] of one row, chunk and head. */
static float *partial_of(const struct task *task, int row, int chunk, int head)
{
    const struct model_config *c = &task->backend->model->config;
    return task->backend->partial +
           (((size_t)row * task->tiling->chunks + chunk) * c->n_head + head) * ((size_t)c->head_dim + 2);
}

static void merge_split(const struct task *task, int worker, const struct query_tile *tile, int row, int head)
{
    struct backend *b = task->backend;
    float max, total, *acc = b->scratch[worker].acc;
    int d = b->model->config.head_dim;
    start(task, head, &max, &total, acc);
    for (int chunk = 0; chunk <= position_of(tile, row) / KEY_CHUNK; chunk++) {
        const float *partial = partial_of(task, tile->first_row + row, chunk, head);
        merge_chunk(b, &max, &total, acc, partial[d], partial[d + 1], partial);
    }
    finish(task, tile->first_row + row, head, total, acc);
}

/* One chunk of one tile and key head; the last to be finished merges all. */
static void split_chunk(const struct task *task, int worker, int index, int kv_head, int chunk)
{
    struct backend *b = task->backend;
    struct scratch *s = &b->scratch[worker];
    const struct query_tile *tile = &task->tiling->tile[index];
    int d = b->model->config.head_dim, group = group_size(b), last = position_of(tile, tile->n_row - 1) / KEY_CHUNK;
    if (chunk > last)
        return;
    load_queries(b, worker, task->layer, tile, kv_head);
    attend_chunk(task, worker, tile, kv_head, chunk);
    for (int i = 0; i < tile->n_row * group; i++) {
        float *partial = partial_of(task, tile->first_row + i / group, chunk, kv_head * group + i % group);
        memcpy(partial, s->chunk + (size_t)i * d, (size_t)d * sizeof *partial);
        partial[d] = s->chunk_max[i];
        partial[d + 1] = s->chunk_total[i];
    }
    atomic_int *done = &b->chunks_done[index * b->model->config.n_kv_head + kv_head];
    if (atomic_fetch_add_explicit(done, 1, memory_order_acq_rel) < last)
        return;
    atomic_store_explicit(done, 0, memory_order_relaxed);
    for (int i = 0; i < tile->n_row * group; i++)
        merge_split(task, worker, tile, i / group, kv_head * group + i % group);
}

static void store_round(const struct task *task, const struct query_tile *tile, int n)
{
    struct backend *b = task->backend;
    const struct model_config *c = &b->model->config;
    int heads = 2 * c->n_kv_head;
    for (int unit, end; pool_next(b->pool, n * heads, 1, &unit, &end);)
        for (int row = 0; row < tile[unit / heads].n_row; row++)
            attend_store(b, task->layer, tile[unit / heads].first_row + row, c->n_head + unit % heads);
    pool_barrier(b->pool);
}

void cpu_attend(struct backend *b, int worker, const struct batch *batch, int layer)
{
    const struct tiling *t = b->model->config.sliding[layer] ? &b->sliding : &b->full;
    struct task task = {b, batch, layer, t};
    int n_kv = b->model->config.n_kv_head;
    for (int round = 0; round < t->n_round; round++) {
        const struct query_tile *tile = t->tile + (round ? t->round_end[round - 1] : 0);
        int n = (int)(t->tile + t->round_end[round] - tile), units = n * n_kv;
        if (round > 0)
            store_round(&task, tile, n);
        if (t->chunks)
            for (int unit, end; pool_next(b->pool, units * t->chunks, 1, &unit, &end);)
                split_chunk(&task, worker, unit / t->chunks / n_kv, unit / t->chunks % n_kv, unit % t->chunks);
        else /* the last first: late rows see most keys */
            for (int unit, end; pool_next(b->pool, units, 1, &unit, &end);)
                attend_tile(&task, worker, &tile[(units - end) / n_kv], (units - end) % n_kv);
        pool_barrier(b->pool);
    }
}

static void cut_tiles(const struct backend *b, const struct batch *batch, int limit, struct tiling *t)
{
    int rows = QUERY_VECTORS / group_size(b) > 0 ? QUERY_VECTORS / group_size(b) : 1, n = 0;
    t->n_round = 0;
    for (bool more = true; more; t->n_round++) {
        more = false;
        for (int i = 0; i < batch->n_sequence; i++) {
            const struct batch_sequence *s = &batch->sequence[i];
            int begin = t->n_round * limit, end = s->n_row - begin > limit ? begin + limit : s->n_row;
            for (int row = begin; row < end; row += rows)
                t->tile[n++] = (struct query_tile){s, s->first_row + row, end - row < rows ? end - row : rows};
            more = more || end < s->n_row;
        }
        t->round_end[t->n_round] = n;
    }
}

/* The number of chunks, if there is more than one and the full layers are to be shared out by it. */
static int split_chunks(const struct backend *b, const struct batch *batch)
{
    int chunks = 1;
    if (b->full.round_end[0] * b->model->config.n_kv_head >= 4 * pool_threads(b->pool))
        return 0;
    for (int row = 0; row < batch->n_row; row++)
        if (batch->position[row] / KEY_CHUNK + 1 > chunks)
            chunks = batch->position[row] / KEY_CHUNK + 1;
    return chunks > 1 && (int64_t)chunks * batch->n_row <= b->partial_chunks ? chunks : 0;
}

void attend_plan(struct backend *b, const struct batch *batch)
{
    for (int i = 0; i < batch->n_sequence; i++)
        for (int row = 0; row < batch->sequence[i].n_row; row++)
            b->sequence_of[batch->sequence[i].first_row + row] = &batch->sequence[i];
    cut_tiles(b, batch, batch->n_row, &b->full);
    cut_tiles(b, batch, b->model->config.window, &b->sliding);
    b->full.chunks = split_chunks(b, batch);
}
