#include "grammar/number.h"

#include <stdio.h>
#include <string.h>

enum { DIGITS = 64, POINT_RANGE = 100 };

/* whole.fraction without zeros in front of the one and behind the other; zero is "0" and "". */
struct decimal {
    bool negative;
    char whole[DIGITS + 1], fraction[DIGITS + 1];
    int n_whole, n_fraction;
};

static goss_status too_long(struct number_text number, goss_error *error)
{
    return error_set(error, GOSS_E_UNSUPPORTED, "the number %.*s has too many digits",
                     number.size > 60 ? 60 : (int)number.size, number.text);
}

/* The digits without point and exponent, and where the point stands among them. */
static bool read_digits(struct number_text number, char digits[2 * DIGITS], int *n, int *point)
{
    const char *p = number.text, *end = p + number.size;
    int exponent = 0, sign = 1;
    bool seen_point = false;
    *n = *point = 0;
    for (p += p < end && *p == '-'; p < end && *p != 'e' && *p != 'E'; p++) {
        if (*p == '.') {
            seen_point = true;
            continue;
        }
        if (*n == 2 * DIGITS)
            return false;
        digits[(*n)++] = *p;
        *point += !seen_point;
    }
    if (p < end) {
        p++;
        sign = *p == '-' ? -1 : 1;
        for (p += *p == '-' || *p == '+'; p < end; p++)
            exponent = exponent > POINT_RANGE ? exponent : 10 * exponent + (*p - '0');
    }
    *point += sign * exponent;
    return true;
}

static goss_status decimal_read(struct number_text number, struct decimal *d, goss_error *error)
{
    char digits[2 * DIGITS];
    int n, point;
    *d = (struct decimal){.negative = number.text[0] == '-'};
    if (!read_digits(number, digits, &n, &point))
        return too_long(number, error);
    int first = 0;
    while (first < n && digits[first] == '0')
        first++;
    while (n > first && digits[n - 1] == '0')
        n--;
    if (first == n)
        point = first; /* zero, whatever its exponent */
    for (int i = first < point ? first : point; i < (n > point ? n : point); i++) {
        char digit = i >= first && i < n ? digits[i] : '0';
        int *count = i < point ? &d->n_whole : &d->n_fraction;
        if (*count == DIGITS)
            return too_long(number, error);
        (i < point ? d->whole : d->fraction)[(*count)++] = digit;
    }
    if (d->n_whole == 0)
        d->whole[d->n_whole++] = '0';
    if (d->n_whole > NUMBER_DIGITS || d->n_fraction > NUMBER_DIGITS)
        return too_long(number, error);
    return GOSS_OK;
}

bool number_plain(struct number_text number, char plain[NUMBER_TEXT], bool *integer)
{
    struct decimal d;
    if (decimal_read(number, &d, NULL))
        return false;
    bool zero = d.n_fraction == 0 && d.n_whole == 1 && d.whole[0] == '0';
    *integer = d.n_fraction == 0;
    (void)snprintf(plain, NUMBER_TEXT, "%s%s%s%s", d.negative && !zero ? "-" : "", d.whole, *integer ? "" : ".",
                   d.fraction);
    return true;
}

static bool is_zero(const struct decimal *d)
{
    return d->n_fraction == 0 && d->n_whole == 1 && d->whole[0] == '0';
}

/* ---- pieces; each returns the state behind it ---- */

static int32_t digit(struct nfa *nfa, int32_t from, int32_t to, char first, char last)
{
    if (first <= last)
        nfa_bytes(nfa, from, to, (uint8_t)first, (uint8_t)last);
    return to;
}

static int32_t digits(struct nfa *nfa, int32_t from, int n)
{
    for (int i = 0; i < n; i++)
        from = digit(nfa, from, nfa_state(nfa), '0', '9');
    return from;
}

/* Any digits from `from` on, then `to`. */
static void loop(struct nfa *nfa, int32_t from, int32_t to, char first, char last)
{
    int32_t loop = nfa_state(nfa);
    nfa_empty(nfa, from, loop);
    digit(nfa, loop, loop, first, last);
    nfa_empty(nfa, loop, to);
}

/* Nothing, or a point and digits. */
static void any_fraction(struct nfa *nfa, int32_t from, int32_t to)
{
    nfa_empty(nfa, from, to);
    loop(nfa, nfa_literal(nfa, from, ".", 1), to, '0', '9');
}

/* Numbers without sign that compare to d: greater (order 1) or less (-1), or also equal. What the digits are allowed
 * to look like at all is not its business: see add_syntax. */
