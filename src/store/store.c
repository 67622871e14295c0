#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    APPLICATION = 0x676F7373, /* "goss" */
    PAGE = 4096,
    WAIT_MS = 5000,
    EXPIRE_ROWS = 4096,
};
static const uint64_t default_bytes = 16ULL << 30;

enum statement { PUT, GET, DELETE, CANCEL, STATE, LINK, ORPHAN, EXPIRE, N_STATEMENT };

static const char *const texts[N_STATEMENT] = {
    [PUT] = "INSERT INTO response(id, owner, previous, created, state, object, input, messages) "
            "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT(id) DO UPDATE SET previous = excluded.previous, "
            "created = excluded.created, state = CASE WHEN state = 3 THEN 3 ELSE excluded.state END, "
            "object = excluded.object, input = excluded.input, messages = excluded.messages "
            "WHERE owner = excluded.owner",
    [GET] = "SELECT state, object, input, messages FROM response WHERE id = ?1 AND owner = ?2",
    [DELETE] = "DELETE FROM response WHERE id = ?1 AND owner = ?2",
    [CANCEL] = "UPDATE response SET state = 3 WHERE id = ?1 AND owner = ?2 AND state < 2",
    [STATE] = "SELECT state FROM response WHERE id = ?1 AND owner = ?2",
    [LINK] = "SELECT previous, messages FROM response WHERE id = ?1 AND owner = ?2",
    [ORPHAN] = "SELECT id, owner, object FROM response WHERE state < 2 LIMIT 1",
    [EXPIRE] = "DELETE FROM response WHERE rowid IN (SELECT rowid FROM response WHERE created < ?1 LIMIT ?2)",
};

static const char make_schema[] =
    "CREATE TABLE response(id TEXT NOT NULL UNIQUE, owner INTEGER NOT NULL, previous TEXT, created INTEGER NOT NULL, "
    "state INTEGER NOT NULL, object BLOB, input BLOB, messages BLOB);"
    "CREATE INDEX response_created ON response(created);"
    "CREATE INDEX response_state ON response(state) WHERE state < 2;"
    "PRAGMA application_id = 1735357299;"
    "PRAGMA user_version = 1;";

struct store {
    sqlite3 *db;
    char *path;
    int lock; /* held open for its flock, which SQLite's own locks know nothing of; closed after the database */
    sqlite3_stmt *statement[N_STATEMENT];
};

/* ---- errors ---- */

static goss_status fail(const struct store *store, int code, const char *what, goss_error *error)
{
    const char *path = store->path;
    switch (code & 0xFF) {
    case SQLITE_FULL:
        return error_set(error, GOSS_E_IO, "%s: cannot %s: the disk is full or the file has reached its limit", path,
                         what);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return error_set(error, GOSS_E_IO, "%s: cannot %s: another process has held the file for %d seconds", path,
                         what, WAIT_MS / 1000);
    case SQLITE_CORRUPT:
        return error_set(error, GOSS_E_FORMAT, "%s: cannot %s: the file is damaged; move it away to start a new one",
                         path, what);
    case SQLITE_NOTADB: return error_set(error, GOSS_E_FORMAT, "%s: this is no SQLite file", path);
    case SQLITE_NOMEM: return error_memory(error, 0, "the store");
    case SQLITE_TOOBIG: return error_set(error, GOSS_E_LIMIT, "%s: cannot %s: too large for a row", path, what);
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_CANTOPEN: return error_set(error, GOSS_E_IO, "%s: cannot %s: permission denied", path, what);
    default: return error_set(error, GOSS_E_IO, "%s: cannot %s: %s", path, what, sqlite3_errstr(code));
    }
}

/* ---- opening ---- */

/* An empty file of mode 0600 where there is none; SQLite gives the mode to the files that it makes beside it. One
 * process at a time: a second one would take the responses that the first is still making for orphans. */
static goss_status make_file(const char *path, int *lock, goss_error *error)
{
    struct stat status;
    int fd = *lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return error_errno(error, path, "cannot open");
    bool regular = fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
    bool closed_to_others = regular && ((status.st_mode & 077) == 0 || fchmod(fd, 0600) == 0);
    if (!regular)
        return error_set(error, GOSS_E_IO, "%s: not a regular file", path);
    if (!closed_to_others)
        return error_set(error, GOSS_E_IO, "%s: others may read it, and its mode cannot be changed", path);
    if (flock(fd, LOCK_EX | LOCK_NB))
        return error_set(error, GOSS_E_IO, "%s: another process serves from this file", path);
    return GOSS_OK;
}

