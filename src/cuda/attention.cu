/* Attention's plan of a step, its memory, and the stage itself. */
#include "cuda/attention.h"

#include <stdlib.h>

static int group_size(const struct model_config *c)
{
    return c->n_head / c->n_kv_head;
}

static bool is_few(const struct batch_sequence *s)
{
    return s->n_row <= FEW_ROWS;
}

/* The tile of the first key that rows from `position` on see on a sliding layer. */
static int first_stage_tile(const struct model_config *c, int position)
{
    return (position < c->window ? 0 : position - c->window + 1) / KEY_TILE;
}

static struct plan place_plan(struct layout *layout, const struct backend *b)
{
    struct plan plan = {};
    PLACE(layout, plan.few, b->max_rows, 1);
    PLACE(layout, plan.tile, b->attention->most_tiles, 1);
    PLACE(layout, plan.stage_place, b->max_sequences, 1);
    return plan;
}

static struct plan plan_in(const struct backend *b, uint8_t *memory)
{
    struct layout layout = {memory, 0, false};
    return place_plan(&layout, b);
}

static void attend_sizes(const struct backend *b, int pages, struct attention *a)
{
    const struct model_config *c = &b->model->config;
    int n = b->max_rows / (FEW_ROWS + 1); /* most sequences of a step that have more than a few rows */
    int many = n < b->max_sequences ? n : b->max_sequences, context = (c->max_context + KEY_CHUNK - 1) / KEY_CHUNK;
    a->most_tiles = (int)((int64_t)b->max_rows * group_size(c) / VECTORS) + many;
    a->stage_tiles = b->max_rows / KEY_TILE + many * (c->window / KEY_TILE + 3);
    a->most_pairs = FEW_ROWS * (pages < context ? pages : context);
    struct layout plan = {};
    place_plan(&plan, b);
    a->plan_bytes = plan.used;
}

goss_status attend_open(struct backend *b, const struct backend_options *options, goss_error *error)
{
    struct attention *a = (struct attention *)calloc(1, sizeof *a);
    b->attention = a;
    if (!a)
        return error_memory(error, sizeof *a, "attention");
    attend_sizes(b, options->pages, a);
    int d = b->model->config.head_dim;
    size_t few = attend_few_bytes(d), many = attend_many_bytes(d), most = few > many ? few : many;
    if (most > (size_t)b->shared_limit)
        return error_set(error, GOSS_E_UNSUPPORTED,
                         "CUDA: attention with a head_dim of %d needs %zu bytes of shared memory, %s has %d", d, most,
                         b->name, b->shared_limit);
    return CUDA_STATUS(cudaMallocHost((void **)&a->staging, a->plan_bytes), error);
}

void attend_place(struct layout *layout, struct backend *b)
{
    const struct model_config *c = &b->model->config;
    struct attention *a = b->attention;
    PLACE(layout, a->device, a->plan_bytes, 1);
    PLACE(layout, a->stage, (size_t)c->n_kv_head * a->stage_tiles, (size_t)2 * KEY_TILE * c->head_dim);
    PLACE(layout, a->partial, a->most_pairs, (size_t)c->n_head * c->head_dim);
    PLACE(layout, a->partial_max, a->most_pairs, c->n_head);
    PLACE(layout, a->partial_sum, a->most_pairs, c->n_head);
    PLACE(layout, a->snapshot, kv_snapshot_bytes(c) / sizeof *a->snapshot, 1);
}

void attend_close(struct backend *b)
{
    if (b->attention)
        (void)cudaFreeHost(b->attention->staging);
    free(b->attention);
}

/* Full layers: whether every chunk gets a CTA of its own, with room for how many of a row, a power of two so that
 * a captured step can be used again. */
static int split_chunks(const struct backend *b, int rows, int chunks)
{
    const struct model_config *c = &b->model->config;
    int whole = rows * c->n_kv_head * ((group_size(c) + 7) / 8), room = 4;
    if (chunks <= 2 || whole >= 2 * b->multiprocessors)
        return 0;
    while (room < chunks)
        room *= 2;
    return (int64_t)rows * room <= b->attention->most_pairs ? room : 0;
}

/* The tiles of one sequence, from its last rows on. */
static void cut_tiles(const struct backend *b, const struct batch_sequence *s, int sequence, struct query_tile *tile)
{
    int vectors = s->n_row * group_size(&b->model->config), n = (vectors + VECTORS - 1) / VECTORS;
    for (int i = 0; i < n; i++)
        tile[i] = {sequence, (n - 1 - i) * VECTORS};
    b->attention->n_tile += n;
}

int attend_plan(struct backend *b, const struct batch *batch)
{
    struct attention *a = b->attention;
    struct plan plan = plan_in(b, a->staging);
    int stage = 0, chunks = 0;
    a->n_few = a->n_tile = a->most_rows = 0;
    for (int i = 0; i < batch->n_sequence; i++) {
        const struct batch_sequence *s = &batch->sequence[i];
        int last = s->first_position + s->n_row - 1;
        a->most_rows = s->n_row > a->most_rows ? s->n_row : a->most_rows;
        if (is_few(s)) {
            chunks = last / KEY_CHUNK + 1 > chunks ? last / KEY_CHUNK + 1 : chunks;
            for (int row = 0; row < s->n_row; row++)
                plan.few[a->n_few++] = s->first_row + row;
            continue;
        }
        int first = first_stage_tile(&b->model->config, s->first_position);
        plan.stage_place[i] = stage - first;
        stage += last / KEY_TILE + 1 - first;
        cut_tiles(b, s, i, plan.tile + a->n_tile);
    }
    a->chunks = split_chunks(b, a->n_few, chunks);
    if (batch->n_row > FEW_ROWS) /* else all rows are few, in order */
        keep_first(b, cudaMemcpyAsync(a->device, a->staging, a->plan_bytes, cudaMemcpyHostToDevice, b->stream));
    return a->chunks;
}

struct attention_layer attention_of(const struct backend *b, int layer)
{
    const struct model_config *c = &b->model->config;
    return {.kv = b->kv,
            .batch = b->batch,
            .n_head = c->n_head,
            .group = group_size(c),
            .slot = b->slot[layer],
            .window = c->window,
            .sliding = c->sliding[layer],
            .query = b->a.q_rows,
            .sinks = b->weights.layers[layer].sinks,
            .attended = b->a.attended,
            .plan = plan_in(b, b->attention->device),
            .stage = b->attention->stage,
            .stage_tiles = b->attention->stage_tiles};
}

void attend_stage(struct backend *b, int layer)
{
    struct attention_layer a = attention_of(b, layer);
    if (b->attention->n_few > 0)
        attend_few(b, a);
    if (b->attention->n_tile > 0)
        attend_many(b, a);
}
