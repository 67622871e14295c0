#include "base/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buffer_init(struct buffer *buffer, size_t limit)
{
    *buffer = (struct buffer){.limit = limit};
}

void buffer_free(struct buffer *buffer)
{
    free(buffer->data);
    buffer_init(buffer, buffer->limit);
}

void buffer_clear(struct buffer *buffer)
{
    buffer->size = 0;
    if (buffer->data)
        buffer->data[0] = 0;
}

goss_status buffer_reserve(struct buffer *buffer, size_t more, goss_error *error)
{
    if (more > buffer->limit || buffer->size > buffer->limit - more)
        return error_set(error, GOSS_E_LIMIT, "text of more than %zu bytes", buffer->limit);
    size_t need = buffer->size + more + 1; /* one for the NUL */
    if (need <= buffer->capacity)
        return GOSS_OK;
    size_t capacity = buffer->capacity < 128 ? 128 : buffer->capacity + buffer->capacity / 2;
    if (capacity < need)
        capacity = need;
    uint8_t *data = realloc(buffer->data, capacity);
    if (!data)
        return error_memory(error, capacity, "a buffer");
    buffer->data = data;
    buffer->capacity = capacity;
    return GOSS_OK;
}

goss_status buffer_append(struct buffer *buffer, const void *bytes, size_t n, goss_error *error)
{
    goss_status status = buffer_reserve(buffer, n, error);
    if (status)
        return status;
    if (n)
        memcpy(buffer->data + buffer->size, bytes, n);
    buffer->size += n;
    buffer->data[buffer->size] = 0;
    return GOSS_OK;
}

goss_status buffer_append_text(struct buffer *buffer, const char *text, goss_error *error)
{
    return buffer_append(buffer, text, strlen(text), error);
}

goss_status buffer_append_format(struct buffer *buffer, goss_error *error, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    goss_status status =
        n < 0 ? error_set(error, GOSS_E_INTERNAL, "bad format string") : buffer_reserve(buffer, (size_t)n, error);
    if (status == GOSS_OK) {
        (void)vsnprintf((char *)buffer->data + buffer->size, (size_t)n + 1, format, again);
        buffer->size += (size_t)n;
    }
    va_end(again);
    return status;
}
