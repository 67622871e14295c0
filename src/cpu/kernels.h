/* The inner loops of the CPU backend, one table for every instruction set. scalar.c is the definition of the arithmetic
 * (docs/arithmetic.md says it in words); every other table returns the same bits, and tests/cpu compares them with
 * memcmp. Sixteen lanes are part of the definition: vectors of 4 or 8 floats are used in fours or twos.
 *
 * All lengths in floats are multiples of 16. Pointers need no alignment beyond that of their type. Nothing allocates;
 * kernels keep no state and may run on any number of threads. */
#ifndef CPU_KERNELS_H
#define CPU_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "model/arithmetic.h"

/* The right-hand side of a product: n columns of `cols` activations each. Quantised for integer weights, plain for
 * float weights; only the planes that its user needs are there. */
struct panel {
    int n, cols;
    int8_t *q;       /* [cols/32][n][32] */
    float *scale;    /* [cols/32][n] */
    int32_t *offset; /* [cols/32][n]: -128 * the sum of the block's quants, for kernels that store weights as w + 128 */
    float *x;        /* [n][cols] */
};

/* Some row groups of a matrix in the layout of weights/tile.h. */
struct slab {
    const uint8_t *quants; /* first group */
    const uint8_t *scales;
    int groups, cols;
};

/* sum[column][16 * groups] = slab x panel */
typedef void product_fn(const struct slab *slab, const struct panel *panel, float *sum);

struct kernels {
    const char *name;

    /* Quantises n_block blocks of x into one column of the panel, from block `first` on. */
    void (*quantise)(const float *x, int n_block, const struct panel *panel, int first, int column);
    product_fn *product_mxfp4, *product_q8, *product_bf16, *product_f32;

    /* y = x / rms(x) * gain */
    void (*rms_norm)(const float *x, const float *gain, int n, float eps, float *y);
    /* One head of 2 * half values in place: element i turns with element i + half. */
    void (*rotate)(float *x, const float *cosine, const float *sine, int half);
    void (*to_f16)(const float *x, int n, uint16_t *half);

    /* Attention over one chunk of keys, m query vectors that share a key head.
     * key[t]: tile t of the chunk, f16 [head_dim][16 keys]; value[t]: f16 [16 keys][head_dim].
     * ahead: NULL, or the first tile of the chunk that is read next, whose tiles follow each other; scores fetches the
     *   first half of that memory meanwhile and values the second.
     * scores: score[i][k] = (q_i . key_k) * scale for the tiles first <= t < last; q is [head_dim][m].
     * softmax: within keys first <= k < last of one score row, *max = the greatest, score = exp(score - *max), and
     *   *sum = their sum; the rest of the first and last tile becomes 0.
     * values: out[i][head_dim] = the sum of score[i][k] * value_k over first <= k < last, for `heads` score rows. */
    void (*scores)(const float *q, int m, int head_dim, const uint16_t *const key[KEY_TILES], int first, int last,
                   float scale, const uint16_t *ahead, float *score /* [m][KEY_CHUNK] */);
    void (*softmax)(float *score, int first, int last, float *max, float *sum);
    void (*values)(const float *score, int heads, const uint16_t *const value[KEY_TILES], int first, int last,
                   int head_dim, const uint16_t *ahead, float *out);
    /* out = out * a + chunk * b */
    void (*merge)(float *out, const float *chunk, float a, float b, int n);
    /* y = x / divisor */
    void (*divide)(const float *x, float divisor, int n, float *y);

    /* sum and bias: [pairs][gate 16, up 16]; y [16 pairs] = SwiGLU(gate, up) */
    void (*swiglu)(const float *sum, const float *bias, int pairs, float limit, float *y);
    /* x += sum over s, in order, of weight[s] * out[s], n values */
    void (*combine)(float *x, const float *const *out, const float *weight, int n_slot, int n);
};

extern const struct kernels scalar_kernels;
#if defined(__x86_64__)
extern const struct kernels avx2_kernels, avxvnni_kernels, avx512_kernels, amx_kernels;
#elif defined(__aarch64__)
extern const struct kernels neon_kernels, i8mm_kernels;
#endif

/* The tables this machine can run, best first: kernels_at(0) is the best, and scalar is the last. NULL past the end. */
const struct kernels *kernels_at(int index);

/* The best table that is not above `cap`, which is the name of one that gossamer has for this architecture, or NULL. */
goss_status kernels_pick(const struct kernels **kernels, const char *cap, goss_error *error);

/* The kernel for a tile type; NULL for any other type. */
struct matrix;
product_fn *kernels_product(const struct kernels *kernels, const struct matrix *matrix);

#endif
