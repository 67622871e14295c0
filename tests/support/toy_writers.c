#include "support/toy_writers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/fmath.h"
#include "support/test.h"
#include "weights/tile.h"

enum { FILE_LIMIT = 1 << 30 };

static const struct {
    const char *safetensors;
    int ggml;            /* type id */
    uint64_t bytes, per; /* bytes of `per` elements */
} types[] = {
    [TOY_F32] = {"F32", 0, 4, 1},           [TOY_F16] = {"F16", 1, 2, 1},
    [TOY_BF16] = {"BF16", 30, 2, 1},        [TOY_U8] = {"U8", -1, 1, 1},
    [TOY_Q8_0] = {NULL, 8, 34, 32},         [TOY_MXFP4] = {NULL, 39, 17, 32},
    [TOY_MXFP4_OLLAMA] = {NULL, 4, 17, 32},
};

static uint64_t elements(int n_dim, const uint64_t *dim)
{
    uint64_t n = 1;
    for (int i = 0; i < n_dim; i++)
        n *= dim[i];
    return n;
}

void toy_add_raw(struct toy_list *list, const char *name, enum toy_type type, int n_dim, const uint64_t *dim,
                 const void *data)
{
    if (list->n == list->capacity) {
        list->capacity = list->capacity ? 2 * list->capacity : 64;
        list->item = realloc(list->item, list->capacity * sizeof *list->item);
        assert_non_null(list->item);
    }
    struct toy_item *item = &list->item[list->n++];
    *item = (struct toy_item){.type = type, .n_dim = n_dim, .data = data};
    (void)snprintf(item->name, sizeof item->name, "%s", name);
    memcpy(item->dim, dim, (size_t)n_dim * sizeof *dim);
    item->bytes = elements(n_dim, dim) / types[type].per * types[type].bytes;
}

void toy_add_bf16(struct toy_list *list, const char *name, int n_dim, const uint64_t *dim, const uint16_t *x)
{
    toy_add_raw(list, name, TOY_BF16, n_dim, dim, x);
}

void toy_add_as(struct toy_list *list, const char *name, enum toy_type type, int n_dim, const uint64_t *dim,
                const uint16_t *x)
{
    uint64_t n = elements(n_dim, dim);
    uint8_t *to = arena_alloc(&list->arena, n * 4);
    assert_non_null(to);
    for (uint64_t i = 0; i < n; i++) {
        float value = bf16_to_f32(x[i]);
        uint16_t half = f32_to_f16(value);
        if (type == TOY_F32)
            memcpy(to + 4 * i, &value, 4);
        else
            memcpy(to + 2 * i, type == TOY_F16 ? &half : &x[i], 2);
    }
    for (uint64_t i = 0; type == TOY_Q8_0 && i < n; i += TILE_COLS) {
        float block[TILE_COLS];
        for (int j = 0; j < TILE_COLS; j++)
            block[j] = bf16_to_f32(x[i + (uint64_t)j]);
        q8_0_block(block, to + i / TILE_COLS * Q8_0_BYTES);
    }
    toy_add_raw(list, name, type, n_dim, dim, to);
}

static void save(const struct buffer *bytes, const char *folder, const char *name)
{
    char *path = folder ? file_join(folder, name) : strdup(name);
    assert_non_null(path);
    FILE *f = fopen(path, "wbe");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes->data, 1, bytes->size, f), bytes->size);
    assert_int_equal(fclose(f), 0);
    free(path);
}

static void put(struct buffer *b, const void *bytes, uint64_t n)
{
    assert_int_equal(buffer_append(b, bytes, n, NULL), GOSS_OK);
}

#define text(b, ...) assert_int_equal(buffer_append_format(b, NULL, __VA_ARGS__), GOSS_OK)

/* ---- safetensors */

