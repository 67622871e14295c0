#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/config.h"
#include "model/fields.h"
#include "weights/checkpoint.h"

/* The rows of o200k_harmony's embedding, and its ids of return, endoftext and call. */
enum { HARMONY_VOCAB = 201088, HARMONY_STOPS = 3 };
static const int harmony_stops[HARMONY_STOPS] = {200002, 199999, 200012};

/* A field of the checkpoint, by its own name, within the limits of what it stands for. */
static void read_integer(struct fields *f, const char *key, struct model_config *c, int *field)
{
    int least, most;
    model_config_limits(c, field, &least, &most);
    *field = fields_integer(f, key, least, most);
}

/* An id past the vocabulary, which a cut-down vocabulary leaves behind, is never sampled: it is left out. */
static void add_stop(struct fields *f, struct model_config *c, const char *key, int64_t id)
{
    for (int i = 0; i < c->n_stop; i++)
        if (c->stop[i] == id)
            return;
    if (id < 0 || id > INT32_MAX)
        fields_refuse(f, key, "names what is no token id");
    else if (c->n_stop == MODEL_MAX_STOPS)
        fields_refuse(f, key, "names too many ids");
    else if (id < c->n_vocab && f->status == GOSS_OK)
        c->stop[c->n_stop++] = (int)id;
}

static void add_harmony_stops(struct fields *f, struct model_config *c)
{
    if (c->n_vocab == HARMONY_VOCAB)
        for (int i = 0; i < HARMONY_STOPS; i++)
            add_stop(f, c, "eos_token_id", harmony_stops[i]);
}

/* ---- config.json */

static bool contains(const json_t *list, const char *text)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *item = json_string_value(json_array_get(list, i));
        if (item && strcmp(item, text) == 0)
            return true;
    }
    return false;
}

static void expect_true(struct fields *f, const char *key)
{
    if (fields_have(f, key) && !json_is_true(json_object_get(f->json, key)))
        fields_refuse(f, key, "is not true");
}

static void hf_experts(struct fields *f, struct model_config *c)
{
    bool both = fields_have(f, "experts_per_token") && fields_have(f, "num_experts_per_tok");
    read_integer(f, "num_local_experts", c, &c->n_expert);
    read_integer(f, fields_have(f, "experts_per_token") ? "experts_per_token" : "num_experts_per_tok", c, &c->n_active);
    if (both && fields_integer(f, "num_experts_per_tok", 1, INT32_MAX) != c->n_active)
        fields_refuse(f, "num_experts_per_tok", "differs from 'experts_per_token'");
    const json_t *quantization = json_object_get(f->json, "quantization_config");
    if (quantization && !json_is_null(quantization)) {
        struct fields q = *f;
        q.json = quantization;
        if (!json_is_object(quantization) || !fields_have(&q, "quant_method"))
            fields_refuse(f, "quantization_config", "names no quant_method");
        fields_expect_text(&q, "quant_method", "mxfp4");
        f->status = f->status ? f->status : q.status;
    }
}

/* transformers' default without layer_types: the even layers slide. */
static void hf_layers(struct fields *f, struct model_config *c)
{
    const json_t *types = json_object_get(f->json, "layer_types");
    bool any = false;
    read_integer(f, "num_hidden_layers", c, &c->n_layer);
    if (fields_have(f, "layer_types") && json_array_size(types) != (size_t)c->n_layer)
        fields_refuse(f, "layer_types", "is no list of one type per layer");
    for (int i = 0; i < c->n_layer && f->status == GOSS_OK; i++) {
        const char *type = json_string_value(json_array_get(types, (size_t)i));
        if (!fields_have(f, "layer_types"))
            c->sliding[i] = i % 2 == 0;
        else if (type && strcmp(type, "sliding_attention") == 0)
            c->sliding[i] = true;
        else if (!type || strcmp(type, "full_attention") != 0)
            fields_refuse(f, "layer_types", "holds a type other than sliding_attention and full_attention");
        any |= c->sliding[i];
    }
    c->window = 1;
    if (any || fields_have(f, "sliding_window"))
        read_integer(f, "sliding_window", c, &c->window);
}

