/* Rows normed and rounded by a kernel of their own: where many need them, or several kernels. */
#include "cuda/norm.h"

struct row_task {
    const float *x;     /* [rows][cols] */
    const int32_t *row; /* [n] which of them; NULL: the first n */
    const float *gain;  /* [cols]; NULL: no norm */
    float eps;
    int cols;
    bool mxfp4;         /* the order of the panel */
    float *normed;      /* [n][cols], or NULL */
    struct panel panel; /* [n], or q is NULL */
    int32_t *unfolded;  /* see state.h */
};

/* A CTA a row. */
static __global__ void __launch_bounds__(256) prepare_rows(const struct row_task task)
{
    float *row = (float *)SHARED_BYTES();
    __shared__ float factor;
    wait_for_previous();
    let_next_start();
    int cols = task.cols, index = (int)blockIdx.x, source = task.row ? task.row[index] : index;
    const float *x = task.x + (size_t)source * cols;
    for (int i = (int)threadIdx.x; i < cols / 4; i += (int)blockDim.x)
        reinterpret_cast<float4 *>(row)[i] = reinterpret_cast<const float4 *>(x)[i];
    __syncthreads();
    if (task.gain && threadIdx.x < 32) {
        float r = rms_factor(row, cols, task.eps);
        if (threadIdx.x == 0)
            factor = r;
    }
    __syncthreads();
    struct panel_column column = {NULL, NULL, BLOCK, 1, task.mxfp4 ? task.unfolded : NULL};
    if (task.panel.q) {
        column.q = task.panel.q + (size_t)index * cols;
        column.scale = task.panel.scale + (size_t)index * scale_stride(cols);
    }
    quantise_row(row, task.gain, factor, cols, task.mxfp4, column,
                 task.normed ? task.normed + (size_t)index * cols : NULL);
}

void norm_rows(struct backend *b, const float *gain, const int32_t *row, int n, const struct matrix *user)
{
    struct row_task task = {.x = b->a.x,
                            .row = row,
                            .gain = gain,
                            .eps = b->model->config.rms_eps,
                            .cols = b->model->config.d_model,
                            .mxfp4 = user->type == DTYPE_TILE_MXFP4,
                            .normed = b->a.normed,
                            .panel = is_integer(user) ? b->a.in : panel{},
                            .unfolded = b->unfolded};
    run_kernel(b, dim3((unsigned)n), dim3(256), (size_t)task.cols * sizeof(float), prepare_rows, task);
}

void quantise_rows(struct backend *b, const float *x, int n, const struct matrix *user, struct panel panel)
{
    struct row_task task = {.x = x,
                            .row = NULL,
                            .gain = NULL,
                            .eps = 0.0f,
                            .cols = user->cols,
                            .mxfp4 = user->type == DTYPE_TILE_MXFP4,
                            .normed = NULL,
                            .panel = panel,
                            .unfolded = b->unfolded};
    if (is_integer(user))
        run_kernel(b, dim3((unsigned)n), dim3(256), (size_t)task.cols * sizeof(float), prepare_rows, task);
}
