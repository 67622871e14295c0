/* Tokenizers read from tokenizer.json and from a GGUF's metadata, and kept in a packed file: the same ids as Hugging
 * Face tokenizers gives, and nothing but errors from hostile files. */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "support/test.h"
#include "text/tokenizer.h"

/* One of the five vectors/small_NAME.json (tests/oracle/tokenizer_vectors.py). */
struct small {
    const char *name, *gguf_pre;
    json_t *root, *spec;
    struct tokenizer *tokenizer;
};

static struct small smalls[] = {
    {.name = "gpt2", .gguf_pre = "gpt-2"},   {.name = "digits", .gguf_pre = "smollm"},
    {.name = "o200k", .gguf_pre = "gpt-4o"}, {.name = "llama3", .gguf_pre = "llama-bpe"},
    {.name = "qwen2", .gguf_pre = "qwen2"},
};
enum { N_SMALL = sizeof smalls / sizeof *smalls };

static goss_status open_spec(struct tokenizer **tokenizer, const json_t *spec, goss_error *error)
{
    char *text = json_dumps(spec, JSON_COMPACT);
    assert_non_null(text);
    goss_status status = tokenizer_open_json(tokenizer, (const uint8_t *)text, strlen(text), "tokenizer.json", error);
    free(text);
    return status;
}

static int open_smalls(void **state)
{
    (void)state;
    for (struct small *small = smalls; small < smalls + N_SMALL; small++) {
        char path[512];
        json_error_t fault;
        goss_error error;
        (void)snprintf(path, sizeof path, "%s/text/vectors/small_%s.json", TEST_DATA, small->name);
        small->root = json_load_file(path, JSON_ALLOW_NUL, &fault);
        if (!small->root)
            fail_msg("%s: %s", path, fault.text);
        small->spec = json_object_get(small->root, "tokenizer");
        if (open_spec(&small->tokenizer, small->spec, &error))
            fail_msg("%s: %s", path, error.text);
    }
    return 0;
}

static int close_smalls(void **state)
{
    (void)state;
    for (struct small *small = smalls; small < smalls + N_SMALL; small++) {
        tokenizer_close(small->tokenizer);
        json_decref(small->root);
    }
    return 0;
}

static void expect_cases(const struct small *small, const struct tokenizer *tokenizer)
{
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(small->root, "cases"), i, item)
    {
        const json_t *text = json_object_get(item, "text"), *ids = json_object_get(item, "ids");
        struct token_list found = {0};
        assert_int_equal(tokenizer_encode(tokenizer, json_string_value(text), json_string_length(text),
                                          json_is_true(json_object_get(item, "control")), &found, NULL),
                         GOSS_OK);
        bool equal = found.size == json_array_size(ids);
        for (size_t k = 0; equal && k < found.size; k++)
            equal = found.id[k] == json_integer_value(json_array_get(ids, k));
        if (!equal)
            fail_msg("%s: case %zu '%s' differs", small->name, i, json_string_value(text));
        token_list_free(&found);
    }
    assert_true(i > 70);
}

static void a_tokenizer_json_of_every_known_pattern_gives_the_ids_of_its_own_library(void **state)
{
    (void)state;
    for (int i = 0; i < N_SMALL; i++)
        expect_cases(&smalls[i], smalls[i].tokenizer);
}

static void saved_tables_loaded_again_give_the_same_ids(void **state)
{
    (void)state;
    for (int i = 0; i < N_SMALL; i++) {
        struct buffer tables;
        struct tokenizer *loaded;
        buffer_init(&tables, 1u << 30);
        assert_int_equal(tokenizer_save(smalls[i].tokenizer, &tables, NULL), GOSS_OK);
        assert_int_equal(tokenizer_load(&loaded, tables.data, tables.size, "packed", NULL), GOSS_OK);
        expect_cases(&smalls[i], loaded);
        tokenizer_close(loaded);
        buffer_free(&tables);
    }
}

/* The same vocabulary in the form of a GGUF's metadata. */
struct gguf {
    struct tokenizer_gguf source;
    struct tokenizer_text *token, *merge;
    int32_t *type;
    char **merge_text;
};

static struct tokenizer_text text_of(const char *text)
{
    return (struct tokenizer_text){(const uint8_t *)text, strlen(text)};
}