void toy_write_safetensors(struct toy_list *list, const char *folder, const char *file, bool metadata)
{
    struct buffer b;
    uint64_t offset = 0, length;
    buffer_init(&b, FILE_LIMIT);
    put(&b, "\0\0\0\0\0\0\0\0{", 9);
    if (metadata)
        text(&b, "\"__metadata__\":{\"format\":\"pt\"},");
    for (size_t i = 0; i < list->n; i++) {
        const struct toy_item *item = &list->item[i];
        text(&b, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", i ? "," : "", item->name, types[item->type].safetensors);
        for (int d = 0; d < item->n_dim; d++)
            text(&b, "%s%llu", d ? "," : "", (unsigned long long)item->dim[d]);
        text(&b, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)offset,
             (unsigned long long)(offset + item->bytes));
        offset += item->bytes;
    }
    text(&b, "}");
    while (b.size % 8)
        text(&b, " ");
    length = b.size - 8;
    memcpy(b.data, &length, sizeof length);
    for (size_t i = 0; i < list->n; i++)
        put(&b, list->item[i].data, list->item[i].bytes);
    save(&b, folder, file);
    buffer_free(&b);
    list->n = 0;
}

void toy_write_shard(struct toy_list *list, const char *folder, int shard, int shards, struct toy_index *index)
{
    char file[64];
    (void)snprintf(file, sizeof file, "model-%05d-of-%05d.safetensors", shard, shards - 1); /* as published: from 0 */
    if (!index->text.limit)
        buffer_init(&index->text, FILE_LIMIT);
    for (size_t i = 0; i < list->n; i++)
        text(&index->text, "%s\"%s\":\"%s\"", index->text.size ? "," : "", list->item[i].name, file);
    toy_write_safetensors(list, folder, file, true);
}

void toy_write_index(struct toy_index *index, const char *folder)
{
    struct buffer b;
    buffer_init(&b, FILE_LIMIT);
    text(&b, "{\"metadata\":{\"total_size\":0},\"weight_map\":{%s}}", (const char *)index->text.data);
    save(&b, folder, "model.safetensors.index.json");
    buffer_free(&b);
    buffer_free(&index->text);
}

/* ---- JSON */

void toy_write_hf_config(const struct toy *t, const char *folder, bool rope5, bool bf16_experts)
{
    struct buffer b;
    const char *yarn = "\"beta_fast\":32.0,\"beta_slow\":1.0,\"factor\":32.0,"
                       "\"original_max_position_embeddings\":4096,\"rope_type\":\"yarn\",\"truncate\":false";
    buffer_init(&b, FILE_LIMIT);
    text(&b,
         "{\"architectures\":[\"GptOssForCausalLM\"],\"model_type\":\"gpt_oss\",\"attention_bias\":true,"
         "\"hidden_act\":\"silu\",\"tie_word_embeddings\":%s,\"eos_token_id\":263,\"rms_norm_eps\":1e-05,",
         t->tied ? "true" : "false");
    text(&b,
         "\"num_hidden_layers\":%d,\"hidden_size\":%d,\"num_attention_heads\":%d,\"num_key_value_heads\":%d,"
         "\"head_dim\":%d,\"intermediate_size\":%d,\"num_local_experts\":%d,\"num_experts_per_tok\":%d,"
         "\"experts_per_token\":%d,\"vocab_size\":%d,\"sliding_window\":%d,\"max_position_embeddings\":%d,"
         "\"initial_context_length\":4096,\"swiglu_limit\":%.9g,",
         t->n_layer, t->d_model, t->n_head, t->n_kv_head, t->head_dim, t->d_ff, t->n_expert, t->n_active, t->n_active,
         t->n_vocab, t->window, t->max_context, (double)t->swiglu_limit);
    if (!bf16_experts)
        text(&b, "\"quantization_config\":{\"quant_method\":\"mxfp4\",\"modules_to_not_convert\":[\"lm_head\"]},");
    if (rope5)
        text(&b, "\"rope_parameters\":{\"rope_theta\":150000.0,%s},", t->yarn ? yarn : "\"rope_type\":\"default\"");
    else if (t->yarn)
        text(&b, "\"rope_theta\":150000,\"rope_scaling\":{%s},", yarn);
    else
        text(&b, "\"rope_theta\":150000,\"rope_scaling\":null,");
    text(&b, "\"layer_types\":[");
    for (int l = 0; l < t->n_layer; l++)
        text(&b, "%s\"%s_attention\"", l ? "," : "", l % 2 || t->all_full ? "full" : "sliding");
    text(&b, "]}");
    save(&b, folder, "config.json");
    buffer_clear(&b);
    text(&b, "{\"bos_token_id\":259,\"do_sample\":true,\"eos_token_id\":[263,260,273],\"pad_token_id\":260}");
    save(&b, folder, "generation_config.json");
    buffer_free(&b);
}

