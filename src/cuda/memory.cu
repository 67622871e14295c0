/* The activations, and whether all that opening asks for fits. */
#include "cuda/state.h"

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
    PLACE(l, a->router_sum, rows * ((d + SEGMENT - 1) / SEGMENT), (size_t)group_count(c->n_expert) * TILE_ROWS);
    PLACE(l, a->router_done, (rows + FEW_ROWS - 1) / FEW_ROWS, 1);
    PLACE(l, a->chosen, rows, k);
    PLACE(l, a->weight, rows, k);
    PLACE(l, a->place, rows, k);
    PLACE(l, a->slot_of, slots, 1);
    PLACE(l, a->expert_first, (size_t)c->n_expert + 1, 1);
    PLACE(l, a->active, c->n_expert, 1);
    PLACE(l, a->logits, b->max_outputs, c->n_vocab);
    attend_place(l, b);
    sample_place(l, b);
}

uint64_t activations_bytes(struct backend *b)
{
    struct layout layout = {};
    place_activations(&layout, b);
    return layout.overflow ? UINT64_MAX / 4 : layout.used;
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

/* Sizes of all that opening would ask for, against what is free. */
goss_status memory_check(struct backend *b, const struct backend_options *o, goss_error *error)
{
    size_t free_bytes = 0, total = 0;
    uint64_t weights = weights_bytes(b->model), kv = kv_bytes(&b->model->config, o->pages, o->rings);
    uint64_t activations = activations_bytes(b);
    goss_status status = CUDA_STATUS(cudaMemGetInfo(&free_bytes, &total), error);
    if (!status && weights + kv + activations > free_bytes)
        return error_set(error, GOSS_E_MEMORY,
                         "CUDA: %llu MB are needed (weights %llu, keys and values %llu, activations %llu), %llu of the "
                         "GPU's %llu MB are free",
                         (unsigned long long)(weights + kv + activations) >> 20, (unsigned long long)weights >> 20,
                         (unsigned long long)kv >> 20, (unsigned long long)activations >> 20,
                         (unsigned long long)free_bytes >> 20, (unsigned long long)total >> 20);
    return status;
}
