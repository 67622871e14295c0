#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "model/model.h"
#include "support/test.h"
#include "support/toy_checkpoint.h"
#include "text/tokenizer.h"
#include "weights/packed.h"

static struct toy small(void)
{
    struct toy toy = toy_default();
    toy.n_layer = 2;
    return toy;
}

static int count_files(const char *dir, const char *ending)
{
    int n = 0;
    DIR *folder = opendir(dir);
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        size_t a = strlen(entry->d_name), b = strlen(ending);
        n += a >= b && strcmp(entry->d_name + a - b, ending) == 0;
    }
    if (folder)
        closedir(folder);
    return n;
}

struct place {
    char *dir, *source, *cache;
    struct model_options options;
};

static struct place make_place(enum toy_form form)
{
    struct toy toy = small();
    struct place p = {.dir = toy_folder()};
    p.source = file_join(p.dir, "source");
    p.cache = file_join(p.dir, "cache");
    p.options.cache = p.cache;
    toy_write(&toy, form, p.source);
    return p;
}

static void leave_place(struct place *p)
{
    free(p->source);
    free(p->cache);
    toy_remove(p->dir);
}

static void a_checkpoint_is_packed_once(void **state)
{
    (void)state;
    struct place p = make_place(TOY_HF);
    for (int i = 0; i < 3; i++) {
        struct pack_progress progress = {0};
        struct model *m;
        p.options.progress = &progress;
        assert_int_equal(model_open(&m, p.source, &p.options, NULL), GOSS_OK);
        assert_int_equal(atomic_load(&progress.total) > 0, i == 0);
        assert_int_equal(m->config.n_layer, 2);
        assert_int_equal(m->layers[1].gate_up.count, 8);
        assert_int_equal(m->layers[1].gate_up.rows, 192);
        assert_int_equal((uintptr_t)m->layers[0].qkv.quants % 64, 0);
        assert_int_equal((uintptr_t)m->layers[0].gate_up.scales % 16, 0);
        model_close(m);
    }
    assert_int_equal(count_files(p.cache, ".gossamer"), 1);
    assert_int_equal(count_files(p.cache, ".partial"), 0);
    leave_place(&p);
}

static void other_options_and_changed_sources_are_packed_anew(void **state)
{
    (void)state;
    struct place p = make_place(TOY_HF);
    struct toy toy = small();
    struct model *m;
    uint8_t digest[SHA256_BYTES];
    assert_int_equal(model_open(&m, p.source, &p.options, NULL), GOSS_OK);
    memcpy(digest, packed_find(m->file, "head")->sha256, sizeof digest);
    model_close(m);
    p.options.pack.dense = PACK_Q8; /* the default, said in words */
    p.options.pack.experts = PACK_BF16;
    assert_int_equal(model_open(&m, p.source, &p.options, NULL), GOSS_OK);
    model_close(m);
    assert_int_equal(count_files(p.cache, ".gossamer"), 1);
    p.options.pack.dense = PACK_BF16;
    assert_int_equal(model_open(&m, p.source, &p.options, NULL), GOSS_OK);
    assert_int_equal(m->head.type, DTYPE_TILE_BF16);
    model_close(m);
    p.options.pack.dense = PACK_DEFAULT;
    toy.seed = 2;
    toy_write(&toy, TOY_HF, p.source);
    assert_int_equal(model_open(&m, p.source, &p.options, NULL), GOSS_OK);
    assert_memory_not_equal(digest, packed_find(m->file, "head")->sha256, sizeof digest);
    model_close(m);
    assert_int_equal(count_files(p.cache, ".gossamer"), 3);
    leave_place(&p);
}

static void packed_files_open_without_a_cache(void **state)
{
    (void)state;
    struct place p = make_place(TOY_GGUF_Q8);
    struct model *m;
    goss_error error;
    char *packed, *same;
    assert_int_equal(model_open(&m, p.source, NULL, &error), GOSS_E_ARGUMENT);
    assert_int_equal(model_packed_path(p.source, NULL, &packed, &error), GOSS_E_ARGUMENT);
    assert_int_equal(model_packed_path(p.source, &p.options, &packed, &error), GOSS_OK);
    assert_false(file_exists(packed));
    assert_int_equal(model_open(&m, p.source, &p.options, NULL), GOSS_OK);
    model_close(m);
    assert_true(file_exists(packed));
    assert_int_equal(model_open(&m, packed, NULL, NULL), GOSS_OK);
    model_close(m);
    assert_int_equal(model_packed_path(packed, NULL, &same, &error), GOSS_OK);
    assert_string_equal(packed, same);
    free(packed);
    free(same);
    leave_place(&p);
}

