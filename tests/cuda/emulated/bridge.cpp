#include "bridge.h"

#include <stdio.h>
#include <stdlib.h>

#include "control.h"
#include "cuda/product.h"

void bridge_guard(struct backend *backend)
{
    emulated_guard(backend->memory, (backend->memory_bytes + 4095) / 4096 * 4096);
}

static void *device_memory(size_t bytes, const void *from)
{
    void *memory;
    if (cudaMalloc(&memory, bytes))
        abort();
    if (from)
        memcpy(memory, from, bytes);
    return memory;
}

static const struct matrix &find(const struct model &model, enum bridge_matrix matrix)
{
    const struct layer &l = model.layers[0];
    return matrix == BRIDGE_QKV       ? l.qkv
           : matrix == BRIDGE_GATE_UP ? l.gate_up
           : matrix == BRIDGE_DOWN    ? l.down
                                      : model.head;
}

/* Experts with columns, then -1. */
static int32_t *active_of(const int32_t *first, int count)
{
    int32_t *active = (int32_t *)device_memory((size_t)count * sizeof *active, NULL), n = 0;
    for (int e = 0; e < count; e++)
        if (first[e + 1] > first[e])
            active[n++] = e;
    while (n < count)
        active[n++] = -1;
    return active;
}

void bridge_product(const struct model *model, enum bridge_matrix matrix, enum bridge_kernel kernel, const float *x,
                    int n, const int32_t *first, float *y)
{
    struct backend b = {};
    goss_error error;
    b.model = model;
    b.expert_layers = model->config.n_layer;
    b.multiprocessors = 2;
    b.overlap = true;
    b.shared_limit = 227 << 10;
    if (cudaStreamCreateWithFlags(&b.stream, cudaStreamNonBlocking) || weights_upload(&b, &error)) {
        (void)fprintf(stderr, "%s\n", error.text);
        abort();
    }
    struct product p = {
        .w = find(b.weights, matrix), .n = n, .slots_of_row = 1, .finish = FINISH_STORE, .unfolded = b.unfolded};
    size_t out = (size_t)n * p.w.rows * sizeof(float), cols = p.w.cols;
    float *device_x = (float *)device_memory(n * cols * sizeof(float), x);
    struct panel panel = {(int8_t *)device_memory(n * cols, NULL),
                          (float *)device_memory((size_t)n * scale_stride(p.w.cols) * sizeof(float), NULL)};
    int32_t *device_first = first ? (int32_t *)device_memory(((size_t)p.w.count + 1) * sizeof *first, first) : NULL;
    p.first = device_first;
    p.active = first ? active_of(first, p.w.count) : NULL;
    p.x = device_x;
    p.out = (float *)device_memory(out, NULL);
    if (kernel == BRIDGE_FEW_ROUNDED || kernel == BRIDGE_MANY) {
        quantise_rows(&b, p.x, n, &p.w, panel);
        p.panel = panel;
    }
    if (kernel == BRIDGE_MANY)
        product_many(&b, p);
    else if (kernel == BRIDGE_FLOAT)
        product_float(&b, p);
    else
        product_few(&b, p, heads{});
    if (b.failed || cudaStreamSynchronize(b.stream))
        abort();
    memcpy(y, p.out, out);
    weights_free(&b);
    (void)cudaStreamDestroy(b.stream);
    (void)cudaFree(device_x);
    (void)cudaFree(panel.q);
    (void)cudaFree(panel.scale);
    (void)cudaFree(device_first);
    (void)cudaFree((void *)p.active);
    (void)cudaFree(p.out);
}
