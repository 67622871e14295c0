#include "grammar/nfa.h"

#include <stdlib.h>
#include <string.h>

void nfa_open(struct nfa *nfa, enum spelling spelling)
{
    *nfa = (struct nfa){.spelling = spelling};
    (void)nfa_state(nfa);
}

void nfa_free(struct nfa *nfa)
{
    free(nfa->edge_of);
    free(nfa->mark);
    free(nfa->edge);
    *nfa = (struct nfa){0};
}

static bool grow(struct nfa *nfa, void *array, int32_t *capacity, size_t size)
{
    void **p = array;
    int32_t more = *capacity ? 2 * *capacity : 64;
    void *grown = realloc(*p, (size_t)more * size);
    if (!grown) {
        nfa->status = GOSS_E_MEMORY;
        return false;
    }
    *p = grown;
    *capacity = more;
    return true;
}

int32_t nfa_state(struct nfa *nfa)
{
    if (nfa->status)
        return 0;
    if (nfa->n_state == NFA_STATES) {
        nfa->status = GOSS_E_LIMIT;
        return 0;
    }
    if (nfa->n_state == nfa->state_capacity) {
        int32_t capacity = nfa->state_capacity;
        if (!grow(nfa, &nfa->mark, &capacity, sizeof *nfa->mark) ||
            !grow(nfa, &nfa->edge_of, &nfa->state_capacity, sizeof *nfa->edge_of))
            return 0;
    }
    nfa->edge_of[nfa->n_state] = nfa->mark[nfa->n_state] = -1;
    return nfa->n_state++;
}

static void add_edge(struct nfa *nfa, int32_t from, struct nfa_edge edge)
{
    if (nfa->status)
        return;
    if (nfa->n_edge == nfa->edge_capacity && !grow(nfa, &nfa->edge, &nfa->edge_capacity, sizeof *nfa->edge))
        return;
    edge.next = nfa->edge_of[from];
    nfa->edge_of[from] = nfa->n_edge;
    nfa->edge[nfa->n_edge++] = edge;
}

void nfa_bytes(struct nfa *nfa, int32_t from, int32_t to, uint8_t first, uint8_t last)
{
    add_edge(nfa, from, (struct nfa_edge){.to = to, .kind = EDGE_BYTES, .first = first, .last = last});
}

void nfa_empty(struct nfa *nfa, int32_t from, int32_t to)
{
    add_edge(nfa, from, (struct nfa_edge){.to = to, .kind = EDGE_EMPTY});
}

void nfa_assert(struct nfa *nfa, int32_t from, int32_t to, enum edge_kind kind)
{
    add_edge(nfa, from, (struct nfa_edge){.to = to, .kind = (uint8_t)kind});
}

/* A range of numbers of n digits, each of `bits` bits, is a few sequences of ranges of digits. This cuts the first
 * such sequence off and returns the last number that it covers. */
static uint32_t sequence_end(uint32_t first, uint32_t last, int n, int bits)
{
    for (int i = 1; i < n; i++) {
        uint32_t below = ((uint32_t)1 << (bits * i)) - 1;
        if ((first & ~below) == (last & ~below))
            continue;
        if (first & below)
            return first | below;
        if ((last & below) != below)
            last = (last & ~below) - 1;
    }
    return last;
}

/* UTF-8 of first .. last, which all have n bytes. */
static void add_utf8(struct nfa *nfa, int32_t from, int32_t to, uint32_t first, uint32_t last, int n)
{
    static const uint8_t lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    while (first <= last && !nfa->status) {
        uint32_t end = sequence_end(first, last, n, 6);
        int32_t at = from;
        for (int i = n - 1; i >= 0; i--) {
            uint8_t base = i == n - 1 ? lead[n] : 0x80;
            uint32_t low = first >> (6 * i), high = end >> (6 * i);
            int32_t next = i == 0 ? to : nfa_state(nfa);
            if (i < n - 1) {
                low &= 0x3F;
                high &= 0x3F;
            }
            nfa_bytes(nfa, at, next, (uint8_t)(base | low), (uint8_t)(base | high));
            at = next;
        }
        first = end + 1;
    }
}

static void add_raw(struct nfa *nfa, int32_t from, int32_t to, uint32_t first, uint32_t last)
{
    static const struct char_range length[] = {{0, 0}, {0, 0x7F}, {0x80, 0x7FF}, {0x800, 0xFFFF}, {0x10000, CHAR_LAST}};
    for (int n = 1; n <= 4; n++) {
        uint32_t low = first > length[n].first ? first : length[n].first;
        uint32_t high = last < length[n].last ? last : length[n].last;
        if (low > high)
            continue;
        if (n == 1)
            nfa_bytes(nfa, from, to, (uint8_t)low, (uint8_t)high);
        else
            add_utf8(nfa, from, to, low, high, n);
    }
}

static void add_hex_digit(struct nfa *nfa, int32_t from, int32_t to, uint32_t low, uint32_t high)
{
    if (low <= 9)
        nfa_bytes(nfa, from, to, (uint8_t)('0' + low), (uint8_t)('0' + (high < 9 ? high : 9)));
    if (high >= 10) {
        uint32_t begin = low > 10 ? low - 10 : 0;
        nfa_bytes(nfa, from, to, (uint8_t)('a' + begin), (uint8_t)('a' + high - 10));
        nfa_bytes(nfa, from, to, (uint8_t)('A' + begin), (uint8_t)('A' + high - 10));
    }
}

