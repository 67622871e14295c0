/* Elementary functions with the same bits on every machine: polynomials evaluated with fma, because libm's results
 * differ between its versions. src/cpu's vector kernels repeat exp_f32 operation by operation. docs/arithmetic.md
 * states each one. */
#ifndef BASE_FMATH_H
#define BASE_FMATH_H

#include <stdint.h>

float exp_f32(float x); /* relative error < 2 ulp; exactly 0 below -87.33, +inf above 88.72; exp_f32(-inf) is 0 */

/* In double, error < 1 ulp or so: for tables (RoPE) and for the sampler, never in an inner loop. */
double exp_f64(double x);
double log_f64(double x);                                /* x > 0 */
void sincos_f64(double x, double *sine, double *cosine); /* |x| < 2^31 */

/* Conversions by bits; halves round to nearest even. */
float f16_to_f32(uint16_t h);
uint16_t f32_to_f16(float x); /* saturates at +-65504 instead of making an infinity; NaN stays NaN */
float bf16_to_f32(uint16_t b);
uint16_t f32_to_bf16(float x);

#endif