static void add_compared(struct nfa *nfa, int32_t from, int32_t to, const struct decimal *d, int order, bool equal)
{
    if (order > 0) { /* more digits */
        int32_t state = digits(nfa, from, d->n_whole + 1), rest = nfa_state(nfa);
        loop(nfa, state, rest, '0', '9');
        any_fraction(nfa, rest, to);
    } else { /* fewer */
        int32_t state = from;
        for (int n = 1; n < d->n_whole; n++) {
            state = digits(nfa, state, 1);
            any_fraction(nfa, state, to);
        }
    }
    for (int i = 0; i < d->n_whole; i++) { /* as many, and one that differs */
        int32_t state = nfa_literal(nfa, from, d->whole, (size_t)i), differs = nfa_state(nfa);
        if (order > 0)
            digit(nfa, state, differs, (char)(d->whole[i] + 1), '9');
        else
            digit(nfa, state, differs, '0', (char)(d->whole[i] - 1));
        any_fraction(nfa, digits(nfa, differs, d->n_whole - i - 1), to);
    }
    int32_t whole = nfa_literal(nfa, from, d->whole, (size_t)d->n_whole), point = nfa_literal(nfa, whole, ".", 1);
    for (int i = 0; i < d->n_fraction; i++) {
        int32_t state = nfa_literal(nfa, point, d->fraction, (size_t)i), differs = nfa_state(nfa);
        if (order > 0)
            digit(nfa, state, differs, (char)(d->fraction[i] + 1), '9');
        else
            digit(nfa, state, differs, '0', (char)(d->fraction[i] - 1));
        loop(nfa, differs, to, '0', '9');
        if (order < 0 && i > 0)
            nfa_empty(nfa, state, to); /* a shorter fraction */
    }
    if (order < 0 && d->n_fraction > 0)
        nfa_empty(nfa, whole, to);
    int32_t same = nfa_literal(nfa, point, d->fraction, (size_t)d->n_fraction), zeros = nfa_state(nfa);
    loop(nfa, same, zeros, '0', '0');
    if (order > 0)
        loop(nfa, digit(nfa, zeros, nfa_state(nfa), '1', '9'), to, '0', '9');
    if (equal) {
        nfa_empty(nfa, zeros, to);
        if (d->n_fraction == 0)
            nfa_empty(nfa, whole, to);
    }
}

/* Numbers with their sign. */
static void add_bound(struct nfa *nfa, int32_t from, int32_t to, const struct decimal *d, int order, bool equal)
{
    bool zero = is_zero(d);
    bool below = d->negative && !zero;
    int32_t minus = nfa_literal(nfa, from, "-", 1), any = nfa_state(nfa);
    loop(nfa, any, any, '0', '9');
    any_fraction(nfa, any, to);
    if (order > 0) {
        if (below) {
            nfa_empty(nfa, from, any);
            add_compared(nfa, minus, to, d, -1, equal);
        } else {
            add_compared(nfa, from, to, d, 1, equal);
        }
    } else if (below || (zero && !equal)) {
        add_compared(nfa, minus, to, d, 1, equal);
    } else {
        nfa_empty(nfa, minus, any);
        add_compared(nfa, from, to, d, -1, equal);
    }
}

static void add_syntax(struct nfa *nfa, int32_t from, int32_t to, bool integer, bool exponent)
{
    int32_t whole = nfa_state(nfa), minus = nfa_literal(nfa, from, "-", 1), tail = nfa_state(nfa);
    digit(nfa, from, whole, '0', '0');
    if (!integer)
        digit(nfa, minus, whole, '0', '0');
    digit(nfa, from, tail, '1', '9');
    digit(nfa, minus, tail, '1', '9');
    for (int i = 1; i < NUMBER_DIGITS; i++) {
        nfa_empty(nfa, tail, whole);
        tail = digits(nfa, tail, 1);
    }
    nfa_empty(nfa, tail, whole);
    nfa_empty(nfa, whole, to);
    if (integer)
        return;
    int32_t fraction = nfa_state(nfa), state = nfa_literal(nfa, whole, ".", 1);
    for (int i = 0; i < NUMBER_DIGITS; i++) {
        state = digits(nfa, state, 1);
        nfa_empty(nfa, state, fraction);
    }
    nfa_empty(nfa, fraction, to);
    if (!exponent)
        return;
    int32_t sign = nfa_state(nfa), power = nfa_state(nfa);
    for (int i = 0; i < 2; i++) {
        nfa_bytes(nfa, i ? whole : fraction, sign, 'e', 'e');
        nfa_bytes(nfa, i ? whole : fraction, sign, 'E', 'E');
    }
    nfa_bytes(nfa, sign, power, '+', '+');
    nfa_bytes(nfa, sign, power, '-', '-');
    nfa_empty(nfa, sign, power);
    int32_t one = digits(nfa, power, 1);
    nfa_empty(nfa, one, to);
    nfa_empty(nfa, digits(nfa, one, 1), to);
}

/* Multiples of divisor / 10^places: the digits are read as one number whose remainder is followed; a fraction that is
 * shorter than `places` counts as filled up with zeros. */
