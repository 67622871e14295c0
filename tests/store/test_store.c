/* What lasts: kills, damage, full disks, other processes and other versions. */
#include "store/store.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "support/test.h"

enum { KILLS = 30, DAMAGES = 150, ROWS = 40 };

struct place {
    char folder[64], path[96];
};

static int make_place(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    assert_non_null(place);
    memcpy(place->folder, "/tmp/gossamer-store-XXXXXX", 27);
    assert_non_null(mkdtemp(place->folder));
    (void)snprintf(place->path, sizeof place->path, "%s/responses.sqlite", place->folder);
    *state = place;
    return 0;
}

static int remove_place(void **state)
{
    static const char *const ending[] = {"", "-wal", "-shm"};
    struct place *place = *state;
    char path[128];
    for (int i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof path, "%s%s", place->path, ending[i]);
        (void)unlink(path);
    }
    (void)rmdir(place->folder);
    free(place);
    return 0;
}

static struct store *opened(const struct place *place, uint64_t most)
{
    struct store *store;
    goss_error error;
    if (store_open(&store, place->path, most, &error))
        fail_msg("%s", error.text);
    return store;
}

/* A response whose content follows from its number. */
static goss_status put(struct store *store, int i, uint64_t owner, enum store_state state, goss_error *error)
{
    char id[32], object[2000];
    (void)snprintf(id, sizeof id, "resp_%d", i);
    memset(object, 'a' + i % 26, sizeof object);
    struct store_response row = {.id = id,
                                 .owner = owner,
                                 .created = 1000 + i,
                                 .state = state,
                                 .object = {object, sizeof object - i % 7},
                                 .messages = {"{}", 2}};
    return store_put(store, &row, error);
}

/* 1: there and right; 0: not there; a failure of reading is returned. */
static int look(struct store *store, int i, uint64_t owner, enum store_state *state, goss_error *error)
{
    char id[32];
    bool found, right = true;
    struct buffer out;
    buffer_init(&out, 1 << 20);
    (void)snprintf(id, sizeof id, "resp_%d", i);
    goss_status status = store_get(store, owner, id, STORE_OBJECT, &out, state, &found, error);
    for (size_t k = 0; k < out.size; k++)
        right = right && out.data[k] == 'a' + i % 26;
    right = right && out.size == (size_t)(2000 - i % 7);
    buffer_free(&out);
    return status ? -1 : !found ? 0 : right ? 1 : 2;
}

/* ---- killed ---- */

/* Puts one response after the other and tells each that was acknowledged. */
static void put_for_ever(const struct place *place, int first, int pipe)
{
    struct store *store;
    if (store_open(&store, place->path, 0, NULL))
        _exit(1);
    for (int i = first; put(store, i, 1, STORE_DONE, NULL) == GOSS_OK; i++)
        if (write(pipe, &i, sizeof i) != sizeof i)
            break;
    _exit(2);
}

static void every_acknowledged_response_survives_kill_9(void **state)
{
    const struct place *place = *state;
    int last = -1;
    srand(7);
    for (int kill_number = 0; kill_number < KILLS; kill_number++) {
        int ends[2], status, i;
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        if (child == 0)
            put_for_ever(place, last + 1, ends[1]);
        close(ends[1]);
        assert_int_equal(read(ends[0], &i, sizeof i), sizeof i);
        const struct timespec moment = {.tv_nsec = (rand() % 12000) * 1000L};
        (void)nanosleep(&moment, NULL);
        (void)kill(child, SIGKILL);
        do
            last = i;
        while (read(ends[0], &i, sizeof i) == sizeof i);
        close(ends[0]);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        struct store *store = opened(place, 0);
        for (int k = 0; k <= last; k++)
            assert_int_equal(look(store, k, 1, NULL, NULL), 1);
        int next = look(store, last + 1, 1, NULL, NULL); /* written, though nobody heard of it */
        assert_true(next == 0 || next == 1);
        last += next;
        store_close(store);
    }
    assert_true(last >= KILLS);
}

