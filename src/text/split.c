#include "text/split.h"

#include <string.h>

#include "text/unicode.h"
#include "text/utf8.h"

/* The classes of unicode.h as the expressions group them. END, the class at the end of the text, is in none. */
enum {
    END = 0,
    LETTERS = UNICODE_UPPER | UNICODE_LOWER | UNICODE_LETTER, /* \p{L} */
    UPPERISH = UNICODE_UPPER | UNICODE_LETTER | UNICODE_MARK, /* [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}] */
    LOWERISH = UNICODE_LOWER | UNICODE_LETTER | UNICODE_MARK, /* [\p{Ll}\p{Lm}\p{Lo}\p{M}] */
    SPACES = UNICODE_SPACE | UNICODE_NEWLINE,                 /* \s */
    SYMBOLS = UNICODE_OTHER | UNICODE_MARK,                   /* [^\s\p{L}\p{N}] */
    PREFIXES = UNICODE_OTHER | UNICODE_MARK | UNICODE_SPACE,  /* [^\r\n\p{L}\p{N}] */
};

/* The class of the character at p and its length; END and 0 at the end. */
static inline uint8_t class_at(const uint8_t *p, const uint8_t *end, int *length)
{
    if (p == end) {
        *length = 0;
        return END;
    }
    if (*p < 0x80) {
        *length = 1;
        return unicode_leaf[*p];
    }
    return unicode_class(utf8_decode(p, length));
}

/* Past the run of characters whose class is in the set: [set]*. */
static inline const uint8_t *skip(const uint8_t *p, const uint8_t *end, unsigned set)
{
    for (;;) {
        while (p < end && *p < 0x80 && unicode_leaf[*p] & set)
            p++;
        int length;
        if (p == end || *p < 0x80 || !(class_at(p, end, &length) & set))
            return p;
        p += length;
    }
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)? and, when `fold` is not set, the same without (?i:). Folding is Unicode's, so the
 * long s (U+017F) is an s; no other letter here has a relative outside ASCII. */
static const uint8_t *contraction(const uint8_t *p, const uint8_t *end, bool fold)
{
    if (end - p < 2 || *p != '\'')
        return p;
    uint8_t bit = fold ? 0x20 : 0; /* what tells a small letter from its capital */
    uint8_t first = p[1] | bit, second = end - p > 2 ? p[2] | bit : 0;
    if (first == 's' || first == 't' || first == 'm' || first == 'd')
        return p + 2;
    if ((second == 'e' && (first == 'r' || first == 'v')) || (second == 'l' && first == 'l'))
        return p + 3;
    return fold && p[1] == 0xC5 && p[2] == 0xBF ? p + 3 : p;
}

/* \s*[\r\n]+|\s+(?!\S)|\s+, or without the first alternative when `lines` is not set. `stop` is a set of classes that
 * count as the end of the text. */
static inline const uint8_t *spaces(const uint8_t *p, const uint8_t *end, bool lines, unsigned stop)
{
    const uint8_t *start = p, *last = p, *line = NULL; /* line: past the last \r or \n */
    int length;
    uint8_t class;
    while ((class = class_at(p, end, &length)) & SPACES) {
        last = p;
        p += length;
        if (class & UNICODE_NEWLINE)
            line = p;
    }
    if (lines && line)
        return line;
    /* Before a character that is no space the run gives up its last character, unless that is all of it. */
    return class == END || class & stop || last == start ? p : last;
}

/* [UPPERISH]*[LOWERISH]+, NULL when it does not match. The first part takes all it can; if nothing small follows, it
 * gives back characters until the last one that is in both sets, which then is the whole second part. */
static inline const uint8_t *word_small(const uint8_t *p, const uint8_t *end)
{
    const uint8_t *both = NULL;
    int length;
    uint8_t class;
    while ((class = class_at(p, end, &length)) & UPPERISH) {
        p += length;
        if (class & LOWERISH)
            both = p;
    }
    return class & LOWERISH ? skip(p, end, LOWERISH) : both;
}

/* [UPPERISH]+[LOWERISH]*, NULL when it does not match. */
static inline const uint8_t *word_capital(const uint8_t *p, const uint8_t *end)
{
    const uint8_t *q = skip(p, end, UPPERISH);
    return q == p ? NULL : skip(q, end, LOWERISH);
}

/*  ?[^\s\p{L}\p{N}]+, NULL when it does not match. */
static inline const uint8_t *symbols(const uint8_t *p, const uint8_t *end)
{
    p += *p == ' ';
    const uint8_t *q = skip(p, end, SYMBOLS);
    return q == p ? NULL : q;
}

/* \p{N}{1,most}, where the first is known to match and to be `length` bytes long. */
static inline const uint8_t *numbers(const uint8_t *p, const uint8_t *end, int length, int most)
{
    do
        p += length;
    while (--most > 0 && class_at(p, end, &length) & UNICODE_NUMBER);
    return p;
}

/* How many of the 8 bytes at p, from the first on, are small letters of ASCII; without a branch for each. */
static inline int small_letters(const uint8_t *p)
{
    const uint64_t ones = 0x0101010101010101u, high = ones << 7;
    uint64_t word;
    memcpy(&word, p, sizeof word);
    uint64_t low = word & ~high; /* so that no sum carries into the next byte */
    uint64_t small = (low + ones * (0x80 - 'a')) & ~(low + ones * (0x7F - 'z')) & ~word & high;
    uint64_t other = small ^ high;
    return other ? __builtin_ctzll(other) / 8 : 8;
}

