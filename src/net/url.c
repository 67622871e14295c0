#include "net/url.h"

#include <stddef.h>
#include <string.h>

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Bytes of the UTF-8 character at text, which a NUL ends; 0 if it is ill-formed. */
static size_t character(const unsigned char *text)
{
    static const struct {
        unsigned char first, last, low, high; /* of the first byte; of the second */
        size_t size;
    } form[] = {{0x20, 0x7e, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
                {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
                {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4}};
    for (size_t i = 0; i < sizeof form / sizeof *form; i++) {
        if (text[0] < form[i].first || text[0] > form[i].last)
            continue;
        if (form[i].size > 1 && (text[1] < form[i].low || text[1] > form[i].high))
            return 0;
        for (size_t k = 2; k < form[i].size; k++)
            if ((text[k] & 0xc0) != 0x80)
                return 0;
        return form[i].size;
    }
    return 0;
}

bool url_decode(char *text, bool plus)
{
    char *to = text;
    for (const char *from = text; *from; from++) {
        if (*from == '%') {
            int high = hex(from[1]), low = high < 0 ? -1 : hex(from[2]);
            if (low < 0 || high * 16 + low == 0)
                return false;
            *to++ = (char)(high * 16 + low);
            from += 2;
        } else {
            *to++ = plus && *from == '+' ? ' ' : *from;
        }
    }
    *to = 0;
    for (const unsigned char *c = (unsigned char *)text; *c;) {
        size_t n = character(c);
        if (n == 0)
            return false;
        c += n;
    }
    return true;
}

bool url_split(char *target, char **query)
{
    char *mark = strchr(target, '?');
    *query = mark ? mark + 1 : target + strlen(target);
    if (mark)
        *mark = 0;
    return target[0] == '/' && url_decode(target, false);
}

bool url_next(char **query, char **name, char **value, bool *valid)
{
    char *at = *query;
    while (*at == '&')
        at++;
    if (!*at)
        return false;
    *name = at;
    char *end = at + strcspn(at, "&");
    *query = *end ? end + 1 : end;
    *end = 0;
    char *equals = strchr(at, '=');
    *value = equals ? equals + 1 : end;
    if (equals)
        *equals = 0;
    if (!url_decode(*name, true) || !url_decode(*value, true))
        *valid = false;
    return true;
}
