#include "model/bind.h"

#include <stdio.h>
#include <string.h>

/* What a tensor is. The names of a layer's tensors follow the dialect's prefix of the layer. */
enum role {
    ATTN_NORM,
    Q,
    K,
    V,
    QKV,
    Q_BIAS,
    K_BIAS,
    V_BIAS,
    QKV_BIAS,
    SINKS,
    ATTN_OUT,
    ATTN_OUT_BIAS,
    MLP_NORM,
    ROUTER,
    ROUTER_BIAS,
    GATE_UP,
    GATE_UP_SCALES,
    GATE,
    UP,
    GATE_UP_BIAS,
    GATE_BIAS,
    UP_BIAS,
    DOWN,
    DOWN_SCALES,
    DOWN_BIAS,
    GATE_UP_DENSE, /* bf16, transposed */
    DOWN_DENSE,
    EMBEDDING, /* the global ones from here on */
    FINAL_NORM,
    HEAD,
    ROLES
};

enum { DIALECTS = 3, ALIASES = 2 };

static const char *const names[ROLES][DIALECTS][ALIASES] = {
    [ATTN_NORM] = {{"input_layernorm.weight"}, {"attn.norm.scale"}, {"attn_norm.weight"}},
    [Q] = {{"self_attn.q_proj.weight"}, {NULL}, {"attn_q.weight"}},
    [K] = {{"self_attn.k_proj.weight"}, {NULL}, {"attn_k.weight"}},
    [V] = {{"self_attn.v_proj.weight"}, {NULL}, {"attn_v.weight"}},
    [QKV] = {{NULL}, {"attn.qkv.weight"}, {"attn_qkv.weight"}},
    [Q_BIAS] = {{"self_attn.q_proj.bias"}, {NULL}, {"attn_q.bias"}},
    [K_BIAS] = {{"self_attn.k_proj.bias"}, {NULL}, {"attn_k.bias"}},
    [V_BIAS] = {{"self_attn.v_proj.bias"}, {NULL}, {"attn_v.bias"}},
    [QKV_BIAS] = {{NULL}, {"attn.qkv.bias"}, {"attn_qkv.bias"}},
    [SINKS] = {{"self_attn.sinks"}, {"attn.sinks"}, {"attn_sinks.weight", "attn_sinks"}},
    [ATTN_OUT] = {{"self_attn.o_proj.weight"}, {"attn.out.weight"}, {"attn_output.weight", "attn_out.weight"}},
    [ATTN_OUT_BIAS] = {{"self_attn.o_proj.bias"}, {"attn.out.bias"}, {"attn_output.bias", "attn_out.bias"}},
    [MLP_NORM] = {{"post_attention_layernorm.weight"},
                  {"mlp.norm.scale"},
                  {"post_attention_norm.weight", "ffn_norm.weight"}},
    [ROUTER] = {{"mlp.router.weight", "mlp.router.linear.weight"}, {"mlp.gate.weight"}, {"ffn_gate_inp.weight"}},
    [ROUTER_BIAS] = {{"mlp.router.bias", "mlp.router.linear.bias"}, {"mlp.gate.bias"}, {"ffn_gate_inp.bias"}},
    [GATE_UP] = {{"mlp.experts.gate_up_proj_blocks"}, {"mlp.mlp1_weight.blocks"}, {"ffn_gate_up_exps.weight"}},
    [GATE_UP_SCALES] = {{"mlp.experts.gate_up_proj_scales"}, {"mlp.mlp1_weight.scales"}, {NULL}},
    [GATE] = {{NULL}, {NULL}, {"ffn_gate_exps.weight"}},
    [UP] = {{NULL}, {NULL}, {"ffn_up_exps.weight"}},
    [GATE_UP_BIAS] = {{"mlp.experts.gate_up_proj_bias"}, {"mlp.mlp1_bias"}, {"ffn_gate_up_exps.bias"}},
    [GATE_BIAS] = {{NULL}, {NULL}, {"ffn_gate_exps.bias"}},
    [UP_BIAS] = {{NULL}, {NULL}, {"ffn_up_exps.bias"}},
    [DOWN] = {{"mlp.experts.down_proj_blocks"}, {"mlp.mlp2_weight.blocks"}, {"ffn_down_exps.weight"}},
    [DOWN_SCALES] = {{"mlp.experts.down_proj_scales"}, {"mlp.mlp2_weight.scales"}, {NULL}},
    [DOWN_BIAS] = {{"mlp.experts.down_proj_bias"}, {"mlp.mlp2_bias"}, {"ffn_down_exps.bias"}},
    [GATE_UP_DENSE] = {{"mlp.experts.gate_up_proj"}, {NULL}, {NULL}},
    [DOWN_DENSE] = {{"mlp.experts.down_proj"}, {NULL}, {NULL}},
    [EMBEDDING] = {{"model.embed_tokens.weight"}, {"embedding.weight"}, {"token_embd.weight"}},
    [FINAL_NORM] = {{"model.norm.weight"}, {"norm.scale"}, {"output_norm.weight"}},
    [HEAD] = {{"lm_head.weight"}, {"unembedding.weight"}, {"output.weight"}},
};