/* The piece most texts consist of, found quickly: a blank or none, a capital or none, and up to 15 small letters of
 * ASCII, before an ASCII character that cannot go on with it. NULL for anything else, and near the end of the text. */
static inline const uint8_t *plain_word(const uint8_t *p, const uint8_t *end)
{
    if (end - p < 32)
        return NULL;
    p += *p == ' ';
    p += *p >= 'A' && *p <= 'Z';
    int n = small_letters(p);
    if (n == 8)
        n += small_letters(p + 8);
    p += n;
    return n > 0 && n < 16 && *p < 0x80 && *p != '\'' ? p : NULL;
}

/* [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?
 * |[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?
 * |\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
static const uint8_t *split_o200k(const uint8_t *text, const uint8_t *end)
{
    const uint8_t *common = plain_word(text, end);
    if (common)
        return common;
    int length;
    uint8_t class = class_at(text, end, &length);
    if (class & UNICODE_NUMBER)
        return numbers(text, end, length, 3);
    const uint8_t *word = NULL,
                  *rest = class & PREFIXES ? text + length : NULL; /* after the optional first character */
    if (rest)
        word = word_small(rest, end);
    if (!word && class & (LETTERS | UNICODE_MARK))
        word = word_small(text, end);
    if (!word && rest)
        word = word_capital(rest, end);
    if (!word && class & (LETTERS | UNICODE_MARK))
        word = word_capital(text, end);
    if (word)
        return contraction(word, end, true);
    const uint8_t *run = symbols(text, end);
    if (!run)
        return spaces(text, end, true, END);
    while (run < end && (*run == '\r' || *run == '\n' || *run == '/'))
        run++;
    return run;
}

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
static const uint8_t *split_gpt2(const uint8_t *text, const uint8_t *end)
{
    const uint8_t *run = contraction(text, end, false);
    if (run != text)
        return run;
    const uint8_t *rest = text + (*text == ' ');
    int length;
    uint8_t class = class_at(rest, end, &length);
    if (class & LETTERS)
        return skip(rest, end, LETTERS);
    if (class & UNICODE_NUMBER)
        return skip(rest, end, UNICODE_NUMBER);
    if (class & SYMBOLS)
        return skip(rest, end, SYMBOLS);
    return spaces(text, end, false, END);
}

/* Numbers are cut out first, and what lies between them is split as if it stood alone. */
static const uint8_t *split_gpt2_digits(const uint8_t *text, const uint8_t *end)
{
    int length;
    if (class_at(text, end, &length) & UNICODE_NUMBER)
        return text + length;
    const uint8_t *run = contraction(text, end, false);
    if (run != text)
        return run;
    const uint8_t *rest = text + (*text == ' ');
    uint8_t class = class_at(rest, end, &length);
    if (class & LETTERS)
        return skip(rest, end, LETTERS);
    if (class & SYMBOLS)
        return skip(rest, end, SYMBOLS);
    return spaces(text, end, false, UNICODE_NUMBER);
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,most}| ?[^\s\p{L}\p{N}]+[\r\n]*
 * |\s*[\r\n]+|\s+(?!\S)|\s+ */
static inline const uint8_t *split_cl100k(const uint8_t *text, const uint8_t *end, int most)
{
    const uint8_t *run = contraction(text, end, true);
    if (run != text)
        return run;
    int length;
    uint8_t class = class_at(text, end, &length);
    if (class & UNICODE_NUMBER)
        return numbers(text, end, length, most);
    const uint8_t *rest = class & PREFIXES ? text + length : text;
    const uint8_t *word = skip(rest, end, LETTERS);
    if (word != rest)
        return word;
    run = symbols(text, end);
    return run ? skip(run, end, UNICODE_NEWLINE) : spaces(text, end, true, END);
}

static const uint8_t *split_llama3(const uint8_t *text, const uint8_t *end)
{
    return split_cl100k(text, end, 3);
}

static const uint8_t *split_qwen2(const uint8_t *text, const uint8_t *end)
{
    return split_cl100k(text, end, 1);
}

split_function *split_by(enum split_pattern pattern)
{
    static split_function *const functions[SPLIT_PATTERNS] = {
        [SPLIT_O200K] = split_o200k,   [SPLIT_GPT2] = split_gpt2,   [SPLIT_GPT2_DIGITS] = split_gpt2_digits,
        [SPLIT_LLAMA3] = split_llama3, [SPLIT_QWEN2] = split_qwen2,
    };
    return functions[pattern];
}

enum split_pattern split_pattern_of(const char *expression, size_t size)
{
    static const struct {
        enum split_pattern pattern;
        const char *expression;
    } known[] = {
        {SPLIT_O200K, "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+"
                      "(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
                      "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*"
                      "(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
                      "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
        {SPLIT_GPT2, "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"},
        {SPLIT_LLAMA3, "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
                       " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
        {SPLIT_QWEN2, "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|"
                      " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strlen(known[i].expression) == size && !memcmp(known[i].expression, expression, size))
            return known[i].pattern;
    return SPLIT_NONE;
}
