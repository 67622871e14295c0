/* A vocabulary as tokenizer.json and GGUF spell it -> a tokenizer. Everything in it comes from strangers. */
#ifndef TEXT_SPELLED_H
#define TEXT_SPELLED_H

#include <stdbool.h>

#include "text/split.h"
#include "text/tables.h"
#include "text/tokenizer.h"

struct spelled_token {
    struct tokenizer_text text; /* data NULL: this id is not used */
    enum token_kind kind;       /* TOKEN_NORMAL is spelled by byte_level.h, the others stand as they are */
};

struct spelled_merge {
    struct tokenizer_text left, right; /* byte-level spelling */
};

struct spelled_vocabulary {
    const char *file; /* named in messages */
    enum split_pattern pattern;
    bool whole_pieces;  /* see build.h */
    bool derive_merges; /* the file lists none: any two tokens that make a third merge, at the rank of its id */
    uint32_t n_token, n_merge;
    const struct spelled_token *token; /* [n_token] by id */
    const struct spelled_merge *merge; /* [n_merge] by rank */
};

goss_status tokenizer_build_spelled(struct tokenizer **tokenizer, const struct spelled_vocabulary *source,
                                    goss_error *error);

/* As much of a stranger's string as fits, on one line, for a message. */
enum { EXCERPT = 64 };
const char *excerpt(char out[EXCERPT], const uint8_t *text, size_t n);

#endif