enum { DENSE_TYPES = 1 << DTYPE_F32 | 1 << DTYPE_F16 | 1 << DTYPE_BF16, Q8 = 1 << DTYPE_Q8_0, BYTES = 1 << DTYPE_U8 };
enum { MXFP4 = 1 << DTYPE_MXFP4_GGML | 1 << DTYPE_MXFP4_OLLAMA };

struct binder {
    const struct checkpoint *checkpoint;
    const struct model_config *config;
    const struct pack_options *options;
    struct plan *plan;
    bool *used; /* [tensors.n] */
    int layer;
    goss_status status; /* the first fault; later calls do nothing */
    goss_error *error;
};

static const char *file_of(const struct binder *b)
{
    return b->checkpoint->format == CHECKPOINT_GGUF ? b->checkpoint->gguf.file : b->checkpoint->config_file;
}

static const struct tensor *named(struct binder *b, const char *name)
{
    const struct tensor *t = tensor_find(&b->checkpoint->tensors, name);
    if (t)
        b->used[t - b->checkpoint->tensors.tensor] = true;
    return t;
}

static void full_name(const struct binder *b, enum role role, int alias, char name[TENSOR_MAX_NAME])
{
    static const char *const prefix[DIALECTS] = {"model.layers", "block", "blk"};
    const char *rest = names[role][b->checkpoint->format][alias];
    if (role >= EMBEDDING)
        (void)snprintf(name, TENSOR_MAX_NAME, "%s", rest);
    else
        (void)snprintf(name, TENSOR_MAX_NAME, "%s.%d.%s", prefix[b->checkpoint->format], b->layer, rest);
}

/* The tensor of a role, or NULL if the checkpoint has none. */
static const struct tensor *find(struct binder *b, enum role role)
{
    char name[TENSOR_MAX_NAME];
    for (int alias = 0; alias < ALIASES; alias++) {
        if (!names[role][b->checkpoint->format][alias])
            continue;
        full_name(b, role, alias, name);
        const struct tensor *t = named(b, name);
        if (t)
            return t;
    }
    return NULL;
}

static void print_shape(char text[96], int n, const uint64_t *dim)
{
    int at = 0;
    text[0] = 0;
    for (int i = 0; i < n && at < 80; i++)
        at += snprintf(text + at, 96 - (size_t)at, "%s%llu", i ? ", " : "", (unsigned long long)dim[i]);
}

/* Refuses a tensor of another type or shape. Leading dimensions of 1 do not count: GGUF writers drop them. */
static void expect(struct binder *b, const struct tensor *t, unsigned types, int n, const uint64_t *dim)
{
    char expected[96], found[96];
    int skip = 0, have = 0;
    if (b->status)
        return;
    if (!(types >> t->type & 1)) {
        b->status = error_set(b->error, GOSS_E_UNSUPPORTED, "%s: tensor '%s': type %s cannot be used here", t->file,
                              t->name, dtype_name(t->type));
        return;
    }
    while (skip < n - 1 && dim[skip] == 1)
        skip++;
    while (have < t->n_dim - 1 && t->dim[have] == 1)
        have++;
    bool same = n - skip == t->n_dim - have;
    for (int i = 0; same && i < n - skip; i++)
        same = dim[skip + i] == t->dim[have + i];
    if (same)
        return;
    print_shape(expected, n, dim);
    print_shape(found, t->n_dim, t->dim);
    b->status = error_set(b->error, GOSS_E_FORMAT, "%s: tensor '%s': shape [%s], but the configuration needs [%s]",
                          t->file, t->name, found, expected);
}