static struct gguf as_gguf(const struct small *small)
{
    json_t *model = json_object_get(small->spec, "model"), *vocab = json_object_get(model, "vocab"), *value;
    json_t *merges = json_object_get(model, "merges"), *added = json_object_get(small->spec, "added_tokens");
    struct gguf gguf = {.source = {.file = "model.gguf", .pre = small->gguf_pre}};
    size_t n = json_object_size(vocab) + json_array_size(added), i;
    const char *text;
    gguf.token = calloc(n, sizeof *gguf.token);
    gguf.type = calloc(n, sizeof *gguf.type);
    gguf.merge = calloc(json_array_size(merges), sizeof *gguf.merge);
    gguf.merge_text = calloc(json_array_size(merges), sizeof *gguf.merge_text);
    assert_true(gguf.token && gguf.type && gguf.merge && gguf.merge_text);
    for (i = 0; i < n; i++)
        gguf.type[i] = 5;
    json_object_foreach(vocab, text, value)
    {
        gguf.token[json_integer_value(value)] = text_of(text);
        gguf.type[json_integer_value(value)] = 1;
    }
    json_array_foreach(added, i, value)
    {
        json_int_t id = json_integer_value(json_object_get(value, "id"));
        gguf.token[id] = text_of(json_string_value(json_object_get(value, "content")));
        gguf.type[id] = json_is_true(json_object_get(value, "special")) ? 3 : 4;
    }
    json_array_foreach(merges, i, value)
    {
        const char *left = json_string_value(json_array_get(value, 0));
        const char *right = json_string_value(json_array_get(value, 1));
        gguf.merge_text[i] = malloc(strlen(left) + strlen(right) + 2);
        assert_non_null(gguf.merge_text[i]);
        (void)sprintf(gguf.merge_text[i], "%s %s", left, right);
        gguf.merge[i] = text_of(gguf.merge_text[i]);
    }
    gguf.source.n_token = n;
    gguf.source.n_merge = json_array_size(merges);
    gguf.source.token = gguf.token;
    gguf.source.merge = gguf.merge;
    gguf.source.type = gguf.type;
    return gguf;
}

static void gguf_free(struct gguf *gguf)
{
    for (size_t i = 0; i < gguf->source.n_merge; i++)
        free(gguf->merge_text[i]);
    free(gguf->merge_text);
    free(gguf->merge);
    free(gguf->token);
    free(gguf->type);
}

static void a_gguf_with_the_same_vocabulary_gives_the_same_ids(void **state)
{
    (void)state;
    for (int i = 0; i < N_SMALL; i++) {
        struct gguf gguf = as_gguf(&smalls[i]);
        struct tokenizer *tokenizer;
        goss_error error;
        if (tokenizer_open_gguf(&tokenizer, &gguf.source, &error))
            fail_msg("%s: %s", smalls[i].name, error.text);
        expect_cases(&smalls[i], tokenizer);
        tokenizer_close(tokenizer);
        gguf_free(&gguf);
    }
}

static void merges_that_a_gguf_lacks_are_derived_from_the_ids(void **state)
{
    (void)state;
    struct gguf gguf = as_gguf(&smalls[2]);
    struct tokenizer *tokenizer;
    uint64_t n_merge = gguf.source.n_merge;
    gguf.source.n_merge = 0;
    assert_int_equal(tokenizer_open_gguf(&tokenizer, &gguf.source, NULL), GOSS_OK);
    expect_cases(&smalls[2], tokenizer); /* trained ids rise with the ranks of their merges */
    tokenizer_close(tokenizer);
    gguf.source.n_merge = n_merge;
    gguf_free(&gguf);
}

