/* Attention for the rows of prompts, which is bound by multiplying. A CTA takes a tile of query vectors of one key head
 * and goes through the chunks of keys that any of them sees: all scores of a chunk as a matrix product in registers,
 * the exponentials, then the values in the same way. Keys and values come in pieces, each of which is fetched while the
 * one before it is used. The totals wait for the next chunk in the output. Every sum is made in the order of
 * docs/arithmetic.md; what a row does not see is left out of its sums. */
#include <limits.h>

#include "cuda/attention.h"

enum {
    THREADS = 128,
    MINE = 8,       /* vectors of a thread: 4y .. 4y + 3 and 32 + 4y .., where y = thread % 8; their columns: */
    SCORE_KEYS = 8, /* keys 8x .. of a half chunk, x = thread / 8 */
    VALUE_DIMS = 4, /* values 4x .. of a slice */
    HALF = 128,     /* keys scored together .. */
    KEY_DIMS = 32,  /* .. in pieces of so many dimensions */
    QUARTER = 64,   /* keys in a piece of values .. */
    SLICE = 64,     /* .. of so many dimensions */
    TILES = HALF / (int)KEY_TILE,
    KEY_PITCH = KEY_DIMS * (int)KEY_TILE + 16, /* halves from one tile to the next in a piece of keys, for the banks */
    PIECE = TILES * KEY_PITCH                  /* halves */
};

struct many_shared {
    float *query;               /* [head_dim][VECTORS] */
    float *score;               /* [KEY_CHUNK][VECTORS] */
    float *keep, *take, *total; /* [VECTORS] of the merge */
    float *max;                 /* [2][VECTORS] */
    int *position;              /* [VECTORS]; -1: there is no such vector, which sees nothing */
    int *out;                   /* [VECTORS] row * n_head + head */
    uint16_t *piece;            /* [2][PIECE]: keys [tile][KEY_DIMS][KEY_TILE] or values [QUARTER][SLICE] */
};

size_t attend_many_bytes(int head_dim)
{
    return ((size_t)head_dim + KEY_CHUNK + 7) * VECTORS * sizeof(float) + 2 * PIECE * sizeof(uint16_t);
}

DEVICE struct many_shared many_layout(int head_dim)
{
    struct many_shared s;
    s.query = reinterpret_cast<float *>(SHARED_BYTES());
    s.score = s.query + head_dim * VECTORS;
    s.keep = s.score + (int)KEY_CHUNK * VECTORS;
    s.take = s.keep + VECTORS;
    s.total = s.take + VECTORS;
    s.max = s.total + VECTORS;
    s.position = reinterpret_cast<int *>(s.max + 2 * VECTORS);
    s.out = s.position + VECTORS;
    s.piece = reinterpret_cast<uint16_t *>(s.out + VECTORS);
    return s;
}

/* What a CTA works on. */
struct many_task {
    int sequence, kv_head;
    int first, last; /* positions of the first and of the last vector */
    int first_chunk, last_chunk;
};

/* Fills the vectors' positions, places and queries. */
DEVICE struct many_task begin_tile(const struct attention_layer &a, const struct many_shared &s)
{
    struct many_task t;
    struct query_tile tile = a.plan.tile[blockIdx.x / a.kv.n_kv_head];
    int first_row = a.batch.first_row[tile.sequence], n = a.batch.n_rows_of[tile.sequence] * a.group - tile.first;
    int v = (int)threadIdx.x % VECTORS, row = (tile.first + v) / a.group;
    t.sequence = tile.sequence;
    t.kv_head = (int)blockIdx.x % a.kv.n_kv_head;
    t.first = a.batch.first_position[t.sequence] + tile.first / a.group;
    t.last = a.batch.first_position[t.sequence] + (tile.first + min(n, (int)VECTORS) - 1) / a.group;
    t.first_chunk = first_key(a, t.first) / KEY_CHUNK;
    t.last_chunk = t.last / KEY_CHUNK;
    int out = (first_row + row) * a.n_head + t.kv_head * a.group + (tile.first + v) % a.group;
    s.position[v] = v < n ? a.batch.first_position[t.sequence] + row : -1;
    s.out[v] = v < n ? out : 0;
    for (int d = 4 * ((int)threadIdx.x / VECTORS); d < a.kv.head_dim; d += 4 * THREADS / VECTORS) {
        float4 q = {0.0f, 0.0f, 0.0f, 0.0f};
        if (v < n)
            q = *reinterpret_cast<const float4 *>(a.query + (size_t)out * a.kv.head_dim + d);
        s.query[d * VECTORS + v] = q.x;
        s.query[(d + 1) * VECTORS + v] = q.y;
        s.query[(d + 2) * VECTORS + v] = q.z;
        s.query[(d + 3) * VECTORS + v] = q.w;
    }
    return t;
}

