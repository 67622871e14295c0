/* Products of integer weights with many columns. A CTA takes eight row groups and up to 64 columns; the blocks of both
 * arrive in shared memory four at a time, two such stages ahead of the one that is multiplied. A warp takes one pair of
 * row groups and half of the columns, so that gate and up of a hidden value meet in its registers. */
#include "cuda/product.h"

enum {
    THREADS = 256,
    PAIRS = 4, /* of row groups in a CTA */
    GROUPS = 2 * PAIRS,
    STAGE_BLOCKS = 4, /* a segment is a whole number of stages */
    STAGES = 3
};

/* One stage in shared memory, for WIDTH columns. */
template <bool MXFP4, int WIDTH> struct stage {
    uint8_t quants[GROUPS][STAGE_BLOCKS][MXFP4 ? TILE_MXFP4_BLOCK : TILE_Q8_BLOCK];
    uint8_t scales[GROUPS][STAGE_BLOCKS][MXFP4 ? TILE_ROWS : 2 * TILE_ROWS];
    int8_t q[STAGE_BLOCKS][WIDTH][BLOCK];
    float scale[WIDTH][STAGE_BLOCKS];
};

/* Asks for the weights of a stage. Groups past the last one are the last one again. */
template <bool MXFP4, int WIDTH>
DEVICE void copy_weights(struct stage<MXFP4, WIDTH> *s, const struct product &p, int expert, int index)
{
    constexpr int QUANTS = STAGE_BLOCKS * (MXFP4 ? TILE_MXFP4_BLOCK : TILE_Q8_BLOCK) / 16;
    constexpr int SCALES = STAGE_BLOCKS * (MXFP4 ? TILE_ROWS : 2 * TILE_ROWS) / 16;
    int blocks = p.w.cols / BLOCK, first = index * STAGE_BLOCKS, here = min(blocks - first, (int)STAGE_BLOCKS);
    for (int i = (int)threadIdx.x; i < GROUPS * (QUANTS + SCALES); i += THREADS) {
        bool quants = i < GROUPS * QUANTS;
        int part = quants ? i : i - GROUPS * QUANTS, each = quants ? QUANTS : SCALES, row = part / each;
        int group = min((int)blockIdx.x * GROUPS + row, group_count(p.w.rows) - 1);
        size_t block = (size_t)group * blocks + first, at = (size_t)(part % each) * 16;
        if (part % each >= each / STAGE_BLOCKS * here)
            continue;
        const uint8_t *from =
            quants ? p.w.quants + block * block_bytes<MXFP4>() : p.w.scales + block * scale_bytes<MXFP4>();
        uint8_t *to = quants ? s->quants[row][0] : s->scales[row][0];
        copy_async_16(to + at, from + (size_t)expert * p.w.stride + at);
    }
}

/* Asks for the columns of a stage; source[c] is the panel's row. */
template <bool MXFP4, int WIDTH>
DEVICE void copy_columns(struct stage<MXFP4, WIDTH> *s, const struct product &p, const int *source, int index)
{
    int blocks = p.w.cols / BLOCK, first = index * STAGE_BLOCKS;
    for (int i = (int)threadIdx.x; i < WIDTH * STAGE_BLOCKS * 2; i += THREADS) {
        int column = i / (2 * STAGE_BLOCKS), block = i / 2 % STAGE_BLOCKS, part = i % 2;
        if (first + block < blocks)
            copy_async_16(&s->q[block][column][16 * part],
                          p.panel.q + (size_t)source[column] * p.w.cols + (first + block) * BLOCK + 16 * part);
    }
    for (int column = (int)threadIdx.x; column < WIDTH; column += THREADS)
        copy_async_16(s->scale[column], p.panel.scale + (size_t)source[column] * scale_stride(p.w.cols) + first);
}

/* The sums of a warp: of both groups with tiles of eight columns. */
template <int TILES> struct sums {
    float segment[2][TILES][4], total[2][TILES][4];
};

template <int TILES> DEVICE void end_segment(struct sums<TILES> *sums, bool first)
{
#pragma unroll
    for (int i = 0; i < 2 * TILES * 4; i++) {
        float *segment = &sums->segment[i / (TILES * 4)][i / 4 % TILES][i % 4];
        float *total = &sums->total[i / (TILES * 4)][i / 4 % TILES][i % 4];
        *total = first ? *segment : add_rn(*total, *segment);
        *segment = 0.0f;
    }
}

/* Multiplies one block of a stage. FOLD: see state.h. */
template <bool FOLD, bool MXFP4, int WIDTH>
DEVICE void multiply(const struct stage<MXFP4, WIDTH> *s, int block, struct sums<WIDTH / 16> *sums)
{
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, g = lane / 4, t = lane % 4;
    int pair = warp % PAIRS, column = warp / PAIRS * (WIDTH / 2);
    uint32_t a[2][4];
    float scale_w[2][2];
    int32_t start[2][2];
    for (int which = 0; which < 2; which++) {
        struct weight_block<MXFP4> w;
        w.read(s->quants[2 * pair + which][block], s->scales[2 * pair + which][block], lane);
        w.operand(a[which], scale_w[which]);
        if constexpr (FOLD)
            w.folded(start[which]);
    }
#pragma unroll
    for (int tile = 0; tile < WIDTH / 16; tile++, column += 8) {
        uint2 q = *reinterpret_cast<const uint2 *>(&s->q[block][column + g][8 * t]);
        float2 scale_x = {s->scale[column + 2 * t][block], s->scale[column + 2 * t + 1][block]};
        for (int which = 0; which < 2; which++)
            if constexpr (FOLD)
                add_folded(sums->segment[which][tile], a[which], start[which], q, scale_x);
            else
                add_block(sums->segment[which][tile], a[which], scale_w[which], q, scale_x);
    }
}