/* Where YaRN's settings are, if anywhere: transformers 5 keeps theta and them together in rope_parameters. */
static void hf_rope(struct fields *f, struct model_config *c)
{
    const char *where = fields_have(f, "rope_parameters") ? "rope_parameters" : "rope_scaling";
    struct fields r = *f;
    r.json = json_object_get(f->json, where);
    if (fields_have(f, "rope_parameters") && fields_have(f, "rope_scaling") &&
        !json_equal(r.json, json_object_get(f->json, "rope_scaling")))
        fields_refuse(f, "rope_scaling", "differs from 'rope_parameters'");
    bool scaled = fields_have(f, where);
    if (scaled && !json_is_object(r.json))
        fields_refuse(f, where, "is no object");
    if (f->status)
        return;
    bool inside = scaled && fields_have(&r, "rope_theta");
    c->rope_theta = inside ? fields_number(&r, "rope_theta") : fields_number(f, "rope_theta");
    if (inside && fields_have(f, "rope_theta") && fields_number(f, "rope_theta") != c->rope_theta)
        fields_refuse(f, "rope_theta", "differs from the one in 'rope_parameters'");
    if (!scaled)
        return;
    const char *key = fields_have(&r, "rope_type") ? "rope_type" : "type";
    const char *type = json_string_value(json_object_get(r.json, key));
    if (type && strcmp(type, "default") == 0)
        return;
    if (!type)
        fields_refuse(&r, "rope_type", "is missing or no string");
    fields_expect_text(&r, key, "yarn");
    c->yarn = true;
    c->yarn_factor = fields_number(&r, "factor");
    c->yarn_beta_fast = fields_number_or(&r, "beta_fast", 32);
    c->yarn_beta_slow = fields_number_or(&r, "beta_slow", 1);
    struct fields *owner = fields_have(&r, "original_max_position_embeddings") ? &r : f;
    read_integer(owner, owner == &r ? "original_max_position_embeddings" : "initial_context_length", c,
                 &c->yarn_context);
    const json_t *truncate = json_object_get(r.json, "truncate");
    if (truncate && !json_is_boolean(truncate))
        fields_refuse(&r, "truncate", "is no boolean");
    c->yarn_truncate = !json_is_false(truncate);
    if (r.status == GOSS_OK && c->yarn_factor >= 1)
        fields_expect_number(&r, "attention_factor", 0.1 * log(c->yarn_factor) + 1);
    for (int i = 0; i < 2; i++)
        if (fields_have(&r, i ? "mscale" : "mscale_all_dim"))
            fields_refuse(&r, i ? "mscale" : "mscale_all_dim", "is not known");
    f->status = f->status ? f->status : r.status;
}

static void hf_stops(struct fields *f, const struct checkpoint *checkpoint, struct model_config *c)
{
    struct fields g = *f;
    if (checkpoint->generation && json_object_get(checkpoint->generation, "eos_token_id")) {
        g.json = checkpoint->generation;
        g.file = checkpoint->generation_file;
    }
    const json_t *eos = json_object_get(g.json, "eos_token_id");
    size_t n = json_is_array(eos) ? json_array_size(eos) : fields_have(&g, "eos_token_id");
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_is_array(eos) ? json_array_get(eos, i) : eos;
        if (!json_is_integer(id))
            fields_refuse(&g, "eos_token_id", "is no id nor a list of ids");
        add_stop(&g, c, "eos_token_id", json_integer_value(id));
    }
    f->status = g.status;
}

static goss_status read_hf(struct model_config *c, const struct checkpoint *checkpoint, goss_error *error)
{
    struct fields f = {.file = checkpoint->config_file, .json = checkpoint->config, .error = error};
    fields_expect_text(&f, "model_type", "gpt_oss");
    if (fields_have(&f, "architectures") && !contains(json_object_get(f.json, "architectures"), "GptOssForCausalLM"))
        fields_refuse(&f, "architectures", "does not hold GptOssForCausalLM, the only architecture known");
    fields_expect_text(&f, "hidden_act", "silu");
    expect_true(&f, "attention_bias");
    fields_expect_number(&f, "partial_rotary_factor", 1);
    fields_expect_number(&f, "swiglu_alpha", 1.702);
    hf_layers(&f, c);
    read_integer(&f, "hidden_size", c, &c->d_model);
    read_integer(&f, "num_attention_heads", c, &c->n_head);
    read_integer(&f, "num_key_value_heads", c, &c->n_kv_head);
    read_integer(&f, "head_dim", c, &c->head_dim);
    read_integer(&f, "intermediate_size", c, &c->d_ff);
    read_integer(&f, "vocab_size", c, &c->n_vocab);
    read_integer(&f, "max_position_embeddings", c, &c->max_context);
    c->rms_eps = (float)fields_number_or(&f, "rms_norm_eps", 1e-5);
    c->swiglu_limit = (float)fields_number_or(&f, "swiglu_limit", 7);
    hf_experts(&f, c);
    hf_rope(&f, c);
    hf_stops(&f, checkpoint, c);
    add_harmony_stops(&f, c);
    return f.status ? f.status : model_config_check(c, f.file, error);
}

/* ---- original/config.json */

