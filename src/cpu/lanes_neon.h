/* Sixteen float lanes as four vectors of NEON. The operations are those of lanes_kernels.h; lanes_avx512.h describes
 * them. */
#ifndef CPU_LANES_NEON_H
#define CPU_LANES_NEON_H

#include <arm_neon.h>
#include <stdint.h>

typedef float32x4x4_t lanes;

enum {
    FLOAT_COLUMNS = 5,
    SCORE_VECTORS = 4,
    SCORE_TILES = 1,
    VALUE_HEADS = 4,
    VALUE_LANES = 1,
};

/* op on each of the four vectors */
#define LANES_EACH(op)                                                                                                 \
    (lanes)                                                                                                            \
    {                                                                                                                  \
        {                                                                                                              \
            op(0), op(1), op(2), op(3)                                                                                 \
        }                                                                                                              \
    }

static inline lanes lanes_load(const float *x)
{
#define LOAD(i) vld1q_f32(x + 4 * (i))
    return LANES_EACH(LOAD);
#undef LOAD
}

static inline void lanes_store(float *x, lanes a)
{
    for (int i = 0; i < 4; i++)
        vst1q_f32(x + 4 * i, a.val[i]);
}

static inline lanes lanes_set1(float x)
{
#define SET(i) vdupq_n_f32(x)
    return LANES_EACH(SET);
#undef SET
}

static inline lanes lanes_add(lanes a, lanes b)
{
#define ADD(i) vaddq_f32(a.val[i], b.val[i])
    return LANES_EACH(ADD);
#undef ADD
}

static inline lanes lanes_sub(lanes a, lanes b)
{
#define SUB(i) vsubq_f32(a.val[i], b.val[i])
    return LANES_EACH(SUB);
#undef SUB
}

static inline lanes lanes_mul(lanes a, lanes b)
{
#define MUL(i) vmulq_f32(a.val[i], b.val[i])
    return LANES_EACH(MUL);
#undef MUL
}

static inline lanes lanes_div(lanes a, lanes b)
{
#define DIV(i) vdivq_f32(a.val[i], b.val[i])
    return LANES_EACH(DIV);
#undef DIV
}

static inline lanes lanes_fma(lanes a, lanes b, lanes c)
{
#define FMA(i) vfmaq_f32(c.val[i], a.val[i], b.val[i])
    return LANES_EACH(FMA);
#undef FMA
}

static inline lanes lanes_fms(lanes a, lanes b, lanes c)
{
#define FMS(i) vfmaq_f32(vnegq_f32(c.val[i]), a.val[i], b.val[i])
    return LANES_EACH(FMS);
#undef FMS
}

static inline lanes lanes_select_less(lanes a, lanes b, lanes yes, lanes no)
{
#define SELECT(i) vbslq_f32(vcltq_f32(a.val[i], b.val[i]), yes.val[i], no.val[i])
    return LANES_EACH(SELECT);
#undef SELECT
}

/* By comparison, since NEON's own minimum of a number and a NaN is the NaN on either side. */
static inline lanes lanes_min(lanes a, lanes b)
{
    return lanes_select_less(a, b, a, b);
}

static inline lanes lanes_max(lanes a, lanes b)
{
    return lanes_select_less(b, a, a, b);
}

static inline lanes lanes_rint(lanes a)
{
#define RINT(i) vrndnq_f32(a.val[i])
    return LANES_EACH(RINT);
#undef RINT
}

/* In two exact steps, because 2^128 is no float. */
static inline float32x4_t scale_quarter(float32x4_t a, float32x4_t n)
{
    int32x4_t bias = vdupq_n_s32(127), whole = vcvtq_s32_f32(n), half = vshrq_n_s32(whole, 1);
    int32x4_t rest = vsubq_s32(whole, half);
    a = vmulq_f32(a, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(half, bias), 23)));
    return vmulq_f32(a, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(rest, bias), 23)));
}

static inline lanes lanes_scale(lanes a, lanes n)
{
#define SCALE(i) scale_quarter(a.val[i], n.val[i])
    return LANES_EACH(SCALE);
#undef SCALE
}

static inline lanes lanes_from_f16(const uint16_t *x)
{
#define FROM(i) vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(x + 4 * (i))))
    return LANES_EACH(FROM);
#undef FROM
}

static inline void lanes_to_f16(uint16_t *x, lanes a)
{
    for (int i = 0; i < 4; i++)
        vst1_u16(x + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(a.val[i])));
}

static inline lanes lanes_from_bf16(const uint16_t *x)
{
#define FROM(i) vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(x + 4 * (i)), 16))
    return LANES_EACH(FROM);
#undef FROM
}

static inline float lanes_sum(lanes a)
{
    float32x4_t s = vaddq_f32(vaddq_f32(a.val[0], a.val[2]), vaddq_f32(a.val[1], a.val[3]));
    float32x2_t pair = vadd_f32(vget_low_f32(s), vget_high_f32(s));
    return vget_lane_f32(pair, 0) + vget_lane_f32(pair, 1);
}

static inline float lanes_max_all(lanes a)
{
    return vmaxnmvq_f32(vmaxnmq_f32(vmaxnmq_f32(a.val[0], a.val[1]), vmaxnmq_f32(a.val[2], a.val[3])));
}

static inline uint32_t lanes_magnitude(lanes a, lanes b)
{
    uint32x4_t m = vdupq_n_u32(0);
    for (int i = 0; i < 4; i++) {
        m = vmaxq_u32(m, vreinterpretq_u32_f32(vabsq_f32(a.val[i])));
        m = vmaxq_u32(m, vreinterpretq_u32_f32(vabsq_f32(b.val[i])));
    }
    return vmaxvq_u32(m);
}

static inline int32_t sixteen_to_int8(int8_t *q, lanes a)
{
    int32x4_t w = vcvtnq_s32_f32(a.val[0]), x = vcvtnq_s32_f32(a.val[1]), y = vcvtnq_s32_f32(a.val[2]),
              z = vcvtnq_s32_f32(a.val[3]);
    int16x8_t lo = vcombine_s16(vmovn_s32(w), vmovn_s32(x)), hi = vcombine_s16(vmovn_s32(y), vmovn_s32(z));
    vst1q_s8(q, vcombine_s8(vmovn_s16(lo), vmovn_s16(hi)));
    return vaddvq_s32(vaddq_s32(vaddq_s32(w, x), vaddq_s32(y, z)));
}

static inline int32_t lanes_to_int8(int8_t *q, lanes a, lanes b)
{
    return sixteen_to_int8(q, a) + sixteen_to_int8(q + 16, b);
}

#endif