static void missing(struct binder *b, enum role role)
{
    char name[TENSOR_MAX_NAME];
    full_name(b, role, 0, name);
    if (b->status == GOSS_OK)
        b->status = error_set(b->error, GOSS_E_FORMAT, "%s: tensor '%s' is missing", file_of(b), name);
}

static const struct tensor *need(struct binder *b, enum role role, unsigned types, int n, const uint64_t *dim)
{
    const struct tensor *t = find(b, role);
    if (t)
        expect(b, t, types, n, dim);
    else
        missing(b, role);
    return t;
}

static struct recipe *add(struct binder *b, const char *name, enum dtype type, uint64_t count, uint64_t rows,
                          uint64_t cols)
{
    char full[64];
    if (b->layer >= 0)
        (void)snprintf(full, sizeof full, "layer.%d.%s", b->layer, name);
    struct recipe *recipe = plan_add(b->plan, b->layer >= 0 ? full : name, type, count, rows, cols);
    if (recipe)
        return recipe;
    if (b->status == GOSS_OK)
        b->status = error_memory(b->error, sizeof *recipe, "the plan of the packed file");
    recipe = &b->plan->recipe[b->plan->capacity]; /* a spare, so that callers need no second look */
    *recipe = (struct recipe){0};
    return recipe;
}

static void operand(struct recipe *recipe, const struct tensor *t, uint64_t rows)
{
    recipe->operand[recipe->n_operand++] = (struct operand){.tensor = t, .rows = rows};
}

static void vector(struct binder *b, const char *name, enum role role, int n)
{
    struct recipe *r = add(b, name, DTYPE_F32, 1, (uint64_t)n, 1);
    r->sinks = role == SINKS;
    operand(r, need(b, role, DENSE_TYPES, 1, (uint64_t[]){(uint64_t)n}), (uint64_t)n);
}

/* The type that dense matrices get, row-major or tiled. Q8_0 is exact as it is and cannot become bf16. */
static enum dtype dense_type(struct binder *b, const struct tensor *const *t, int n, bool row_major)
{
    if (b->options->dense != PACK_BF16)
        return row_major ? DTYPE_Q8_0 : DTYPE_TILE_Q8;
    for (int i = 0; i < n; i++)
        if (t[i] && t[i]->type == DTYPE_Q8_0 && b->status == GOSS_OK)
            b->status =
                error_set(b->error, GOSS_E_UNSUPPORTED,
                          "%s: tensor '%s' is Q8_0: dense matrices cannot be packed as bf16", t[i]->file, t[i]->name);
    return row_major ? DTYPE_BF16 : DTYPE_TILE_BF16;
}

static void matrix(struct binder *b, const char *name, enum role role, int rows, int cols)
{
    uint64_t dim[2] = {(uint64_t)rows, (uint64_t)cols};
    const struct tensor *t = need(b, role, role == ROUTER ? DENSE_TYPES : DENSE_TYPES | Q8, 2, dim);
    enum dtype type = role == ROUTER ? DTYPE_TILE_F32 : dense_type(b, &t, 1, role == EMBEDDING);
    operand(add(b, name, type, 1, dim[0], dim[1]), t, dim[0]);
}