static void a_damaged_cache_is_made_anew(void **state)
{
    (void)state;
    struct place p = make_place(TOY_HF);
    struct model *m;
    char *packed;
    assert_int_equal(model_open(&m, p.source, &p.options, NULL), GOSS_OK);
    model_close(m);
    assert_int_equal(model_packed_path(p.source, &p.options, &packed, NULL), GOSS_OK);
    assert_int_equal(truncate(packed, 5000), 0);
    assert_int_equal(model_open(&m, p.source, &p.options, NULL), GOSS_OK);
    assert_int_equal(packed_verify(m->file, 1, NULL, NULL, NULL), GOSS_OK);
    model_close(m);
    free(packed);
    leave_place(&p);
}

/* Writes `version` where a packed file has its own. */
static void set_version(const char *packed, uint32_t version)
{
    FILE *f = fopen(packed, "r+be");
    assert_non_null(f);
    assert_int_equal(fseek(f, 8, SEEK_SET), 0);
    assert_int_equal(fwrite(&version, sizeof version, 1, f), 1);
    assert_int_equal(fclose(f), 0);
}

static void a_packed_file_of_another_version_is_refused_by_name_and_made_anew_in_the_cache(void **state)
{
    (void)state;
    struct place p = make_place(TOY_HF);
    struct pack_progress progress = {0};
    struct model *m;
    goss_error error;
    char *packed, expected[512];
    p.options.progress = &progress;
    assert_int_equal(model_open(&m, p.source, &p.options, NULL), GOSS_OK);
    model_close(m);
    assert_string_equal(progress.again.text, ""); /* the first time there is nothing to say */
    assert_int_equal(model_packed_path(p.source, &p.options, &packed, NULL), GOSS_OK);
    (void)snprintf(expected, sizeof expected, "%s: packed file version %d, this program reads %d: pack it again",
                   packed, PACKED_VERSION + 1, PACKED_VERSION);
    set_version(packed, PACKED_VERSION + 1);
    assert_int_equal(model_open(&m, packed, &p.options, &error), GOSS_E_UNSUPPORTED);
    assert_string_equal(error.text, expected);
    assert_int_equal(model_open(&m, p.source, &p.options, NULL), GOSS_OK);
    assert_string_equal(progress.again.text, expected);
    assert_int_equal(packed_verify(m->file, 1, NULL, NULL, NULL), GOSS_OK);
    model_close(m);
    assert_int_equal(count_files(p.cache, ".gossamer"), 1); /* the old one does not stay */
    free(packed);
    leave_place(&p);
}

static void processes_that_open_at_once_get_one_good_file(void **state)
{
    (void)state;
    enum { PROCESSES = 4 };
    struct place p = make_place(TOY_HF);
    pid_t child[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        child[i] = fork();
        if (child[i] == 0) {
            struct model *m;
            int failed = model_open(&m, p.source, &p.options, NULL) != GOSS_OK ||
                         packed_verify(m->file, 1, NULL, NULL, NULL) != GOSS_OK;
            _exit(failed);
        }
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status = -1;
        assert_int_equal(waitpid(child[i], &status, 0), child[i]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(count_files(p.cache, ".gossamer"), 1);
    assert_int_equal(count_files(p.cache, ".partial"), 0);
    leave_place(&p);
}

static void what_a_killed_process_left_is_removed(void **state)
{
    (void)state;
    struct place p = make_place(TOY_HF);
    char *packed, name[512];
    struct model *m;
    assert_int_equal(model_packed_path(p.source, &p.options, &packed, NULL), GOSS_OK);
    assert_int_equal(file_make_directories(p.cache, NULL), GOSS_OK);
    (void)snprintf(name, sizeof name, "%s.killed.partial", packed);
    FILE *f = fopen(name, "wbe");
    assert_non_null(f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(model_open(&m, p.source, &p.options, NULL), GOSS_OK);
    model_close(m);
    assert_int_equal(count_files(p.cache, ".partial"), 0);
    free(packed);
    leave_place(&p);
}

static void the_tokenizer_comes_with_the_model(void **state)
{
    (void)state;
    static const enum toy_form forms[] = {TOY_HF, TOY_GGUF_Q8};
    for (int i = 0; i < 2; i++) {
        struct place p = make_place(forms[i]);
        struct model *m;
        struct token_list ids = {0};
        const int32_t expected[] = {257, 258, 263}; /* "the", " the", return */
        assert_int_equal(model_open(&m, p.source, &p.options, NULL), GOSS_OK);
        assert_non_null(m->tokenizer);
        assert_int_equal(tokenizer_encode(m->tokenizer, "the the<|return|>", 17, true, &ids, NULL), GOSS_OK);
        assert_int_equal(ids.size, 3);
        assert_memory_equal(ids.id, expected, sizeof expected);
        token_list_free(&ids);
        model_close(m);
        leave_place(&p);
    }
    struct place p = make_place(TOY_ORIGINAL);
    struct model *m;
    assert_int_equal(model_open(&m, p.source, &p.options, NULL), GOSS_OK);
    assert_null(m->tokenizer);
    model_close(m);
    leave_place(&p);
}

static void a_model_is_described_packed_or_not(void **state)
{
    (void)state;
    struct place p = make_place(TOY_GGUF_Q8);
    struct model *m;
    char *packed;
    json_t *json;
    assert_int_equal(model_describe(p.source, &json, NULL), GOSS_OK);
    assert_string_equal(json_string_value(json_object_get(json, "format")), "gguf");
    assert_int_equal(json_array_size(json_object_get(json, "tensors")), 2 * 19 + 3);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(json, "config"), "n_expert")), 8);
    json_decref(json);
    assert_int_equal(model_open(&m, p.source, &p.options, NULL), GOSS_OK);
    model_close(m);
    assert_int_equal(model_packed_path(p.source, &p.options, &packed, NULL), GOSS_OK);
    assert_int_equal(model_describe(packed, &json, NULL), GOSS_OK);
    assert_int_equal(json_integer_value(json_object_get(json, "packed")), PACKED_VERSION);
    assert_int_equal(json_array_size(json_object_get(json, "sources")), 2 * 19 + 3);
    assert_int_equal(json_array_size(json_object_get(json, "sections")), 2 * 13 + 4);
    json_decref(json);
    goss_error error;
    assert_int_equal(model_describe(p.cache, &json, &error), GOSS_E_IO);
    assert_null(json);
    free(packed);
    leave_place(&p);
}

