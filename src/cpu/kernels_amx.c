/* AMX. A tile product multiplies 16 rows of bf16 by 16 columns in f32; quants of a byte are exact in bf16 and a dot
 * product of a block is below 2^24, so a tile holds float(dot) itself, whatever the order of its additions.
 *
 * While the tile unit works, a core has one port left for vectors, so what counts is the number of vector
 * instructions for each 16 sums of a block. MXFP4 needs a single one: the scales of the weights are powers of two, the
 * unpacked weights carry them, and fma(dot * scale_w, scale_x, acc) has the bits of fma(dot, scale_w * scale_x, acc)
 * as long as no product leaves the normal numbers; where it might, and where columns are few, the AVX-512 kernels work.
 * Q8 needs a second one for scale_w * scale_x, which rounds. */
#include "cpu/lanes_avx512.h"

#include "cpu/ahead.h"
#include "cpu/lanes_kernels.h"

enum {
    LEAST_MXFP4 = 17, /* columns from which unpacking pays; fewer are left to AVX-512 */
    LEAST_Q8 = 40,
    MOST_COLUMNS = 14, /* of a register tile: with two groups 28 sums, which leaves 4 registers */
    PANEL_GROUPS = 2,  /* groups of a register tile */
    TILE_BYTES = 64,   /* of a row of a tile */
    PAIRS = BLOCK / 2, /* rows of a tile of weights: two inputs for each of 16 rows of the matrix */
    LEAST_E = 64,      /* scales of weights, 2^(e - 128), .. */
    MOST_E = 192,      /* .. that can be carried by the weights */
};

#define LEAST_SCALE 0x1p-60f /* the same for scales of activations */
#define MOST_SCALE 0x1p+60f

/* The weights of one segment of two groups as bf16: 34 KiB. */
struct unpacked {
    _Alignas(64) uint16_t weight[SEGMENT_BLOCKS][PANEL_GROUPS][PAIRS][LANES][2];
    __m512 scale[SEGMENT_BLOCKS][PANEL_GROUPS]; /* Q8 only */
};

/* The columns of one register tile, for one segment. */
struct strip {
    const uint16_t *x;                        /* bf16 of the first column and block */
    const float *scale;                       /* of the same */
    size_t stride;                            /* columns of the panel: from block to block */
    float (*dot)[PANEL_GROUPS][LANES][LANES]; /* scratch: [block % 2][group][column][row] */
    const struct ahead *ahead;
    int step; /* of the first block */
};

#define TILE_LOAD(tile, from)                                                                                          \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile ::"r"(from), "r"((long)TILE_BYTES) : "memory")
#define TILE_STREAM(tile, from)                                                                                        \
    __asm__ volatile("tileloaddt1 (%0,%1,1), %%tmm" #tile ::"r"(from), "r"((long)TILE_BYTES) : "memory")
#define TILE_STORE(tile, to)                                                                                           \
    __asm__ volatile("tilestored %%tmm" #tile ", (%0,%1,1)" ::"r"(to), "r"((long)TILE_BYTES) : "memory")
#define TILE_MULTIPLY(c, a, b)                                                                                         \
    __asm__ volatile("tilezero %%tmm" #c "\n\ttdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #c ::: "memory")

/* Tiles 0 and 1 are activations and 2 .. 5 products, a row for each column of a strip; 6 and 7 are weights. */
static void tiles_open(int columns)
{
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } shape = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        shape.row_bytes[i] = TILE_BYTES;
        shape.rows[i] = (uint8_t)(i < 6 ? columns : PAIRS);
    }
    __asm__ volatile("ldtilecfg %0" ::"m"(shape));
}

/* Gives the tile registers back, so that the system need not save them. */
static void tiles_close(void)
{
    __asm__ volatile("tilerelease");
}

/* A row of a tile has two inputs for each row of the matrix, here nibble m of the two words of 32 bits: 0 and 2, 4 and
 * 6, 1 and 3, 5 and 7 of the eight inputs of a line. Rows are stored in the order of quantise_wide. */
INLINE void unpack_mxfp4(const uint8_t *block, const uint8_t *scales, uint16_t weight[PAIRS][LANES][2])
{
    /* w * 2^64 as bf16. The scale is subtracted from the exponent, and zeros stay zero because that saturates. */
    static const uint16_t table[32] = {0, 0x5F80, 0x6000, 0x6040, 0x6080, 0x60C0, 0x6100, 0x6140,
                                       0, 0xDF80, 0xE000, 0xE040, 0xE080, 0xE0C0, 0xE100, 0xE140,
                                       0, 0x5F80, 0x6000, 0x6040, 0x6080, 0x60C0, 0x6100, 0x6140,
                                       0, 0xDF80, 0xE000, 0xE040, 0xE080, 0xE0C0, 0xE100, 0xE140};
    __m512i value = _mm512_loadu_si512(table);
    __m512i e =
        _mm512_sub_epi32(_mm512_set1_epi32(MOST_E), _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)scales)));
    e = _mm512_or_si512(_mm512_slli_epi32(e, 7), _mm512_slli_epi32(e, 23));
    UNROLL for (int j = 0; j < 4; j++)
    {
        __m512i line = _mm512_loadu_si512(block + 64 * j);
        UNROLL for (int m = 0; m < 4; m++)
        {
            __m512i w = _mm512_permutexvar_epi16(_mm512_srli_epi16(line, 4 * m), value);
            _mm512_store_si512(weight[4 * j + (m & 1) * 2 + m / 2], _mm512_subs_epu16(w, e));
        }
    }
}

