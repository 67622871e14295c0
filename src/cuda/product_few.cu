/* Products of integer weights with at most eight columns. The weights are read once, and everything else is made to fit
 * beside that: a warp takes one row group and one segment of 16 blocks, the first of which it has asked for before it
 * waits for the kernel in front of it, and asks for the others while it works. A CTA takes pairs of row groups with all
 * their segments, whose sums meet in shared memory. It norms and rounds the columns itself, so that no kernel is needed
 * in between. */
#include "cuda/product.h"

enum { WARPS = 12 /* a pair of row groups of 2880 inputs has so many units */ };

/* Blocks asked for before they are needed: as many as leave registers for two CTAs on a multiprocessor. */
template <bool MXFP4> constexpr int AHEAD = MXFP4 ? 8 : 4;

/* A row group's part of one segment. */
struct unit {
    const uint8_t *quants, *scales;
    int segment, blocks;
};

/* The shared memory of a CTA. */
struct few_shared {
    int8_t *q;    /* [blocks][FEW_ROWS][32] */
    float *scale; /* [blocks][FEW_ROWS] */
    float *sum;   /* [units][FEW_ROWS][TILE_ROWS] */
    float *x;     /* [n][cols]: rows to be normed */
};

static __host__ __device__ inline int segment_count(int cols)
{
    return (cols + SEGMENT - 1) / SEGMENT;
}

static size_t shared_bytes(const struct product &p)
{
    size_t blocks = (size_t)p.w.cols / BLOCK, units = (size_t)2 * segment_count(p.w.cols);
    size_t rows = p.gain ? (size_t)p.n * p.w.cols : 0;
    return blocks * FEW_ROWS * (BLOCK + sizeof(float)) + (units * FEW_ROWS * TILE_ROWS + rows) * sizeof(float);
}

DEVICE struct few_shared share(const struct product &p)
{
    int blocks = p.w.cols / BLOCK;
    struct few_shared s;
    s.q = (int8_t *)SHARED_BYTES();
    s.scale = (float *)(s.q + blocks * FEW_ROWS * BLOCK);
    s.sum = s.scale + blocks * FEW_ROWS;
    s.x = s.sum + 2 * segment_count(p.w.cols) * FEW_ROWS * TILE_ROWS;
    return s;
}

/* The units of a pair are numbered through its two row groups. */
template <bool MXFP4, int FINISH>
DEVICE struct unit unit_at(const struct product &p, const struct heads &heads, int expert, int pair, int index)
{
    int blocks = p.w.cols / BLOCK, segments = segment_count(p.w.cols);
    int group = min(pair_group<FINISH>(heads, pair, index / segments), group_count(p.w.rows) - 1);
    struct unit unit;
    unit.segment = index % segments;
    unit.blocks = min(blocks - unit.segment * SEGMENT_BLOCKS, (int)SEGMENT_BLOCKS);
    size_t block = (size_t)group * blocks + unit.segment * SEGMENT_BLOCKS;
    unit.quants = p.w.quants + (size_t)expert * p.w.stride + block * block_bytes<MXFP4>();
    unit.scales = p.w.scales + (size_t)expert * p.w.stride + block * scale_bytes<MXFP4>();
    return unit;
}

template <bool MXFP4> DEVICE void load_block(struct weight_block<MXFP4> *w, const struct unit &unit, int block)
{
    if (block < unit.blocks)
        w->load(unit.quants + block * block_bytes<MXFP4>(), unit.scales + block * scale_bytes<MXFP4>(),
                (int)threadIdx.x % 32);
}

template <bool MXFP4> DEVICE void load_ahead(struct weight_block<MXFP4> w[AHEAD<MXFP4>], const struct unit &unit)
{
#pragma unroll
    for (int i = 0; i < AHEAD<MXFP4>; i++)
        load_block<MXFP4>(&w[i], unit, i);
}