/* The keys of a chunk that any vector sees. */
DEVICE struct range seen_by_any(const struct attention_layer &a, const struct many_task &t, int chunk)
{
    return {visible(a, t.first, chunk).lo, visible(a, t.last, chunk).hi};
}

/* A chunk's tiles from that of its first key that is seen. */
DEVICE struct tile_run chunk_run(const struct attention_layer &a, const struct many_task &t, int position)
{
    if (a.sliding)
        return {a.stage + (size_t)t.kv_head * a.stage_tiles * a.kv.tile,
                a.plan.stage_place[t.sequence] + position / KEY_TILE, INT_MAX};
    return cache_run(a.kv, a.batch, a.slot, false, t.sequence, t.kv_head, position);
}

/* The pieces in the order in which they are used: of every chunk its keys, half by half and for each the dimensions,
 * then its values, slice by slice and for each the keys. */
struct feed {
    int chunk, index; /* of the next piece to fetch */
    bool value;
    int turn; /* the buffer with the next piece to use */
};

/* Begins to fetch a piece of keys: tiles of one half, KEY_DIMS dimensions. */
DEVICE void fetch_keys(const struct attention_layer &a, const struct tile_run &run, struct range r, int index,
                       uint16_t *piece)
{
    int parts = (a.kv.head_dim + KEY_DIMS - 1) / KEY_DIMS, half = r.lo / HALF + index / parts;
    int from = index % parts * KEY_DIMS, halves = min(a.kv.head_dim - from, (int)KEY_DIMS) * KEY_TILE;
    const int copies = KEY_DIMS * (int)KEY_TILE / 8; /* of a tile */
    for (int i = (int)threadIdx.x; i < TILES * copies; i += THREADS) {
        int tile = half * TILES + i / copies, at = i % copies * 8;
        if (tile >= r.lo / KEY_TILE && tile * KEY_TILE < r.hi && at < halves)
            copy_async_16(piece + i / copies * KEY_PITCH + at,
                          tile_at(a.kv, run, tile - r.lo / KEY_TILE) + from * KEY_TILE + at);
    }
}

/* The same of values: keys of one quarter, SLICE dimensions. */
DEVICE void fetch_values(const struct attention_layer &a, const struct tile_run &run, struct range r, int index,
                         uint16_t *piece)
{
    int head_dim = a.kv.head_dim, first = r.lo / QUARTER, quarters = (r.hi - 1) / QUARTER + 1 - first;
    int quarter = first + index % quarters, from = index / quarters * SLICE;
    const int copies = SLICE / 8; /* of a key */
    for (int i = (int)threadIdx.x; i < QUARTER * copies; i += THREADS) {
        int k = quarter * QUARTER + i / copies, tile = k / KEY_TILE, d = from + i % copies * 8;
        if (tile >= r.lo / KEY_TILE && tile * KEY_TILE < r.hi && d < head_dim)
            copy_async_16(piece + i * 8,
                          tile_at(a.kv, run, tile - r.lo / KEY_TILE) + (KEY_TILE + k % KEY_TILE) * head_dim + d);
    }
}