static goss_status read_original(struct model_config *c, const struct checkpoint *checkpoint, goss_error *error)
{
    static const char *const known[] = {
        "num_hidden_layers",   "num_experts",         "experts_per_token", "vocab_size",
        "hidden_size",         "intermediate_size",   "swiglu_limit",      "head_dim",
        "num_attention_heads", "num_key_value_heads", "sliding_window",    "initial_context_length",
        "rope_theta",          "rope_scaling_factor", "rope_ntk_alpha",    "rope_ntk_beta"};
    struct fields f = {.file = checkpoint->config_file, .json = checkpoint->config, .error = error};
    const char *key;
    json_t *value;
    json_object_foreach(checkpoint->config, key, value)
    {
        bool found = false;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            found |= strcmp(known[i], key) == 0;
        if (!found)
            return error_set(error, GOSS_E_UNSUPPORTED, "%s: field '%.64s' is not known", f.file, key);
    }
    read_integer(&f, "num_hidden_layers", c, &c->n_layer);
    read_integer(&f, "num_experts", c, &c->n_expert);
    read_integer(&f, "experts_per_token", c, &c->n_active);
    read_integer(&f, "vocab_size", c, &c->n_vocab);
    read_integer(&f, "hidden_size", c, &c->d_model);
    read_integer(&f, "intermediate_size", c, &c->d_ff);
    c->swiglu_limit = (float)fields_number(&f, "swiglu_limit");
    read_integer(&f, "head_dim", c, &c->head_dim);
    read_integer(&f, "num_attention_heads", c, &c->n_head);
    read_integer(&f, "num_key_value_heads", c, &c->n_kv_head);
    read_integer(&f, "sliding_window", c, &c->window);
    read_integer(&f, "initial_context_length", c, &c->yarn_context);
    c->rope_theta = fields_number(&f, "rope_theta");
    c->yarn_factor = fields_number(&f, "rope_scaling_factor");
    c->yarn_beta_slow = fields_number(&f, "rope_ntk_alpha");
    c->yarn_beta_fast = fields_number(&f, "rope_ntk_beta");
    if (f.status == GOSS_OK && !(c->yarn_factor >= 1 && c->yarn_factor <= 4096))
        fields_refuse(&f, "rope_scaling_factor", "is not within 1..4096");
    if (f.status)
        return f.status;
    c->yarn = c->yarn_factor > 1;
    double context = c->yarn_context * c->yarn_factor;
    c->max_context = context < INT32_MAX ? (int)context : INT32_MAX;
    c->rms_eps = 1e-5f;
    for (int i = 0; i < c->n_layer; i++)
        c->sliding[i] = i % 2 == 0;
    add_harmony_stops(&f, c);
    return f.status ? f.status : model_config_check(c, f.file, error);
}

/* ---- GGUF */

/* A number p: the last of every p layers is full. A list: nonzero slides. */
static void gguf_layers(struct fields *f, struct model_config *c)
{
    char key[64];
    (void)snprintf(key, sizeof key, "%s.attention.sliding_window_pattern", f->prefix);
    const struct gguf_value *pattern = gguf_find(f->gguf, key);
    int64_t every = 2, value;
    bool any = false;
    read_integer(f, "block_count", c, &c->n_layer);
    if (pattern && !pattern->array)
        every = fields_integer(f, "attention.sliding_window_pattern", 0, INT32_MAX);
    else if (pattern && (pattern->count != (uint64_t)c->n_layer || !gguf_element(pattern, 0, &value)))
        fields_refuse(f, "attention.sliding_window_pattern", "is no list of one number per layer");
    for (int i = 0; i < c->n_layer && f->status == GOSS_OK; i++) {
        if (pattern && pattern->array)
            c->sliding[i] = gguf_element(pattern, (uint64_t)i, &value) && value;
        else
            c->sliding[i] = every == 0 || i % every < every - 1;
        any |= c->sliding[i];
    }
    c->window = 1;
    if (any || fields_have(f, "attention.sliding_window"))
        read_integer(f, "attention.sliding_window", c, &c->window);
}

