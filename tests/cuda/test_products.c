/* The products of src/cuda, run by the emulated GPU, have the bits of src/cpu/scalar.c. */
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "cpu/kernels.h"
#include "cuda/emulated/bridge.h"
#include "cuda/emulated/control.h"
#include "model/synthetic.h"
#include "support/test.h"
#include "weights/tile.h"

static float *random_columns(int n, int cols)
{
    float *x = calloc((size_t)n * cols, sizeof *x);
    for (int i = 0; i < n * cols; i++)
        x[i] = (float)(random_uniform(77, (uint64_t)i, 0) * 8 - 4);
    memset(x, 0, BLOCK * sizeof *x); /* a block of zeros, and one that is nearly zero */
    for (int i = BLOCK; i < 2 * BLOCK; i++)
        x[i] *= 0x1p-125f;
    return x;
}

/* Columns [first, first + n) with matrix `index` of the stack, by the definition. */
static void define(const struct matrix *m, int index, const float *x, int n, float *y)
{
    int blocks = m->cols / BLOCK, groups = (m->rows + TILE_ROWS - 1) / TILE_ROWS;
    struct slab slab = {m->quants + index * m->stride, m->scales ? m->scales + index * m->stride : NULL, groups,
                        m->cols};
    struct panel panel = {.n = n, .cols = m->cols, .x = (float *)(uintptr_t)x};
    float *sum = calloc((size_t)n * groups * TILE_ROWS, sizeof *sum);
    panel.q = calloc((size_t)n * m->cols, 1);
    panel.scale = calloc((size_t)n * blocks, sizeof *panel.scale);
    panel.offset = calloc((size_t)n * blocks, sizeof *panel.offset);
    for (int i = 0; i < n; i++)
        scalar_kernels.quantise(x + (size_t)i * m->cols, blocks, &panel, 0, i);
    kernels_product(&scalar_kernels, m)(&slab, &panel, sum);
    for (int i = 0; i < n; i++)
        memcpy(y + (size_t)i * m->rows, sum + (size_t)i * groups * TILE_ROWS, (size_t)m->rows * sizeof *y);
    free(sum);
    free(panel.q);
    free(panel.scale);
    free(panel.offset);
}

static void assert_product(const struct model *model, enum bridge_matrix which, const struct matrix *m,
                           enum bridge_kernel kernel, int n, const int32_t *first)
{
    float *x = random_columns(n, m->cols);
    float *want = calloc((size_t)n * m->rows, sizeof *want), *got = calloc((size_t)n * m->rows, sizeof *got);
    for (int e = 0; e < (first ? m->count : 1); e++) {
        int begin = first ? first[e] : 0, end = first ? first[e + 1] : n;
        if (end > begin)
            define(m, e, x + (size_t)begin * m->cols, end - begin, want + (size_t)begin * m->rows);
    }
    for (int backward = 0; backward < 2; backward++) {
        emulated_order(backward);
        bridge_product(model, which, kernel, x, n, first, got);
        for (int i = 0; i < n * m->rows; i++)
            if (memcmp(&want[i], &got[i], sizeof *got) != 0)
                fail_msg("kernel %d, %d columns: column %d, row %d: %a is not %a", kernel, n, i / m->rows, i % m->rows,
                         (double)got[i], (double)want[i]);
    }
    emulated_order(false);
    free(x);
    free(want);
    free(got);
}

/* Scales at the edges of what a file may hold, and the least int8. */
static void put_extremes(const struct matrix *m)
{
    uint8_t *scales = (uint8_t *)(uintptr_t)m->scales, *quants = (uint8_t *)(uintptr_t)m->quants;
    if (m->type == DTYPE_TILE_MXFP4)
        for (int i = 0; i < TILE_ROWS; i++)
            scales[i] = (uint8_t)(i % 4);
    else
        quants[0] = quants[5] = 0x80;
}

static struct synthetic_shape shape_of(enum dtype dense, enum dtype experts)
{
    struct synthetic_shape shape = synthetic_small();
    shape.n_layer = 1;
    shape.d_model = 1120; /* two segments and three blocks, an odd number of row groups of the head */
    shape.d_ff = 96;
    shape.dense = dense;
    shape.experts = experts;
    return shape;
}

