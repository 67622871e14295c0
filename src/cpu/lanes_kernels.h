/* Every kernel that is the same on all vector instruction sets, as a body over sixteen lanes: the file of one
 * instruction set includes its lanes_*.h first, which gives the type `lanes` and its operations, then this. Each
 * function repeats the one of its name in scalar.c, in the same order of operations. */
#ifndef CPU_LANES_KERNELS_H
#define CPU_LANES_KERNELS_H

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "cpu/kernels.h"
#include "weights/tile.h"

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

/* Of one block of a group of integer weights. */
INLINE size_t quant_bytes(bool mxfp4)
{
    return mxfp4 ? TILE_MXFP4_BLOCK : TILE_Q8_BLOCK;
}

INLINE size_t scale_bytes(bool mxfp4)
{
    return mxfp4 ? TILE_ROWS : 2 * TILE_ROWS;
}

INLINE lanes lanes_exp(lanes x)
{
    lanes n = lanes_rint(lanes_mul(x, lanes_set1(0x1.715476p+0f)));
    lanes r = lanes_fma(n, lanes_set1(-0x1.62e43p-1f), x);
    r = lanes_fma(n, lanes_set1(0x1.05c61p-29f), r);
    lanes p = lanes_set1(0x1.6a2434p-10f);
    p = lanes_fma(p, r, lanes_set1(0x1.1239e2p-7f));
    p = lanes_fma(p, r, lanes_set1(0x1.5558f2p-5f));
    p = lanes_fma(p, r, lanes_set1(0x1.555492p-3f));
    p = lanes_fma(p, r, lanes_set1(0x1.fffffcp-2f));
    p = lanes_fma(p, r, lanes_set1(1.0f));
    p = lanes_fma(p, r, lanes_set1(1.0f));
    p = lanes_scale(p, n);
    p = lanes_select_less(x, lanes_set1(-87.33f), lanes_set1(0.0f), p);
    return lanes_select_less(lanes_set1(88.72f), x, lanes_set1(INFINITY), p);
}

static void quantise(const float *x, int n_block, const struct panel *panel, int first, int column)
{
    for (int b = 0; b < n_block; b++) {
        int64_t at = (int64_t)(first + b) * panel->n + column;
        lanes lo = lanes_load(x + (int64_t)b * BLOCK), hi = lanes_load(x + (int64_t)b * BLOCK + LANES);
        uint32_t bits = lanes_magnitude(lo, hi);
        float amax, inverse = 0.0f;
        memcpy(&amax, &bits, sizeof amax);
        panel->scale[at] = 0.0f;
        if (bits > 0x7F7FFFFFu) {
            panel->scale[at] = NAN;
            lo = hi = lanes_set1(0.0f);
        } else if (amax >= 0x1p-120f) {
            panel->scale[at] = amax / 127.0f;
            inverse = 127.0f / amax;
        }
        lanes factor = lanes_set1(inverse);
        panel->offset[at] = -128 * lanes_to_int8(panel->q + at * BLOCK, lanes_mul(lo, factor), lanes_mul(hi, factor));
    }
}

INLINE lanes float_weights(const uint8_t *plane, size_t index, bool bf16)
{
    return bf16 ? lanes_from_bf16((const uint16_t *)plane + index) : lanes_load((const float *)plane + index);
}

/* n columns of one group over inputs [begin, end) of one segment, from +0. */
INLINE void float_segment(const uint8_t *plane, bool bf16, const float *x, int cols, int begin, int end, const int n,
                          lanes *acc)
{
    UNROLL for (int t = 0; t < n; t++) acc[t] = lanes_set1(0.0f);
    for (int k = begin; k < end; k++) {
        lanes w = float_weights(plane, (size_t)k * LANES, bf16);
        UNROLL for (int t = 0; t < n; t++) acc[t] = lanes_fma(w, lanes_set1(x[(size_t)t * cols + k]), acc[t]);
    }
}

INLINE void float_columns(const uint8_t *plane, bool bf16, const float *x, int cols, const int n, float *sum,
                          int stride)
{
    for (int begin = 0; begin < cols; begin += SEGMENT) {
        lanes acc[FLOAT_COLUMNS];
        float_segment(plane, bf16, x, cols, begin, cols - begin < SEGMENT ? cols : begin + SEGMENT, n, acc);
        UNROLL for (int t = 0; t < n; t++)
        {
            float *s = sum + (size_t)t * stride;
            lanes_store(s, begin ? lanes_add(lanes_load(s), acc[t]) : acc[t]);
        }
    }
}

