/* Unpacking one block of 16 rows x 32 inputs into vectors of NEON: what the kernels of sdot and of smmla share.
 * Included after lanes_neon.h and lanes_kernels.h. */
#ifndef CPU_UNPACK_NEON_H
#define CPU_UNPACK_NEON_H

#include "weights/tile.h"

enum {
    LINES = 8,    /* 64-byte lines of 16 rows x 4 inputs in an unpacked block */
    QUARTERS = 4, /* vectors in a line: four rows each */
};

/* 2^(e - 128), which is subnormal for e of 0 and 1 */
static inline float32x4_t e8m0_half(uint32x4_t e)
{
    uint32x4_t one = vdupq_n_u32(1), normal = vshlq_n_u32(vsubq_u32(e, one), 23);
    uint32x4_t small = vshlq_u32(vdupq_n_u32(0x200000), vreinterpretq_s32_u32(e));
    return vreinterpretq_f32_u32(vbslq_u32(vcgtq_u32(e, one), normal, small));
}

/* The doubled integers of MXFP4, or Q8 as it is, and the scale of each row. */
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

#endif