/* Begins to fetch the feed's next piece, if there is one, and moves on. */
DEVICE void fetch_next(const struct attention_layer &a, const struct many_task &t, const struct many_shared &s,
                       struct feed *feed)
{
    if (feed->chunk <= t.last_chunk) {
        int head_dim = a.kv.head_dim, count;
        struct range r = seen_by_any(a, t, feed->chunk);
        struct tile_run run = chunk_run(a, t, feed->chunk * KEY_CHUNK + r.lo);
        if (feed->value) {
            fetch_values(a, run, r, feed->index, s.piece + feed->turn * PIECE);
            count = ((r.hi - 1) / QUARTER + 1 - r.lo / QUARTER) * ((head_dim + SLICE - 1) / SLICE);
        } else {
            fetch_keys(a, run, r, feed->index, s.piece + feed->turn * PIECE);
            count = ((r.hi - 1) / HALF + 1 - r.lo / HALF) * ((head_dim + KEY_DIMS - 1) / KEY_DIMS);
        }
        if (++feed->index == count) {
            feed->index = 0;
            feed->chunk += feed->value;
            feed->value = !feed->value;
        }
    }
    copy_async_commit();
}

/* Waits for the next piece to use and begins to fetch the one behind it, into the buffer of the one before. */
DEVICE const uint16_t *next_piece(const struct attention_layer &a, const struct many_task &t,
                                  const struct many_shared &s, struct feed *feed)
{
    copy_async_wait<0>();
    __syncthreads();
    const uint16_t *piece = s.piece + feed->turn * PIECE;
    feed->turn ^= 1;
    fetch_next(a, t, s, feed);
    return piece;
}

/* The numbers of a thread's vectors, in `shared` [VECTORS]. */
DEVICE void read_mine(float x[MINE], const float *shared)
{
    int y = (int)threadIdx.x % 8;
    read_floats<4>(x, shared + 4 * y);
    read_floats<4>(x + 4, shared + VECTORS / 2 + 4 * y);
}

DEVICE void write_mine(float *shared, const float x[MINE])
{
    float4 *out = reinterpret_cast<float4 *>(shared) + (int)threadIdx.x % 8;
    out[0] = {x[0], x[1], x[2], x[3]};
    out[VECTORS / 8] = {x[4], x[5], x[6], x[7]};
}

DEVICE int vector_of_mine(int i)
{
    return 4 * ((int)threadIdx.x % 8) + i % 4 + i / 4 * (VECTORS / 2);
}

/* Adds one dimension to all scores of a thread. */
DEVICE void add_dimension(const float *query, const uint16_t *key, float sum[SCORE_KEYS][MINE])
{
    float q[MINE], k[SCORE_KEYS];
    read_mine(q, query);
    uint4 halves = *reinterpret_cast<const uint4 *>(key);
    const uint32_t word[SCORE_KEYS / 2] = {halves.x, halves.y, halves.z, halves.w};
#pragma unroll
    for (int i = 0; i < SCORE_KEYS / 2; i++) {
        float2 pair = half_pair(word[i]);
        k[2 * i] = pair.x;
        k[2 * i + 1] = pair.y;
    }
#pragma unroll
    for (int i = 0; i < SCORE_KEYS; i++)
#pragma unroll
        for (int j = 0; j < MINE; j++)
            sum[i][j] = fma_rn(q[j], k[i], sum[i][j]);
}

DEVICE void score_chunk(const struct attention_layer &a, const struct many_task &t, const struct many_shared &s,
                        int chunk, struct feed *feed)
{
    int head_dim = a.kv.head_dim, x = (int)threadIdx.x / 8;
    struct range r = seen_by_any(a, t, chunk);
    float scale = div_rn(1.0f, sqrt_rn((float)head_dim));
    for (int half = r.lo / HALF; half * HALF < r.hi; half++) {
        float sum[SCORE_KEYS][MINE] = {};
        for (int from = 0; from < head_dim; from += KEY_DIMS) {
            const uint16_t *key = next_piece(a, t, s, feed) + x / 2 * KEY_PITCH + x % 2 * SCORE_KEYS;
            int n = min(head_dim - from, (int)KEY_DIMS);
#pragma unroll 2
            for (int d = 0; d < n; d++)
                add_dimension(s.query + (from + d) * VECTORS, key + d * KEY_TILE, sum);
        }
#pragma unroll
        for (int i = 0; i < SCORE_KEYS; i++) {
#pragma unroll
            for (int j = 0; j < MINE; j++)
                sum[i][j] = mul_rn(sum[i][j], scale);
            write_mine(s.score + (half * HALF + x * SCORE_KEYS + i) * VECTORS, sum[i]);
        }
    }
}

