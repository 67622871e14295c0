/* Between the first product and attention, for steps of more than a few rows: queries and keys are turned, keys and
 * values go into the cache. docs/arithmetic.md.
 *
 * On a sliding layer the keys and values of a sequence with more than a few rows go into the stage, behind a copy of
 * those before them that its first rows still see; then the last of them go into the ring. */
#include "cuda/attention.h"
#include "cuda/epilogue.h"

enum { THREADS = 128, ROWS = 16 /* of a CTA */, MOST_DIM = 2 * ROPE_MAX_HALF };

struct turned_heads {
    struct attention_layer layer;
    const float *qkv; /* [n_row][n_head + 2 n_kv_head][head_dim], bias added */
    const float *cosine, *sine;
    float *query; /* [n_row][n_head][head_dim] */
};

DEVICE bool is_staged(const struct attention_layer &l, int sequence)
{
    return l.sliding && l.batch.n_rows_of[sequence] > FEW_ROWS;
}

DEVICE uint16_t *stage_tile(const struct attention_layer &l, int sequence, int kv_head, int position)
{
    int place = l.plan.stage_place[sequence] + position / KEY_TILE;
    return l.stage + ((size_t)kv_head * l.stage_tiles + place) * l.kv.tile;
}

/* Puts element e of a row's key and value where attention looks for it. */
DEVICE void store_element(const struct attention_layer &l, int row, int kv_head, int e, float x)
{
    int sequence = l.batch.sequence_of[row], position = l.batch.position[row];
    if (is_staged(l, sequence))
        *kv_element(l.kv, stage_tile(l, sequence, kv_head, position), position, e) = fmath_f32_to_f16(x);
    else
        kv_store(l.kv, l.batch, l.slot, l.sliding, row, kv_head, e % l.kv.head_dim, e >= l.kv.head_dim, x);
}

/* ROWS rows of one head, by way of shared memory: queries and values lie row by row, keys position by position. */
static __global__ void __launch_bounds__(THREADS) turn_heads(const struct turned_heads h)
{
    __shared__ float x[ROWS][MOST_DIM + 1];
    const struct attention_layer &l = h.layer;
    int d = l.kv.head_dim, half = d / 2, head = (int)blockIdx.y, first = (int)blockIdx.x * ROWS;
    int n = min(l.batch.n_row - first, (int)ROWS), heads = l.n_head + 2 * l.kv.n_kv_head;
    bool query = head < l.n_head, value = head >= l.n_head + l.kv.n_kv_head;
    int kv_head = (head - l.n_head) % l.kv.n_kv_head;
    wait_for_previous();
    let_next_start();
    for (int i = (int)threadIdx.x; i < n * d; i += THREADS)
        x[i / d][i % d] = h.qkv[((size_t)(first + i / d) * heads + head) * d + i % d];
    __syncthreads();
    for (int i = (int)threadIdx.x; !value && i < n * half; i += THREADS) {
        size_t angle = (size_t)(first + i / half) * half + i % half;
        rotate_pair(&x[i / half][i % half], &x[i / half][i % half + half], h.cosine[angle], h.sine[angle]);
    }
    __syncthreads();
    for (int i = (int)threadIdx.x; i < ROWS * d; i += THREADS) {
        bool by_row = query || value;
        int row = by_row ? i / d : i % ROWS, e = by_row ? i % d : i / ROWS;
        if (row >= n)
            continue;
        if (query)
            h.query[((size_t)(first + row) * l.n_head + head) * d + e] = x[row][e];
        else
            store_element(l, first + row, kv_head, value ? d + e : e, x[row][e]);
    }
}

/* Between ring and stage, a CTA a position and key head: into the stage what the first rows see of the positions before
 * them, or into the ring as many of the newest positions as it holds. */
static __global__ void __launch_bounds__(THREADS) copy_stage(const struct attention_layer l, bool to_ring)
{
    int sequence = (int)blockIdx.z, kv_head = (int)blockIdx.y, first = l.batch.first_position[sequence];
    int end = to_ring ? first + l.batch.n_rows_of[sequence] : first, position = end - 1 - (int)blockIdx.x;
    int begin = to_ring ? first : max(first - l.window + 1, 0);
    wait_for_previous();
    let_next_start();
    if (!is_staged(l, sequence) || position < begin)
        return;
    uint16_t *stage = stage_tile(l, sequence, kv_head, position);
    uint16_t *ring = tile_at(l.kv, ring_run(l.kv, l.batch.ring[sequence], l.slot, kv_head, position), 0);
    for (int e = (int)threadIdx.x; e < 2 * l.kv.head_dim; e += THREADS) {
        uint16_t *in_stage = kv_element(l.kv, stage, position, e), *in_ring = kv_element(l.kv, ring, position, e);
        *(to_ring ? in_ring : in_stage) = *(to_ring ? in_stage : in_ring);
    }
}

void heads_stage(struct backend *b, int layer)
{
    const struct model_config *c = &b->model->config;
    struct turned_heads h = {.layer = attention_of(b, layer),
                             .qkv = b->a.qkv,
                             .cosine = b->a.cosine,
                             .sine = b->a.sine,
                             .query = b->a.q_rows};
    bool staged = c->sliding[layer] && b->attention->most_rows > FEW_ROWS;
    int held = b->kv.ring_tiles * KEY_TILE, newest = held < b->attention->most_rows ? held : b->attention->most_rows;
    if (staged && c->window > 1)
        run_kernel(b, dim3(c->window - 1, c->n_kv_head, b->batch.n_sequence), dim3(THREADS), 0, copy_stage, h.layer,
                   false);
    run_kernel(b, dim3((b->batch.n_row + ROWS - 1) / ROWS, c->n_head + 2 * c->n_kv_head), dim3(THREADS), 0, turn_heads,
               h);
    if (staged)
        run_kernel(b, dim3(newest, c->n_kv_head, b->batch.n_sequence), dim3(THREADS), 0, copy_stage, h.layer, true);
}