/* Byte i of every 32 bits, as a float. */
INLINE __m512i byte_to_float(__m512i line, const int i)
{
    return _mm512_castps_si512(_mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32(line, 24 - 8 * i), 24)));
}

INLINE void unpack_q8(const uint8_t *block, uint16_t weight[PAIRS][LANES][2])
{
    for (int j = 0; j < 8; j++) {
        __m512i line = _mm512_loadu_si512(block + 64 * j);
        UNROLL for (int m = 0; m < 2; m++)
        {
            __m512i even = _mm512_srli_epi32(byte_to_float(line, m), 16), odd = byte_to_float(line, m + 2);
            _mm512_store_si512(weight[2 * j + m], _mm512_mask_mov_epi16(even, 0xAAAAAAAA, odd));
        }
    }
}

INLINE void unpack_segment(const uint8_t *quants, const uint8_t *scales, bool mxfp4, size_t blocks, int n_group,
                           int begin, int end, struct unpacked *w)
{
    for (int g = 0; g < n_group; g++)
        for (int b = begin; b < end; b++) {
            const uint8_t *block = quants + (g * blocks + b) * quant_bytes(mxfp4);
            const uint8_t *scale = scales + (g * blocks + b) * scale_bytes(mxfp4);
            if (mxfp4) {
                unpack_mxfp4(block, scale, w->weight[b - begin][g]);
            } else {
                unpack_q8(block, w->weight[b - begin][g]);
                w->scale[b - begin][g] = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)scale));
            }
        }
}

/* sum += dot * scales for one block: g groups, n columns. */
INLINE void add_block(const struct unpacked *w, bool mxfp4, const struct strip *strip, int block, const bool odd,
                      const int g, const int n, __m512 sum[MOST_COLUMNS][PANEL_GROUPS])
{
    UNROLL for (int t = 0; t < n; t++)
    {
        __m512 scale = _mm512_set1_ps(strip->scale[block * strip->stride + t]);
        UNROLL for (int i = 0; i < g; i++)
        {
            __m512 dot = _mm512_load_ps(strip->dot[odd][i][t]);
            sum[t][i] = _mm512_fmadd_ps(dot, mxfp4 ? scale : _mm512_mul_ps(w->scale[block][i], scale), sum[t][i]);
        }
    }
}

/* Step b of the pipeline, b odd or even: multiplies block b, whose tiles the step before has loaded, loads those of
 * the next block, and stores the product of block b - 1. So no instruction waits for the one before it. */
INLINE void multiply_block(const struct unpacked *w, const struct strip *strip, int b, const bool odd, int blocks,
                           const int g)
{
    int next = b + 1 < blocks ? b + 1 : 0;
    fetch_ahead(strip->ahead, strip->step + b);
    const uint16_t *x = strip->x + next * strip->stride * BLOCK;
    float *dot = strip->dot[!odd][0][0], *dot1 = strip->dot[!odd][1][0];
    if (odd) {
        TILE_STREAM(0, x);
        TILE_MULTIPLY(4, 1, 6);
        TILE_LOAD(6, w->weight[next][0]);
        TILE_STORE(2, dot);
        if (g == 2) {
            TILE_MULTIPLY(5, 1, 7);
            TILE_LOAD(7, w->weight[next][1]);
            TILE_STORE(3, dot1);
        }
    } else {
        TILE_STREAM(1, x);
        TILE_MULTIPLY(2, 0, 6);
        TILE_LOAD(6, w->weight[next][0]);
        TILE_STORE(4, dot);
        if (g == 2) {
            TILE_MULTIPLY(3, 0, 7);
            TILE_LOAD(7, w->weight[next][1]);
            TILE_STORE(5, dot1);
        }
    }
}