void toy_write_original_config(const struct toy *t, const char *folder)
{
    struct buffer b;
    buffer_init(&b, FILE_LIMIT);
    text(&b,
         "{\"num_hidden_layers\":%d,\"num_experts\":%d,\"experts_per_token\":%d,\"vocab_size\":%d,\"hidden_size\":%d,"
         "\"intermediate_size\":%d,\"swiglu_limit\":%.9g,\"head_dim\":%d,\"num_attention_heads\":%d,"
         "\"num_key_value_heads\":%d,\"sliding_window\":%d,\"initial_context_length\":4096,\"rope_theta\":150000.0,"
         "\"rope_scaling_factor\":%s,\"rope_ntk_alpha\":1.0,\"rope_ntk_beta\":32.0}",
         t->n_layer, t->n_expert, t->n_active, t->n_vocab, t->d_model, t->d_ff, (double)t->swiglu_limit, t->head_dim,
         t->n_head, t->n_kv_head, t->window, t->yarn ? "32.0" : "1.0");
    save(&b, folder, "config.json");
    buffer_free(&b);
}

/* ---- the tokenizer: ids 0..255 are the bytes, then three merges, then the control tokens in their published order */

enum { CONTROLS = 21, FIRST_CONTROL = 256 + 3, WORDS = FIRST_CONTROL + CONTROLS };

static void control_name(int i, char name[32])
{
    static const char *const named[CONTROLS] = {
        [0] = "startoftext", [1] = "endoftext", [4] = "return",   [5] = "constrain", [7] = "channel",
        [8] = "start",       [9] = "end",       [10] = "message", [14] = "call",     [20] = "endofprompt"};
    if (named[i])
        (void)snprintf(name, 32, "<|%s|>", named[i]);
    else
        (void)snprintf(name, 32, "<|reserved_%d|>", 199998 + i);
}