/* One column: four whole segments side by side, so that the sums do not wait for each other. */
INLINE void float_column(const uint8_t *plane, bool bf16, const float *x, int cols, float *sum)
{
    enum { ABREAST = 4 };
    lanes total = lanes_set1(0.0f);
    int begin = 0;
    for (; begin + ABREAST * SEGMENT <= cols; begin += ABREAST * SEGMENT) {
        lanes acc[ABREAST];
        UNROLL for (int s = 0; s < ABREAST; s++) acc[s] = lanes_set1(0.0f);
        for (int i = begin; i < begin + SEGMENT; i++)
            UNROLL for (int s = 0; s < ABREAST; s++)
            {
                int k = i + s * SEGMENT;
                acc[s] = lanes_fma(float_weights(plane, (size_t)k * LANES, bf16), lanes_set1(x[k]), acc[s]);
            }
        UNROLL for (int s = 0; s < ABREAST; s++) total = begin + s ? lanes_add(total, acc[s]) : acc[s];
    }
    for (; begin < cols; begin += SEGMENT) {
        lanes acc[1];
        float_segment(plane, bf16, x, cols, begin, cols - begin < SEGMENT ? cols : begin + SEGMENT, 1, acc);
        total = begin ? lanes_add(total, acc[0]) : acc[0];
    }
    lanes_store(sum, total);
}

INLINE void product_float(const struct slab *slab, const struct panel *panel, float *sum, bool bf16)
{
    size_t group_bytes = (size_t)slab->cols * LANES * (bf16 ? 2 : 4);
    int stride = slab->groups * LANES;
    for (int g = 0; g < slab->groups; g++) {
        const uint8_t *plane = slab->quants + g * group_bytes;
        int t = 0;
        for (; t + FLOAT_COLUMNS <= panel->n; t += FLOAT_COLUMNS)
            float_columns(plane, bf16, panel->x + (size_t)t * slab->cols, slab->cols, FLOAT_COLUMNS,
                          sum + (size_t)t * stride + g * LANES, stride);
        for (; t < panel->n; t++)
            float_column(plane, bf16, panel->x + (size_t)t * slab->cols, slab->cols,
                         sum + (size_t)t * stride + g * LANES);
    }
}

static void product_bf16(const struct slab *slab, const struct panel *panel, float *sum)
{
    product_float(slab, panel, sum, true);
}

static void product_f32(const struct slab *slab, const struct panel *panel, float *sum)
{
    product_float(slab, panel, sum, false);
}

static void rms_norm(const float *x, const float *gain, int n, float eps, float *y)
{
    lanes sum = lanes_set1(0.0f);
    for (int i = 0; i < n; i += LANES)
        sum = lanes_fma(lanes_load(x + i), lanes_load(x + i), sum);
    lanes r = lanes_set1(1.0f / sqrtf(lanes_sum(sum) / (float)n + eps));
    for (int i = 0; i < n; i += LANES)
        lanes_store(y + i, lanes_mul(lanes_mul(lanes_load(x + i), r), lanes_load(gain + i)));
}

static void rotate(float *x, const float *cosine, const float *sine, int half)
{
    int i = 0;
    for (; i + LANES <= half; i += LANES) {
        lanes a = lanes_load(x + i), b = lanes_load(x + half + i), c = lanes_load(cosine + i), s = lanes_load(sine + i);
        lanes_store(x + i, lanes_fms(a, c, lanes_mul(b, s)));
        lanes_store(x + half + i, lanes_fma(b, c, lanes_mul(a, s)));
    }
    for (; i < half; i++) {
        float a = x[i], b = x[i + half];
        x[i] = fmaf(a, cosine[i], -(b * sine[i]));
        x[i + half] = fmaf(b, cosine[i], a * sine[i]);
    }
}

static void to_f16(const float *x, int n, uint16_t *half)
{
    for (int i = 0; i < n; i += LANES)
        lanes_to_f16(half + i, lanes_max(lanes_set1(-65504.0f), lanes_min(lanes_set1(65504.0f), lanes_load(x + i))));
}

/* What lies ahead is fetched a line at a time and in the order of memory, which is faster than by keys and values, and
 * into the second cache, since it would not stay in the first one for a chunk. */
INLINE void fetch_line(const uint16_t *line)
{
    __builtin_prefetch(line, 0, 2);
}

