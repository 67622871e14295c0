/* Regular expressions as JSON Schema means them: those of ECMA-262 in Unicode mode, as far as they are regular and
 * need no tables of Unicode. Refused by name: look-around, back references, word boundaries, \p. */
#ifndef GRAMMAR_REGEX_H
#define GRAMMAR_REGEX_H

#include "grammar/nfa.h"

enum { REGEX_DEPTH = 64 /* groups inside groups */, REGEX_REPEAT = 5000 /* the greatest number in {n,m} */ };

/* Adds the expression between the states; anywhere: text around the match is allowed where no ^ or $ forbids it. The
 * error is a phrase without a place. */
goss_status regex_add(struct nfa *nfa, int32_t from, int32_t to, const char *text, size_t size, bool anywhere,
                      goss_error *error);

#endif
