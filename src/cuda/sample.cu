/* Drawing ids where the logits are: docs/sampling.md, steps 1 and 6 to 11. All that is summed is integers, so the CTAs
 * share a row out as they like: SLICE ids each.
 *
 *   scan    the greatest logit of every slice, and whether all are finite
 *   cut     top-k and top-p, by one CTA a row; only if a row asks for them
 *   weigh   the sum of every slice's weights
 *   pick    the slice and in it the id that the random number falls on */
#include "cuda/state.h"

#include "base/weigh_inline.h"

enum {
    THREADS = 256,
    SLICE = 4096, /* ids */
    MINE = SLICE / THREADS,
    CUTTERS = 1024, /* threads */
    RADIX_BITS = 11,
    RADIX = 1 << RADIX_BITS
};

/* What a row's kernels tell each other. */
struct draw_state {
    float cut; /* ids that rank below (cut, last) are out: by greater logit, then by lower id */
    int32_t last;
};

struct slice_state {
    float max;
    int32_t id;   /* the first that has it; -1 if a logit is not finite */
    uint64_t sum; /* of weights */
};

struct sampling {
    const float *logits; /* [rows][n_vocab] */
    int n_vocab, slices;
    const struct batch_draw *draw; /* [rows] */
    struct draw_state *row;        /* [rows] */
    struct slice_state *slice;     /* [rows][slices] */
    int32_t *drawn;                /* [rows] -1 where no id could be drawn */
};

/* ---- sums over a CTA ---- */

DEVICE uint64_t shfl_u64(uint64_t x, int lane)
{
    uint32_t low = (uint32_t)shfl_i32((int32_t)x, lane), high = (uint32_t)shfl_i32((int32_t)(x >> 32), lane);
    return (uint64_t)high << 32 | low;
}

/* The sum of x over the lanes up to this one. */
DEVICE uint64_t warp_sum(uint64_t x)
{
    int lane = (int)threadIdx.x % 32;
    for (int step = 1; step < 32; step *= 2) {
        uint64_t other = shfl_u64(x, max(lane - step, 0));
        x += lane >= step ? other : 0;
    }
    return x;
}

/* The sum of x over all threads before this one; *all gets that of all of them. By all threads. */
DEVICE uint64_t sum_before(uint64_t x, uint64_t *all)
{
    __shared__ uint64_t of_warp[32];
    int warp = (int)threadIdx.x / 32;
    uint64_t sum = warp_sum(x), before = 0;
    __syncthreads();
    if (threadIdx.x % 32 == 31)
        of_warp[warp] = sum;
    __syncthreads();
    *all = 0;
    for (int w = 0; w < (int)blockDim.x / 32; w++) {
        before += w < warp ? of_warp[w] : 0;
        *all += of_warp[w];
    }
    return before + sum - x;
}

/* Whether the running sum of the threads' values first exceeds *r with this one's, before which it is `before`. Then *r
 * becomes what of it falls to this value. */
DEVICE bool falls_here(uint64_t value, uint64_t before, uint64_t *r)
{
    bool here = *r >= before && *r - before < value;
    *r -= here ? before : 0;
    return here;
}

/* ---- scan ---- */

DEVICE struct slice_state greater(struct slice_state a, struct slice_state b)
{
    bool b_wins = a.id >= 0 && (b.id < 0 || b.max > a.max || (b.max == a.max && b.id < a.id));
    return b_wins ? b : a;
}

/* The greatest of all threads' states, in all of them. */
DEVICE struct slice_state greatest(struct slice_state mine)
{
    __shared__ struct slice_state of_warp[32];
    for (int mask = 16; mask > 0; mask /= 2)
        mine = greater(mine, {shfl_xor_f32(mine.max, mask), shfl_xor_i32(mine.id, mask), 0});
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        of_warp[threadIdx.x / 32] = mine;
    __syncthreads();
    for (int w = 0; w < (int)blockDim.x / 32; w++)
        mine = greater(mine, of_warp[w]);
    return mine;
}

static __global__ void __launch_bounds__(THREADS) scan_slices(const struct sampling s)
{
    int row = (int)blockIdx.y, first = (int)blockIdx.x * SLICE;
    const float *x = s.logits + (size_t)row * s.n_vocab;
    wait_for_previous();
    let_next_start();
    struct slice_state best = {-INFINITY, s.n_vocab, 0};
    for (int i = 0; i < MINE; i++) {
        int id = first + i * THREADS + (int)threadIdx.x;
        if (id >= s.n_vocab)
            break;
        bool finite = (float_bits(x[id]) & 0x7F800000u) != 0x7F800000u;
        best = greater(best, {x[id], finite ? id : -1, 0});
    }
    best = greatest(best);
    if (threadIdx.x == 0) {
        s.slice[(size_t)row * s.slices + blockIdx.x] = best;
        s.row[row] = {-INFINITY, s.n_vocab};
    }
}

