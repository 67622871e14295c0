/* The text of the elementary functions that reach logits, shared by fmath.c and by the kernels of src/cuda. FMATH_FN
 * stands before each function. See fmath.h for what they promise. */
#ifndef BASE_FMATH_INLINE_H
#define BASE_FMATH_INLINE_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#ifndef FMATH_FN
#define FMATH_FN static inline
#endif

FMATH_FN float fmath_float_of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

FMATH_FN uint32_t fmath_bits_of_float(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* x = n ln 2 + r, |r| <= ln(2)/2; e^r by a polynomial of degree 6 fitted to the least relative error (3.1e-9). The
 * product with 2^n is made in two exact steps, because 2^128 is no float. */
FMATH_FN float fmath_exp_f32(float x)
{
    if (x < -87.33f)
        return 0.0f;
    if (x > 88.72f)
        return fmath_float_of_bits(0x7F800000u);
    if (x != x)
        return x;
    float n = rintf(x * 0x1.715476p+0f);
    float r = fmaf(n, -0x1.62e43p-1f, x);
    r = fmaf(n, 0x1.05c61p-29f, r);
    float p = 0x1.6a2434p-10f;
    p = fmaf(p, r, 0x1.1239e2p-7f);
    p = fmaf(p, r, 0x1.5558f2p-5f);
    p = fmaf(p, r, 0x1.555492p-3f);
    p = fmaf(p, r, 0x1.fffffcp-2f);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    int whole = (int)n, half = whole >> 1;
    return p * fmath_float_of_bits((uint32_t)(half + 127) << 23) *
           fmath_float_of_bits((uint32_t)(whole - half + 127) << 23);
}

FMATH_FN void fmath_sincos_f64(double x, double *sine, double *cosine)
{
    /* pi/2 in three doubles, the sum of which is good for 159 bits */
    double n = rint(x * 0x1.45f306dc9c883p-1);
    double r = fma(n, -0x1.921fb54442d18p+0, x);
    r = fma(n, -0x1.1a62633145c07p-54, r);
    r = fma(n, 0x1.f1976b7ed8fbcp-110, r);
    double z = r * r, s = 1.0, c = 1.0;
    for (int k = 18; k >= 2; k -= 2) { /* the Taylor series, nested: 1 - z/(2*3) (1 - z/(4*5) (..)) */
        s = fma(s, -z / (double)(k * (k + 1)), 1.0);
        c = fma(c, -z / (double)(k * (k - 1)), 1.0);
    }
    s *= r;
    switch ((int64_t)n & 3) {
    case 0: *sine = s, *cosine = c; break;
    case 1: *sine = c, *cosine = -s; break;
    case 2: *sine = -s, *cosine = -c; break;
    default: *sine = -c, *cosine = s; break;
    }
}

FMATH_FN float fmath_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = h >> 10 & 31u, fraction = h & 0x3FFu;
    if (exponent == 31)
        return fmath_float_of_bits(sign | 0x7F800000u | fraction << 13 | (fraction ? 0x400000u : 0));
    if (exponent)
        return fmath_float_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
    float x = (float)fraction * 0x1p-24f;
    return sign ? -x : x;
}

FMATH_FN uint16_t fmath_f32_to_f16(float x)
{
    uint32_t bits = fmath_bits_of_float(x);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    uint32_t magnitude = bits & 0x7FFFFFFFu;
    if (magnitude > 0x7F800000u)
        return (uint16_t)(sign | 0x7E00u | (magnitude >> 13 & 0x1FFu));
    if (magnitude >= 0x477FE000u) /* 65504 */
        return (uint16_t)(sign | 0x7BFFu);
    if (magnitude < 0x38800000u) { /* below 2^-14: the sum with 2^-1 rounds at the place of 2^-24 */
        uint32_t sum = fmath_bits_of_float(fmath_float_of_bits(magnitude) + 0.5f);
        return (uint16_t)(sign | (sum - 0x3F000000u));
    }
    uint32_t rounded = magnitude + 0xFFFu + (magnitude >> 13 & 1u);
    return (uint16_t)(sign | ((rounded - 0x38000000u) >> 13));
}

FMATH_FN float fmath_bf16_to_f32(uint16_t b)
{
    return fmath_float_of_bits((uint32_t)b << 16);
}

#endif
