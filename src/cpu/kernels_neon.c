/* NEON with dot products (Armv8.2). Weights and activations are signed, as sdot wants them, so the panel's offsets are
 * not needed. One vector of sdot is four rows x four inputs; a group is four vectors. */
#include "cpu/lanes_neon.h"

#include "cpu/lanes_kernels.h"
#include "weights/tile.h"

enum {
    LINES = 8,    /* 64-byte lines of 16 rows x 4 inputs in an unpacked block */
    QUARTERS = 4, /* vectors in a line */
    COLUMNS = 4,  /* columns of a register tile */
};

/* The weights of one segment of a group, the doubled integers of MXFP4 or Q8 as it is: 9 KiB. */
struct unpacked {
    int8x16_t line[SEGMENT_BLOCKS][LINES][QUARTERS];
    float32x4_t scale[SEGMENT_BLOCKS][QUARTERS];
};

/* 2^(e - 128), which is subnormal for e of 0 and 1 */
static inline float32x4_t e8m0_half(uint32x4_t e)
{
    uint32x4_t one = vdupq_n_u32(1), normal = vshlq_n_u32(vsubq_u32(e, one), 23);
    uint32x4_t small = vshlq_u32(vdupq_n_u32(0x200000), vreinterpretq_s32_u32(e));
    return vreinterpretq_f32_u32(vbslq_u32(vcgtq_u32(e, one), normal, small));
}

INLINE void unpack_block(const uint8_t *block, const uint8_t *scales, bool mxfp4, int8x16_t line[LINES][QUARTERS],
                         float32x4_t scale[QUARTERS])
{
    if (!mxfp4) {
        for (int i = 0; i < LINES * QUARTERS; i++)
            line[i / QUARTERS][i % QUARTERS] = vld1q_s8((const int8_t *)block + 16 * i);
        for (int i = 0; i < QUARTERS; i++) {
            uint16x4_t half;
            memcpy(&half, scales + 8 * i, sizeof half);
            scale[i] = vcvt_f32_f16(vreinterpret_f16_u16(half));
        }
        return;
    }
    static const int8_t twice[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    int8x16_t table = vld1q_s8(twice);
    for (int j = 0; j < LINES / 2; j++)
        for (int i = 0; i < QUARTERS; i++) {
            uint8x16_t packed = vld1q_u8(block + 64 * j + 16 * i);
            line[2 * j][i] = vqtbl1q_s8(table, vandq_u8(packed, vdupq_n_u8(15)));
            line[2 * j + 1][i] = vqtbl1q_s8(table, vshrq_n_u8(packed, 4));
        }
    uint8x16_t e = vld1q_u8(scales);
    uint16x8_t lo = vmovl_u8(vget_low_u8(e)), hi = vmovl_u8(vget_high_u8(e));
    scale[0] = e8m0_half(vmovl_u16(vget_low_u16(lo)));
    scale[1] = e8m0_half(vmovl_u16(vget_high_u16(lo)));
    scale[2] = e8m0_half(vmovl_u16(vget_low_u16(hi)));
    scale[3] = e8m0_half(vmovl_u16(vget_high_u16(hi)));
}

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
    size_t quant_bytes = mxfp4 ? TILE_MXFP4_BLOCK : TILE_Q8_BLOCK, scale_bytes = mxfp4 ? TILE_ROWS : 2 * TILE_ROWS;
    struct unpacked w;
    for (int g = 0; g < slab->groups; g++)
        for (int begin = 0; begin < blocks; begin += SEGMENT_BLOCKS) {
            int end = blocks - begin < SEGMENT_BLOCKS ? blocks : begin + SEGMENT_BLOCKS, t = 0;
            for (int b = begin; b < end; b++) {
                size_t block = (size_t)g * blocks + b;
                unpack_block(slab->quants + block * quant_bytes, slab->scales + block * scale_bytes, mxfp4,
                             w.line[b - begin], w.scale[b - begin]);
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
    .product_bf16 = product_bf16,
    .product_f32 = product_f32,
    .rms_norm = rms_norm,
    .rotate = rotate,
    .to_f16 = to_f16,
    .scores = scores,
    .softmax = softmax,
    .values = values,
    .merge = merge,
    .divide = divide,
    .swiglu = swiglu,
    .combine = combine,
};