static void bind_qkv(struct binder *b)
{
    const struct model_config *c = b->config;
    uint64_t head = (uint64_t)c->head_dim, q = (uint64_t)c->n_head * head, kv = (uint64_t)c->n_kv_head * head;
    uint64_t d = (uint64_t)c->d_model, rows[3] = {q, kv, kv};
    for (int bias = 0; bias < 2; bias++) {
        static const enum role roles[2][4] = {{QKV, Q, K, V}, {QKV_BIAS, Q_BIAS, K_BIAS, V_BIAS}};
        unsigned types = bias ? DENSE_TYPES : DENSE_TYPES | Q8;
        const struct tensor *t[3] = {find(b, roles[bias][0])};
        int n = 1, dims = bias ? 1 : 2;
        if (t[0]) {
            rows[0] = q + 2 * kv;
            expect(b, t[0], types, dims, (uint64_t[]){rows[0], d});
        } else {
            rows[0] = q;
            for (n = 0; n < 3; n++)
                t[n] = need(b, roles[bias][1 + n], types, dims, (uint64_t[]){rows[n], d});
        }
        struct recipe *r = add(b, bias ? "qkv_bias" : "qkv", bias ? DTYPE_F32 : dense_type(b, t, n, false), 1,
                               q + 2 * kv, bias ? 1 : d);
        for (int i = 0; i < n; i++)
            operand(r, t[i], rows[i]);
    }
}

/* The type that a stack of experts gets from its sources. */
static enum dtype expert_type(struct binder *b, const struct tensor *const *t, int n)
{
    enum dtype type = DTYPE_NONE;
    for (int i = 0; i < n && b->status == GOSS_OK; i++) {
        enum dtype own = 1 << t[i]->type & (MXFP4 | BYTES)                            ? DTYPE_TILE_MXFP4
                         : t[i]->type == DTYPE_Q8_0 || b->options->experts == PACK_Q8 ? DTYPE_TILE_Q8
                                                                                      : DTYPE_TILE_BF16;
        if (i && own != type)
            b->status = error_set(b->error, GOSS_E_UNSUPPORTED,
                                  "%s: tensors '%s' and '%s' are %s and %s: experts of mixed types are not read",
                                  t[i]->file, t[0]->name, t[i]->name, dtype_name(t[0]->type), dtype_name(t[i]->type));
        type = own;
    }
    return type;
}

/* mlp.experts.gate_up_projs.E.weight and their like: [rows][cols] or [rows], a tensor for each expert. Returns false
 * if the first one is not there. */
static bool bind_each(struct binder *b, const char *section, bool down, bool bias, uint64_t rows, uint64_t cols)
{
    uint64_t n = (uint64_t)b->config->n_expert;
    char name[TENSOR_MAX_NAME];
    const struct tensor **each = arena_alloc(&b->plan->arena, n * sizeof *each);
    if (!each && b->status == GOSS_OK)
        b->status = error_memory(b->error, n * sizeof *each, "the list of experts");
    for (uint64_t e = 0; b->status == GOSS_OK && e < n; e++) {
        (void)snprintf(name, sizeof name, "model.layers.%d.mlp.experts.%s_projs.%d.%s", b->layer,
                       down ? "down" : "gate_up", (int)e, bias ? "bias" : "weight");
        each[e] = named(b, name);
        if (!each[e] && e == 0)
            return false;
        if (each[e])
            expect(b, each[e], DENSE_TYPES, bias ? 1 : 2, (uint64_t[]){rows, cols});
        else
            b->status = error_set(b->error, GOSS_E_FORMAT, "%s: tensor '%s' is missing", file_of(b), name);
    }
    if (b->status)
        return true;
    struct recipe *r = add(b, section, bias ? DTYPE_F32 : expert_type(b, each, (int)n), n, rows, cols);
    r->order = down ? ROWS_PLAIN : ROWS_INTERLEAVED;
    r->operand[r->n_operand++] = (struct operand){.each = each, .rows = rows};
    return true;
}

/* MXFP4 with its scales apart: blocks [E][rows][cols/32][16], scales [E][rows][cols/32]. */
static void bind_blocks(struct binder *b, const char *section, bool down, const struct tensor *blocks, uint64_t rows,
                        uint64_t cols)
{
    uint64_t n = (uint64_t)b->config->n_expert, dim[4] = {n, rows, cols / 32, 16};
    expect(b, blocks, BYTES, 4, dim);
    const struct tensor *scales = need(b, down ? DOWN_SCALES : GATE_UP_SCALES, BYTES, 3, dim);
    struct recipe *r = add(b, section, DTYPE_TILE_MXFP4, n, rows, cols);
    r->order = down ? ROWS_PLAIN : ROWS_INTERLEAVED;
    r->operand[r->n_operand++] = (struct operand){.tensor = blocks, .scales = scales, .rows = rows};
}