static void a_gguf_with_damaged_tokens_is_refused(void **state)
{
    (void)state;
    struct gguf gguf = as_gguf(&smalls[0]);
    struct tokenizer *tokenizer;
    goss_error error;
    struct tokenizer_text token = gguf.token[100], merge = gguf.merge[3];

    gguf.source.pre = "falcon";
    assert_int_equal(tokenizer_open_gguf(&tokenizer, &gguf.source, &error), GOSS_E_UNSUPPORTED);
    assert_non_null(strstr(error.text, "model.gguf: tokenizer.ggml.pre: splitting pattern 'falcon'"));
    assert_null(tokenizer);
    gguf.source.pre = "gpt-2";

    gguf.token[100] = text_of("a b");
    assert_int_equal(tokenizer_open_gguf(&tokenizer, &gguf.source, &error), GOSS_E_FORMAT);
    assert_non_null(strstr(error.text, "token 100: 'a b' is not in the byte-level spelling"));
    gguf.token[100] = (struct tokenizer_text){(const uint8_t *)"\xFF\xFE", 2};
    assert_int_equal(tokenizer_open_gguf(&tokenizer, &gguf.source, &error), GOSS_E_FORMAT);
    gguf.token[100] = gguf.token[101];
    assert_int_equal(tokenizer_open_gguf(&tokenizer, &gguf.source, &error), GOSS_E_FORMAT);
    assert_non_null(strstr(error.text, "ids 100 and 101 have the same text"));
    gguf.token[100] = (struct tokenizer_text){(const uint8_t *)"", 0};
    assert_int_equal(tokenizer_open_gguf(&tokenizer, &gguf.source, &error), GOSS_E_FORMAT);
    gguf.token[100] = token;

    gguf.type[100] = 9;
    assert_int_equal(tokenizer_open_gguf(&tokenizer, &gguf.source, &error), GOSS_E_UNSUPPORTED);
    assert_non_null(strstr(error.text, "token_type: 9 of token 100"));
    gguf.type[100] = 1;

    gguf.merge[3] = text_of("ab");
    assert_int_equal(tokenizer_open_gguf(&tokenizer, &gguf.source, &error), GOSS_E_FORMAT);
    assert_non_null(strstr(error.text, "merge 3 has no blank"));
    gguf.merge[3] = gguf.merge[2];
    assert_int_equal(tokenizer_open_gguf(&tokenizer, &gguf.source, &error), GOSS_E_FORMAT);
    assert_non_null(strstr(error.text, "merge 3 repeats an earlier one"));
    gguf.merge[3] = merge;

    gguf.source.n_token = UINT64_MAX;
    assert_int_equal(tokenizer_open_gguf(&tokenizer, &gguf.source, &error), GOSS_E_LIMIT);
    gguf.source.n_token = 1; /* no more than one token, so no merge finds its own */
    assert_int_equal(tokenizer_open_gguf(&tokenizer, &gguf.source, &error), GOSS_E_FORMAT);
    gguf_free(&gguf);
}

/* A tokenizer.json with one place open for harm. */
#define MODEL(more, vocab, merges) "\"model\":{\"type\":\"BPE\"," more "\"vocab\":{" vocab "},\"merges\":[" merges "]}"
#define PRE "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}"
#define VOCAB "\"a\":0,\"b\":1,\"ab\":2"
#define FLAGS "\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":true"