/* n query vectors against `tiles` tiles of keys; as many bytes are fetched from `ahead`, or none. */
INLINE void score_tiles(const float *q, int m, const int n, int head_dim, const uint16_t *const *key, const int tiles,
                        float scale, const uint16_t *ahead, float *score)
{
    const uint16_t *fetch = ahead ? ahead : key[0];
    lanes acc[SCORE_VECTORS][SCORE_TILES];
    UNROLL for (int i = 0; i < n; i++) UNROLL for (int t = 0; t < tiles; t++) acc[i][t] = lanes_set1(0.0f);
    for (int d = 0; d < head_dim; d++) {
        lanes k[SCORE_TILES];
        UNROLL for (int t = 0; t < tiles; t++) k[t] = lanes_from_f16(key[t] + (size_t)d * KEY_TILE);
        fetch_line(fetch + (size_t)d * tiles * KEY_TILE);
        UNROLL for (int i = 0; i < n; i++)
        {
            lanes x = lanes_set1(q[(size_t)d * m + i]);
            UNROLL for (int t = 0; t < tiles; t++) acc[i][t] = lanes_fma(x, k[t], acc[i][t]);
        }
    }
    UNROLL for (int i = 0; i < n; i++) UNROLL for (int t = 0; t < tiles; t++)
        lanes_store(score + (size_t)i * KEY_CHUNK + (size_t)t * KEY_TILE, lanes_mul(acc[i][t], lanes_set1(scale)));
}

/* Vectors i .. i + n - 1 against all tiles; the first of them fetch half of what lies ahead. */
INLINE void score_vectors(const float *q, int m, int i, const int n, int head_dim, const uint16_t *const key[KEY_TILES],
                          int first, int last, float scale, const uint16_t *ahead, float *score)
{
    int t = first;
    for (; t + SCORE_TILES <= last; t += SCORE_TILES)
        score_tiles(q + i, m, n, head_dim, key + t, SCORE_TILES, scale,
                    ahead && i == 0 ? ahead + (size_t)t * KEY_TILE * head_dim : NULL,
                    score + (size_t)i * KEY_CHUNK + (size_t)t * KEY_TILE);
    for (; t < last; t++)
        score_tiles(q + i, m, n, head_dim, key + t, 1, scale, NULL,
                    score + (size_t)i * KEY_CHUNK + (size_t)t * KEY_TILE);
}

static void scores(const float *q, int m, int head_dim, const uint16_t *const key[KEY_TILES], int first, int last,
                   float scale, const uint16_t *ahead, float *score)
{
    int i = 0;
    for (; i + SCORE_VECTORS <= m; i += SCORE_VECTORS)
        score_vectors(q, m, i, SCORE_VECTORS, head_dim, key, first, last, scale, ahead, score);
    for (; i < m; i++)
        score_vectors(q, m, i, 1, head_dim, key, first, last, scale, ahead, score);
}

/* Masked keys of the tiles at the edges get -inf, whose exponential is 0. */
static void softmax(float *score, int first, int last, float *max, float *sum)
{
    int begin = first / KEY_TILE * KEY_TILE, end = (last + KEY_TILE - 1) / KEY_TILE * KEY_TILE;
    for (int k = begin; k < first; k++)
        score[k] = -INFINITY;
    for (int k = last; k < end; k++)
        score[k] = -INFINITY;
    lanes m = lanes_load(score + begin), total = lanes_set1(0.0f);
    for (int k = begin + LANES; k < end; k += LANES)
        m = lanes_max(m, lanes_load(score + k));
    *max = lanes_max_all(m);
    m = lanes_set1(*max);
    for (int k = begin; k < end; k += LANES) {
        lanes p = lanes_exp(lanes_sub(lanes_load(score + k), m));
        lanes_store(score + k, p);
        total = lanes_add(total, p);
    }
    *sum = lanes_sum(total);
}

/* `heads` score rows times `width` vectors of 16 dimensions, beginning at dimension d. All dimensions together fetch
 * the other half of what lies ahead. */