/* ---- damage ---- */

static void a_damaged_file_is_refused_by_name_and_left_alone_or_read_without_a_crash(void **state)
{
    const struct place *place = *state;
    struct store *store = opened(place, 0);
    for (int i = 0; i < ROWS; i++)
        assert_int_equal(put(store, i, 1, STORE_DONE, NULL), GOSS_OK);
    store_close(store);
    uint8_t *whole, *again;
    size_t size, same;
    assert_int_equal(file_read(place->path, 1 << 24, &whole, &size, NULL), GOSS_OK);
    int refused = 0;
    srand(11);
    for (int n = 0; n < DAMAGES; n++) {
        goss_error error;
        uint8_t *damaged = malloc(size);
        assert_non_null(damaged);
        memcpy(damaged, whole, size);
        size_t keep = n % 3 == 0 ? (size_t)rand() % size : size; /* cut, or with bytes turned over */
        for (int k = 0; n % 3 && k < 1 + n % 40; k++)
            damaged[n % 3 == 1 ? (size_t)rand() % 4096 : (size_t)rand() % size] ^= (uint8_t)(1 << rand() % 8);
        FILE *file = fopen(place->path, "wb");
        assert_non_null(file);
        assert_int_equal(fwrite(damaged, 1, keep, file), keep);
        assert_int_equal(fclose(file), 0);
        goss_status status = store_open(&store, place->path, 0, &error);
        if (status) {
            refused++;
            assert_non_null(strstr(error.text, place->path));
            assert_int_equal(file_read(place->path, 1 << 24, &again, &same, NULL), GOSS_OK);
            assert_true(same == keep && memcmp(again, damaged, keep) == 0);
            free(again);
        }
        for (int i = 0; i < ROWS && !status; i++)
            if (look(store, i, 1, NULL, &error) < 0)
                assert_non_null(strstr(error.text, place->path));
        if (!status)
            store_close(store);
        free(damaged);
    }
    assert_true(refused > DAMAGES / 10);
    free(whole);
}

static void refuses(const struct place *place, goss_status expected, const char *says)
{
    struct store *store;
    goss_error error;
    uint8_t *before, *after;
    size_t n_before, n_after;
    assert_int_equal(file_read(place->path, 1 << 24, &before, &n_before, NULL), GOSS_OK);
    assert_int_equal(store_open(&store, place->path, 0, &error), expected);
    assert_null(store);
    if (!strstr(error.text, says) || !strstr(error.text, place->path))
        fail_msg("%s", error.text);
    assert_int_equal(file_read(place->path, 1 << 24, &after, &n_after, NULL), GOSS_OK);
    assert_true(n_before == n_after && memcmp(before, after, n_after) == 0);
    free(before);
    free(after);
}

