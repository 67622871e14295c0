#include "support/toy_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/fmath.h"
#include "base/random.h"
#include "weights/tile.h"

struct toy {
    struct model model; /* first: a pointer to it is one to the toy */
    struct arena arena;
    uint64_t seed, drawn;
};

/* Uniform in [-1, 1). */
static float draw(struct toy *toy)
{
    return (float)(2.0 * random_uniform(toy->seed, toy->drawn++, 0) - 1.0);
}

static uint8_t *bytes(struct toy *toy, size_t n)
{
    uint8_t *p = arena_alloc(&toy->arena, n + 64);
    if (!p)
        abort();
    return (uint8_t *)(((uintptr_t)p + 63) / 64 * 64);
}

static const float *floats(struct toy *toy, int n, float mean, float spread)
{
    float *x = (float *)bytes(toy, (size_t)n * sizeof *x);
    for (int i = 0; i < n; i++)
        x[i] = mean + spread * draw(toy);
    return x;
}

static void fill_tile(struct toy *toy, const struct matrix *m, uint8_t *quants, uint8_t *scales)
{
    float spread = 1.7f / sqrtf((float)m->cols);
    uint64_t n = tile_quant_bytes(m->type, m->rows, m->cols), ns = tile_scale_bytes(m->type, m->rows, m->cols);
    uint32_t word[4];
    for (uint64_t i = 0; i < n; i += 4) {
        random_words(toy->seed, toy->drawn++, 1, word);
        float w = spread * (float)((int32_t)word[0] >> 8) * 0x1p-23f;
        uint16_t half[2] = {f32_to_bf16(w), f32_to_bf16(w * (float)(word[1] & 1023) * 0x1p-9f)};
        if (m->type == DTYPE_TILE_F32)
            memcpy(quants + i, &w, 4);
        else
            memcpy(quants + i, m->type == DTYPE_TILE_BF16 ? (void *)half : (void *)word, 4);
    }
    int center = 126 - (int)log2f(2.6f * sqrtf((float)m->cols));
    for (uint64_t i = 0; i < ns; i++) {
        uint16_t half = f32_to_f16((1.0f + 0.5f * draw(toy)) * spread / 127.0f);
        if (m->type == DTYPE_TILE_MXFP4)
            scales[i] = (uint8_t)(center + (int)(1.5f * draw(toy)));
        else if (i % 2 == 0)
            memcpy(scales + i, &half, 2);
    }
}

static struct matrix random_matrix(struct toy *toy, enum dtype type, int rows, int cols, int count)
{
    uint64_t quants = tile_quant_bytes(type, rows, cols), stride = tile_bytes(type, rows, cols);
    uint8_t *p = bytes(toy, stride * count);
    bool scaled = type == DTYPE_TILE_MXFP4 || type == DTYPE_TILE_Q8;
    struct matrix m = {.type = type, .rows = rows, .cols = cols, .count = count, .stride = stride, .quants = p};
    m.scales = scaled ? p + quants : NULL;
    for (int i = 0; i < count; i++)
        fill_tile(toy, &m, p + i * stride, p + i * stride + quants);
    return m;
}

static void random_layer(struct toy *toy, struct layer *l, const struct toy_shape *s, enum dtype experts)
{
    int qkv = (s->n_head + 2 * s->n_kv_head) * s->head_dim;
    l->attn_norm = floats(toy, s->d_model, 1.0f, 0.3f);
    l->qkv = random_matrix(toy, s->dense, qkv, s->d_model, 1);
    l->qkv_bias = floats(toy, qkv, 0.0f, 0.5f);
    l->sinks = floats(toy, s->n_head, 0.0f, 2.0f);
    l->attn_out = random_matrix(toy, s->dense, s->d_model, s->n_head * s->head_dim, 1);
    l->attn_out_bias = floats(toy, s->d_model, 0.0f, 0.2f);
    l->mlp_norm = floats(toy, s->d_model, 1.0f, 0.3f);
    l->router = random_matrix(toy, DTYPE_TILE_F32, s->n_expert, s->d_model, 1);
    l->router_bias = floats(toy, s->n_expert, 0.0f, 0.3f);
    l->gate_up = random_matrix(toy, experts, 2 * s->d_ff, s->d_model, s->n_expert);
    l->gate_up_bias = floats(toy, s->n_expert * 2 * s->d_ff, 0.0f, 0.5f);
    l->down = random_matrix(toy, experts, s->d_model, s->d_ff, s->n_expert);
    l->down_bias = floats(toy, s->n_expert * s->d_model, 0.0f, 0.2f);
}

struct toy_shape toy_shape_default(void)
{
    return (struct toy_shape){
        .n_layer = 4,
        .d_model = 96,
        .n_head = 6,
        .n_kv_head = 2,
        .head_dim = 32,
        .d_ff = 64,
        .n_expert = 7,
        .n_active = 3,
        .n_vocab = 90,
        .window = 20,
        .dense = DTYPE_TILE_Q8,
        .experts = DTYPE_TILE_MXFP4,
        .seed = 1,
    };
}

static struct model_config config_of(const struct toy_shape *s)
{
    struct model_config c = {
        .n_layer = s->n_layer,
        .d_model = s->d_model,
        .n_head = s->n_head,
        .n_kv_head = s->n_kv_head,
        .head_dim = s->head_dim,
        .d_ff = s->d_ff,
        .n_expert = s->n_expert,
        .n_active = s->n_active,
        .n_vocab = s->n_vocab,
        .window = s->window,
        .max_context = 131072,
        .rms_eps = 1e-5f,
        .swiglu_limit = 7.0f,
        .yarn = true,
        .rope_theta = 150000.0,
        .yarn_factor = 32.0,
        .yarn_beta_fast = 32.0,
        .yarn_beta_slow = 1.0,
        .yarn_context = 4096,
    };
    for (int l = 0; l < s->n_layer; l++)
        c.sliding[l] = l % 2 == 0;
    return c;
}

struct model *toy_model_open(const struct toy_shape *s)
{
    struct toy *toy = calloc(1, sizeof *toy);
    if (!toy)
        abort();
    toy->seed = s->seed;
    struct model *m = &toy->model;
    m->config = config_of(s);
    m->layers = (struct layer *)bytes(toy, (size_t)s->n_layer * sizeof *m->layers);
    for (int l = 0; l < s->n_layer; l++)
        random_layer(toy, &m->layers[l], s, l == s->n_layer - 1 && s->last_experts ? s->last_experts : s->experts);
    m->final_norm = floats(toy, s->d_model, 1.0f, 0.3f);
    m->head = random_matrix(toy, s->dense, s->n_vocab, s->d_model, 1);
    m->embedding_type = s->dense == DTYPE_TILE_Q8 ? DTYPE_Q8_0 : DTYPE_BF16;
    size_t blocks = (size_t)s->n_vocab * s->d_model / 32;
    uint8_t *table = bytes(toy, blocks * 64);
    for (size_t b = 0; b < blocks; b++)
        for (int i = 0; i < 32; i++) {
            uint16_t half = f32_to_f16(1.0f / 64.0f), value = f32_to_bf16(draw(toy));
            if (m->embedding_type == DTYPE_BF16) {
                memcpy(table + (b * 32 + i) * 2, &value, 2);
                continue;
            }
            memcpy(table + b * 34, &half, 2);
            table[b * 34 + 2 + i] = (uint8_t)(int8_t)(127.0f * draw(toy));
        }
    m->embedding = table;
    return m;
}

void toy_model_close(struct model *model)
{
    struct toy *toy = (struct toy *)model;
    arena_free(&toy->arena);
    free(toy);
}
