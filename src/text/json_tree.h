/* JSON as it was written. Other floors read JSON with jansson; this reader exists because the spelling of a tool's
 * schema becomes prompt tokens: it keeps the order of members, the digits of numbers and integers beyond 64 bits, and
 * it lets a caller take any value's source text. It is strict (RFC 8259, well-formed UTF-8, no key twice in an object),
 * iterative, and bounded: nesting of at most JSON_DEPTH and at most JSON_VALUES values. */
#ifndef TEXT_JSON_TREE_H
#define TEXT_JSON_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"

enum { JSON_DEPTH = 127, JSON_VALUES = 4000000, JSON_NUMBER_SIZE = 1000 /* bytes of one number */ };

enum json_kind {
    JSON_TREE_NULL,
    JSON_TREE_FALSE,
    JSON_TREE_TRUE,
    JSON_TREE_NUMBER,
    JSON_TREE_STRING,
    JSON_TREE_ARRAY,
    JSON_TREE_OBJECT
};

/* One value. Everything belongs to the arena it was read into; sources points into the text that was read, which must
 * live as long. */
struct json_node {
    enum json_kind kind;
    bool mark;                                      /* free for the reader's use; false at first */
    struct json_node *parent, *child, *last, *next; /* child is the first and last the last of the children */
    const char *key; /* member of an object: its name, unescaped, NUL-terminated, may hold NUL; else NULL */
    size_t key_size;
    const char
        *text; /* string: unescaped, NUL-terminated, may hold NUL; number: its digits as written, in the source */
    size_t size;
    const char *source; /* the value's own text */
    size_t source_size;
    size_t n_child;
    struct json_node **sorted; /* [n_child] an object's members by name */
};

/* Reads one value that fills the text. `where` is named in messages, which give line and column. */
goss_status json_tree_read(struct arena *arena, const char *text, size_t size, const char *where,
                           struct json_node **root, goss_error *error);

/* A member by name, or NULL if there is none or `object` is NULL or no object. */
struct json_node *json_tree_get(const struct json_node *object, const char *key);
struct json_node *json_tree_find(const struct json_node *object, const char *key, size_t key_size);
bool json_tree_is(const struct json_node *node, enum json_kind kind); /* false for NULL */
/* An integer literal within [low, high]. */
bool json_tree_integer(const struct json_node *node, int64_t low, int64_t high, int64_t *value);

/* Appends a value in the spelling of Rust's serde_json: no blanks, shortest digits that read back to the same double,
 * integers of 64 bits as they are. */
goss_status json_tree_write(const struct json_node *node, struct buffer *out, goss_error *error);
/* Appends a string with quotes and escapes; `text` must be well-formed UTF-8. */
goss_status json_write_string(struct buffer *out, const char *text, size_t size, goss_error *error);

#endif