static const int columns[] = {1, 7, 8, 17, 65, 0};

static void test_type(enum dtype dense, enum dtype experts, bool extreme, const enum bridge_kernel *kernels,
                      int n_kernel)
{
    struct synthetic_shape shape = shape_of(dense, experts);
    struct model *model = synthetic_open(&shape);
    const struct layer *l = &model->layers[0];
    const int32_t first[][8] = {{0, 1, 2, 2, 2, 2, 2, 3}, {0, 0, 8, 8, 10, 16, 16, 17}, {0, 0, 0, 60, 61, 61, 61, 80}};
    if (extreme)
        put_extremes(&l->gate_up);
    for (int k = 0; k < n_kernel; k++) {
        bool few = kernels[k] == BRIDGE_FEW || kernels[k] == BRIDGE_FEW_ROUNDED;
        for (const int *n = columns; *n && (!few || *n <= 8); n++)
            if (dense == experts || kernels[k] != BRIDGE_FLOAT)
                assert_product(model, BRIDGE_HEAD, &model->head, kernels[k], *n, NULL);
        for (int i = 0; i < (few ? 2 : 3); i++) {
            assert_product(model, BRIDGE_GATE_UP, &l->gate_up, kernels[k], first[i][7], first[i]);
            assert_product(model, BRIDGE_DOWN, &l->down, kernels[k], first[i][7], first[i]);
        }
    }
    synthetic_close(model);
}

static void integer_products_have_the_defined_bits(void **state)
{
    (void)state;
    const enum bridge_kernel kernels[] = {BRIDGE_FEW, BRIDGE_FEW_ROUNDED, BRIDGE_MANY};
    test_type(DTYPE_TILE_Q8, DTYPE_TILE_MXFP4, false, kernels, 3);
    test_type(DTYPE_TILE_Q8, DTYPE_TILE_MXFP4, true, kernels + 2, 1);
    test_type(DTYPE_TILE_Q8, DTYPE_TILE_Q8, true, kernels, 3);
}

static void float_products_have_the_defined_bits(void **state)
{
    (void)state;
    const enum bridge_kernel kernel = BRIDGE_FLOAT;
    test_type(DTYPE_TILE_BF16, DTYPE_TILE_BF16, false, &kernel, 1);
    test_type(DTYPE_TILE_F32, DTYPE_TILE_F32, false, &kernel, 1);
}

/* The product of both scales is rounded to a few bits, which it would not be behind the dot product. */
static void scales_with_a_subnormal_product_have_the_defined_bits(void **state)
{
    (void)state;
    struct synthetic_shape shape = shape_of(DTYPE_TILE_Q8, DTYPE_TILE_MXFP4);
    struct model *model = synthetic_open(&shape);
    const struct matrix *m = &model->layers[0].down;
    const int32_t first[] = {0, 1, 1, 1, 1, 1, 1, 1};
    float *x = calloc(m->cols, sizeof *x), *want = calloc(m->rows, sizeof *want), *got = calloc(m->rows, sizeof *got);
    const struct {
        int exponent;
        float x;
    } pair[] = {{70, 0x1p-87f}, {2, 0x1p-8f}}; /* the activations' scale is out of its range, the weights' */
    for (int k = 0; k < 2; k++) {
        memset((uint8_t *)(uintptr_t)m->scales, pair[k].exponent, tile_scale_bytes(m->type, m->rows, m->cols));
        for (int i = 0; i < BLOCK; i++)
            x[i] = (float)(i - 9) * pair[k].x;
        define(m, 0, x, 1, want);
        bridge_product(model, BRIDGE_DOWN, BRIDGE_MANY, x, 1, first, got);
        for (int i = 0; i < m->rows; i++)
            assert_memory_equal(&want[i], &got[i], sizeof *got);
    }
    free(x);
    free(want);
    free(got);
    synthetic_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integer_products_have_the_defined_bits),
        cmocka_unit_test(float_products_have_the_defined_bits),
        cmocka_unit_test(scales_with_a_subnormal_product_have_the_defined_bits),
    };
    return cmocka_run_group_tests_name("cuda.products", tests, NULL, NULL);
}
