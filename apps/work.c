#include "work.h"

#include "weights/tile.h"

enum { KV_BYTES = 2 /* of one f16 */, KEY_AND_VALUE = 2, OPS = 2 /* a multiplication and an addition */ };

static uint64_t bytes_of(const struct matrix *matrix, int of_stack)
{
    return tile_bytes(matrix->type, (uint64_t)matrix->rows, (uint64_t)matrix->cols) * (uint64_t)of_stack;
}

uint64_t work_weight_bytes(const struct model *model)
{
    uint64_t bytes = bytes_of(&model->head, 1);
    int active = model->config.n_active;
    for (int i = 0; i < model->config.n_layer; i++) {
        const struct layer *layer = &model->layers[i];
        bytes += bytes_of(&layer->qkv, 1) + bytes_of(&layer->attn_out, 1) + bytes_of(&layer->router, 1) +
                 bytes_of(&layer->gate_up, active) + bytes_of(&layer->down, active);
    }
    return bytes;
}

/* Keys that the token at `position` sees on a layer. */
static double keys_seen(const struct model_config *config, int layer, int position)
{
    double keys = (double)position + 1;
    return config->sliding[layer] && keys > config->window ? config->window : keys;
}

/* The same, summed over the positions 0 .. n-1. */
static double keys_seen_by_all(const struct model_config *config, int layer, int n)
{
    int full = config->sliding[layer] && n > config->window ? config->window : n;
    return (double)full * (full + 1) / 2 + (double)(n - full) * config->window;
}

uint64_t work_kv_bytes(const struct model *model, int depth)
{
    const struct model_config *config = &model->config;
    uint64_t bytes = 0, row = KV_BYTES * KEY_AND_VALUE * (uint64_t)config->n_kv_head * (uint64_t)config->head_dim;
    for (int i = 0; i < config->n_layer; i++)
        bytes += (uint64_t)keys_seen(config, i, depth) * row;
    return bytes;
}

static double ops_of(const struct matrix *matrix, int times)
{
    return (double)OPS * matrix->rows * matrix->cols * times;
}

double work_prompt_ops(const struct model *model, int n)
{
    const struct model_config *config = &model->config;
    double token = 0, attention = 0, key = (double)OPS * KEY_AND_VALUE * config->n_head * config->head_dim;
    for (int i = 0; i < config->n_layer; i++) {
        const struct layer *layer = &model->layers[i];
        token += ops_of(&layer->qkv, 1) + ops_of(&layer->attn_out, 1) + ops_of(&layer->router, 1) +
                 ops_of(&layer->gate_up, config->n_active) + ops_of(&layer->down, config->n_active);
        attention += keys_seen_by_all(config, i, n) * key;
    }
    return token * n + attention + ops_of(&model->head, 1);
}