/* The same of a whole row, by all threads. */
DEVICE struct slice_state row_best(const struct sampling &s, int row)
{
    struct slice_state best = {-INFINITY, s.n_vocab, 0};
    for (int i = (int)threadIdx.x; i < s.slices; i += (int)blockDim.x)
        best = greater(best, s.slice[(size_t)row * s.slices + i]);
    return greatest(best);
}

/* ---- weights ---- */

/* One row, ready to be weighed. */
struct weighed_row {
    const float *x;
    float max, inverse_temperature;
    struct draw_state kept;
    uint64_t least;
};

DEVICE uint64_t weight_of(const struct weighed_row &r, int id)
{
    float x = r.x[id];
    uint64_t weight = weigh_fixed(weigh_exponential(x, r.max, r.inverse_temperature));
    bool kept = x > r.kept.cut || (x == r.kept.cut && id <= r.kept.last);
    return kept && weight >= r.least ? weight : 0;
}

DEVICE struct weighed_row weighed(const struct sampling &s, int row, float max)
{
    return {s.logits + (size_t)row * s.n_vocab, max, s.draw[row].inverse_temperature, s.row[row], s.draw[row].least};
}

DEVICE bool is_drawn(const struct sampling &s, int row, const struct slice_state &best)
{
    return s.draw[row].wanted && !s.draw[row].greedy && best.id >= 0;
}

static __global__ void __launch_bounds__(THREADS) weigh_slices(const struct sampling s)
{
    int row = (int)blockIdx.y, first = (int)blockIdx.x * SLICE;
    wait_for_previous();
    let_next_start();
    struct slice_state best = row_best(s, row);
    if (!is_drawn(s, row, best))
        return;
    struct weighed_row r = weighed(s, row, best.max);
    uint64_t sum = 0, all;
    for (int i = 0; i < MINE; i++) {
        int id = first + i * THREADS + (int)threadIdx.x;
        sum += id < s.n_vocab ? weight_of(r, id) : 0;
    }
    (void)sum_before(sum, &all);
    if (threadIdx.x == 0)
        s.slice[(size_t)row * s.slices + blockIdx.x].sum = all;
}

/* ---- pick ---- */

static __global__ void __launch_bounds__(THREADS) pick_ids(const struct sampling s)
{
    __shared__ uint64_t rest;
    __shared__ int32_t slice;
    int row = (int)blockIdx.x;
    wait_for_previous();
    let_next_start();
    struct slice_state best = row_best(s, row);
    if (!is_drawn(s, row, best)) {
        if (threadIdx.x == 0)
            s.drawn[row] = s.draw[row].wanted ? best.id : -1;
        return;
    }
    const struct slice_state *state = s.slice + (size_t)row * s.slices;
    uint64_t total = 0, all;
    for (int i = (int)threadIdx.x; i < s.slices; i += THREADS)
        total += state[i].sum;
    (void)sum_before(total, &total);
    uint64_t r = (uint64_t)((unsigned __int128)s.draw[row].random * total >> 64);
    for (int base = 0; base < s.slices; base += THREADS) {
        int i = base + (int)threadIdx.x;
        uint64_t sum = i < s.slices ? state[i].sum : 0, left = r;
        if (falls_here(sum, sum_before(sum, &all), &left)) {
            slice = i;
            rest = left;
        }
        if (r < all)
            break;
        r -= all;
    }
    __syncthreads();
    struct weighed_row w = weighed(s, row, best.max);
    uint64_t sum = 0, left = rest;
    int id = slice * SLICE + (int)threadIdx.x * MINE, end = min(id + (int)MINE, s.n_vocab);
    for (int i = id; i < end; i++)
        sum += weight_of(w, i);
    if (falls_here(sum, sum_before(sum, &all), &left)) {
        for (; left >= weight_of(w, id); id++)
            left -= weight_of(w, id);
        s.drawn[row] = id;
    }
}

/* ---- cut ---- */

/* What an id counts towards a cut: its weight, or 1. */
DEVICE uint64_t count_of(const struct weighed_row &r, int id, bool by_weight)
{
    return by_weight ? weight_of(r, id) : 1;
}

/* Sums of 64 bits in shared memory, made by additions of 32, which are fast there. */
struct buckets {
    uint32_t low[RADIX], high[RADIX];
};

DEVICE void add_to_bucket(struct buckets *b, uint32_t i, uint64_t count)
{
    uint32_t low = (uint32_t)count, before = atomic_add_u32(&b->low[i], low);
    atomic_add_u32(&b->high[i], (uint32_t)(count >> 32) + (before + low < before));
}

DEVICE uint64_t bucket_at(const struct buckets *b, int i)
{
    return (uint64_t)b->high[i] << 32 | b->low[i];
}

/* The bucket with which the running sum from the top reaches *missing, of which it leaves what that has to contribute.
 */
DEVICE uint32_t descend(const struct buckets *b, uint64_t *missing)
{
    __shared__ uint32_t found;
    __shared__ uint64_t rest;
    int top = RADIX - 1 - 2 * (int)threadIdx.x;
    uint64_t upper = bucket_at(b, top), sum = upper + bucket_at(b, top - 1), left = *missing - 1, all;
    if (falls_here(sum, sum_before(sum, &all), &left)) {
        found = (uint32_t)(left < upper ? top : top - 1);
        rest = (left < upper ? left : left - upper) + 1;
    }
    __syncthreads();
    *missing = rest;
    return found;
}

