#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fmath.h"
#include "model/model.h"
#include "support/test.h"
#include "support/toy_checkpoint.h"
#include "weights/checkpoint.h"
#include "weights/packed.h"
#include "weights/tile.h"

static struct toy small(void)
{
    struct toy toy = toy_default();
    toy.n_layer = 2;
    return toy;
}

static goss_status pack_path(const char *source, const char *to, const struct pack_options *options, goss_error *error)
{
    struct checkpoint *c;
    goss_status status = checkpoint_open(&c, source, error);
    if (status == GOSS_OK)
        status = pack(c, to, options, NULL, error);
    checkpoint_close(c);
    return status;
}

/* Where packed_toy writes a form. */
static char *of_form(const char *dir, enum toy_form form)
{
    char name[64];
    if (form == TOY_GGUF_SPLIT)
        return file_join(dir, "split-00001-of-00003.gguf");
    (void)snprintf(name, sizeof name, "%d", (int)form);
    return file_join(dir, name);
}

/* Writes the toy in a form, packs it and opens the packed file. */
static struct model *packed_toy(const struct toy *toy, enum toy_form form, const char *dir,
                                const struct pack_options *options)
{
    struct model *model = NULL;
    goss_error error = {0};
    char *source = of_form(dir, form), *to = file_join(dir, "packed");
    toy_write(toy, form, source);
    if (pack_path(source, to, options, &error) || model_open_packed(&model, to, &error))
        fail_msg("form %d: %s", form, error.text);
    free(source);
    free(to);
    return model;
}

/* All sections but the tokenizer's: GGUF names the ids that Hugging Face's files leave out. */
static void assert_same_tensors(const struct model *a, const struct model *b, const char *only)
{
    int compared = 0;
    for (size_t i = 0; i < a->file->n; i++) {
        const struct packed_section *x = &a->file->section[i], *y = packed_find(b->file, x->name);
        if (strcmp(x->name, "tokenizer") == 0 || (only && !strstr(x->name, only)))
            continue;
        assert_non_null(y);
        if (x->type != y->type || memcmp(x->sha256, y->sha256, sizeof x->sha256) != 0)
            fail_msg("section %s differs", x->name);
        compared++;
    }
    assert_true(compared > 0);
}

static void every_format_of_one_model_packs_to_the_same_tensors(void **state)
{
    (void)state;
    static const enum toy_form forms[] = {TOY_HF_SHARDED, TOY_HF_ROPE5,   TOY_ORIGINAL,    TOY_GGUF_Q8,   TOY_GGUF_BF16,
                                          TOY_GGUF_F32,   TOY_GGUF_FUSED, TOY_GGUF_OLLAMA, TOY_GGUF_SPLIT};
    struct toy toy = small();
    char *dir = toy_folder();
    struct model *hf = packed_toy(&toy, TOY_HF, dir, NULL);
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct model *other = packed_toy(&toy, forms[i], dir, NULL);
        assert_int_equal(hf->file->n - 1, other->file->n - (other->tokenizer != NULL));
        assert_same_tensors(hf, other, NULL);
        model_close(other);
    }
    model_close(hf);
    toy_remove(dir);
}

static void both_forms_of_bf16_experts_pack_to_the_same_tensors(void **state)
{
    (void)state;
    static const enum pack_type types[] = {PACK_DEFAULT, PACK_Q8};
    struct toy toy = small();
    char *dir = toy_folder();
    for (int i = 0; i < 2; i++) {
        struct pack_options options = {.experts = types[i]};
        struct model *stacked = packed_toy(&toy, TOY_HF_BF16, dir, &options);
        struct model *each = packed_toy(&toy, TOY_HF_PER_EXPERT, dir, &options);
        assert_int_equal(stacked->layers[0].gate_up.type, i ? DTYPE_TILE_Q8 : DTYPE_TILE_BF16);
        assert_same_tensors(stacked, each, NULL);
        if (i) { /* Q8_0 experts of a GGUF are taken over */
            struct model *gguf = packed_toy(&toy, TOY_GGUF_EXPERTS_Q8, dir, NULL);
            assert_same_tensors(stacked, gguf, NULL);
            model_close(gguf);
        }
        model_close(stacked);
        model_close(each);
    }
    toy_remove(dir);
}

