/* The text of what a draw does with one logit (docs/sampling.md, steps 7 to 10), shared by engine/logits.c and by the
 * kernels of src/cuda. FMATH_FN stands before each function. */
#ifndef BASE_WEIGH_INLINE_H
#define BASE_WEIGH_INLINE_H

#include "base/fmath_inline.h"

enum { WEIGHT_BITS = 44 /* the likeliest id weighs 2^44; 2^18 of them still sum up in 64 bits */ };

/* e^d, d = max((x - max) * inverse_temperature, -32), in single precision and without fma, so that any compiler's
 * vectors give the same bits. e^d = 2^k * e^r with k the integer nearest to d / ln 2 and e^r its Taylor polynomial of
 * degree 6, |r| <= 0.35: relative error below 3e-7. */
FMATH_FN float weigh_exponential(float x, float max, float inverse_temperature)
{
    const float round = 12582912.0f; /* 1.5 * 2^23: adding it leaves the nearest integer in the low bits */
    float d = (x - max) * inverse_temperature;
    d = d > -32.0f ? d : -32.0f;
    float shifted = d * 1.44269504f + round, k = shifted - round;
    float r = d - k * 0.693359375f; /* k times 355/512 is exact */
    r = r - k * -2.12194440e-4f;
    float p = 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return p * fmath_float_of_bits((fmath_bits_of_float(shifted) + 127) << 23); /* 2^k */
}

/* The exponential in steps of 2^-44, rounded half to even. */
FMATH_FN uint64_t weigh_fixed(float exponential)
{
    double shifted = (double)exponential * 0x1p44 + 0x1p52; /* the integer part is now the low 52 bits */
    uint64_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    return bits & 0xfffffffffffffu;
}

/* Floats as integers of the same order. -0 and +0 are made one key, because they are one value. */
FMATH_FN uint32_t weigh_key(float x)
{
    uint32_t bits = fmath_bits_of_float(x + 0.0f); /* -0 becomes +0 */
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* p of a total weight, in whole units, at least 1. */
FMATH_FN uint64_t weigh_part(double p, uint64_t total)
{
    double product = p * (double)total;
    return product < 1 ? 1 : product >= (double)total ? total : (uint64_t)product;
}

#endif
