/* NEON with products of 2 x 8 by 8 x 2 bytes (smmla, Armv8.6). One vector holds eight inputs of two rows, or of two
 * columns, and one result the four products of two rows and two columns. A single column would leave half of each
 * product unused: it goes the way of sdot. */
#include "cpu/lanes_neon.h"

#include "cpu/lanes_kernels.h"

#include "cpu/unpack_neon.h"

enum {
    OCTETS = 4,      /* of inputs in a block */
    ROW_PAIRS = 8,   /* in a group */
    COLUMNS = 4,     /* columns of a register tile .. */
    COLUMN_PAIRS = 2 /* .. in pairs */
};

/* The weights of one segment of a group: 10 KiB. */
struct unpacked {
    int8x16_t pair[SEGMENT_BLOCKS][OCTETS][ROW_PAIRS]; /* row 2i, then row 2i + 1 */
    float32x4_t scale[SEGMENT_BLOCKS][ROW_PAIRS];      /* that of row 2i twice, then of row 2i + 1 twice */
};

INLINE void unpack_pairs(const uint8_t *block, const uint8_t *scales, bool mxfp4, int8x16_t pair[OCTETS][ROW_PAIRS],
                         float32x4_t scale[ROW_PAIRS])
{
    int8x16_t line[LINES][QUARTERS];
    float32x4_t quarter[QUARTERS];
    unpack_block(block, scales, mxfp4, line, quarter);
    for (int i = 0; i < QUARTERS; i++) {
        for (int j = 0; j < OCTETS; j++) {
            int32x4_t a = vreinterpretq_s32_s8(line[2 * j][i]), b = vreinterpretq_s32_s8(line[2 * j + 1][i]);
            pair[j][2 * i] = vreinterpretq_s8_s32(vzip1q_s32(a, b));
            pair[j][2 * i + 1] = vreinterpretq_s8_s32(vzip2q_s32(a, b));
        }
        scale[2 * i] = vzip1q_f32(quarter[i], quarter[i]);
        scale[2 * i + 1] = vzip2q_f32(quarter[i], quarter[i]);
    }
}

/* One block of the columns x and y, eight inputs of each side by side. */
INLINE void pair_columns(const int8_t *x, const int8_t *y, int8x16_t pair[OCTETS])
{
    for (int i = 0; i < OCTETS / 2; i++) {
        int64x2_t a = vreinterpretq_s64_s8(vld1q_s8(x + 16 * i)), b = vreinterpretq_s64_s8(vld1q_s8(y + 16 * i));
        pair[2 * i] = vreinterpretq_s8_s64(vzip1q_s64(a, b));
        pair[2 * i + 1] = vreinterpretq_s8_s64(vzip2q_s64(a, b));
    }
}

/* Adds to four rows of two columns (of one, if there is no second), or sets them in the first segment; upper and lower
 * hold the rows two by two. */
INLINE void add_segment(float32x4_t upper, float32x4_t lower, bool first, bool second, float *sum, int stride)
{
    float32x4_t x = vuzp1q_f32(upper, lower), y = vuzp2q_f32(upper, lower);
    vst1q_f32(sum, first ? x : vaddq_f32(vld1q_f32(sum), x));
    if (second)
        vst1q_f32(sum + stride, first ? y : vaddq_f32(vld1q_f32(sum + stride), y));
}

/* One group, n columns, the blocks of one segment. If n is odd the last column is its own neighbour. */
INLINE void tile(const struct unpacked *w, const struct panel *panel, int column, const int n, int begin, int end,
                 float *sum, int stride)
{
    const int pairs = (n + 1) / 2;
    float32x4_t segment[COLUMN_PAIRS][ROW_PAIRS];
    UNROLL for (int p = 0; p < pairs; p++) UNROLL for (int r = 0; r < ROW_PAIRS; r++) segment[p][r] = vdupq_n_f32(0.0f);
    for (int b = begin; b < end; b++) {
        size_t at = (size_t)b * panel->n + column;
        int8x16_t q[COLUMN_PAIRS][OCTETS];
        float32x4_t q_scale[COLUMN_PAIRS];
        UNROLL for (int p = 0; p < pairs; p++)
        {
            size_t x = at + 2 * p, y = 2 * p + 1 < n ? x + 1 : x;
            pair_columns(panel->q + x * BLOCK, panel->q + y * BLOCK, q[p]);
            q_scale[p] = (float32x4_t){panel->scale[x], panel->scale[y], panel->scale[x], panel->scale[y]};
        }
        UNROLL for (int r = 0; r < ROW_PAIRS; r++) UNROLL for (int p = 0; p < pairs; p++)
        {
            int32x4_t dot = vdupq_n_s32(0);
            UNROLL for (int j = 0; j < OCTETS; j++) dot = vmmlaq_s32(dot, w->pair[b - begin][j][r], q[p][j]);
            float32x4_t scale = vmulq_f32(w->scale[b - begin][r], q_scale[p]);
            segment[p][r] = vfmaq_f32(segment[p][r], vcvtq_f32_s32(dot), scale);
        }
    }
    UNROLL for (int p = 0; p < pairs; p++) UNROLL for (int i = 0; i < QUARTERS; i++)
        add_segment(segment[p][2 * i], segment[p][2 * i + 1], begin == 0, 2 * p + 1 < n,
                    sum + (size_t)2 * p * stride + 4 * i, stride);
}

INLINE void product_integer(const struct slab *slab, bool mxfp4, const struct panel *panel, float *sum)
{
    int blocks = slab->cols / BLOCK, stride = slab->groups * LANES;
    struct unpacked w;
    for (int g = 0; g < slab->groups; g++)
        for (int begin = 0; begin < blocks; begin += SEGMENT_BLOCKS) {
            int end = blocks - begin < SEGMENT_BLOCKS ? blocks : begin + SEGMENT_BLOCKS, t = 0;
            for (int b = begin; b < end; b++) {
                size_t block = (size_t)g * blocks + b;
                unpack_pairs(slab->quants + block * quant_bytes(mxfp4), slab->scales + block * scale_bytes(mxfp4),
                             mxfp4, w.pair[b - begin], w.scale[b - begin]);
            }
            float *s = sum + g * LANES;
            for (; t + COLUMNS <= panel->n; t += COLUMNS)
                tile(&w, panel, t, COLUMNS, begin, end, s + (size_t)t * stride, stride);
            for (; t + 2 <= panel->n; t += 2)
                tile(&w, panel, t, 2, begin, end, s + (size_t)t * stride, stride);
            if (t < panel->n)
                tile(&w, panel, t, 1, begin, end, s + (size_t)t * stride, stride);
        }
}

static void product_mxfp4(const struct slab *slab, const struct panel *panel, float *sum)
{
    if (panel->n == 1)
        neon_kernels.product_mxfp4(slab, panel, sum);
    else
        product_integer(slab, true, panel, sum);
}

static void product_q8(const struct slab *slab, const struct panel *panel, float *sum)
{
    if (panel->n == 1)
        neon_kernels.product_q8(slab, panel, sum);
    else
        product_integer(slab, false, panel, sum);
}

const struct kernels i8mm_kernels = {
    .name = "i8mm",
    .quantise = quantise,
    .product_mxfp4 = product_mxfp4,
    .product_q8 = product_q8,
    LANES_KERNELS,
};
