/* AMX. A tile product multiplies the weights of 16 rows by the activations of up to 14 columns, one block of 32 inputs,
 * in int8 with exact 32-bit sums; the vectors scale what it leaves in memory. Tiles of Q8 are read from the packed
 * weights as they lie. Few columns are left to AVX-512. */
#include "cpu/lanes_avx512.h"

#include "cpu/ahead.h"
#include "cpu/lanes_kernels.h"

enum {
    LEAST_COLUMNS = 7, /* fewer would wait for the tiles longer than vectors multiply them */
    MOST_COLUMNS = 14, /* of a register tile: with two groups 28 sums, which leaves 4 registers */
    PANEL_GROUPS = 2,  /* groups of a register tile */
    LINES = BLOCK / 4, /* rows of a tile of weights: four inputs for each of 16 rows of the matrix, 64 bytes */
    LINES_BYTES = LINES * LINE_BYTES,
};

/* One segment of two groups, ready to use: 16 KiB of weights, unless the packed ones are, and their scales. */
struct unpacked {
    _Alignas(64) uint8_t weight[PANEL_GROUPS][SEGMENT_BLOCKS][LINES_BYTES];
    __m512 scale[SEGMENT_BLOCKS][PANEL_GROUPS];
};

/* Two groups times the columns of a panel, in one segment. */
struct segment {
    const uint8_t *weight[PANEL_GROUPS]; /* of the first block; LINES_BYTES from block to block */
    const __m512 (*scale)[PANEL_GROUPS];
    const struct panel *panel;
    const struct ahead *ahead;
    int begin, blocks, even_blocks;             /* the first of them in the panel; their number, and that made even */
    int columns;                                /* of a strip */
    int32_t (*dot)[PANEL_GROUPS][LANES][LANES]; /* scratch: [block % 2][group][column][row] */
    float *sum;                                 /* of the first column, `stride` floats a column */
    int stride;
};

/* The columns of one register tile. */
struct strip {
    const int8_t *q;    /* of the first column and block */
    const float *scale; /* of the same */
    int column;         /* first of the panel; */
    int done;           /* so many were in the strip before, too */
    int step;           /* of the first block, for fetching ahead */
};

#define TILE_LOAD(tile, from, stride)                                                                                  \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile ::"r"(from), "r"((long)(stride)) : "memory")
#define TILE_STORE(tile, to)                                                                                           \
    __asm__ volatile("tilestored %%tmm" #tile ", (%0,%1,1)" ::"r"(to), "r"((long)LINE_BYTES) : "memory")
#define TILE_MULTIPLY(c, a, b)                                                                                         \
    __asm__ volatile("tilezero %%tmm" #c "\n\ttdpbssd %%tmm" #b ", %%tmm" #a ", %%tmm" #c ::: "memory")

/* Tiles 0 and 1 are activations and 2 .. 5 products, a row for each column of a strip; 6 and 7 are weights. */
static void tiles_open(int columns)
{
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } shape = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        shape.row_bytes[i] = i < 2 ? BLOCK : LINE_BYTES;
        shape.rows[i] = (uint8_t)(i < 6 ? columns : LINES);
    }
    __asm__ volatile("ldtilecfg %0" ::"m"(shape));
}

/* Gives the tile registers back, so that the system need not save them. */
static void tiles_close(void)
{
    __asm__ volatile("tilerelease");
}

/* What the low four bits of each byte stand for, twice. */
INLINE __m512i mxfp4_weights(__m512i nibbles)
{
    __m512i table = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12));
    return _mm512_shuffle_epi8(table, _mm512_and_si512(nibbles, _mm512_set1_epi8(15)));
}

INLINE void unpack_mxfp4(const uint8_t *block, uint8_t weight[LINES_BYTES])
{
    UNROLL for (int j = 0; j < LINES / 2; j++)
    {
        __m512i packed = _mm512_loadu_si512(block + LINE_BYTES * j);
        _mm512_store_si512(weight + LINE_BYTES * (2 * j), mxfp4_weights(packed));
        _mm512_store_si512(weight + LINE_BYTES * (2 * j + 1), mxfp4_weights(_mm512_srli_epi16(packed, 4)));
    }
}

/* Strips are of equal height, and so the last one of the panel may overlap with the one before. */
INLINE struct strip strip_at(const struct segment *s, int column)
{
    int n = s->panel->n, fits = column + s->columns <= n ? column : n - s->columns;
    size_t at = (size_t)s->begin * n + fits;
    return (struct strip){.q = s->panel->q + at * BLOCK,
                          .scale = s->panel->scale + at,
                          .column = fits,
                          .done = column - fits,
                          .step = column / s->columns * s->blocks};
}