/* The scores that a vector sees become exponentials; the maximum and the sum so far take the chunk in. Two threads
 * share a vector: the first eight lanes of the definition and the others. `exchange`: [LANES / 2][VECTORS]. */
DEVICE void weigh_chunk(const struct attention_layer &a, const struct many_shared &s, int chunk, float *exchange,
                        float *max, float *total)
{
    int v = (int)threadIdx.x % VECTORS, part = (int)threadIdx.x / VECTORS;
    struct range r = visible(a, s.position[v], chunk);
    float m = -INFINITY, lane[LANES / 2] = {};
    int begin = r.lo / KEY_TILE * KEY_TILE + part * (LANES / 2);
    for (int base = begin; base < r.hi; base += KEY_TILE)
#pragma unroll
        for (int i = 0; i < LANES / 2; i++)
            if (base + i >= r.lo && base + i < r.hi)
                m = greater(s.score[(base + i) * VECTORS + v], m);
    s.max[part * VECTORS + v] = m;
    __syncthreads();
    m = greater(s.max[VECTORS + v], s.max[v]);
    for (int base = begin; base < r.hi; base += KEY_TILE)
#pragma unroll
        for (int i = 0; i < LANES / 2; i++)
            if (base + i >= r.lo && base + i < r.hi) {
                float *score = &s.score[(base + i) * VECTORS + v], p = fmath_exp_f32(sub_rn(*score, m));
                *score = p;
                lane[i] = add_rn(lane[i], p);
            }
    if (part) {
#pragma unroll
        for (int i = 0; i < LANES / 2; i++)
            exchange[i * VECTORS + v] = lane[i];
    }
    __syncthreads();
    if (part || r.lo >= r.hi)
        return;
#pragma unroll
    for (int i = 0; i < LANES / 2; i++)
        lane[i] = add_rn(lane[i], exchange[i * VECTORS + v]);
#pragma unroll
    for (int half = LANES / 4; half > 0; half /= 2)
#pragma unroll
        for (int i = 0; i < half; i++)
            lane[i] = add_rn(lane[i], lane[i + half]);
    float after = greater(m, *max), keep = fmath_exp_f32(sub_rn(*max, after)), take = fmath_exp_f32(sub_rn(m, after));
    *total = fma_rn(*total, keep, mul_rn(lane[0], take));
    *max = after;
    s.keep[v] = keep;
    s.take[v] = take;
    s.total[v] = *total;
}

/* Adds key k of the chunk to all sums of a thread; MASKED: to those of vectors that see it. */
template <bool MASKED>
DEVICE void add_key(const struct attention_layer &a, const struct many_shared &s, int chunk, int k,
                    const uint16_t *value, float sum[MINE][VALUE_DIMS])
{
    float p[MINE];
    read_mine(p, s.score + k * VECTORS);
    uint2 halves = *reinterpret_cast<const uint2 *>(value);
    float2 low = half_pair(halves.x), high = half_pair(halves.y);
    const float x[VALUE_DIMS] = {low.x, low.y, high.x, high.y};
#pragma unroll
    for (int i = 0; i < MINE; i++) {
        struct range r = {0, KEY_CHUNK};
        if (MASKED)
            r = visible(a, s.position[vector_of_mine(i)], chunk);
#pragma unroll
        for (int j = 0; j < VALUE_DIMS; j++) {
            float more = fma_rn(p[i], x[j], sum[i][j]);
            sum[i][j] = !MASKED || (k >= r.lo && k < r.hi) ? more : sum[i][j];
        }
    }
}