/* Multiplies a stage, whose first block is `first` of all blocks. */
template <bool FOLD, bool MXFP4, int WIDTH>
DEVICE void multiply_stage(const struct stage<MXFP4, WIDTH> *s, int first, int blocks, struct sums<WIDTH / 16> *sums)
{
#pragma unroll
    for (int block = 0; block < STAGE_BLOCKS; block++)
        if (first + block < blocks)
            multiply<FOLD>(s, block, sums);
}

template <bool MXFP4, int FINISH, int WIDTH>
static __global__ void __launch_bounds__(THREADS, 2) many_columns(const struct product p)
{
    __shared__ int source[WIDTH];
    struct stage<MXFP4, WIDTH> *stages = (struct stage<MXFP4, WIDTH> *)SHARED_BYTES();
    int blocks = p.w.cols / BLOCK, n_stage = (blocks + STAGE_BLOCKS - 1) / STAGE_BLOCKS;
    wait_for_previous();
    let_next_start();
    bool fold = MXFP4 && *p.unfolded == 0;
    struct column_tile tile = find_columns(p, (int)blockIdx.y, WIDTH);
    if (tile.n <= 0)
        return;
    for (int i = (int)threadIdx.x; i < WIDTH; i += THREADS)
        source[i] = source_row(p, tile.first + min(i, tile.n - 1));
    __syncthreads();
    for (int index = 0; index < STAGES - 1; index++) {
        if (index < n_stage) {
            copy_weights(&stages[index], p, tile.expert, index);
            copy_columns(&stages[index], p, source, index);
        }
        copy_async_commit();
    }
    struct sums<WIDTH / 16> sums = {
    };
    for (int index = 0; index < n_stage; index++) {
        copy_async_wait<STAGES - 2>();
        __syncthreads();
        int next = index + STAGES - 1;
        if (next < n_stage) {
            copy_weights(&stages[next % STAGES], p, tile.expert, next);
            copy_columns(&stages[next % STAGES], p, source, next);
        }
        copy_async_commit();
        if (fold)
            multiply_stage<MXFP4>(&stages[index % STAGES], index * STAGE_BLOCKS, blocks, &sums);
        else
            multiply_stage<false>(&stages[index % STAGES], index * STAGE_BLOCKS, blocks, &sums);
        if ((index + 1) * STAGE_BLOCKS % SEGMENT_BLOCKS == 0 || index + 1 == n_stage)
            end_segment(&sums, index * STAGE_BLOCKS < SEGMENT_BLOCKS);
    }
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, pair = (int)blockIdx.x * PAIRS + warp % PAIRS;
    struct heads none = {};
    if (pair >= pair_count(p))
        return;
#pragma unroll
    for (int i = 0; i < WIDTH / 16 * 4; i++) {
        int column = warp / PAIRS * (WIDTH / 2) + i / 4 * 8 + lane % 4 * 2 + i % 2;
        if (column < tile.n)
            finish<FINISH>(p, none, tile.expert, pair, lane / 4 + i % 4 / 2 * 8, tile.first + column,
                           sums.total[0][i / 4][i % 4], sums.total[1][i / 4][i % 4]);
    }
}

template <bool MXFP4, int FINISH, int WIDTH> static void run(struct backend *b, const struct product &p)
{
    int ctas = (pair_count(p) + PAIRS - 1) / PAIRS;
    size_t bytes = STAGES * sizeof(struct stage<MXFP4, WIDTH>);
    run_kernel(b, dim3((unsigned)ctas, (unsigned)most_tiles(p, WIDTH)), dim3(THREADS), bytes,
               many_columns<MXFP4, FINISH, WIDTH>, p);
}

/* Tiles that most columns fill. */
template <bool MXFP4, int FINISH> static void run_width(struct backend *b, const struct product &p)
{
    int n = p.first ? (p.n + p.w.count - 1) / p.w.count : p.n;
    if (n <= 16)
        run<MXFP4, FINISH, 16>(b, p);
    else if (n <= 32)
        run<MXFP4, FINISH, 32>(b, p);
    else
        run<MXFP4, FINISH, 64>(b, p);
}

template <int FINISH> static void run_type(struct backend *b, const struct product &p)
{
    if (p.w.type == DTYPE_TILE_MXFP4)
        run_width<true, FINISH>(b, p);
    else
        run_width<false, FINISH>(b, p);
}

void product_many(struct backend *b, const struct product &p)
{
    switch (p.finish) {
    case FINISH_RESIDUAL: run_type<FINISH_RESIDUAL>(b, p); break;
    case FINISH_SWIGLU: run_type<FINISH_SWIGLU>(b, p); break;
    default: run_type<FINISH_STORE>(b, p); break;
    }
}
