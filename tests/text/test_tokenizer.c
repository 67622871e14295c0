/* o200k_harmony against the committed vectors, and what must hold of any text. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <jansson.h>

#include "support/test.h"
#include "text/tokenizer.h"

static struct tokenizer *o200k;

static int open_o200k(void **state)
{
    (void)state;
    goss_error error;
    if (tokenizer_open_o200k(&o200k, &error))
        fail_msg("%s", error.text);
    return 0;
}

static int close_o200k(void **state)
{
    (void)state;
    tokenizer_close(o200k);
    return 0;
}

static json_t *read_vectors(const char *path)
{
    json_error_t error;
    json_t *root = json_load_file(path, JSON_ALLOW_NUL, &error);
    if (!root)
        fail_msg("%s: %s", path, error.text);
    return root;
}

static size_t from_hex(const char *hex, uint8_t *bytes)
{
    size_t n = strlen(hex) / 2;
    for (size_t i = 0; i < n; i++) {
        char pair[3] = {hex[2 * i], hex[2 * i + 1], 0};
        bytes[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return n;
}

static struct token_list encode(const void *text, size_t n, bool control)
{
    struct token_list ids = {0};
    goss_error error;
    if (tokenizer_encode(o200k, text, n, control, &ids, &error))
        fail_msg("%s", error.text);
    return ids;
}

static struct buffer decode(const struct token_list *ids)
{
    struct buffer text;
    buffer_init(&text, 1u << 28);
    for (size_t i = 0; i < ids->size; i++) {
        size_t size;
        const uint8_t *bytes = tokenizer_bytes(o200k, ids->id[i], &size);
        assert_int_equal(buffer_append(&text, bytes, size, NULL), GOSS_OK);
    }
    return text;
}

static void every_vector_gives_its_ids(void **state)
{
    (void)state;
    json_t *root = read_vectors(TEST_DATA "/text/vectors/tokenizer.json"), *vector;
    size_t count = 0, i;
    json_array_foreach(json_object_get(root, "vectors"), i, vector)
    {
        json_t *text = json_object_get(vector, "text"), *ids = json_object_get(vector, "ids");
        uint8_t bytes[64];
        const char *hex = json_string_value(json_object_get(vector, "bytes_hex"));
        bool control = json_is_true(json_object_get(vector, "allow_special"));
        struct token_list found = hex ? encode(bytes, from_hex(hex, bytes), control)
                                      : encode(json_string_value(text), json_string_length(text), control);
        bool equal = found.size == json_array_size(ids);
        for (size_t k = 0; equal && k < found.size; k++)
            equal = found.id[k] == json_integer_value(json_array_get(ids, k));
        if (!equal)
            fail_msg("vector '%s' differs", json_string_value(json_object_get(vector, "name")));
        token_list_free(&found);
        count++;
    }
    assert_true(count >= 82);
    json_decref(root);
}

static void every_id_decodes_to_its_published_bytes(void **state)
{
    (void)state;
    json_t *root = read_vectors(TEST_DATA "/text/vectors/tokenizer_decode.json"), *item;
    json_t *single = json_object_get(root, "single_byte_token_ids");
    size_t i, size;
    assert_int_equal(json_array_size(single), 256);
    json_array_foreach(single, i, item)
    {
        const uint8_t *bytes = tokenizer_bytes(o200k, (int32_t)json_integer_value(item), &size);
        assert_int_equal(size, 1);
        assert_int_equal(bytes[0], i);
    }
    json_array_foreach(json_object_get(root, "decode"), i, item)
    {
        struct token_list ids = {0};
        uint8_t bytes[256];
        size_t k;
        json_t *id;
        json_array_foreach(json_object_get(item, "ids"), k, id)
        {
            int32_t value = (int32_t)json_integer_value(id);
            assert_int_equal(token_list_append(&ids, &value, 1, NULL), GOSS_OK);
        }
        struct buffer text = decode(&ids);
        size = from_hex(json_string_value(json_object_get(item, "bytes_hex")), bytes);
        assert_int_equal(text.size, size);
        assert_memory_equal(text.data, bytes, size);
        buffer_free(&text);
        token_list_free(&ids);
    }
    json_decref(root);
}

static void the_control_tokens_are_found_by_name(void **state)
{
    (void)state;
    assert_int_equal(tokenizer_size(o200k), 201088);
    assert_int_equal(tokenizer_control(o200k, "<|start|>"), 200006);
    assert_int_equal(tokenizer_control(o200k, "<|return|>"), 200002);
    assert_int_equal(tokenizer_control(o200k, "<|endofprompt|>"), 200018);
    assert_int_equal(tokenizer_control(o200k, "<|reserved_200018|>"), 200018);
    assert_int_equal(tokenizer_control(o200k, "<|reserved_201087|>"), 201087);
    assert_int_equal(tokenizer_control(o200k, "<|start"), -1);
    assert_int_equal(tokenizer_control(o200k, "hello"), -1);
    assert_int_equal(tokenizer_control(o200k, ""), -1);
    for (int32_t id = 0; id < 201088; id++)
        assert_int_equal(tokenizer_is_control(o200k, id), id >= 199998);
    assert_false(tokenizer_is_control(o200k, -1));
    assert_false(tokenizer_is_control(o200k, 201088));
}

/* The sanitizers of clang count NULL + 0 as a fault. */
static void no_text_has_no_ids_wherever_it_lies(void **state)
{
    (void)state;
    struct utf8_stream stream = {0};
    struct token_list ids = encode(NULL, 0, false);
    struct buffer text = decode(&ids);
    assert_int_equal(utf8_stream_add(&stream, NULL, 0, &text, NULL), GOSS_OK);
    assert_int_equal(utf8_stream_flush(&stream, &text, NULL), GOSS_OK);
    assert_int_equal(ids.size + text.size, 0);
    token_list_free(&ids);
    ids = encode(NULL, 0, true);
    assert_int_equal(ids.size, 0);
    token_list_free(&ids);
    buffer_free(&text);
}

