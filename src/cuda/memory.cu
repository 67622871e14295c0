/* The activations, and for how many layers' experts there is room beside all else that opening asks for. */
#include "cuda/state.h"

enum { SPARE_BYTES = 128 << 20 /* of what is free: for the kernels' code and captured steps */ };

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static void place_panel(struct layout *l, struct panel *panel, size_t rows, size_t cols)
{
    PLACE(l, panel->q, rows, cols);
    PLACE(l, panel->scale, rows, scale_stride((int)cols));
}

static void place_activations(struct layout *l, struct backend *b)
{
    const struct model_config *c = &b->model->config;
    struct activations *a = &b->a;
    size_t rows = b->max_rows, d = c->d_model, heads = (size_t)c->n_head * c->head_dim, k = c->n_active;
    size_t slots = rows * k, half = (size_t)c->head_dim / 2, tall = larger(rows, b->max_outputs);
    PLACE(l, a->x, rows, d);
    PLACE(l, a->cosine, rows, half);
    PLACE(l, a->sine, rows, half);
    PLACE(l, a->qkv, rows, heads + (size_t)2 * c->n_kv_head * c->head_dim);
    PLACE(l, a->q_rows, rows, heads);
    PLACE(l, a->attended, rows, heads);
    PLACE(l, a->normed, tall, d);
    place_panel(l, &a->in, tall, larger(d, heads));
    place_panel(l, &a->hidden_in, slots, c->d_ff);
    PLACE(l, a->hidden, slots, c->d_ff);
    PLACE(l, a->out, slots, d);
    PLACE(l, a->out_done, d / (2 * TILE_ROWS), 1);
    PLACE(l, a->router_sum, rows * ((d + SEGMENT - 1) / SEGMENT), (size_t)group_count(c->n_expert) * TILE_ROWS);
    PLACE(l, a->router_done, (rows + FEW_ROWS - 1) / FEW_ROWS, 1);
    PLACE(l, a->chosen, rows, k);
    PLACE(l, a->weight, rows, k);
    PLACE(l, a->place, rows, k);
    PLACE(l, a->slot_of, slots, 1);
    PLACE(l, a->expert_first, (size_t)c->n_expert + 1, 1);
    PLACE(l, a->active, c->n_expert, 1);
    PLACE(l, a->active_count, 1, 1);
    PLACE(l, a->logits, b->max_outputs, c->n_vocab);
    attend_place(l, b);
    sample_place(l, b);
}

goss_status activations_open(struct backend *b, goss_error *error)
{
    struct layout layout = {};
    place_activations(&layout, b);
    b->memory_bytes = layout.used;
    goss_status status = CUDA_STATUS(cudaMalloc(&b->memory, layout.used), error);
    if (!status)
        status = CUDA_STATUS(cudaMemsetAsync(b->memory, 0, layout.used, b->stream), error);
    layout = {(uint8_t *)b->memory, 0, false};
    place_activations(&layout, b);
    return status;
}

uint64_t memory_available(uint64_t limit)
{
    size_t free_bytes = 0, total = 0;
    (void)cudaMemGetInfo(&free_bytes, &total);
    uint64_t most = free_bytes > SPARE_BYTES ? free_bytes - SPARE_BYTES : 0;
    return limit > 0 && limit < most ? limit : most;
}

/* In MiB, rounded up. */
static unsigned long long mib(uint64_t bytes)
{
    return (bytes + (1 << 20) - 1) >> 20;
}

goss_status memory_plan(struct backend *b, const struct backend_options *o, goss_error *error)
{
    struct layout activations = {};
    size_t free_bytes = 0, total = 0;
    int layers = b->model->config.n_layer, least = o->host ? 0 : layers;
    place_activations(&activations, b);
    if (activations.overflow)
        return error_set(error, GOSS_E_LIMIT, "the activations would be larger than memory can be");
    goss_status status = CUDA_STATUS(cudaMemGetInfo(&free_bytes, &total), error);
    if (status)
        return status;
    uint64_t available = memory_available(o->gpu_bytes), kv = kv_bytes(&b->model->config, o->pages, o->rings);
    uint64_t rest = kv + activations.used;
    b->expert_layers = layers;
    while (b->expert_layers > least && weights_bytes(b->model, b->expert_layers) + rest > available)
        b->expert_layers--;
    uint64_t weights = weights_bytes(b->model, b->expert_layers);
    if (weights + rest <= available)
        return GOSS_OK;
    return error_set(error, GOSS_E_MEMORY,
                     "CUDA: %llu MiB are needed (weights%s %llu, keys and values %llu, activations %llu) and %llu can "
                     "be used: %llu of the GPU's %llu MiB are free, the limit is %llu",
                     mib(weights + rest), least == 0 ? " without experts" : "", mib(weights), mib(kv),
                     mib(activations.used), (unsigned long long)available >> 20, (unsigned long long)free_bytes >> 20,
                     (unsigned long long)total >> 20,
                     (unsigned long long)(o->gpu_bytes ? o->gpu_bytes : free_bytes) >> 20);
}
