/* Attention for few rows, which is bound by reading keys and values, or by waiting for them. A CTA looks at one row and
 * HEADS query heads of one key head: it fetches a chunk of keys and of values into shared memory, all of it at once,
 * and the next one as soon as there is room. If rows are too few to keep the GPU busy, every CTA takes one chunk, and a
 * second kernel merges them. Every sum is made in the order of docs/arithmetic.md. */
#include "cuda/attention.h"

enum {
    THREADS = 128,
    WARPS = THREADS / 32,
    KEY_PAD = 16,                    /* halves between the keys of two tiles, .. */
    SCORE_PITCH = KEY_CHUNK + LANES, /* .. floats from one head's scores to the next: for the banks */
    MERGE_THREADS = 256
};

struct few {
    struct attention_layer layer;
    int chunks;     /* 0: all of a row by one CTA; else room for so many in `partial` */
    float *partial; /* [row][chunk][n_head][head_dim] */
    float *partial_max, *partial_sum;
};

/* The index-th of the few rows: in a small step they are all. */
DEVICE int few_row(const struct few &a, int index)
{
    return a.layer.batch.n_row > FEW_ROWS ? a.layer.plan.few[index] : index;
}

/* What a CTA has in shared memory. */
struct few_shared {
    uint16_t *key;      /* [KEY_TILES][a tile's keys, KEY_PAD] */
    uint16_t *value;    /* [KEY_CHUNK][head_dim] */
    float *query;       /* [head_dim][HEADS] */
    float *score;       /* [HEADS][SCORE_PITCH] */
    float *total;       /* [HEADS][head_dim] */
    float *keep, *take; /* [HEADS] factors of the merge */
};

static size_t few_bytes(int heads, int head_dim)
{
    size_t halves = (size_t)KEY_TILES * (KEY_TILE * head_dim + KEY_PAD) + (size_t)KEY_CHUNK * head_dim;
    return halves * sizeof(uint16_t) + ((size_t)2 * head_dim + SCORE_PITCH + 2) * heads * sizeof(float);
}

DEVICE struct few_shared few_layout(int heads, int head_dim)
{
    struct few_shared s;
    s.key = reinterpret_cast<uint16_t *>(SHARED_BYTES());
    s.value = s.key + KEY_TILES * (KEY_TILE * head_dim + KEY_PAD);
    s.query = reinterpret_cast<float *>(s.value + KEY_CHUNK * head_dim);
    s.score = s.query + head_dim * heads;
    s.total = s.score + heads * SCORE_PITCH;
    s.keep = s.total + heads * head_dim;
    s.take = s.keep + heads;
    return s;
}

/* Begins to copy keys or values of the chunk's tiles that hold visible positions. */
DEVICE void fetch(const struct kv &kv, const struct tile_run &run, struct range r, bool value, uint16_t *shared)
{
    int halves = KEY_TILE * kv.head_dim, pitch = halves + (value ? 0 : KEY_PAD), first = r.lo / KEY_TILE;
    for (int t = first; t * KEY_TILE < r.hi; t++) {
        const uint16_t *tile = tile_at(kv, run, t - first) + (value ? halves : 0);
        for (int i = 8 * (int)threadIdx.x; i < halves; i += 8 * THREADS)
            copy_async_16(shared + t * pitch + i, tile + i);
    }
}

/* score[head][key] for two neighbouring keys. */
template <int HEADS> DEVICE void score_keys(const struct few_shared &s, int head_dim, struct range r)
{
    int k = 2 * (int)threadIdx.x;
    if (k + 1 < r.lo || k >= r.hi)
        return;
    const uint16_t *key = s.key + k / KEY_TILE * (KEY_TILE * head_dim + KEY_PAD) + k % KEY_TILE;
    float low[HEADS] = {}, high[HEADS] = {};
#pragma unroll 8
    for (int d = 0; d < head_dim; d++) {
        float2 pair = half_pair(*reinterpret_cast<const uint32_t *>(key + d * KEY_TILE));
        float q[HEADS];
        read_floats<HEADS>(q, s.query + d * HEADS);
#pragma unroll
        for (int h = 0; h < HEADS; h++) {
            low[h] = fma_rn(q[h], pair.x, low[h]);
            high[h] = fma_rn(q[h], pair.y, high[h]);
        }
    }
    float scale = div_rn(1.0f, sqrt_rn((float)head_dim));
#pragma unroll
    for (int h = 0; h < HEADS; h++) {
        s.score[h * SCORE_PITCH + k] = mul_rn(low[h], scale);
        s.score[h * SCORE_PITCH + k + 1] = mul_rn(high[h], scale);
    }
}