static void make_sqlite(const struct place *place, const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(place->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void a_store_of_a_newer_version_is_refused_and_left_alone(void **state)
{
    const struct place *place = *state;
    store_close(opened(place, 0));
    make_sqlite(place, "PRAGMA user_version = 2");
    refuses(place, GOSS_E_UNSUPPORTED, "a store of version 2; this program reads version 1");
}

static void a_file_of_another_program_is_refused_and_left_alone(void **state)
{
    const struct place *place = *state;
    make_sqlite(place, "CREATE TABLE bookmarks(url TEXT)");
    refuses(place, GOSS_E_FORMAT, "another program");
    FILE *file = fopen(place->path, "wb");
    assert_non_null(file);
    for (int i = 0; i < 1000; i++)
        (void)fputs("this is a letter ", file);
    assert_int_equal(fclose(file), 0);
    refuses(place, GOSS_E_FORMAT, "no SQLite file");
}

static void files_and_links_that_are_none_of_ours_are_not_opened(void **state)
{
    const struct place *place = *state;
    struct store *store;
    goss_error error;
    assert_int_equal(symlink("/etc/passwd", place->path), 0);
    assert_int_equal(store_open(&store, place->path, 0, &error), GOSS_E_IO);
    assert_int_equal(unlink(place->path), 0);
    assert_int_equal(mkfifo(place->path, 0600), 0);
    assert_int_equal(store_open(&store, place->path, 0, &error), GOSS_E_IO);
    assert_int_equal(unlink(place->path), 0);
    assert_int_equal(store_open(&store, "/nowhere/at/all", 0, &error), GOSS_E_IO);
}

static void others_can_never_read_the_file(void **state)
{
    const struct place *place = *state;
    struct stat found;
    int fd = open(place->path, O_CREAT | O_WRONLY, 0644);
    assert_true(fd >= 0);
    close(fd);
    struct store *store = opened(place, 0);
    assert_int_equal(put(store, 1, 1, STORE_DONE, NULL), GOSS_OK);
    assert_int_equal(stat(place->path, &found), 0);
    assert_int_equal(found.st_mode & 0777, 0600);
    store_close(store);
}

/* ---- no room ---- */

static void a_full_store_refuses_and_keeps_what_it_has(void **state)
{
    const struct place *place = *state;
    struct store *store = opened(place, 256 << 10);
    goss_error error;
    goss_status status = GOSS_OK;
    bool found;
    int n = 0;
    while (n < 10000 && !(status = put(store, n, 1, STORE_DONE, &error)))
        n++;
    assert_int_equal(status, GOSS_E_IO);
    assert_non_null(strstr(error.text, "the disk is full or the file has reached its limit"));
    assert_true(n > 20);
    for (int i = 0; i < n; i++)
        assert_int_equal(look(store, i, 1, NULL, NULL), 1);
    for (int i = 0; i < 4; i++) {
        char id[32];
        (void)snprintf(id, sizeof id, "resp_%d", i);
        assert_int_equal(store_delete(store, 1, id, &found, &error), GOSS_OK);
    }
    assert_int_equal(put(store, n, 1, STORE_DONE, &error), GOSS_OK); /* there is room again */
    store_close(store);
}

/* The system refuses a write in the midst, as it does on a full disk. */
static void a_write_that_the_system_refuses_leaves_the_old_rows(void **state)
{
    const struct place *place = *state;
    struct store *store = opened(place, 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(put(store, i, 1, STORE_DONE, NULL), GOSS_OK);
    store_close(store);
    pid_t child = fork();
    if (child == 0) {
        struct rlimit limit = {40000, 40000};
        goss_error error = {0};
        (void)signal(SIGXFSZ, SIG_IGN);
        if (setrlimit(RLIMIT_FSIZE, &limit) || store_open(&store, place->path, 0, NULL))
            _exit(1);
        int n = 5;
        while (n < 1000 && put(store, n, 1, STORE_DONE, &error) == GOSS_OK)
            n++;
        if (n == 1000 || error.status != GOSS_E_IO || !strstr(error.text, place->path))
            _exit(2);
        for (int i = 0; i < n; i++)
            if (look(store, i, 1, NULL, NULL) != 1)
                _exit(3);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    store = opened(place, 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(look(store, i, 1, NULL, NULL), 1);
    store_close(store);
}

/* ---- other processes ---- */

static void a_second_process_is_refused(void **state)
{
    const struct place *place = *state;
    struct store *store = opened(place, 0), *second;
    goss_error error;
    assert_int_equal(store_open(&second, place->path, 0, &error), GOSS_E_IO);
    assert_non_null(strstr(error.text, "another process serves from this file"));
    assert_int_equal(put(store, 1, 1, STORE_DONE, NULL), GOSS_OK);
    store_close(store);
    store_close(opened(place, 0));
}

static void a_lock_that_another_program_holds_is_waited_for_and_then_named(void **state)
{
    const struct place *place = *state;
    struct store *store = opened(place, 0);
    sqlite3 *db;
    goss_error error;
    assert_int_equal(sqlite3_open(place->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(put(store, 1, 1, STORE_DONE, &error), GOSS_E_IO);
    assert_non_null(strstr(error.text, "another process has held the file for 5 seconds"));
    assert_int_equal(look(store, 1, 1, NULL, NULL), 0);
    assert_int_equal(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(put(store, 1, 1, STORE_DONE, &error), GOSS_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    store_close(store);
}

/* ---- rows ---- */

static void a_response_is_there_for_its_owner_alone(void **state)
{
    const struct place *place = *state;
    struct store *store = opened(place, 0);
    enum store_state now;
    goss_error error;
    bool found;
    struct buffer out;
    buffer_init(&out, 1 << 20);
    assert_int_equal(put(store, 1, 1, STORE_RUNNING, NULL), GOSS_OK);
    assert_int_equal(look(store, 1, 2, NULL, NULL), 0);
    assert_int_equal(put(store, 1, 2, STORE_DONE, &error), GOSS_E_ARGUMENT);
    assert_int_equal(store_delete(store, 2, "resp_1", &found, NULL), GOSS_OK);
    assert_false(found);
    assert_int_equal(store_cancel(store, 2, "resp_1", &now, &found, NULL), GOSS_OK);
    assert_false(found);
    assert_int_equal(store_chain(store, 2, "resp_1", &out, &error), GOSS_E_ARGUMENT);
    assert_int_equal(look(store, 1, 1, &now, NULL), 1);
    assert_int_equal(now, STORE_RUNNING);
    buffer_free(&out);
    store_close(store);
}

static void what_was_cancelled_stays_cancelled_and_orphans_are_found_once(void **state)
{
    const struct place *place = *state;
    struct store *store = opened(place, 0);
    enum store_state now;
    struct buffer id, object;
    uint64_t owner;
    bool found;
    buffer_init(&id, 256);
    buffer_init(&object, 1 << 20);
    assert_int_equal(put(store, 1, 1, STORE_RUNNING, NULL), GOSS_OK);
    assert_int_equal(store_cancel(store, 1, "resp_1", &now, &found, NULL), GOSS_OK);
    assert_int_equal(put(store, 1, 1, STORE_DONE, NULL), GOSS_OK); /* its turn ended a moment later */
    assert_int_equal(look(store, 1, 1, &now, NULL), 1);
    assert_int_equal(now, STORE_CANCELLED);
    assert_int_equal(put(store, 2, 9, STORE_RUNNING, NULL), GOSS_OK);
    assert_int_equal(store_orphan(store, &id, &object, &owner, &found, NULL), GOSS_OK);
    assert_true(found && owner == 9 && strcmp((const char *)id.data, "resp_2") == 0 && object.size == 1998);
    assert_int_equal(store_orphan(store, &id, &object, &owner, &found, NULL), GOSS_OK);
    assert_false(found);
    buffer_free(&id);
    buffer_free(&object);
    store_close(store);
}

static void a_chain_goes_oldest_first_and_names_what_is_missing(void **state)
{
    const struct place *place = *state;
    struct store *store = opened(place, 0);
    goss_error error;
    bool found;
    struct buffer out;
    buffer_init(&out, 1 << 20);
    for (int i = 0; i < 3; i++) {
        static const char *const ids[] = {"a", "b", "c"};
        static const char *const messages[] = {"{\"n\":0}", "{\"n\":1}", "{\"n\":2}"};
        struct store_response row = {.id = ids[i],
                                     .previous = i ? ids[i - 1] : NULL,
                                     .state = STORE_DONE,
                                     .object = {"{}", 2},
                                     .messages = {messages[i], 7}};
        assert_int_equal(store_put(store, &row, NULL), GOSS_OK);
    }
    assert_int_equal(store_chain(store, 0, "c", &out, NULL), GOSS_OK);
    assert_int_equal(buffer_append(&out, "", 1, NULL), GOSS_OK);
    assert_string_equal((const char *)out.data, "[{\"n\":0},{\"n\":1},{\"n\":2}]");
    assert_int_equal(store_delete(store, 0, "b", &found, NULL), GOSS_OK);
    buffer_clear(&out);
    assert_int_equal(store_chain(store, 0, "c", &out, &error), GOSS_E_ARGUMENT);
    assert_non_null(strstr(error.text, "'b'"));
    struct store_response loop = {.id = "d", .previous = "d", .state = STORE_DONE, .messages = {"{}", 2}};
    assert_int_equal(store_put(store, &loop, NULL), GOSS_OK);
    assert_int_equal(store_chain(store, 0, "d", &out, &error), GOSS_E_LIMIT); /* no end, and yet it ends */
    buffer_free(&out);
    store_close(store);
}

static void old_responses_are_forgotten(void **state)
{
    const struct place *place = *state;
    struct store *store = opened(place, 0);
    uint64_t n;
    for (int i = 0; i < 10; i++)
        assert_int_equal(put(store, i, 1, STORE_DONE, NULL), GOSS_OK);
    assert_int_equal(store_expire(store, 1004, &n, NULL), GOSS_OK);
    assert_int_equal(n, 4);
    assert_int_equal(look(store, 3, 1, NULL, NULL), 0);
    assert_int_equal(look(store, 4, 1, NULL, NULL), 1);
    store_close(store);
}

static void a_row_at_its_limit_is_kept_and_one_past_it_is_not(void **state)
{
    const struct place *place = *state;
    struct store *store = opened(place, 0);
    goss_error error;
    char *large = calloc(1, STORE_ROW_BYTES + 1), id[STORE_ID_BYTES + 2];
    assert_non_null(large);
    struct store_response row = {.id = "large", .state = STORE_DONE, .object = {large, STORE_ROW_BYTES}};
    assert_int_equal(store_put(store, &row, &error), GOSS_OK);
    row.object.size++;
    assert_int_equal(store_put(store, &row, &error), GOSS_E_LIMIT);
    memset(id, 'x', sizeof id);
    id[STORE_ID_BYTES + 1] = 0;
    row = (struct store_response){.id = id + 1, .state = STORE_DONE};
    assert_int_equal(store_put(store, &row, &error), GOSS_OK);
    row.id = id;
    assert_int_equal(store_put(store, &row, &error), GOSS_E_ARGUMENT);
    free(large);
    store_close(store);
}

#define WITH_PLACE(f) cmocka_unit_test_setup_teardown(f, make_place, remove_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_PLACE(every_acknowledged_response_survives_kill_9),
        WITH_PLACE(a_damaged_file_is_refused_by_name_and_left_alone_or_read_without_a_crash),
        WITH_PLACE(a_store_of_a_newer_version_is_refused_and_left_alone),
        WITH_PLACE(a_file_of_another_program_is_refused_and_left_alone),
        WITH_PLACE(files_and_links_that_are_none_of_ours_are_not_opened),
        WITH_PLACE(others_can_never_read_the_file),
        WITH_PLACE(a_full_store_refuses_and_keeps_what_it_has),
        WITH_PLACE(a_write_that_the_system_refuses_leaves_the_old_rows),
        WITH_PLACE(a_second_process_is_refused),
        WITH_PLACE(a_lock_that_another_program_holds_is_waited_for_and_then_named),
        WITH_PLACE(a_response_is_there_for_its_owner_alone),
        WITH_PLACE(what_was_cancelled_stays_cancelled_and_orphans_are_found_once),
        WITH_PLACE(a_chain_goes_oldest_first_and_names_what_is_missing),
        WITH_PLACE(old_responses_are_forgotten),
        WITH_PLACE(a_row_at_its_limit_is_kept_and_one_past_it_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
