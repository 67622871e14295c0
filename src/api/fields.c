#include "api/fields.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what a body may hold ---- */

static int hex4(const uint8_t *p)
{
    int value = 0;
    for (int i = 0; i < 4; i++) {
        int c = p[i], digit = c >= '0' && c <= '9'   ? c - '0'
                              : c >= 'a' && c <= 'f' ? c - 'a' + 10
                              : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                     : -1;
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

/* The escape at p, which points behind its backslash and has n bytes: how many of them it takes, or 0 if it stands for
 * NUL or for half a surrogate pair. The reader of JSON itself refuses escapes that do not exist. */
static size_t good_escape(const uint8_t *p, size_t n)
{
    if (n < 5 || p[0] != 'u')
        return 1;
    int code = hex4(p + 1);
    if (code < 0 || (code > 0 && (code < 0xD800 || code > 0xDFFF)))
        return 1;
    bool pair = code >= 0xD800 && code < 0xDC00 && n >= 11 && p[5] == '\\' && p[6] == 'u';
    int low = pair ? hex4(p + 7) : 0;
    return low >= 0xDC00 && low <= 0xDFFF ? 11 : 0;
}

/* Before a tree is built: nesting, the number of values, and characters that no field may hold. */
static const char *scan(const uint8_t *p, size_t n)
{
    size_t depth = 0, values = 1;
    bool inside = false;
    for (size_t i = 0; i < n; i++) {
        if (inside && p[i] == '\\') {
            size_t taken = good_escape(p + i + 1, n - i - 1);
            if (taken == 0)
                return "a string holds NUL or half of a surrogate pair";
            i += taken;
        } else if (p[i] == '"') {
            inside = !inside;
        } else if (!inside) {
            depth += p[i] == '{' || p[i] == '[';
            values += p[i] == '{' || p[i] == '[' || p[i] == ',';
            depth -= depth > 0 && (p[i] == '}' || p[i] == ']');
        }
        if (depth > API_JSON_DEPTH)
            return "JSON nested more than 64 deep";
        if (values > API_JSON_VALUES)
            return "more than 1000000 values";
    }
    return NULL;
}

/* The next node of a tree in order, or NULL after the last. */
static const struct json_node *next_node(const struct json_node *node, const struct json_node *root)
{
    if (node->child)
        return node->child;
    while (node != root && !node->next)
        node = node->parent;
    return node == root ? NULL : node->next;
}

static bool number_is_finite(const struct json_node *node)
{
    char text[JSON_NUMBER_SIZE + 1];
    memcpy(text, node->text, node->size);
    text[node->size] = 0;
    double value = strtod(text, NULL);
    return value < 1.7e308 && value > -1.7e308;
}

static void check_values(struct fields *fields, const struct json_node *root)
{
    for (const struct json_node *node = root; node && !fields->status; node = next_node(node, root))
        if (node->kind == JSON_TREE_OBJECT && node->n_child > API_OBJECT_KEYS)
            field_refuse(fields, node, NULL, "has %zu members; at most %d are read", node->n_child, API_OBJECT_KEYS);
        else if (node->kind == JSON_TREE_NUMBER && !number_is_finite(node))
            field_refuse(fields, node, NULL, "is out of the range of numbers");
}

const struct json_node *fields_body(struct fields *fields, const void *body, size_t size)
{
    struct api_error *error = fields->error;
    if (size > API_BODY_BYTES) {
        fields->status =
            api_refuse(error, 413, "request_too_large", NULL, "the body has more than %d bytes", API_BODY_BYTES);
        return NULL;
    }
    const char *fault = scan(body, size), *text = fields_copy(fields, body, size);
    if (fault)
        fields->status = api_refuse(error, 400, "invalid_json", NULL, "the body: %s", fault);
    if (fields->status)
        return NULL;
    struct json_node *root;
    fields->status = json_tree_read(fields->arena, text, size, "the body", &root, &error->base);
    if (fields->status) {
        error->http = fields->status == GOSS_E_MEMORY ? 503 : 400;
        error->code = "invalid_json";
        return NULL;
    }
    if (root->kind != JSON_TREE_OBJECT)
        field_refuse(fields, NULL, "invalid_json", "must be a JSON object");
    check_values(fields, root);
    return fields->status ? NULL : root;
}

/* ---- paths and refusals ---- */

/* Where a node stands below its parent: ".key" or "[3]". */
static size_t step_of(const struct json_node *node, char step[API_PARAM_SIZE])
{
    int n;
    if (node->key) {
        n = snprintf(step, API_PARAM_SIZE, node->parent->parent ? ".%.*s" : "%.*s", 48, node->key);
    } else {
        size_t index = 0;
        for (const struct json_node *at = node->parent->child; at != node; at = at->next)
            index++;
        n = snprintf(step, API_PARAM_SIZE, "[%zu]", index);
    }
    return (size_t)n;
}

void node_path(const struct json_node *node, char path[API_PARAM_SIZE])
{
    char step[API_PARAM_SIZE];
    size_t begin = API_PARAM_SIZE - 1;
    path[begin] = 0;
    for (; node && node->parent; node = node->parent) {
        size_t n = step_of(node, step);
        if (n > begin)
            break;
        begin -= n;
        memcpy(path + begin, step, n);
    }
    memmove(path, path + begin, API_PARAM_SIZE - begin);
}

/* Member names come from the caller, so only those of plain letters are repeated. */
static void tame(char *path)
{
    for (char *p = path; *p; p++)
        if ((unsigned char)*p < 0x21 || (unsigned char)*p > 0x7E)
            *p = '?';
}

void field_refuse(struct fields *fields, const struct json_node *node, const char *code, const char *what, ...)
{
    if (fields->status)
        return;
    char path[API_PARAM_SIZE] = "", sentence[256];
    va_list arguments;
    va_start(arguments, what);
    (void)vsnprintf(sentence, sizeof sentence, what, arguments);
    va_end(arguments);
    node_path(node, path);
    tame(path);
    fields->status = api_refuse(fields->error, 400, code, path, "%s %s", *path ? path : "the body", sentence);
}

void field_missing(struct fields *fields, const struct json_node *object, const char *key)
{
    char above[API_PARAM_SIZE] = "", path[API_PARAM_SIZE];
    if (fields->status)
        return;
    node_path(object, above);
    tame(above);
    (void)snprintf(path, sizeof path, "%.*s%s%s", API_PARAM_SIZE - 40, above, *above ? "." : "", key);
    fields->status = api_refuse(fields->error, 400, "missing_required_parameter", path, "%s is required", path);
}

/* ---- memory ---- */

void *fields_alloc(struct fields *fields, size_t count, size_t each)
{
    size_t n;
    if (fields->status)
        return NULL;
    void *p = __builtin_mul_overflow(count, each, &n) ? NULL : arena_alloc(fields->arena, n);
    if (!p)
        fields->status = error_memory(&fields->error->base, count, "a request");
    return p;
}

const char *fields_copy(struct fields *fields, const char *text, size_t size)
{
    if (fields->status)
        return NULL;
    const char *copy = arena_copy(fields->arena, text, size);
    if (!copy)
        fields->status = error_memory(&fields->error->base, size, "a request");
    return copy;
}

const char *fields_format(struct fields *fields, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int n = vsnprintf(NULL, 0, format, arguments);
    char *text = fields_alloc(fields, (size_t)n + 1, 1);
    if (text)
        (void)vsnprintf(text, (size_t)n + 1, format, again);
    va_end(again);
    va_end(arguments);
    return text;
}

/* ---- members ---- */

const struct json_node *field(const struct json_node *object, const char *key)
{
    const struct json_node *node = json_tree_get(object, key);
    return json_tree_is(node, JSON_TREE_NULL) ? NULL : node;
}

static const struct json_node *typed(struct fields *fields, const struct json_node *object, const char *key,
                                     enum json_kind kind, const char *what)
{
    const struct json_node *node = field(object, key);
    if (!node || node->kind == kind)
        return node;
    field_refuse(fields, node, "invalid_type", "must be %s", what);
    return NULL;
}

const struct json_node *field_object(struct fields *fields, const struct json_node *object, const char *key)
{
    return typed(fields, object, key, JSON_TREE_OBJECT, "an object");
}

const struct json_node *field_array(struct fields *fields, const struct json_node *object, const char *key)
{
    return typed(fields, object, key, JSON_TREE_ARRAY, "an array");
}

const char *field_string(struct fields *fields, const struct json_node *object, const char *key)
{
    const struct json_node *node = typed(fields, object, key, JSON_TREE_STRING, "a string");
    return node ? node->text : NULL;
}

const char *field_required(struct fields *fields, const struct json_node *object, const char *key)
{
    const char *text = field_string(fields, object, key);
    if (!text)
        field_missing(fields, object, key);
    return text;
}

bool field_bool(struct fields *fields, const struct json_node *object, const char *key, bool absent)
{
    const struct json_node *node = field(object, key);
    if (!node)
        return absent;
    if (node->kind != JSON_TREE_TRUE && node->kind != JSON_TREE_FALSE)
        field_refuse(fields, node, "invalid_type", "must be true or false");
    return node->kind == JSON_TREE_TRUE;
}

int64_t field_integer(struct fields *fields, const struct json_node *object, const char *key, int64_t low, int64_t high,
                      int64_t absent)
{
    const struct json_node *node = typed(fields, object, key, JSON_TREE_NUMBER, "an integer");
    int64_t value = absent;
    if (node && !json_tree_integer(node, low, high, &value)) {
        field_refuse(fields, node, "invalid_value", "must be an integer in %lld..%lld", (long long)low,
                     (long long)high);
        return absent;
    }
    return node ? value : absent;
}

double field_number(struct fields *fields, const struct json_node *object, const char *key, double low, double high,
                    double absent)
{
    const struct json_node *node = typed(fields, object, key, JSON_TREE_NUMBER, "a number");
    if (!node)
        return absent;
    char text[JSON_NUMBER_SIZE + 1];
    memcpy(text, node->text, node->size);
    text[node->size] = 0;
    double value = strtod(text, NULL);
    if (value >= low && value <= high)
        return value;
    field_refuse(fields, node, "invalid_value", "must be a number in %g..%g", low, high);
    return absent;
}

bool node_says(const struct json_node *node, const char *text)
{
    return json_tree_is(node, JSON_TREE_STRING) && node->size == strlen(text) &&
           memcmp(node->text, text, node->size) == 0;
}

const char *node_source(struct fields *fields, const struct json_node *node)
{
    return node ? fields_copy(fields, node->source, node->source_size) : NULL;
}