/* The four hexadecimal digits of first .. last. */
static void add_hex(struct nfa *nfa, int32_t from, int32_t to, uint32_t first, uint32_t last)
{
    while (first <= last && !nfa->status) {
        uint32_t end = sequence_end(first, last, 4, 4);
        int32_t at = from;
        for (int i = 3; i >= 0; i--) {
            int32_t next = i == 0 ? to : nfa_state(nfa);
            add_hex_digit(nfa, at, next, first >> (4 * i) & 15, end >> (4 * i) & 15);
            at = next;
        }
        first = end + 1;
    }
}

/* Beyond U+FFFF: two escapes, the halves of a surrogate pair. */
static void add_pairs(struct nfa *nfa, int32_t unicode, int32_t to, uint32_t first, uint32_t last)
{
    for (first -= 0x10000, last -= 0x10000; first <= last && !nfa->status;) {
        uint32_t end = sequence_end(first, last, 2, 10);
        int32_t half = nfa_state(nfa), low = nfa_literal(nfa, half, "\\u", 2);
        add_hex(nfa, unicode, half, 0xD800 + (first >> 10), 0xD800 + (end >> 10));
        add_hex(nfa, low, to, 0xDC00 + (first & 0x3FF), 0xDC00 + (end & 0x3FF));
        first = end + 1;
    }
}

static bool contains(const struct charset *set, uint32_t c)
{
    for (int i = 0; i < set->n; i++)
        if (c >= set->range[i].first && c <= set->range[i].last)
            return true;
    return false;
}

/* The part of a range that may be written as \uXXXX, and its spelling. */
static void add_escapes(struct nfa *nfa, int32_t unicode, int32_t to, uint32_t first, uint32_t last)
{
    if (first <= 0xFFFF)
        add_hex(nfa, unicode, to, first, last < 0xFFFF ? last : 0xFFFF);
    if (last > 0xFFFF)
        add_pairs(nfa, unicode, to, first > 0x10000 ? first : 0x10000, last);
}

static void add_json(struct nfa *nfa, int32_t from, int32_t to, const struct charset *set)
{
    static const char character[] = "\"\\/\b\f\n\r\t", letter[] = "\"\\/bfnrt";
    int32_t escape = -1, unicode = -1;
    for (int i = 0; letter[i]; i++)
        if (contains(set, (unsigned char)character[i])) {
            escape = escape < 0 ? nfa_state(nfa) : escape;
            nfa_bytes(nfa, escape, to, (uint8_t)letter[i], (uint8_t)letter[i]);
        }
    static const struct char_range own[] = {{0x20, 0x21}, {0x23, 0x5B}, {0x5D, CHAR_LAST}};
    static const struct char_range coded[] = {{0, 0x1F}, {0x7F, CHAR_LAST}}, all[] = {{0, CHAR_LAST}};
    const struct char_range *part = nfa->spelling == SPELL_ANY ? all : coded;
    int n_part = nfa->spelling == SPELL_ANY ? 1 : 2;
    for (int i = 0; i < set->n; i++) {
        uint32_t first = set->range[i].first, last = set->range[i].last;
        for (int j = 0; j < 3; j++)
            if (first <= own[j].last && last >= own[j].first)
                add_raw(nfa, from, to, first > own[j].first ? first : own[j].first,
                        last < own[j].last ? last : own[j].last);
        for (int j = 0; j < n_part; j++) {
            if (first > part[j].last || last < part[j].first)
                continue;
            escape = escape < 0 ? nfa_state(nfa) : escape;
            if (unicode < 0) {
                unicode = nfa_state(nfa);
                nfa_bytes(nfa, escape, unicode, 'u', 'u');
            }
            add_escapes(nfa, unicode, to, first > part[j].first ? first : part[j].first,
                        last < part[j].last ? last : part[j].last);
        }
    }
    if (escape >= 0)
        nfa_bytes(nfa, from, escape, '\\', '\\');
}

void nfa_set(struct nfa *nfa, int32_t from, int32_t to, const struct charset *characters)
{
    struct charset set = *characters;
    charset_invert(&set); /* twice: halves of surrogate pairs are gone */
    charset_invert(&set);
    if (set.full)
        nfa->status = nfa->status ? nfa->status : GOSS_E_LIMIT;
    if (nfa->spelling != SPELL_RAW) {
        add_json(nfa, from, to, &set);
        return;
    }
    for (int i = 0; i < set.n; i++)
        add_raw(nfa, from, to, set.range[i].first, set.range[i].last);
}

int32_t nfa_text(struct nfa *nfa, int32_t from, const char *text, size_t size)
{
    struct charset one;
    for (size_t at = 0; at < size;) {
        uint32_t c = char_at(text, size, &at);
        int32_t next = nfa_state(nfa);
        charset_clear(&one);
        charset_add(&one, c, c);
        nfa_set(nfa, from, next, &one);
        from = next;
    }
    return from;
}

int32_t nfa_literal(struct nfa *nfa, int32_t from, const char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        int32_t next = nfa_state(nfa);
        nfa_bytes(nfa, from, next, (uint8_t)bytes[i], (uint8_t)bytes[i]);
        from = next;
    }
    return from;
}

int32_t nfa_copy(struct nfa *nfa, int32_t first, int32_t end)
{
    int32_t shift = nfa->n_state - first;
    for (int32_t state = first; state < end; state++)
        (void)nfa_state(nfa);
    for (int32_t state = first; state < end && !nfa->status; state++)
        for (int32_t i = nfa->edge_of[state]; i >= 0 && !nfa->status; i = nfa->edge[i].next) {
            struct nfa_edge edge = nfa->edge[i];
            edge.to += shift;
            add_edge(nfa, state + shift, edge);
        }
    return first + shift;
}
