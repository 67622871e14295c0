/* What the tests of src/grammar share: schemas that must compile or be refused, and whole texts read through them. */
#ifndef SUPPORT_GRAMMAR_H
#define SUPPORT_GRAMMAR_H

#include "grammar/grammar.h"
#include "support/test.h"

/* The 256 single bytes, a few longer tokens that end in awkward places, and two control tokens: 0 and 1. */
extern struct vocabulary *toy_vocabulary;
extern struct tokenizer *toy_tokenizer;
int toy_open(void **state); /* a group's setup and teardown */
int toy_close(void **state);

/* The grammar, or NULL and why not. */
struct grammar *schema_try(const char *schema, bool in_order, goss_error *error);
/* The same where it must compile. */
struct grammar *schema_open(const char *schema);
/* Whether a text can be read byte by byte and may end there. */
bool grammar_reads(struct grammar *grammar, const char *text, size_t size);

/* Each text against one schema; the lists end with NULL. */
void check_schema(const char *schema, const char *const *accept, const char *const *reject);
#define ACCEPT(...) ((const char *const[]){__VA_ARGS__, NULL})
#define REJECT(...) ((const char *const[]){__VA_ARGS__, NULL})
#define NOTHING ((const char *const[]){NULL})
/* The schema is refused with this status, in words that contain `words`. */
void check_refused(const char *schema, goss_status status, const char *words);

#endif
