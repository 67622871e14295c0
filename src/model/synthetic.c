#include "model/synthetic.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/fmath.h"
#include "base/random.h"
#include "weights/tile.h"

enum { ALIGNED = 64, DRAWN = 4 /* words at a time */ };

struct synthetic {
    struct model model; /* first: a pointer to it is one to the whole */
    struct arena arena;
    bool failed; /* memory was out; nothing is filled in from then on */
    uint64_t seed, drawn;
};

static void draw_words(struct synthetic *s, uint32_t word[DRAWN])
{
    random_words(s->seed, s->drawn++, 0, word);
}

/* Uniform in [-1, 1). */
static float uniform(uint32_t word)
{
    return (float)((int32_t)word >> 8) * 0x1p-23f;
}

static float draw(struct synthetic *s)
{
    uint32_t word[DRAWN];
    draw_words(s, word);
    return uniform(word[0]);
}

/* NULL when memory is out. */
static uint8_t *bytes(struct synthetic *s, size_t n)
{
    uint8_t *p = s->failed ? NULL : arena_alloc(&s->arena, n + ALIGNED);
    s->failed = !p;
    return p ? p + (ALIGNED - (uintptr_t)p % ALIGNED) % ALIGNED : NULL;
}

static const float *floats(struct synthetic *s, int n, float mean, float spread)
{
    float *x = (float *)(void *)bytes(s, (size_t)n * sizeof *x);
    for (int i = 0; x && i < n; i++)
        x[i] = mean + spread * draw(s);
    return x;
}

/* n bytes, a multiple of 16. */
static void fill_quants(struct synthetic *s, enum dtype type, float spread, uint8_t *quants, uint64_t n)
{
    for (uint64_t i = 0; i < n; i += DRAWN * sizeof(uint32_t)) {
        uint32_t word[DRAWN];
        draw_words(s, word);
        for (int k = 0; k < DRAWN; k++) {
            float w = spread * uniform(word[k]);
            uint16_t half[2] = {f32_to_bf16(w), f32_to_bf16(w * (float)(word[k] & 255) * 0x1p-7f)};
            if (type == DTYPE_TILE_F32)
                memcpy(&word[k], &w, sizeof w);
            else if (type == DTYPE_TILE_BF16)
                memcpy(&word[k], half, sizeof half);
        }
        memcpy(quants + i, word, sizeof word);
    }
}

/* Scales that keep a product's results near one. */
static void fill_scales(struct synthetic *s, const struct matrix *m, float spread, uint8_t *scales, uint64_t n)
{
    int center = 126 - (int)log2f(2.6f * sqrtf((float)m->cols));
    for (uint64_t i = 0; i < n; i += m->type == DTYPE_TILE_Q8 ? 2 : 1) {
        float x = draw(s);
        uint16_t half = f32_to_f16((1.0f + 0.5f * x) * spread / 127.0f);
        if (m->type == DTYPE_TILE_Q8)
            memcpy(scales + i, &half, sizeof half);
        else
            scales[i] = (uint8_t)(center + (int)(1.5f * x));
    }
}

static struct matrix random_matrix(struct synthetic *s, enum dtype type, int rows, int cols, int count)
{
    uint64_t quants = tile_quant_bytes(type, rows, cols), scales = tile_scale_bytes(type, rows, cols);
    uint64_t stride = tile_bytes(type, rows, cols);
    uint8_t *p = bytes(s, stride * (uint64_t)count);
    float spread = 1.7f / sqrtf((float)cols);
    struct matrix m = {.type = type, .rows = rows, .cols = cols, .count = count, .stride = stride, .quants = p};
    m.scales = p && scales ? p + quants : NULL;
    for (int i = 0; p && i < count; i++, p += stride) {
        fill_quants(s, type, spread, p, quants);
        fill_scales(s, &m, spread, p + quants, scales);
    }
    return m;
}

static void random_layer(struct synthetic *s, struct layer *l, const struct synthetic_shape *shape, enum dtype experts)
{
    int qkv = (shape->n_head + 2 * shape->n_kv_head) * shape->head_dim;
    l->attn_norm = floats(s, shape->d_model, 1.0f, 0.3f);
    l->qkv = random_matrix(s, shape->dense, qkv, shape->d_model, 1);
    l->qkv_bias = floats(s, qkv, 0.0f, 0.5f);
    l->sinks = floats(s, shape->n_head, 0.0f, 2.0f);
    l->attn_out = random_matrix(s, shape->dense, shape->d_model, shape->n_head * shape->head_dim, 1);
    l->attn_out_bias = floats(s, shape->d_model, 0.0f, 0.2f);
    l->mlp_norm = floats(s, shape->d_model, 1.0f, 0.3f);
    l->router = random_matrix(s, DTYPE_TILE_F32, shape->n_expert, shape->d_model, 1);
    l->router_bias = floats(s, shape->n_expert, 0.0f, 0.3f);
    l->gate_up = random_matrix(s, experts, 2 * shape->d_ff, shape->d_model, shape->n_expert);
    l->gate_up_bias = floats(s, shape->n_expert * 2 * shape->d_ff, 0.0f, 0.5f);
    l->down = random_matrix(s, experts, shape->d_model, shape->d_ff, shape->n_expert);
    l->down_bias = floats(s, shape->n_expert * shape->d_model, 0.0f, 0.2f);
}

