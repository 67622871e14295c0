#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/config.h"
#include "support/test.h"
#include "support/toy_checkpoint.h"
#include "weights/checkpoint.h"

/* A checkpoint that is nothing but its config.json and, perhaps, generation_config.json. */
static goss_status read_json(struct model_config *config, enum checkpoint_format format, json_t *json,
                             json_t *generation, goss_error *error)
{
    struct checkpoint c = {.format = format,
                           .config = json,
                           .config_file = "config.json",
                           .generation = generation,
                           .generation_file = "generation_config.json"};
    return model_config_read(config, &c, error);
}

static json_t *parse(const char *text)
{
    json_error_t where;
    json_t *json = json_loads(text, JSON_DECODE_ANY, &where);
    if (!json)
        fail_msg("%s: %s", text, where.text);
    return json;
}

static json_t *published(void)
{
    return parse("{\"architectures\":[\"GptOssForCausalLM\"],\"attention_bias\":true,\"attention_dropout\":0.0,"
                 "\"eos_token_id\":200002,\"experts_per_token\":4,\"head_dim\":64,\"hidden_act\":\"silu\","
                 "\"hidden_size\":2880,\"initial_context_length\":4096,\"intermediate_size\":2880,"
                 "\"max_position_embeddings\":131072,\"model_type\":\"gpt_oss\",\"num_attention_heads\":64,"
                 "\"num_experts_per_tok\":4,\"num_hidden_layers\":24,\"num_key_value_heads\":8,"
                 "\"num_local_experts\":32,\"pad_token_id\":199999,\"quantization_config\":{\"quant_method\":"
                 "\"mxfp4\"},\"rms_norm_eps\":1e-05,\"rope_scaling\":{\"beta_fast\":32.0,\"beta_slow\":1.0,"
                 "\"factor\":32.0,\"original_max_position_embeddings\":4096,\"rope_type\":\"yarn\","
                 "\"truncate\":false},\"rope_theta\":150000,\"sliding_window\":128,\"swiglu_limit\":7.0,"
                 "\"tie_word_embeddings\":false,\"vocab_size\":201088}");
}

static void the_published_configuration_is_read(void **state)
{
    (void)state;
    struct model_config c;
    json_t *json = published(), *generation = parse("{\"eos_token_id\":[200002,199999,200012]}");
    assert_int_equal(read_json(&c, CHECKPOINT_HF, json, generation, NULL), GOSS_OK);
    assert_int_equal(c.n_layer, 24);
    assert_int_equal(c.d_model, 2880);
    assert_int_equal(c.n_head, 64);
    assert_int_equal(c.n_kv_head, 8);
    assert_int_equal(c.head_dim, 64);
    assert_int_equal(c.d_ff, 2880);
    assert_int_equal(c.n_expert, 32);
    assert_int_equal(c.n_active, 4);
    assert_int_equal(c.n_vocab, 201088);
    assert_int_equal(c.window, 128);
    assert_true(c.sliding[0] && !c.sliding[1] && c.sliding[22] && !c.sliding[23]);
    assert_int_equal(c.max_context, 131072);
    assert_true(c.rms_eps == 1e-5f && c.swiglu_limit == 7.0f);
    assert_true(c.yarn && !c.yarn_truncate && c.rope_theta == 150000 && c.yarn_factor == 32);
    assert_true(c.yarn_beta_fast == 32 && c.yarn_beta_slow == 1 && c.yarn_context == 4096);
    assert_int_equal(c.n_stop, 3);
    assert_int_equal(c.stop[2], 200012);
    json_decref(json);
    json_decref(generation);
}

/* Sets key (or section.key) to a JSON text, or removes it if value is NULL. */
static void set(json_t *json, const char *path, const char *value)
{
    char section[64];
    const char *dot = strchr(path, '.');
    if (dot) {
        (void)snprintf(section, sizeof section, "%.*s", (int)(dot - path), path);
        json = json_object_get(json, section);
        path = dot + 1;
    }
    if (value)
        assert_int_equal(json_object_set_new(json, path, parse(value)), 0);
    else
        assert_int_equal(json_object_del(json, path), 0);
}

