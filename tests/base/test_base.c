#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/pool.h"
#include "base/random.h"
#include "support/test.h"

static void buffer_stops_at_its_limit(void **state)
{
    (void)state;
    struct buffer b;
    goss_error error;
    buffer_init(&b, 5);
    assert_int_equal(buffer_append_text(&b, "hello", &error), GOSS_OK);
    assert_int_equal(buffer_append_text(&b, "!", &error), GOSS_E_LIMIT);
    assert_non_null(strstr(error.text, "5 bytes"));
    assert_string_equal((char *)b.data, "hello");
    assert_int_equal(buffer_reserve(&b, SIZE_MAX, &error), GOSS_E_LIMIT);
    buffer_free(&b);
}

static void arena_gives_zeroed_aligned_memory(void **state)
{
    (void)state;
    struct arena arena = {0};
    for (size_t n = 1; n < 200000; n = n * 3 + 1) {
        uint8_t *p = arena_alloc(&arena, n);
        assert_int_equal((uintptr_t)p % 16, 0);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(p[i], 0);
        memset(p, 0xff, n);
    }
    assert_null(arena_alloc(&arena, SIZE_MAX));
    assert_string_equal(arena_copy(&arena, "abc", 2), "ab");
    arena_free(&arena);
}

/* Known answers of the paper's reference implementation (Random123, kat_vectors, philox4x32 10). */
static void random_words_match_the_published_answers(void **state)
{
    (void)state;
    uint32_t w[4];
    random_words(0, 0, 0, w);
    const uint32_t zeros[4] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    assert_memory_equal(w, zeros, sizeof w);
    random_words(UINT64_MAX, UINT64_MAX, UINT64_MAX, w);
    const uint32_t ones[4] = {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd};
    assert_memory_equal(w, ones, sizeof w);
}

