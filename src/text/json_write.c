/* Writing JSON as Rust's serde_json spells it, because the vectors of the format were made with it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/json_tree.h"

goss_status json_write_string(struct buffer *out, const char *text, size_t size, goss_error *error)
{
    static const char names[] = "\"\\bfnrt", values[] = "\"\\\b\f\n\r\t";
    goss_status status = buffer_append(out, "\"", 1, error);
    size_t done = 0;
    for (size_t i = 0; i < size && status == GOSS_OK; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        status = buffer_append(out, text + done, i - done, error);
        done = i + 1;
        const char *value = c ? strchr(values, c) : NULL;
        if (status == GOSS_OK && value)
            status = buffer_append(out, (char[]){'\\', names[value - values]}, 2, error);
        else if (status == GOSS_OK)
            status = buffer_append_format(out, error, "\\u%04x", c);
    }
    if (status == GOSS_OK)
        status = buffer_append(out, text + done, size - done, error);
    return status ? status : buffer_append(out, "\"", 1, error);
}

/* A number as sign, decimal digits without leading or trailing zeros, and power: digits * 10^power. */
struct decimal {
    bool negative;
    char digits[JSON_NUMBER_SIZE + 1];
    int n;
    int64_t power;
};

static void decimal_of(struct decimal *decimal, const char *text, size_t size)
{
    *decimal = (struct decimal){.negative = text[0] == '-'};
    size_t i = decimal->negative;
    bool fraction = false;
    for (; i < size && text[i] != 'e' && text[i] != 'E'; i++) {
        if (text[i] == '.') {
            fraction = true;
            continue;
        }
        decimal->power -= fraction;
        if (decimal->n > 0 || text[i] != '0')
            decimal->digits[decimal->n++] = text[i];
    }
    int64_t exponent = 0;
    bool negative = false;
    for (i++; i < size; i++) {
        if (text[i] == '-' || text[i] == '+')
            negative = text[i] == '-';
        else if (exponent < 100000) /* far beyond any double, and no overflow */
            exponent = exponent * 10 + (text[i] - '0');
    }
    decimal->power += negative ? -exponent : exponent;
    for (; decimal->n > 0 && decimal->digits[decimal->n - 1] == '0'; decimal->n--)
        decimal->power++;
    decimal->digits[decimal->n] = 0;
}

/* The spelling goes through digits and a power alone, so the locale's decimal point has no say. */
static double decimal_value(const struct decimal *decimal)
{
    char text[JSON_NUMBER_SIZE + 40];
    (void)snprintf(text, sizeof text, "%se%lld", decimal->n ? decimal->digits : "0", (long long)decimal->power);
    return strtod(text, NULL);
}

/* The fewest digits that read back to the same double. */
static void decimal_shorten(struct decimal *decimal, double value)
{
    char text[40];
    for (int precision = 0; precision < 17; precision++) {
        int n = snprintf(text, sizeof text, "%.*e", precision, value);
        bool negative = decimal->negative;
        text[1] = precision ? '.' : text[1];
        decimal_of(decimal, text, (size_t)n);
        decimal->negative = negative;
        if (decimal_value(decimal) == value)
            return;
    }
}

/* Plain digits while the number is between 10^-5 and 10^16, else one digit, the rest, and the exponent. */
static goss_status write_decimal(struct buffer *out, const struct decimal *decimal, goss_error *error)
{
    const char *sign = decimal->negative ? "-" : "", *digits = decimal->digits;
    int n = decimal->n, power = (int)decimal->power, point = n + power; /* digits before the decimal point */
    if (n == 0)
        return buffer_append_format(out, error, "%s0.0", sign);
    if (power >= 0 && point <= 16)
        return buffer_append_format(out, error, "%s%s%.*s.0", sign, digits, power, "0000000000000000");
    if (point > 0 && point <= 16)
        return buffer_append_format(out, error, "%s%.*s.%s", sign, point, digits, digits + point);
    if (point > -5 && point <= 0)
        return buffer_append_format(out, error, "%s0.%.*s%s", sign, -point, "0000", digits);
    return buffer_append_format(out, error, "%s%c%s%se%d", sign, digits[0], n > 1 ? "." : "", digits + 1, point - 1);
}

static bool fits_64_bits(const struct json_node *node)
{
    if (node->size == 2 && memcmp(node->text, "-0", 2) == 0)
        return false; /* minus zero is a float */
    for (size_t i = 0; i < node->size; i++)
        if (node->text[i] != '-' && (node->text[i] < '0' || node->text[i] > '9'))
            return false;
    bool negative = node->text[0] == '-';
    const char *most = negative ? "9223372036854775808" : "18446744073709551615";
    size_t n = node->size - negative;
    return n < strlen(most) || (n == strlen(most) && memcmp(node->text + negative, most, n) <= 0);
}

static goss_status write_number(const struct json_node *node, struct buffer *out, goss_error *error)
{
    if (fits_64_bits(node))
        return buffer_append(out, node->text, node->size, error);
    struct decimal decimal;
    decimal_of(&decimal, node->text, node->size);
    double value = decimal_value(&decimal);
    if (value > 1.7976931348623157e308)
        return error_set(error, GOSS_E_FORMAT, "the number %.*s is out of range", (int)node->size, node->text);
    if (value == 0)
        decimal.n = 0;
    else
        decimal_shorten(&decimal, value);
    return write_decimal(out, &decimal, error);
}

/* A value up to its children: scalars whole, of arrays and objects the opening bracket. */
static goss_status write_head(const struct json_node *node, struct buffer *out, goss_error *error)
{
    switch (node->kind) {
    case JSON_TREE_NULL: return buffer_append_text(out, "null", error);
    case JSON_TREE_FALSE: return buffer_append_text(out, "false", error);
    case JSON_TREE_TRUE: return buffer_append_text(out, "true", error);
    case JSON_TREE_NUMBER: return write_number(node, out, error);
    case JSON_TREE_STRING: return json_write_string(out, node->text, node->size, error);
    case JSON_TREE_ARRAY: return buffer_append_text(out, "[", error);
    case JSON_TREE_OBJECT: break;
    }
    return buffer_append_text(out, "{", error);
}

goss_status json_tree_write(const struct json_node *node, struct buffer *out, goss_error *error)
{
    const struct json_node *at = node;
    goss_status status = GOSS_OK;
    while (status == GOSS_OK) {
        if (at != node && at->key) {
            status = json_write_string(out, at->key, at->key_size, error);
            status = status ? status : buffer_append(out, ":", 1, error);
        }
        status = status ? status : write_head(at, out, error);
        if (at->child) {
            at = at->child;
            continue;
        }
        if (status == GOSS_OK && at->kind >= JSON_TREE_ARRAY)
            status = buffer_append_text(out, at->kind == JSON_TREE_ARRAY ? "]" : "}", error);
        while (status == GOSS_OK && at != node && !at->next) {
            at = at->parent;
            status = buffer_append_text(out, at->kind == JSON_TREE_ARRAY ? "]" : "}", error);
        }
        if (at == node)
            return status;
        status = status ? status : buffer_append(out, ",", 1, error);
        at = at->next;
    }
    return status;
}