static void fields_that_ask_for_something_else_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *path, *value, *message;
    } cases[] = {
        {"model_type", "\"llama\"", "field 'model_type' is 'llama', only 'gpt_oss' is known"},
        {"architectures", "[\"LlamaForCausalLM\"]", "field 'architectures'"},
        {"hidden_act", "\"gelu\"", "field 'hidden_act' is 'gelu'"},
        {"attention_bias", "false", "field 'attention_bias'"},
        {"quantization_config.quant_method", "\"gptq\"", "field 'quant_method' is 'gptq'"},
        {"quantization_config", "[]", "field 'quantization_config'"},
        {"quantization_config", "{}", "field 'quantization_config'"},
        {"rope_scaling.rope_type", "\"llama3\"", "field 'rope_type' is 'llama3'"},
        {"rope_scaling.rope_type", "7", "field 'rope_type'"},
        {"rope_scaling.factor", "null", "field 'factor' is missing"},
        {"rope_scaling.factor", "0.5", "factor is 0.5"},
        {"rope_scaling.beta_fast", "0.5", "beta_fast 0.5"},
        {"rope_scaling.truncate", "1", "field 'truncate'"},
        {"rope_scaling.attention_factor", "2.0", "field 'attention_factor'"},
        {"rope_scaling.mscale", "1.0", "field 'mscale'"},
        {"rope_scaling", "\"yarn\"", "field 'rope_scaling'"},
        {"rope_parameters", "{\"rope_type\":\"default\"}", "field 'rope_scaling' differs"},
        {"rope_theta", "\"high\"", "field 'rope_theta' is no number"},
        {"rope_theta", "0", "rope_theta is 0"},
        {"num_experts_per_tok", "3", "field 'num_experts_per_tok' differs"},
        {"layer_types", "[\"full_attention\"]", "field 'layer_types'"},
        {"layer_types", "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24]", "field 'layer_types'"},
        {"num_hidden_layers", "0", "field 'num_hidden_layers' is 0"},
        {"num_hidden_layers", "513", "field 'num_hidden_layers' is 513"},
        {"num_hidden_layers", "2.5", "field 'num_hidden_layers' is 2.5"},
        {"num_hidden_layers", "1e300", "field 'num_hidden_layers'"},
        {"hidden_size", "-2880", "field 'hidden_size' is -2880"},
        {"hidden_size", "2881", "the hidden size is 2881, not a multiple of 32"},
        {"hidden_size", "9223372036854775807", "field 'hidden_size'"},
        {"hidden_size", "2097152", "field 'hidden_size' is 2097152, not an integer within 32..1048576"},
        {"intermediate_size", "48", "the intermediate size is 48, not a multiple of 32"},
        {"head_dim", "24", "field 'head_dim' is 24, not an integer within 32..256"},
        {"head_dim", "512", "field 'head_dim' is 512"},
        {"num_key_value_heads", "7", "64 attention heads, not a multiple of 7 key-value heads"},
        {"num_local_experts", "3", "4 experts per token of 3"},
        {"num_local_experts", "4097", "field 'num_local_experts' is 4097, not an integer within 1..4096"},
        {"eos_token_id", "-1", "field 'eos_token_id' names what is no token id"},
        {"vocab_size", "16777217", "field 'vocab_size' is 16777217"},
        {"sliding_window", "0", "field 'sliding_window' is 0"},
        {"sliding_window", "null", "field 'sliding_window' is missing"},
        {"max_position_embeddings", "16777217", "field 'max_position_embeddings' is 16777217"},
        {"rms_norm_eps", "0", "rms_eps is 0"},
        {"swiglu_limit", "-1", "swiglu_limit is -1"},
        {"swiglu_limit", "1e39", "swiglu_limit"},
        {"eos_token_id", "\"end\"", "field 'eos_token_id'"},
        {"eos_token_id", "[1,2,3,4,5,6,7,8,9]", "field 'eos_token_id' names too many"},
        {"partial_rotary_factor", "0.5", "field 'partial_rotary_factor' is 0.5"},
        {"swiglu_alpha", "1.0", "field 'swiglu_alpha' is 1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct model_config c;
        goss_error error = {0};
        json_t *json = published();
        set(json, cases[i].path, cases[i].value);
        if (read_json(&c, CHECKPOINT_HF, json, NULL, &error) == GOSS_OK)
            fail_msg("%s = %s is accepted", cases[i].path, cases[i].value);
        if (!strstr(error.text, cases[i].message) || !strstr(error.text, "config.json"))
            fail_msg("'%s' does not say '%s'", error.text, cases[i].message);
        json_decref(json);
    }
}

