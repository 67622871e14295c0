#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/test.h"
#include "support/toy_checkpoint.h"
#include "weights/packed.h"

static const char payload[3][5000] = {"first", "second", "third"};

/* A packed file of three sections, of 5000, 4096 and 68 bytes. */
static void write_packed(const char *path)
{
    struct packed_section s[3] = {{.name = "b", .type = DTYPE_U8, .count = 1, .rows = 5, .cols = 1000},
                                  {.name = "a", .type = DTYPE_TILE_BF16, .count = 2, .rows = 20, .cols = 32},
                                  {.name = "c", .type = DTYPE_Q8_0, .count = 1, .rows = 2, .cols = 32}};
    struct packed_writer w;
    json_t *header = json_pack("{s:s}", "note", "of the test");
    assert_int_equal(packed_writer_open(&w, path, s, 3, NULL), GOSS_OK);
    assert_int_equal(s[1].bytes, 4096);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(s[i].offset % PACKED_PAGE, 0);
        assert_int_equal(packed_writer_write(&w, &s[i], 0, payload[i], s[i].bytes, NULL), GOSS_OK);
        assert_int_equal(sha256_of(payload[i], s[i].bytes, s[i].sha256, NULL), GOSS_OK);
        assert_int_equal(packed_writer_write(&w, &s[i], s[i].bytes, "x", 1, NULL), GOSS_E_INTERNAL);
    }
    assert_false(file_exists(path));
    assert_int_equal(packed_writer_commit(&w, header, NULL), GOSS_OK);
    json_decref(header);
}

static void a_stream_writes_a_section_across_huge_pages(void **state)
{
    (void)state;
    enum { BYTES = 2 * FILE_HUGE_PAGE + 12345, PIECE = 100003 };
    char *dir = toy_folder(), *path = file_join(dir, "p");
    uint8_t *payload_of = malloc(BYTES);
    for (size_t i = 0; i < BYTES; i++)
        payload_of[i] = (uint8_t)(i * 2654435761u >> 13);
    struct packed_section s[2] = {{.name = "a", .type = DTYPE_U8, .count = 1, .rows = 1, .cols = 5000},
                                  {.name = "b", .type = DTYPE_U8, .count = 1, .rows = 1, .cols = BYTES}};
    struct packed_writer w;
    struct packed_stream stream;
    assert_int_equal(packed_writer_open(&w, path, s, 2, NULL), GOSS_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(packed_stream_open(&stream, &w, &s[i], NULL), GOSS_OK);
        for (size_t at = 0; at < s[i].bytes; at += PIECE)
            assert_int_equal(
                packed_stream_write(&stream, payload_of + at, s[i].bytes - at < PIECE ? s[i].bytes - at : PIECE, NULL),
                GOSS_OK);
        assert_int_equal(packed_stream_flush(&stream, NULL), GOSS_OK);
        assert_int_equal(packed_stream_write(&stream, "x", 1, NULL), GOSS_OK);
        assert_int_equal(packed_stream_flush(&stream, NULL), GOSS_E_INTERNAL); /* past the end */
        packed_stream_close(&stream);
        assert_int_equal(sha256_of(payload_of, s[i].bytes, s[i].sha256, NULL), GOSS_OK);
    }
    json_t *header = json_object();
    assert_int_equal(packed_writer_commit(&w, header, NULL), GOSS_OK);
    json_decref(header);
    struct packed *packed;
    assert_int_equal(packed_open(&packed, path, NULL), GOSS_OK);
    assert_int_equal(packed_verify(packed, 1, NULL, NULL, NULL), GOSS_OK);
    packed_close(packed);
    free(payload_of);
    free(path);
    toy_remove(dir);
}

struct bytes {
    uint8_t *data;
    size_t size;
};

static struct bytes good_bytes(void)
{
    struct bytes b;
    char *dir = toy_folder(), *path = file_join(dir, "p");
    write_packed(path);
    assert_int_equal(file_read(path, 1 << 20, &b.data, &b.size, NULL), GOSS_OK);
    free(path);
    toy_remove(dir);
    return b;
}

