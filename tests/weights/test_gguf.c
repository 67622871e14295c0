#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "support/test.h"
#include "weights/gguf.h"

struct reading {
    struct arena arena;
    struct tensor_list list;
    struct gguf gguf;
    goss_error error;
    goss_status status;
    uint8_t *copy;
};

static struct reading read_bytes(const struct buffer *file, size_t n)
{
    struct reading r = {.copy = malloc(n ? n : 1)};
    assert_non_null(r.copy);
    memcpy(r.copy, file->data, n);
    r.status = gguf_read(r.copy, n, "f.gguf", &r.arena, &r.gguf, &r.list, &r.error);
    return r;
}

static void forget(struct reading *r)
{
    tensor_list_free(&r->list);
    arena_free(&r->arena);
    free(r->copy);
}

static void put(struct buffer *b, const void *bytes, size_t n)
{
    assert_int_equal(buffer_append(b, bytes, n, NULL), GOSS_OK);
}

static void u32(struct buffer *b, uint32_t x)
{
    put(b, &x, sizeof x);
}

static void u64(struct buffer *b, uint64_t x)
{
    put(b, &x, sizeof x);
}

static void string(struct buffer *b, const char *s)
{
    u64(b, strlen(s));
    put(b, s, strlen(s));
}

static void begin(struct buffer *b, uint32_t version, uint64_t tensors, uint64_t keys)
{
    buffer_init(b, 1 << 20);
    put(b, "GGUF", 4);
    u32(b, version);
    u64(b, tensors);
    u64(b, keys);
}

static void tensor(struct buffer *b, const char *name, uint64_t cols, uint64_t rows, uint32_t type, uint64_t offset)
{
    string(b, name);
    u32(b, 2);
    u64(b, cols);
    u64(b, rows);
    u32(b, type);
    u64(b, offset);
}

static void data(struct buffer *b, size_t n)
{
    while (b->size % 32)
        put(b, "", 1);
    for (size_t i = 0; i < n; i++)
        put(b, "x", 1);
}

static void assert_refused(struct buffer *b, goss_status status, const char *message)
{
    struct reading r = read_bytes(b, b->size);
    assert_int_equal(r.status, status);
    if (!strstr(r.error.text, message) || !strstr(r.error.text, "f.gguf"))
        fail_msg("'%s' does not say '%s'", r.error.text, message);
    forget(&r);
    buffer_free(b);
}

/* Two keys of each kind and three tensors. */
static void make_good(struct buffer *b, uint32_t version)
{
    begin(b, version, 3, 6);
    string(b, "general.architecture");
    u32(b, GGUF_STRING);
    string(b, "gpt-oss");
    string(b, "n");
    u32(b, GGUF_I32);
    u32(b, (uint32_t)-5);
    string(b, "theta");
    u32(b, GGUF_F32);
    put(b, &(float){0.5f}, 4);
    string(b, "words");
    u32(b, GGUF_ARRAY);
    u32(b, GGUF_STRING);
    u64(b, 2);
    string(b, "ab");
    string(b, "");
    string(b, "list");
    u32(b, GGUF_ARRAY);
    u32(b, GGUF_U16);
    u64(b, 2);
    put(b, (uint16_t[]){7, 65535}, 4);
    string(b, "flag");
    u32(b, GGUF_BOOL);
    put(b, "\1", 1);
    tensor(b, "one", 32, 2, 8, 0);      /* Q8_0: 68 bytes */
    tensor(b, "two", 4, 2, 0, 96);      /* F32: 32 bytes */
    tensor(b, "three", 64, 1, 39, 128); /* MXFP4: 34 bytes */
    data(b, 128 + 34);
}

