/* AVX-VNNI: vpdpbusd on vectors of 32 bytes, for processors without AVX-512. Weights become unsigned (w + 128); the sum
 * starts from the panel's offset, -128 times the sum of the activations, so it ends as the exact dot product. */
#include "cpu/products_avx2.h"

INLINE __m256i mxfp4_table(void)
{
    return _mm256_broadcastsi128_si256(_mm_setr_epi8((char)128, (char)129, (char)130, (char)131, (char)132, (char)134,
                                                     (char)136, (char)140, (char)128, 127, 126, 125, 124, 122, 120,
                                                     116));
}

INLINE __m256i q8_weights(__m256i line)
{
    return _mm256_xor_si256(line, _mm256_set1_epi8((char)128));
}

INLINE __m256i dot(const __m256i line[LINES], const int8_t *q, int32_t offset)
{
    __m256i even = _mm256_set1_epi32(offset), odd = _mm256_setzero_si256();
    UNROLL for (int j = 0; j < LINES; j += 2)
    {
        even = _mm256_dpbusd_avx_epi32(even, line[j], broadcast4(q + 4 * j));
        odd = _mm256_dpbusd_avx_epi32(odd, line[j + 1], broadcast4(q + 4 * j + 4));
    }
    return _mm256_add_epi32(even, odd);
}

INLINE __m256i dot_mxfp4(const __m256i line[LINES], const int8_t *q, int32_t offset)
{
    return dot(line, q, offset);
}

INLINE __m256i dot_q8(const __m256i line[LINES], const int8_t *q, int32_t offset)
{
    return dot(line, q, offset);
}

const struct kernels avxvnni_kernels = {
    .name = "avxvnni",
    .quantise = quantise,
    .product_mxfp4 = product_mxfp4,
    .product_q8 = product_q8,
    LANES_KERNELS,
};
