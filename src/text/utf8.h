/* UTF-8, well-formed or not. Ill-formed bytes are read by the rule of the WHATWG and of Unicode's chapter 3.9: each
 * maximal subpart of an ill-formed subsequence is one U+FFFD. */
#ifndef TEXT_UTF8_H
#define TEXT_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

/* The character at the head of n >= 1 bytes. When it is well formed: its length, and true. When it is not: the length
 * of the maximal ill-formed subpart (1 to 3), and false; the bytes might still become a character if more followed
 * when *cut is set. */
bool utf8_head(const uint8_t *text, size_t n, size_t *length, bool *cut);

bool utf8_valid(const uint8_t *text, size_t n);

/* Appends the text with every ill-formed subpart replaced by U+FFFD. */
goss_status utf8_repair(const uint8_t *text, size_t n, struct buffer *repaired, goss_error *error);

/* The code point at the head of well-formed text, and its length in bytes. */
static inline uint32_t utf8_decode(const uint8_t *p, int *length)
{
    if (p[0] < 0x80) {
        *length = 1;
        return p[0];
    }
    if (p[0] < 0xE0) {
        *length = 2;
        return (p[0] & 0x1Fu) << 6 | (p[1] & 0x3Fu);
    }
    if (p[0] < 0xF0) {
        *length = 3;
        return (p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
    }
    *length = 4;
    return (p[0] & 0x07u) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 | (p[3] & 0x3Fu);
}

#endif
