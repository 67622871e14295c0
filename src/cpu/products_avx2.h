/* The products of the two files with vectors of 32 bytes, each of which holds eight rows: half a group. The file that
 * includes this gives the number of COLUMNS that a register tile has, and says how weights are stored and multiplied:
 *   mxfp4_table()      the sixteen values of MXFP4, in each half of a vector
 *   q8_weights(line)   a line of Q8 weights
 *   multiply(..)       one block of n columns times some halves of a group; q and offset as in struct panel */
#ifndef CPU_PRODUCTS_AVX2_H
#define CPU_PRODUCTS_AVX2_H

#include "cpu/lanes_avx2.h"

#include "cpu/lanes_kernels.h"

enum {
    LINES = 8, /* 32-byte lines of 8 rows x 4 inputs in an unpacked block of half a group */
    HALVES = 2,
    AHEAD = 4096, /* bytes of weights to fetch ahead, as measured: the hardware alone stops at the end of a page */
};

INLINE __m256i mxfp4_table(void);
INLINE __m256i q8_weights(__m256i line);
INLINE void multiply(const __m256i line[][LINES], bool mxfp4, const int8_t *q, const int32_t *offset, const int n,
                     const int halves, __m256i dot[][HALVES]);

INLINE __m256i broadcast4(const int8_t *q)
{
    int32_t four;
    memcpy(&four, q, sizeof four);
    return _mm256_set1_epi32(four);
}

/* The weights of one segment of a group: 9 KiB. */
struct unpacked {
    __m256i line[SEGMENT_BLOCKS][HALVES][LINES];
    __m256 scale[SEGMENT_BLOCKS][HALVES];
};

INLINE void unpack_block(const uint8_t *block, const uint8_t *scales, bool mxfp4, int half, __m256i line[LINES],
                         __m256 *scale)
{
    if (!mxfp4) {
        UNROLL for (int j = 0; j < LINES; j++) line[j] =
            q8_weights(_mm256_loadu_si256((const __m256i *)(block + 64 * j + 32 * half)));
        *scale = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(scales + 16 * half)));
        return;
    }
    __m256i low = _mm256_set1_epi8(15), table = mxfp4_table();
    UNROLL for (int j = 0; j < LINES / 2; j++)
    {
        __m256i packed = _mm256_loadu_si256((const __m256i *)(block + 64 * j + 32 * half));
        line[2 * j] = _mm256_shuffle_epi8(table, _mm256_and_si256(packed, low));
        line[2 * j + 1] = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(packed, 4), low));
    }
    /* 2^(e - 128), which is subnormal for e of 0 and 1 */
    __m256i e = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(scales + 8 * half))), one = _mm256_set1_epi32(1);
    __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, one), 23);
    __m256i small = _mm256_sllv_epi32(_mm256_set1_epi32(0x200000), e);
    *scale = _mm256_castsi256_ps(_mm256_blendv_epi8(small, normal, _mm256_cmpgt_epi32(e, one)));
}

INLINE void fetch_later_block(const uint8_t *block, bool mxfp4)
{
    UNROLL for (size_t i = 0; i < quant_bytes(mxfp4); i += 64)
        _mm_prefetch((const char *)block + AHEAD + i, _MM_HINT_T0);
}

INLINE void add_block(__m256i dot, __m256 weight_scale, float column_scale, __m256 *sum)
{
    __m256 scale = _mm256_mul_ps(weight_scale, _mm256_set1_ps(column_scale));
    *sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), scale, *sum);
}