/* Element (row, col) of matrix e, read by the words of tile.h. */
static float element(const struct matrix *m, int e, int row, int col)
{
    static const float e2m1[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    const uint8_t *quants = m->quants + (uint64_t)e * m->stride, *scales = m->scales + (uint64_t)e * m->stride;
    int group = row / 16, r = row % 16, block = col / 32, c = col % 32, blocks = m->cols / 32;
    uint16_t half;
    float x;
    switch (m->type) {
    case DTYPE_TILE_MXFP4: {
        uint8_t byte = quants[(group * blocks + block) * 256 + c / 8 * 64 + 4 * r + c % 4];
        int code = c % 8 < 4 ? byte & 15 : byte >> 4, exponent = scales[(group * blocks + block) * 16 + r] - 127;
        x = e2m1[code & 7];
        for (; exponent > 0; exponent--)
            x *= 2;
        for (; exponent < 0; exponent++)
            x /= 2;
        return code & 8 ? -x : x;
    }
    case DTYPE_TILE_Q8:
        memcpy(&half, scales + ((group * blocks + block) * 16 + r) * 2, sizeof half);
        return f16_to_f32(half) * (float)(int8_t)quants[(group * blocks + block) * 512 + c / 4 * 64 + 4 * r + c % 4];
    case DTYPE_TILE_BF16:
        memcpy(&half, quants + (((uint64_t)group * (uint64_t)m->cols + (uint64_t)col) * 16 + (uint64_t)r) * 2,
               sizeof half);
        return bf16_to_f32(half);
    default:
        memcpy(&x, quants + (((uint64_t)group * (uint64_t)m->cols + (uint64_t)col) * 16 + (uint64_t)r) * 4, sizeof x);
        return x;
    }
}

/* The values of a tensor of the toy, from a checkpoint whose experts are [out][in] bf16 tensors of their own. */
static const uint16_t *values(const struct checkpoint *c, const char *name)
{
    const struct tensor *t = tensor_find(&c->tensors, name);
    assert_non_null(t);
    assert_int_equal(t->type, DTYPE_BF16);
    assert_int_equal((uintptr_t)t->data % 2, 0);
    return (const uint16_t *)t->data;
}

static void every_weight_lies_where_the_layout_says(void **state)
{
    (void)state;
    struct toy toy = small();
    char *dir = toy_folder(), name[96];
    struct model *mxfp4 = packed_toy(&toy, TOY_HF, dir, NULL);
    struct model *bf16 = packed_toy(&toy, TOY_HF_PER_EXPERT, dir, &(struct pack_options){.dense = PACK_BF16});
    char *source = of_form(dir, TOY_HF_PER_EXPERT);
    struct checkpoint *c;
    assert_int_equal(checkpoint_open(&c, source, NULL), GOSS_OK);
    for (int e = 0; e < toy.n_expert; e++) {
        (void)snprintf(name, sizeof name, "model.layers.1.mlp.experts.gate_up_projs.%d.weight", e);
        const uint16_t *gate_up = values(c, name);
        (void)snprintf(name, sizeof name, "model.layers.1.mlp.experts.gate_up_projs.%d.bias", e);
        const uint16_t *bias = values(c, name);
        for (int row = 0; row < 2 * toy.d_ff; row++) {
            int up = row / 16 % 2, from = 2 * (row / 32 * 16 + row % 16) + up;
            assert_true(mxfp4->layers[1].gate_up_bias[e * 2 * toy.d_ff + row] == bf16_to_f32(bias[from]));
            for (int col = 0; col < toy.d_model; col++) {
                float expected = bf16_to_f32(gate_up[from * toy.d_model + col]);
                assert_true(element(&mxfp4->layers[1].gate_up, e, row, col) == expected);
                assert_true(element(&bf16->layers[1].gate_up, e, row, col) == expected);
            }
        }
        (void)snprintf(name, sizeof name, "model.layers.1.mlp.experts.down_projs.%d.weight", e);
        const uint16_t *down = values(c, name);
        for (int row = 0; row < toy.d_model; row++)
            for (int col = 0; col < toy.d_ff; col++)
                assert_true(element(&mxfp4->layers[1].down, e, row, col) == bf16_to_f32(down[row * toy.d_ff + col]));
    }
    int q = toy.n_head * toy.head_dim, kv = toy.n_kv_head * toy.head_dim;
    const uint16_t *k = values(c, "model.layers.0.self_attn.k_proj.weight");
    const uint16_t *v_bias = values(c, "model.layers.0.self_attn.v_proj.bias");
    const uint16_t *router = values(c, "model.layers.0.mlp.router.linear.weight");
    for (int row = 0; row < kv; row++)
        for (int col = 0; col < toy.d_model; col++) {
            float x = bf16_to_f32(k[row * toy.d_model + col]);
            assert_true(element(&bf16->layers[0].qkv, 0, q + row, col) == x);
            assert_true(element(&mxfp4->layers[0].qkv, 0, q + row, col) - x < 0.002f);
            assert_true(x - element(&mxfp4->layers[0].qkv, 0, q + row, col) < 0.002f);
        }
    assert_true(mxfp4->layers[0].qkv_bias[q + kv + 3] == bf16_to_f32(v_bias[3]));
    for (int row = 0; row < toy.n_expert; row++)
        assert_true(element(&mxfp4->layers[0].router, 0, row, 5) == bf16_to_f32(router[row * toy.d_model + 5]));
    assert_int_equal(bf16->embedding_type, DTYPE_BF16);
    assert_memory_equal(bf16->embedding, values(c, "model.embed_tokens.weight"), 2 * 320 * 64);
    assert_int_equal(mxfp4->embedding_type, DTYPE_Q8_0);
    checkpoint_close(c);
    model_close(mxfp4);
    model_close(bf16);
    free(source);
    toy_remove(dir);
}

static void q8_0_matrices_are_taken_over_bit_for_bit(void **state)
{
    (void)state;
    struct toy toy = small();
    char *dir = toy_folder(), *source = of_form(dir, TOY_GGUF_Q8);
    struct model *m = packed_toy(&toy, TOY_GGUF_Q8, dir, NULL);
    struct checkpoint *c;
    assert_int_equal(checkpoint_open(&c, source, NULL), GOSS_OK);
    const struct tensor *t = tensor_find(&c->tensors, "token_embd.weight");
    assert_memory_equal(m->embedding, t->data, t->bytes);
    checkpoint_close(c);
    model_close(m);
    free(source);
    toy_remove(dir);
}

static void odd_shapes_pack_as_well(void **state)
{
    (void)state;
    char *dir = toy_folder();
    struct toy toy = small();
    toy.n_expert = toy.n_active = 1;
    toy.no_sinks = true;
    toy.n_vocab = 301; /* the last row group is not full */
    toy.d_ff = 32;
    struct model *hf = packed_toy(&toy, TOY_HF, dir, NULL), *gguf = packed_toy(&toy, TOY_GGUF_Q8, dir, NULL);
    assert_same_tensors(hf, gguf, NULL);
    for (int i = 0; i < toy.n_head; i++)
        assert_true(hf->layers[1].sinks[i] == -FLT_MAX);
    assert_int_equal(hf->head.rows, 301);
    model_close(hf);
    model_close(gguf);
    toy_remove(dir);
}

static void threads_change_no_byte(void **state)
{
    (void)state;
    struct toy toy = small();
    char *dir = toy_folder(), *source = file_join(dir, "f"), *to = file_join(dir, "packed");
    uint8_t *first = NULL, *again;
    size_t n = 0, m;
    toy_write(&toy, TOY_HF, source);
    for (int threads = 1; threads <= 5; threads += 2) {
        assert_int_equal(pack_path(source, to, &(struct pack_options){.threads = threads}, NULL), GOSS_OK);
        assert_int_equal(file_read(to, 1 << 30, &again, &m, NULL), GOSS_OK);
        if (first) {
            assert_int_equal(m, n);
            assert_memory_equal(first, again, n);
            free(again);
        } else {
            first = again;
            n = m;
        }
    }
    free(first);
    free(source);
    free(to);
    toy_remove(dir);
}

static void source_digests_are_recorded(void **state)
{
    (void)state;
    struct toy toy = small();
    char *dir = toy_folder(), *source = of_form(dir, TOY_HF);
    struct model *m = packed_toy(&toy, TOY_HF, dir, NULL);
    struct checkpoint *c;
    assert_int_equal(checkpoint_open(&c, source, NULL), GOSS_OK);
    const json_t *list = json_object_get(m->file->header, "sources");
    assert_int_equal(json_array_size(list), c->tensors.n);
    for (size_t i = 0; i < c->tensors.n; i++) {
        const json_t *entry = json_array_get(list, i);
        const struct tensor *t = &c->tensors.tensor[i];
        uint8_t digest[SHA256_BYTES];
        char text[SHA256_TEXT];
        assert_int_equal(sha256_of(t->data, t->bytes, digest, NULL), GOSS_OK);
        sha256_text(digest, text);
        assert_string_equal(json_string_value(json_object_get(entry, "name")), t->name);
        assert_string_equal(json_string_value(json_object_get(entry, "sha256")), text);
    }
    checkpoint_close(c);
    model_close(m);
    free(source);
    toy_remove(dir);
}

/* ---- what is refused */

/* Overwrites n bytes of a tensor of the toy in folder f, packs, and expects a refusal that says all of message. */
static void assert_spoilt(const struct toy *toy, const char *tensor, uint64_t at, const void *bytes, size_t n,
                          const char *message)
{
    char *dir = toy_folder(), *source = file_join(dir, "f"), *to = file_join(dir, "packed");
    struct checkpoint *c;
    goss_error error = {0};
    toy_write(toy, TOY_HF, source);
    assert_int_equal(checkpoint_open(&c, source, &error), GOSS_OK);
    const struct tensor *t = tensor_find(&c->tensors, tensor);
    assert_non_null(t);
    FILE *f = fopen(t->file, "r+be");
    for (int i = 0; i < c->n_file; i++)
        if (strcmp(c->file[i].path, t->file) == 0)
            assert_int_equal(fseek(f, (long)(t->data - c->file[i].data + (ptrdiff_t)at), SEEK_SET), 0);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
    checkpoint_close(c);
    assert_int_equal(pack_path(source, to, NULL, &error), GOSS_E_FORMAT);
    if (!strstr(error.text, message) || !strstr(error.text, tensor))
        fail_msg("'%s' does not say '%s'", error.text, message);
    assert_false(file_exists(to));
    free(source);
    free(to);
    toy_remove(dir);
}

static void numbers_that_are_none_are_refused_by_place(void **state)
{
    (void)state;
    struct toy toy = small();
    const uint16_t nan = 0x7fc0, infinity = 0x7f80, minus = 0xff80, huge = 0x7f00;
    assert_spoilt(&toy, "model.layers.1.self_attn.k_proj.weight", (3 * 64 + 5) * 2, &nan, 2,
                  "expert 0, row 3, column 5: NaN");
    assert_spoilt(&toy, "lm_head.weight", 64 * 2 * 319, &infinity, 2, "row 319, column 0: infinity");
    assert_spoilt(&toy, "model.embed_tokens.weight", 0, &huge, 2, "row 0, column 0: too large for Q8_0");
    assert_spoilt(&toy, "model.layers.0.self_attn.sinks", 2, &infinity, 2, "row 1, column 0: infinity");
    assert_spoilt(&toy, "model.norm.weight", 0, &minus, 2, "row 0, column 0: infinity");
    assert_spoilt(&toy, "model.layers.0.mlp.router.weight", 0, &nan, 2, "NaN");
    assert_spoilt(&toy, "model.layers.0.mlp.experts.down_proj_bias", (64 * 7 + 1) * 2, &nan, 2, "expert 7, row 1");
}

static void mxfp4_scales_past_253_are_refused_by_place(void **state)
{
    (void)state;
    struct toy toy = small();
    assert_spoilt(&toy, "model.layers.1.mlp.experts.down_proj_scales", (64 * 2 + 9) * 3 + 1, "\xff", 1,
                  "expert 2, row 9, column 32: MXFP4 scale 255");
}

static void assert_config_refused(const struct toy *toy, enum toy_form form, const struct pack_options *options,
                                  const char *edit, const char *message)
{
    char *dir = toy_folder(), *source = file_join(dir, form < TOY_GGUF_Q8 ? "f" : "g"), *to = file_join(dir, "packed");
    goss_error error = {0};
    toy_write(toy, form, source);
    if (edit) { /* one character of config.json, found by what stands before it */
        char *config = file_join(source, "config.json");
        uint8_t *text;
        size_t n;
        assert_int_equal(file_read(config, 1 << 20, &text, &n, NULL), GOSS_OK);
        char *at = strstr((char *)text, edit);
        assert_non_null(at);
        at[strlen(edit)] = '6';
        FILE *f = fopen(config, "wbe");
        assert_int_equal(fwrite(text, 1, n, f), n);
        assert_int_equal(fclose(f), 0);
        free(text);
        free(config);
    }
    assert_int_not_equal(pack_path(source, to, options, &error), GOSS_OK);
    if (!strstr(error.text, message))
        fail_msg("'%s' does not say '%s'", error.text, message);
    free(source);
    free(to);
    toy_remove(dir);
}

static void tensors_that_do_not_fit_the_configuration_are_refused(void **state)
{
    (void)state;
    struct toy toy = small();
    assert_config_refused(&toy, TOY_HF, NULL, "\"intermediate_size\":", "the intermediate size is 66");
    assert_config_refused(&toy, TOY_HF, NULL, "\"vocab_size\":3",
                          "shape [320, 64], but the configuration needs [360, 64]");
    assert_config_refused(&toy, TOY_HF, NULL, "\"num_hidden_layers\":", "field 'layer_types'");
    assert_config_refused(&toy, TOY_HF, NULL,
                          "\"num_local_experts\":", "shape [8, 64], but the configuration needs [6, 64]");
    assert_config_refused(&toy, TOY_GGUF_Q8, &(struct pack_options){.dense = PACK_BF16}, NULL,
                          "tensor 'token_embd.weight' is Q8_0");
    toy.n_layer = 3;
    assert_config_refused(&toy, TOY_ORIGINAL, NULL,
                          "\"num_hidden_layers\":", "tensor 'block.3.attn.norm.scale' is missing");
    toy.n_vocab = 270; /* fewer rows than the tokenizer has ids */
    assert_config_refused(&toy, TOY_HF, NULL, NULL, "the tokenizer has 280 ids, the model only 270");
}

static void a_tensor_that_plays_no_role_is_refused(void **state)
{
    (void)state;
    struct toy toy = small();
    char *dir = toy_folder(), *source = file_join(dir, "f"), *config = file_join(source, "config.json");
    char *to = file_join(dir, "packed");
    uint8_t *text;
    size_t n;
    goss_error error = {0};
    toy_write(&toy, TOY_ORIGINAL, source);
    assert_int_equal(file_read(config, 1 << 20, &text, &n, NULL), GOSS_OK);
    *(strstr((char *)text, "layers\":2") + strlen("layers\":")) = '1';
    FILE *f = fopen(config, "wbe");
    assert_int_equal(fwrite(text, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(pack_path(source, to, NULL, &error), GOSS_E_UNSUPPORTED);
    assert_non_null(strstr(error.text, "tensor 'block.1.attn.norm.scale' is not part of a gpt-oss model"));
    free(text);
    free(config);
    free(source);
    free(to);
    toy_remove(dir);
}

static void a_cancelled_pack_leaves_nothing(void **state)
{
    (void)state;
    struct toy toy = small();
    struct pack_progress progress = {.cancel = true};
    struct checkpoint *c;
    char *dir = toy_folder(), *source = file_join(dir, "f"), *to = file_join(dir, "packed");
    toy_write(&toy, TOY_HF, source);
    assert_int_equal(checkpoint_open(&c, source, NULL), GOSS_OK);
    assert_int_equal(pack(c, to, NULL, &progress, NULL), GOSS_E_CANCELLED);
    toy_remove(source);
    assert_int_equal(rmdir(dir), 0); /* empty */
    assert_true(atomic_load(&progress.total) > 0);
    checkpoint_close(c);
    free(to);
    free(dir);
}

static void progress_counts_every_byte(void **state)
{
    (void)state;
    struct toy toy = small();
    struct pack_progress progress = {0};
    struct checkpoint *c;
    char *dir = toy_folder(), *source = file_join(dir, "f"), *to = file_join(dir, "packed");
    toy_write(&toy, TOY_HF, source);
    assert_int_equal(checkpoint_open(&c, source, NULL), GOSS_OK);
    assert_int_equal(pack(c, to, NULL, &progress, NULL), GOSS_OK);
    assert_int_equal(atomic_load(&progress.done), atomic_load(&progress.total));
    checkpoint_close(c);
    free(source);
    free(to);
    toy_remove(dir);
}

static void a_tied_head_is_the_embedding(void **state)
{
    (void)state;
    struct toy toy = small();
    toy.tied = true;
    char *dir = toy_folder();
    struct model *hf = packed_toy(&toy, TOY_HF, dir, NULL), *gguf = packed_toy(&toy, TOY_GGUF_Q8, dir, NULL);
    assert_same_tensors(hf, gguf, NULL);
    for (int row = 0; row < toy.n_vocab; row++)
        for (int col = 0; col < toy.d_model; col++) {
            const uint8_t *block = hf->embedding + (row * toy.d_model + col) / 32 * Q8_0_BYTES;
            uint16_t d;
            memcpy(&d, block, sizeof d);
            assert_true(element(&hf->head, 0, row, col) == f16_to_f32(d) * (float)(int8_t)block[2 + col % 32]);
        }
    model_close(hf);
    model_close(gguf);
    toy_remove(dir);
}

/* If this fails, programs of before and after the change cannot read each other's files: raise PACKED_VERSION, and put
 * the digest that the test prints here. */
static void the_bytes_of_a_packed_file_change_only_with_its_version(void **state)
{
    (void)state;
    static const struct {
        int version;
        const char *sha256;
    } known = {2, "b9a5fa6231e26565218bc82e9097caee5a73302493af48fc87d0ae9783c7a284"};
    struct toy toy = small();
    char *dir = toy_folder(), text[SHA256_TEXT];
    uint8_t digest[SHA256_BYTES];
    struct model *model = packed_toy(&toy, TOY_HF, dir, NULL);
    assert_int_equal(sha256_of(model->file->map.data, model->file->map.size, digest, NULL), GOSS_OK);
    sha256_text(digest, text);
    assert_int_equal(known.version, PACKED_VERSION);
    assert_string_equal(text, known.sha256);
    model_close(model);
    toy_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bytes_of_a_packed_file_change_only_with_its_version),
        cmocka_unit_test(every_format_of_one_model_packs_to_the_same_tensors),
        cmocka_unit_test(both_forms_of_bf16_experts_pack_to_the_same_tensors),
        cmocka_unit_test(every_weight_lies_where_the_layout_says),
        cmocka_unit_test(q8_0_matrices_are_taken_over_bit_for_bit),
        cmocka_unit_test(odd_shapes_pack_as_well),
        cmocka_unit_test(threads_change_no_byte),
        cmocka_unit_test(source_digests_are_recorded),
        cmocka_unit_test(numbers_that_are_none_are_refused_by_place),
        cmocka_unit_test(mxfp4_scales_past_253_are_refused_by_place),
        cmocka_unit_test(tensors_that_do_not_fit_the_configuration_are_refused),
        cmocka_unit_test(a_tensor_that_plays_no_role_is_refused),
        cmocka_unit_test(a_cancelled_pack_leaves_nothing),
        cmocka_unit_test(progress_counts_every_byte),
        cmocka_unit_test(a_tied_head_is_the_embedding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