static void metadata_and_tensors_are_read_from_versions_2_and_3(void **state)
{
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        struct buffer b;
        make_good(&b, version);
        struct reading r = read_bytes(&b, b.size);
        int64_t n;
        double number;
        const char *text;
        uint64_t size;
        assert_int_equal(r.status, GOSS_OK);
        assert_int_equal(gguf_integer(&r.gguf, "n", &n, NULL), GOSS_OK);
        assert_int_equal(n, -5);
        assert_int_equal(gguf_number(&r.gguf, "theta", &number, NULL), GOSS_OK);
        assert_true(number == 0.5);
        assert_int_equal(gguf_text(&r.gguf, "general.architecture", &text, &size, NULL), GOSS_OK);
        assert_memory_equal(text, "gpt-oss", size);
        const struct gguf_value *words = gguf_find(&r.gguf, "words"), *list = gguf_find(&r.gguf, "list");
        const uint8_t *cursor = words->data;
        assert_memory_equal(gguf_next_string(&cursor, &size), "ab", 2);
        (void)gguf_next_string(&cursor, &size);
        assert_int_equal(size, 0);
        assert_true(gguf_element(list, 1, &n) && n == 65535);
        assert_false(gguf_element(list, 2, &n));
        assert_int_equal(gguf_integer(&r.gguf, "list", &n, &r.error), GOSS_E_UNSUPPORTED);
        assert_int_equal(gguf_integer(&r.gguf, "theta", &n, &r.error), GOSS_E_FORMAT);
        assert_int_equal(gguf_integer(&r.gguf, "none", &n, &r.error), GOSS_E_FORMAT);
        assert_string_equal(r.error.text, "f.gguf: 'none' is missing");
        assert_int_equal(tensor_list_sort(&r.list, NULL), GOSS_OK);
        const struct tensor *one = tensor_find(&r.list, "one"), *three = tensor_find(&r.list, "three");
        assert_int_equal(one->type, DTYPE_Q8_0);
        assert_int_equal(one->dim[0], 2); /* outermost first */
        assert_int_equal(one->dim[1], 32);
        assert_int_equal(one->bytes, 68);
        assert_int_equal(three->type, DTYPE_MXFP4_GGML);
        assert_ptr_equal(three->data, one->data + 128);
        forget(&r);
        buffer_free(&b);
    }
}

static void a_file_cut_anywhere_is_refused(void **state)
{
    (void)state;
    struct buffer b;
    make_good(&b, 3);
    for (size_t cut = 0; cut < b.size; cut++) {
        struct reading r = read_bytes(&b, cut);
        assert_int_not_equal(r.status, GOSS_OK);
        assert_non_null(strstr(r.error.text, "f.gguf"));
        forget(&r);
    }
    buffer_free(&b);
}

static void wrong_headers_are_refused(void **state)
{
    (void)state;
    struct buffer b;
    begin(&b, 1, 0, 0);
    assert_refused(&b, GOSS_E_UNSUPPORTED, "version 1");
    begin(&b, 0x03000000, 0, 0);
    assert_refused(&b, GOSS_E_UNSUPPORTED, "big-endian");
    begin(&b, 3, 0, UINT64_MAX);
    assert_refused(&b, GOSS_E_LIMIT, "metadata keys");
    begin(&b, 3, 0, 100);
    assert_refused(&b, GOSS_E_FORMAT, "ends inside");
    begin(&b, 3, UINT64_MAX / 8, 0);
    assert_refused(&b, GOSS_E_LIMIT, "tensors");
    begin(&b, 3, 1000, 0);
    assert_refused(&b, GOSS_E_FORMAT, "ends inside");
    begin(&b, 3, 0, 0);
    memcpy(b.data, "GGML", 4);
    assert_refused(&b, GOSS_E_FORMAT, "GGUF");
}

static void huge_lengths_and_counts_are_refused(void **state)
{
    (void)state;
    static const uint64_t huge[] = {1u << 20, 1ull << 32, 1ull << 61, 1ull << 63, UINT64_MAX};
    struct buffer b;
    for (size_t i = 0; i < sizeof huge / sizeof *huge; i++) {
        begin(&b, 3, 0, 1);
        u64(&b, huge[i]);
        u64(&b, 0);
        u64(&b, 0);
        assert_refused(&b, GOSS_E_FORMAT, "a metadata key");
        begin(&b, 3, 0, 1);
        string(&b, "k");
        u32(&b, GGUF_STRING);
        u64(&b, huge[i]);
        assert_refused(&b, GOSS_E_FORMAT, "k");
        for (uint32_t type = 0; type < GGUF_TYPES; type++) {
            begin(&b, 3, 0, 1);
            string(&b, "some.array");
            u32(&b, GGUF_ARRAY);
            u32(&b, type);
            u64(&b, huge[i]);
            u64(&b, 0);
            assert_refused(&b, type == GGUF_ARRAY ? GOSS_E_UNSUPPORTED : GOSS_E_FORMAT, "some.array");
        }
        begin(&b, 3, 1, 0);
        tensor(&b, "t", huge[i], huge[i], 0, 0);
        data(&b, 64);
        assert_refused(&b, GOSS_E_FORMAT, "'t'");
        begin(&b, 3, 1, 0);
        tensor(&b, "t", 4, 1, 0, huge[i]);
        data(&b, 64);
        assert_refused(&b, GOSS_E_FORMAT, "'t'");
    }
}

