/* Sixteen float lanes on AVX-512. The operations are those of lanes_kernels.h. */
#ifndef CPU_LANES_AVX512_H
#define CPU_LANES_AVX512_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

typedef __m512 lanes;

enum {
    FLOAT_COLUMNS = 8, /* columns, query vectors, heads and vectors of values that fit the registers together */
    SCORE_VECTORS = 8,
    SCORE_TILES = 2,
    VALUE_HEADS = 8,
    VALUE_LANES = 2,
};

static inline lanes lanes_load(const float *x)
{
    return _mm512_loadu_ps(x);
}

static inline void lanes_store(float *x, lanes a)
{
    _mm512_storeu_ps(x, a);
}

static inline lanes lanes_set1(float x)
{
    return _mm512_set1_ps(x);
}

static inline lanes lanes_add(lanes a, lanes b)
{
    return _mm512_add_ps(a, b);
}

static inline lanes lanes_sub(lanes a, lanes b)
{
    return _mm512_sub_ps(a, b);
}

static inline lanes lanes_mul(lanes a, lanes b)
{
    return _mm512_mul_ps(a, b);
}

static inline lanes lanes_div(lanes a, lanes b)
{
    return _mm512_div_ps(a, b);
}

static inline lanes lanes_fma(lanes a, lanes b, lanes c)
{
    return _mm512_fmadd_ps(a, b, c);
}

/* a * b - c */
static inline lanes lanes_fms(lanes a, lanes b, lanes c)
{
    return _mm512_fmsub_ps(a, b, c);
}

/* a < b ? a : b, so b if either is a NaN */
static inline lanes lanes_min(lanes a, lanes b)
{
    return _mm512_min_ps(a, b);
}

/* a > b ? a : b */
static inline lanes lanes_max(lanes a, lanes b)
{
    return _mm512_max_ps(a, b);
}

static inline lanes lanes_rint(lanes a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* a < b ? yes : no */
static inline lanes lanes_select_less(lanes a, lanes b, lanes yes, lanes no)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
}

/* a * 2^n for whole n within -126 .. 128, where the result is a normal number */
static inline lanes lanes_scale(lanes a, lanes n)
{
    return _mm512_scalef_ps(a, n);
}

static inline lanes lanes_from_f16(const uint16_t *x)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)x));
}

static inline void lanes_to_f16(uint16_t *x, lanes a)
{
    _mm256_storeu_si256((__m256i *)x, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

static inline lanes lanes_from_bf16(const uint16_t *x)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)x)), 16));
}

/* The tree of halves: 8, 4, 2, 1. */
static inline float lanes_sum(lanes a)
{
    __m256 s = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}

static inline float lanes_max_all(lanes a)
{
    return _mm512_reduce_max_ps(a);
}

/* The greatest magnitude of two vectors, as bits. */
static inline uint32_t lanes_magnitude(lanes a, lanes b)
{
    __m512i mask = _mm512_set1_epi32(0x7FFFFFFF);
    __m512i x = _mm512_and_si512(_mm512_castps_si512(a), mask), y = _mm512_and_si512(_mm512_castps_si512(b), mask);
    return (uint32_t)_mm512_reduce_max_epi32(_mm512_max_epi32(x, y));
}

/* Rounds to int8, half to even; returns the sum. The values lie within +-127. */
static inline int32_t lanes_to_int8(int8_t *q, lanes a, lanes b)
{
    __m512i x = _mm512_cvtps_epi32(a), y = _mm512_cvtps_epi32(b);
    _mm_storeu_si128((__m128i *)q, _mm512_cvtepi32_epi8(x));
    _mm_storeu_si128((__m128i *)(q + 16), _mm512_cvtepi32_epi8(y));
    return _mm512_reduce_add_epi32(_mm512_add_epi32(x, y));
}

/* The scales of a block of 16 rows: 2^(e - 128), which is subnormal for e of 0 and 1; or the f16 scales. */
static inline lanes unpack_scales(const uint8_t *scales, bool mxfp4)
{
    if (!mxfp4)
        return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)scales));
    __m512i e = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)scales)), one = _mm512_set1_epi32(1);
    __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(e, one), 23);
    __m512i small = _mm512_sllv_epi32(_mm512_set1_epi32(0x200000), e);
    return _mm512_castsi512_ps(_mm512_mask_blend_epi32(_mm512_cmple_epi32_mask(e, one), normal, small));
}

#endif
