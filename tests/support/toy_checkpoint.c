#include "support/toy_checkpoint.h"

#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/file.h"
#include "base/fmath.h"
#include "base/random.h"
#include "support/test.h"
#include "support/toy_writers.h"
#include "weights/tile.h"

struct toy toy_default(void)
{
    return (struct toy){.n_layer = 4,
                        .d_model = 64,
                        .n_head = 4,
                        .n_kv_head = 2,
                        .head_dim = 32,
                        .d_ff = 96,
                        .n_expert = 8,
                        .n_active = 4,
                        .n_vocab = 320,
                        .window = 8,
                        .max_context = 131072,
                        .yarn = true,
                        .tokenizer = true,
                        .swiglu_limit = 7.0f,
                        .seed = 1};
}

/* Every tensor has its own random stream, keyed by its name in the Hugging Face layout. */
static uint64_t stream_of(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */
    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * 0x100000001b3u;
    return hash;
}

/* Nearly normal (a sum of four uniforms), as bf16. */
static uint16_t *normal(struct toy_list *list, const char *name, uint64_t n, float std, float mean)
{
    uint16_t *x = arena_alloc(&list->arena, n * sizeof *x);
    for (uint64_t i = 0; i < n; i++) {
        uint32_t w[4];
        random_words(list->toy->seed, stream_of(name), i, w);
        float sum = 0;
        for (int j = 0; j < 4; j++)
            sum += (float)w[j] * 0x1p-32f - 0.5f;
        x[i] = f32_to_bf16(sum * 1.7320508f * std + mean);
    }
    return x;
}

/* One matrix stack in MXFP4 as safetensors has it: random codes, scales that keep the output near one. */
struct mxfp4 {
    uint64_t count, rows, cols;
    uint8_t *blocks, *scales; /* [count][rows][cols/32][16] and [count][rows][cols/32] */
};

static struct mxfp4 random_mxfp4(struct toy_list *list, const char *name, uint64_t rows, uint64_t cols)
{
    struct mxfp4 m = {.count = (uint64_t)list->toy->n_expert, .rows = rows, .cols = cols};
    uint64_t n = m.count * rows * cols / 32;
    m.blocks = arena_alloc(&list->arena, n * 16);
    m.scales = arena_alloc(&list->arena, n);
    uint32_t base = 126;
    for (uint64_t c = 8; c < cols; c *= 4)
        base--;
    for (uint64_t i = 0; i < n; i++) {
        uint32_t w[4];
        random_words(list->toy->seed, stream_of(name), 2 * i, w);
        memcpy(m.blocks + 16 * i, w, 16);
        random_words(list->toy->seed, stream_of(name), 2 * i + 1, w);
        m.scales[i] = (uint8_t)(base - 1 + w[0] % 3);
    }
    return m;
}

static unsigned code_at(const struct mxfp4 *m, uint64_t e, uint64_t row, uint64_t col)
{
    uint64_t at = (e * m->rows + row) * m->cols + col;
    return m->blocks[at / 2] >> (at % 2 ? 4 : 0) & 15;
}

