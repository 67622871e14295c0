/* AVX2. vpmaddubsw adds two products of an unsigned and a signed byte in 16 bits, which must not saturate:
 *   MXFP4  w + 12 is at most 24, so four lines of products (4 * 2 * 24 * 127) fit 16 bits; -12 times the sum of the
 *          activations, taken from the panel's offset, makes the dot product exact.
 *   Q8     |w| times the activation with w's sign: at most 2 * 128 * 127 = 32512. */
enum { COLUMNS = 2 };

#include "cpu/products_avx2.h"

INLINE __m256i mxfp4_table(void)
{
    return _mm256_broadcastsi128_si256(_mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0));
}

INLINE __m256i q8_weights(__m256i line)
{
    return line;
}

INLINE void multiply_mxfp4(const __m256i line[][LINES], const int8_t *q, const int32_t *offset, const int n,
                           const int halves, __m256i dot[][HALVES])
{
    __m256i ones = _mm256_set1_epi16(1), pairs[COLUMNS][HALVES];
    UNROLL for (int t = 0; t < n; t++) UNROLL for (int h = 0; h < halves; h++) dot[t][h] =
        _mm256_set1_epi32((offset[t] >> 5) * 3) /* -12 times the sum */;
    UNROLL for (int j = 0; j < LINES; j++)
    {
        UNROLL for (int t = 0; t < n; t++)
        {
            __m256i x = broadcast4(q + t * BLOCK + 4 * j);
            UNROLL for (int h = 0; h < halves; h++)
            {
                __m256i product = _mm256_maddubs_epi16(line[h][j], x);
                pairs[t][h] = j % 4 ? _mm256_add_epi16(pairs[t][h], product) : product;
                if (j % 4 == 3)
                    dot[t][h] = _mm256_add_epi32(dot[t][h], _mm256_madd_epi16(pairs[t][h], ones));
            }
        }
    }
}

INLINE void multiply_q8(const __m256i line[][LINES], const int8_t *q, const int n, const int halves,
                        __m256i dot[][HALVES])
{
    __m256i ones = _mm256_set1_epi16(1);
    UNROLL for (int t = 0; t < n; t++) UNROLL for (int h = 0; h < halves; h++) dot[t][h] = _mm256_setzero_si256();
    UNROLL for (int j = 0; j < LINES; j++) UNROLL for (int h = 0; h < halves; h++)
    {
        __m256i w = line[h][j], magnitude = _mm256_abs_epi8(w);
        UNROLL for (int t = 0; t < n; t++)
        {
            __m256i x = _mm256_sign_epi8(broadcast4(q + t * BLOCK + 4 * j), w);
            dot[t][h] = _mm256_add_epi32(dot[t][h], _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, x), ones));
        }
    }
}

INLINE void multiply(const __m256i line[][LINES], bool mxfp4, const int8_t *q, const int32_t *offset, const int n,
                     const int halves, __m256i dot[][HALVES])
{
    if (mxfp4)
        multiply_mxfp4(line, q, offset, n, halves, dot);
    else
        multiply_q8(line, q, n, halves, dot);
}

const struct kernels avx2_kernels = {
    .name = "avx2",
    .quantise = quantise,
    .product_mxfp4 = product_mxfp4,
    .product_q8 = product_q8,
    LANES_KERNELS,
};
