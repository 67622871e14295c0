#include "text/utf8.h"

#include <string.h>

#include "text/tokenizer.h"

static const char replacement[] = "\xEF\xBF\xBD"; /* U+FFFD */

/* Table 3-7 of the Unicode standard: the bytes a lead byte needs after it, and the range of the first of them, which
 * shuts out overlong forms, surrogates and code points above U+10FFFF. */
static int lead_needs(uint8_t lead, uint8_t *low, uint8_t *high)
{
    *low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    *high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (lead >= 0xC2 && lead <= 0xDF)
        return 1;
    if (lead >= 0xE0 && lead <= 0xEF)
        return 2;
    return lead >= 0xF0 && lead <= 0xF4 ? 3 : -1;
}

bool utf8_head(const uint8_t *text, size_t n, size_t *length, bool *cut)
{
    uint8_t low, high;
    *length = 1;
    *cut = false;
    if (text[0] < 0x80)
        return true;
    int more = lead_needs(text[0], &low, &high);
    if (more < 0)
        return false;
    for (; more > 0; more--, (*length)++) {
        if (*length == n) {
            *cut = true;
            return false;
        }
        if (text[*length] < low || text[*length] > high)
            return false;
        low = 0x80;
        high = 0xBF;
    }
    return true;
}

/* How many of the n bytes, from the first on, are certainly ASCII: counted in words of 8. */
static size_t ascii_words(const uint8_t *text, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t word;
        memcpy(&word, text + i, 8);
        if (word & 0x8080808080808080u)
            break;
    }
    return i;
}

bool utf8_valid(const uint8_t *text, size_t n)
{
    for (size_t i = 0, length; i < n; i += length) {
        bool cut;
        length = ascii_words(text + i, n - i);
        if (!length && !utf8_head(text + i, n - i, &length, &cut))
            return false;
    }
    return true;
}

goss_status utf8_repair(const uint8_t *text, size_t n, struct buffer *repaired, goss_error *error)
{
    goss_status status = GOSS_OK;
    for (size_t i = 0, length; i < n && !status; i += length) {
        bool cut, whole = utf8_head(text + i, n - i, &length, &cut);
        status =
            whole ? buffer_append(repaired, text + i, length, error) : buffer_append_text(repaired, replacement, error);
    }
    return status;
}

/* Completes the pending character, if there is one, from the bytes that follow; *used of them are consumed. */
static goss_status finish_pending(struct utf8_stream *stream, const uint8_t *bytes, size_t n, size_t *used,
                                  struct buffer *text, goss_error *error)
{
    *used = 0;
    while (stream->n > 0 && *used < n) {
        uint8_t head[sizeof stream->pending];
        size_t size = (size_t)stream->n, length;
        bool cut;
        memcpy(head, stream->pending, size);
        head[size] = bytes[*used];
        bool whole = utf8_head(head, size + 1, &length, &cut);
        if (cut) { /* the byte belongs to the character, which is still not whole */
            stream->pending[stream->n++] = bytes[(*used)++];
            continue;
        }
        /* Pending bytes are always a proper prefix of a character, so an ill-formed subpart is all of them. */
        *used += whole;
        stream->n = 0;
        return whole ? buffer_append(text, head, size + 1, error) : buffer_append_text(text, replacement, error);
    }
    return GOSS_OK;
}

goss_status utf8_stream_add(struct utf8_stream *stream, const uint8_t *bytes, size_t n, struct buffer *text,
                            goss_error *error)
{
    size_t i;
    goss_status status = finish_pending(stream, bytes, n, &i, text, error);
    while (i < n && !status) {
        size_t length;
        bool cut, whole = utf8_head(bytes + i, n - i, &length, &cut);
        if (cut) {
            memcpy(stream->pending, bytes + i, length);
            stream->n = (int)length;
            break;
        }
        status = whole ? buffer_append(text, bytes + i, length, error) : buffer_append_text(text, replacement, error);
        i += length;
    }
    return status;
}

goss_status utf8_stream_flush(struct utf8_stream *stream, struct buffer *text, goss_error *error)
{
    int pending = stream->n;
    stream->n = 0;
    return pending ? buffer_append_text(text, replacement, error) : GOSS_OK;
}
