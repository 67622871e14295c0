#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/test.h"
#include "weights/safetensors.h"

struct reading {
    struct arena arena;
    struct tensor_list list;
    goss_error error;
    goss_status status;
    uint8_t *copy; /* of exactly the bytes given, so that a sanitizer sees a read past them */
};

static struct reading read_bytes(const void *bytes, size_t n)
{
    struct reading r = {.copy = malloc(n ? n : 1)};
    assert_non_null(r.copy);
    memcpy(r.copy, bytes, n);
    r.status = safetensors_read(r.copy, n, "f.safetensors", &r.arena, &r.list, &r.error);
    return r;
}

static void forget(struct reading *r)
{
    tensor_list_free(&r->list);
    arena_free(&r->arena);
    free(r->copy);
}

/* A file of this header and n bytes of data. */
static size_t make(uint8_t file[4096], const char *header, size_t n)
{
    uint64_t length = strlen(header);
    memcpy(file, &length, sizeof length);
    memcpy(file + 8, header, length);
    memset(file + 8 + length, 7, n);
    return 8 + length + n;
}

static void assert_refused(const char *header, size_t data, goss_status status, const char *message)
{
    uint8_t file[4096];
    struct reading r = read_bytes(file, make(file, header, data));
    assert_int_equal(r.status, status);
    if (!strstr(r.error.text, message))
        fail_msg("'%s' does not say '%s'", r.error.text, message);
    assert_non_null(strstr(r.error.text, "f.safetensors"));
    forget(&r);
}

static const char good[] = "{\"__metadata__\":{\"format\":\"pt\"},"
                           "\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[8,11]},"
                           "\"a\":{\"dtype\":\"BF16\",\"shape\":[2,2],\"data_offsets\":[0,8]},"
                           "\"s\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[11,15]}}";

static void tensors_are_read_in_any_order(void **state)
{
    (void)state;
    uint8_t file[4096];
    struct reading r = read_bytes(file, make(file, good, 15));
    assert_int_equal(r.status, GOSS_OK);
    assert_int_equal(tensor_list_sort(&r.list, NULL), GOSS_OK);
    assert_int_equal(r.list.n, 3);
    const struct tensor *a = tensor_find(&r.list, "a"), *b = tensor_find(&r.list, "b");
    assert_int_equal(a->type, DTYPE_BF16);
    assert_int_equal(a->n_dim, 2);
    assert_int_equal(a->bytes, 8);
    assert_ptr_equal(b->data, a->data + 8);
    assert_ptr_equal(a->data, r.copy + 8 + strlen(good));
    assert_int_equal(tensor_find(&r.list, "s")->bytes, 4);
    assert_null(tensor_find(&r.list, "c"));
    forget(&r);
}

static void a_file_cut_anywhere_is_refused(void **state)
{
    (void)state;
    uint8_t file[4096];
    size_t n = make(file, good, 15);
    for (size_t cut = 0; cut < n; cut++) {
        struct reading r = read_bytes(file, cut);
        assert_int_not_equal(r.status, GOSS_OK);
        assert_non_null(strstr(r.error.text, "f.safetensors"));
        forget(&r);
    }
}

static void a_header_longer_than_the_file_is_refused(void **state)
{
    (void)state;
    const uint64_t lengths[] = {1u << 31, 1ull << 63, UINT64_MAX, UINT64_MAX - 7};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct reading r = read_bytes(&lengths[i], sizeof lengths[i]);
        assert_int_equal(r.status, GOSS_E_FORMAT);
        forget(&r);
    }
    size_t n = 8 + SAFETENSORS_MAX_HEADER + 1;
    uint8_t *large = calloc(1, n);
    uint64_t length = SAFETENSORS_MAX_HEADER + 1;
    memcpy(large, &length, sizeof length);
    struct reading r = read_bytes(large, n);
    assert_int_equal(r.status, GOSS_E_LIMIT);
    free(large);
    forget(&r);
}