static void sections_are_found_as_they_were_written(void **state)
{
    (void)state;
    char *dir = toy_folder(), *path = file_join(dir, "p");
    struct packed *p;
    atomic_uint_fast64_t done = 0;
    write_packed(path);
    assert_true(packed_is(path));
    assert_false(packed_is(dir));
    assert_int_equal(packed_open(&p, path, NULL), GOSS_OK);
    assert_int_equal(p->n, 3);
    const struct packed_section *a = packed_find(p, "a");
    assert_int_equal(a->count, 2);
    assert_int_equal(a->rows, 20);
    assert_memory_equal(packed_data(p, a), payload[1], 4096);
    assert_null(packed_find(p, "d"));
    assert_string_equal(json_string_value(json_object_get(p->header, "note")), "of the test");
    for (int threads = 1; threads <= 4; threads++)
        assert_int_equal(packed_verify(p, threads, &done, NULL, NULL), GOSS_OK);
    assert_int_equal(atomic_load(&done), 4 * (5000 + 4096 + 68));
    packed_close(p);
    free(path);
    toy_remove(dir);
}

static void an_aborted_file_leaves_nothing(void **state)
{
    (void)state;
    char *dir = toy_folder(), *path = file_join(dir, "p");
    struct packed_section s = {.name = "a", .type = DTYPE_U8, .count = 1, .rows = 1, .cols = 10};
    struct packed_writer w;
    assert_int_equal(packed_writer_open(&w, path, &s, 1, NULL), GOSS_OK);
    packed_writer_abort(&w);
    packed_writer_abort(&w);
    assert_int_equal(rmdir(dir), 0);
    free(path);
    free(dir);
}

static void verification_finds_a_flipped_bit_anywhere(void **state)
{
    (void)state;
    struct bytes b = good_bytes();
    struct packed p;
    assert_int_equal(packed_read(&p, b.data, b.size, "p", NULL), GOSS_OK);
    for (size_t i = 0; i < p.n; i++)
        for (uint64_t at = 0; at < p.section[i].bytes; at += 67) {
            goss_error error;
            b.data[p.section[i].offset + at] ^= 16;
            assert_int_equal(packed_verify(&p, 2, NULL, NULL, &error), GOSS_E_FORMAT);
            assert_non_null(strstr(error.text, "does not match its SHA-256"));
            assert_non_null(strstr(error.text, p.section[i].name));
            b.data[p.section[i].offset + at] ^= 16;
        }
    atomic_bool cancel = true;
    assert_int_equal(packed_verify(&p, 2, NULL, &cancel, NULL), GOSS_E_CANCELLED);
    packed_clear(&p);
    free(b.data);
}

static void a_file_cut_anywhere_is_refused(void **state)
{
    (void)state;
    struct bytes b = good_bytes();
    for (size_t cut = 0; cut < b.size; cut += cut < 80 || cut > b.size - 1200 ? 1 : 97) {
        struct packed p;
        goss_error error = {0};
        uint8_t *copy = malloc(cut ? cut : 1);
        memcpy(copy, b.data, cut);
        assert_int_not_equal(packed_read(&p, copy, cut, "file.name", &error), GOSS_OK);
        assert_non_null(strstr(error.text, "file.name"));
        free(copy);
    }
    free(b.data);
}

static void a_flipped_bit_of_header_or_table_is_refused(void **state)
{
    (void)state;
    struct bytes b = good_bytes();
    uint64_t table;
    memcpy(&table, b.data + 16, sizeof table);
    for (size_t at = 0; at < b.size; at = at == 63 ? table : at + 1)
        for (int bit = 0; bit < 8; bit++) {
            struct packed p;
            b.data[at] ^= (uint8_t)(1 << bit);
            assert_int_not_equal(packed_read(&p, b.data, b.size, "f", NULL), GOSS_OK);
            b.data[at] ^= (uint8_t)(1 << bit);
        }
    free(b.data);
}

