/* AVX-512 with VNNI, as Cascade Lake has it. Weights become unsigned (w + 128), as vpdpbusd wants them; the sum starts
 * from the panel's offset, -128 times the sum of the activations, so it ends as the exact dot product. */
#include "cpu/lanes_avx512.h"

#include "cpu/ahead.h"
#include "cpu/lanes_kernels.h"

enum {
    LINES = 8,          /* 64-byte lines of 16 rows x 4 inputs in an unpacked block */
    DIRECT_COLUMNS = 4, /* up to here weights are unpacked in registers, .. */
    PANEL_COLUMNS = 6,  /* .. beyond it into memory, and used for this many columns of two groups together */
    PANEL_GROUPS = 2,
};

/* The weights of one segment of two groups, ready to use: 18 KiB. */
struct unpacked {
    __m512i line[SEGMENT_BLOCKS][PANEL_GROUPS][LINES];
    __m512 scale[SEGMENT_BLOCKS][PANEL_GROUPS];
};

/* What the low four bits of each byte stand for: 2 * w + 128. */
INLINE __m512i mxfp4_weights(__m512i nibbles)
{
    __m512i table =
        _mm512_broadcast_i32x4(_mm_setr_epi8((char)128, (char)129, (char)130, (char)131, (char)132, (char)134,
                                             (char)136, (char)140, (char)128, 127, 126, 125, 124, 122, 120, 116));
    return _mm512_shuffle_epi8(table, _mm512_and_si512(nibbles, _mm512_set1_epi8(15)));
}

INLINE void unpack_quants(const uint8_t *block, bool mxfp4, __m512i line[LINES])
{
    if (mxfp4) {
        UNROLL for (int j = 0; j < LINES / 2; j++)
        {
            __m512i packed = _mm512_loadu_si512(block + 64 * j);
            line[2 * j] = mxfp4_weights(packed);
            line[2 * j + 1] = mxfp4_weights(_mm512_srli_epi16(packed, 4));
        }
    } else {
        UNROLL for (int j = 0; j < LINES; j++) line[j] =
            _mm512_xor_si512(_mm512_loadu_si512(block + 64 * j), _mm512_set1_epi8((char)128));
    }
}

INLINE __m512i broadcast4(const int8_t *q)
{
    int32_t four;
    memcpy(&four, q, sizeof four);
    return _mm512_set1_epi32(four);
}

/* How far ahead of the weights in use to fetch, in bytes, as measured: the hardware alone stops at the end of a page.
 */
INLINE size_t ahead_bytes(bool mxfp4)
{
    return mxfp4 ? 4096 : 2048;
}

/* One group, n columns from `column` on, straight from the packed weights. */
INLINE void direct(const uint8_t *quants, const uint8_t *scales, bool mxfp4, const struct panel *panel, int column,
                   const int n, float *sum, int stride)
{
    int blocks = panel->cols / BLOCK;
    __m512 total[DIRECT_COLUMNS], segment[DIRECT_COLUMNS];
    UNROLL for (int t = 0; t < n; t++) total[t] = _mm512_setzero_ps();
    for (int begin = 0; begin < blocks; begin += SEGMENT_BLOCKS) {
        int end = blocks - begin < SEGMENT_BLOCKS ? blocks : begin + SEGMENT_BLOCKS;
        UNROLL for (int t = 0; t < n; t++) segment[t] = _mm512_setzero_ps();
        for (int b = begin; b < end; b++) {
            size_t at = (size_t)b * panel->n + column;
            const int8_t *q = panel->q + at * BLOCK;
            __m512i line[LINES];
            size_t ahead = b + ahead_bytes(mxfp4) / quant_bytes(mxfp4);
            UNROLL for (size_t i = 0; i < quant_bytes(mxfp4); i += 64)
                _mm_prefetch((const char *)quants + ahead * quant_bytes(mxfp4) + i, _MM_HINT_T0);
            _mm_prefetch((const char *)scales + ahead * scale_bytes(mxfp4), _MM_HINT_T0);
            unpack_quants(quants + b * quant_bytes(mxfp4), mxfp4, line);
            __m512 scale = unpack_scales(scales + b * scale_bytes(mxfp4), mxfp4);
            UNROLL for (int t = 0; t < n; t++)
            {
                __m512i even = _mm512_set1_epi32(panel->offset[at + t]), odd = _mm512_setzero_si512();
                UNROLL for (int j = 0; j < LINES; j += 2)
                {
                    even = _mm512_dpbusd_epi32(even, line[j], broadcast4(q + t * BLOCK + 4 * j));
                    odd = _mm512_dpbusd_epi32(odd, line[j + 1], broadcast4(q + t * BLOCK + 4 * j + 4));
                }
                __m512 dot = _mm512_cvtepi32_ps(_mm512_add_epi32(even, odd));
                segment[t] =
                    _mm512_fmadd_ps(dot, _mm512_mul_ps(scale, _mm512_set1_ps(panel->scale[at + t])), segment[t]);
            }
        }
        UNROLL for (int t = 0; t < n; t++) total[t] = begin ? _mm512_add_ps(total[t], segment[t]) : segment[t];
    }
    UNROLL for (int t = 0; t < n; t++) _mm512_storeu_ps(sum + (size_t)t * stride, total[t]);
}