/* The block that makes their number even has no scales; its weights and columns are those of block 0. */
INLINE size_t real_block(const struct segment *s, int block)
{
    return block < s->blocks ? (size_t)block : 0;
}

/* Step b of the pipeline, b odd or even: multiplies block b, and stores the product of the step before. The vectors add
 * up what was stored a step before that, so that nothing waits for what has just begun. */
INLINE void multiply_block(const struct segment *s, const struct strip *strip, int b, const bool odd, const int g)
{
    size_t block = real_block(s, b);
    const int8_t *q = strip->q + block * s->panel->n * BLOCK;
    fetch_ahead(s->ahead, strip->step + b);
    if (odd) {
        TILE_LOAD(1, q, BLOCK);
        TILE_LOAD(6, s->weight[0] + block * LINES_BYTES, LINE_BYTES);
        TILE_MULTIPLY(4, 1, 6);
        TILE_STORE(2, s->dot[0][0]);
        if (g == 2) {
            TILE_LOAD(7, s->weight[1] + block * LINES_BYTES, LINE_BYTES);
            TILE_MULTIPLY(5, 1, 7);
            TILE_STORE(3, s->dot[0][1]);
        }
    } else {
        TILE_LOAD(0, q, BLOCK);
        TILE_LOAD(6, s->weight[0] + block * LINES_BYTES, LINE_BYTES);
        TILE_MULTIPLY(2, 0, 6);
        TILE_STORE(4, s->dot[1][0]);
        if (g == 2) {
            TILE_LOAD(7, s->weight[1] + block * LINES_BYTES, LINE_BYTES);
            TILE_MULTIPLY(3, 0, 7);
            TILE_STORE(5, s->dot[1][1]);
        }
    }
}

/* sum += dot * scales for one block: g groups, n columns. */
INLINE void add_block(const struct segment *s, const struct strip *strip, int b, const bool odd, const int g,
                      const int n, __m512 sum[MOST_COLUMNS][PANEL_GROUPS])
{
    const float *scales = strip->scale + real_block(s, b) * s->panel->n;
    UNROLL for (int t = 0; t < n; t++)
    {
        __m512 scale = _mm512_set1_ps(scales[t]);
        UNROLL for (int i = 0; i < g; i++)
        {
            __m512 dot = _mm512_cvtepi32_ps(_mm512_load_si512(s->dot[odd][i][t]));
            sum[t][i] = _mm512_fmadd_ps(dot, _mm512_mul_ps(s->scale[b][i], scale), sum[t][i]);
        }
    }
}

/* Adds a strip's sums to what the segments before gave. */
INLINE void add_strip(const struct segment *s, const struct strip *strip, const int g, const int n,
                      __m512 sum[MOST_COLUMNS][PANEL_GROUPS])
{
    float *out = s->sum + (size_t)strip->column * s->stride;
    UNROLL for (int t = 0; t < n; t++) if (t >= strip->done) UNROLL for (int i = 0; i < g; i++)
    {
        float *y = out + (size_t)t * s->stride + i * LANES;
        _mm512_storeu_ps(y, s->begin ? _mm512_add_ps(_mm512_loadu_ps(y), sum[t][i]) : sum[t][i]);
    }
}

/* All strips, g groups by n columns in registers. The pipeline runs on from strip to strip. */
INLINE void segment_strips(const struct segment *s, const int g, const int n)
{
    struct strip strip = strip_at(s, 0);
    multiply_block(s, &strip, 0, false, g);
    multiply_block(s, &strip, 1, true, g);
    for (int column = 0, last = s->even_blocks - 1; column < s->panel->n; column += n) {
        __m512 sum[MOST_COLUMNS][PANEL_GROUPS];
        bool more = column + n < s->panel->n;
        struct strip next = more ? strip_at(s, column + n) : strip;
        UNROLL for (int t = 0; t < n; t++) UNROLL for (int i = 0; i < g; i++) sum[t][i] = _mm512_setzero_ps();
        for (int b = 2; b < last; b += 2) {
            multiply_block(s, &strip, b, false, g);
            add_block(s, &strip, b - 2, false, g, n, sum);
            multiply_block(s, &strip, b + 1, true, g);
            add_block(s, &strip, b - 1, true, g, n, sum);
        }
        multiply_block(s, &next, 0, false, g); /* stores the last product even if there is no next strip */
        add_block(s, &strip, last - 1, false, g, n, sum);
        if (more)
            multiply_block(s, &next, 1, true, g);
        add_block(s, &strip, last, true, g, n, sum);
        add_strip(s, &strip, g, n, sum);
        strip = next;
    }
}

