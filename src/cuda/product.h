/* What the kernels of the products share: what a product is, and what becomes of its sums. */
#ifndef CUDA_PRODUCT_H
#define CUDA_PRODUCT_H

#include "cuda/combine.h"
#include "cuda/epilogue.h"
#include "cuda/kv.h"
#include "cuda/norm.h"

/* What becomes of a sum, its bias added. */
enum finish {
    FINISH_STORE,    /* out = it */
    FINISH_COMBINE,  /* the same, and the last expert of a pair of row groups combines them: few columns alone */
    FINISH_RESIDUAL, /* out = out + it */
    FINISH_SWIGLU,   /* gate and up become one hidden value */
    FINISH_HEADS     /* queries and keys are turned; queries go out, keys and values into the cache */
};

/* One matrix times the columns 0 .. n - 1, or a stack of experts' matrices, where expert e has the columns (places)
 * first[e] .. first[e + 1] - 1. */
struct product {
    struct matrix w;       /* on the device */
    const float *bias;     /* [count][rows], or NULL */
    int n;                 /* columns, of all experts together */
    const int32_t *first;  /* [count + 1], or NULL: no experts */
    const int32_t *active; /* [count] the experts that have columns, then -1 */
    const int32_t *slot;   /* [n]: column i reads row slot[i] / slots_of_row; NULL: row i */
    int slots_of_row;
    const float *x;     /* [..][cols]: the right-hand side of float weights, .. */
    struct panel panel; /* [..][cols]: .. and of integer weights. q is NULL: few columns, to be rounded from x, .. */
    const float *gain;  /* .. and before that normed, if this is not NULL */
    float eps;          /* of the norm */
    enum finish finish;
    float *out;                     /* [n][rows], or [n][rows / 2] of hidden values */
    float limit;                    /* of SwiGLU */
    const int32_t *unfolded;        /* see state.h; product_many.cu reads it */
    struct combination combination; /* FINISH_COMBINE: .. */
    const int32_t *active_count;    /* .. experts that are there */
    int32_t *done;                  /* .. [pairs] those that are done; 0 before and after */
};

static __host__ __device__ inline int pair_count(const struct product &p)
{
    return (group_count(p.w.rows) + 1) / 2;
}

/* What FINISH_HEADS knows besides. */
struct heads {
    int n_head, n_kv_head, head_dim;
    const float *cosine, *sine; /* [n][head_dim / 2] */
    struct kv kv;
    struct device_batch batch;
    int slot;
    bool sliding;
};

/* The sums are finished in pairs of row groups: neighbours, of which one may be gate and one up; or, of a head, those
 * that turn together. A head's groups are paired in its own order, so pairs count on from head to head. */
template <int FINISH> DEVICE int pair_group(const struct heads &heads, int pair, int which)
{
    if (FINISH != FINISH_HEADS)
        return 2 * pair + which;
    int half = heads.head_dim / (2 * TILE_ROWS);
    return pair / half * 2 * half + pair % half + which * half;
}

DEVICE float with_bias(const struct product &p, int expert, int row, float sum)
{
    return p.bias ? add_rn(sum, p.bias[(size_t)expert * p.w.rows + row]) : sum;
}

DEVICE void finish_head(const struct product &p, const struct heads &h, int row, int column, float a, float b)
{
    int half = h.head_dim / 2, head = row / h.head_dim, i = row % h.head_dim, d = h.head_dim;
    if (head < h.n_head + h.n_kv_head)
        rotate_pair(&a, &b, h.cosine[(size_t)column * half + i], h.sine[(size_t)column * half + i]);
    if (head < h.n_head) {
        float *out = p.out + (size_t)column * h.n_head * d + (size_t)head * d + i;
        out[0] = a;
        out[half] = b;
        return;
    }
    bool value = head >= h.n_head + h.n_kv_head;
    int kv_head = head - h.n_head - (value ? h.n_kv_head : 0);
    kv_store(h.kv, h.batch, h.slot, h.sliding, column, kv_head, i, value, a);
    kv_store(h.kv, h.batch, h.slot, h.sliding, column, kv_head, i + half, value, b);
}

/* Finishes row r of both groups of a pair. */
template <int FINISH>
DEVICE void finish(const struct product &p, const struct heads &heads, int expert, int pair, int r, int column,
                   float low, float high)
{
    int row0 = pair_group<FINISH>(heads, pair, 0) * TILE_ROWS + r;
    int row1 = pair_group<FINISH>(heads, pair, 1) * TILE_ROWS + r;
    if (FINISH == FINISH_HEADS) {
        finish_head(p, heads, row0, column, with_bias(p, 0, row0, low), with_bias(p, 0, row1, high));
    } else if (FINISH == FINISH_SWIGLU) {
        float gate = with_bias(p, expert, row0, low), up = with_bias(p, expert, row1, high);
        p.out[(size_t)column * (p.w.rows / 2) + pair * TILE_ROWS + r] = swiglu(gate, up, p.limit);
    } else {
        for (int which = 0; which < 2; which++) {
            int row = which ? row1 : row0;
            if (row >= p.w.rows)
                continue;
            float *out = p.out + (size_t)column * p.w.rows + row, y = with_bias(p, expert, row, which ? high : low);
            *out = FINISH == FINISH_RESIDUAL ? add_rn(*out, y) : y;
        }
    }
}

