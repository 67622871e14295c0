/* A growable byte buffer with a hard upper bound, so that hostile input can never grow it without limit. */
#ifndef BASE_BUFFER_H
#define BASE_BUFFER_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* data is owned; size <= capacity <= limit. After buffer_append_* data[size] is always a NUL byte that size
 * does not count, so text can be read as a C string. */
struct buffer {
    uint8_t *data;
    size_t size, capacity, limit;
};

void buffer_init(struct buffer *buffer, size_t limit); /* limit in bytes; no allocation yet */
void buffer_free(struct buffer *buffer);               /* leaves it empty and usable again */
void buffer_clear(struct buffer *buffer);              /* size = 0, memory kept */

/* Makes room for `more` bytes after size. GOSS_E_LIMIT past the limit, GOSS_E_MEMORY when memory is out. */
goss_status buffer_reserve(struct buffer *buffer, size_t more, goss_error *error);
goss_status buffer_append(struct buffer *buffer, const void *bytes, size_t n, goss_error *error);
goss_status buffer_append_text(struct buffer *buffer, const char *text, goss_error *error);
goss_status buffer_append_format(struct buffer *buffer, goss_error *error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
