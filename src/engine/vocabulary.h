/* The bytes of all tokens as a trie, which grammars walk to tell which tokens may come next. Built once per model and
 * shared by all its grammars.
 *
 * Thread safety: immutable once open. */
#ifndef ENGINE_VOCABULARY_H
#define ENGINE_VOCABULARY_H

#include "text/tokenizer.h"

enum { VOCABULARY_TOKEN_BYTES = 250 /* a longer token never appears in constrained text */ };

struct vocabulary;

/* n_id: the number of ids that the model knows (config n_vocab), at least the tokenizer's. */
goss_status vocabulary_open(struct vocabulary **vocabulary, const struct tokenizer *tokenizer, int32_t n_id,
                            goss_error *error);
void vocabulary_close(struct vocabulary *vocabulary); /* NULL is fine */

#endif
