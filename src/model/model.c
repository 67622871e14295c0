#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/system.h"
#include "text/tokenizer.h"
#include "weights/packed.h"
#include "weights/tile.h"

enum { DENSE = 1 << DTYPE_TILE_Q8 | 1 << DTYPE_TILE_BF16, EXPERTS = DENSE | 1 << DTYPE_TILE_MXFP4 };

/* Finding the sections of a packed file: the first fault is kept and later calls do nothing. */
struct finder {
    const struct packed *packed;
    const char *file;
    int layer; /* -1: the global ones */
    goss_status status;
    goss_error *error;
};

static const struct packed_section *find(struct finder *f, const char *name, int count, int rows, int cols)
{
    char full[64];
    if (f->layer < 0)
        (void)snprintf(full, sizeof full, "%s", name);
    else
        (void)snprintf(full, sizeof full, "layer.%d.%s", f->layer, name);
    if (f->status)
        return NULL;
    const struct packed_section *s = packed_find(f->packed, full);
    if (!s)
        f->status = error_set(f->error, GOSS_E_FORMAT, "%s: section '%s' is missing", f->file, full);
    else if (s->count != (uint64_t)count || s->rows != (uint64_t)rows || s->cols != (uint64_t)cols)
        f->status = error_set(f->error, GOSS_E_FORMAT,
                              "%s: section '%s': %llu of %llu x %llu, but the configuration needs %d of %d x %d",
                              f->file, full, (unsigned long long)s->count, (unsigned long long)s->rows,
                              (unsigned long long)s->cols, count, rows, cols);
    return f->status ? NULL : s;
}

static void refuse_type(struct finder *f, const struct packed_section *s)
{
    f->status = error_set(f->error, GOSS_E_FORMAT, "%s: section '%s': type %s cannot be used here", f->file, s->name,
                          dtype_name(s->type));
}

/* [count][n] */
static const float *vectors(struct finder *f, const char *name, int count, int n)
{
    const struct packed_section *s = find(f, name, count, n, 1);
    if (s && s->type != DTYPE_F32)
        refuse_type(f, s);
    return !s || f->status ? NULL : (const float *)packed_data(f->packed, s);
}

/* `types`: a bit for each type that is allowed. */
static struct matrix matrices(struct finder *f, const char *name, unsigned types, int count, int rows, int cols)
{
    const struct packed_section *s = find(f, name, count, rows, cols);
    if (s && !(types >> s->type & 1))
        refuse_type(f, s);
    if (!s || f->status)
        return (struct matrix){0};
    const uint8_t *data = packed_data(f->packed, s);
    uint64_t plane = tile_quant_bytes(s->type, s->rows, s->cols), scales = tile_scale_bytes(s->type, s->rows, s->cols);
    return (struct matrix){.type = s->type,
                           .rows = rows,
                           .cols = cols,
                           .count = count,
                           .stride = plane + scales,
                           .quants = data,
                           .scales = scales ? data + plane : NULL};
}

static void find_layer(struct finder *f, const struct model_config *c, struct layer *layer)
{
    int q = c->n_head * c->head_dim, qkv = q + 2 * c->n_kv_head * c->head_dim;
    layer->attn_norm = vectors(f, "attn_norm", 1, c->d_model);
    layer->qkv = matrices(f, "qkv", DENSE, 1, qkv, c->d_model);
    layer->qkv_bias = vectors(f, "qkv_bias", 1, qkv);
    layer->sinks = vectors(f, "sinks", 1, c->n_head);
    layer->attn_out = matrices(f, "attn_out", DENSE, 1, c->d_model, q);
    layer->attn_out_bias = vectors(f, "attn_out_bias", 1, c->d_model);
    layer->mlp_norm = vectors(f, "mlp_norm", 1, c->d_model);
    layer->router = matrices(f, "router", 1 << DTYPE_TILE_F32, 1, c->n_expert, c->d_model);
    layer->router_bias = vectors(f, "router_bias", 1, c->n_expert);
    layer->gate_up = matrices(f, "gate_up", EXPERTS, c->n_expert, 2 * c->d_ff, c->d_model);
    layer->gate_up_bias = vectors(f, "gate_up_bias", c->n_expert, 2 * c->d_ff);
    layer->down = matrices(f, "down", EXPERTS, c->n_expert, c->d_model, c->d_ff);
    layer->down_bias = vectors(f, "down_bias", c->n_expert, c->d_model);
}

static goss_status find_sections(struct model *m, const char *file, goss_error *error)
{
    const struct model_config *c = &m->config;
    struct finder f = {.packed = m->file, .file = file, .layer = -1, .error = error};
    const struct packed_section *embedding = find(&f, "embedding", 1, c->n_vocab, c->d_model);
    if (embedding && embedding->type != DTYPE_Q8_0 && embedding->type != DTYPE_BF16)
        refuse_type(&f, embedding);
    m->final_norm = vectors(&f, "final_norm", 1, c->d_model);
    m->head = matrices(&f, "head", DENSE, 1, c->n_vocab, c->d_model);
    for (f.layer = 0; f.layer < c->n_layer && f.status == GOSS_OK; f.layer++)
        find_layer(&f, c, &m->layers[f.layer]);
    if (!embedding || f.status)
        return f.status;
    m->embedding = packed_data(m->file, embedding);
    m->embedding_type = embedding->type;
    const struct packed_section *tables = packed_find(m->file, "tokenizer");
    if (!tables)
        return GOSS_OK;
    if (tables->type != DTYPE_U8) {
        refuse_type(&f, tables);
        return f.status;
    }
    goss_status status = tokenizer_load(&m->tokenizer, packed_data(m->file, tables), tables->bytes, file, error);
    if (status == GOSS_OK && tokenizer_size(m->tokenizer) > c->n_vocab)
        status = error_set(error, GOSS_E_FORMAT, "%s: the tokenizer has %d ids, the model only %d", file,
                           tokenizer_size(m->tokenizer), c->n_vocab);
    return status;
}

goss_status model_open_packed(struct model **out, const char *path, goss_error *error)
{
    *out = NULL;
    struct model *m = calloc(1, sizeof *m);
    if (!m)
        return error_memory(error, sizeof *m, path);
    goss_status status = packed_open(&m->file, path, error);
    if (status == GOSS_OK)
        status = model_config_load(&m->config, json_object_get(m->file->header, "config"), path, error);
    if (status == GOSS_OK) {
        m->layers = calloc((size_t)m->config.n_layer, sizeof *m->layers);
        status = m->layers ? find_sections(m, path, error)
                           : error_memory(error, (size_t)m->config.n_layer * sizeof *m->layers, path);
    }
    if (status) {
        model_close(m);
        return status;
    }
    *out = m;
    return GOSS_OK;
}

goss_status model_copy(struct model *model, struct pack_progress *progress, goss_error *error)
{
    struct file_map *map = &model->file->map;
    struct system_limits limits;
    system_limits("", &limits);
    if (map->size > limits.memory_free_bytes)
        return error_set(error, GOSS_E_MEMORY, "%s: a copy of the weights needs %.1f GiB of memory, and %.1f are free",
                         map->path, (double)map->size / (1 << 30), (double)limits.memory_free_bytes / (1 << 30));
    if (progress)
        atomic_store(&progress->total, map->size);
    return file_map_copy(map, progress ? &progress->done : NULL, progress ? &progress->cancel : NULL, error);
}

void model_close(struct model *m)
{
    if (!m)
        return;
    tokenizer_close(m->tokenizer);
    free(m->layers);
    packed_close(m->file);
    free(m);
}
