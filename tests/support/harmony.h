/* What the tests of src/harmony share: the o200k tokenizer with its control tokens, vector files as JSON trees, and
 * whole streams of ids read into one text that two readings can be compared by. */
#ifndef SUPPORT_HARMONY_H
#define SUPPORT_HARMONY_H

#include "harmony/parse.h"
#include "support/test.h"
#include "text/json_tree.h"

/* Opened by support_open as a group's setup, closed by support_close as its teardown. */
extern struct harmony support_harmony;
int support_open(void **state);
int support_close(void **state);

/* A file below tests/, read and parsed; fails the test if it cannot be. */
struct vectors {
    struct arena arena;
    uint8_t *text;
    struct json_node *root;
};
void vectors_open(struct vectors *vectors, const char *name);
void vectors_close(struct vectors *vectors);

/* Ids of a text in which control literals become control tokens. */
void support_encode(const char *text, struct token_list *ids);
/* Ids of a JSON array. */
void support_ids(const struct json_node *array, struct token_list *ids);

/* Every event of a stream as a line of text. Checks on the way that the stretches of ids follow each other and cover
 * everything. */
void support_read(const enum role *role, const int32_t *id, size_t n, struct buffer *log);
/* The messages of a stream as JSON (harmony_parse_json); role NULL for none. */
void support_parse(const char *role, const char *text, struct buffer *out);

#endif