/* Sums of one unit with the CTA's columns; w has its first blocks. */
template <bool MXFP4>
DEVICE void multiply(struct weight_block<MXFP4> w[AHEAD<MXFP4>], const struct unit &unit, const struct few_shared &s,
                     float sum[4])
{
    int lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4, first = unit.segment * SEGMENT_BLOCKS * FEW_ROWS;
    const int8_t *q = s.q + (first + g) * BLOCK + 8 * t;
    const float *scale = s.scale + first + 2 * t;
#pragma unroll
    for (int block = 0; block < SEGMENT_BLOCKS; block++) {
        if (block >= unit.blocks)
            continue;
        uint32_t a[4];
        float scale_w[2];
        w[block % AHEAD<MXFP4>].operand(a, scale_w);
        if (block + AHEAD<MXFP4> < SEGMENT_BLOCKS)
            load_block<MXFP4>(&w[block % AHEAD<MXFP4>], unit, block + AHEAD<MXFP4>);
        add_block(sum, a, scale_w, *reinterpret_cast<const uint2 *>(q + block * FEW_ROWS * BLOCK),
                  *reinterpret_cast<const float2 *>(scale + block * FEW_ROWS));
    }
}

/* Copies columns that are rounded already into shared memory. */
DEVICE void copy_columns(const struct product &p, const struct few_shared &s, int first, int n)
{
    int parts = p.w.cols / 16;
    for (int i = (int)threadIdx.x; i < n * parts; i += (int)blockDim.x) {
        int column = i / parts, part = i % parts, block = part / 2, row = source_row(p, first + column);
        reinterpret_cast<uint4 *>(s.q)[(block * FEW_ROWS + column) * 2 + part % 2] =
            reinterpret_cast<const uint4 *>(p.panel.q + (size_t)row * p.w.cols)[part];
        if (part % 2 == 0)
            s.scale[block * FEW_ROWS + column] = p.panel.scale[(size_t)row * scale_stride(p.w.cols) + block];
    }
}

/* Rounds columns of p.x into shared memory, normed if there is a gain. */
DEVICE void round_columns(const struct product &p, bool mxfp4, const struct few_shared &s, int first, int n)
{
    __shared__ float factor[FEW_ROWS];
    int cols = p.w.cols, warp = (int)threadIdx.x / 32;
    const float *x = p.x;
    if (p.gain) {
        for (int i = (int)threadIdx.x; i < n * cols / 4; i += (int)blockDim.x)
            reinterpret_cast<float4 *>(s.x)[i] = reinterpret_cast<const float4 *>(p.x)[i];
        __syncthreads();
        for (int column = warp; column < n; column += (int)blockDim.x / 32) {
            float r = rms_factor(s.x + column * cols, cols, p.eps);
            if (threadIdx.x % 32 == 0)
                factor[column] = r;
        }
        __syncthreads();
        x = s.x;
    }
    for (int column = 0; column < n; column++) {
        struct panel_column to = {s.q + column * BLOCK, s.scale + column, FEW_ROWS * BLOCK, FEW_ROWS};
        quantise_row(x + (size_t)source_row(p, first + column) * cols, p.gain, p.gain ? factor[column] : 1.0f, cols,
                     mxfp4, to, NULL);
    }
}

DEVICE void clear_columns(const struct product &p, const struct few_shared &s, int n)
{
    int blocks = p.w.cols / BLOCK, rest = FEW_ROWS - n;
    for (int i = (int)threadIdx.x; i < blocks * rest; i += (int)blockDim.x) {
        int at = i / rest * FEW_ROWS + n + i % rest;
        reinterpret_cast<uint4 *>(s.q)[2 * at] = {0, 0, 0, 0};
        reinterpret_cast<uint4 *>(s.q)[2 * at + 1] = {0, 0, 0, 0};
        s.scale[at] = 0.0f;
    }
}

/* Adds the segments of a sum in order. */
DEVICE float join(const float *sum, int segments)
{
    float total = sum[0];
    for (int segment = 1; segment < segments; segment++)
        total = add_rn(total, sum[segment * FEW_ROWS * TILE_ROWS]);
    return total;
}

/* Rows of the batch add what all experts say of a pair's outputs. */
DEVICE void combine_pair(const struct combination &c, int pair)
{
    enum { FOURS = 2 * TILE_ROWS / 4 };
    for (int i = (int)threadIdx.x; i < c.n_row * FOURS; i += (int)blockDim.x)
        combine_four(c, i / FOURS, pair * 2 * TILE_ROWS + i % FOURS * 4);
}