static void bad_metadata_is_refused_by_key(void **state)
{
    (void)state;
    struct buffer b;
    begin(&b, 3, 0, 2);
    for (int i = 0; i < 2; i++) {
        string(&b, "twice");
        u32(&b, GGUF_U8);
        put(&b, "1", 1);
    }
    assert_refused(&b, GOSS_E_FORMAT, "'twice' is there twice");
    begin(&b, 3, 0, 1);
    string(&b, "odd");
    u32(&b, 255);
    u64(&b, 0);
    assert_refused(&b, GOSS_E_FORMAT, "'odd' has the unknown type 255");
    static const uint32_t alignments[] = {0, 3, 48, 1u << 17, 1u << 31, UINT32_MAX};
    for (size_t i = 0; i < sizeof alignments / sizeof *alignments; i++) {
        begin(&b, 3, 0, 1);
        string(&b, "general.alignment");
        u32(&b, GGUF_U32);
        u32(&b, alignments[i]);
        assert_refused(&b, GOSS_E_FORMAT, "general.alignment");
    }
}

static void bad_tensors_are_refused_by_name(void **state)
{
    (void)state;
    struct buffer b;
    begin(&b, 3, 2, 0);
    tensor(&b, "a", 8, 2, 0, 0);
    tensor(&b, "b", 8, 2, 0, 32);
    data(&b, 256);
    assert_refused(&b, GOSS_E_FORMAT, "'a' and 'b' overlap");
    begin(&b, 3, 1, 0);
    tensor(&b, "a", 8, 1, 0, 4);
    data(&b, 256);
    assert_refused(&b, GOSS_E_FORMAT, "'a': offset 4 is no multiple of 32");
    begin(&b, 3, 1, 0);
    tensor(&b, "a", 48, 2, 8, 0); /* rows that are no whole blocks, although the matrix is */
    data(&b, 256);
    assert_refused(&b, GOSS_E_FORMAT, "'a': rows of 48");
    begin(&b, 3, 1, 0);
    tensor(&b, "a", 256, 1, 12, 0);
    data(&b, 256);
    assert_refused(&b, GOSS_E_UNSUPPORTED, "'a': ggml type 12 (Q4_K)");
    begin(&b, 3, 1, 0);
    tensor(&b, "a", 256, 1, 4, 0); /* MXFP4 in Ollama's dialect alone */
    data(&b, 256);
    assert_refused(&b, GOSS_E_UNSUPPORTED, "'a': ggml type 4 (Q4_2)");
    begin(&b, 3, 1, 0);
    tensor(&b, "a", 256, 1, 4000000000u, 0);
    data(&b, 256);
    assert_refused(&b, GOSS_E_UNSUPPORTED, "unknown");
    begin(&b, 3, 1, 0);
    string(&b, "a");
    u32(&b, 5);
    data(&b, 256);
    assert_refused(&b, GOSS_E_FORMAT, "'a': 5 dimensions");
}

static void type_4_is_mxfp4_in_ollamas_dialect(void **state)
{
    (void)state;
    struct buffer b;
    begin(&b, 3, 1, 1);
    string(&b, "general.architecture");
    u32(&b, GGUF_STRING);
    string(&b, "gptoss");
    tensor(&b, "a", 64, 1, 4, 0);
    data(&b, 34);
    struct reading r = read_bytes(&b, b.size);
    assert_int_equal(r.status, GOSS_OK);
    assert_int_equal(r.list.tensor[0].type, DTYPE_MXFP4_OLLAMA);
    forget(&r);
    buffer_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metadata_and_tensors_are_read_from_versions_2_and_3),
        cmocka_unit_test(a_file_cut_anywhere_is_refused),
        cmocka_unit_test(wrong_headers_are_refused),
        cmocka_unit_test(huge_lengths_and_counts_are_refused),
        cmocka_unit_test(bad_metadata_is_refused_by_key),
        cmocka_unit_test(bad_tensors_are_refused_by_name),
        cmocka_unit_test(type_4_is_mxfp4_in_ollamas_dialect),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
