/* Sets of Unicode characters, as sorted ranges. A fixed size: a class of a regular expression with more ranges than
 * that is refused. */
#ifndef GRAMMAR_CHARSET_H
#define GRAMMAR_CHARSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CHARSET_RANGES = 256, CHAR_LAST = 0x10FFFF };

struct char_range {
    uint32_t first, last; /* inclusive */
};

struct charset {
    int n;
    bool full; /* a range was lost: do not use */
    struct char_range range[CHARSET_RANGES];
};

void charset_clear(struct charset *set);
void charset_add(struct charset *set, uint32_t first, uint32_t last); /* keeps ranges sorted and disjoint */
void charset_add_set(struct charset *set, const struct charset *other);
void charset_invert(struct charset *set); /* within 0 .. CHAR_LAST; halves of surrogate pairs are no characters */

/* The character at text[*at] of well-formed UTF-8; moves *at behind it. */
uint32_t char_at(const char *text, size_t size, size_t *at);

#endif
