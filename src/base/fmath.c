#include "base/fmath.h"

#include <math.h>
#include <string.h>

static float float_of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t bits_of_float(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* 2^n for -1022 <= n <= 1023 */
static double power_of_two(int n)
{
    uint64_t bits = (uint64_t)(n + 1023) << 52;
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* x = n ln 2 + r, |r| <= ln(2)/2; e^r by a polynomial of degree 6 fitted to the least relative error (3.1e-9). The
 * product with 2^n is made in two exact steps, because 2^128 is no float. */
float exp_f32(float x)
{
    if (x < -87.33f)
        return 0.0f;
    if (x > 88.72f)
        return INFINITY;
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
    return p * float_of_bits((uint32_t)(half + 127) << 23) * float_of_bits((uint32_t)(whole - half + 127) << 23);
}

double exp_f64(double x)
{
    /* 1/k! for k = 13 .. 0 */
    static const double inverse_factorial[] = {1.0 / 6227020800.0,
                                               1.0 / 479001600.0,
                                               1.0 / 39916800.0,
                                               1.0 / 3628800.0,
                                               1.0 / 362880.0,
                                               1.0 / 40320.0,
                                               1.0 / 5040.0,
                                               1.0 / 720.0,
                                               1.0 / 120.0,
                                               1.0 / 24.0,
                                               1.0 / 6.0,
                                               0.5,
                                               1.0,
                                               1.0};
    if (x < -745.2)
        return 0.0;
    if (x > 709.79)
        return (double)INFINITY;
    if (x != x)
        return x;
    double n = rint(x * 0x1.71547652b82fep+0);
    double r = fma(n, -0x1.62e42fefa39efp-1, x);
    r = fma(n, -0x1.abc9e3b39803fp-56, r);
    double p = inverse_factorial[0];
    for (int k = 1; k < 14; k++)
        p = fma(p, r, inverse_factorial[k]);
    int whole = (int)n, half = whole >> 1;
    return p * power_of_two(half) * power_of_two(whole - half);
}

/* x = 2^e m with m in [sqrt(1/2), sqrt(2)), f = m - 1, s = f/(2+f): ln m = 2 atanh s = f - s (f - R(s^2)) where
 * R(z) = 2z/3 + 2z^2/5 + .. */
double log_f64(double x)
{
    uint64_t bits;
    int e = 0;
    if (x < 0x1p-1022) {
        x *= 0x1p54;
        e = -54;
    }
    memcpy(&bits, &x, sizeof bits);
    e += (int)(bits >> 52) - 1023;
    bits = (bits & 0xFFFFFFFFFFFFFu) | (uint64_t)1023 << 52;
    double m;
    memcpy(&m, &bits, sizeof m);
    if (m > 0x1.6a09e667f3bcdp+0) {
        m *= 0.5;
        e++;
    }
    double f = m - 1.0, s = f / (2.0 + f), z = s * s, series = 0.0;
    for (int k = 25; k >= 3; k -= 2)
        series = fma(series, z, 2.0 / k);
    double n = e, small = fma(n, 0x1.abc9e3b39803fp-56, -(s * (f - z * series)));
    return fma(n, 0x1.62e42fefa39efp-1, f + small);
}

void sincos_f64(double x, double *sine, double *cosine)
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

float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = h >> 10 & 31u, fraction = h & 0x3FFu;
    if (exponent == 31)
        return float_of_bits(sign | 0x7F800000u | fraction << 13 | (fraction ? 0x400000u : 0));
    if (exponent)
        return float_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
    float x = (float)fraction * 0x1p-24f;
    return sign ? -x : x;
}

uint16_t f32_to_f16(float x)
{
    uint32_t bits = bits_of_float(x);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    uint32_t magnitude = bits & 0x7FFFFFFFu;
    if (magnitude > 0x7F800000u)
        return (uint16_t)(sign | 0x7E00u | (magnitude >> 13 & 0x1FFu));
    if (magnitude >= 0x477FE000u) /* 65504 */
        return (uint16_t)(sign | 0x7BFFu);
    if (magnitude < 0x38800000u) { /* below 2^-14: the sum with 2^-1 rounds at the place of 2^-24 */
        uint32_t sum = bits_of_float(float_of_bits(magnitude) + 0.5f);
        return (uint16_t)(sign | (sum - 0x3F000000u));
    }
    uint32_t rounded = magnitude + 0xFFFu + (magnitude >> 13 & 1u);
    return (uint16_t)(sign | ((rounded - 0x38000000u) >> 13));
}

float bf16_to_f32(uint16_t b)
{
    return float_of_bits((uint32_t)b << 16);
}

uint16_t f32_to_bf16(float x)
{
    uint32_t bits = bits_of_float(x);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}