static float value_at(const struct mxfp4 *m, uint64_t e, uint64_t row, uint64_t col)
{
    static const float e2m1[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    unsigned code = code_at(m, e, row, col);
    float x = e2m1[code & 7] * exp2f((float)m->scales[((e * m->rows + row) * m->cols + col) / 32] - 127.0f);
    return code & 8 ? -x : x;
}

static void name_in(char name[96], int layer, const char *rest)
{
    if (layer < 0)
        (void)snprintf(name, 96, "%s", rest);
    else
        (void)snprintf(name, 96, "model.layers.%d.%s", layer, rest);
}

/* The dense tensors of every form: the name in Hugging Face's layout (the key of its values), rows and columns (0 for
 * a vector) and what its values are like. */
struct dense {
    const char *hf;
    int rows, cols;
    float std, mean;
};
enum { NORM1, NORM2, Q, QB, K, KB, V, VB, O, OB, SINKS, ROUTER, ROUTERB, GATE_UPB, DOWNB, LAYER_DENSE };

static void dense_of(const struct toy *t, struct dense dense[LAYER_DENSE])
{
    int q = t->n_head * t->head_dim, kv = t->n_kv_head * t->head_dim, d = t->d_model;
    float s = 1.2f / sqrtf((float)d);
    const struct dense all[LAYER_DENSE] = {
        [NORM1] = {"input_layernorm.weight", d, 0, 0.1f, 1},
        [NORM2] = {"post_attention_layernorm.weight", d, 0, 0.1f, 1},
        [Q] = {"self_attn.q_proj.weight", q, d, s, 0},
        [QB] = {"self_attn.q_proj.bias", q, 0, 0.2f, 0},
        [K] = {"self_attn.k_proj.weight", kv, d, s, 0},
        [KB] = {"self_attn.k_proj.bias", kv, 0, 0.2f, 0},
        [V] = {"self_attn.v_proj.weight", kv, d, s, 0},
        [VB] = {"self_attn.v_proj.bias", kv, 0, 0.2f, 0},
        [O] = {"self_attn.o_proj.weight", d, q, 1.0f / sqrtf((float)q), 0},
        [OB] = {"self_attn.o_proj.bias", d, 0, 0.05f, 0},
        [SINKS] = {"self_attn.sinks", t->n_head, 0, 1, 0},
        [ROUTER] = {"mlp.router.weight", t->n_expert, d, s, 0},
        [ROUTERB] = {"mlp.router.bias", t->n_expert, 0, 0.2f, 0},
        [GATE_UPB] = {"mlp.experts.gate_up_proj_bias", t->n_expert, 2 * t->d_ff, 0.1f, 0},
        [DOWNB] = {"mlp.experts.down_proj_bias", t->n_expert, d, 0.1f, 0},
    };
    memcpy(dense, all, sizeof all);
}

static uint16_t *dense_values(struct toy_list *list, int layer, const struct dense *dense)
{
    char name[96];
    name_in(name, layer, dense->hf);
    uint64_t n = (uint64_t)dense->rows * (uint64_t)(dense->cols ? dense->cols : 1);
    uint16_t *x = normal(list, name, n, dense->std, dense->mean);
    if (list->toy->no_sinks && strstr(dense->hf, "sinks"))
        for (uint64_t i = 0; i < n; i++)
            x[i] = 0xff80;
    return x;
}

static void add_dense(struct toy_list *list, const char *name, const struct dense *dense, const uint16_t *x)
{
    toy_add_bf16(list, name, dense->cols ? 2 : 1, (uint64_t[]){(uint64_t)dense->rows, (uint64_t)dense->cols}, x);
}

/* ---- Hugging Face */

static void hf_experts_mxfp4(struct toy_list *list, const char *name, const struct mxfp4 *m)
{
    char full[128];
    (void)snprintf(full, sizeof full, "%s_blocks", name);
    toy_add_raw(list, full, TOY_U8, 4, (uint64_t[]){m->count, m->rows, m->cols / 32, 16}, m->blocks);
    (void)snprintf(full, sizeof full, "%s_scales", name);
    toy_add_raw(list, full, TOY_U8, 3, (uint64_t[]){m->count, m->rows, m->cols / 32}, m->scales);
}

/* [E][in][out], as transformers keeps dequantised experts. */
static void hf_experts_bf16(struct toy_list *list, const char *name, const struct mxfp4 *m)
{
    uint16_t *x = arena_alloc(&list->arena, m->count * m->rows * m->cols * sizeof *x);
    for (uint64_t e = 0, i = 0; e < m->count; e++)
        for (uint64_t c = 0; c < m->cols; c++)
            for (uint64_t r = 0; r < m->rows; r++)
                x[i++] = f32_to_bf16(value_at(m, e, r, c));
    toy_add_bf16(list, name, 3, (uint64_t[]){m->count, m->cols, m->rows}, x);
}

static void hf_experts_each(struct toy_list *list, const char *name, const struct mxfp4 *m, const uint16_t *bias)
{
    char full[128];
    for (uint64_t e = 0; e < m->count; e++) {
        uint16_t *x = arena_alloc(&list->arena, m->rows * m->cols * sizeof *x);
        for (uint64_t r = 0, i = 0; r < m->rows; r++)
            for (uint64_t c = 0; c < m->cols; c++)
                x[i++] = f32_to_bf16(value_at(m, e, r, c));
        (void)snprintf(full, sizeof full, "%ss.%d.weight", name, (int)e);
        toy_add_bf16(list, full, 2, (uint64_t[]){m->rows, m->cols}, x);
        (void)snprintf(full, sizeof full, "%ss.%d.bias", name, (int)e);
        toy_add_bf16(list, full, 1, (uint64_t[]){m->rows}, bias + e * m->rows);
    }
}

static void hf_layer(struct toy_list *list, enum toy_form form, int layer)
{
    const struct toy *t = list->toy;
    struct dense dense[LAYER_DENSE];
    char name[96];
    dense_of(t, dense);
    for (int i = 0; i < LAYER_DENSE; i++) {
        if (form == TOY_HF_PER_EXPERT && (i == GATE_UPB || i == DOWNB))
            continue;
        bool router = form == TOY_HF_PER_EXPERT && (i == ROUTER || i == ROUTERB);
        name_in(name, layer,
                !router       ? dense[i].hf
                : i == ROUTER ? "mlp.router.linear.weight"
                              : "mlp.router.linear.bias");
        add_dense(list, name, &dense[i], dense_values(list, layer, &dense[i]));
    }
    for (int down = 0; down < 2; down++) {
        name_in(name, layer, down ? "mlp.experts.down_proj" : "mlp.experts.gate_up_proj");
        struct mxfp4 m = down ? random_mxfp4(list, name, (uint64_t)t->d_model, (uint64_t)t->d_ff)
                              : random_mxfp4(list, name, 2 * (uint64_t)t->d_ff, (uint64_t)t->d_model);
        if (form == TOY_HF_BF16)
            hf_experts_bf16(list, name, &m);
        else if (form == TOY_HF_PER_EXPERT)
            hf_experts_each(list, name, &m, dense_values(list, layer, &dense[down ? DOWNB : GATE_UPB]));
        else
            hf_experts_mxfp4(list, name, &m);
    }
}

static void global_of(const struct toy *t, struct dense dense[3])
{
    dense[0] = (struct dense){"model.embed_tokens.weight", t->n_vocab, t->d_model, 1, 0};
    dense[1] = (struct dense){"model.norm.weight", t->d_model, 0, 0.1f, 1};
    dense[2] = (struct dense){"lm_head.weight", t->n_vocab, t->d_model, 2.0f / sqrtf((float)t->d_model), 0};
}

static void write_hf(struct toy_list *list, enum toy_form form, const char *path)
{
    struct dense global[3];
    global_of(list->toy, global);
    bool sharded = form == TOY_HF_SHARDED;
    int shards = list->toy->n_layer + 1;
    struct toy_index index = {0};
    for (int layer = 0; layer < list->toy->n_layer; layer++) {
        hf_layer(list, form, layer);
        if (sharded)
            toy_write_shard(list, path, layer, shards, &index);
    }
    for (int i = 0; i < (list->toy->tied ? 2 : 3); i++)
        add_dense(list, global[i].hf, &global[i], dense_values(list, -1, &global[i]));
    if (sharded) {
        toy_write_shard(list, path, shards - 1, shards, &index);
        toy_write_index(&index, path);
    } else {
        toy_write_safetensors(list, path, "model.safetensors", false);
    }
    toy_write_hf_config(list->toy, path, form == TOY_HF_ROPE5, form == TOY_HF_BF16 || form == TOY_HF_PER_EXPERT);
    if (list->toy->tokenizer)
        toy_write_tokenizer_json(path);
}

/* ---- original/ */

static uint16_t *joined(struct toy_list *list, int layer, const struct dense *const part[3], uint64_t cols)
{
    uint64_t rows = 0;
    for (int i = 0; i < 3; i++)
        rows += (uint64_t)part[i]->rows;
    uint16_t *all = arena_alloc(&list->arena, rows * cols * sizeof *all), *to = all;
    for (int i = 0; i < 3; i++) {
        uint64_t n = (uint64_t)part[i]->rows * cols;
        memcpy(to, dense_values(list, layer, part[i]), n * sizeof *all);
        to += n;
    }
    return all;
}

static void add_qkv(struct toy_list *list, int layer, const struct dense *dense, const char *weight, const char *bias)
{
    uint64_t rows = (uint64_t)(dense[Q].rows + dense[K].rows + dense[V].rows), d = (uint64_t)dense[Q].cols;
    const struct dense *const w[3] = {&dense[Q], &dense[K], &dense[V]};
    const struct dense *const b[3] = {&dense[QB], &dense[KB], &dense[VB]};
    toy_add_bf16(list, weight, 2, (uint64_t[]){rows, d}, joined(list, layer, w, d));
    toy_add_bf16(list, bias, 1, (uint64_t[]){rows}, joined(list, layer, b, 1));
}

static void write_original(struct toy_list *list, const char *path)
{
    static const char *const names[LAYER_DENSE] = {
        [NORM1] = "attn.norm.scale", [NORM2] = "mlp.norm.scale",   [O] = "attn.out.weight",
        [OB] = "attn.out.bias",      [SINKS] = "attn.sinks",       [ROUTER] = "mlp.gate.weight",
        [ROUTERB] = "mlp.gate.bias", [GATE_UPB] = "mlp.mlp1_bias", [DOWNB] = "mlp.mlp2_bias"};
    const struct toy *t = list->toy;
    struct dense dense[LAYER_DENSE], global[3];
    char name[96], other[96], hf[96];
    dense_of(t, dense);
    global_of(t, global);
    for (int layer = 0; layer < t->n_layer; layer++) {
        for (int i = 0; i < LAYER_DENSE; i++) {
            (void)snprintf(name, sizeof name, "block.%d.%s", layer, names[i] ? names[i] : "");
            if (names[i])
                add_dense(list, name, &dense[i], dense_values(list, layer, &dense[i]));
        }
        (void)snprintf(name, sizeof name, "block.%d.attn.qkv.weight", layer);
        (void)snprintf(other, sizeof other, "block.%d.attn.qkv.bias", layer);
        add_qkv(list, layer, dense, name, other);
        for (int down = 0; down < 2; down++) {
            name_in(hf, layer, down ? "mlp.experts.down_proj" : "mlp.experts.gate_up_proj");
            struct mxfp4 m = down ? random_mxfp4(list, hf, (uint64_t)t->d_model, (uint64_t)t->d_ff)
                                  : random_mxfp4(list, hf, 2 * (uint64_t)t->d_ff, (uint64_t)t->d_model);
            (void)snprintf(name, sizeof name, "block.%d.mlp.mlp%d_weight.blocks", layer, down + 1);
            toy_add_raw(list, name, TOY_U8, 4, (uint64_t[]){m.count, m.rows, m.cols / 32, 16}, m.blocks);
            (void)snprintf(name, sizeof name, "block.%d.mlp.mlp%d_weight.scales", layer, down + 1);
            toy_add_raw(list, name, TOY_U8, 3, (uint64_t[]){m.count, m.rows, m.cols / 32}, m.scales);
        }
    }
    static const char *const globals[3] = {"embedding.weight", "norm.scale", "unembedding.weight"};
    for (int i = 0; i < 3; i++)
        add_dense(list, globals[i], &global[i], dense_values(list, -1, &global[i]));
    toy_write_safetensors(list, path, "model.safetensors", true);
    toy_write_original_config(t, path);
}

/* ---- GGUF */

/* Dense matrices in the form's type, vectors and the router in F32, as llama.cpp's converter has them. */
static void add_gguf(struct toy_list *list, const char *name, const struct dense *dense, const uint16_t *x)
{
    uint64_t dim[2] = {(uint64_t)dense->rows, (uint64_t)dense->cols};
    enum toy_type type =
        dense->cols && !strstr(dense->hf, "router") && !strstr(dense->hf, "bias") ? list->dense : TOY_F32;
    toy_add_as(list, name, type, dense->cols ? 2 : 1, dim, x);
}

/* The rows of m that a tensor holds: first, first + step, ..; framed in 17-byte blocks. */
static void add_ggml_mxfp4(struct toy_list *list, const char *name, const struct mxfp4 *m, uint64_t first,
                           uint64_t step, bool pairs)
{
    uint64_t rows = m->rows / step;
    uint8_t *to = arena_alloc(&list->arena, m->count * rows * m->cols / 32 * 17), *data = to;
    for (uint64_t e = 0; e < m->count; e++)
        for (uint64_t r = 0; r < rows; r++)
            for (uint64_t k = 0; k < m->cols / 32; k++) {
                uint64_t row = first + r * step;
                *to++ = m->scales[(e * m->rows + row) * (m->cols / 32) + k];
                for (uint64_t j = 0; j < 16; j++)
                    *to++ =
                        (uint8_t)(pairs
                                      ? code_at(m, e, row, 32 * k + 2 * j) | code_at(m, e, row, 32 * k + 2 * j + 1) << 4
                                      : code_at(m, e, row, 32 * k + j) | code_at(m, e, row, 32 * k + j + 16) << 4);
            }
    toy_add_raw(list, name, pairs ? TOY_MXFP4_OLLAMA : TOY_MXFP4, 3, (uint64_t[]){m->count, rows, m->cols}, data);
}

static void add_ggml_dense_experts(struct toy_list *list, const char *name, const struct mxfp4 *m, uint64_t first,
                                   uint64_t step)
{
    uint64_t rows = m->rows / step, i = 0;
    uint16_t *x = arena_alloc(&list->arena, m->count * rows * m->cols * sizeof *x);
    for (uint64_t e = 0; e < m->count; e++)
        for (uint64_t r = 0; r < rows; r++)
            for (uint64_t c = 0; c < m->cols; c++)
                x[i++] = f32_to_bf16(value_at(m, e, first + r * step, c));
    toy_add_as(list, name, TOY_Q8_0, 3, (uint64_t[]){m->count, rows, m->cols}, x);
}

/* Every second bias from `first` on, or all of them with step 1. */
static uint16_t *every(struct toy_list *list, const uint16_t *x, uint64_t n, uint64_t first, uint64_t step)
{
    uint16_t *y = arena_alloc(&list->arena, n / step * sizeof *y);
    for (uint64_t i = 0; i < n / step; i++)
        y[i] = x[first + i * step];
    return y;
}

/* gate rows 0, 2, .. then up rows 1, 3, .. of every expert */
static void gguf_fused_gate_up(struct toy_list *list, int layer, struct mxfp4 *m, const uint16_t *bias)
{
    struct mxfp4 blocked = *m;
    uint64_t row = m->cols / 32, n = m->count * m->rows;
    blocked.blocks = arena_alloc(&list->arena, n * row * 16);
    blocked.scales = arena_alloc(&list->arena, n * row);
    uint16_t *b = arena_alloc(&list->arena, n * sizeof *b);
    for (uint64_t e = 0; e < m->count; e++)
        for (uint64_t r = 0; r < m->rows; r++) {
            uint64_t from = e * m->rows + (r < m->rows / 2 ? 2 * r : 2 * (r - m->rows / 2) + 1), to = e * m->rows + r;
            memcpy(blocked.blocks + to * row * 16, m->blocks + from * row * 16, row * 16);
            memcpy(blocked.scales + to * row, m->scales + from * row, row);
            b[to] = bias[from];
        }
    char name[96];
    (void)snprintf(name, sizeof name, "blk.%d.ffn_gate_up_exps.weight", layer);
    add_ggml_mxfp4(list, name, &blocked, 0, 1, false);
    (void)snprintf(name, sizeof name, "blk.%d.ffn_gate_up_exps.bias", layer);
    toy_add_as(list, name, TOY_F32, 2, (uint64_t[]){m->count, m->rows}, b);
}

static void gguf_experts(struct toy_list *list, enum toy_form form, int layer, const struct dense *dense)
{
    const struct toy *t = list->toy;
    char name[96];
    for (int part = 0; part < 3; part++) { /* gate, up, down */
        bool down = part == 2;
        name_in(name, layer, down ? "mlp.experts.down_proj" : "mlp.experts.gate_up_proj");
        struct mxfp4 m = down ? random_mxfp4(list, name, (uint64_t)t->d_model, (uint64_t)t->d_ff)
                              : random_mxfp4(list, name, 2 * (uint64_t)t->d_ff, (uint64_t)t->d_model);
        const uint16_t *bias = dense_values(list, layer, &dense[down ? DOWNB : GATE_UPB]);
        bool ollama = form == TOY_GGUF_OLLAMA, whole = down || ollama;
        if (!down && part == 1 && (ollama || form == TOY_GGUF_FUSED))
            continue;
        if (!down && form == TOY_GGUF_FUSED) {
            gguf_fused_gate_up(list, layer, &m, bias);
            continue;
        }
        const char *role = down ? "down" : ollama ? "gate_up" : part ? "up" : "gate";
        uint64_t first = down ? 0 : (uint64_t)part, step = whole ? 1 : 2;
        (void)snprintf(name, sizeof name, "blk.%d.ffn_%s_exps.weight", layer, role);
        if (form == TOY_GGUF_EXPERTS_Q8)
            add_ggml_dense_experts(list, name, &m, first, step);
        else
            add_ggml_mxfp4(list, name, &m, first, step, ollama);
        (void)snprintf(name, sizeof name, "blk.%d.ffn_%s_exps.bias", layer, role);
        toy_add_as(list, name, ollama ? TOY_BF16 : TOY_F32, 2, (uint64_t[]){m.count, m.rows / step},
                   every(list, bias, m.count * m.rows, first, step));
    }
}

static void write_gguf(struct toy_list *list, enum toy_form form, const char *path)
{
    static const char *const llama[LAYER_DENSE] = {
        [NORM1] = "attn_norm.weight",   [NORM2] = "post_attention_norm.weight",
        [Q] = "attn_q.weight",          [QB] = "attn_q.bias",
        [K] = "attn_k.weight",          [KB] = "attn_k.bias",
        [V] = "attn_v.weight",          [VB] = "attn_v.bias",
        [O] = "attn_output.weight",     [OB] = "attn_output.bias",
        [SINKS] = "attn_sinks.weight",  [ROUTER] = "ffn_gate_inp.weight",
        [ROUTERB] = "ffn_gate_inp.bias"};
    static const char *const ollama[LAYER_DENSE] = {
        [NORM1] = "attn_norm.weight",   [NORM2] = "ffn_norm.weight", [O] = "attn_out.weight",
        [OB] = "attn_out.bias",         [SINKS] = "attn_sinks",      [ROUTER] = "ffn_gate_inp.weight",
        [ROUTERB] = "ffn_gate_inp.bias"};
    static const char *const globals[3] = {"token_embd.weight", "output_norm.weight", "output.weight"};
    bool fused = form == TOY_GGUF_FUSED || form == TOY_GGUF_OLLAMA;
    struct dense dense[LAYER_DENSE], global[3];
    char name[96], other[96];
    dense_of(list->toy, dense);
    global_of(list->toy, global);
    list->dense = form == TOY_GGUF_Q8 || form == TOY_GGUF_SPLIT ? TOY_Q8_0
                  : form == TOY_GGUF_F16                        ? TOY_F16
                  : form == TOY_GGUF_F32                        ? TOY_F32
                                                                : TOY_BF16;
    for (int i = 0; i < (list->toy->tied ? 2 : 3); i++)
        add_gguf(list, globals[i], &global[i], dense_values(list, -1, &global[i]));
    for (int layer = 0; layer < list->toy->n_layer; layer++) {
        for (int i = 0; i < LAYER_DENSE; i++) {
            const char *rest = form == TOY_GGUF_OLLAMA ? ollama[i] : llama[i];
            if (!rest || (fused && i >= Q && i <= VB))
                continue;
            (void)snprintf(name, sizeof name, "blk.%d.%s", layer, rest);
            add_gguf(list, name, &dense[i], dense_values(list, layer, &dense[i]));
        }
        if (fused) {
            (void)snprintf(name, sizeof name, "blk.%d.attn_qkv.weight", layer);
            (void)snprintf(other, sizeof other, "blk.%d.attn_qkv.bias", layer);
            add_qkv(list, layer, dense, name, other);
        }
        gguf_experts(list, form, layer, dense);
    }
    toy_write_gguf_files(list, path, form == TOY_GGUF_OLLAMA, form == TOY_GGUF_SPLIT ? 3 : 1);
}

void toy_write(const struct toy *toy, enum toy_form form, const char *path)
{
    struct toy_list list = {.toy = toy};
    if (form < TOY_GGUF_Q8)
        assert_int_equal(file_make_directories(path, NULL), GOSS_OK);
    if (form == TOY_ORIGINAL)
        write_original(&list, path);
    else if (form < TOY_ORIGINAL)
        write_hf(&list, form, path);
    else
        write_gguf(&list, form, path);
    free(list.item);
    arena_free(&list.arena);
}

char *toy_folder(void)
{
    char *folder = strdup("/tmp/gossamer-toy-XXXXXX");
    assert_non_null(folder);
    assert_non_null(mkdtemp(folder));
    return folder;
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status;
    (void)kind;
    (void)place;
    return remove(path);
}

void toy_remove_tree(const char *folder)
{
    (void)nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

void toy_remove(char *folder)
{
    toy_remove_tree(folder);
    free(folder);
}