static const struct {
    const char *json;
    goss_status status;
    const char *message; /* part of it */
} hostile[] = {
    {"", GOSS_E_FORMAT, "tokenizer.json: line"},
    {"[]", GOSS_E_FORMAT, "not a JSON object"},
    {"{}", GOSS_E_UNSUPPORTED, "model.type: 'nothing'"},
    {"{\"model\":{\"type\":\"WordPiece\"}}", GOSS_E_UNSUPPORTED, "model.type: 'WordPiece'"},
    {"{" PRE ",\"model\":{\"type\":\"BPE\",\"vocab\":[],\"merges\":[]}}", GOSS_E_FORMAT, "model.vocab"},
    {"{" PRE ",\"model\":{\"type\":\"BPE\",\"vocab\":{}}}", GOSS_E_FORMAT, "model.merges"},
    {"{" PRE "," MODEL("\"byte_fallback\":true,", VOCAB, "") "}", GOSS_E_UNSUPPORTED, "model.byte_fallback is set"},
    {"{" PRE "," MODEL("\"dropout\":0.1,", VOCAB, "") "}", GOSS_E_UNSUPPORTED, "model.dropout is set"},
    {"{" PRE "," MODEL("\"end_of_word_suffix\":\"</w>\",", VOCAB, "") "}", GOSS_E_UNSUPPORTED, "end_of_word_suffix"},
    {"{" PRE "," MODEL("\"ignore_merges\":3,", VOCAB, "") "}", GOSS_E_UNSUPPORTED, "model.ignore_merges: 'a number'"},
    {"{\"normalizer\":{\"type\":\"NFC\"}," PRE "," MODEL("", VOCAB, "") "}", GOSS_E_UNSUPPORTED, "normalizer: 'NFC'"},
    {"{\"decoder\":{\"type\":\"Metaspace\"}," PRE "," MODEL("", VOCAB, "") "}", GOSS_E_UNSUPPORTED, "decoder"},
    {"{" MODEL("", VOCAB, "") "}", GOSS_E_UNSUPPORTED, "pre_tokenizer: not one of the known: nothing"},
    {"{\"pre_tokenizer\":{\"type\":\"Whitespace\"}," MODEL("", VOCAB, "") "}", GOSS_E_UNSUPPORTED, "Whitespace"},
    {"{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true}," MODEL("", VOCAB, "") "}",
     GOSS_E_UNSUPPORTED, "add_prefix_space"},
    {"{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\w+"
     "\"},"
     "\"behavior\":\"Isolated\"},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]}," MODEL(
         "", VOCAB, "") "}",
     GOSS_E_UNSUPPORTED, "\\\\w+"},
    {"{" PRE "," MODEL("", "\"a\":-1", "") "}", GOSS_E_FORMAT, "the id of 'a' is not one of 0 to"},
    {"{" PRE "," MODEL("", "\"a\":99999999999", "") "}", GOSS_E_FORMAT, "the id of 'a' is not one of 0 to"},
    {"{" PRE "," MODEL("", "\"a\":4294967296", "") "}", GOSS_E_FORMAT, "the id of 'a' is not one of 0 to"},
    {"{" PRE "," MODEL("", "\"a\":\"0\"", "") "}", GOSS_E_FORMAT, "the id of 'a' is not one of 0 to"},
    {"{" PRE "," MODEL("", "\"a\":0,\"b\":0", "") "}", GOSS_E_FORMAT, "id 0 occurs twice"},
    {"{" PRE "," MODEL("", "\"a\":0,\"a\":1", "") "}", GOSS_E_FORMAT, "duplicate"},
    {"{" PRE "," MODEL("", "\"\":0", "") "}", GOSS_E_FORMAT, "token 0: its text is empty"},
    {"{" PRE "," MODEL("", "\"<0x 1>\":0", "") "}", GOSS_E_FORMAT, "token 0: '<0x 1>' is not in the byte-level"},
    {"{" PRE "," MODEL("", VOCAB, "[\"a\",\"c\"]") "}", GOSS_E_FORMAT, "merge 0: 'a' and 'c'"},
    {"{" PRE "," MODEL("", VOCAB, "[\"b\",\"a\"]") "}", GOSS_E_FORMAT, "merge 0: 'b' and 'a', or what they make"},
    {"{" PRE "," MODEL("", VOCAB, "[\"a\",\"b\"],\"a b\"") "}", GOSS_E_FORMAT, "merge 1 repeats an earlier one"},
    {"{" PRE "," MODEL("", VOCAB, "[\"a\",\"b\",\"a\"]") "}", GOSS_E_FORMAT, "merges[0] is not a pair"},
    {"{" PRE "," MODEL("", VOCAB, "\"ab\"") "}", GOSS_E_FORMAT, "merges[0] is not a pair"},
    {"{" PRE "," MODEL("", VOCAB, "7") "}", GOSS_E_FORMAT, "merges[0] is not a pair"},
    {"{" PRE "," MODEL("", VOCAB, "[\"a\",\"\"]") "}", GOSS_E_FORMAT, "merge 0: 'a' and ''"},
    {"{\"added_tokens\":[{\"id\":2,\"content\":\"<x>\"," FLAGS "}]," PRE "," MODEL("", VOCAB, "") "}", GOSS_E_FORMAT,
     "added_tokens[0]: id 2 or its text is taken"},
    {"{\"added_tokens\":[{\"id\":9,\"content\":\"ab\"," FLAGS "}]," PRE "," MODEL("", VOCAB, "") "}", GOSS_E_FORMAT,
     "added_tokens[0]: id 9 or its text is taken"},
    {"{\"added_tokens\":[{\"id\":2,\"content\":\"ab\"," FLAGS "}]," PRE "," MODEL("", VOCAB, "\"a b\"") "}",
     GOSS_E_FORMAT, "merge 0: 'a' and 'b', or what they make, is no token"},
    {"{\"added_tokens\":[{\"id\":3,\"content\":\"<x>\"," FLAGS "},{\"id\":4,\"content\":\"<x>\"," FLAGS "}]," PRE
     "," MODEL("", VOCAB, "") "}",
     GOSS_E_FORMAT, "special tokens 3 and 4 have the same text"},
    {"{\"added_tokens\":[{\"id\":3,\"content\":\"\"," FLAGS "}]," PRE "," MODEL("", VOCAB, "") "}", GOSS_E_FORMAT,
     "added_tokens[0].content"},
    {"{\"added_tokens\":[{\"id\":3,\"content\":\"<x>\",\"lstrip\":true}]," PRE "," MODEL("", VOCAB, "") "}",
     GOSS_E_UNSUPPORTED, "added_tokens[0].lstrip is set"},
    {"{\"added_tokens\":[{\"content\":\"<x>\"}]," PRE "," MODEL("", VOCAB, "") "}", GOSS_E_FORMAT,
     "added_tokens[0].id"},
};