/* A register tile: g groups, n columns, the blocks of one segment. Adds to the sums of the columns from `first` on,
 * or sets them in the first segment. The pipeline begins with a store and ends with a product that nobody reads. */
INLINE void panel_tile(const struct unpacked *w, bool mxfp4, const struct strip *strip, const int g, const int n,
                       int blocks, int first, bool set, float *sum, int stride)
{
    __m512 segment[MOST_COLUMNS][PANEL_GROUPS];
    UNROLL for (int t = 0; t < n; t++) UNROLL for (int i = 0; i < g; i++) segment[t][i] = _mm512_setzero_ps();
    TILE_STREAM(0, strip->x);
    TILE_LOAD(6, w->weight[0][0]);
    if (g == 2)
        TILE_LOAD(7, w->weight[0][1]);
    multiply_block(w, strip, 0, false, blocks, g);
    multiply_block(w, strip, 1, true, blocks, g);
    for (int b = 2; b <= blocks; b += 2) {
        multiply_block(w, strip, b, false, blocks, g);
        add_block(w, mxfp4, strip, b - 2, false, g, n, segment);
        if (b == blocks)
            break;
        multiply_block(w, strip, b + 1, true, blocks, g);
        add_block(w, mxfp4, strip, b - 1, true, g, n, segment);
    }
    add_block(w, mxfp4, strip, blocks - 1, (blocks - 1) % 2, g, n, segment);
    UNROLL for (int t = 0; t < n; t++) if (t >= first) UNROLL for (int i = 0; i < g; i++)
    {
        float *s = sum + (size_t)t * stride + i * LANES;
        _mm512_storeu_ps(s, set ? segment[t][i] : _mm512_add_ps(_mm512_loadu_ps(s), segment[t][i]));
    }
}

INLINE void panel_columns(const struct unpacked *w, bool mxfp4, const struct strip *strip, const int g, int blocks,
                          int first, int last, bool set, float *sum, int stride)
{
    switch (last) {
    case 9: panel_tile(w, mxfp4, strip, g, 9, blocks, first, set, sum, stride); break;
    case 10: panel_tile(w, mxfp4, strip, g, 10, blocks, first, set, sum, stride); break;
    case 11: panel_tile(w, mxfp4, strip, g, 11, blocks, first, set, sum, stride); break;
    case 12: panel_tile(w, mxfp4, strip, g, 12, blocks, first, set, sum, stride); break;
    case 13: panel_tile(w, mxfp4, strip, g, 13, blocks, first, set, sum, stride); break;
    case 14: panel_tile(w, mxfp4, strip, g, 14, blocks, first, set, sum, stride); break;
    default: break;
    }
}

/* The columns in strips of equal height, of which the last one may overlap with the one before. */
INLINE void product_segment(const struct unpacked *w, bool mxfp4, const struct panel *panel, int columns, int n_group,
                            int begin, int end, const struct ahead *ahead, float *sum, int stride)
{
    _Alignas(64) float dot[2][PANEL_GROUPS][LANES][LANES];
    for (int done = 0, step = 0; done < panel->n; done += columns, step += end - begin) {
        int column = done + columns <= panel->n ? done : panel->n - columns;
        size_t at = (size_t)begin * panel->n + column;
        struct strip strip = {panel->wide + at * BLOCK, panel->scale + at, (size_t)panel->n, dot, ahead, step};
        float *s = sum + (size_t)column * stride;
        if (n_group == PANEL_GROUPS)
            panel_columns(w, mxfp4, &strip, PANEL_GROUPS, end - begin, done - column, columns, begin == 0, s, stride);
        else
            panel_columns(w, mxfp4, &strip, 1, end - begin, done - column, columns, begin == 0, s, stride);
    }
}