static void every_needed_field_is_missed(void **state)
{
    (void)state;
    static const char *const needed[] = {
        "head_dim",          "hidden_size",         "intermediate_size",   "max_position_embeddings",
        "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "num_local_experts",
        "rope_theta",        "sliding_window",      "vocab_size"};
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
        struct model_config c;
        goss_error error = {0};
        char message[96];
        json_t *json = published();
        set(json, needed[i], NULL);
        assert_int_equal(read_json(&c, CHECKPOINT_HF, json, NULL, &error), GOSS_E_FORMAT);
        (void)snprintf(message, sizeof message, "config.json: field '%s' is missing", needed[i]);
        assert_string_equal(error.text, message);
        json_decref(json);
    }
}

static void plain_rope_and_layers_without_a_window_are_read(void **state)
{
    (void)state;
    struct model_config c;
    json_t *json = published();
    set(json, "rope_scaling", NULL);
    set(json, "num_hidden_layers", "2");
    set(json, "layer_types", "[\"full_attention\",\"full_attention\"]");
    set(json, "sliding_window", "null");
    set(json, "num_local_experts", "1");
    set(json, "num_experts_per_tok", "1");
    set(json, "experts_per_token", NULL);
    set(json, "vocab_size", "500");
    set(json, "eos_token_id", "[200002,7]");
    assert_int_equal(read_json(&c, CHECKPOINT_HF, json, NULL, NULL), GOSS_OK);
    assert_false(c.yarn || c.sliding[0] || c.sliding[1]);
    assert_int_equal(c.window, 1);
    assert_int_equal(c.n_active, 1);
    assert_int_equal(c.n_stop, 1); /* the other one lies past the vocabulary */
    assert_int_equal(c.stop[0], 7);
    json_decref(json);
}

static void rope_parameters_of_transformers_5_are_read(void **state)
{
    (void)state;
    struct model_config a, b;
    json_t *json = published(), *again = published();
    json_t *rope = json_deep_copy(json_object_get(json, "rope_scaling"));
    assert_int_equal(json_object_set_new(rope, "rope_theta", json_real(150000)), 0);
    assert_int_equal(json_object_set_new(again, "rope_parameters", rope), 0);
    set(again, "rope_scaling", NULL);
    set(again, "rope_theta", NULL);
    assert_int_equal(read_json(&a, CHECKPOINT_HF, json, NULL, NULL), GOSS_OK);
    assert_int_equal(read_json(&b, CHECKPOINT_HF, again, NULL, NULL), GOSS_OK);
    assert_memory_equal(&a, &b, sizeof a);
    set(again, "rope_parameters.truncate", NULL); /* transformers then truncates */
    assert_int_equal(read_json(&b, CHECKPOINT_HF, again, NULL, NULL), GOSS_OK);
    assert_true(b.yarn_truncate);
    json_decref(json);
    json_decref(again);
}

