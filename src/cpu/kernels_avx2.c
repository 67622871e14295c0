/* AVX2. vpmaddubsw adds two products of an unsigned and a signed byte in 16 bits, which must not saturate:
 *   MXFP4  w + 12 is at most 24, so four lines of products (4 * 2 * 24 * 127) fit 16 bits; -12 times the sum of the
 *          activations, taken from the panel's offset, makes the dot product exact.
 *   Q8     |w| times the activation with w's sign: at most 2 * 128 * 127 = 32512.
 * Eight rows at a time: half a group. */
#include "cpu/lanes_avx2.h"

#include "cpu/lanes_kernels.h"
#include "weights/tile.h"

enum {
    LINES = 8,   /* 32-byte lines of 8 rows x 4 inputs in an unpacked block of half a group */
    COLUMNS = 4, /* columns of a register tile */
    HALVES = 2,
};

/* The weights of one segment of half a group: MXFP4 as w + 12, Q8 as it is. */
struct unpacked {
    __m256i line[SEGMENT_BLOCKS][LINES];
    __m256 scale[SEGMENT_BLOCKS];
};

INLINE void unpack_block(const uint8_t *block, const uint8_t *scales, bool mxfp4, int half, __m256i line[LINES],
                         __m256 *scale)
{
    if (!mxfp4) {
        UNROLL for (int j = 0; j < LINES; j++) line[j] =
            _mm256_loadu_si256((const __m256i *)(block + 64 * j + 32 * half));
        *scale = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(scales + 16 * half)));
        return;
    }
    __m256i low = _mm256_set1_epi8(15);
    __m256i table =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0));
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

INLINE __m256i broadcast4(const int8_t *q)
{
    int32_t four;
    memcpy(&four, q, sizeof four);
    return _mm256_set1_epi32(four);
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

INLINE __m256i dot_q8(const __m256i line[LINES], const int8_t *q)
{
    __m256i sum = _mm256_setzero_si256(), ones = _mm256_set1_epi16(1);
    UNROLL for (int j = 0; j < LINES; j++)
    {
        __m256i w = line[j], a = _mm256_sign_epi8(broadcast4(q + 4 * j), w);
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8(w), a), ones));
    }
    return sum;
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
            __m256i dot = mxfp4 ? dot_mxfp4(line, q, panel->offset[at + t]) : dot_q8(line, q);
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
                size_t block = (size_t)(h / HALVES) * blocks + b;
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

const struct kernels avx2_kernels = {
    .name = "avx2",
    .quantise = quantise,
    .product_mxfp4 = product_mxfp4,
    .product_q8 = product_q8,
    .product_bf16 = product_bf16,
    .product_f32 = product_f32,
    .rms_norm = rms_norm,
    .rotate = rotate,
    .to_f16 = to_f16,
    .scores = scores,
    .softmax = softmax,
    .values = values,
    .merge = merge,
    .divide = divide,
    .swiglu = swiglu,
    .combine = combine,
};
