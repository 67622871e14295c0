/* The end of a layer: every row adds what its experts say, in order of its slots. docs/arithmetic.md. */
#ifndef CUDA_COMBINE_H
#define CUDA_COMBINE_H

#include "cuda/state.h"

struct combination {
    float *x;             /* [rows][d_model] */
    const float *out;     /* [places][d_model] */
    const int32_t *place; /* [rows][n_active] */
    const float *weight;  /* [rows][n_active] */
    int n_row, d_model, n_active;
};

struct combination combination_of(const struct backend *backend);

/* Values i .. i + 3 of one row. */
DEVICE void combine_four(const struct combination &c, int row, int i)
{
    const int32_t *place = c.place + (size_t)row * c.n_active;
    const float *weight = c.weight + (size_t)row * c.n_active;
    float4 sum = {0.0f, 0.0f, 0.0f, 0.0f};
    for (int s = 0; s < c.n_active; s++) {
        float4 o = *reinterpret_cast<const float4 *>(c.out + (size_t)place[s] * c.d_model + i);
        float w = weight[s];
        if (s == 0)
            sum = {mul_rn(w, o.x), mul_rn(w, o.y), mul_rn(w, o.z), mul_rn(w, o.w)};
        else
            sum = {fma_rn(w, o.x, sum.x), fma_rn(w, o.y, sum.y), fma_rn(w, o.z, sum.z), fma_rn(w, o.w, sum.w)};
    }
    float4 *x = reinterpret_cast<float4 *>(c.x + (size_t)row * c.d_model + i);
    *x = {add_rn(x->x, sum.x), add_rn(x->y, sum.y), add_rn(x->z, sum.z), add_rn(x->w, sum.w)};
}

#endif