/* One group and one column, straight from the packed weights. */
INLINE void direct(const uint8_t *quants, const uint8_t *scales, bool mxfp4, const struct panel *panel, float *sum)
{
    int blocks = panel->cols / BLOCK;
    __m256 total[HALVES] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (int begin = 0; begin < blocks; begin += SEGMENT_BLOCKS) {
        int end = blocks - begin < SEGMENT_BLOCKS ? blocks : begin + SEGMENT_BLOCKS;
        __m256 segment[HALVES] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
        for (int b = begin; b < end; b++) {
            const uint8_t *block = quants + b * quant_bytes(mxfp4);
            fetch_later_block(block, mxfp4);
            UNROLL for (int h = 0; h < HALVES; h++)
            {
                __m256i line[1][LINES], dot[1][HALVES];
                __m256 scale;
                unpack_block(block, scales + b * scale_bytes(mxfp4), mxfp4, h, line[0], &scale);
                multiply(line, mxfp4, panel->q + (size_t)b * BLOCK, panel->offset + b, 1, 1, dot);
                add_block(dot[0][0], scale, panel->scale[b], &segment[h]);
            }
        }
        UNROLL for (int h = 0; h < HALVES; h++) total[h] = begin ? _mm256_add_ps(total[h], segment[h]) : segment[h];
    }
    UNROLL for (int h = 0; h < HALVES; h++) _mm256_storeu_ps(sum + 8 * h, total[h]);
}

/* One group, n columns, the blocks of one segment. Adds to sum, or sets it in the first segment. */
INLINE void tile(const struct unpacked *w, bool mxfp4, const struct panel *panel, int column, const int n, int begin,
                 int end, float *sum, int stride)
{
    __m256 segment[COLUMNS][HALVES];
    UNROLL for (int t = 0; t < n; t++) UNROLL for (int h = 0; h < HALVES; h++) segment[t][h] = _mm256_setzero_ps();
    for (int b = begin; b < end; b++) {
        size_t at = (size_t)b * panel->n + column;
        __m256i dot[COLUMNS][HALVES];
        multiply(w->line[b - begin], mxfp4, panel->q + at * BLOCK, panel->offset + at, n, HALVES, dot);
        UNROLL for (int t = 0; t < n; t++) UNROLL for (int h = 0; h < HALVES; h++)
            add_block(dot[t][h], w->scale[b - begin][h], panel->scale[at + t], &segment[t][h]);
    }
    UNROLL for (int t = 0; t < n; t++) UNROLL for (int h = 0; h < HALVES; h++)
    {
        float *s = sum + (size_t)t * stride + 8 * h;
        _mm256_storeu_ps(s, begin ? _mm256_add_ps(_mm256_loadu_ps(s), segment[t][h]) : segment[t][h]);
    }
}

INLINE void group(const uint8_t *quants, const uint8_t *scales, bool mxfp4, const struct panel *panel, float *sum,
                  int stride)
{
    int blocks = panel->cols / BLOCK;
    struct unpacked w;
    for (int begin = 0; begin < blocks; begin += SEGMENT_BLOCKS) {
        int end = blocks - begin < SEGMENT_BLOCKS ? blocks : begin + SEGMENT_BLOCKS, t = 0;
        for (int b = begin; b < end; b++) {
            const uint8_t *block = quants + b * quant_bytes(mxfp4);
            fetch_later_block(block, mxfp4);
            UNROLL for (int h = 0; h < HALVES; h++) unpack_block(block, scales + b * scale_bytes(mxfp4), mxfp4, h,
                                                                 w.line[b - begin][h], &w.scale[b - begin][h]);
        }
        for (; t + COLUMNS <= panel->n; t += COLUMNS)
            tile(&w, mxfp4, panel, t, COLUMNS, begin, end, sum + (size_t)t * stride, stride);
        for (; t < panel->n; t++)
            tile(&w, mxfp4, panel, t, 1, begin, end, sum + (size_t)t * stride, stride);
    }
}

INLINE void product_integer(const struct slab *slab, bool mxfp4, const struct panel *panel, float *sum)
{
    size_t blocks = (size_t)slab->cols / BLOCK;
    for (int g = 0; g < slab->groups; g++) {
        const uint8_t *quants = slab->quants + g * blocks * quant_bytes(mxfp4);
        const uint8_t *scales = slab->scales + g * blocks * scale_bytes(mxfp4);
        if (panel->n == 1)
            direct(quants, scales, mxfp4, panel, sum + (size_t)g * LANES);
        else
            group(quants, scales, mxfp4, panel, sum + (size_t)g * LANES, slab->groups * LANES);
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

#endif