static void a_hostile_tokenizer_json_is_refused_by_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        struct tokenizer *tokenizer;
        goss_error error;
        goss_status status = tokenizer_open_json(&tokenizer, (const uint8_t *)hostile[i].json, strlen(hostile[i].json),
                                                 "tokenizer.json", &error);
        if (status != hostile[i].status || !strstr(error.text, hostile[i].message) ||
            strncmp(error.text, "tokenizer.json: ", 16) != 0)
            fail_msg("%s: %s: %s", hostile[i].json, goss_status_name(status), status ? error.text : "accepted");
        assert_null(tokenizer);
    }
}

static void a_token_of_a_million_bytes_is_refused(void **state)
{
    (void)state;
    json_t *spec = json_deep_copy(smalls[0].spec);
    struct tokenizer *tokenizer;
    goss_error error;
    char *text = malloc(1000001);
    assert_non_null(text);
    memset(text, 'a', 1000000);
    text[1000000] = 0;
    json_object_set_new(json_object_get(json_object_get(spec, "model"), "vocab"), text, json_integer(500));
    assert_int_equal(open_spec(&tokenizer, spec, &error), GOSS_E_LIMIT);
    assert_non_null(strstr(error.text, "token 500: its text has 1000000 bytes, at most 4096"));
    free(text);
    json_decref(spec);
}

static void a_tokenizer_json_cut_anywhere_is_refused(void **state)
{
    (void)state;
    char *text = json_dumps(smalls[1].spec, JSON_COMPACT);
    assert_non_null(text);
    size_t n = strlen(text);
    for (size_t cut = 0; cut < n; cut += 1 + cut % 7) {
        struct tokenizer *tokenizer;
        goss_error error;
        assert_int_equal(tokenizer_open_json(&tokenizer, (const uint8_t *)text, cut, "tokenizer.json", &error),
                         GOSS_E_FORMAT);
    }
    free(text);
}

/* Whatever the tables say, loading refuses them or encoding stays in bounds and never yields a control id. */
static void damaged_tables_are_refused_or_harmless(void **state)
{
    (void)state;
    static const char text[] = "the <|one|> thing's 12 caf\xC3\xA9 zyxw <lit>";
    struct buffer tables;
    buffer_init(&tables, 1u << 30);
    assert_int_equal(tokenizer_save(smalls[2].tokenizer, &tables, NULL), GOSS_OK);
    for (size_t at = 0; at < tables.size; at++) {
        for (int bit = at < 48 ? 0 : (int)(at % 8); bit < (at < 48 ? 8 : (int)(at % 8) + 1); bit++) {
            struct tokenizer *damaged;
            struct token_list ids = {0};
            goss_error error;
            tables.data[at] ^= (uint8_t)(1 << bit);
            if (tokenizer_load(&damaged, tables.data, tables.size, "packed", &error) == GOSS_OK) {
                assert_int_equal(tokenizer_encode(damaged, text, sizeof text - 1, false, &ids, NULL), GOSS_OK);
                for (size_t i = 0; i < ids.size; i++) {
                    assert_in_range(ids.id[i], 0, tokenizer_size(damaged) - 1);
                    assert_false(tokenizer_is_control(damaged, ids.id[i]));
                }
                token_list_free(&ids);
                tokenizer_close(damaged);
            } else {
                assert_non_null(strstr(error.text, "packed: tokenizer tables: "));
                assert_null(damaged);
            }
            tables.data[at] ^= (uint8_t)(1 << bit);
        }
    }
    for (size_t cut = 0; cut < tables.size; cut += 1 + cut / 16) {
        struct tokenizer *damaged;
        assert_int_not_equal(tokenizer_load(&damaged, tables.data, cut, "packed", NULL), GOSS_OK);
    }
    buffer_free(&tables);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tokenizer_json_of_every_known_pattern_gives_the_ids_of_its_own_library),
        cmocka_unit_test(saved_tables_loaded_again_give_the_same_ids),
        cmocka_unit_test(a_gguf_with_the_same_vocabulary_gives_the_same_ids),
        cmocka_unit_test(merges_that_a_gguf_lacks_are_derived_from_the_ids),
        cmocka_unit_test(a_gguf_with_damaged_tokens_is_refused),
        cmocka_unit_test(a_hostile_tokenizer_json_is_refused_by_name),
        cmocka_unit_test(a_token_of_a_million_bytes_is_refused),
        cmocka_unit_test(a_tokenizer_json_cut_anywhere_is_refused),
        cmocka_unit_test(damaged_tables_are_refused_or_harmless),
    };
    return cmocka_run_group_tests(tests, open_smalls, close_smalls);
}
