/* AVX-VNNI: vpdpbusd on vectors of 32 bytes, for processors without AVX-512. Weights become unsigned (w + 128); the sum
 * starts from the panel's offset, -128 times the sum of the activations, so it ends as the exact dot product. */
enum { COLUMNS = 3 };

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

INLINE void multiply(const __m256i line[][LINES], bool mxfp4, const int8_t *q, const int32_t *offset, const int n,
                     const int halves, __m256i dot[][HALVES])
{
    (void)mxfp4;
    UNROLL for (int t = 0; t < n; t++) UNROLL for (int h = 0; h < halves; h++) dot[t][h] = _mm256_set1_epi32(offset[t]);
    UNROLL for (int j = 0; j < LINES; j++) UNROLL for (int t = 0; t < n; t++)
    {
        __m256i x = broadcast4(q + t * BLOCK + 4 * j);
        UNROLL for (int h = 0; h < halves; h++) dot[t][h] = _mm256_dpbusd_avx_epi32(dot[t][h], line[h][j], x);
    }
}

const struct kernels avxvnni_kernels = {
    .name = "avxvnni",
    .quantise = quantise,
    .product_mxfp4 = product_mxfp4,
    .product_q8 = product_q8,
    LANES_KERNELS,
};