template <bool MXFP4, int FINISH>
static __global__ void __launch_bounds__(32 * WARPS, 2) few_columns(const struct product p, const struct heads heads)
{
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, n_warp = (int)blockDim.x / 32;
    int segments = segment_count(p.w.cols), units = 2 * segments, pairs = pair_count(p);
    struct few_shared s = share(p);
    struct weight_block<MXFP4> w[AHEAD<MXFP4>] = {
    };
    int expert = 0, first = 0, n = p.n;
    if (!p.first && warp < units)
        load_ahead<MXFP4>(w, unit_at<MXFP4, FINISH>(p, heads, 0, (int)blockIdx.x, warp));
    wait_for_previous();
    let_next_start();
    if (p.first) {
        expert = p.active[blockIdx.y];
        if (expert < 0)
            return;
        first = p.first[expert];
        n = p.first[expert + 1] - first;
        if (warp < units)
            load_ahead<MXFP4>(w, unit_at<MXFP4, FINISH>(p, heads, expert, (int)blockIdx.x, warp));
    }
    clear_columns(p, s, n);
    if (p.panel.q)
        copy_columns(p, s, first, n);
    else
        round_columns(p, MXFP4, s, first, n);
    __syncthreads();
    for (int pair = (int)blockIdx.x; pair < pairs; pair += (int)gridDim.x) {
        for (int index = warp; index < units; index += n_warp) {
            struct unit unit = unit_at<MXFP4, FINISH>(p, heads, expert, pair, index);
            if (index != warp)
                load_ahead<MXFP4>(w, unit);
            float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
            multiply<MXFP4>(w, unit, s, sum);
            float *to = s.sum + (index * FEW_ROWS + lane % 4 * 2) * TILE_ROWS + lane / 4;
            to[0] = sum[0];
            to[TILE_ROWS] = sum[1];
            to[8] = sum[2];
            to[TILE_ROWS + 8] = sum[3];
        }
        if (warp < units && pair + (int)gridDim.x < pairs)
            load_ahead<MXFP4>(w, unit_at<MXFP4, FINISH>(p, heads, expert, pair + (int)gridDim.x, warp));
        __syncthreads();
        for (int i = (int)threadIdx.x; i < n * TILE_ROWS; i += (int)blockDim.x)
            finish<FINISH>(p, heads, expert, pair, i % TILE_ROWS, first + i / TILE_ROWS, join(s.sum + i, segments),
                           join(s.sum + segments * FEW_ROWS * TILE_ROWS + i, segments));
        if (FINISH == FINISH_COMBINE && comes_last(&p.done[pair], *p.active_count))
            combine_pair(p.combination, pair);
        __syncthreads();
    }
}

template <bool MXFP4, int FINISH> static void run(struct backend *b, const struct product &p, const struct heads &heads)
{
    int units = 2 * segment_count(p.w.cols), pairs = pair_count(p);
    int rounds = (units + WARPS - 1) / WARPS, threads = (units + rounds - 1) / rounds * 32;
    int experts = p.first ? min(p.n, p.w.count) : 1;
    int most = max(2 * b->multiprocessors / experts, 1); /* CTAs that are there at once */
    most = pairs / ((pairs + most - 1) / most);          /* so that none has much more to do than the others */
    run_kernel(b, dim3((unsigned)max(most, 1), (unsigned)experts), dim3((unsigned)threads), shared_bytes(p),
               few_columns<MXFP4, FINISH>, p, heads);
}

bool product_few_fits(const struct backend *b, const struct product &p)
{
    return p.n <= (p.first ? p.slots_of_row : 1) * FEW_ROWS && shared_bytes(p) <= (size_t)b->shared_limit;
}

void product_few(struct backend *b, const struct product &p, const struct heads &heads)
{
    bool mxfp4 = p.w.type == DTYPE_TILE_MXFP4;
    switch (p.finish) {
    case FINISH_STORE: (mxfp4 ? run<true, FINISH_STORE> : run<false, FINISH_STORE>)(b, p, heads); break;
    case FINISH_COMBINE: (mxfp4 ? run<true, FINISH_COMBINE> : run<false, FINISH_COMBINE>)(b, p, heads); break;
    case FINISH_RESIDUAL: (mxfp4 ? run<true, FINISH_RESIDUAL> : run<false, FINISH_RESIDUAL>)(b, p, heads); break;
    case FINISH_SWIGLU: (mxfp4 ? run<true, FINISH_SWIGLU> : run<false, FINISH_SWIGLU>)(b, p, heads); break;
    case FINISH_HEADS: (mxfp4 ? run<true, FINISH_HEADS> : run<false, FINISH_HEADS>)(b, p, heads); break;
    }
}
