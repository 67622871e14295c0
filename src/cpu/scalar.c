/* The arithmetic, defined: plain loops in the order in which every other kernel must add. docs/arithmetic.md explains
 * the choices. */
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/fmath.h"
#include "cpu/kernels.h"
#include "weights/tile.h"

static float tree(const float lane[LANES])
{
    float s[LANES];
    memcpy(s, lane, sizeof s);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            s[i] = s[i] + s[i + half];
    return s[0];
}

static uint32_t magnitude(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x7FFFFFFFu;
}

/* The comparison is one of bits, so that infinities and NaNs, which a hostile file can cause, are greater than any
 * number: such a block becomes zeros with the scale NaN. */
static float quantise_block(const float x[BLOCK], int8_t q[BLOCK], int32_t *offset)
{
    uint32_t bits = 0;
    float amax, inverse = 0.0f, scale = 0.0f;
    for (int i = 0; i < BLOCK; i++)
        bits = magnitude(x[i]) > bits ? magnitude(x[i]) : bits;
    memcpy(&amax, &bits, sizeof amax);
    if (bits > magnitude(FLT_MAX)) {
        scale = NAN;
    } else if (amax >= 0x1p-120f) {
        scale = amax / 127.0f;
        inverse = 127.0f / amax;
    }
    int32_t sum = 0;
    for (int i = 0; i < BLOCK; i++) {
        q[i] = inverse > 0.0f ? (int8_t)rintf(x[i] * inverse) : 0;
        sum += q[i];
    }
    *offset = -128 * sum;
    return scale;
}

static void quantise(const float *x, int n_block, const struct panel *panel, int first, int column)
{
    for (int b = 0; b < n_block; b++) {
        int64_t at = (int64_t)(first + b) * panel->n + column;
        panel->scale[at] = quantise_block(x + (int64_t)b * BLOCK, panel->q + at * BLOCK, &panel->offset[at]);
    }
}