/* The experts' matrices, in whichever of the forms the checkpoint has. */
static void bind_expert_weights(struct binder *b, bool down)
{
    const struct model_config *c = b->config;
    uint64_t n = (uint64_t)c->n_expert, rows = (uint64_t)(down ? c->d_model : 2 * c->d_ff);
    uint64_t cols = (uint64_t)(down ? c->d_ff : c->d_model);
    const char *section = down ? "down" : "gate_up";
    const struct tensor *whole = find(b, down ? DOWN : GATE_UP), *t[2];
    if (b->checkpoint->format != CHECKPOINT_GGUF) {
        const struct tensor *dense = find(b, down ? DOWN_DENSE : GATE_UP_DENSE);
        if (whole) {
            bind_blocks(b, section, down, whole, rows, cols);
        } else if (dense) {
            expect(b, dense, DENSE_TYPES, 3, (uint64_t[]){n, cols, rows});
            struct recipe *r = add(b, section, expert_type(b, &dense, 1), n, rows, cols);
            r->order = down ? ROWS_PLAIN : ROWS_INTERLEAVED;
            r->operand[r->n_operand++] = (struct operand){.tensor = dense, .transposed = true, .rows = rows};
        } else if (!bind_each(b, section, down, false, rows, cols)) {
            missing(b, down ? DOWN : GATE_UP);
        }
        return;
    }
    unsigned types = MXFP4 | Q8 | DENSE_TYPES;
    if (down || whole) {
        t[0] = need(b, down ? DOWN : GATE_UP, types, 3, (uint64_t[]){n, rows, cols});
        struct recipe *r = add(b, section, expert_type(b, t, 1), n, rows, cols);
        /* Ollama's dialect fuses without de-interleaving. */
        bool interleaved = b->status == GOSS_OK && t[0]->type == DTYPE_MXFP4_OLLAMA;
        r->order = down ? ROWS_PLAIN : interleaved ? ROWS_INTERLEAVED : ROWS_HALVES;
        operand(r, t[0], rows);
        return;
    }
    t[0] = need(b, GATE, types, 3, (uint64_t[]){n, rows / 2, cols});
    t[1] = need(b, UP, types, 3, (uint64_t[]){n, rows / 2, cols});
    struct recipe *r = add(b, section, expert_type(b, t, 2), n, rows, cols);
    r->order = ROWS_HALVES;
    operand(r, t[0], rows / 2);
    operand(r, t[1], rows / 2);
}

static void bind_expert_biases(struct binder *b, bool down)
{
    const struct model_config *c = b->config;
    uint64_t n = (uint64_t)c->n_expert, rows = (uint64_t)(down ? c->d_model : 2 * c->d_ff);
    const char *section = down ? "down_bias" : "gate_up_bias";
    const struct tensor *whole = find(b, down ? DOWN_BIAS : GATE_UP_BIAS);
    bool gguf = b->checkpoint->format == CHECKPOINT_GGUF;
    if (whole) {
        const struct tensor *weights = gguf && !down ? find(b, GATE_UP) : NULL;
        expect(b, whole, DENSE_TYPES, 2, (uint64_t[]){n, rows});
        struct recipe *r = add(b, section, DTYPE_F32, n, rows, 1);
        bool halves = gguf && !(weights && weights->type == DTYPE_MXFP4_OLLAMA);
        r->order = down ? ROWS_PLAIN : halves ? ROWS_HALVES : ROWS_INTERLEAVED;
        operand(r, whole, rows);
    } else if (gguf && !down) {
        const struct tensor *gate = need(b, GATE_BIAS, DENSE_TYPES, 2, (uint64_t[]){n, rows / 2});
        const struct tensor *up = need(b, UP_BIAS, DENSE_TYPES, 2, (uint64_t[]){n, rows / 2});
        struct recipe *r = add(b, section, DTYPE_F32, n, rows, 1);
        r->order = ROWS_HALVES;
        operand(r, gate, rows / 2);
        operand(r, up, rows / 2);
    } else if (gguf || !bind_each(b, section, down, true, rows, 1)) {
        missing(b, down ? DOWN_BIAS : GATE_UP_BIAS);
    }
}

