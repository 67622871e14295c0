/* The end of a layer of many rows. That of few is part of the product in front of it: product_few.cu. */
#include "cuda/combine.h"

enum { THREADS = 128 };

/* Four values of one row for every thread. */
static __global__ void __launch_bounds__(THREADS) combine_rows(const struct combination c)
{
    int i = 4 * (int)(blockIdx.x * THREADS + threadIdx.x);
    wait_for_previous();
    let_next_start();
    if (i < c.d_model)
        combine_four(c, (int)blockIdx.y, i);
}

struct combination combination_of(const struct backend *b)
{
    const struct model_config *config = &b->model->config;
    return {b->a.x, b->a.out, b->a.place, b->a.weight, b->batch.n_row, config->d_model, config->n_active};
}

void combine_stage(struct backend *b)
{
    struct combination c = combination_of(b);
    int parts = (c.d_model / 4 + THREADS - 1) / THREADS;
    run_kernel(b, dim3(parts, c.n_row), dim3(THREADS), 0, combine_rows, c);
}
