#include "synthetic.h"

#include <stdlib.h>
#include <string.h>

#include "base/fmath.h"
#include "weights/tile.h"

/* xorshift64*: fast, and the same everywhere. */
static uint64_t draw(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545F4914F6CDD1Du;
}

struct maker {
    uint64_t state;
    void *block[32]; /* owned by the model */
    int n_block;
};

struct synthetic {
    struct model model; /* first: a pointer to it is one to the whole */
    struct maker maker;
};

static uint8_t *bytes(struct maker *m, uint64_t n)
{
    uint8_t *p = aligned_alloc(64, (n + 127) / 64 * 64);
    if (!p)
        abort();
    m->block[m->n_block++] = p;
    return p;
}

static const float *floats(struct maker *m, int n, float mean, float spread)
{
    float *x = (float *)(void *)bytes(m, (uint64_t)n * sizeof *x);
    for (int i = 0; i < n; i++)
        x[i] = mean + spread * ((float)(draw(&m->state) >> 40) * 0x1p-23f - 1.0f);
    return x;
}

static void fill(struct maker *m, uint8_t *p, uint64_t n)
{
    for (uint64_t i = 0; i + 8 <= n; i += 8) {
        uint64_t word = draw(&m->state);
        memcpy(p + i, &word, 8);
    }
}

/* Scales that keep a product's results near one. */
static void fill_scales(struct maker *m, enum dtype type, int cols, uint8_t *p, uint64_t n)
{
    int root = 1;
    while (root * root < cols)
        root++;
    int center = 126;
    for (int i = 2; i < 3 * root; i *= 2)
        center--;
    for (uint64_t i = 0; i < n; i += type == DTYPE_TILE_Q8 ? 2 : 1) {
        uint16_t half = f32_to_f16((1.0f + (float)(draw(&m->state) >> 60) * 0x1p-4f) / (127.0f * (float)root));
        if (type == DTYPE_TILE_Q8)
            memcpy(p + i, &half, 2);
        else
            p[i] = (uint8_t)(center + (int)(draw(&m->state) >> 63));
    }
}

static struct matrix matrix(struct maker *m, enum dtype type, int rows, int cols, int count)
{
    uint64_t quants = tile_quant_bytes(type, rows, cols), stride = tile_bytes(type, rows, cols);
    uint8_t *p = bytes(m, stride * count);
    for (int i = 0; i < count; i++) {
        uint8_t *at = p + i * stride;
        if (type == DTYPE_TILE_F32) {
            const float scale = 0x1p-31f / 16.0f;
            for (uint64_t k = 0; k < quants; k += 4) {
                float w = (float)(int32_t)(draw(&m->state) >> 32) * scale;
                memcpy(at + k, &w, 4);
            }
        } else {
            fill(m, at, quants);
            fill_scales(m, type, cols, at + quants, stride - quants);
        }
    }
    struct matrix made = {.type = type, .rows = rows, .cols = cols, .count = count, .stride = stride, .quants = p};
    made.scales = type == DTYPE_TILE_F32 ? NULL : p + quants;
    return made;
}

static void make_layer(struct maker *m, const struct model_config *c, struct layer *l)
{
    int heads = c->n_head * c->head_dim, qkv = heads + 2 * c->n_kv_head * c->head_dim;
    l->attn_norm = floats(m, c->d_model, 1.0f, 0.3f);
    l->qkv = matrix(m, DTYPE_TILE_Q8, qkv, c->d_model, 1);
    l->qkv_bias = floats(m, qkv, 0.0f, 0.3f);
    l->sinks = floats(m, c->n_head, 0.0f, 1.0f);
    l->attn_out = matrix(m, DTYPE_TILE_Q8, c->d_model, heads, 1);
    l->attn_out_bias = floats(m, c->d_model, 0.0f, 0.2f);
    l->mlp_norm = floats(m, c->d_model, 1.0f, 0.3f);
    l->router = matrix(m, DTYPE_TILE_F32, c->n_expert, c->d_model, 1);
    l->router_bias = floats(m, c->n_expert, 0.0f, 0.3f);
    l->gate_up = matrix(m, DTYPE_TILE_MXFP4, 2 * c->d_ff, c->d_model, c->n_expert);
    l->gate_up_bias = floats(m, c->n_expert * 2 * c->d_ff, 0.0f, 0.3f);
    l->down = matrix(m, DTYPE_TILE_MXFP4, c->d_model, c->d_ff, c->n_expert);
    l->down_bias = floats(m, c->n_expert * c->d_model, 0.0f, 0.2f);
}

static struct model_config config_of(const char *name)
{
    struct model_config c = {.n_layer = 24,
                             .d_model = 2880,
                             .n_head = 64,
                             .n_kv_head = 8,
                             .head_dim = 64,
                             .d_ff = 2880,
                             .n_expert = 32,
                             .n_active = 4,
                             .n_vocab = 201088,
                             .window = 128,
                             .max_context = 131072,
                             .rms_eps = 1e-5f,
                             .swiglu_limit = 7.0f,
                             .yarn = true,
                             .rope_theta = 150000.0,
                             .yarn_factor = 32.0,
                             .yarn_beta_fast = 32.0,
                             .yarn_beta_slow = 1.0,
                             .yarn_context = 4096};
    if (strcmp(name, "120b") == 0) {
        c.n_layer = 36;
        c.n_expert = 128;
    } else if (strcmp(name, "tiny") == 0) {
        c.n_layer = 2;
        c.d_model = 576;
        c.n_head = 8;
        c.n_kv_head = 2;
        c.d_ff = 96;
        c.n_expert = 8;
        c.n_vocab = 320;
        c.window = 16;
    } else if (strcmp(name, "20b") != 0) {
        c.n_layer = 0;
    }
    for (int l = 0; l < c.n_layer; l += 2)
        c.sliding[l] = true;
    return c;
}

struct model *synthetic_open(const char *name)
{
    struct model_config c = config_of(name);
    struct synthetic *s = c.n_layer ? calloc(1, sizeof *s) : NULL;
    if (!s)
        return NULL;
    struct model *m = &s->model;
    s->maker.state = 20;
    m->config = c;
    m->layers = calloc((size_t)c.n_layer, sizeof *m->layers);
    if (!m->layers)
        abort();
    make_layer(&s->maker, &c, &m->layers[0]);
    for (int l = 1; l < c.n_layer; l++)
        m->layers[l] = m->layers[0];
    m->final_norm = floats(&s->maker, c.d_model, 1.0f, 0.3f);
    m->head = matrix(&s->maker, DTYPE_TILE_Q8, c.n_vocab, c.d_model, 1);
    m->embedding_type = DTYPE_Q8_0;
    uint64_t blocks = (uint64_t)c.n_vocab * c.d_model / 32;
    uint8_t *table = bytes(&s->maker, blocks * Q8_0_BYTES);
    uint16_t scale = f32_to_f16(1.0f / 64.0f);
    fill(&s->maker, table, blocks * Q8_0_BYTES);
    for (uint64_t i = 0; i < blocks; i++)
        memcpy(table + i * Q8_0_BYTES, &scale, 2);
    m->embedding = table;
    return m;
}

struct model synthetic_part(const struct model *model, int n_layer)
{
    struct model part = *model;
    part.config.n_layer = n_layer < part.config.n_layer ? n_layer : part.config.n_layer;
    return part;
}

void synthetic_close(struct model *model)
{
    struct synthetic *s = (struct synthetic *)model;
    if (!s)
        return;
    for (int i = 0; i < s->maker.n_block; i++)
        free(s->maker.block[i]);
    free(model->layers);
    free(s);
}
