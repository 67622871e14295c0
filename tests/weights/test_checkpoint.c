#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/test.h"
#include "support/toy_checkpoint.h"
#include "weights/checkpoint.h"

static struct toy small(void)
{
    struct toy toy = toy_default();
    toy.n_layer = 2;
    return toy;
}

static void write_text(const char *dir, const char *name, const char *text)
{
    char *path = file_join(dir, name);
    FILE *f = fopen(path, "wbe");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
    free(path);
}

static void remove_file(const char *dir, const char *name)
{
    char *path = file_join(dir, name);
    assert_int_equal(unlink(path), 0);
    free(path);
}

static void move(const char *dir, const char *from, const char *to)
{
    char *a = file_join(dir, from), *b = file_join(dir, to);
    assert_int_equal(rename(a, b), 0);
    free(a);
    free(b);
}

static void assert_refused(const char *path, goss_status status, const char *message)
{
    struct checkpoint *c;
    goss_error error;
    assert_int_equal(checkpoint_open(&c, path, &error), status);
    assert_null(c);
    if (!strstr(error.text, message))
        fail_msg("'%s' does not say '%s'", error.text, message);
}

static size_t tensors_of(const char *path, enum checkpoint_format format)
{
    struct checkpoint *c;
    goss_error error = {0};
    if (checkpoint_open(&c, path, &error) != GOSS_OK)
        fail_msg("%s", error.text);
    size_t n = c->tensors.n;
    assert_int_equal(c->format, format);
    checkpoint_close(c);
    return n;
}

static void every_format_is_recognised(void **state)
{
    (void)state;
    static const struct {
        enum toy_form form;
        enum checkpoint_format format;
        const char *name;
        size_t tensors;
    } cases[] = {
        {TOY_HF, CHECKPOINT_HF, "hf", 2 * 19 + 3},
        {TOY_HF_SHARDED, CHECKPOINT_HF, "sharded", 2 * 19 + 3},
        {TOY_HF_PER_EXPERT, CHECKPOINT_HF, "each", 2 * (13 + 4 * 8) + 3},
        {TOY_ORIGINAL, CHECKPOINT_ORIGINAL, "flat", 2 * 15 + 3},
        {TOY_GGUF_Q8, CHECKPOINT_GGUF, "m.gguf", 2 * 19 + 3},
        {TOY_GGUF_SPLIT, CHECKPOINT_GGUF, "m-00001-of-00003.gguf", 2 * 19 + 3},
    };
    struct toy toy = small();
    char *dir = toy_folder();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *path = file_join(dir, cases[i].name);
        toy_write(&toy, cases[i].form, path);
        assert_int_equal(tensors_of(path, cases[i].format), cases[i].tensors);
        free(path);
    }
    char *last = file_join(dir, "m-00003-of-00003.gguf");
    assert_int_equal(tensors_of(last, CHECKPOINT_GGUF), 2 * 19 + 3);
    free(last);
    toy_remove(dir);
}

static void original_is_found_from_its_parent(void **state)
{
    (void)state;
    struct toy toy = small();
    char *dir = toy_folder(), *original = file_join(dir, "original");
    toy_write(&toy, TOY_ORIGINAL, original);
    write_text(dir, "config.json", "{\"model_type\":\"gpt_oss\"}"); /* the folder that the files were taken from */
    assert_int_equal(tensors_of(dir, CHECKPOINT_ORIGINAL), 2 * 15 + 3);
    toy_write(&toy, TOY_HF, dir);
    assert_int_equal(tensors_of(dir, CHECKPOINT_HF), 2 * 19 + 3);
    free(original);
    toy_remove(dir);
}

static void a_missing_shard_is_named(void **state)
{
    (void)state;
    struct toy toy = small();
    char *dir = toy_folder();
    toy_write(&toy, TOY_HF_SHARDED, dir);
    move(dir, "model-00001-of-00002.safetensors", "elsewhere");
    assert_refused(dir, GOSS_E_IO, "model-00001-of-00002.safetensors: cannot open");
    remove_file(dir, "model.safetensors.index.json");
    assert_refused(dir, GOSS_E_IO, "part 1 of 2 is missing");
    move(dir, "elsewhere", "model-00001-of-00002.safetensors");
    assert_int_equal(tensors_of(dir, CHECKPOINT_HF), 2 * 19 + 3); /* complete by the numbers alone */
    move(dir, "model-00002-of-00002.safetensors", "elsewhere");
    assert_refused(dir, GOSS_E_IO, "part 2 of 2 is missing");
    move(dir, "elsewhere", "some.safetensors");
    assert_refused(dir, GOSS_E_FORMAT, "'some.safetensors' is not numbered");
    toy_remove(dir);
}