INLINE void value_part(const float *score, const int heads, const uint16_t *const value[KEY_TILES], int first, int last,
                       int head_dim, int d, const int width, const uint16_t *ahead, float *out)
{
    lanes acc[VALUE_HEADS][VALUE_LANES];
    UNROLL for (int i = 0; i < heads; i++) UNROLL for (int j = 0; j < width; j++) acc[i][j] = lanes_set1(0.0f);
    for (int k = first; k < last;) {
        int tile = k / KEY_TILE, end = last < (tile + 1) * KEY_TILE ? last : (tile + 1) * KEY_TILE;
        const uint16_t *row = value[tile] + (size_t)(k % KEY_TILE) * head_dim + d;
        const uint16_t *fetch = ahead ? ahead + (size_t)KEY_CHUNK * (head_dim + d) + (size_t)k * width * LANES : row;
        for (; k < end; k++, row += head_dim, fetch += width * LANES) {
            fetch_line(fetch);
            lanes v[VALUE_LANES];
            UNROLL for (int j = 0; j < width; j++) v[j] = lanes_from_f16(row + (size_t)j * LANES);
            UNROLL for (int i = 0; i < heads; i++)
            {
                lanes p = lanes_set1(score[(size_t)i * KEY_CHUNK + k]);
                UNROLL for (int j = 0; j < width; j++) acc[i][j] = lanes_fma(p, v[j], acc[i][j]);
            }
        }
    }
    UNROLL for (int i = 0; i < heads; i++) UNROLL for (int j = 0; j < width; j++)
        lanes_store(out + (size_t)i * head_dim + d + (size_t)j * LANES, acc[i][j]);
}

static void values(const float *score, int heads, const uint16_t *const value[KEY_TILES], int first, int last,
                   int head_dim, const uint16_t *ahead, float *out)
{
    int i = 0, d;
    for (; i + VALUE_HEADS <= heads; i += VALUE_HEADS) {
        const float *s = score + (size_t)i * KEY_CHUNK;
        float *o = out + (size_t)i * head_dim;
        for (d = 0; d + VALUE_LANES * LANES <= head_dim; d += VALUE_LANES * LANES)
            value_part(s, VALUE_HEADS, value, first, last, head_dim, d, VALUE_LANES, i ? NULL : ahead, o);
        for (; d < head_dim; d += LANES)
            value_part(s, VALUE_HEADS, value, first, last, head_dim, d, 1, NULL, o);
    }
    for (; i < heads; i++)
        for (d = 0; d < head_dim; d += LANES)
            value_part(score + (size_t)i * KEY_CHUNK, 1, value, first, last, head_dim, d, 1, NULL,
                       out + (size_t)i * head_dim);
}

static void merge(float *out, const float *chunk, float a, float b, int n)
{
    for (int i = 0; i < n; i += LANES)
        lanes_store(out + i,
                    lanes_fma(lanes_load(out + i), lanes_set1(a), lanes_mul(lanes_load(chunk + i), lanes_set1(b))));
}

static void divide(const float *x, float divisor, int n, float *y)
{
    for (int i = 0; i < n; i += LANES)
        lanes_store(y + i, lanes_div(lanes_load(x + i), lanes_set1(divisor)));
}

static void swiglu(const float *sum, const float *bias, int pairs, float limit, float *y)
{
    for (int p = 0; p < pairs; p++, sum += 2 * LANES, bias += 2 * LANES) {
        lanes g = lanes_add(lanes_load(sum), lanes_load(bias));
        lanes u = lanes_add(lanes_load(sum + LANES), lanes_load(bias + LANES));
        g = lanes_min(lanes_set1(limit), g);
        u = lanes_max(lanes_set1(-limit), lanes_min(lanes_set1(limit), u));
        lanes e = lanes_exp(lanes_mul(lanes_set1(-1.702f), g));
        lanes t = lanes_div(g, lanes_add(lanes_set1(1.0f), e));
        lanes_store(y + (size_t)p * LANES, lanes_fma(t, u, t));
    }
}

static void combine(float *x, const float *const *out, const float *weight, int n_slot, int n)
{
    for (int i = 0; i < n; i += LANES) {
        lanes acc = lanes_mul(lanes_set1(weight[0]), lanes_load(out[0] + i));
        for (int s = 1; s < n_slot; s++)
            acc = lanes_fma(lanes_set1(weight[s]), lanes_load(out[s] + i), acc);
        lanes_store(x + i, lanes_add(lanes_load(x + i), acc));
    }
}

/* Their entries in a table of kernels. */
#define LANES_KERNELS                                                                                                  \
    .product_bf16 = product_bf16, .product_f32 = product_f32, .rms_norm = rms_norm, .rotate = rotate,                  \
    .to_f16 = to_f16, .scores = scores, .softmax = softmax, .values = values, .merge = merge, .divide = divide,        \
    .swiglu = swiglu, .combine = combine

#endif
