/* The products of the two files with vectors of 32 bytes: eight rows at a time, half a group. The file that includes
 * this says how a weight is stored and multiplied: mxfp4_table()                  the sixteen values of MXFP4, in each
 * half of a vector q8_weights(line)               a line of Q8 weights dot_mxfp4(line, q, offset)     one block of
 * eight rows times one column, offset from the panel dot_q8(line, q, offset) */
#ifndef CPU_PRODUCTS_AVX2_H
#define CPU_PRODUCTS_AVX2_H

#include "cpu/lanes_avx2.h"

#include "cpu/lanes_kernels.h"
#include "weights/tile.h"

enum {
    LINES = 8,   /* 32-byte lines of 8 rows x 4 inputs in an unpacked block of half a group */
    COLUMNS = 4, /* columns of a register tile */
    HALVES = 2,
    AHEAD = 4096, /* bytes of weights to fetch ahead, as measured: the hardware alone stops at the end of a page */
};

INLINE __m256i mxfp4_table(void);
INLINE __m256i q8_weights(__m256i line);
INLINE __m256i dot_mxfp4(const __m256i line[LINES], const int8_t *q, int32_t offset);
INLINE __m256i dot_q8(const __m256i line[LINES], const int8_t *q, int32_t offset);

INLINE __m256i broadcast4(const int8_t *q)
{
    int32_t four;
    memcpy(&four, q, sizeof four);
    return _mm256_set1_epi32(four);
}

/* The weights of one segment of half a group. */
struct unpacked {
    __m256i line[SEGMENT_BLOCKS][LINES];
    __m256 scale[SEGMENT_BLOCKS];
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

/* Half a group, n columns, the blocks of one segment. Adds to sum, or sets it in the first segment. */
INLINE void tile(const struct unpacked *w, bool mxfp4, const struct panel *panel, int column, const int n, int begin,
                 int end, float *sum, int stride)
{
    __m256 segment[COLUMNS];
    UNROLL for (int t = 0; t < n; t++) segment[t] = _mm256_setzero_ps();
    for (int b = begin; b < end; b++) {
        size_t at = (size_t)b * panel->n + column;
        const __m256i *line = w->line[b - begin];
        UNROLL for (int t = 0; t < n; t++)
        {
            const int8_t *q = panel->q + (at + t) * BLOCK;
            __m256i dot = mxfp4 ? dot_mxfp4(line, q, panel->offset[at + t]) : dot_q8(line, q, panel->offset[at + t]);
            __m256 scale = _mm256_mul_ps(w->scale[b - begin], _mm256_set1_ps(panel->scale[at + t]));
            segment[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), scale, segment[t]);
        }
    }
    UNROLL for (int t = 0; t < n; t++)
    {
        float *s = sum + (size_t)t * stride;
        _mm256_storeu_ps(s, begin ? _mm256_add_ps(_mm256_loadu_ps(s), segment[t]) : segment[t]);
    }
}

INLINE void product_integer(const struct slab *slab, bool mxfp4, const struct panel *panel, float *sum)
{
    int blocks = slab->cols / BLOCK, stride = slab->groups * LANES;
    size_t quant_bytes = mxfp4 ? TILE_MXFP4_BLOCK : TILE_Q8_BLOCK, scale_bytes = mxfp4 ? TILE_ROWS : 2 * TILE_ROWS;
    struct unpacked w;
    for (int h = 0; h < slab->groups * HALVES; h++)
        for (int begin = 0; begin < blocks; begin += SEGMENT_BLOCKS) {
            int end = blocks - begin < SEGMENT_BLOCKS ? blocks : begin + SEGMENT_BLOCKS, t = 0;
            for (int b = begin; b < end; b++) {
                size_t block = (size_t)(h / HALVES) * blocks + b, ahead = block + AHEAD / quant_bytes;
                for (size_t i = 0; h % HALVES == 0 && i < quant_bytes; i += 64)
                    _mm_prefetch((const char *)slab->quants + ahead * quant_bytes + i, _MM_HINT_T0);
                unpack_block(slab->quants + block * quant_bytes, slab->scales + block * scale_bytes, mxfp4, h % HALVES,
                             w.line[b - begin], &w.scale[b - begin]);
            }
            for (; t + COLUMNS <= panel->n; t += COLUMNS)
                tile(&w, mxfp4, panel, t, COLUMNS, begin, end, sum + (size_t)t * stride + 8 * h, stride);
            for (; t < panel->n; t++)
                tile(&w, mxfp4, panel, t, 1, begin, end, sum + (size_t)t * stride + 8 * h, stride);
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