/* Writes the packed toy with one value of its table replaced, digest and all, and opens it. */
static void assert_table_refused(const struct place *p, const char *section, const char *key, json_t *value,
                                 const char *message)
{
    char *packed, *edited = file_join(p->dir, "edited");
    uint8_t *bytes;
    size_t size;
    uint64_t at;
    struct model *m;
    goss_error error = {0};
    assert_int_equal(model_packed_path(p->source, &p->options, &packed, NULL), GOSS_OK);
    assert_int_equal(file_read(packed, 1 << 30, &bytes, &size, NULL), GOSS_OK);
    memcpy(&at, bytes + 16, sizeof at);
    json_t *table = json_loadb((char *)bytes + at, size - at, 0, NULL), *list = json_object_get(table, "sections");
    json_t *target = strcmp(section, "config") == 0 ? json_object_get(table, "config") : NULL;
    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(json_string_value(json_object_get(json_array_get(list, i), "name")), section) == 0)
            target = json_array_get(list, i);
    assert_non_null(target);
    assert_int_equal(json_object_set_new(target, key, value), 0);
    char *text = json_dumps(table, JSON_COMPACT);
    uint64_t n = strlen(text);
    memcpy(bytes + 24, &n, sizeof n);
    assert_int_equal(sha256_of(text, n, bytes + 32, NULL), GOSS_OK);
    FILE *f = fopen(edited, "wbe");
    assert_int_equal(fwrite(bytes, 1, at, f), at);
    assert_int_equal(fwrite(text, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
    assert_int_not_equal(model_open(&m, edited, NULL, &error), GOSS_OK);
    assert_null(m);
    if (!strstr(error.text, message) || !strstr(error.text, "edited"))
        fail_msg("'%s' does not say '%s'", error.text, message);
    json_decref(table);
    free(text);
    free(bytes);
    free(packed);
    free(edited);
}

static void packed_files_of_another_shape_are_refused(void **state)
{
    (void)state;
    struct place p = make_place(TOY_HF);
    struct model *m;
    assert_int_equal(model_open(&m, p.source, &p.options, NULL), GOSS_OK);
    model_close(m);
    assert_table_refused(&p, "layer.1.qkv", "name", json_string("layer.7.qkv"), "section 'layer.1.qkv' is missing");
    assert_table_refused(&p, "config", "n_layer", json_integer(3), "'sliding'");
    assert_table_refused(&p, "config", "d_model", json_integer(32), "'embedding': 1 of 320 x 64");
    assert_table_refused(&p, "config", "n_expert", json_integer(4), "'layer.0.router': 1 of 8 x 64");
    assert_table_refused(&p, "config", "n_vocab", json_integer(-1), "'n_vocab' is -1");
    /* the same bytes, read as another type */
    assert_table_refused(&p, "layer.0.sinks", "type", json_string("U8"), "'layer.0.sinks'");
    assert_table_refused(&p, "layer.1.mlp_norm", "cols", json_integer(64), "'layer.1.mlp_norm'");
    leave_place(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_checkpoint_is_packed_once),
        cmocka_unit_test(other_options_and_changed_sources_are_packed_anew),
        cmocka_unit_test(packed_files_open_without_a_cache),
        cmocka_unit_test(a_damaged_cache_is_made_anew),
        cmocka_unit_test(a_packed_file_of_another_version_is_refused_by_name_and_made_anew_in_the_cache),
        cmocka_unit_test(processes_that_open_at_once_get_one_good_file),
        cmocka_unit_test(what_a_killed_process_left_is_removed),
        cmocka_unit_test(the_tokenizer_comes_with_the_model),
        cmocka_unit_test(a_model_is_described_packed_or_not),
        cmocka_unit_test(packed_files_of_another_shape_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