/* The visible scores of a head become exponentials. By LANES threads, each of which has every LANES-th key, by all of
 * a warp; both results are in all of them. */
DEVICE void exponentials(float *score, struct range r, int lane, float *max, float *sum)
{
    float x[KEY_TILES], m = -INFINITY, l = 0.0f;
#pragma unroll
    for (int t = 0; t < KEY_TILES; t++) {
        int k = t * KEY_TILE + lane;
        x[t] = score[k];
        m = k >= r.lo && k < r.hi ? greater(x[t], m) : m;
    }
    for (int mask = LANES / 2; mask > 0; mask /= 2)
        m = greater(shfl_xor_f32(m, mask), m);
#pragma unroll
    for (int t = 0; t < KEY_TILES; t++) {
        int k = t * KEY_TILE + lane;
        float p = fmath_exp_f32(sub_rn(x[t], m));
        if (k < r.lo || k >= r.hi)
            continue;
        score[k] = p;
        l = add_rn(l, p);
    }
    for (int mask = LANES / 2; mask > 0; mask /= 2)
        l = add_rn(l, shfl_xor_f32(l, mask));
    *max = m;
    *sum = l;
}

/* Adds KEYS keys in order to values d and d + 1 of MINE heads. */
template <int MINE, int KEYS>
DEVICE void add_keys(const float *score, const uint16_t *value, int head_dim, float sum[MINE][2])
{
    float p[MINE][KEYS];
#pragma unroll
    for (int h = 0; h < MINE; h++)
        read_floats<KEYS>(p[h], score + h * SCORE_PITCH);
#pragma unroll
    for (int k = 0; k < KEYS; k++) {
        float2 v = half_pair(*reinterpret_cast<const uint32_t *>(value + k * head_dim));
#pragma unroll
        for (int h = 0; h < MINE; h++) {
            sum[h][0] = fma_rn(p[h][k], v.x, sum[h][0]);
            sum[h][1] = fma_rn(p[h][k], v.y, sum[h][1]);
        }
    }
}

/* The chunk's values, two for every thread at a time and each warp for heads of its own. They join the totals, or go to
 * `partial` [heads][head_dim]. */
template <int HEADS>
DEVICE void sum_values(const struct few_shared &s, int head_dim, struct range r, float *partial, int heads)
{
    enum { MINE = HEADS / WARPS };
    int first = (int)threadIdx.x / 32 * MINE;
    const float *score = s.score + first * SCORE_PITCH;
    for (int d = 2 * ((int)threadIdx.x % 32); d < head_dim; d += 64) {
        float sum[MINE][2] = {};
        const uint16_t *value = s.value + d;
        int k = r.lo;
        for (; k < r.hi && k % 4 != 0; k++)
            add_keys<MINE, 1>(score + k, value + k * head_dim, head_dim, sum);
#pragma unroll 4
        for (; k + 4 <= r.hi; k += 4)
            add_keys<MINE, 4>(score + k, value + k * head_dim, head_dim, sum);
        for (; k < r.hi; k++)
            add_keys<MINE, 1>(score + k, value + k * head_dim, head_dim, sum);
#pragma unroll
        for (int h = 0; h < MINE; h++)
            for (int i = 0; i < 2; i++) {
                int head = first + h, at = head * head_dim + d + i;
                if (!partial)
                    s.total[at] = fma_rn(s.total[at], s.keep[head], mul_rn(sum[h][i], s.take[head]));
                else if (head < heads)
                    partial[at] = sum[h][i];
            }
    }
}

/* Queries as [head_dim][HEADS], zero where there are no more heads, and totals of zero. */
template <int HEADS> DEVICE void begin_heads(const struct few_shared &s, int head_dim, const float *query, int heads)
{
    for (int h = 0; h < HEADS; h++)
        for (int d = (int)threadIdx.x; d < head_dim; d += THREADS) {
            s.query[d * HEADS + h] = h < heads ? query[h * head_dim + d] : 0.0f;
            s.total[h * head_dim + d] = 0.0f;
        }
}