/* Ollama's dialect always means YaRN and has no type. */
static void gguf_rope(struct fields *f, struct model_config *c, bool ollama)
{
    c->rope_theta = fields_number(f, "rope.freq_base");
    fields_expect_number(f, "rope.freq_base_swa", c->rope_theta);
    fields_expect_number(f, "rope.dimension_count", c->head_dim);
    fields_expect_number(f, "rope.scaling.attn_factor", 1);
    const char *type = NULL;
    uint64_t size = 0;
    char key[64];
    (void)snprintf(key, sizeof key, "%s.rope.scaling.type", f->prefix);
    if (f->status == GOSS_OK && gguf_find(f->gguf, key))
        f->status = gguf_text(f->gguf, key, &type, &size, f->error);
    if (f->status || (type && size == strlen("none") && memcmp(type, "none", size) == 0))
        return;
    if (!type && !ollama) {
        fields_expect_number(f, "rope.scaling.factor", 1);
        return;
    }
    if (!type && fields_number_or(f, "rope.scaling.factor", 1) == 1)
        return;
    fields_expect_text(f, "rope.scaling.type", "yarn");
    c->yarn = true;
    c->yarn_factor = fields_number(f, "rope.scaling.factor");
    read_integer(f, "rope.scaling.original_context_length", c, &c->yarn_context);
    c->yarn_beta_fast = fields_number_or(f, "rope.scaling.yarn_beta_fast", 32);
    c->yarn_beta_slow = fields_number_or(f, "rope.scaling.yarn_beta_slow", 1);
}

static void gguf_stops(struct fields *f, struct model_config *c)
{
    static const char *const keys[] = {"tokenizer.ggml.eos_token_ids", "tokenizer.ggml.eos_token_id"};
    for (int k = 0; k < 2; k++) {
        const struct gguf_value *ids = gguf_find(f->gguf, keys[k]);
        for (uint64_t i = 0; ids && i < ids->count && f->status == GOSS_OK; i++) {
            int64_t id = -1;
            (void)gguf_element(ids, i, &id);
            add_stop(f, c, "eos_token_id", id);
        }
    }
}

static goss_status read_gguf(struct model_config *c, const struct checkpoint *checkpoint, goss_error *error)
{
    const char *architecture;
    uint64_t size;
    struct fields f = {.file = checkpoint->gguf.file, .gguf = &checkpoint->gguf, .error = error};
    const struct tensor *embedding = tensor_find(&checkpoint->tensors, "token_embd.weight");
    goss_status status = gguf_text(f.gguf, "general.architecture", &architecture, &size, error);
    if (status)
        return status;
    for (int ollama = 0; ollama < 2; ollama++) {
        const char *known = ollama ? "gptoss" : "gpt-oss";
        if (size == strlen(known) && memcmp(architecture, known, size) == 0)
            f.prefix = known;
    }
    if (!f.prefix)
        return error_set(error, GOSS_E_UNSUPPORTED, "%s: general.architecture is '%.*s', not gpt-oss or gptoss", f.file,
                         (int)(size < 32 ? size : 32), architecture);
    if (!embedding || embedding->n_dim != 2 || embedding->dim[0] > INT32_MAX)
        return error_set(error, GOSS_E_FORMAT, "%s: tensor 'token_embd.weight' is missing or no matrix", f.file);
    gguf_layers(&f, c);
    c->n_vocab = (int)embedding->dim[0];
    fields_expect_number(&f, "vocab_size", c->n_vocab);
    read_integer(&f, "embedding_length", c, &c->d_model);
    read_integer(&f, "attention.head_count", c, &c->n_head);
    read_integer(&f, "attention.head_count_kv", c, &c->n_kv_head);
    read_integer(&f, "attention.key_length", c, &c->head_dim);
    fields_expect_number(&f, "attention.value_length", c->head_dim);
    bool own = fields_have(&f, "expert_feed_forward_length");
    read_integer(&f, own ? "expert_feed_forward_length" : "feed_forward_length", c, &c->d_ff);
    read_integer(&f, "expert_count", c, &c->n_expert);
    read_integer(&f, "expert_used_count", c, &c->n_active);
    read_integer(&f, "context_length", c, &c->max_context);
    c->rms_eps = (float)fields_number(&f, "attention.layer_norm_rms_epsilon");
    c->swiglu_limit = 7;
    fields_expect_number(&f, "expert_shared_count", 0);
    fields_expect_number(&f, "leading_dense_block_count", 0);
    fields_expect_number(&f, "expert_weights_scale", 1);
    gguf_rope(&f, c, strcmp(f.prefix, "gptoss") == 0);
    gguf_stops(&f, c);
    add_harmony_stops(&f, c);
    return f.status ? f.status : model_config_check(c, f.file, error);
}

goss_status model_config_read(struct model_config *c, const struct checkpoint *checkpoint, goss_error *error)
{
    *c = (struct model_config){0};
    switch (checkpoint->format) {
    case CHECKPOINT_HF: return read_hf(c, checkpoint, error);
    case CHECKPOINT_ORIGINAL: return read_original(c, checkpoint, error);
    case CHECKPOINT_GGUF: return read_gguf(c, checkpoint, error);
    }
    return error_set(error, GOSS_E_INTERNAL, "a checkpoint of no known format");
}
