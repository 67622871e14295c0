/* What becomes of the products' sums, element by element. docs/arithmetic.md. */
#ifndef CUDA_EPILOGUE_H
#define CUDA_EPILOGUE_H

#include "cuda/device.h"

/* RoPE: element i of a head and element i + half turn together. */
DEVICE void rotate_pair(float *a, float *b, float cosine, float sine)
{
    float x = *a, y = *b;
    *a = fma_rn(x, cosine, -mul_rn(y, sine));
    *b = fma_rn(y, cosine, mul_rn(x, sine));
}

/* One hidden value of an expert; the biases are in gate and up. */
DEVICE float swiglu(float gate, float up, float limit)
{
    float g = limit < gate ? limit : gate, u = limit < up ? limit : up;
    u = -limit > u ? -limit : u;
    float t = div_rn(g, add_rn(1.0f, fmath_exp_f32(mul_rn(-1.702f, g))));
    return fma_rn(t, u, t);
}

#endif
