/* The end of a layer: every row adds what its experts say, in order of its slots. docs/arithmetic.md. */
#include "cuda/state.h"

enum { THREADS = 128 };

struct combination {
    float *x;             /* [rows][d_model] */
    const float *out;     /* [places][d_model] */
    const int32_t *place; /* [rows][n_active] */
    const float *weight;  /* [rows][n_active] */
    int d_model, n_active;
};

/* Four values of one row for every thread. */
static __global__ void __launch_bounds__(THREADS) combine_rows(const struct combination c)
{
    int i = 4 * (int)(blockIdx.x * THREADS + threadIdx.x);
    const int32_t *place = c.place + (size_t)blockIdx.y * c.n_active;
    const float *weight = c.weight + (size_t)blockIdx.y * c.n_active;
    wait_for_previous();
    let_next_start();
    if (i >= c.d_model)
        return;
    float4 sum = {0.0f, 0.0f, 0.0f, 0.0f};
    for (int s = 0; s < c.n_active; s++) {
        float4 o = *reinterpret_cast<const float4 *>(c.out + (size_t)place[s] * c.d_model + i);
        float w = weight[s];
        if (s == 0)
            sum = {mul_rn(w, o.x), mul_rn(w, o.y), mul_rn(w, o.z), mul_rn(w, o.w)};
        else
            sum = {fma_rn(w, o.x, sum.x), fma_rn(w, o.y, sum.y), fma_rn(w, o.z, sum.z), fma_rn(w, o.w, sum.w)};
    }
    float4 *x = reinterpret_cast<float4 *>(c.x + (size_t)blockIdx.y * c.d_model + i);
    *x = {add_rn(x->x, sum.x), add_rn(x->y, sum.y), add_rn(x->z, sum.z), add_rn(x->w, sum.w)};
}

void combine_stage(struct backend *b)
{
    const struct model_config *config = &b->model->config;
    struct combination c = {b->a.x, b->a.out, b->a.place, b->a.weight, config->d_model, config->n_active};
    int parts = (config->d_model / 4 + THREADS - 1) / THREADS;
    run_kernel(b, dim3(parts, b->batch.n_row), dim3(THREADS), 0, combine_rows, c);
}
