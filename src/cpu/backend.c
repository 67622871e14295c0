/* Opening and closing the CPU backend: who works, on what instruction set, in what memory. */
#include "model/backend.h"

#include <stdlib.h>
#include <string.h>

#include "cpu/state.h"

enum { ALIGN = 64 };

/* Lays arrays out in one block of memory: first with base NULL to add up the sizes, then again to place them. */
struct layout {
    uint8_t *base;
    size_t used;
    bool overflow;
};

static void *place(struct layout *layout, size_t item, size_t a, size_t b)
{
    size_t bytes, end;
    if (__builtin_mul_overflow(a, b, &bytes) || __builtin_mul_overflow(bytes, item, &bytes) ||
        __builtin_add_overflow(layout->used, bytes, &end) || end > SIZE_MAX / 2) {
        layout->overflow = true;
        return NULL;
    }
    void *p = layout->base ? layout->base + layout->used : NULL;
    layout->used = (end + ALIGN - 1) / ALIGN * ALIGN;
    return p;
}

static void place_panel(struct layout *l, struct panel *panel, size_t columns, size_t cols)
{
    panel->q = place(l, sizeof *panel->q, columns, cols);
    panel->scale = place(l, sizeof *panel->scale, columns, cols / BLOCK);
    panel->offset = place(l, sizeof *panel->offset, columns, cols / BLOCK);
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static void place_tiling(struct layout *l, struct tiling *tiling, size_t rows)
{
    tiling->tile = place(l, sizeof *tiling->tile, rows, 1);
    tiling->round_end = place(l, sizeof *tiling->round_end, rows, 1);
}

static void place_activations(struct layout *l, struct backend *b)
{
    const struct model_config *c = &b->model->config;
    size_t rows = b->max_rows, d = c->d_model, heads = (size_t)c->n_head * c->head_dim;
    size_t slots = rows * c->n_active, half = (size_t)c->head_dim / 2, tall = larger(rows, b->max_outputs);
    b->x = place(l, sizeof *b->x, rows, d);
    b->cosine = place(l, sizeof *b->cosine, rows, half);
    b->sine = place(l, sizeof *b->sine, rows, half);
    b->qkv = place(l, sizeof *b->qkv, rows, heads + (size_t)2 * c->n_kv_head * c->head_dim);
    place_panel(l, &b->rows, tall, d);
    b->rows.x = place(l, sizeof *b->rows.x, tall, d);
    place_panel(l, &b->attended, rows, heads);
    b->attended.x = place(l, sizeof *b->attended.x, rows, heads);
    b->sequence_of = place(l, sizeof *b->sequence_of, rows, 1);
    place_tiling(l, &b->full, rows);
    place_tiling(l, &b->sliding, rows);
    b->partial = place(l, sizeof *b->partial, b->partial_chunks, (size_t)c->n_head * (c->head_dim + 2));
    b->chunks_done = place(l, sizeof *b->chunks_done, rows, c->n_kv_head);
    b->router_sum = place(l, sizeof *b->router_sum, larger(rows, FEW_ROWS * ((d + SEGMENT - 1) / SEGMENT)),
                          (size_t)group_count(c->n_expert) * LANES);
    b->router_logit = place(l, sizeof *b->router_logit, c->n_expert, 1);
    b->chosen = place(l, sizeof *b->chosen, slots, 1);
    b->weight = place(l, sizeof *b->weight, slots, 1);
    b->place = place(l, sizeof *b->place, slots, 1);
    b->expert_first = place(l, sizeof *b->expert_first, (size_t)c->n_expert + 1, 1);
    b->active = place(l, sizeof *b->active, c->n_expert, 1);
    place_panel(l, &b->in, slots, d);
    place_panel(l, &b->hidden, slots, c->d_ff);
    bool plain_in = false, plain_hidden = false; /* types may differ from layer to layer */
    for (int i = 0; i < c->n_layer; i++) {
        plain_in = plain_in || !is_integer(&b->model->layers[i].gate_up);
        plain_hidden = plain_hidden || !is_integer(&b->model->layers[i].down);
    }
    b->in.x = plain_in ? place(l, sizeof *b->in.x, slots, d) : NULL;
    b->hidden.x = plain_hidden ? place(l, sizeof *b->hidden.x, slots, c->d_ff) : NULL;
}

static void place_scratch(struct layout *l, const struct backend *b, struct scratch *s)
{
    const struct model_config *c = &b->model->config;
    size_t m = larger(QUERY_VECTORS, c->n_head / c->n_kv_head), d = c->head_dim;
    s->sum = place(l, sizeof *s->sum, b->sum_columns, (size_t)larger(UNIT_GROUPS, head_groups(c)) * LANES);
    place_panel(l, &s->few, FEW_ROWS, c->d_model);
    s->few.x = place(l, sizeof *s->few.x, FEW_ROWS, c->d_model);
    s->query = place(l, sizeof *s->query, TILE_PARTS * m, d);
    s->score = place(l, sizeof *s->score, m, KEY_CHUNK);
    s->chunk = place(l, sizeof *s->chunk, m, d);
    s->acc = place(l, sizeof *s->acc, TILE_PARTS * m, d);
    s->max = place(l, sizeof *s->max, TILE_PARTS * m, 1);
    s->total = place(l, sizeof *s->total, TILE_PARTS * m, 1);
    s->chunk_max = place(l, sizeof *s->chunk_max, m, 1);
    s->chunk_total = place(l, sizeof *s->chunk_total, m, 1);
}

static goss_status allocate(void **memory, struct layout *layout, const char *what, goss_error *error)
{
    *memory = NULL;
    if (layout->overflow)
        return error_set(error, GOSS_E_LIMIT, "%s would be larger than memory can be", what);
    *memory = layout->used ? aligned_alloc(ALIGN, layout->used) : NULL;
    if (layout->used && !*memory)
        return error_memory(error, layout->used, what);
    *layout = (struct layout){.base = *memory};
    return GOSS_OK;
}

static goss_status open_memory(struct backend *b, goss_error *error)
{
    struct layout layout = {NULL, 0, false};
    place_activations(&layout, b);
    goss_status status = allocate(&b->memory, &layout, "the activations", error);
    if (status)
        return status;
    place_activations(&layout, b);
    memset(b->chunks_done, 0, sizeof *b->chunks_done * (size_t)b->max_rows * b->model->config.n_kv_head);
    int threads = pool_threads(b->pool);
    b->scratch = calloc((size_t)threads, sizeof *b->scratch);
    if (!b->scratch)
        return error_memory(error, threads * sizeof *b->scratch, "the workers");
    for (int i = 0; i < threads; i++) {
        struct scratch *s = &b->scratch[i];
        layout = (struct layout){NULL, 0, false};
        place_scratch(&layout, b, s);
        status = allocate(&s->memory, &layout, "a worker's memory", error);
        if (status)
            return status;
        place_scratch(&layout, b, s);
    }
    return GOSS_OK;
}

static void cpu_close(struct backend *b)
{
    if (!b)
        return;
    for (int i = 0; b->scratch && i < pool_threads(b->pool); i++)
        free(b->scratch[i].memory);
    free(b->scratch);
    free(b->memory);
    kv_close(&b->kv);
    pool_close(b->pool);
    free(b);
}

static goss_status cpu_open(struct backend **out, const struct model *model, const struct backend_options *options,
                            goss_error *error)
{
    *out = NULL;
    goss_status status = backend_check(&model->config, options, error);
    if (status)
        return status;
    const struct model_config *c = &model->config;
    struct backend *b = calloc(1, sizeof *b);
    if (!b)
        return error_memory(error, sizeof *b, "the CPU backend");
    b->model = model;
    b->max_rows = options->max_rows;
    b->max_outputs = options->max_outputs;
    b->partial_chunks = options->pages;
    b->sum_columns = larger((size_t)b->max_rows * c->n_active, b->max_outputs);
    rope_init(&b->rope, c);
    status = kernels_pick(&b->kernels, options->isa, error);
    if (!status)
        status = pool_open(&b->pool, options->threads ? options->threads : pool_cores(), error);
    if (!status)
        status = kv_open(&b->kv, c, options->pages, options->rings, error);
    if (!status)
        status = open_memory(b, error);
    if (status) {
        cpu_close(b);
        return status;
    }
    *out = b;
    return GOSS_OK;
}

static void cpu_run(struct backend *b, void (*stages)(void *argument, int worker), void *argument)
{
    pool_run(b->pool, stages, argument);
}

/* Rows of another backend. */
struct guests {
    struct backend *backend;
    struct batch batch; /* only their number */
    int layer;
};

static void second_half(void *argument, int worker)
{
    const struct guests *guests = argument;
    cpu_route(guests->backend, worker, &guests->batch, guests->layer);
    cpu_experts(guests->backend, worker, &guests->batch, guests->layer);
}

static void cpu_mlp(struct backend *b, int layer, int n_row, float *x)
{
    float *own = b->x;
    b->x = x;
    pool_run(b->pool, second_half, &(struct guests){b, {.n_row = n_row}, layer});
    b->x = own;
}

static const char *cpu_isa(const struct backend *b)
{
    return b->kernels->name;
}

const struct backend_table cpu_backend = {
    .name = "cpu",
    .open = cpu_open,
    .close = cpu_close,
    .isa = cpu_isa,
    .kv_bytes = cpu_kv_bytes,
    .run = cpu_run,
    .embed = cpu_embed,
    .attn_in = cpu_attn_in,
    .attend = cpu_attend,
    .attn_out = cpu_attn_out,
    .route = cpu_route,
    .experts = cpu_experts,
    .unembed = cpu_unembed,
    .mlp = cpu_mlp,
    .copy_page = cpu_copy_page,
    .snapshot_bytes = cpu_snapshot_bytes,
    .save_ring = cpu_save_ring,
    .load_ring = cpu_load_ring,
};
