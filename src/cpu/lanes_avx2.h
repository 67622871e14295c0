/* Sixteen float lanes as two vectors of AVX2. The operations are those of lanes_kernels.h; lanes_avx512.h describes
 * them. */
#ifndef CPU_LANES_AVX2_H
#define CPU_LANES_AVX2_H

#include <immintrin.h>
#include <stdint.h>

typedef struct {
    __m256 lo, hi;
} lanes;

enum {
    FLOAT_COLUMNS = 4,
    SCORE_VECTORS = 4,
    SCORE_TILES = 1,
    VALUE_HEADS = 4,
    VALUE_LANES = 1,
};

static inline lanes lanes_load(const float *x)
{
    return (lanes){_mm256_loadu_ps(x), _mm256_loadu_ps(x + 8)};
}

static inline void lanes_store(float *x, lanes a)
{
    _mm256_storeu_ps(x, a.lo);
    _mm256_storeu_ps(x + 8, a.hi);
}

static inline lanes lanes_set1(float x)
{
    return (lanes){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}

static inline lanes lanes_add(lanes a, lanes b)
{
    return (lanes){_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
}

static inline lanes lanes_sub(lanes a, lanes b)
{
    return (lanes){_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
}

static inline lanes lanes_mul(lanes a, lanes b)
{
    return (lanes){_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
}

static inline lanes lanes_div(lanes a, lanes b)
{
    return (lanes){_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
}

static inline lanes lanes_fma(lanes a, lanes b, lanes c)
{
    return (lanes){_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}

static inline lanes lanes_fms(lanes a, lanes b, lanes c)
{
    return (lanes){_mm256_fmsub_ps(a.lo, b.lo, c.lo), _mm256_fmsub_ps(a.hi, b.hi, c.hi)};
}

static inline lanes lanes_min(lanes a, lanes b)
{
    return (lanes){_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)};
}

static inline lanes lanes_max(lanes a, lanes b)
{
    return (lanes){_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)};
}

static inline lanes lanes_rint(lanes a)
{
    enum { NEAREST = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC };
    return (lanes){_mm256_round_ps(a.lo, NEAREST), _mm256_round_ps(a.hi, NEAREST)};
}

static inline lanes lanes_select_less(lanes a, lanes b, lanes yes, lanes no)
{
    return (lanes){_mm256_blendv_ps(no.lo, yes.lo, _mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ)),
                   _mm256_blendv_ps(no.hi, yes.hi, _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ))};
}

/* In two exact steps, because 2^128 is no float. */
static inline __m256 scale_half(__m256 a, __m256 n)
{
    __m256i bias = _mm256_set1_epi32(127), whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    __m256i rest = _mm256_sub_epi32(whole, half);
    a = _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23)));
    return _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23)));
}

static inline lanes lanes_scale(lanes a, lanes n)
{
    return (lanes){scale_half(a.lo, n.lo), scale_half(a.hi, n.hi)};
}

static inline lanes lanes_from_f16(const uint16_t *x)
{
    return (lanes){_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)x)),
                   _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(x + 8)))};
}

static inline void lanes_to_f16(uint16_t *x, lanes a)
{
    _mm_storeu_si128((__m128i *)x, _mm256_cvtps_ph(a.lo, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    _mm_storeu_si128((__m128i *)(x + 8), _mm256_cvtps_ph(a.hi, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

static inline __m256 half_from_bf16(const uint16_t *x)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)x)), 16));
}

static inline lanes lanes_from_bf16(const uint16_t *x)
{
    return (lanes){half_from_bf16(x), half_from_bf16(x + 8)};
}

static inline float lanes_sum(lanes a)
{
    __m256 s = _mm256_add_ps(a.lo, a.hi);
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}

static inline float lanes_max_all(lanes a)
{
    __m256 s = _mm256_max_ps(a.lo, a.hi);
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
}

static inline __m256i larger_magnitude(__m256 a, __m256 b)
{
    __m256i mask = _mm256_set1_epi32(0x7FFFFFFF);
    return _mm256_max_epi32(_mm256_and_si256(_mm256_castps_si256(a), mask),
                            _mm256_and_si256(_mm256_castps_si256(b), mask));
}

static inline uint32_t lanes_magnitude(lanes a, lanes b)
{
    __m256i m = _mm256_max_epi32(larger_magnitude(a.lo, a.hi), larger_magnitude(b.lo, b.hi));
    __m128i q = _mm_max_epi32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1));
    q = _mm_max_epi32(q, _mm_shuffle_epi32(q, 0x4E));
    return (uint32_t)_mm_cvtsi128_si32(_mm_max_epi32(q, _mm_shuffle_epi32(q, 0xB1)));
}

static inline int32_t lanes_to_int8(int8_t *q, lanes a, lanes b)
{
    __m256i w = _mm256_cvtps_epi32(a.lo), x = _mm256_cvtps_epi32(a.hi), y = _mm256_cvtps_epi32(b.lo),
            z = _mm256_cvtps_epi32(b.hi);
    /* the packs work within 128-bit halves and leave runs of four bytes, a permutation puts those in order */
    __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(w, x), _mm256_packs_epi32(y, z));
    bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256((__m256i *)q, bytes);
    __m256i s = _mm256_add_epi32(_mm256_add_epi32(w, x), _mm256_add_epi32(y, z));
    __m128i r = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
    r = _mm_add_epi32(r, _mm_shuffle_epi32(r, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(r, _mm_shuffle_epi32(r, 0xB1)));
}

#endif
