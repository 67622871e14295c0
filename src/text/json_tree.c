#include "text/json_tree.h"

#include <stdlib.h>
#include <string.h>

#include "text/utf8.h"

struct reader {
    struct arena *arena;
    const char *text, *where;
    size_t size, position;
    size_t n_value;
    const char *key; /* the name of the member whose value comes next */
    size_t key_size;
    goss_error *error;
};

static goss_status fail(const struct reader *reader, goss_status status, const char *what)
{
    size_t line = 1, column = 1;
    for (size_t i = 0; i < reader->position && i < reader->size; i++) {
        column = reader->text[i] == '\n' ? 1 : column + 1;
        line += reader->text[i] == '\n';
    }
    return error_set(reader->error, status, "%s: line %zu, column %zu: %s", reader->where, line, column, what);
}

static goss_status no_memory(const struct reader *reader)
{
    return error_memory(reader->error, reader->size, reader->where);
}

/* The next byte, or 0 at the end: a NUL is never legal outside a string, so the two need no telling apart. */
static char peek(const struct reader *reader)
{
    return reader->position < reader->size ? reader->text[reader->position] : 0;
}

static void skip_blank(struct reader *reader)
{
    for (char c = peek(reader); c == ' ' || c == '\t' || c == '\n' || c == '\r'; c = peek(reader))
        reader->position++;
}

static bool read_hex4(struct reader *reader, uint32_t *value)
{
    if (reader->size - reader->position < 4)
        return false;
    *value = 0;
    for (int i = 0; i < 4; i++) {
        char c = reader->text[reader->position + (size_t)i];
        uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                                : 16u;
        if (digit == 16)
            return false;
        *value = *value << 4 | digit;
    }
    reader->position += 4;
    return true;
}

static size_t put_utf8(char *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3F));
        out[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3F));
    out[2] = (char)(0x80 | (c >> 6 & 0x3F));
    out[3] = (char)(0x80 | (c & 0x3F));
    return 4;
}

/* \uXXXX after its u. Two halves of a surrogate pair are one character; a lone half becomes U+FFFD. */
static bool read_unicode_escape(struct reader *reader, uint32_t *c)
{
    if (!read_hex4(reader, c))
        return false;
    if (*c < 0xD800 || *c > 0xDFFF)
        return true;
    size_t after = reader->position;
    uint32_t low;
    if (*c < 0xDC00 && reader->size - after >= 6 && memcmp(reader->text + after, "\\u", 2) == 0) {
        reader->position += 2;
        if (!read_hex4(reader, &low))
            return false;
        if (low >= 0xDC00 && low <= 0xDFFF) {
            *c = 0x10000 + ((*c - 0xD800) << 10) + (low - 0xDC00);
            return true;
        }
        reader->position = after;
    }
    *c = 0xFFFD;
    return true;
}

static bool read_escape(struct reader *reader, char *out, size_t *n)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    char c = peek(reader);
    reader->position++;
    if (c == 'u') {
        uint32_t code;
        if (!read_unicode_escape(reader, &code))
            return false;
        *n += put_utf8(out + *n, code);
        return true;
    }
    const char *name = c ? strchr(names, c) : NULL;
    if (!name)
        return false;
    out[(*n)++] = values[name - names];
    return true;
}

/* At the opening quote. An escape is never shorter than what it stands for, so the raw length bounds the result. */
static goss_status read_string(struct reader *reader, const char **text, size_t *size)
{
    size_t begin = ++reader->position, end = begin;
    while (end < reader->size && reader->text[end] != '"')
        end += reader->text[end] == '\\' ? 2 : 1;
    if (end >= reader->size)
        return fail(reader, GOSS_E_FORMAT, "a string without an end");
    char *out = arena_alloc(reader->arena, end - begin + 1);
    if (!out)
        return no_memory(reader);
    size_t n = 0;
    while (peek(reader) != '"') {
        unsigned char c = (unsigned char)peek(reader);
        if (c < 0x20)
            return fail(reader, GOSS_E_FORMAT, "a control character inside a string");
        reader->position++;
        if (c != '\\')
            out[n++] = (char)c;
        else if (!read_escape(reader, out, &n))
            return fail(reader, GOSS_E_FORMAT, "an unknown escape inside a string");
    }
    reader->position++;
    *text = out;
    *size = n;
    return GOSS_OK;
}

static size_t skip_digits(struct reader *reader)
{
    size_t begin = reader->position;
    while (peek(reader) >= '0' && peek(reader) <= '9')
        reader->position++;
    return reader->position - begin;
}