static void every_hostile_entry_is_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *entry;
        goss_status status;
        const char *message;
    } cases[] = {
        {"{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,5]}", GOSS_E_FORMAT, "ends at byte 5 of 4"},
        {"{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[1,4]}", GOSS_E_FORMAT, "need 4"},
        {"{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[1,4]}", GOSS_E_FORMAT, "take 3 bytes"},
        {"{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,0]}", GOSS_E_FORMAT, "data_offsets"},
        {"{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[-4,0]}", GOSS_E_FORMAT, "data_offsets"},
        {"{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0]}", GOSS_E_FORMAT, "data_offsets"},
        {"{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4.0]}", GOSS_E_FORMAT, "data_offsets"},
        {"{\"dtype\":\"U8\",\"shape\":[4]}", GOSS_E_FORMAT, "data_offsets"},
        {"{\"dtype\":\"U8\",\"data_offsets\":[0,4]}", GOSS_E_FORMAT, "shape"},
        {"{\"dtype\":\"U8\",\"shape\":[-4],\"data_offsets\":[0,4]}", GOSS_E_FORMAT, "shape"},
        {"{\"dtype\":\"U8\",\"shape\":[1,1,1,1,4],\"data_offsets\":[0,4]}", GOSS_E_LIMIT, "5 dimensions"},
        {"{\"shape\":[4],\"data_offsets\":[0,4]}", GOSS_E_FORMAT, "dtype"},
        {"{\"dtype\":\"F8_E4M3\",\"shape\":[4],\"data_offsets\":[0,4]}", GOSS_E_UNSUPPORTED, "F8_E4M3"},
        {"{\"dtype\":\"TILE_Q8\",\"shape\":[4],\"data_offsets\":[0,4]}", GOSS_E_UNSUPPORTED, "TILE_Q8"},
        /* products that wrap to 4 and to 0 */
        {"{\"dtype\":\"U8\",\"shape\":[4611686018427387905,4],\"data_offsets\":[0,4]}", GOSS_E_FORMAT, "2^64"},
        {"{\"dtype\":\"U8\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}", GOSS_E_FORMAT, "2^64"},
        {"{\"dtype\":\"F32\",\"shape\":[4611686018427387905],\"data_offsets\":[0,4]}", GOSS_E_FORMAT, "overflows"},
        {"7", GOSS_E_FORMAT, "dtype"},
    };
    char header[512];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        (void)snprintf(header, sizeof header, "{\"the.tensor\":%s}", cases[i].entry);
        assert_refused(header, 4, cases[i].status, cases[i].message);
    }
}

static void overlaps_holes_and_duplicates_are_refused(void **state)
{
    (void)state;
    assert_refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},"
                   "\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[2,5]}}",
                   6, GOSS_E_FORMAT, "'a' and 'b' overlap");
    assert_refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},"
                   "\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[4,7]}}",
                   7, GOSS_E_FORMAT, "take 6 bytes, the file has 7");
    assert_refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},"
                   "\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}}",
                   3, GOSS_E_FORMAT, "duplicate");
    assert_refused("{\"a\\n\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}}", 3, GOSS_E_FORMAT, "0x0a");
    assert_refused("{\"\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}}", 3, GOSS_E_FORMAT, "0 bytes");
}

static void headers_that_are_no_object_are_refused(void **state)
{
    (void)state;
    assert_refused("", 0, GOSS_E_FORMAT, "JSON");
    assert_refused("[]", 0, GOSS_E_FORMAT, "no JSON object");
    assert_refused(" {}", 0, GOSS_E_FORMAT, "no JSON object"); /* as the reference reader does */
    assert_refused("{} x", 0, GOSS_E_FORMAT, "JSON");
    assert_refused("{\"a\":\"\xff\"}", 0, GOSS_E_FORMAT, "JSON");
    char deep[300] = {0};
    memset(deep, '[', 65);
    assert_refused(deep, 0, GOSS_E_LIMIT, "64 deep");
    (void)snprintf(deep, sizeof deep, "{\"a\":%.60s1%.60s}",
                   "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
                   "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]");
    assert_refused(deep, 0, GOSS_E_FORMAT, "dtype");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_are_read_in_any_order),
        cmocka_unit_test(a_file_cut_anywhere_is_refused),
        cmocka_unit_test(a_header_longer_than_the_file_is_refused),
        cmocka_unit_test(every_hostile_entry_is_refused_by_name),
        cmocka_unit_test(overlaps_holes_and_duplicates_are_refused),
        cmocka_unit_test(headers_that_are_no_object_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