static goss_status run(struct store *store, const char *sql, const char *what, goss_error *error)
{
    int code = sqlite3_exec(store->db, sql, NULL, NULL, NULL);
    return code ? fail(store, code, what, error) : GOSS_OK;
}

static goss_status pragma(struct store *store, const char *sql, int64_t *value, goss_error *error)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_step(statement);
    *value = code == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
    sqlite3_finalize(statement);
    return code == SQLITE_ROW || code == SQLITE_DONE ? GOSS_OK : fail(store, code, "open it", error);
}

/* Makes the schema in a file that has none, and refuses every other file that is not ours. */
static goss_status check_schema(struct store *store, goss_error *error)
{
    int64_t application, version, objects;
    goss_status status = pragma(store, "PRAGMA application_id", &application, error);
    status = status ? status : pragma(store, "PRAGMA user_version", &version, error);
    status = status ? status : pragma(store, "SELECT count(*) FROM sqlite_schema", &objects, error);
    if (status)
        return status;
    if (application == 0 && version == 0 && objects == 0)
        return run(store, make_schema, "make its tables", error);
    if (application != APPLICATION)
        return error_set(error, GOSS_E_FORMAT, "%s: a SQLite file of another program", store->path);
    if (version != STORE_VERSION)
        return error_set(error, GOSS_E_UNSUPPORTED, "%s: a store of version %lld; this program reads version %d",
                         store->path, (long long)version, STORE_VERSION);
    return GOSS_OK;
}

