#include "base/fmath.h"

#include <math.h>
#include <string.h>

#include "base/fmath_inline.h"

/* 2^n for -1022 <= n <= 1023 */
static double power_of_two(int n)
{
    uint64_t bits = (uint64_t)(n + 1023) << 52;
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

float exp_f32(float x)
{
    return fmath_exp_f32(x);
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
    fmath_sincos_f64(x, sine, cosine);
}

float f16_to_f32(uint16_t h)
{
    return fmath_f16_to_f32(h);
}

uint16_t f32_to_f16(float x)
{
    return fmath_f32_to_f16(x);
}

float bf16_to_f32(uint16_t b)
{
    return fmath_bf16_to_f32(b);
}

uint16_t f32_to_bf16(float x)
{
    uint32_t bits = fmath_bits_of_float(x);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}
