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

enum {
    UNITS_EACH = 4, /* units of work that every worker should find at least */
    LONGEST_RUN = 8 /* most chunks in a unit of work */
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

/* Rows of a part. */
static int part_rows(const struct backend *b)
{
    return group_size(b) < QUERY_VECTORS ? QUERY_VECTORS / group_size(b) : 1;
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

/* The queries of a part of a tile: [head_dim][vectors]. */
static void load_queries(const struct backend *b, int layer, const struct query_tile *part, int kv_head, float *query)
{
    int d = b->model->config.head_dim, group = group_size(b), m = part->n_row * group;
    for (int i = 0; i < m; i++) {
        const float *q = b->qkv + (size_t)(part->first_row + i / group) * b->model->layers[layer].qkv.rows +
                         (size_t)(kv_head * group + i % group) * d;
        for (int j = 0; j < d; j++)
            query[(size_t)j * m + i] = q[j];
    }
}

/* Fills scratch's chunk, chunk_max and chunk_total for those vectors of a part that see a key of this chunk; `ahead` is
 * the first tile of the chunk to come, or NULL. */
static void attend_chunk(const struct task *task, int worker, const struct query_tile *part, const float *query,
                         int kv_head, int chunk, const uint16_t *ahead)
{
    struct backend *b = task->backend;
    struct scratch *s = &b->scratch[worker];
    int d = b->model->config.head_dim, group = group_size(b);
    int lo = visible(task, position_of(part, 0), chunk).lo;
    int hi = visible(task, position_of(part, part->n_row - 1), chunk).hi;
    int first = lo / KEY_TILE, last = (hi + KEY_TILE - 1) / KEY_TILE;
    const uint16_t *key[KEY_TILES] = {NULL}, *value[KEY_TILES] = {NULL};
    for (int t = first; t < last; t++) {
        key[t] = kv_tile(b, task->layer, part->sequence, kv_head, chunk * KEY_CHUNK + t * KEY_TILE);
        value[t] = key[t] + KEY_TILE * d;
    }
    b->kernels->scores(query, part->n_row * group, d, key, first, last, 1.0f / sqrtf((float)d), ahead, s->score);
    for (int row = 0; row < part->n_row; row++) {
        struct range r = visible(task, position_of(part, row), chunk);
        if (r.lo >= r.hi)
            continue;
        size_t i = (size_t)row * group;
        for (int head = 0; head < group; head++)
            b->kernels->softmax(s->score + (i + head) * KEY_CHUNK, r.lo, r.hi, &s->chunk_max[i + head],
                                &s->chunk_total[i + head]);
        b->kernels->values(s->score + i * KEY_CHUNK, group, value, r.lo, r.hi, d, row ? NULL : ahead, s->chunk + i * d);
    }
}

/* Where the chunk after `chunk` begins, if the tile sees that: chunks of full layers are in one piece. */
static const uint16_t *chunk_ahead(const struct task *task, const struct query_tile *tile, int kv_head, int chunk)
{
    if (task->backend->model->config.sliding[task->layer] || chunk >= position_of(tile, tile->n_row - 1) / KEY_CHUNK)
        return NULL;
    return kv_tile(task->backend, task->layer, tile->sequence, kv_head, (chunk + 1) * KEY_CHUNK);
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

/* Part `index` of a tile: as many rows as are scored together. */
static struct query_tile part_of(const struct backend *b, const struct query_tile *tile, int index)
{
    int rows = part_rows(b), first = index * rows, n = tile->n_row - first;
    return (struct query_tile){tile->sequence, tile->first_row + first, n < rows ? n : rows};
}

/* All parts of a tile look at a chunk while it is in the cache. */
static void attend_tile(const struct task *task, int worker, const struct query_tile *tile, int kv_head)
{
    struct backend *b = task->backend;
    struct scratch *s = &b->scratch[worker];
    int d = b->model->config.head_dim, group = group_size(b), parts = (tile->n_row + part_rows(b) - 1) / part_rows(b);
    int begin = first_key(&b->model->config, task->layer, position_of(tile, 0)) / KEY_CHUNK;
    int end = position_of(tile, tile->n_row - 1) / KEY_CHUNK, vectors = part_rows(b) * group;
    for (int p = 0; p < parts; p++) {
        struct query_tile part = part_of(b, tile, p);
        load_queries(b, task->layer, &part, kv_head, s->query + (size_t)p * vectors * d);
    }
    for (int i = 0; i < tile->n_row * group; i++)
        start(task, kv_head * group + i % group, &s->max[i], &s->total[i], s->acc + (size_t)i * d);
    for (int chunk = begin; chunk <= end; chunk++)
        for (int p = 0; p < parts; p++) {
            struct query_tile part = part_of(b, tile, p);
            const uint16_t *ahead = p == 0 ? chunk_ahead(task, tile, kv_head, chunk) : NULL;
            attend_chunk(task, worker, &part, s->query + (size_t)p * vectors * d, kv_head, chunk, ahead);
            for (int i = 0; i < part.n_row * group; i++) {
                struct range r = visible(task, position_of(&part, i / group), chunk);
                int v = p * vectors + i;
                if (r.lo < r.hi)
                    merge_chunk(b, &s->max[v], &s->total[v], s->acc + (size_t)v * d, s->chunk_max[i], s->chunk_total[i],
                                s->chunk + (size_t)i * d);
            }
        }
    for (int i = 0; i < tile->n_row * group; i++)
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

/* A run of chunks of one tile and key head; whoever finishes the last of all its chunks merges them. */
static void split_run(const struct task *task, int worker, int index, int kv_head, int run)
{
    struct backend *b = task->backend;
    struct scratch *s = &b->scratch[worker];
    const struct query_tile *tile = &task->tiling->tile[index];
    int d = b->model->config.head_dim, group = group_size(b),
        chunks = position_of(tile, tile->n_row - 1) / KEY_CHUNK + 1;
    int begin = run * task->tiling->run, end = chunks - begin < task->tiling->run ? chunks : begin + task->tiling->run;
    if (begin >= end)
        return;
    load_queries(b, task->layer, tile, kv_head, s->query);
    for (int chunk = begin; chunk < end; chunk++) {
        attend_chunk(task, worker, tile, s->query, kv_head, chunk, chunk_ahead(task, tile, kv_head, chunk));
        for (int i = 0; i < tile->n_row * group; i++) {
            float *partial = partial_of(task, tile->first_row + i / group, chunk, kv_head * group + i % group);
            memcpy(partial, s->chunk + (size_t)i * d, (size_t)d * sizeof *partial);
            partial[d] = s->chunk_max[i];
            partial[d + 1] = s->chunk_total[i];
        }
    }
    atomic_int *done = &b->chunks_done[index * b->model->config.n_kv_head + kv_head];
    if (atomic_fetch_add_explicit(done, end - begin, memory_order_acq_rel) + end - begin < chunks)
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
    int n_kv = b->model->config.n_kv_head, runs = t->chunks ? (t->chunks + t->run - 1) / t->run : 0;
    for (int round = 0; round < t->n_round; round++) {
        const struct query_tile *tile = t->tile + (round ? t->round_end[round - 1] : 0);
        int n = (int)(t->tile + t->round_end[round] - tile), units = n * n_kv;
        if (round > 0)
            store_round(&task, tile, n);
        if (runs > 0)
            for (int unit, end; pool_next(b->pool, units * runs, 1, &unit, &end);)
                split_run(&task, worker, unit / runs / n_kv, unit / runs % n_kv, unit % runs);
        else /* the last first: late rows see most keys */
            for (int unit, end; pool_next(b->pool, units, 1, &unit, &end);)
                attend_tile(&task, worker, &tile[(units - end) / n_kv], (units - end) % n_kv);
        pool_barrier(b->pool);
    }
}

/* Tiles as large as leaves every worker several. */
static int tile_rows(const struct backend *b, int n_row, int n_kv_head)
{
    int rows = TILE_PARTS * part_rows(b);
    while (rows > part_rows(b) && (int64_t)n_row * n_kv_head < (int64_t)rows * UNITS_EACH * pool_threads(b->pool))
        rows -= part_rows(b);
    return rows;
}

static void cut_tiles(const struct backend *b, const struct batch *batch, int limit, struct tiling *t)
{
    int rows = tile_rows(b, batch->n_row < limit ? batch->n_row : limit, b->model->config.n_kv_head), n = 0;
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

/* Shares the full layers out by chunks if there are several chunks and too few tiles. */
static void split_chunks(const struct backend *b, const struct batch *batch, struct tiling *t)
{
    int units = t->round_end[0] * b->model->config.n_kv_head, wanted = UNITS_EACH * pool_threads(b->pool), chunks = 1;
    for (int row = 0; row < batch->n_row; row++)
        if (batch->position[row] / KEY_CHUNK + 1 > chunks)
            chunks = batch->position[row] / KEY_CHUNK + 1;
    bool split = units < wanted && chunks > 1 && (int64_t)chunks * batch->n_row <= b->partial_chunks;
    t->chunks = split ? chunks : 0;
    t->run = units * chunks / (4 * wanted) < 1 ? 1 : units * chunks / (4 * wanted);
    if (t->run > LONGEST_RUN)
        t->run = LONGEST_RUN;
}

void attend_plan(struct backend *b, const struct batch *batch)
{
    for (int i = 0; i < batch->n_sequence; i++)
        for (int row = 0; row < batch->sequence[i].n_row; row++)
            b->sequence_of[batch->sequence[i].first_row + row] = &batch->sequence[i];
    cut_tiles(b, batch, batch->n_row, &b->full);
    cut_tiles(b, batch, b->model->config.window, &b->sliding);
    split_chunks(b, batch, &b->full);
}
