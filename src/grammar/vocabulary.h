/* The bytes of all tokens as a trie, which grammars walk to tell which tokens may come next. Built once per model and
 * shared by all its grammars.
 *
 * Thread safety: immutable once open. */
#ifndef GRAMMAR_VOCABULARY_H
#define GRAMMAR_VOCABULARY_H

#include "text/tokenizer.h"

/* What never appears in constrained text: control tokens, longer tokens, and those with a byte that UTF-8 never has. */
enum { VOCABULARY_TOKEN_BYTES = 250 };

struct vocabulary;

/* n_id: the number of ids that masks are about (the model's n_vocab). The tokenizer must outlive the vocabulary. */
goss_status vocabulary_open(struct vocabulary **vocabulary, const struct tokenizer *tokenizer, int32_t n_id,
                            goss_error *error);
void vocabulary_close(struct vocabulary *vocabulary); /* NULL is fine */

int32_t vocabulary_size(const struct vocabulary *vocabulary); /* n_id */
/* All ids that may stand in a text, as a set: bit i % 64 of word i / 64. */
const uint64_t *vocabulary_text(const struct vocabulary *vocabulary);

#endif