INLINE void product_integer(const struct slab *slab, bool mxfp4, const struct panel *panel, float *sum)
{
    int blocks = slab->cols / BLOCK, strips = (panel->n + MOST_COLUMNS - 1) / MOST_COLUMNS;
    int columns = (panel->n + strips - 1) / strips;
    struct unpacked w;
    tiles_open(columns);
    for (int g = 0; g < slab->groups; g += PANEL_GROUPS) {
        int n_group = slab->groups - g < PANEL_GROUPS ? slab->groups - g : PANEL_GROUPS;
        const uint8_t *quants = slab->quants + (size_t)g * blocks * quant_bytes(mxfp4);
        const uint8_t *scales = slab->scales + (size_t)g * blocks * scale_bytes(mxfp4);
        for (int begin = 0; begin < blocks; begin += SEGMENT_BLOCKS) {
            int end = blocks - begin < SEGMENT_BLOCKS ? blocks : begin + SEGMENT_BLOCKS;
            struct ahead ahead = ahead_of(quants, scales, mxfp4, blocks, n_group, end, strips * (end - begin));
            unpack_segment(quants, scales, mxfp4, blocks, n_group, begin, end, &w);
            product_segment(&w, mxfp4, panel, columns, n_group, begin, end, &ahead, sum + (size_t)g * LANES,
                            slab->groups * LANES);
        }
    }
    tiles_close();
}

/* Whether every product of a weight's scale with an activation's is a normal number or 0, so that it is exact. */
static bool scales_are_plain(const struct slab *slab, const struct panel *panel)
{
    size_t n_weight = (size_t)slab->groups * slab->cols / BLOCK * TILE_ROWS, i = 0;
    size_t n = (size_t)panel->n * panel->cols / BLOCK;
    __mmask64 odd = 0;
    for (; i < n_weight; i += 64) {
        __mmask64 rest = n_weight - i < 64 ? (1ull << (n_weight - i)) - 1 : ~0ull;
        __m512i e = _mm512_maskz_loadu_epi8(rest, slab->scales + i);
        e = _mm512_sub_epi8(e, _mm512_set1_epi8((char)LEAST_E));
        odd |= _mm512_mask_cmpgt_epu8_mask(rest, e, _mm512_set1_epi8((char)(MOST_E - LEAST_E)));
    }
    __m512 least = _mm512_set1_ps(LEAST_SCALE), most = _mm512_set1_ps(MOST_SCALE);
    __mmask16 outside = 0;
    for (i = 0; i < n; i += LANES) {
        __mmask16 rest = (__mmask16)(n - i < LANES ? (1u << (n - i)) - 1 : 0xFFFF);
        __m512 scale = _mm512_maskz_loadu_ps(rest, panel->scale + i);
        __mmask16 given = _mm512_cmp_ps_mask(scale, _mm512_setzero_ps(), _CMP_NEQ_UQ);
        outside |= _mm512_mask_cmp_ps_mask(given, scale, least, _CMP_NGE_UQ) |
                   _mm512_mask_cmp_ps_mask(given, scale, most, _CMP_NLE_UQ);
    }
    return odd == 0 && outside == 0;
}

static void product_mxfp4(const struct slab *slab, const struct panel *panel, float *sum)
{
    if (panel->n < LEAST_MXFP4 || !scales_are_plain(slab, panel))
        avx512_kernels.product_mxfp4(slab, panel, sum);
    else
        product_integer(slab, true, panel, sum);
}

static void product_q8(const struct slab *slab, const struct panel *panel, float *sum)
{
    if (panel->n < LEAST_Q8)
        avx512_kernels.product_q8(slab, panel, sum);
    else
        product_integer(slab, false, panel, sum);
}

/* The quants once more as bf16, in the order of the rows of a tile: 0, 2, 1, 3 of every four. */
static void quantise_wide(const float *x, int n_block, const struct panel *panel, int first, int column)
{
    const __m128i order = _mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15);
    quantise(x, n_block, panel, first, column);
    for (int b = 0; b < n_block; b++) {
        size_t at = ((size_t)(first + b) * panel->n + column) * BLOCK;
        for (int i = 0; i < BLOCK; i += LANES) {
            __m128i q = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(panel->q + at + i)), order);
            __m512i wide = _mm512_castps_si512(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(q)));
            _mm256_storeu_si256((__m256i *)(panel->wide + at + i), _mm512_cvtepi32_epi16(_mm512_srli_epi32(wide, 16)));
        }
    }
}

const struct kernels amx_kernels = {
    .name = "amx",
    .wide = true,
    .quantise = quantise_wide,
    .product_mxfp4 = product_mxfp4,
    .product_q8 = product_q8,
    LANES_KERNELS,
};
