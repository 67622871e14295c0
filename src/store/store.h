/* What outlives the process: responses, with the conversations behind them as sampled, in one SQLite file.
 *
 * A row is written when a response begins to be stored and replaced when it ends; what store_put returned GOSS_OK for
 * is on the disk and survives kill -9 and a power cut (WAL, synchronous=FULL). The file is made with mode 0600, its
 * schema has a version, and a file of another version, a corrupt one or one that is no database is refused by name and
 * never written to.
 *
 * Errors: GOSS_E_IO for a full disk, a lock held by another process for over five seconds and what the system refuses;
 * GOSS_E_FORMAT for a corrupt file; GOSS_E_LIMIT for a row that is too large or a file that has reached its limit;
 * each names the file.
 *
 * Thread safety: one thread at a time. One process serves from a file, a second is refused; other programs may look
 * into it meanwhile. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"

struct store;

enum {
    STORE_VERSION = 1,
    STORE_ID_BYTES = 128,         /* longest id */
    STORE_ROW_BYTES = 64 << 20,   /* a response with its input and messages */
    STORE_CHAIN = 4096,           /* longest chain of previous responses */
    STORE_CHAIN_BYTES = 64 << 20, /* of their messages together */
};

/* Opens or makes the file; its folder must exist. most_bytes: what the file may grow to, 0: 16 GiB. */
goss_status store_open(struct store **store, const char *path, uint64_t most_bytes, goss_error *error);
void store_close(struct store *store); /* NULL is fine */

enum store_state { STORE_QUEUED, STORE_RUNNING, STORE_DONE, STORE_CANCELLED };

/* A piece of a row; data NULL for none. */
struct store_text {
    const void *data;
    size_t size;
};
struct store_response {
    const char *id, *previous; /* previous: the response it continues, or NULL */
    uint64_t owner;
    int64_t created; /* seconds of Unix time */
    enum store_state state;
    struct store_text object;   /* the response as JSON, what GET returns */
    struct store_text input;    /* its input items as a JSON array */
    struct store_text messages; /* what continues it (answer_keep) */
};

/* Inserts or replaces. A response that was cancelled meanwhile stays cancelled. GOSS_E_ARGUMENT if the id belongs to
 * another owner. */
goss_status store_put(struct store *store, const struct store_response *response, goss_error *error);

/* Which column of a row. */
enum store_column { STORE_OBJECT, STORE_INPUT, STORE_MESSAGES };
/* Appends the column to out. *found is false if the owner has no such response. state may be NULL. */
goss_status store_get(struct store *store, uint64_t owner, const char *id, enum store_column column, struct buffer *out,
                      enum store_state *state, bool *found, goss_error *error);
goss_status store_delete(struct store *store, uint64_t owner, const char *id, bool *found, goss_error *error);
/* Marks a queued or running response as cancelled; *state is what it then is. */
goss_status store_cancel(struct store *store, uint64_t owner, const char *id, enum store_state *state, bool *found,
                         goss_error *error);
/* One response that a process which died left queued or running: marks it as cancelled and appends its id and object,
 * which the caller then puts again with the failure in it. *found is false when there are no more. For the start,
 * before anything is served. */
goss_status store_orphan(struct store *store, struct buffer *id, struct buffer *object, uint64_t *owner, bool *found,
                         goss_error *error);

/* The chain that ends with `id`: appends a JSON array of every response's messages, oldest first. GOSS_E_ARGUMENT if a
 * response of it is missing or deleted, naming it, or has nothing to continue yet; GOSS_E_LIMIT past the limits above.
 */
goss_status store_chain(struct store *store, uint64_t owner, const char *id, struct buffer *out, goss_error *error);

/* Deletes responses older than `before`, a few thousand per call; *n is how many. */
goss_status store_expire(struct store *store, int64_t before, uint64_t *n, goss_error *error);

#endif