/* Of the ids that have this key and count, which all weigh the same, the one with which their running count reaches
 * `missing`. Each warp has a run of ids. */
DEVICE int32_t find_last(const struct weighed_row &r, int n, bool by_weight, uint32_t key, uint64_t missing)
{
    __shared__ int32_t last;
    int run = (n + CUTTERS / 32 - 1) / (CUTTERS / 32), lane = (int)threadIdx.x % 32;
    int begin = min((int)threadIdx.x / 32 * run, n), end = min(begin + run, n);
    uint64_t mine = 0, all;
    for (int id = begin + lane; id < end; id += 32)
        mine += weigh_key(r.x[id]) == key ? count_of(r, id, by_weight) : 0;
    uint64_t before = shfl_u64(sum_before(mine, &all), 0);
    for (int base = begin; base < end; base += 32) {
        int id = base + lane;
        uint64_t count = id < end && weigh_key(r.x[id]) == key ? count_of(r, id, by_weight) : 0;
        uint64_t sum = warp_sum(count), left = missing - 1;
        if (falls_here(count, before + sum - count, &left))
            last = id;
        before += shfl_u64(sum, 31);
    }
    __syncthreads();
    return last;
}

/* Keeps the shortest prefix of the ranking whose counts reach `missing`: its last key digit by digit, then the id. */
DEVICE struct draw_state select(const struct weighed_row &r, int n, bool by_weight, uint64_t missing,
                                struct buckets *buckets)
{
    uint32_t key = 0, known = 0;
    for (int shift = 32 - RADIX_BITS; shift >= 0; shift = shift > 0 ? max(shift - (int)RADIX_BITS, 0) : -1) {
        __syncthreads();
        for (int i = (int)threadIdx.x; i < RADIX; i += CUTTERS)
            buckets->low[i] = buckets->high[i] = 0;
        __syncthreads();
        for (int id = (int)threadIdx.x; id < n; id += CUTTERS) {
            uint32_t k = weigh_key(r.x[id]);
            if ((k & known) == key)
                add_to_bucket(buckets, k >> shift & (RADIX - 1), count_of(r, id, by_weight));
        }
        __syncthreads();
        key |= descend(buckets, &missing) << shift;
        known |= (uint32_t)(RADIX - 1) << shift;
    }
    int32_t last = find_last(r, n, by_weight, key, missing);
    return {r.x[last], last};
}

static __global__ void __launch_bounds__(CUTTERS) cut_rows(const struct sampling s)
{
    __shared__ struct buckets buckets;
    int row = (int)blockIdx.x;
    const struct batch_draw &draw = s.draw[row];
    wait_for_previous();
    let_next_start();
    struct slice_state best = row_best(s, row);
    if (!is_drawn(s, row, best))
        return;
    struct weighed_row r = weighed(s, row, best.max);
    r.least = 0; /* min-p comes later */
    if (draw.top_k > 0 && draw.top_k < s.n_vocab)
        r.kept = select(r, s.n_vocab, false, (uint64_t)draw.top_k, &buckets);
    if (draw.top_p < 1) {
        uint64_t sum = 0, all;
        for (int id = (int)threadIdx.x; id < s.n_vocab; id += CUTTERS)
            sum += weight_of(r, id);
        (void)sum_before(sum, &all);
        r.kept = select(r, s.n_vocab, true, weigh_part(draw.top_p, all), &buckets);
    }
    if (threadIdx.x == 0)
        s.row[row] = r.kept;
}

/* ---- the stage ---- */

static int slice_count(const struct backend *b)
{
    return (b->model->config.n_vocab + SLICE - 1) / SLICE;
}

void sample_place(struct layout *layout, struct backend *b)
{
    PLACE(layout, b->a.draw_row, b->max_outputs, 1);
    PLACE(layout, b->a.draw_slice, b->max_outputs, slice_count(b));
    PLACE(layout, b->a.drawn, b->max_outputs, 1);
}

void sample_stage(struct backend *b)
{
    struct sampling s = {.logits = b->a.logits,
                         .n_vocab = b->model->config.n_vocab,
                         .slices = slice_count(b),
                         .draw = b->batch.draw,
                         .row = b->a.draw_row,
                         .slice = b->a.draw_slice,
                         .drawn = b->a.drawn};
    dim3 rows(b->batch.n_output), slices(s.slices, b->batch.n_output);
    if (b->shape.draws == DRAWS_NONE)
        return;
    run_kernel(b, slices, dim3(THREADS), 0, scan_slices, s);
    if (b->shape.draws == DRAWS_CUT)
        run_kernel(b, rows, dim3(CUTTERS), 0, cut_rows, s);
    run_kernel(b, slices, dim3(THREADS), 0, weigh_slices, s);
    run_kernel(b, rows, dim3(THREADS), 0, pick_ids, s);
}
