/* GPT-2's way to spell bytes as characters: the 188 printable ones of Latin-1 stand for themselves, the other 68 bytes,
 * in increasing order, are U+0100 and on. Vocabularies list the single bytes in the order of these characters, with the
 * printable ones first. */
#ifndef TEXT_BYTE_LEVEL_H
#define TEXT_BYTE_LEVEL_H

#include <stddef.h>
#include <stdint.h>

enum { BYTE_LEVEL_PRINTABLE = 188 };

/* The byte at place 0..255 of that order. */
uint8_t byte_level_byte(int place);

/* Spelled text -> bytes, which may overlap it and are never more. Returns how many bytes, or SIZE_MAX when a character
 * stands for no byte or the text is not UTF-8. */
size_t byte_level_decode(const uint8_t *text, size_t n, uint8_t *bytes);

#endif