static void add_multiples(struct nfa *nfa, int32_t from, int32_t to, int divisor, int places)
{
    int32_t first = nfa->n_state, zeros;
    for (int i = 0; i < divisor * (places + 1); i++) /* state first + phase * divisor + remainder */
        (void)nfa_state(nfa);
    zeros = nfa_state(nfa);
    nfa_empty(nfa, from, first);
    nfa_empty(nfa, nfa_literal(nfa, from, "-", 1), first);
    digit(nfa, zeros, zeros, '0', '0');
    nfa_empty(nfa, zeros, to);
    for (int phase = 0; phase <= places; phase++)
        for (int r = 0; r < divisor && !nfa->status; r++) {
            int32_t state = first + phase * divisor + r, point = state;
            if (phase == 0)
                point = nfa_literal(nfa, state, ".", 1);
            for (int i = 0; i < 10; i++) {
                int next = (10 * r + i) % divisor;
                if (phase == 0)
                    digit(nfa, state, first + next, (char)('0' + i), (char)('0' + i));
                if (phase < places)
                    digit(nfa, point, first + (phase + 1) * divisor + next, (char)('0' + i), (char)('0' + i));
            }
            int filled = r;
            for (int i = phase; i < places; i++)
                filled = 10 * filled % divisor;
            if (filled == 0) {
                nfa_empty(nfa, state, to);
                if (phase == places)
                    nfa_empty(nfa, point, zeros);
            }
        }
}

/* ---- together ---- */

/* Narrows dfa (or begins it) by what nfa accepts, and frees nfa. */
static goss_status narrow(struct dfa *dfa, struct dfa_store *store, struct nfa *nfa, int32_t end, goss_error *error)
{
    struct dfa rule, both;
    if (!nfa->status)
        nfa->mark[end] = 0;
    goss_status status = dfa_build(&rule, store, nfa, 0, error);
    nfa_free(nfa);
    if (status || dfa->n_state == 0) {
        *dfa = status ? *dfa : rule;
        return status;
    }
    status = dfa_intersect(&both, store, dfa, &rule, error);
    *dfa = status ? *dfa : both;
    return status;
}

static goss_status narrow_by_bound(struct dfa *dfa, struct dfa_store *store, struct number_text bound, int order,
                                   bool equal, goss_error *error)
{
    struct decimal d;
    if (!bound.text)
        return GOSS_OK;
    goss_status status = decimal_read(bound, &d, error);
    if (status)
        return status;
    struct nfa nfa;
    nfa_open(&nfa, SPELL_RAW);
    int32_t end = nfa_state(&nfa);
    add_bound(&nfa, 0, end, &d, order, equal);
    return narrow(dfa, store, &nfa, end, error);
}

static goss_status narrow_by_multiple(struct dfa *dfa, struct dfa_store *store, struct number_text multiple,
                                      goss_error *error)
{
    struct decimal d;
    if (!multiple.text)
        return GOSS_OK;
    goss_status status = decimal_read(multiple, &d, error);
    if (status)
        return status;
    if (d.negative || is_zero(&d))
        return error_set(error, GOSS_E_FORMAT, "multipleOf must be greater than 0");
    int divisor = 0;
    for (int i = 0; i < d.n_whole + d.n_fraction && divisor <= NUMBER_MULTIPLE; i++)
        divisor = 10 * divisor + (i < d.n_whole ? d.whole[i] : d.fraction[i - d.n_whole]) - '0';
    if (divisor > NUMBER_MULTIPLE || d.n_fraction > 6)
        return error_set(error, GOSS_E_UNSUPPORTED, "multipleOf %.*s is not supported: at most %d of the last digit",
                         multiple.size > 60 ? 60 : (int)multiple.size, multiple.text, NUMBER_MULTIPLE);
    struct nfa nfa;
    nfa_open(&nfa, SPELL_RAW);
    int32_t end = nfa_state(&nfa);
    add_multiples(&nfa, 0, end, divisor, d.n_fraction);
    return narrow(dfa, store, &nfa, end, error);
}

goss_status number_build(struct dfa *dfa, struct dfa_store *store, const struct number_rule *rule, goss_error *error)
{
    *dfa = (struct dfa){0};
    bool bound = rule->least.text || rule->most.text || rule->above.text || rule->below.text || rule->multiple.text;
    struct nfa nfa;
    nfa_open(&nfa, SPELL_RAW);
    int32_t end = nfa_state(&nfa);
    add_syntax(&nfa, 0, end, rule->integer, !bound);
    goss_status status = narrow(dfa, store, &nfa, end, error);
    status = status ? status : narrow_by_bound(dfa, store, rule->least, 1, true, error);
    status = status ? status : narrow_by_bound(dfa, store, rule->above, 1, false, error);
    status = status ? status : narrow_by_bound(dfa, store, rule->most, -1, true, error);
    status = status ? status : narrow_by_bound(dfa, store, rule->below, -1, false, error);
    return status ? status : narrow_by_multiple(dfa, store, rule->multiple, error);
}