/* The row of the right-hand side that a column reads. */
DEVICE int source_row(const struct product &p, int column)
{
    return p.slot ? p.slot[column] / p.slots_of_row : column;
}

/* Which columns a CTA works on: the tile-th of all tiles of `width` columns, where no tile has columns of two experts.
 */
struct column_tile {
    int expert, first, n; /* n is 0 if there are fewer tiles */
};

/* By all threads of a CTA; blockDim.x >= 32. */
DEVICE struct column_tile find_columns(const struct product &p, int tile, int width)
{
    __shared__ struct column_tile found;
    if (!p.first)
        return {0, tile * width, min(p.n - tile * width, width)};
    if (threadIdx.x == 0)
        found = {0, 0, 0};
    __syncthreads();
    if (threadIdx.x < 32) {
        int before = 0; /* tiles of the experts in front of the 32 that are looked at */
        for (int base = 0; base < p.w.count; base += 32) {
            int e = base + (int)threadIdx.x, n = e < p.w.count ? p.first[e + 1] - p.first[e] : 0;
            int tiles = (n + width - 1) / width, end = tiles;
            for (int step = 1; step < 32; step *= 2) {
                int other = shfl_i32(end, max((int)threadIdx.x - step, 0));
                end += (int)threadIdx.x >= step ? other : 0;
            }
            int mine = tile - before - (end - tiles);
            if (mine >= 0 && mine < tiles)
                found = {e, p.first[e] + mine * width, min(n - mine * width, width)};
            before += shfl_i32(end, 31);
        }
    }
    __syncthreads();
    return found;
}

/* Most tiles that find_columns can find. */
static inline int most_tiles(const struct product &p, int width)
{
    int tiles = (p.n + width - 1) / width;
    if (!p.first)
        return tiles;
    int experts = p.n < p.w.count ? p.n : p.w.count; /* each may leave one tile unfilled */
    return p.n / width + experts < p.n ? p.n / width + experts : p.n;
}

/* ---- integer weights ---- */

/* 1.5 * 2^23 as bits: an integer of up to 22 bits and a sign added to them makes the bits of 1.5 * 2^23 + it. */
enum { FLOAT_OF_INT = 0x4B400000 };

DEVICE float float_of_dot(int32_t d)
{
    return sub_rn(bits_float((uint32_t)d), 12582912.0f);
}

/* 2^(e - 128): the scale for weights held as twice their value. */
DEVICE float e8m0_half(uint32_t e)
{
    return bits_float(e >= 2 ? (e - 1) << 23 : 0x200000u << e);
}

/* Eight codes as signed bytes, twice their value: of the low nibbles' half into *low, of the high one into *high. Of
 * every code prmt takes the magnitude if the sign bit is not set, and 0 if it is; once for the positive codes and,
 * with the signs turned, for the negative ones. */
DEVICE void unpack_mxfp4(uint32_t codes, uint32_t *low, uint32_t *high)
{
    uint32_t turned = codes ^ 0x88888888u;
    uint32_t positive0 = prmt(0x03020100u, 0x0C080604u, codes), negative0 = prmt(0x03020100u, 0x0C080604u, turned);
    uint32_t positive1 = prmt(0x03020100u, 0x0C080604u, codes >> 16),
             negative1 = prmt(0x03020100u, 0x0C080604u, turned >> 16);
    *low = positive0 | ((0x80808080u - negative0) ^ 0x80808080u);
    *high = positive1 | ((0x80808080u - negative1) ^ 0x80808080u);
}

/* One block of one row group, as a lane of a product holds it: its quants and the scales of rows g and g + 8. */
template <bool MXFP4> struct weight_block;

