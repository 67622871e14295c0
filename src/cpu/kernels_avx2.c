/* AVX2. vpmaddubsw adds two products of an unsigned and a signed byte in 16 bits, which must not saturate:
 *   MXFP4  w + 12 is at most 24, so four lines of products (4 * 2 * 24 * 127) fit 16 bits; -12 times the sum of the
 *          activations, taken from the panel's offset, makes the dot product exact.
 *   Q8     |w| times the activation with w's sign: at most 2 * 128 * 127 = 32512. */
#include "cpu/products_avx2.h"

INLINE __m256i mxfp4_table(void)
{
    return _mm256_broadcastsi128_si256(_mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0));
}

INLINE __m256i q8_weights(__m256i line)
{
    return line;
}

INLINE __m256i dot_mxfp4(const __m256i line[LINES], const int8_t *q, int32_t offset)
{
    __m256i sum = _mm256_set1_epi32(offset * 3 / 32), ones = _mm256_set1_epi16(1);
    UNROLL for (int j = 0; j < LINES; j += 4)
    {
        __m256i a = _mm256_maddubs_epi16(line[j], broadcast4(q + 4 * j));
        __m256i b = _mm256_maddubs_epi16(line[j + 1], broadcast4(q + 4 * j + 4));
        a = _mm256_add_epi16(a, _mm256_maddubs_epi16(line[j + 2], broadcast4(q + 4 * j + 8)));
        b = _mm256_add_epi16(b, _mm256_maddubs_epi16(line[j + 3], broadcast4(q + 4 * j + 12)));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_add_epi16(a, b), ones));
    }
    return sum;
}

INLINE __m256i dot_q8(const __m256i line[LINES], const int8_t *q, int32_t offset)
{
    (void)offset;
    __m256i sum = _mm256_setzero_si256(), ones = _mm256_set1_epi16(1);
    UNROLL for (int j = 0; j < LINES; j++)
    {
        __m256i w = line[j], a = _mm256_sign_epi8(broadcast4(q + 4 * j), w);
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8(w), a), ones));
    }
    return sum;
}

const struct kernels avx2_kernels = {
    .name = "avx2",
    .quantise = quantise,
    .product_mxfp4 = product_mxfp4,
    .product_q8 = product_q8,
    LANES_KERNELS,
};
