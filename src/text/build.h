/* Vocabulary -> tables (tables.h), whatever file the vocabulary was read from. */
#ifndef TEXT_BUILD_H
#define TEXT_BUILD_H

#include <stdbool.h>

#include "text/split.h"
#include "text/tables.h"
#include "text/tokenizer.h"

/* The merge of two ids into a third; its place in the list is its rank. */
struct merge {
    uint32_t left, right, result;
};

/* One more name for an id. */
struct alias {
    const char *text;
    uint32_t id;
};

struct byte_vocabulary {
    const char *file; /* named in messages */
    enum split_pattern pattern;
    bool whole_pieces; /* a piece that is a token is taken whole, whatever the merges would make of it */
    uint32_t n_token, n_merge, n_alias;
    const uint32_t *offset;    /* [n_token + 1] into bytes */
    const uint8_t *bytes;      /* [offset[n_token]] */
    const uint8_t *kind;       /* [n_token] enum token_kind */
    const struct merge *merge; /* [n_merge] */
    const struct alias *alias; /* [n_alias] of control tokens */
};

/* Makes a tokenizer that owns its tables. Merges and literals are checked; ids and offsets are the caller's to check.
 */
goss_status tokenizer_build(struct tokenizer **tokenizer, const struct byte_vocabulary *vocabulary, goss_error *error);

/* An index of the normal tokens of a vocabulary whose merges are not known yet. index->slot is the caller's to free.
 * Two tokens of the same bytes are refused. */
goss_status byte_vocabulary_index(const struct byte_vocabulary *vocabulary, struct piece_index *index,
                                  goss_error *error);

/* Takes over tables made by malloc; they are freed on failure too. */
goss_status tokenizer_adopt(struct tokenizer **tokenizer, uint8_t *tables, size_t size, const char *file,
                            goss_error *error);

#endif