/* The keys of a piece that any vector sees, from value `value` of the piece's first key on. */
DEVICE void add_quarter(const struct attention_layer &a, const struct many_task &t, const struct many_shared &s,
                        int chunk, int quarter, const uint16_t *value, float sum[MINE][VALUE_DIMS])
{
    enum { STEP = 4 };
    struct range any = seen_by_any(a, t, chunk);
    struct range all = {visible(a, t.last, chunk).lo, visible(a, t.first, chunk).hi};
    int begin = max(any.lo, quarter * QUARTER) / STEP * STEP, end = min(any.hi, (quarter + 1) * QUARTER);
    for (int k = begin; k < end; k += STEP) {
        const uint16_t *x = value + (k - quarter * QUARTER) * SLICE;
        if (k >= all.lo && k + STEP <= all.hi) {
#pragma unroll
            for (int i = 0; i < STEP; i++)
                add_key<false>(a, s, chunk, k + i, x + i * SLICE, sum);
        } else {
            for (int i = 0; i < STEP; i++)
                add_key<true>(a, s, chunk, k + i, x + i * SLICE, sum);
        }
    }
}

/* The sums of a chunk join the totals, which are in the output until the row's last chunk divides them. */
DEVICE void merge_values(const struct attention_layer &a, const struct many_shared &s, int chunk, int d,
                         const float sum[MINE][VALUE_DIMS])
{
#pragma unroll
    for (int i = 0; i < MINE; i++) {
        int v = vector_of_mine(i), position = s.position[v];
        struct range r = visible(a, position, chunk);
        if (r.lo >= r.hi || d >= a.kv.head_dim)
            continue;
        float4 *out = reinterpret_cast<float4 *>(a.attended + (size_t)s.out[v] * a.kv.head_dim + d);
        float4 x = {0.0f, 0.0f, 0.0f, 0.0f};
        if (chunk > first_key(a, position) / KEY_CHUNK)
            x = *out;
        x.x = fma_rn(x.x, s.keep[v], mul_rn(sum[i][0], s.take[v]));
        x.y = fma_rn(x.y, s.keep[v], mul_rn(sum[i][1], s.take[v]));
        x.z = fma_rn(x.z, s.keep[v], mul_rn(sum[i][2], s.take[v]));
        x.w = fma_rn(x.w, s.keep[v], mul_rn(sum[i][3], s.take[v]));
        if (chunk == position / KEY_CHUNK)
            x = {div_rn(x.x, s.total[v]), div_rn(x.y, s.total[v]), div_rn(x.z, s.total[v]), div_rn(x.w, s.total[v])};
        *out = x;
    }
}

DEVICE void value_chunk(const struct attention_layer &a, const struct many_task &t, const struct many_shared &s,
                        int chunk, struct feed *feed)
{
    struct range r = seen_by_any(a, t, chunk);
    int x = (int)threadIdx.x / 8;
    for (int from = 0; from < a.kv.head_dim; from += SLICE) {
        float sum[MINE][VALUE_DIMS] = {};
        for (int quarter = r.lo / QUARTER; quarter * QUARTER < r.hi; quarter++)
            add_quarter(a, t, s, chunk, quarter, next_piece(a, t, s, feed) + x * VALUE_DIMS, sum);
        merge_values(a, s, chunk, from + x * VALUE_DIMS, sum);
    }
}

static __global__ void __launch_bounds__(THREADS, 2) attend_tiles(const struct attention_layer a)
{
    struct many_shared s = many_layout(a.kv.head_dim);
    wait_for_previous();
    let_next_start();
    struct many_task t = begin_tile(a, s);
    struct feed feed = {t.first_chunk, 0, false, 0};
    fetch_next(a, t, s, &feed);
    __syncthreads();
    float max = a.sinks[s.out[threadIdx.x % VECTORS] % a.n_head], total = 1.0f;
    for (int chunk = t.first_chunk; chunk <= t.last_chunk; chunk++) {
        score_chunk(a, t, s, chunk, &feed);
        __syncthreads();
        /* the last piece of keys has been used, the first one of values goes into the other buffer */
        weigh_chunk(a, s, chunk, reinterpret_cast<float *>(s.piece + (feed.turn ^ 1) * PIECE), &max, &total);
        value_chunk(a, t, s, chunk, &feed);
    }
}

void attend_many(struct backend *b, const struct attention_layer &layer)
{
    run_kernel(b, dim3(b->attention->n_tile * layer.kv.n_kv_head), dim3(THREADS), attend_many_bytes(layer.kv.head_dim),
               attend_tiles, layer);
}