/* The good file with another table, whose digest is right. */
static void assert_table_refused(const json_t *table, const char *message)
{
    struct bytes b = good_bytes();
    struct packed p;
    goss_error error = {0};
    char *text = json_dumps(table, JSON_COMPACT);
    uint64_t at, size = strlen(text);
    memcpy(&at, b.data + 16, sizeof at);
    b.data = realloc(b.data, at + size);
    memcpy(b.data + at, text, size);
    memcpy(b.data + 24, &size, sizeof size);
    assert_int_equal(sha256_of(text, size, b.data + 32, NULL), GOSS_OK);
    if (packed_read(&p, b.data, at + size, "f", &error) == GOSS_OK)
        fail_msg("%s is accepted", text);
    if (!strstr(error.text, message))
        fail_msg("'%s' does not say '%s'", error.text, message);
    free(text);
    free(b.data);
}

static void hostile_tables_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value, *message;
    } cases[] = {
        {"name", "7", "section 1 has no usable name"},
        {"name", "\"b\"", "section 'b' is there twice"},
        {"type", "\"Q4_K\"", "do not fit its type and shape"},
        {"type", "7", "do not fit its type and shape"},
        {"count", "3", "do not fit"},
        {"count", "0", "do not fit"},
        {"count", "-1", "malformed"},
        {"rows", "21.5", "malformed"},
        {"rows", "9223372036854775807", "do not fit"},
        {"cols", "33", "do not fit"},
        {"cols", "9223372036854775776", "do not fit"},
        {"bytes", "0", "do not fit"},
        {"offset", "0", "misaligned or outside"},
        {"offset", "4096", "misaligned or outside"},
        {"offset", "12289", "misaligned or outside"},
        {"offset", "9223372036854771712", "misaligned or outside"},
        {"sha256", "\"00\"", "malformed"},
        {"sha256", "\"zz00000000000000000000000000000000000000000000000000000000000000\"", "malformed"},
    };
    struct bytes b = good_bytes();
    struct packed p;
    assert_int_equal(packed_read(&p, b.data, b.size, "f", NULL), GOSS_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *table = json_deep_copy(p.header);
        json_t *entry = json_array_get(json_object_get(table, "sections"), 1);
        json_object_set_new(entry, cases[i].key, json_loads(cases[i].value, JSON_DECODE_ANY, NULL));
        assert_table_refused(table, cases[i].message);
        json_decref(table);
    }
    json_t *table = json_deep_copy(p.header);
    json_object_set_new(table, "sections", json_array());
    assert_table_refused(table, "'sections' has 0 entries");
    json_decref(table);
    table = json_pack("[i]", 1);
    assert_table_refused(table, "'sections' has 0 entries");
    json_decref(table);
    packed_clear(&p);
    free(b.data);
}

static void sizes_that_wrap_are_zero(void **state)
{
    (void)state;
    assert_int_equal(packed_bytes(DTYPE_Q8_0, 2, 3, 64), 2 * 3 * 68);
    assert_int_equal(packed_bytes(DTYPE_Q8_0, 1, 1ull << 60, 32), 0);
    assert_int_equal(packed_bytes(DTYPE_F32, 1, 1ull << 62, 1), 0);
    assert_int_equal(packed_bytes(DTYPE_F32, 1ull << 63, 1, 2), 0);
    assert_int_equal(packed_bytes(DTYPE_TILE_Q8, UINT64_MAX, 16, 32), 0);
    assert_int_equal(packed_bytes(DTYPE_Q8_0, 1, 2, 16), 0); /* rows that are no whole blocks */
    assert_int_equal(packed_bytes(DTYPE_MXFP4_GGML, 1, 1, 32), 0);
    assert_int_equal(packed_bytes(DTYPE_NONE, 1, 1, 32), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_writes_a_section_across_huge_pages),
        cmocka_unit_test(sections_are_found_as_they_were_written),
        cmocka_unit_test(an_aborted_file_leaves_nothing),
        cmocka_unit_test(verification_finds_a_flipped_bit_anywhere),
        cmocka_unit_test(a_file_cut_anywhere_is_refused),
        cmocka_unit_test(a_flipped_bit_of_header_or_table_is_refused),
        cmocka_unit_test(hostile_tables_are_refused),
        cmocka_unit_test(sizes_that_wrap_are_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