INLINE void direct_columns(const struct slab *slab, bool mxfp4, const struct panel *panel, float *sum)
{
    size_t blocks = (size_t)slab->cols / BLOCK;
    int stride = slab->groups * LANES;
    for (int g = 0; g < slab->groups; g++) {
        const uint8_t *quants = slab->quants + g * blocks * quant_bytes(mxfp4);
        const uint8_t *scales = slab->scales + g * blocks * scale_bytes(mxfp4);
        float *s = sum + (size_t)g * LANES;
        switch (panel->n) {
        case 1: direct(quants, scales, mxfp4, panel, 0, 1, s, stride); break;
        case 2: direct(quants, scales, mxfp4, panel, 0, 2, s, stride); break;
        case 3: direct(quants, scales, mxfp4, panel, 0, 3, s, stride); break;
        case 4: direct(quants, scales, mxfp4, panel, 0, 4, s, stride); break;
        default: break;
        }
    }
}

INLINE void unpack_segment(const uint8_t *quants, const uint8_t *scales, bool mxfp4, size_t blocks, int n_group,
                           int begin, int end, struct unpacked *w)
{
    for (int g = 0; g < n_group; g++)
        for (int b = begin; b < end; b++) {
            size_t block = g * blocks + b;
            __m512i line[LINES];
            unpack_quants(quants + block * quant_bytes(mxfp4), mxfp4, line);
            UNROLL for (int j = 0; j < LINES; j++) w->line[b - begin][g][j] = line[j];
            w->scale[b - begin][g] = unpack_scales(scales + block * scale_bytes(mxfp4), mxfp4);
        }
}

