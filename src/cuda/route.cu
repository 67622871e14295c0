/* The choice of experts: router, the greatest logits and their weights, and the slots sorted by expert.
 * docs/arithmetic.md.
 *
 * A CTA takes one segment of one row group of the router for up to ROWS rows, so that the long sums run beside each
 * other; whichever CTA of those rows comes last joins the segments and chooses. For few rows the same kernel norms them
 * first and sorts the slots in the end. */
#include "cuda/norm.h"

enum {
    THREADS = 128,
    ROWS = THREADS / (int)TILE_ROWS, /* of a CTA: every thread has one expert and one row */
    PITCH = (int)SEGMENT + 4,        /* floats from one row to the next in shared memory, for the banks */
    SORTERS = 8                      /* warps that sort the slots of one expert */
};

static_assert((int)ROWS == (int)FEW_ROWS, "few rows are one CTA's");

struct route {
    int n_row, d_model, n_expert, n_active;
    struct matrix router;
    const float *bias;     /* [n_expert] */
    const float *x, *gain; /* few rows: [n_row][d_model] and the norm's */
    float eps;
    bool mxfp4;         /* the order of the panel */
    float *normed;      /* [n_row][d_model]: few rows put it there, many find it */
    struct panel panel; /* few rows: the same rounded; q may be NULL */
    float *sum;         /* [n_row][segments][width] */
    int32_t *done;      /* [tiles of rows] segments and groups that are summed; 0 before and after */
    int32_t *chosen;    /* [n_row][n_active] */
    float *weight;      /* [n_row][n_active] */
    int32_t *expert_first, *slot_of, *place, *active, *active_count;
};

static __host__ __device__ inline int segment_count(const struct route &r)
{
    return (r.d_model + SEGMENT - 1) / SEGMENT;
}

static __host__ __device__ inline int width_of(const struct route &r)
{
    return group_count(r.n_expert) * TILE_ROWS;
}

/* Shared memory: weights [SEGMENT][TILE_ROWS], rows [ROWS][PITCH], and few rows as they are [n_row][d_model]. A choice
 * has logits [n_expert] and marks [n_expert] for every warp in the same place. */
static size_t route_bytes(const struct route &r, bool few)
{
    size_t sums = (size_t)SEGMENT * TILE_ROWS + ROWS * PITCH + (few ? (size_t)r.n_row * r.d_model : 0);
    size_t choice = (size_t)THREADS / 32 * 2 * r.n_expert;
    return (sums > choice ? sums : choice) * sizeof(float);
}

/* ---- the sums ---- */

/* The part of the router that a CTA multiplies with. */
struct part {
    int group, segment, first, n; /* inputs first .. first + n - 1 */
};

DEVICE struct part part_of(const struct route &r)
{
    int segments = segment_count(r), segment = (int)blockIdx.x % segments;
    return {(int)blockIdx.x / segments, segment, segment * SEGMENT, min(r.d_model - segment * SEGMENT, (int)SEGMENT)};
}

DEVICE void fetch_weights(const struct route &r, const struct part &part, float *weight)
{
    const float *from =
        reinterpret_cast<const float *>(r.router.quants) + ((size_t)part.group * r.d_model + part.first) * TILE_ROWS;
    for (int i = 4 * (int)threadIdx.x; i < part.n * TILE_ROWS; i += 4 * THREADS)
        copy_async_16(weight + i, from + i);
    copy_async_commit();
}

/* All of few rows into x, their part normed into `row`; the CTAs of the first row group keep it for others as well. */
DEVICE void norm_few(const struct route &r, const struct part &part, float *row, float *x)
{
    __shared__ __align__(16) float factor[ROWS];
    int warp = (int)threadIdx.x / 32;
    for (int i = 4 * (int)threadIdx.x; i < r.n_row * r.d_model; i += 4 * THREADS)
        *reinterpret_cast<float4 *>(x + i) = *reinterpret_cast<const float4 *>(r.x + i);
    __syncthreads();
    for (int t = warp; t < r.n_row; t += THREADS / 32) {
        float f = rms_factor(x + t * r.d_model, r.d_model, r.eps);
        if (threadIdx.x % 32 == 0)
            factor[t] = f;
    }
    __syncthreads();
    for (int t = 0; t < r.n_row; t++) {
        const float *from = x + t * r.d_model + part.first, *gain = r.gain + part.first;
        for (int k = (int)threadIdx.x; k < part.n; k += THREADS)
            row[t * PITCH + k] = mul_rn(mul_rn(from[k], factor[t]), gain[k]);
        if (part.group > 0)
            continue;
        struct panel_column column = {NULL, NULL, BLOCK, 1};
        if (r.panel.q) {
            column.q = r.panel.q + (size_t)t * r.d_model + part.first;
            column.scale = r.panel.scale + (size_t)t * scale_stride(r.d_model) + part.first / BLOCK;
        }
        quantise_row(from, gain, factor[t], part.n, r.mxfp4, column, r.normed + (size_t)t * r.d_model + part.first);
    }
}