/* What a CTA is to do. */
struct few_task {
    int index, row, sequence, position; /* index of the row among the few */
    int kv_head, first, heads;          /* query heads first .. first + heads - 1 */
    int begin, end;                     /* chunks [begin, end) */
};

template <int HEADS> DEVICE struct few_task few_task_of(const struct few &a)
{
    struct few_task t;
    int parts = (a.layer.group + HEADS - 1) / HEADS, part = (int)blockIdx.y % parts;
    t.index = (int)blockIdx.z;
    t.row = few_row(a, t.index);
    t.sequence = a.layer.batch.sequence_of[t.row];
    t.position = a.layer.batch.position[t.row];
    t.kv_head = (int)blockIdx.y / parts;
    t.first = t.kv_head * a.layer.group + part * HEADS;
    t.heads = min((int)HEADS, a.layer.group - part * HEADS);
    t.begin = a.chunks ? (int)blockIdx.x : first_key(a.layer, t.position) / KEY_CHUNK;
    t.end = a.chunks ? min(t.begin, t.position / KEY_CHUNK) + 1 : t.position / KEY_CHUNK + 1;
    return t;
}

DEVICE void fetch_chunk(const struct few &a, const struct few_task &t, int chunk, bool value, uint16_t *shared)
{
    struct range r = visible(a.layer, t.position, chunk);
    int position = chunk * KEY_CHUNK + r.lo;
    struct tile_run run =
        cache_run(a.layer.kv, a.layer.batch, a.layer.slot, a.layer.sliding, t.sequence, t.kv_head, position);
    fetch(a.layer.kv, run, r, value, shared);
}

/* Both planes of the first chunk, as two groups of copies. */
DEVICE void fetch_first(const struct few &a, const struct few_task &t, const struct few_shared &s)
{
    fetch_chunk(a, t, t.begin, false, s.key);
    copy_async_commit();
    fetch_chunk(a, t, t.begin, true, s.value);
    copy_async_commit();
}

/* Groups of copies are committed in turn: keys, values, keys, .., empty ones behind the last chunk. So all but the
 * newest have arrived where one is waited for. */
template <int HEADS> static __global__ void __launch_bounds__(THREADS) attend_rows(const struct few a)
{
    int d = a.layer.kv.head_dim, head = (int)threadIdx.x / LANES, lane = (int)threadIdx.x % LANES;
    struct few_shared s = few_layout(HEADS, d);
    struct few_task t = few_task_of<HEADS>(a);
    bool old = (t.begin + 1) * KEY_CHUNK <= a.layer.batch.first_position[t.sequence]; /* written by earlier steps */
    if (t.begin < t.end && old)
        fetch_first(a, t, s);
    wait_for_previous();
    let_next_start();
    if (t.begin >= t.end)
        return;
    if (!old)
        fetch_first(a, t, s);
    begin_heads<HEADS>(s, d, a.layer.query + ((size_t)t.row * a.layer.n_head + t.first) * d, t.heads);
    float max = head < t.heads ? a.layer.sinks[t.first + head] : 0.0f, total = 1.0f;
    size_t pair = ((size_t)t.index * a.chunks + t.begin) * a.layer.n_head + t.first;
    for (int chunk = t.begin; chunk < t.end; chunk++) {
        struct range r = visible(a.layer, t.position, chunk);
        copy_async_wait<1>();
        __syncthreads();
        score_keys<HEADS>(s, d, r);
        __syncthreads();
        if (chunk + 1 < t.end)
            fetch_chunk(a, t, chunk + 1, false, s.key);
        copy_async_commit();
        if ((int)threadIdx.x < HEADS * LANES) {
            float chunk_max, chunk_sum;
            exponentials(s.score + head * SCORE_PITCH, r, lane, &chunk_max, &chunk_sum);
            float after = greater(chunk_max, max), keep = fmath_exp_f32(sub_rn(max, after));
            float take = fmath_exp_f32(sub_rn(chunk_max, after));
            total = fma_rn(total, keep, mul_rn(chunk_sum, take));
            max = after;
            s.keep[head] = keep;
            s.take[head] = take;
            if (a.chunks && lane == 0 && head < t.heads) {
                a.partial_max[pair + head] = chunk_max;
                a.partial_sum[pair + head] = chunk_sum;
            }
        }
        copy_async_wait<1>();
        __syncthreads();
        sum_values<HEADS>(s, d, r, a.chunks ? a.partial + pair * d : NULL, t.heads);
        __syncthreads();
        if (chunk + 1 < t.end)
            fetch_chunk(a, t, chunk + 1, true, s.value);
        copy_async_commit();
    }
    if (a.chunks || head >= t.heads)
        return;
    float *out = a.layer.attended + ((size_t)t.row * a.layer.n_head + t.first + head) * d;
    for (int i = lane; i < d; i += LANES)
        out[i] = div_rn(s.total[head * d + i], total);
}