static void bind_layer(struct binder *b)
{
    const struct model_config *c = b->config;
    int q = c->n_head * c->head_dim;
    vector(b, "attn_norm", ATTN_NORM, c->d_model);
    bind_qkv(b);
    vector(b, "sinks", SINKS, c->n_head);
    matrix(b, "attn_out", ATTN_OUT, c->d_model, q);
    vector(b, "attn_out_bias", ATTN_OUT_BIAS, c->d_model);
    vector(b, "mlp_norm", MLP_NORM, c->d_model);
    matrix(b, "router", ROUTER, c->n_expert, c->d_model);
    vector(b, "router_bias", ROUTER_BIAS, c->n_expert);
    for (int down = 0; down < 2; down++) {
        bind_expert_weights(b, down);
        bind_expert_biases(b, down);
    }
}

/* A head that is tied to the embedding is packed again as a matrix. */
static void bind_head(struct binder *b)
{
    const struct checkpoint *c = b->checkpoint;
    bool tied =
        c->format == CHECKPOINT_GGUF ? !find(b, HEAD) : json_is_true(json_object_get(c->config, "tie_word_embeddings"));
    uint64_t dim[2] = {(uint64_t)b->config->n_vocab, (uint64_t)b->config->d_model};
    const struct tensor *t = need(b, tied ? EMBEDDING : HEAD, DENSE_TYPES | Q8, 2, dim);
    struct recipe *r = add(b, "head", dense_type(b, &t, 1, false), 1, dim[0], dim[1]);
    operand(r, t, dim[0]);
    r->operand[0].again = tied;
}

goss_status plan_bind(struct plan *plan, const struct checkpoint *checkpoint, const struct model_config *config,
                      const struct pack_options *options, goss_error *error)
{
    *plan = (struct plan){.capacity = 13 * (size_t)config->n_layer + 4};
    plan->section = arena_alloc(&plan->arena, plan->capacity * sizeof *plan->section);
    plan->recipe = arena_alloc(&plan->arena, (plan->capacity + 1) * sizeof *plan->recipe);
    struct binder b = {.checkpoint = checkpoint, .config = config, .options = options, .plan = plan, .error = error};
    b.used = arena_alloc(&plan->arena, checkpoint->tensors.n + 1);
    if (!plan->section || !plan->recipe || !b.used)
        return error_memory(error, plan->capacity * sizeof *plan->recipe, "the plan of the packed file");
    b.layer = -1;
    matrix(&b, "embedding", EMBEDDING, config->n_vocab, config->d_model);
    vector(&b, "final_norm", FINAL_NORM, config->d_model);
    bind_head(&b);
    for (b.layer = 0; b.layer < config->n_layer && b.status == GOSS_OK; b.layer++)
        bind_layer(&b);
    for (size_t i = 0; b.status == GOSS_OK && i < checkpoint->tensors.n; i++)
        if (!b.used[i])
            b.status = error_set(error, GOSS_E_UNSUPPORTED, "%s: tensor '%s' is not part of a gpt-oss model",
                                 checkpoint->tensors.tensor[i].file, checkpoint->tensors.tensor[i].name);
    return b.status;
}

void plan_free(struct plan *plan)
{
    arena_free(&plan->arena);
    *plan = (struct plan){0};
}

struct recipe *plan_add(struct plan *plan, const char *name, enum dtype type, uint64_t count, uint64_t rows,
                        uint64_t cols)
{
    const char *copy = arena_copy(&plan->arena, name, strlen(name));
    if (!copy || plan->n == plan->capacity)
        return NULL;
    plan->section[plan->n] =
        (struct packed_section){.name = copy, .type = type, .count = count, .rows = rows, .cols = cols};
    plan->recipe[plan->n].section = &plan->section[plan->n];
    return &plan->recipe[plan->n++];
}