/* n bytes whose last ends where memory may not be touched any more; at most `align` - 1 bytes early. */
static uint8_t *fence(const void *bytes, size_t n, size_t align, void **memory, size_t *size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), whole = (n + page - 1) / page * page;
    *size = whole + page;
    *memory = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(*memory, MAP_FAILED);
    uint8_t *at = (uint8_t *)*memory + (whole - n) / align * align;
    memcpy(at, bytes, n);
    assert_int_equal(mprotect((uint8_t *)*memory + whole, page, PROT_NONE), 0);
    return at;
}

/* A packed file's tables are used where they are mapped, and what lies behind them is anybody's. */
static void nothing_behind_the_tables_or_the_text_is_read(void **state)
{
    (void)state;
    static const char text[] = "The quick brown fox's 12345 jumps; internationalisation, \xE4\xBD\xA0\xE5\xA5\xBD "
                               "<|start|> supercalifragilisticexpialidocious\n\n  zzzzzzzzzzzzzzzzzzzzzzzz<|end";
    struct buffer tables;
    struct tokenizer *mapped;
    goss_error error;
    void *tables_memory, *text_memory;
    size_t tables_size, text_size, last;
    buffer_init(&tables, 1u << 28);
    assert_int_equal(tokenizer_save(o200k, &tables, NULL), GOSS_OK);
    const uint8_t *at = fence(tables.data, tables.size, sizeof(uint64_t), &tables_memory, &tables_size);
    if (tokenizer_load(&mapped, at, tables.size, "mapped", &error))
        fail_msg("%s", error.text);
    for (size_t n = 1; n < sizeof text; n++)
        for (int control = 0; control < 2; control++) {
            struct token_list ids = {0}, expected = encode(text, n, control);
            const uint8_t *fenced = fence(text, n, 1, &text_memory, &text_size);
            assert_int_equal(tokenizer_encode(mapped, fenced, n, control, &ids, NULL), GOSS_OK);
            assert_int_equal(ids.size, expected.size);
            assert_memory_equal(ids.id, expected.id, ids.size * sizeof *ids.id);
            token_list_free(&ids);
            token_list_free(&expected);
            munmap(text_memory, text_size);
        }
    for (int32_t id = 0; id < tokenizer_size(mapped); id++) { /* every token, those at the end of the tables too */
        const uint8_t *bytes = tokenizer_bytes(mapped, id, &last);
        struct token_list ids = {0};
        assert_int_equal(tokenizer_encode(mapped, bytes, last, true, &ids, NULL), GOSS_OK);
        token_list_free(&ids);
    }
    tokenizer_close(mapped);
    munmap(tables_memory, tables_size);
    buffer_free(&tables);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_vector_gives_its_ids),
        cmocka_unit_test(every_id_decodes_to_its_published_bytes),
        cmocka_unit_test(the_control_tokens_are_found_by_name),
        cmocka_unit_test(no_text_has_no_ids_wherever_it_lies),
        cmocka_unit_test(nothing_behind_the_tables_or_the_text_is_read),
    };
    return cmocka_run_group_tests(tests, open_o200k, close_o200k);
}
