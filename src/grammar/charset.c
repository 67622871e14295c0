#include "grammar/charset.h"

#include <string.h>

void charset_clear(struct charset *set)
{
    set->n = 0;
    set->full = false;
}

void charset_add(struct charset *set, uint32_t first, uint32_t last)
{
    int at = 0;
    while (at < set->n && set->range[at].last + 1 < first)
        at++;
    int end = at; /* ranges at .. end - 1 touch the new one */
    while (end < set->n && set->range[end].first <= last + 1) {
        first = set->range[end].first < first ? set->range[end].first : first;
        last = set->range[end].last > last ? set->range[end].last : last;
        end++;
    }
    if (end == at && set->n == CHARSET_RANGES) {
        set->full = true;
        return;
    }
    memmove(&set->range[at + 1], &set->range[end], (size_t)(set->n - end) * sizeof set->range[0]);
    set->range[at] = (struct char_range){first, last};
    set->n += 1 - (end - at);
}

void charset_add_set(struct charset *set, const struct charset *other)
{
    set->full |= other->full;
    for (int i = 0; i < other->n; i++)
        charset_add(set, other->range[i].first, other->range[i].last);
}

void charset_invert(struct charset *set)
{
    charset_add(set, 0xD800, 0xDFFF);
    struct charset inverted;
    charset_clear(&inverted);
    inverted.full = set->full;
    uint32_t next = 0;
    for (int i = 0; i < set->n; i++) {
        if (set->range[i].first > next)
            charset_add(&inverted, next, set->range[i].first - 1);
        next = set->range[i].last + 1;
    }
    if (next <= CHAR_LAST)
        charset_add(&inverted, next, CHAR_LAST);
    *set = inverted;
}

uint32_t char_at(const char *text, size_t size, size_t *at)
{
    unsigned char c = (unsigned char)text[(*at)++];
    int more = c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : c >= 0xC0 ? 1 : 0;
    uint32_t code = more == 0 ? c : c & (0x3Fu >> more);
    for (; more > 0 && *at < size; more--)
        code = code << 6 | ((unsigned char)text[(*at)++] & 0x3F);
    return code;
}