static void the_original_configuration_says_the_same(void **state)
{
    (void)state;
    struct model_config a, b;
    goss_error error;
    json_t *json = published();
    json_t *original =
        parse("{\"num_hidden_layers\":24,\"num_experts\":32,\"experts_per_token\":4,\"vocab_size\":201088,"
              "\"hidden_size\":2880,\"intermediate_size\":2880,\"swiglu_limit\":7.0,\"head_dim\":64,"
              "\"num_attention_heads\":64,\"num_key_value_heads\":8,\"sliding_window\":128,"
              "\"initial_context_length\":4096,\"rope_theta\":150000.0,\"rope_scaling_factor\":32.0,"
              "\"rope_ntk_alpha\":1.0,\"rope_ntk_beta\":32.0}");
    assert_int_equal(read_json(&a, CHECKPOINT_HF, json, NULL, NULL), GOSS_OK);
    assert_int_equal(read_json(&b, CHECKPOINT_ORIGINAL, original, NULL, NULL), GOSS_OK);
    assert_memory_equal(&a, &b, sizeof a);
    set(original, "hidden_act", "\"silu\"");
    assert_int_equal(read_json(&b, CHECKPOINT_ORIGINAL, original, NULL, &error), GOSS_E_UNSUPPORTED);
    assert_non_null(strstr(error.text, "field 'hidden_act' is not known"));
    set(original, "hidden_act", NULL);
    set(original, "rope_ntk_beta", NULL);
    assert_int_equal(read_json(&b, CHECKPOINT_ORIGINAL, original, NULL, &error), GOSS_E_FORMAT);
    assert_non_null(strstr(error.text, "field 'rope_ntk_beta' is missing"));
    json_decref(json);
    json_decref(original);
}

static void every_format_of_the_toy_has_one_configuration(void **state)
{
    (void)state;
    static const enum toy_form forms[] = {TOY_HF, TOY_HF_ROPE5, TOY_GGUF_Q8, TOY_GGUF_FUSED, TOY_GGUF_OLLAMA};
    char *dir = toy_folder();
    for (int variant = 0; variant < 3; variant++) {
        struct toy toy = toy_default();
        struct model_config first = {0};
        toy.yarn = variant != 1;
        toy.all_full = variant == 2;
        for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
            struct checkpoint *c;
            struct model_config config;
            goss_error error = {0};
            char *path = file_join(dir, forms[i] >= TOY_GGUF_Q8 ? "m.gguf" : "hf");
            toy_write(&toy, forms[i], path);
            if (checkpoint_open(&c, path, &error) || model_config_read(&config, c, &error))
                fail_msg("%s", error.text);
            first = i ? first : config;
            assert_memory_equal(&first, &config, sizeof first);
            assert_int_equal(config.yarn, toy.yarn);
            assert_int_equal(config.sliding[0], !toy.all_full);
            checkpoint_close(c);
            free(path);
        }
    }
    toy_remove(dir);
}

static void a_configuration_survives_the_packed_form(void **state)
{
    (void)state;
    struct model_config a, b;
    goss_error error;
    json_t *json = published(), *saved;
    assert_int_equal(read_json(&a, CHECKPOINT_HF, json, NULL, NULL), GOSS_OK);
    a.rms_eps = 0.1f / 3;
    a.yarn_factor = 1 + 1.0 / 3;
    assert_int_equal(model_config_save(&a, &saved, NULL), GOSS_OK);
    char *text = json_dumps(saved, JSON_COMPACT);
    json_t *again = parse(text);
    assert_int_equal(model_config_load(&b, again, "f", NULL), GOSS_OK);
    assert_memory_equal(&a, &b, sizeof a);
    set(again, "stop", "[1,2,300000]");
    assert_int_equal(model_config_load(&b, again, "f", &error), GOSS_E_FORMAT);
    assert_string_equal(error.text, "f: stop id 300000 is outside of the vocabulary of 201088");
    set(again, "sliding", "[true]");
    assert_int_not_equal(model_config_load(&b, again, "f", &error), GOSS_OK);
    assert_non_null(strstr(error.text, "'sliding'"));
    set(again, "n_head", NULL);
    assert_int_not_equal(model_config_load(&b, again, "f", &error), GOSS_OK);
    assert_non_null(strstr(error.text, "'n_head' is missing"));
    assert_int_not_equal(model_config_load(&b, NULL, "f", &error), GOSS_OK);
    free(text);
    json_decref(saved);
    json_decref(again);
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_configuration_is_read),
        cmocka_unit_test(fields_that_ask_for_something_else_are_refused_by_name),
        cmocka_unit_test(every_needed_field_is_missed),
        cmocka_unit_test(plain_rope_and_layers_without_a_window_are_read),
        cmocka_unit_test(rope_parameters_of_transformers_5_are_read),
        cmocka_unit_test(the_original_configuration_says_the_same),
        cmocka_unit_test(every_format_of_the_toy_has_one_configuration),
        cmocka_unit_test(a_configuration_survives_the_packed_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
