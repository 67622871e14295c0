#include "grammar/regex.h"

#include <string.h>

/* A piece of the automaton: edges of its states stay among them, until something is put behind it. */
struct piece {
    int32_t in, out, first, end; /* states first .. end - 1 */
    bool repeatable;
};

struct group {
    int32_t in, out, first;
    int32_t tail; /* what comes next begins here */
};

struct regex {
    struct nfa *nfa;
    const char *text;
    size_t size, at;
    struct group group[REGEX_DEPTH + 1];
    int depth;
    goss_error *error;
};

static goss_status refuse(struct regex *r, const char *what)
{
    return error_set(r->error, GOSS_E_UNSUPPORTED, "%s, at byte %zu of the regular expression", what, r->at);
}

static goss_status broken(struct regex *r, const char *what)
{
    return error_set(r->error, GOSS_E_FORMAT, "%s, at byte %zu of the regular expression", what, r->at);
}

static bool more(const struct regex *r)
{
    return r->at < r->size;
}

static bool take(struct regex *r, const char *word)
{
    size_t n = strlen(word);
    if (r->size - r->at < n || memcmp(r->text + r->at, word, n) != 0)
        return false;
    r->at += n;
    return true;
}

/* ---- characters ---- */

static void add_blanks(struct charset *set)
{
    static const struct char_range blank[] = {{9, 13},          {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680},
                                              {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F},
                                              {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
    for (size_t i = 0; i < sizeof blank / sizeof blank[0]; i++)
        charset_add(set, blank[i].first, blank[i].last);
}

/* \d \w \s and their opposites; false for any other letter. */
static bool add_named(struct charset *set, char letter)
{
    struct charset named;
    charset_clear(&named);
    char lower = letter | 0x20;
    if (lower == 'd' || lower == 'w')
        charset_add(&named, '0', '9');
    if (lower == 'w') {
        charset_add(&named, 'A', 'Z');
        charset_add(&named, 'a', 'z');
        charset_add(&named, '_', '_');
    } else if (lower == 's') {
        add_blanks(&named);
    } else if (lower != 'd') {
        return false;
    }
    if (letter != lower)
        charset_invert(&named);
    charset_add_set(set, &named);
    return true;
}

static bool read_hex(struct regex *r, int least, int most, uint32_t *value)
{
    int n = 0;
    for (*value = 0; n < most && more(r); n++, r->at++) {
        char c = r->text[r->at];
        uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                                : 16u;
        if (digit == 16)
            break;
        *value = *value << 4 | digit;
    }
    return n >= least;
}

/* After "\u". */
static goss_status read_unicode(struct regex *r, uint32_t *c)
{
    if (take(r, "{"))
        return read_hex(r, 1, 6, c) && *c <= CHAR_LAST && take(r, "}") ? GOSS_OK : broken(r, "bad \\u{}");
    if (!read_hex(r, 4, 4, c))
        return broken(r, "bad \\u");
    uint32_t low;
    if (*c >= 0xD800 && *c < 0xDC00 && take(r, "\\u")) {
        if (!read_hex(r, 4, 4, &low) || low < 0xDC00 || low > 0xDFFF)
            return broken(r, "half a surrogate pair");
        *c = 0x10000 + ((*c - 0xD800) << 10) + (low - 0xDC00);
    }
    return *c >= 0xD800 && *c <= 0xDFFF ? broken(r, "half a surrogate pair") : GOSS_OK;
}

/* After the backslash: one character in *c, or a named class added to the set and *c = UINT32_MAX. */
static goss_status read_escape(struct regex *r, struct charset *set, bool in_class, uint32_t *c)
{
    if (!more(r))
        return broken(r, "a backslash at the end");
    char letter = r->text[r->at];
    static const char from[] = "nrtfv0", to[] = "\n\r\t\f\v";
    const char *known = letter ? strchr(from, letter) : NULL;
    *c = UINT32_MAX;
    if (add_named(set, letter)) {
        r->at++;
        return GOSS_OK;
    }
    if (letter == 'p' || letter == 'P')
        return refuse(r, "Unicode properties (\\p) are not supported");
    if (!in_class && (letter == 'b' || letter == 'B'))
        return refuse(r, "word boundaries are not supported");
    if ((letter >= '1' && letter <= '9') || letter == 'k')
        return refuse(r, "back references are not supported");
    if (letter == 'u' || letter == 'x') {
        r->at++;
        if (letter == 'u')
            return read_unicode(r, c);
        return read_hex(r, 2, 2, c) ? GOSS_OK : broken(r, "bad \\x");
    }
    if (letter == 'c') {
        char control = r->at + 1 < r->size ? (char)(r->text[r->at + 1] | 0x20) : 0;
        if (control < 'a' || control > 'z')
            return broken(r, "bad \\c");
        r->at += 2;
        *c = (uint32_t)(control - 'a' + 1);
        return GOSS_OK;
    }
    bool is_letter = (letter | 0x20) >= 'a' && (letter | 0x20) <= 'z';
    if (is_letter && !known && !(in_class && letter == 'b'))
        return refuse(r, "an unknown escape");
    *c = known ? (uint32_t)to[known - from] : in_class && letter == 'b' ? '\b' : char_at(r->text, r->size, &r->at);
    r->at += known || (in_class && letter == 'b');
    return GOSS_OK;
}

static goss_status read_class_atom(struct regex *r, struct charset *set, uint32_t *c)
{
    if (take(r, "\\"))
        return read_escape(r, set, true, c);
    *c = char_at(r->text, r->size, &r->at);
    return GOSS_OK;
}

/* After '['. */
static goss_status read_class(struct regex *r, struct charset *set)
{
    bool inverted = take(r, "^");
    while (more(r) && r->text[r->at] != ']') {
        uint32_t first = 0, last;
        goss_status status = read_class_atom(r, set, &first);
        if (status)
            return status;
        last = first;
        if (r->size - r->at >= 2 && r->text[r->at] == '-' && r->text[r->at + 1] != ']') {
            r->at++;
            status = read_class_atom(r, set, &last);
            if (status)
                return status;
            if (first == UINT32_MAX || last == UINT32_MAX || first > last)
                return broken(r, "a range out of order");
        }
        if (first != UINT32_MAX)
            charset_add(set, first, last);
    }
    if (!take(r, "]"))
        return broken(r, "a class without an end");
    if (inverted)
        charset_invert(set);
    return set->full ? refuse(r, "a class of more than 256 ranges") : GOSS_OK;
}

/* ---- structure ---- */

static struct piece set_piece(struct regex *r, const struct charset *set)
{
    struct piece p = {.first = r->nfa->n_state, .repeatable = true};
    p.in = nfa_state(r->nfa);
    p.out = nfa_state(r->nfa);
    nfa_set(r->nfa, p.in, p.out, set);
    p.end = r->nfa->n_state;
    return p;
}

static struct piece assertion(struct regex *r, enum edge_kind kind)
{
    struct piece p = {.first = r->nfa->n_state};
    p.in = nfa_state(r->nfa);
    p.out = nfa_state(r->nfa);
    nfa_assert(r->nfa, p.in, p.out, kind);
    p.end = r->nfa->n_state;
    return p;
}

static goss_status open_group(struct regex *r)
{
    if (take(r, "?")) {
        if (take(r, "=") || take(r, "!"))
            return refuse(r, "look-ahead is not supported");
        if (take(r, "<=") || take(r, "<!"))
            return refuse(r, "look-behind is not supported");
        if (take(r, "<") || take(r, "P<")) {
            while (more(r) && r->text[r->at] != '>')
                r->at++;
            if (!take(r, ">"))
                return broken(r, "a group's name without an end");
        } else if (!take(r, ":")) {
            return refuse(r, "an unknown kind of group");
        }
    }
    if (r->depth == REGEX_DEPTH)
        return error_set(r->error, GOSS_E_LIMIT, "groups nested deeper than %d", REGEX_DEPTH);
    struct group *group = &r->group[++r->depth];
    group->first = r->nfa->n_state;
    group->in = group->tail = nfa_state(r->nfa);
    group->out = nfa_state(r->nfa);
    return GOSS_OK;
}

static bool read_count(struct regex *r, int *value)
{
    size_t begin = r->at;
    for (*value = 0; more(r) && r->text[r->at] >= '0' && r->text[r->at] <= '9'; r->at++)
        *value = *value > REGEX_REPEAT ? *value : 10 * *value + (r->text[r->at] - '0');
    return r->at > begin;
}

enum { WITHOUT_END = -1 };

/* *least, *most; 1, 1 if there is no quantifier. */
static goss_status read_quantifier(struct regex *r, const struct piece *piece, int *least, int *most)
{
    *least = *most = 1;
    size_t begin = r->at;
    if (take(r, "*") || take(r, "+") || take(r, "?")) {
        *least = r->text[begin] == '+';
        *most = r->text[begin] == '?' ? 1 : WITHOUT_END;
    } else if (take(r, "{")) {
        if (!read_count(r, least))
            return broken(r, "a bare '{'");
        *most = *least;
        if (take(r, ",") && !read_count(r, most))
            *most = WITHOUT_END;
        if (!take(r, "}"))
            return broken(r, "a bare '{'");
    } else {
        return GOSS_OK;
    }
    if (*least > REGEX_REPEAT || *most > REGEX_REPEAT)
        return error_set(r->error, GOSS_E_LIMIT, "a repetition of more than %d times", REGEX_REPEAT);
    if (*most != WITHOUT_END && *most < *least)
        return broken(r, "a repetition out of order");
    if (!piece->repeatable)
        return broken(r, "nothing to repeat");
    take(r, "?"); /* lazy or greedy, the texts are the same */
    return GOSS_OK;
}

/* The piece `least` to `most` times. */
static struct piece repeat(struct regex *r, struct piece p, int least, int most)
{
    struct nfa *nfa = r->nfa;
    struct piece all = {.first = p.first};
    int copies = most == WITHOUT_END ? least + 1 : most;
    int32_t in = nfa_state(nfa), out = nfa_state(nfa), tail = in;
    int32_t original_end = p.end;
    for (int i = 0; i < copies && !nfa->status; i++) {
        /* All copies but the last are taken from the original before it is linked to anything outside itself. */
        int32_t copy = i == copies - 1 ? p.first : nfa_copy(nfa, p.first, original_end);
        int32_t copy_in = copy + (p.in - p.first), copy_out = copy + (p.out - p.first);
        if (i >= least)
            nfa_empty(nfa, tail, out);
        nfa_empty(nfa, tail, copy_in);
        if (most == WITHOUT_END && i == copies - 1)
            nfa_empty(nfa, copy_out, tail);
        else
            tail = copy_out;
    }
    nfa_empty(nfa, tail, out);
    all.in = in;
    all.out = out;
    all.end = nfa->n_state;
    return all;
}

static goss_status append(struct regex *r, struct piece piece)
{
    int least, most;
    goss_status status = read_quantifier(r, &piece, &least, &most);
    if (status)
        return status;
    if (least != 1 || most != 1)
        piece = repeat(r, piece, least, most);
    struct group *group = &r->group[r->depth];
    nfa_empty(r->nfa, group->tail, piece.in);
    group->tail = piece.out;
    return GOSS_OK;
}

static goss_status close_group(struct regex *r)
{
    if (r->depth == 0)
        return broken(r, "a ')' too many");
    const struct group *group = &r->group[r->depth--];
    nfa_empty(r->nfa, group->tail, group->out);
    return append(r, (struct piece){group->in, group->out, group->first, r->nfa->n_state, true});
}

static goss_status read_atom(struct regex *r)
{
    struct charset set;
    goss_status status = GOSS_OK;
    charset_clear(&set);
    if (take(r, "("))
        return open_group(r);
    if (take(r, ")"))
        return close_group(r);
    if (take(r, "^"))
        return append(r, assertion(r, EDGE_BEGIN));
    if (take(r, "$"))
        return append(r, assertion(r, EDGE_END));
    if (take(r, "[")) {
        status = read_class(r, &set);
    } else if (take(r, ".")) {
        charset_add(&set, '\n', '\n');
        charset_add(&set, '\r', '\r');
        charset_add(&set, 0x2028, 0x2029);
        charset_invert(&set);
    } else if (strchr("*+?{", r->text[r->at]) && r->text[r->at]) {
        return broken(r, "nothing to repeat");
    } else {
        uint32_t c;
        status = take(r, "\\") ? read_escape(r, &set, false, &c) : read_class_atom(r, &set, &c);
        if (status == GOSS_OK && c != UINT32_MAX)
            charset_add(&set, c, c);
    }
    return status ? status : append(r, set_piece(r, &set));
}

goss_status regex_add(struct nfa *nfa, int32_t from, int32_t to, const char *text, size_t size, bool anywhere,
                      goss_error *error)
{
    struct regex r = {.nfa = nfa, .text = text, .size = size, .error = error};
    struct group *whole = &r.group[0];
    whole->in = whole->tail = nfa_state(nfa);
    whole->out = nfa_state(nfa);
    while (more(&r) && !nfa->status) {
        if (take(&r, "|")) {
            struct group *group = &r.group[r.depth];
            nfa_empty(nfa, group->tail, group->out);
            group->tail = group->in;
            continue;
        }
        goss_status status = read_atom(&r);
        if (status)
            return status;
    }
    if (r.depth > 0 && !nfa->status)
        return broken(&r, "a '(' without its ')'");
    nfa_empty(nfa, whole->tail, whole->out);
    nfa_empty(nfa, from, whole->in);
    nfa_empty(nfa, whole->out, to);
    if (anywhere) {
        struct charset any;
        int32_t before = nfa_state(nfa), after = nfa_state(nfa);
        charset_clear(&any);
        charset_invert(&any);
        nfa_set(nfa, before, before, &any);
        nfa_set(nfa, after, after, &any);
        nfa_empty(nfa, from, before);
        nfa_empty(nfa, before, whole->in);
        nfa_empty(nfa, whole->out, after);
        nfa_empty(nfa, after, to);
    }
    return GOSS_OK;
}