/* Q8_0 blocks of one scale, or BF16. */
static const uint8_t *random_embedding(struct synthetic *s, enum dtype type, int n_vocab, int d_model)
{
    size_t blocks = (size_t)n_vocab * (size_t)d_model / 32;
    uint8_t *table = bytes(s, blocks * (type == DTYPE_Q8_0 ? Q8_0_BYTES : 64));
    const uint16_t scale = f32_to_f16(1.0f / 64.0f);
    for (size_t b = 0; table && b < blocks; b++) {
        uint32_t word[8];
        draw_words(s, word);
        draw_words(s, word + DRAWN);
        if (type == DTYPE_Q8_0) {
            memcpy(table + b * Q8_0_BYTES, &scale, sizeof scale);
            memcpy(table + b * Q8_0_BYTES + sizeof scale, word, sizeof word);
            continue;
        }
        for (int i = 0; i < 32; i++) {
            uint16_t value = f32_to_bf16(uniform(word[i / 4] << (8 * (i % 4))));
            memcpy(table + (b * 32 + (size_t)i) * sizeof value, &value, sizeof value);
        }
    }
    return table;
}

struct synthetic_shape synthetic_small(void)
{
    return (struct synthetic_shape){
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

struct synthetic_shape synthetic_20b(void)
{
    return (struct synthetic_shape){
        .n_layer = 24,
        .d_model = 2880,
        .n_head = 64,
        .n_kv_head = 8,
        .head_dim = 64,
        .d_ff = 2880,
        .n_expert = 32,
        .n_active = 4,
        .n_vocab = 201088,
        .window = 128,
        .dense = DTYPE_TILE_Q8,
        .experts = DTYPE_TILE_MXFP4,
        .seed = 20,
    };
}

struct synthetic_shape synthetic_120b(void)
{
    struct synthetic_shape shape = synthetic_20b();
    shape.n_layer = 36;
    shape.n_expert = 128;
    return shape;
}

struct model_config synthetic_config(const struct synthetic_shape *shape)
{
    struct model_config c = {
        .n_layer = shape->n_layer,
        .d_model = shape->d_model,
        .n_head = shape->n_head,
        .n_kv_head = shape->n_kv_head,
        .head_dim = shape->head_dim,
        .d_ff = shape->d_ff,
        .n_expert = shape->n_expert,
        .n_active = shape->n_active,
        .n_vocab = shape->n_vocab,
        .window = shape->window,
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
    for (int l = 0; l < shape->n_layer; l += 2)
        c.sliding[l] = true;
    return c;
}

struct model *synthetic_open(const struct synthetic_shape *shape)
{
    struct synthetic *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->seed = shape->seed;
    struct model *m = &s->model;
    m->config = synthetic_config(shape);
    m->layers = (struct layer *)(void *)bytes(s, (size_t)shape->n_layer * sizeof *m->layers);
    for (int l = 0; m->layers && l < shape->n_layer; l++) {
        bool last = l == shape->n_layer - 1 && shape->last_experts;
        if (l > 0 && shape->repeat)
            m->layers[l] = m->layers[0];
        else
            random_layer(s, &m->layers[l], shape, last ? shape->last_experts : shape->experts);
    }
    m->final_norm = floats(s, shape->d_model, 1.0f, 0.3f);
    m->head = random_matrix(s, shape->dense, shape->n_vocab, shape->d_model, 1);
    m->embedding_type = shape->dense == DTYPE_TILE_Q8 ? DTYPE_Q8_0 : DTYPE_BF16;
    m->embedding = random_embedding(s, m->embedding_type, shape->n_vocab, shape->d_model);
    if (s->failed) {
        synthetic_close(m);
        return NULL;
    }
    return m;
}

void synthetic_close(struct model *model)
{
    struct synthetic *s = (struct synthetic *)model;
    if (!s)
        return;
    arena_free(&s->arena);
    free(s);
}