template <> struct weight_block<true> {
    uint2 quants;
    uint32_t scales; /* low byte row g, next byte row g + 8 */
    DEVICE_MEMBER void load(const uint8_t *quants_at, const uint8_t *scales_at, int lane)
    {
        quants = load_8(quants_at + lane * 8);
        scales = reinterpret_cast<const uint16_t *>(scales_at)[lane / 4];
    }
    DEVICE_MEMBER void read(const uint8_t *quants_at, const uint8_t *scales_at, int lane) /* from shared memory */
    {
        quants = reinterpret_cast<const uint2 *>(quants_at)[lane];
        scales = reinterpret_cast<const uint16_t *>(scales_at)[lane / 4];
    }
    DEVICE_MEMBER void operand(uint32_t a[4], float scale[2]) const
    {
        unpack_mxfp4(quants.x, &a[0], &a[2]);
        unpack_mxfp4(quants.y, &a[1], &a[3]);
        scale[0] = e8m0_half(scales & 255u);
        scale[1] = e8m0_half(scales >> 8);
    }
    /* FLOAT_OF_INT times both rows' scales. */
    DEVICE_MEMBER void folded(int32_t start[2]) const
    {
        start[0] = FLOAT_OF_INT + (((int32_t)(scales & 255u) - 128) << 23);
        start[1] = FLOAT_OF_INT + (((int32_t)(scales >> 8) - 128) << 23);
    }
};

template <> struct weight_block<false> {
    uint4 quants;
    uint32_t scales; /* two halves */
    DEVICE_MEMBER void load(const uint8_t *quants_at, const uint8_t *scales_at, int lane)
    {
        quants = load_16(quants_at + lane * 16);
        scales = reinterpret_cast<const uint32_t *>(scales_at)[lane / 4];
    }
    DEVICE_MEMBER void read(const uint8_t *quants_at, const uint8_t *scales_at, int lane)
    {
        quants = reinterpret_cast<const uint4 *>(quants_at)[lane];
        scales = reinterpret_cast<const uint32_t *>(scales_at)[lane / 4];
    }
    DEVICE_MEMBER void operand(uint32_t a[4], float scale[2]) const
    {
        a[0] = quants.x;
        a[1] = quants.y;
        a[2] = quants.z;
        a[3] = quants.w;
        scale[0] = f16_value((uint16_t)scales);
        scale[1] = f16_value((uint16_t)(scales >> 16));
    }
};

template <bool MXFP4> DEVICE int block_bytes(void)
{
    return MXFP4 ? TILE_MXFP4_BLOCK : TILE_Q8_BLOCK;
}

template <bool MXFP4> DEVICE int scale_bytes(void)
{
    return MXFP4 ? TILE_ROWS : 2 * TILE_ROWS;
}

/* Adds a block's dots with eight columns to the sums of a segment: sum[0..1] are columns 2t and 2t + 1 of row g,
 * sum[2..3] those of row g + 8. */
DEVICE void add_block(float sum[4], const uint32_t a[4], const float scale[2], uint2 q, float2 scale_x)
{
    const int32_t c[4] = {FLOAT_OF_INT, FLOAT_OF_INT, FLOAT_OF_INT, FLOAT_OF_INT};
    const uint32_t operand[2] = {q.x, q.y};
    int32_t d[4];
    mma_s8(d, a, operand, c);
    sum[0] = fma_rn(float_of_dot(d[0]), mul_rn(scale[0], scale_x.x), sum[0]);
    sum[1] = fma_rn(float_of_dot(d[1]), mul_rn(scale[0], scale_x.y), sum[1]);
    sum[2] = fma_rn(float_of_dot(d[2]), mul_rn(scale[1], scale_x.x), sum[2]);
    sum[3] = fma_rn(float_of_dot(d[3]), mul_rn(scale[1], scale_x.y), sum[3]);
}

/* The same with MXFP4's scales folded into what the dots begin with: the sum with an integer is then 2^(e-128) times as
 * great as both, and so is the difference, exactly. */
DEVICE void add_folded(float sum[4], const uint32_t a[4], const int32_t start[2], uint2 q, float2 scale_x)
{
    const int32_t c[4] = {start[0], start[0], start[1], start[1]};
    const uint32_t operand[2] = {q.x, q.y};
    int32_t d[4];
    mma_s8(d, a, operand, c);
    float low = bits_float((uint32_t)start[0]), high = bits_float((uint32_t)start[1]);
    sum[0] = fma_rn(sub_rn(bits_float((uint32_t)d[0]), low), scale_x.x, sum[0]);
    sum[1] = fma_rn(sub_rn(bits_float((uint32_t)d[1]), low), scale_x.y, sum[1]);
    sum[2] = fma_rn(sub_rn(bits_float((uint32_t)d[2]), high), scale_x.x, sum[2]);
    sum[3] = fma_rn(sub_rn(bits_float((uint32_t)d[3]), high), scale_x.y, sum[3]);
}

/* ---- the kernels ---- */

/* At most FEW_ROWS columns (of each expert), integer weights. */
bool product_few_fits(const struct backend *backend, const struct product &product);
void product_few(struct backend *backend, const struct product &product, const struct heads &heads);
/* Any number of columns; FINISH_HEADS is for few alone. */
void product_many(struct backend *backend, const struct product &product);
void product_float(struct backend *backend, const struct product &product);

#endif