/* The part of up to ROWS rows that are normed already. */
DEVICE void read_rows(const struct route &r, const struct part &part, int first, float *row)
{
    for (int t = 0; t < ROWS && first + t < r.n_row; t++)
        for (int k = (int)threadIdx.x; k < part.n; k += THREADS)
            row[t * PITCH + k] = r.normed[(size_t)(first + t) * r.d_model + part.first + k];
}

/* One expert and one row. */
DEVICE float sum_part(const float *weight, const float *row, int n)
{
    float sum = 0.0f;
#pragma unroll 4
    for (int k = 0; k < n; k += 4) {
        float x[4];
        read_floats<4>(x, row + k);
        for (int i = 0; i < 4; i++)
            sum = fma_rn(weight[(k + i) * TILE_ROWS], x[i], sum);
    }
    return sum;
}

/* ---- the choice, by a warp for a row ---- */

/* A logit, and the lower index among equals. index is -1 if there is none. */
struct best {
    float logit;
    int index;
};

DEVICE struct best better(struct best a, struct best b)
{
    bool b_wins = b.index >= 0 && (a.index < 0 || b.logit > a.logit || (b.logit == a.logit && b.index < a.index));
    return b_wins ? b : a;
}

/* The greatest logit that is not marked. If the first one of those is no number, that one: so it is in src/cpu, where
 * nothing is greater. */
DEVICE int find_best(const float *logit, const int *mark, int n)
{
    struct best best = {0.0f, -1};
    int first = n;
    for (int e = (int)threadIdx.x % 32; e < n; e += 32) {
        if (mark[e])
            continue;
        first = min(first, e);
        if (logit[e] == logit[e])
            best = better(best, {logit[e], e});
    }
    for (int mask = 16; mask > 0; mask /= 2) {
        first = min(first, shfl_xor_i32(first, mask));
        best = better(best, {shfl_xor_f32(best.logit, mask), shfl_xor_i32(best.index, mask)});
    }
    return logit[first] == logit[first] ? best.index : first;
}

DEVICE void choose(const struct route &r, int row, float *logit, int *mark)
{
    int lane = (int)threadIdx.x % 32, segments = segment_count(r), width = width_of(r);
    const float *sum = r.sum + (size_t)row * segments * width;
    for (int e = lane; e < r.n_expert; e += 32) {
        float total = sum[e];
        for (int s = 1; s < segments; s++)
            total = add_rn(total, sum[s * width + e]);
        logit[e] = add_rn(total, r.bias[e]);
        mark[e] = 0;
    }
    warp_sync();
    int32_t *chosen = r.chosen + (size_t)row * r.n_active;
    float *weight = r.weight + (size_t)row * r.n_active, greatest = 0.0f, total = 0.0f;
    for (int s = 0; s < r.n_active; s++) {
        int e = find_best(logit, mark, r.n_expert);
        greatest = s ? greatest : logit[e];
        float x = fmath_exp_f32(sub_rn(logit[e], greatest));
        total = s ? add_rn(total, x) : x;
        warp_sync();
        if (lane == 0) {
            mark[e] = 1;
            chosen[s] = e;
            weight[s] = x;
        }
        warp_sync();
    }
    for (int s = 0; lane == 0 && s < r.n_active; s++)
        weight[s] = div_rn(weight[s], total);
}

/* ---- slots in order of experts ---- */

/* How many of the slots [begin, end) have a lower expert, how many this one; by a warp. */
DEVICE void count_slots(const int32_t *chosen, int begin, int end, int expert, int *less, int *equal)
{
    int below = 0, same = 0;
#pragma unroll 4
    for (int slot = begin + (int)threadIdx.x % 32; slot < end; slot += 32) {
        int e = chosen[slot];
        below += e < expert;
        same += e == expert;
    }
    for (int mask = 16; mask > 0; mask /= 2) {
        below += shfl_xor_i32(below, mask);
        same += shfl_xor_i32(same, mask);
    }
    *less = below;
    *equal = same;
}

/* Gives the expert's slots of [begin, end) the places from `next` on, in order; by a warp. */
DEVICE void place_slots(const struct route &r, int begin, int end, int expert, int next)
{
    int lane = (int)threadIdx.x % 32;
    for (int base = begin; base < end; base += 32) {
        int slot = base + lane;
        bool mine = slot < end && r.chosen[slot] == expert;
        uint32_t all = warp_ballot(mine);
        int at = next + count_bits(all & ((1u << lane) - 1u));
        if (mine) {
            r.slot_of[at] = slot;
            r.place[slot] = at;
        }
        next += count_bits(all);
    }
}