static void an_index_may_not_lead_astray(void **state)
{
    (void)state;
    struct toy toy = small();
    char *dir = toy_folder();
    toy_write(&toy, TOY_HF_SHARDED, dir);
    const char *index = "model.safetensors.index.json";
    write_text(dir, index, "{\"weight_map\":{\"lm_head.weight\":\"../model.safetensors\"}}");
    assert_refused(dir, GOSS_E_FORMAT, "'../model.safetensors' is no plain name");
    write_text(dir, index, "{\"weight_map\":{\"lm_head.weight\":\"/etc/passwd\"}}");
    assert_refused(dir, GOSS_E_FORMAT, "no plain name");
    write_text(dir, index, "{\"weight_map\":{\"lm_head.weight\":\"model-00000-of-00002.safetensors\"}}");
    assert_refused(dir, GOSS_E_FORMAT, "tensor 'lm_head.weight' is not in 'model-00000-of-00002.safetensors'");
    write_text(dir, index, "{\"weight_map\":{\"lm_head.weight\":7}}");
    assert_refused(dir, GOSS_E_FORMAT, "lm_head.weight");
    write_text(dir, index, "{\"weight_map\":{}}");
    assert_refused(dir, GOSS_E_FORMAT, "weight_map");
    write_text(dir, index, "{\"weight_map\":");
    assert_refused(dir, GOSS_E_FORMAT, index);
    toy_remove(dir);
}

static void two_shards_may_not_hold_the_same_tensor(void **state)
{
    (void)state;
    struct toy toy = small();
    char *dir = toy_folder();
    toy_write(&toy, TOY_HF_SHARDED, dir);
    toy_write(&toy, TOY_HF, dir); /* model.safetensors with all tensors */
    write_text(dir, "model.safetensors.index.json",
               "{\"weight_map\":{\"lm_head.weight\":\"model-00002-of-00002.safetensors\","
               "\"model.norm.weight\":\"model.safetensors\"}}");
    assert_refused(dir, GOSS_E_FORMAT, "is there twice");
    toy_remove(dir);
}

static void folders_without_a_model_are_refused(void **state)
{
    (void)state;
    struct toy toy = small();
    char *dir = toy_folder();
    assert_refused(dir, GOSS_E_IO, "config.json: cannot open");
    write_text(dir, "config.json", "{\"model_type\":\"gpt_oss\"}");
    assert_refused(dir, GOSS_E_IO, "no safetensors file");
    write_text(dir, "config.json", "{}");
    assert_refused(dir, GOSS_E_UNSUPPORTED, "config.json: neither");
    write_text(dir, "config.json", "[1]");
    assert_refused(dir, GOSS_E_FORMAT, "config.json: no JSON object");
    toy_write(&toy, TOY_HF, dir);
    write_text(dir, "generation_config.json", "");
    assert_refused(dir, GOSS_E_FORMAT, "generation_config.json");
    write_text(dir, "weights.txt", "no weights");
    char *path = file_join(dir, "weights.txt");
    assert_refused(path, GOSS_E_UNSUPPORTED, "weights.txt: neither");
    assert_refused("/nowhere", GOSS_E_IO, "/nowhere: cannot open");
    assert_refused("/dev/zero", GOSS_E_IO, "not a regular file");
    free(path);
    toy_remove(dir);
}

static void split_parts_must_belong_together(void **state)
{
    (void)state;
    struct toy toy = small();
    char *dir = toy_folder(), *first = file_join(dir, "m-00001-of-00003.gguf");
    toy_write(&toy, TOY_GGUF_SPLIT, first);
    move(dir, "m-00002-of-00003.gguf", "two");
    assert_refused(first, GOSS_E_IO, "m-00002-of-00003.gguf: cannot open");
    move(dir, "m-00003-of-00003.gguf", "m-00002-of-00003.gguf");
    assert_refused(first, GOSS_E_FORMAT, "m-00002-of-00003.gguf: split.no is 2, not 1");
    move(dir, "m-00001-of-00003.gguf", "renamed.gguf");
    char *renamed = file_join(dir, "renamed.gguf");
    assert_refused(renamed, GOSS_E_FORMAT, "split.count is 3");
    free(first);
    free(renamed);
    toy_remove(dir);
}

static void identity_follows_the_files(void **state)
{
    (void)state;
    struct toy toy = small();
    char *dir = toy_folder();
    uint8_t digest[3][SHA256_BYTES];
    toy_write(&toy, TOY_HF, dir);
    for (int i = 0; i < 3; i++) {
        struct checkpoint *c;
        if (i == 2)
            write_text(dir, "generation_config.json", "{}");
        assert_int_equal(checkpoint_open(&c, dir, NULL), GOSS_OK);
        assert_int_equal(checkpoint_identity(c, digest[i], NULL), GOSS_OK);
        checkpoint_close(c);
    }
    assert_memory_equal(digest[0], digest[1], SHA256_BYTES);
    assert_memory_not_equal(digest[0], digest[2], SHA256_BYTES);
    toy_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_is_recognised),
        cmocka_unit_test(original_is_found_from_its_parent),
        cmocka_unit_test(a_missing_shard_is_named),
        cmocka_unit_test(an_index_may_not_lead_astray),
        cmocka_unit_test(two_shards_may_not_hold_the_same_tensor),
        cmocka_unit_test(folders_without_a_model_are_refused),
        cmocka_unit_test(split_parts_must_belong_together),
        cmocka_unit_test(identity_follows_the_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