static goss_status read_number(struct reader *reader, struct json_node *node)
{
    size_t begin = reader->position;
    reader->position += peek(reader) == '-';
    bool zero = peek(reader) == '0';
    size_t n = skip_digits(reader);
    bool good = n == 1 || (n > 1 && !zero);
    if (good && peek(reader) == '.') {
        reader->position++;
        good = skip_digits(reader) > 0;
    }
    if (good && (peek(reader) == 'e' || peek(reader) == 'E')) {
        reader->position++;
        reader->position += peek(reader) == '+' || peek(reader) == '-';
        good = skip_digits(reader) > 0;
    }
    if (!good)
        return fail(reader, GOSS_E_FORMAT, "not a number");
    node->kind = JSON_TREE_NUMBER;
    node->text = reader->text + begin;
    node->size = reader->position - begin;
    if (node->size > JSON_NUMBER_SIZE)
        return fail(reader, GOSS_E_LIMIT, "a number of more than 1000 characters");
    return GOSS_OK;
}

static bool read_word(struct reader *reader, const char *word)
{
    size_t n = strlen(word);
    if (reader->size - reader->position < n || memcmp(reader->text + reader->position, word, n) != 0)
        return false;
    reader->position += n;
    return true;
}

static goss_status read_scalar(struct reader *reader, struct json_node *node)
{
    char c = peek(reader);
    if (c == '"') {
        node->kind = JSON_TREE_STRING;
        return read_string(reader, &node->text, &node->size);
    }
    if (c == '-' || (c >= '0' && c <= '9'))
        return read_number(reader, node);
    if (read_word(reader, "null"))
        node->kind = JSON_TREE_NULL;
    else if (read_word(reader, "false"))
        node->kind = JSON_TREE_FALSE;
    else if (read_word(reader, "true"))
        node->kind = JSON_TREE_TRUE;
    else
        return fail(reader, GOSS_E_FORMAT,
                    reader->position < reader->size ? "expected a value" : "the text ends early");
    return GOSS_OK;
}

static int compare_names(const char *a, size_t n, const char *b, size_t m)
{
    int order = memcmp(a, b, n < m ? n : m);
    return order ? order : (n > m) - (n < m);
}

static int by_name(const void *a, const void *b)
{
    const struct json_node *x = *(struct json_node *const *)a, *y = *(struct json_node *const *)b;
    return compare_names(x->key, x->key_size, y->key, y->key_size);
}

/* At the closing bracket. */
static goss_status close_value(struct reader *reader, struct json_node *node)
{
    reader->position++;
    node->source_size = (size_t)(reader->text + reader->position - node->source);
    if (node->kind != JSON_TREE_OBJECT || node->n_child == 0)
        return GOSS_OK;
    node->sorted = arena_alloc(reader->arena, node->n_child * sizeof(struct json_node *));
    if (!node->sorted)
        return no_memory(reader);
    size_t n = 0;
    for (struct json_node *child = node->child; child; child = child->next)
        node->sorted[n++] = child;
    qsort(node->sorted, n, sizeof(struct json_node *), by_name);
    for (size_t i = 1; i < n; i++)
        if (by_name(&node->sorted[i - 1], &node->sorted[i]) == 0)
            return fail(reader, GOSS_E_FORMAT, "an object that has the same key twice");
    return GOSS_OK;
}

/* A member's name and colon. */
static goss_status read_key(struct reader *reader)
{
    skip_blank(reader);
    if (peek(reader) != '"')
        return fail(reader, GOSS_E_FORMAT, "expected a key in quotes");
    goss_status status = read_string(reader, &reader->key, &reader->key_size);
    if (status)
        return status;
    skip_blank(reader);
    if (peek(reader) != ':')
        return fail(reader, GOSS_E_FORMAT, "expected ':' after a key");
    reader->position++;
    return GOSS_OK;
}

/* NULL on failure, with its reason in *status. */
static struct json_node *new_node(struct reader *reader, struct json_node *parent, goss_status *status)
{
    bool many = reader->n_value++ == JSON_VALUES;
    struct json_node *node = many ? NULL : arena_alloc(reader->arena, sizeof *node);
    if (!node) {
        *status = many ? fail(reader, GOSS_E_LIMIT, "more than 4000000 values") : no_memory(reader);
        return NULL;
    }
    node->source = reader->text + reader->position;
    node->parent = parent;
    if (parent) {
        if (parent->kind == JSON_TREE_OBJECT) {
            node->key = reader->key;
            node->key_size = reader->key_size;
        }
        *(parent->last ? &parent->last->next : &parent->child) = node;
        parent->last = node;
        parent->n_child++;
    }
    return node;
}