/* A register tile: g groups, n columns, the blocks of one segment. Adds to sum, or sets it in the first segment. */
INLINE void panel_tile(const struct unpacked *w, const int g, const struct panel *panel, int column, const int n,
                       int begin, int end, const struct ahead *ahead, float *sum, int stride)
{
    int step = column / PANEL_COLUMNS * (end - begin);
    __m512 segment[PANEL_COLUMNS][PANEL_GROUPS];
    UNROLL for (int t = 0; t < n; t++) UNROLL for (int i = 0; i < g; i++) segment[t][i] = _mm512_setzero_ps();
    for (int b = begin; b < end; b++) {
        size_t at = (size_t)b * panel->n + column;
        const int8_t *q = panel->q + at * BLOCK;
        const struct unpacked *u = w;
        fetch_ahead(ahead, step++);
        __m512i dot[PANEL_COLUMNS][PANEL_GROUPS];
        UNROLL for (int t = 0; t < n; t++) UNROLL for (int i = 0; i < g; i++) dot[t][i] =
            _mm512_set1_epi32(panel->offset[at + t]);
        UNROLL for (int j = 0; j < LINES; j++) UNROLL for (int t = 0; t < n; t++)
        {
            __m512i a = broadcast4(q + t * BLOCK + 4 * j);
            UNROLL for (int i = 0; i < g; i++) dot[t][i] = _mm512_dpbusd_epi32(dot[t][i], u->line[b - begin][i][j], a);
        }
        UNROLL for (int t = 0; t < n; t++)
        {
            __m512 scale = _mm512_set1_ps(panel->scale[at + t]);
            UNROLL for (int i = 0; i < g; i++) segment[t][i] = _mm512_fmadd_ps(
                _mm512_cvtepi32_ps(dot[t][i]), _mm512_mul_ps(u->scale[b - begin][i], scale), segment[t][i]);
        }
    }
    UNROLL for (int t = 0; t < n; t++) UNROLL for (int i = 0; i < g; i++)
    {
        float *s = sum + (size_t)t * stride + i * LANES;
        _mm512_storeu_ps(s, begin ? _mm512_add_ps(_mm512_loadu_ps(s), segment[t][i]) : segment[t][i]);
    }
}

INLINE void panel_columns(const struct unpacked *w, const int g, const struct panel *panel, int begin, int end,
                          const struct ahead *ahead, float *sum, int stride)
{
    int t = 0;
    for (; t + PANEL_COLUMNS <= panel->n; t += PANEL_COLUMNS)
        panel_tile(w, g, panel, t, PANEL_COLUMNS, begin, end, ahead, sum + (size_t)t * stride, stride);
    float *s = sum + (size_t)t * stride;
    switch (panel->n - t) {
    case 1: panel_tile(w, g, panel, t, 1, begin, end, ahead, s, stride); break;
    case 2: panel_tile(w, g, panel, t, 2, begin, end, ahead, s, stride); break;
    case 3: panel_tile(w, g, panel, t, 3, begin, end, ahead, s, stride); break;
    case 4: panel_tile(w, g, panel, t, 4, begin, end, ahead, s, stride); break;
    case 5: panel_tile(w, g, panel, t, 5, begin, end, ahead, s, stride); break;
    default: break;
    }
}

INLINE void product_integer(const struct slab *slab, bool mxfp4, const struct panel *panel, float *sum)
{
    if (panel->n <= DIRECT_COLUMNS) {
        direct_columns(slab, mxfp4, panel, sum);
        return;
    }
    size_t blocks = (size_t)slab->cols / BLOCK;
    int tiles = (panel->n + PANEL_COLUMNS - 1) / PANEL_COLUMNS;
    struct unpacked w;
    for (int g = 0; g < slab->groups; g += PANEL_GROUPS) {
        int n_group = slab->groups - g < PANEL_GROUPS ? slab->groups - g : PANEL_GROUPS;
        const uint8_t *quants = slab->quants + g * blocks * quant_bytes(mxfp4);
        const uint8_t *scales = slab->scales + g * blocks * scale_bytes(mxfp4);
        float *s = sum + (size_t)g * LANES;
        for (int begin = 0; begin < (int)blocks; begin += SEGMENT_BLOCKS) {
            int end = (int)blocks - begin < SEGMENT_BLOCKS ? (int)blocks : begin + SEGMENT_BLOCKS;
            struct ahead ahead = ahead_of(quants, scales, mxfp4, blocks, n_group, end, tiles * (end - begin));
            unpack_segment(quants, scales, mxfp4, blocks, n_group, begin, end, &w);
            if (n_group == PANEL_GROUPS)
                panel_columns(&w, PANEL_GROUPS, panel, begin, end, &ahead, s, slab->groups * LANES);
            else
                panel_columns(&w, 1, panel, begin, end, &ahead, s, slab->groups * LANES);
        }
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

const struct kernels avx512_kernels = {
    .name = "avx512",
    .quantise = quantise,
    .product_mxfp4 = product_mxfp4,
    .product_q8 = product_q8,
    LANES_KERNELS,
};