static void sha256_matches_fips_180(void **state)
{
    (void)state;
    uint8_t digest[SHA256_BYTES];
    char text[SHA256_TEXT];
    assert_int_equal(sha256_of("abc", 3, digest, NULL), GOSS_OK);
    sha256_text(digest, text);
    assert_string_equal(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void a_file_has_its_name_only_when_complete(void **state)
{
    (void)state;
    char dir[] = "/tmp/gossamer-test-XXXXXX";
    assert_non_null(mkdtemp(dir));
    char *path = file_join(dir, "f");
    struct file_writer w;
    assert_int_equal(file_writer_open(&w, path, NULL), GOSS_OK);
    assert_int_equal(file_writer_write(&w, "abcd", 4, NULL), GOSS_OK);
    assert_int_equal(file_writer_patch(&w, 1, "X", 1, NULL), GOSS_OK);
    assert_int_equal(file_writer_patch(&w, 4, "X", 1, NULL), GOSS_E_INTERNAL);
    assert_false(file_exists(path));
    assert_int_equal(file_writer_commit(&w, NULL), GOSS_OK);
    struct file_map map;
    assert_int_equal(file_map_open(&map, path, NULL), GOSS_OK);
    assert_int_equal(map.size, 4);
    assert_memory_equal(map.data, "aXcd", 4);
    file_map_close(&map);
    uint8_t *bytes;
    size_t size;
    goss_error error;
    assert_int_equal(file_read(path, 3, &bytes, &size, &error), GOSS_E_LIMIT);
    assert_int_equal(file_read(dir, 3, &bytes, &size, &error), GOSS_E_IO);
    assert_int_equal(file_read("/nowhere/at/all", 3, &bytes, &size, &error), GOSS_E_IO);
    assert_string_equal(error.text, "/nowhere/at/all: cannot open: No such file or directory");
    unlink(path);
    assert_int_equal(rmdir(dir), 0); /* no partial file left behind */
    free(path);
}

static void a_copied_file_keeps_its_place_and_its_bytes_whatever_becomes_of_the_file(void **state)
{
    (void)state;
    enum { SIZE = 70 * 1000 * 1000 + 123 }; /* two pieces, the last one no whole page */
    char path[] = "/tmp/gossamer-test-XXXXXX";
    int fd = mkstemp(path);
    uint8_t *bytes = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (uint8_t)(i * 2654435761u >> 13);
    for (size_t n = 0; n < SIZE;) {
        ssize_t written = write(fd, bytes + n, SIZE - n);
        assert_true(written > 0);
        n += (size_t)written;
    }
    struct file_map map;
    goss_error error;
    atomic_uint_fast64_t done = 0;
    atomic_bool cancel = true;
    assert_int_equal(file_map_open(&map, path, NULL), GOSS_OK);
    const uint8_t *data = map.data;
    assert_int_equal(file_map_copy(&map, &done, &cancel, &error), GOSS_E_CANCELLED);
    assert_int_equal(done, 0);
    cancel = false;
    assert_int_equal(file_map_copy(&map, &done, &cancel, &error), GOSS_OK);
    assert_int_equal(done, SIZE);
    assert_ptr_equal(map.data, data);
    assert_int_equal(ftruncate(fd, 0), 0); /* a mapping would be gone, and reading it a signal */
    assert_memory_equal(map.data, bytes, SIZE);
    assert_int_equal(map.data[SIZE], 0);
    file_map_close(&map);
    free(bytes);
    close(fd);
    unlink(path);
}

static void writers_of_one_path_leave_each_other_alone_and_remove_what_the_dead_left(void **state)
{
    (void)state;
    char dir[] = "/tmp/gossamer-test-XXXXXX";
    assert_non_null(mkdtemp(dir));
    char *path = file_join(dir, "f"), *dead = file_join(dir, "f.killed.partial"), *other = file_join(dir, "f.partial");
    struct file_writer first, second;
    uint8_t *bytes;
    size_t size;
    assert_int_equal(close(creat(dead, 0600)), 0);
    assert_int_equal(close(creat(other, 0600)), 0);
    assert_int_equal(file_writer_open(&first, path, NULL), GOSS_OK);
    assert_false(file_exists(dead));
    assert_true(file_exists(other)); /* no name that a writer gives */
    assert_int_equal(file_writer_open(&second, path, NULL), GOSS_OK);
    assert_int_equal(file_writer_write(&second, "second", 6, NULL), GOSS_OK);
    assert_int_equal(file_writer_write(&first, "first", 5, NULL), GOSS_OK);
    assert_int_equal(file_writer_commit(&second, NULL), GOSS_OK);
    assert_int_equal(file_writer_commit(&first, NULL), GOSS_OK);
    assert_int_equal(file_read(path, 10, &bytes, &size, NULL), GOSS_OK);
    assert_string_equal(bytes, "first");
    free(bytes);
    assert_int_equal(unlink(path) | unlink(other), 0);
    assert_int_equal(rmdir(dir), 0);
    free(path);
    free(dead);
    free(other);
}

struct count {
    struct pool *pool;
    atomic_int calls, before_barrier, torn;
};

static void count_work(void *argument, int worker)
{
    struct count *c = argument;
    (void)worker;
    atomic_fetch_add(&c->calls, 1);
    for (int i = 1; i <= 3; i++) {
        atomic_fetch_add(&c->before_barrier, 1);
        pool_barrier(c->pool);
        if (atomic_load(&c->before_barrier) % pool_threads(c->pool) != 0)
            atomic_fetch_add(&c->torn, 1);
        pool_barrier(c->pool);
    }
}

static void pool_runs_every_worker_and_barriers_hold(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 5; threads++) {
        struct count c = {0};
        assert_int_equal(pool_open(&c.pool, threads, NULL), GOSS_OK);
        for (int i = 0; i < 300; i++)
            pool_run(c.pool, count_work, &c);
        assert_int_equal(atomic_load(&c.calls), threads * 300);
        assert_int_equal(atomic_load(&c.torn), 0);
        pool_close(c.pool);
    }
    goss_error error;
    struct pool *pool;
    assert_int_equal(pool_open(&pool, 0, &error), GOSS_E_ARGUMENT);
}

static void shares_cover_everything_once(void **state)
{
    (void)state;
    struct pool *pool;
    assert_int_equal(pool_open(&pool, 3, NULL), GOSS_OK);
    for (int n = 0; n < 100; n++)
        for (int grain = 1; grain < 20; grain++) {
            int at = 0;
            for (int w = 0; w < 3; w++) {
                int begin, end;
                pool_share(pool, w, n, grain, &begin, &end);
                assert_int_equal(begin, at);
                assert_true(begin % grain == 0 || begin == n);
                at = end;
            }
            assert_int_equal(at, n);
        }
    pool_close(pool);
}

static void *no_memory(size_t size)
{
    (void)size;
    return NULL;
}

static void a_json_text_that_finds_no_memory_is_not_called_bad(void **state)
{
    (void)state;
    json_t *json;
    goss_error error;
    json_malloc_t allocate;
    json_free_t release;
    json_get_alloc_funcs(&allocate, &release);
    json_set_alloc_funcs(no_memory, release);
    goss_status status = json_parse(&json, "{}", 2, "config.json", &error);
    json_set_alloc_funcs(allocate, release);
    assert_int_equal(status, GOSS_E_MEMORY);
    assert_null(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffer_stops_at_its_limit),
        cmocka_unit_test(arena_gives_zeroed_aligned_memory),
        cmocka_unit_test(random_words_match_the_published_answers),
        cmocka_unit_test(sha256_matches_fips_180),
        cmocka_unit_test(a_file_has_its_name_only_when_complete),
        cmocka_unit_test(a_copied_file_keeps_its_place_and_its_bytes_whatever_becomes_of_the_file),
        cmocka_unit_test(writers_of_one_path_leave_each_other_alone_and_remove_what_the_dead_left),
        cmocka_unit_test(pool_runs_every_worker_and_barriers_hold),
        cmocka_unit_test(shares_cover_everything_once),
        cmocka_unit_test(a_json_text_that_finds_no_memory_is_not_called_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