/* 2^(e - 128): the scale for weights held as twice their value. */
static float e8m0_half(uint8_t e)
{
    uint32_t bits = e >= 2 ? (uint32_t)(e - 1) << 23 : 0x200000u << e;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static int dot_mxfp4(const uint8_t *block, int r, const int8_t *q)
{
    static const int8_t twice[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    int dot = 0;
    for (int j = 0; j < 4; j++)
        for (int i = 0; i < 4; i++) {
            uint8_t byte = block[64 * j + 4 * r + i];
            dot += twice[byte & 15] * q[8 * j + i] + twice[byte >> 4] * q[8 * j + 4 + i];
        }
    return dot;
}

static int dot_q8(const uint8_t *block, int r, const int8_t *q)
{
    int dot = 0;
    for (int j = 0; j < 8; j++)
        for (int i = 0; i < 4; i++)
            dot += (int8_t)block[64 * j + 4 * r + i] * q[4 * j + i];
    return dot;
}

/* Both integer products: acc = fma(dot, scale_w * scale_a, acc) within a segment, then the segments in order. */
static void product_integer(const struct slab *slab, const struct panel *panel, float *sum, bool mxfp4)
{
    int blocks = slab->cols / BLOCK;
    size_t quant_bytes = mxfp4 ? TILE_MXFP4_BLOCK : TILE_Q8_BLOCK, scale_bytes = mxfp4 ? TILE_ROWS : 2 * TILE_ROWS;
    for (int g = 0; g < slab->groups; g++)
        for (int t = 0; t < panel->n; t++)
            for (int r = 0; r < TILE_ROWS; r++) {
                float total = 0.0f, segment = 0.0f;
                for (int b = 0; b < blocks; b++) {
                    size_t block = (size_t)g * blocks + b, at = (size_t)b * panel->n + t;
                    const uint8_t *w = slab->quants + block * quant_bytes, *s = slab->scales + block * scale_bytes;
                    const int8_t *q = panel->q + at * BLOCK;
                    uint16_t half;
                    memcpy(&half, s + (mxfp4 ? 0 : 2 * r), sizeof half);
                    float scale = mxfp4 ? e8m0_half(s[r]) : f16_to_f32(half);
                    int dot = mxfp4 ? dot_mxfp4(w, r, q) : dot_q8(w, r, q);
                    segment = fmaf((float)dot, scale * panel->scale[at], segment);
                    if ((b + 1) % SEGMENT_BLOCKS == 0 || b + 1 == blocks) {
                        total = b < SEGMENT_BLOCKS ? segment : total + segment;
                        segment = 0.0f;
                    }
                }
                sum[((size_t)t * slab->groups + g) * TILE_ROWS + r] = total;
            }
}

static void product_mxfp4(const struct slab *slab, const struct panel *panel, float *sum)
{
    product_integer(slab, panel, sum, true);
}

static void product_q8(const struct slab *slab, const struct panel *panel, float *sum)
{
    product_integer(slab, panel, sum, false);
}

static float weight_at(const uint8_t *plane, size_t index, bool bf16)
{
    uint16_t b;
    float w;
    if (bf16) {
        memcpy(&b, plane + 2 * index, sizeof b);
        return bf16_to_f32(b);
    }
    memcpy(&w, plane + 4 * index, sizeof w);
    return w;
}

static void product_float(const struct slab *slab, const struct panel *panel, float *sum, bool bf16)
{
    for (int g = 0; g < slab->groups; g++)
        for (int t = 0; t < panel->n; t++)
            for (int r = 0; r < TILE_ROWS; r++) {
                const float *x = panel->x + (size_t)t * slab->cols;
                float total = 0.0f, segment = 0.0f;
                for (int k = 0; k < slab->cols; k++) {
                    size_t at = ((size_t)g * slab->cols + k) * TILE_ROWS + r;
                    segment = fmaf(weight_at(slab->quants, at, bf16), x[k], segment);
                    if ((k + 1) % SEGMENT == 0 || k + 1 == slab->cols) {
                        total = k < SEGMENT ? segment : total + segment;
                        segment = 0.0f;
                    }
                }
                sum[((size_t)t * slab->groups + g) * TILE_ROWS + r] = total;
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
    float lane[LANES] = {0};
    for (int i = 0; i < n; i++)
        lane[i % LANES] = fmaf(x[i], x[i], lane[i % LANES]);
    float r = 1.0f / sqrtf(tree(lane) / (float)n + eps);
    for (int i = 0; i < n; i++)
        y[i] = (x[i] * r) * gain[i];
}

static void rotate(float *x, const float *cosine, const float *sine, int half)
{
    for (int i = 0; i < half; i++) {
        float a = x[i], b = x[i + half];
        x[i] = fmaf(a, cosine[i], -(b * sine[i]));
        x[i + half] = fmaf(b, cosine[i], a * sine[i]);
    }
}

static void to_f16(const float *x, int n, uint16_t *half)
{
    for (int i = 0; i < n; i++)
        half[i] = f32_to_f16(x[i]);
}

static void scores(const float *q, int m, int head_dim, const uint16_t *const key[KEY_TILES], int first, int last,
                   float scale, const uint16_t *ahead, float *score)
{
    (void)ahead;
    for (int i = 0; i < m; i++)
        for (int k = first * KEY_TILE; k < last * KEY_TILE; k++) {
            const uint16_t *column = key[k / KEY_TILE] + k % KEY_TILE;
            float dot = 0.0f;
            for (int d = 0; d < head_dim; d++)
                dot = fmaf(q[d * m + i], f16_to_f32(column[d * KEY_TILE]), dot);
            score[i * KEY_CHUNK + k] = dot * scale;
        }
}

static void softmax(float *score, int first, int last, float *max, float *sum)
{
    float m = -INFINITY, lane[LANES] = {0};
    for (int k = first; k < last; k++)
        m = score[k] > m ? score[k] : m;
    int begin = first / KEY_TILE * KEY_TILE, end = (last + KEY_TILE - 1) / KEY_TILE * KEY_TILE;
    for (int k = begin; k < end; k++) {
        score[k] = k >= first && k < last ? exp_f32(score[k] - m) : 0.0f;
        lane[k % LANES] += score[k];
    }
    *max = m;
    *sum = tree(lane);
}

static void values(const float *score, int heads, const uint16_t *const value[KEY_TILES], int first, int last,
                   int head_dim, const uint16_t *ahead, float *out)
{
    (void)ahead;
    for (int i = 0; i < heads; i++)
        for (int d = 0; d < head_dim; d++) {
            float acc = 0.0f;
            for (int k = first; k < last; k++) {
                const uint16_t *row = value[k / KEY_TILE] + (size_t)(k % KEY_TILE) * head_dim;
                acc = fmaf(score[i * KEY_CHUNK + k], f16_to_f32(row[d]), acc);
            }
            out[(size_t)i * head_dim + d] = acc;
        }
}

static void merge(float *out, const float *chunk, float a, float b, int n)
{
    for (int i = 0; i < n; i++)
        out[i] = fmaf(out[i], a, chunk[i] * b);
}

static void divide(const float *x, float divisor, int n, float *y)
{
    for (int i = 0; i < n; i++)
        y[i] = x[i] / divisor;
}

static void swiglu(const float *sum, const float *bias, int pairs, float limit, float *y)
{
    for (int i = 0; i < pairs * LANES; i++) {
        int gate = i / LANES * 2 * LANES + i % LANES, up = gate + LANES;
        float g = sum[gate] + bias[gate], u = sum[up] + bias[up];
        g = limit < g ? limit : g;
        u = limit < u ? limit : u;
        u = -limit > u ? -limit : u;
        float t = g / (1.0f + exp_f32(-1.702f * g));
        y[i] = fmaf(t, u, t);
    }
}

static void combine(float *x, const float *const *out, const float *weight, int n_slot, int n)
{
    for (int i = 0; i < n; i++) {
        float acc = weight[0] * out[0][i];
        for (int s = 1; s < n_slot; s++)
            acc = fmaf(weight[s], out[s][i], acc);
        x[i] = x[i] + acc;
    }
}

const struct kernels scalar_kernels = {
    .name = "scalar",
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
