/* NEON with dot products (Armv8.2). Weights and activations are signed, as sdot wants them, so the panel's offsets are
 * not needed. One vector of sdot is four rows x four inputs; a group is four vectors. */
#include "cpu/lanes_neon.h"

#include "cpu/lanes_kernels.h"

#include "cpu/unpack_neon.h"

enum { COLUMNS = 4 }; /* columns of a register tile */

/* The weights of one segment of a group, the doubled integers of MXFP4 or Q8 as it is: 9 KiB. */
struct unpacked {
    int8x16_t line[SEGMENT_BLOCKS][LINES][QUARTERS];
    float32x4_t scale[SEGMENT_BLOCKS][QUARTERS];
};

/* One group, n columns, the blocks of one segment. Adds to sum, or sets it in the first segment. */
INLINE void tile(const struct unpacked *w, const struct panel *panel, int column, const int n, int begin, int end,
                 float *sum, int stride)
{
    float32x4_t segment[COLUMNS][QUARTERS];
    UNROLL for (int t = 0; t < n; t++) UNROLL for (int i = 0; i < QUARTERS; i++) segment[t][i] = vdupq_n_f32(0.0f);
    for (int b = begin; b < end; b++) {
        size_t at = (size_t)b * panel->n + column;
        UNROLL for (int t = 0; t < n; t++)
        {
            int8x16_t lo = vld1q_s8(panel->q + (at + t) * BLOCK), hi = vld1q_s8(panel->q + (at + t) * BLOCK + 16);
            UNROLL for (int i = 0; i < QUARTERS; i++)
            {
                const int8x16_t(*line)[QUARTERS] = w->line[b - begin];
                int32x4_t dot = vdotq_laneq_s32(vdupq_n_s32(0), line[0][i], lo, 0);
                dot = vdotq_laneq_s32(dot, line[1][i], lo, 1);
                dot = vdotq_laneq_s32(dot, line[2][i], lo, 2);
                dot = vdotq_laneq_s32(dot, line[3][i], lo, 3);
                dot = vdotq_laneq_s32(dot, line[4][i], hi, 0);
                dot = vdotq_laneq_s32(dot, line[5][i], hi, 1);
                dot = vdotq_laneq_s32(dot, line[6][i], hi, 2);
                dot = vdotq_laneq_s32(dot, line[7][i], hi, 3);
                float32x4_t scale = vmulq_n_f32(w->scale[b - begin][i], panel->scale[at + t]);
                segment[t][i] = vfmaq_f32(segment[t][i], vcvtq_f32_s32(dot), scale);
            }
        }
    }
    UNROLL for (int t = 0; t < n; t++) UNROLL for (int i = 0; i < QUARTERS; i++)
    {
        float *s = sum + (size_t)t * stride + 4 * i;
        vst1q_f32(s, begin ? vaddq_f32(vld1q_f32(s), segment[t][i]) : segment[t][i]);
    }
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
                unpack_block(slab->quants + block * quant_bytes(mxfp4), slab->scales + block * scale_bytes(mxfp4),
                             mxfp4, w.line[b - begin], w.scale[b - begin]);
            }
            for (; t + COLUMNS <= panel->n; t += COLUMNS)
                tile(&w, panel, t, COLUMNS, begin, end, sum + (size_t)t * stride + g * LANES, stride);
            for (; t < panel->n; t++)
                tile(&w, panel, t, 1, begin, end, sum + (size_t)t * stride + g * LANES, stride);
        }
}

static void product_mxfp4(const struct slab *slab, const struct panel *panel, float *sum)
{
    product_integer(slab, true, panel, sum);
}

static void product_q8(const struct slab *slab, const struct panel *panel, float *sum)
{
    product_integer(slab, false, panel, sum);
}

const struct kernels neon_kernels = {
    .name = "neon",
    .quantise = quantise,
    .product_mxfp4 = product_mxfp4,
    .product_q8 = product_q8,
    LANES_KERNELS,
};