INLINE void segment_groups(const struct segment *s, const int g)
{
    switch (s->columns) {
    case 7: segment_strips(s, g, 7); break;
    case 8: segment_strips(s, g, 8); break;
    case 9: segment_strips(s, g, 9); break;
    case 10: segment_strips(s, g, 10); break;
    case 11: segment_strips(s, g, 11); break;
    case 12: segment_strips(s, g, 12); break;
    case 13: segment_strips(s, g, 13); break;
    case 14: segment_strips(s, g, 14); break;
    default: break;
    }
}

/* Makes blocks begin .. + s->blocks - 1 of g groups ready. */
INLINE void unpack_segment(const uint8_t *quants, const uint8_t *scales, bool mxfp4, size_t blocks, int g,
                           struct segment *s, struct unpacked *w)
{
    for (int i = 0; i < g; i++) {
        size_t first = i * blocks + (size_t)s->begin;
        s->weight[i] = mxfp4 ? w->weight[i][0] : quants + first * quant_bytes(mxfp4);
        for (int b = 0; b < s->blocks; b++) {
            if (mxfp4)
                unpack_mxfp4(quants + (first + b) * quant_bytes(mxfp4), w->weight[i][b]);
            w->scale[b][i] = unpack_scales(scales + (first + b) * scale_bytes(mxfp4), mxfp4);
        }
        if (s->blocks % 2)
            w->scale[s->blocks][i] = _mm512_setzero_ps();
    }
}

INLINE void product_integer(const struct slab *slab, bool mxfp4, const struct panel *panel, float *sum)
{
    int blocks = slab->cols / BLOCK, strips = (panel->n + MOST_COLUMNS - 1) / MOST_COLUMNS;
    int columns = (panel->n + strips - 1) / strips;
    struct unpacked w;
    _Alignas(64) int32_t dot[2][PANEL_GROUPS][LANES][LANES];
    tiles_open(columns);
    for (int g = 0; g < slab->groups; g += PANEL_GROUPS) {
        int n_group = slab->groups - g < PANEL_GROUPS ? slab->groups - g : PANEL_GROUPS;
        const uint8_t *quants = slab->quants + (size_t)g * blocks * quant_bytes(mxfp4);
        const uint8_t *scales = slab->scales + (size_t)g * blocks * scale_bytes(mxfp4);
        for (int begin = 0; begin < blocks; begin += SEGMENT_BLOCKS) {
            int n = blocks - begin < SEGMENT_BLOCKS ? blocks - begin : SEGMENT_BLOCKS;
            struct ahead ahead = ahead_of(quants, scales, mxfp4, blocks, n_group, begin + n, strips * n);
            struct segment s = {.scale = (const __m512(*)[PANEL_GROUPS])w.scale,
                                .panel = panel,
                                .ahead = &ahead,
                                .begin = begin,
                                .blocks = n,
                                .even_blocks = n + n % 2,
                                .columns = columns,
                                .dot = dot,
                                .sum = sum + (size_t)g * LANES,
                                .stride = slab->groups * LANES};
            unpack_segment(quants, scales, mxfp4, blocks, n_group, &s, &w);
            if (n_group == PANEL_GROUPS)
                segment_groups(&s, PANEL_GROUPS);
            else
                segment_groups(&s, 1);
        }
    }
    tiles_close();
}

static void product_mxfp4(const struct slab *slab, const struct panel *panel, float *sum)
{
    if (panel->n < LEAST_COLUMNS)
        avx512_kernels.product_mxfp4(slab, panel, sum);
    else
        product_integer(slab, true, panel, sum);
}

static void product_q8(const struct slab *slab, const struct panel *panel, float *sum)
{
    if (panel->n < LEAST_COLUMNS)
        avx512_kernels.product_q8(slab, panel, sum);
    else
        product_integer(slab, false, panel, sum);
}

const struct kernels amx_kernels = {
    .name = "amx",
    .quantise = quantise,
    .product_mxfp4 = product_mxfp4,
    .product_q8 = product_q8,
    LANES_KERNELS,
};