/* Reads what stands at the position. *open: an array or object has begun and its first value comes next. */
static goss_status begin_value(struct reader *reader, struct json_node *parent, size_t depth, struct json_node **out,
                               bool *open)
{
    goss_status status = GOSS_OK;
    skip_blank(reader);
    *open = false;
    struct json_node *node = *out = new_node(reader, parent, &status);
    if (!node)
        return status;
    char c = peek(reader);
    if (c != '{' && c != '[') {
        status = read_scalar(reader, node);
        node->source_size = (size_t)(reader->text + reader->position - node->source);
        return status;
    }
    if (depth >= JSON_DEPTH)
        return fail(reader, GOSS_E_LIMIT, "nested deeper than 127 levels");
    node->kind = c == '{' ? JSON_TREE_OBJECT : JSON_TREE_ARRAY;
    reader->position++;
    skip_blank(reader);
    if (peek(reader) == (c == '{' ? '}' : ']'))
        return close_value(reader, node);
    *open = true;
    return c == '{' ? read_key(reader) : GOSS_OK;
}

/* After a whole value inside *parent: a comma leads to the next value, brackets close it and its parents. */
static goss_status end_values(struct reader *reader, struct json_node **parent, size_t *depth)
{
    while (*parent) {
        skip_blank(reader);
        bool object = (*parent)->kind == JSON_TREE_OBJECT;
        if (peek(reader) == ',') {
            reader->position++;
            return object ? read_key(reader) : GOSS_OK;
        }
        if (peek(reader) != (object ? '}' : ']'))
            return fail(reader, GOSS_E_FORMAT, object ? "expected ',' or '}'" : "expected ',' or ']'");
        goss_status status = close_value(reader, *parent);
        if (status)
            return status;
        *parent = (*parent)->parent;
        (*depth)--;
    }
    return GOSS_OK;
}

goss_status json_tree_read(struct arena *arena, const char *text, size_t size, const char *where,
                           struct json_node **root, goss_error *error)
{
    struct reader reader = {.arena = arena, .text = text, .size = size, .where = where, .error = error};
    struct json_node *parent = NULL, *node = NULL;
    size_t depth = 0;
    *root = NULL;
    if (!utf8_valid((const uint8_t *)text, size))
        return error_set(error, GOSS_E_FORMAT, "%s: not well-formed UTF-8", where);
    do {
        bool open;
        goss_status status = begin_value(&reader, parent, depth, &node, &open);
        if (status)
            return status;
        if (open) {
            parent = node;
            depth++;
        } else if ((status = end_values(&reader, &parent, &depth))) {
            return status;
        }
    } while (parent);
    skip_blank(&reader);
    if (reader.position < size)
        return fail(&reader, GOSS_E_FORMAT, "text after the value");
    while (node && node->parent)
        node = node->parent;
    *root = node;
    return GOSS_OK;
}

struct json_node *json_tree_find(const struct json_node *object, const char *key, size_t key_size)
{
    if (!json_tree_is(object, JSON_TREE_OBJECT))
        return NULL;
    size_t low = 0, high = object->n_child;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        struct json_node *node = object->sorted[middle];
        int order = compare_names(node->key, node->key_size, key, key_size);
        if (order == 0)
            return node;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

struct json_node *json_tree_get(const struct json_node *object, const char *key)
{
    return json_tree_find(object, key, strlen(key));
}

bool json_tree_is(const struct json_node *node, enum json_kind kind)
{
    return node && node->kind == kind;
}

bool json_tree_integer(const struct json_node *node, int64_t low, int64_t high, int64_t *value)
{
    if (!json_tree_is(node, JSON_TREE_NUMBER))
        return false;
    bool negative = node->text[0] == '-';
    int64_t result = 0;
    for (size_t i = negative; i < node->size; i++) {
        if (node->text[i] < '0' || node->text[i] > '9')
            return false;
        int64_t digit = node->text[i] - '0';
        if (__builtin_mul_overflow(result, (int64_t)10, &result) ||
            __builtin_add_overflow(result, negative ? -digit : digit, &result))
            return false;
    }
    *value = result;
    return result >= low && result <= high;
}
