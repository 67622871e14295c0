/* JSON numbers within bounds, as automata over their digits. Numbers are spelled without needless signs and zeros in
 * front, of at most NUMBER_DIGITS digits before and after the point; an exponent only where there are no bounds. */
#ifndef GRAMMAR_NUMBER_H
#define GRAMMAR_NUMBER_H

#include "grammar/dfa.h"

enum { NUMBER_DIGITS = 30, NUMBER_MULTIPLE = 1000 /* the greatest divisor, in units of its last digit */ };

/* A number as its JSON spells it, e.g. "-1.50" or "2e3". text NULL: no such bound. */
struct number_text {
    const char *text;
    size_t size;
};

struct number_rule {
    bool integer;
    struct number_text least, most, above, below, multiple; /* minimum, maximum, exclusive ones, multipleOf */
};

/* GOSS_E_UNSUPPORTED for a bound or divisor with too many digits; the error has no place. */
goss_status number_build(struct dfa *dfa, struct dfa_store *store, const struct number_rule *rule, goss_error *error);

/* A number without exponent and needless zeros; *integer: it is one. False if that takes too many digits. */
enum { NUMBER_TEXT = 160 };
bool number_plain(struct number_text number, char plain[NUMBER_TEXT], bool *integer);

#endif
