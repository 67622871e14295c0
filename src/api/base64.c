#include "api/base64.h"

#include <string.h>

#include "text/utf8.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char mark[] = "gossamer1:";
enum { MARK = sizeof mark - 1 };

goss_status base64_seal(const void *text, size_t size, struct buffer *out, goss_error *error)
{
    const uint8_t *p = text;
    goss_status status = buffer_append(out, mark, MARK, error);
    for (size_t i = 0; i < size && status == GOSS_OK; i += 3) {
        size_t n = size - i < 3 ? size - i : 3;
        unsigned bits = (unsigned)p[i] << 16 | (n > 1 ? (unsigned)p[i + 1] << 8 : 0u) | (n > 2 ? p[i + 2] : 0u);
        char four[4] = {digits[bits >> 18], digits[bits >> 12 & 63], n > 1 ? digits[bits >> 6 & 63] : '=',
                        n > 2 ? digits[bits & 63] : '='};
        status = buffer_append(out, four, 4, error);
    }
    return status;
}

static int digit_of(char c)
{
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

const char *base64_unseal(struct arena *arena, const char *sealed, size_t n, size_t *size)
{
    *size = 0;
    if (n < MARK || memcmp(sealed, mark, MARK) != 0 || (n - MARK) % 4 != 0)
        return NULL;
    sealed += MARK;
    n -= MARK;
    size_t padding = n > 0 ? (sealed[n - 1] == '=') + (sealed[n - 1] == '=' && sealed[n - 2] == '=') : 0;
    char *text = arena_alloc(arena, n / 4 * 3 + 1);
    for (size_t i = 0, used = 0; text && i < n; i += 4) {
        unsigned bits = 0;
        for (size_t j = 0; j < 4; j++) {
            int digit = i + j >= n - padding ? 0 : digit_of(sealed[i + j]);
            if (digit < 0)
                return NULL;
            bits = bits << 6 | (unsigned)digit;
        }
        text[used++] = (char)(bits >> 16 & 255);
        text[used++] = (char)(bits >> 8 & 255);
        text[used++] = (char)(bits & 255);
    }
    size_t total = n / 4 * 3 - padding;
    if (!text || !utf8_valid((const uint8_t *)text, total) || memchr(text, 0, total))
        return NULL;
    text[total] = 0;
    *size = total;
    return text;
}