/* The chunks of one row and head, in order of position. A thread has one of the head's values; factors are made for as
 * many chunks at a time as there are threads. */
static __global__ void __launch_bounds__(MERGE_THREADS) merge_chunks(const struct few a)
{
    __shared__ __align__(16) float chunk_max[MERGE_THREADS], chunk_sum[MERGE_THREADS], keep[MERGE_THREADS];
    __shared__ __align__(16) float take[MERGE_THREADS], newest;
    int i = (int)threadIdx.x, head = (int)blockIdx.x, n_head = a.layer.n_head, head_dim = a.layer.kv.head_dim;
    int row = few_row(a, (int)blockIdx.y), end = a.layer.batch.position[row] / KEY_CHUNK + 1;
    wait_for_previous();
    let_next_start();
    float max = a.layer.sinks[head], total = 1.0f, sum = 0.0f;
    for (int begin = 0; begin < end; begin += (int)blockDim.x) {
        int n = min(end - begin, (int)blockDim.x);
        size_t pair = ((size_t)blockIdx.y * a.chunks + begin) * n_head + head;
        if (i < n) {
            chunk_max[i] = a.partial_max[pair + (size_t)i * n_head];
            chunk_sum[i] = a.partial_sum[pair + (size_t)i * n_head];
        }
        __syncthreads();
        if (i < n) {
            float before = max;
            for (int j = 0; j < i; j++)
                before = greater(chunk_max[j], before);
            float after = greater(chunk_max[i], before);
            keep[i] = fmath_exp_f32(sub_rn(before, after));
            take[i] = fmath_exp_f32(sub_rn(chunk_max[i], after));
            if (i == n - 1)
                newest = after;
        }
        __syncthreads();
        const float *partial = a.partial + pair * head_dim + min(i, head_dim - 1);
#pragma unroll 16
        for (int j = 0; j < n; j++) {
            total = fma_rn(total, keep[j], mul_rn(chunk_sum[j], take[j]));
            sum = fma_rn(sum, keep[j], mul_rn(partial[(size_t)j * n_head * head_dim], take[j]));
        }
        max = newest;
        __syncthreads();
    }
    if (i < head_dim)
        a.layer.attended[((size_t)row * n_head + head) * head_dim + i] = div_rn(sum, total);
}

size_t attend_few_bytes(int head_dim)
{
    return few_bytes(8, head_dim);
}

void attend_few(struct backend *b, const struct attention_layer &layer)
{
    const struct attention *attention = b->attention;
    struct few a = {.layer = layer,
                    .chunks = layer.sliding ? 0 : attention->chunks,
                    .partial = attention->partial,
                    .partial_max = attention->partial_max,
                    .partial_sum = attention->partial_sum};
    int rows = attention->n_few, chunks = a.chunks ? a.chunks : 1, head_dim = layer.kv.head_dim;
    /* Eight heads share the keys that a CTA reads; with four there are more CTAs. */
    bool four = layer.group <= 4 || rows * chunks * layer.kv.n_kv_head * ((layer.group + 7) / 8) < b->multiprocessors;
    int heads = four ? 4 : 8, parts = (layer.group + heads - 1) / heads;
    run_kernel(b, dim3(chunks, layer.kv.n_kv_head * parts, rows), dim3(THREADS), few_bytes(heads, head_dim),
               four ? attend_rows<4> : attend_rows<8>, a);
    if (a.chunks)
        run_kernel(b, dim3(layer.n_head, rows), dim3(head_dim > 128 ? MERGE_THREADS : 128), 0, merge_chunks, a);
}