/* Few slots: all experts by one CTA, and the list of those that have any. */
DEVICE void sort_few(const struct route &r)
{
    int n = r.n_row * r.n_active, warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, before = 0;
    for (int e = warp; e < r.n_expert; e += THREADS / 32) {
        int less, equal;
        count_slots(r.chosen, 0, n, e, &less, &equal);
        place_slots(r, 0, n, e, less);
        if (lane == 0)
            r.expert_first[e] = less;
    }
    if (threadIdx.x == 0)
        r.expert_first[r.n_expert] = n;
    __syncthreads();
    for (int base = 0; warp == 0 && base < r.n_expert; base += 32) {
        int e = base + lane;
        bool used = e < r.n_expert && r.expert_first[e] < r.expert_first[e + 1];
        uint32_t all = warp_ballot(used);
        if (used)
            r.active[before + count_bits(all & ((1u << lane) - 1u))] = e;
        before += count_bits(all);
    }
    for (int i = before + lane; warp == 0 && i < r.n_expert; i += 32)
        r.active[i] = -1;
    if (threadIdx.x == 0)
        *r.active_count = before;
}

/* Many slots: a CTA an expert, each warp a run of slots. */
static __global__ void __launch_bounds__(32 * SORTERS) sort_many(const struct route r)
{
    __shared__ int less[SORTERS], equal[SORTERS];
    int n = r.n_row * r.n_active, warp = (int)threadIdx.x / 32, run = (n + SORTERS - 1) / SORTERS;
    int begin = min(warp * run, n), end = min(begin + run, n), expert = (int)blockIdx.x, l, e, first = 0, next = 0;
    wait_for_previous();
    let_next_start();
    count_slots(r.chosen, begin, end, expert, &l, &e);
    if (threadIdx.x % 32 == 0) {
        less[warp] = l;
        equal[warp] = e;
    }
    __syncthreads();
    for (int w = 0; w < SORTERS; w++) {
        first += less[w];
        next += w < warp ? equal[w] : 0;
    }
    place_slots(r, begin, end, expert, first + next);
    if (threadIdx.x == 0)
        r.expert_first[expert] = first;
    if (threadIdx.x == 0 && expert == r.n_expert - 1)
        r.expert_first[r.n_expert] = n;
}

/* ---- the kernel ---- */

template <bool FEW> static __global__ void __launch_bounds__(THREADS) route_rows(const struct route r)
{
    float *weight = reinterpret_cast<float *>(SHARED_BYTES()), *row = weight + (int)SEGMENT * TILE_ROWS;
    int expert = (int)threadIdx.x % TILE_ROWS, t = (int)threadIdx.x / TILE_ROWS, first = (int)blockIdx.y * ROWS;
    int width = width_of(r), warp = (int)threadIdx.x / 32;
    struct part part = part_of(r);
    fetch_weights(r, part, weight);
    wait_for_previous();
    let_next_start();
    if (FEW)
        norm_few(r, part, row, row + ROWS * PITCH);
    else
        read_rows(r, part, first, row);
    copy_async_wait<0>();
    __syncthreads();
    if (first + t < r.n_row)
        r.sum[((size_t)(first + t) * segment_count(r) + part.segment) * width + part.group * TILE_ROWS + expert] =
            sum_part(weight + expert, row + t * PITCH, part.n);
    if (!comes_last(&r.done[blockIdx.y], (int)gridDim.x))
        return;
    float *logit = weight + (size_t)warp * 2 * r.n_expert;
    for (int i = warp; i < ROWS && first + i < r.n_row; i += THREADS / 32)
        choose(r, first + i, logit, reinterpret_cast<int *>(logit + r.n_expert));
    __syncthreads();
    if (r.n_row <= FEW_ROWS)
        sort_few(r);
}

void route_stage(struct backend *b, int layer)
{
    const struct model_config *c = &b->model->config;
    const struct layer &l = device_layer(b, layer);
    struct route r = {.n_row = b->batch.n_row,
                      .d_model = c->d_model,
                      .n_expert = c->n_expert,
                      .n_active = c->n_active,
                      .router = l.router,
                      .bias = l.router_bias,
                      .x = b->a.x,
                      .gain = l.mlp_norm,
                      .eps = c->rms_eps,
                      .mxfp4 = l.gate_up.type == DTYPE_TILE_MXFP4,
                      .normed = b->a.normed,
                      .panel = is_integer(&l.gate_up) ? b->a.in : panel{},
                      .sum = b->a.router_sum,
                      .done = b->a.router_done,
                      .chosen = b->a.chosen,
                      .weight = b->a.weight,
                      .expert_first = b->a.expert_first,
                      .slot_of = b->a.slot_of,
                      .place = b->a.place,
                      .active = b->a.active,
                      .active_count = b->a.active_count};
    bool few = r.n_row <= FEW_ROWS && route_bytes(r, true) <= (size_t)b->shared_limit;
    dim3 grid(segment_count(r) * group_count(r.n_expert), (r.n_row + ROWS - 1) / ROWS);
    if (!few)
        norm_rows(b, r.gain, NULL, r.n_row, &l.gate_up);
    run_kernel(b, grid, dim3(THREADS), route_bytes(r, few), few ? route_rows<true> : route_rows<false>, r);
    if (r.n_row > FEW_ROWS)
        run_kernel(b, dim3(r.n_expert), dim3(32 * SORTERS), 0, sort_many, r);
}