/* The printable character that GPT-2's vocabulary writes for a byte, as UTF-8. */
static void byte_name(int byte, char name[32])
{
    int code = 256;
    if ((byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae)
        code = byte;
    else
        for (int b = 0; b < byte; b++)
            code += !((b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae);
    if (code < 128)
        (void)snprintf(name, 32, "%c", code);
    else
        (void)snprintf(name, 32, "%c%c", 0xc0 | code >> 6, 0x80 | (code & 63));
}

static void word(int id, char name[32])
{
    static const char *const merged[] = {"th", "the", "\xc4\xa0the"};
    if (id < 256)
        byte_name(id, name);
    else if (id < FIRST_CONTROL)
        (void)snprintf(name, 32, "%s", merged[id - 256]);
    else if (id < WORDS)
        control_name(id - FIRST_CONTROL, name);
    else
        (void)snprintf(name, 32, "[PAD%d]", id);
}

void toy_write_tokenizer_json(const char *folder)
{
    struct buffer b;
    char name[32];
    buffer_init(&b, FILE_LIMIT);
    text(&b, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[");
    for (int i = 0; i < CONTROLS; i++) {
        control_name(i, name);
        text(&b,
             "%s{\"id\":%d,\"content\":\"%s\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
             "\"normalized\":false,\"special\":true}",
             i ? "," : "", FIRST_CONTROL + i, name);
    }
    text(&b, "],\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\","
             "\"pattern\":{\"Regex\":\""
             "[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]*"
             "[\\\\p{Ll}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
             "[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]+"
             "[\\\\p{Ll}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
             "\\\\p{N}{1,3}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n/]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
             "\"},\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
             "\"trim_offsets\":true,\"use_regex\":false}]},\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\","
             "\"add_prefix_space\":true,\"trim_offsets\":true,\"use_regex\":true},\"model\":{\"type\":\"BPE\","
             "\"dropout\":null,\"unk_token\":null,\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,"
             "\"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges\":false,\"vocab\":{");
    for (int i = 0; i < FIRST_CONTROL; i++) {
        word(i, name);
        text(&b, "%s\"%s%s\":%d", i ? "," : "", *name == '"' || *name == '\\' ? "\\" : "", name, i);
    }
    text(&b, "},\"merges\":[[\"t\",\"h\"],[\"th\",\"e\"],[\"\xc4\xa0\",\"the\"]]}}");
    save(&b, folder, "tokenizer.json");
    buffer_free(&b);
}

/* ---- GGUF */

static void put_u32(struct buffer *b, uint32_t x)
{
    put(b, &x, sizeof x);
}

static void put_u64(struct buffer *b, uint64_t x)
{
    put(b, &x, sizeof x);
}

static void put_string(struct buffer *b, const char *s)
{
    put_u64(b, strlen(s));
    put(b, s, strlen(s));
}

/* Keys of the model lie under the architecture's name. */
struct gguf_meta {
    struct buffer b;
    const char *architecture;
    uint64_t n;
};

static void meta_key(struct gguf_meta *m, const char *key, uint32_t type)
{
    char full[128];
    (void)snprintf(full, sizeof full, "%s%s", *key == '.' ? m->architecture : "", key);
    put_string(&m->b, full);
    put_u32(&m->b, type);
    m->n++;
}

static void meta_u32(struct gguf_meta *m, const char *key, int value)
{
    meta_key(m, key, 4);
    put_u32(&m->b, (uint32_t)value);
}

static void meta_f32(struct gguf_meta *m, const char *key, float value)
{
    meta_key(m, key, 6);
    put(&m->b, &value, sizeof value);
}

static void meta_string(struct gguf_meta *m, const char *key, const char *value)
{
    meta_key(m, key, 8);
    put_string(&m->b, value);
}

static void meta_model(struct gguf_meta *m, const struct toy *t, bool ollama)
{
    meta_string(m, "general.architecture", m->architecture);
    meta_u32(m, "general.alignment", 32);
    meta_u32(m, ".block_count", t->n_layer);
    meta_u32(m, ".context_length", t->max_context);
    meta_u32(m, ".embedding_length", t->d_model);
    meta_u32(m, ".feed_forward_length", t->d_ff);
    meta_u32(m, ".attention.head_count", t->n_head);
    meta_u32(m, ".attention.head_count_kv", t->n_kv_head);
    meta_u32(m, ".attention.key_length", t->head_dim);
    meta_u32(m, ".attention.value_length", t->head_dim);
    meta_f32(m, ".attention.layer_norm_rms_epsilon", 1e-5f);
    meta_u32(m, ".attention.sliding_window", t->window);
    meta_u32(m, ".expert_count", t->n_expert);
    meta_u32(m, ".expert_used_count", t->n_active);
    meta_f32(m, ".rope.freq_base", 150000.0f);
    if (!ollama) {
        meta_u32(m, ".expert_feed_forward_length", t->d_ff);
        meta_string(m, ".rope.scaling.type", t->yarn ? "yarn" : "none");
    }
    if (t->all_full)
        meta_u32(m, ".attention.sliding_window_pattern", 1);
    if (t->yarn) {
        meta_f32(m, ".rope.scaling.factor", 32);
        meta_u32(m, ".rope.scaling.original_context_length", 4096);
    }
}

static void meta_tokenizer(struct gguf_meta *m, const struct toy *t)
{
    static const char *const merges[] = {"t h", "th e", "\xc4\xa0 the"};
    char name[32];
    meta_string(m, "tokenizer.ggml.model", "gpt2");
    meta_string(m, "tokenizer.ggml.pre", "gpt-4o");
    meta_key(m, "tokenizer.ggml.tokens", 9);
    put_u32(&m->b, 8);
    put_u64(&m->b, (uint64_t)t->n_vocab);
    for (int i = 0; i < t->n_vocab; i++) {
        word(i, name);
        put_string(&m->b, name);
    }
    meta_key(m, "tokenizer.ggml.token_type", 9);
    put_u32(&m->b, 5);
    put_u64(&m->b, (uint64_t)t->n_vocab);
    for (int i = 0; i < t->n_vocab; i++)
        put_u32(&m->b, i >= WORDS ? 5 : i >= FIRST_CONTROL ? 3 : 1);
    meta_key(m, "tokenizer.ggml.merges", 9);
    put_u32(&m->b, 8);
    put_u64(&m->b, 3);
    for (int i = 0; i < 3; i++)
        put_string(&m->b, merges[i]);
    meta_u32(m, "tokenizer.ggml.eos_token_id", 263);
    meta_key(m, "tokenizer.ggml.eos_token_ids", 9);
    put_u32(&m->b, 5);
    put_u64(&m->b, 3);
    put_u32(&m->b, 263);
    put_u32(&m->b, 260);
    put_u32(&m->b, 273);
}

static void pad(struct buffer *b)
{
    while (b->size % 32)
        put(b, "", 1);
}

static void write_gguf(const struct gguf_meta *meta, const struct toy_item *item, size_t n, const char *path)
{
    struct buffer b;
    uint64_t offset = 0;
    buffer_init(&b, FILE_LIMIT);
    put(&b, "GGUF", 4);
    put_u32(&b, 3);
    put_u64(&b, n);
    put_u64(&b, meta->n);
    put(&b, meta->b.data, meta->b.size);
    for (size_t i = 0; i < n; i++) {
        put_string(&b, item[i].name);
        put_u32(&b, (uint32_t)item[i].n_dim);
        for (int d = item[i].n_dim - 1; d >= 0; d--)
            put_u64(&b, item[i].dim[d]);
        put_u32(&b, (uint32_t)types[item[i].type].ggml);
        put_u64(&b, offset);
        offset += (item[i].bytes + 31) / 32 * 32;
    }
    pad(&b);
    for (size_t i = 0; i < n; i++) {
        put(&b, item[i].data, item[i].bytes);
        pad(&b);
    }
    save(&b, NULL, path);
    buffer_free(&b);
}

static void meta_split(struct gguf_meta *m, int no, int count, size_t tensors)
{
    meta_key(m, "split.no", 2);
    put(&m->b, &(uint16_t){(uint16_t)no}, 2);
    meta_key(m, "split.count", 2);
    put(&m->b, &(uint16_t){(uint16_t)count}, 2);
    meta_key(m, "split.tensors.count", 5);
    put_u32(&m->b, (uint32_t)tensors);
}

void toy_write_gguf_files(struct toy_list *list, const char *path, bool ollama, int files)
{
    char *name = strdup(path);
    assert_non_null(name);
    for (int i = 0; i < files; i++) {
        struct gguf_meta meta = {.architecture = ollama ? "gptoss" : "gpt-oss"};
        buffer_init(&meta.b, FILE_LIMIT);
        if (i == 0) {
            meta_model(&meta, list->toy, ollama);
            if (list->toy->tokenizer)
                meta_tokenizer(&meta, list->toy);
        }
        if (files > 1) {
            char *number = strstr(name, "-of-");
            assert_non_null(number);
            number[-1] = (char)('1' + i);
            meta_split(&meta, i, files, list->n);
        }
        size_t begin = list->n * (size_t)i / (size_t)files, end = list->n * (size_t)(i + 1) / (size_t)files;
        write_gguf(&meta, list->item + begin, end - begin, name);
        buffer_free(&meta.b);
    }
    free(name);
    list->n = 0;
}