static goss_status open_tables(struct store *store, uint64_t most_bytes, goss_error *error)
{
    char limit[64];
    uint64_t pages = (most_bytes ? most_bytes : default_bytes) / PAGE;
    (void)sqlite3_snprintf(sizeof limit, limit, "PRAGMA max_page_count = %llu", (unsigned long long)pages);
    goss_status status = run(store,
                             "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0;"
                             "PRAGMA temp_store = MEMORY; PRAGMA page_size = 4096; PRAGMA secure_delete = ON",
                             "open it", error);
    status = status ? status : run(store, "BEGIN IMMEDIATE", "open it", error);
    if (status)
        return status;
    status = check_schema(store, error);
    if (status) {
        (void)sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
        return status;
    }
    status = run(store, "COMMIT", "open it", error);
    status = status ? status : run(store, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL", "open it", error);
    status = status ? status : run(store, limit, "open it", error);
    for (int i = 0; i < N_STATEMENT && !status; i++) {
        int code = sqlite3_prepare_v3(store->db, texts[i], -1, SQLITE_PREPARE_PERSISTENT, &store->statement[i], NULL);
        if (code)
            status = fail(store, code, "read its tables", error);
    }
    return status;
}

goss_status store_open(struct store **out, const char *path, uint64_t most_bytes, goss_error *error)
{
    *out = NULL;
    struct store *store = calloc(1, sizeof *store);
    if (!store || !(store->path = strdup(path))) {
        free(store);
        return error_memory(error, sizeof *store, "the store");
    }
    goss_status status = make_file(path, &store->lock, error);
    int code = status ? 0 : sqlite3_open_v2(path, &store->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW, NULL);
    if (code)
        status = fail(store, code, "open it", error);
    if (status == GOSS_OK) {
        sqlite3_busy_timeout(store->db, WAIT_MS);
        sqlite3_limit(store->db, SQLITE_LIMIT_LENGTH, STORE_ROW_BYTES + (1 << 20));
        status = open_tables(store, most_bytes, error);
    }
    if (status) {
        store_close(store);
        return status;
    }
    *out = store;
    return GOSS_OK;
}

void store_close(struct store *store)
{
    if (!store)
        return;
    for (int i = 0; i < N_STATEMENT; i++)
        sqlite3_finalize(store->statement[i]);
    sqlite3_close(store->db);
    if (store->lock >= 0)
        close(store->lock);
    free(store->path);
    free(store);
}

/* ---- statements ---- */

/* The statement with its first two parameters, id and owner. */
static sqlite3_stmt *begin(struct store *store, enum statement which, const char *id, uint64_t owner)
{
    sqlite3_stmt *statement = store->statement[which];
    sqlite3_bind_text(statement, 1, id, -1, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 2, (sqlite3_int64)owner);
    return statement;
}

static void end(sqlite3_stmt *statement)
{
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
}

/* Runs a statement that returns no row. */
static goss_status finish(struct store *store, sqlite3_stmt *statement, const char *what, goss_error *error)
{
    int code = sqlite3_step(statement);
    end(statement);
    return code == SQLITE_DONE ? GOSS_OK : fail(store, code, what, error);
}

static goss_status append_column(sqlite3_stmt *statement, int column, struct buffer *out, goss_error *error)
{
    int n = sqlite3_column_bytes(statement, column);
    const void *data = sqlite3_column_blob(statement, column);
    return n > 0 && data ? buffer_append(out, data, (size_t)n, error) : GOSS_OK;
}

static void bind_blob(sqlite3_stmt *statement, int column, const struct store_text *text)
{
    if (text->data)
        sqlite3_bind_blob64(statement, column, text->data, text->size, SQLITE_STATIC);
}

goss_status store_put(struct store *store, const struct store_response *r, goss_error *error)
{
    size_t size = r->object.size + r->input.size + r->messages.size;
    if (size > STORE_ROW_BYTES)
        return error_set(error, GOSS_E_LIMIT, "%s: a response of %zu bytes; at most %d are stored", store->path, size,
                         STORE_ROW_BYTES);
    if (strlen(r->id) > STORE_ID_BYTES || (r->previous && strlen(r->previous) > STORE_ID_BYTES))
        return error_set(error, GOSS_E_ARGUMENT, "%s: an id of more than %d bytes", store->path, STORE_ID_BYTES);
    sqlite3_stmt *statement = begin(store, PUT, r->id, r->owner);
    if (r->previous)
        sqlite3_bind_text(statement, 3, r->previous, -1, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 4, r->created);
    sqlite3_bind_int(statement, 5, (int)r->state);
    bind_blob(statement, 6, &r->object);
    bind_blob(statement, 7, &r->input);
    bind_blob(statement, 8, &r->messages);
    goss_status status = finish(store, statement, "store a response", error);
    if (status == GOSS_OK && sqlite3_changes(store->db) == 0)
        return error_set(error, GOSS_E_ARGUMENT, "%s: another owner has a response of that id", store->path);
    return status;
}

goss_status store_get(struct store *store, uint64_t owner, const char *id, enum store_column column, struct buffer *out,
                      enum store_state *state, bool *found, goss_error *error)
{
    sqlite3_stmt *statement = begin(store, GET, id, owner);
    int code = sqlite3_step(statement);
    goss_status status = code == SQLITE_ROW || code == SQLITE_DONE ? GOSS_OK : fail(store, code, "read", error);
    *found = code == SQLITE_ROW;
    if (*found && state)
        *state = (enum store_state)sqlite3_column_int(statement, 0);
    if (*found)
        status = append_column(statement, 1 + (int)column, out, error);
    end(statement);
    return status;
}

goss_status store_delete(struct store *store, uint64_t owner, const char *id, bool *found, goss_error *error)
{
    goss_status status = finish(store, begin(store, DELETE, id, owner), "delete a response", error);
    *found = status == GOSS_OK && sqlite3_changes(store->db) > 0;
    return status;
}

goss_status store_cancel(struct store *store, uint64_t owner, const char *id, enum store_state *state, bool *found,
                         goss_error *error)
{
    *found = false;
    goss_status status = finish(store, begin(store, CANCEL, id, owner), "cancel a response", error);
    if (status)
        return status;
    sqlite3_stmt *statement = begin(store, STATE, id, owner);
    int code = sqlite3_step(statement);
    *found = code == SQLITE_ROW;
    if (*found)
        *state = (enum store_state)sqlite3_column_int(statement, 0);
    end(statement);
    return code == SQLITE_ROW || code == SQLITE_DONE ? GOSS_OK : fail(store, code, "read", error);
}

goss_status store_orphan(struct store *store, struct buffer *id, struct buffer *object, uint64_t *owner, bool *found,
                         goss_error *error)
{
    sqlite3_stmt *statement = store->statement[ORPHAN];
    int code = sqlite3_step(statement);
    goss_status status = code == SQLITE_ROW || code == SQLITE_DONE ? GOSS_OK : fail(store, code, "read", error);
    size_t begins = id->size;
    *found = code == SQLITE_ROW;
    if (*found) {
        *owner = (uint64_t)sqlite3_column_int64(statement, 1);
        status = append_column(statement, 0, id, error);
        status = status ? status : append_column(statement, 2, object, error);
    }
    end(statement);
    if (*found && status == GOSS_OK)
        status =
            finish(store, begin(store, CANCEL, (const char *)id->data + begins, *owner), "cancel a response", error);
    return status;
}

goss_status store_expire(struct store *store, int64_t before, uint64_t *n, goss_error *error)
{
    sqlite3_stmt *statement = store->statement[EXPIRE];
    sqlite3_bind_int64(statement, 1, before);
    sqlite3_bind_int(statement, 2, EXPIRE_ROWS);
    goss_status status = finish(store, statement, "delete old responses", error);
    *n = status ? 0 : (uint64_t)sqlite3_changes(store->db);
    return status;
}

/* ---- chains ---- */

/* A chain from its end to its beginning. */
struct chain {
    char (*id)[STORE_ID_BYTES + 1]; /* [n] */
    struct buffer messages;         /* joined */
    size_t *at;                     /* [n + 1] where each one's messages begin */
    size_t n;
};

/* Takes one response and finds the one before it; *more is false at the beginning. */
static goss_status follow(struct store *store, uint64_t owner, struct chain *chain, bool *more, goss_error *error)
{
    const char *id = chain->id[chain->n];
    sqlite3_stmt *statement = begin(store, LINK, id, owner);
    int code = sqlite3_step(statement);
    goss_status status = GOSS_OK;
    *more = false;
    if (code == SQLITE_DONE)
        status = error_set(error, GOSS_E_ARGUMENT, "previous_response_id: the response '%.64s' is not stored here", id);
    else if (code != SQLITE_ROW)
        status = fail(store, code, "read", error);
    else if (sqlite3_column_type(statement, 1) == SQLITE_NULL)
        status = error_set(error, GOSS_E_ARGUMENT, "previous_response_id: the response '%.64s' is not complete", id);
    else
        status = append_column(statement, 1, &chain->messages, error);
    if (status == GOSS_OK) {
        const char *previous = (const char *)sqlite3_column_text(statement, 0);
        chain->at[++chain->n] = chain->messages.size;
        *more = previous != NULL && strlen(previous) <= STORE_ID_BYTES;
        if (*more && chain->n < STORE_CHAIN)
            memcpy(chain->id[chain->n], previous, strlen(previous) + 1);
    }
    end(statement);
    return status;
}

static goss_status write_chain(const struct chain *chain, struct buffer *out, goss_error *error)
{
    goss_status status = buffer_append_text(out, "[", error);
    for (size_t i = chain->n; i > 0 && !status; i--) {
        const uint8_t *messages = chain->messages.data + chain->at[i - 1];
        status = buffer_append(out, messages, chain->at[i] - chain->at[i - 1], error);
        status = status ? status : buffer_append_text(out, i > 1 ? "," : "]", error);
    }
    return status;
}

goss_status store_chain(struct store *store, uint64_t owner, const char *id, struct buffer *out, goss_error *error)
{
    struct chain chain = {.id = malloc((size_t)STORE_CHAIN * (STORE_ID_BYTES + 1)),
                          .at = calloc(STORE_CHAIN + 1, sizeof(size_t))};
    goss_status status = GOSS_OK;
    bool more = true;
    buffer_init(&chain.messages, STORE_CHAIN_BYTES);
    if (!chain.id || !chain.at)
        status = error_memory(error, STORE_CHAIN, "a chain of responses");
    else if (strlen(id) > STORE_ID_BYTES)
        status =
            error_set(error, GOSS_E_ARGUMENT, "previous_response_id: no id has more than %d bytes", STORE_ID_BYTES);
    else
        memcpy(chain.id[0], id, strlen(id) + 1);
    while (status == GOSS_OK && more) {
        if (chain.n == STORE_CHAIN)
            status =
                error_set(error, GOSS_E_LIMIT, "previous_response_id: a chain of more than %d responses", STORE_CHAIN);
        else
            status = follow(store, owner, &chain, &more, error);
    }
    status = status ? status : write_chain(&chain, out, error);
    free(chain.id);
    free(chain.at);
    buffer_free(&chain.messages);
    return status;
}
