/* What a text must be, told token by token.
 *
 * A grammar is compiled from a JSON Schema or built from a choice of texts; a matcher follows
 * one text through it and says which tokens may come next. Whatever a matcher lets through can be completed, and what
 * it lets end satisfies the schema. Texts are judged byte by byte, so tokens may end anywhere, inside a character too.
 *
 * A schema that cannot be compiled is an error that names the place in the schema; so is one that nothing satisfies.
 * Some JSON that satisfies a schema is spelled in ways that are never generated (docs/structured-output.md): blanks
 * are limited, numbers have no needless parts, constrained strings spell plain ASCII plainly.
 *
 * Thread safety: a grammar with its matchers belongs to one thread at a time. */
#ifndef GRAMMAR_GRAMMAR_H
#define GRAMMAR_GRAMMAR_H

#include <stdbool.h>

#include "grammar/vocabulary.h"

enum {
    GRAMMAR_SCHEMA_BYTES = 256 << 10,
    GRAMMAR_DEPTH = 64,        /* arrays and objects inside each other, in what is generated */
    GRAMMAR_NODES = 20000,     /* different places that a schema may describe */
    GRAMMAR_PROPERTIES = 4096, /* of one object */
    GRAMMAR_VALUES = 10000,    /* of one enum; and of schemas in one prefixItems */
    GRAMMAR_ONE_OF = 64,       /* schemas in one oneOf */
    GRAMMAR_BLANKS = 64,       /* that indent a line; between tokens stands one blank or a line break with these */
};

struct grammar;

/* in_order: the keys of objects come in the order of "properties", and keys it does not name after all required ones;
 * else in any order. */
goss_status grammar_from_schema(struct grammar **grammar, const char *json, size_t size, bool in_order,
                                goss_error *error);
/* Any JSON object. */
goss_status grammar_of_object(struct grammar **grammar, goss_error *error);
/* One of n texts, which are bytes of any kind. */
goss_status grammar_from_choice(struct grammar **grammar, const char *const *text, int n, goss_error *error);
void grammar_close(struct grammar *grammar); /* after its matchers; NULL is fine */

struct matcher;

/* At the beginning of a text. grammar and vocabulary must outlive it. */
goss_status matcher_open(struct matcher **matcher, struct grammar *grammar, const struct vocabulary *vocabulary,
                         goss_error *error);
void matcher_close(struct matcher *matcher); /* NULL is fine */

/* Moves over the bytes of a text; false if they may not come next, and then the matcher is where it was. */
bool matcher_bytes(struct matcher *matcher, const uint8_t *bytes, size_t n);
/* The same for a token; ids that are no text (grammar/vocabulary.h) are never allowed. */
bool matcher_token(struct matcher *matcher, int32_t id);
/* Whether a byte may come next; the matcher stays where it is. */
bool matcher_may(struct matcher *matcher, uint8_t byte);
bool matcher_can_end(const struct matcher *matcher); /* the text is complete, although more may be allowed */

/* The ids that may come next: bit i % 64 of word i / 64, for all ids of the vocabulary. When none may, the text is
 * complete, or the vocabulary lacks the single bytes it would take. */
goss_status matcher_mask(struct matcher *matcher, uint64_t *bits, goss_error *error);

#endif
