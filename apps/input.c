#include "input.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { INPUT_LIMIT = 1 << 30, INPUT_STEP = 1 << 16 };

goss_status input_read(struct buffer *bytes, goss_error *error)
{
    goss_status status = GOSS_OK;
    buffer_init(bytes, INPUT_LIMIT);
    for (;;) {
        status = buffer_reserve(bytes, INPUT_STEP, error);
        if (status == GOSS_E_LIMIT)
            return error_set(error, GOSS_E_LIMIT, "standard input: more than %d bytes", INPUT_LIMIT - INPUT_STEP);
        if (status)
            return status;
        ssize_t n = read(STDIN_FILENO, bytes->data + bytes->size, INPUT_STEP);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(error, "standard input", "cannot read");
        if (n == 0)
            return GOSS_OK;
        bytes->size += (size_t)n;
    }
}

goss_status input_json(json_t **json, goss_error *error)
{
    struct buffer bytes;
    json_error_t found;
    *json = NULL;
    goss_status status = input_read(&bytes, error);
    if (!status) {
        *json = json_loadb((const char *)bytes.data, bytes.size, JSON_ALLOW_NUL, &found);
        if (!*json)
            status = error_set(error, GOSS_E_FORMAT, "standard input: line %d, column %d: not JSON: %s", found.line,
                               found.column, found.text);
    }
    buffer_free(&bytes);
    return status;
}

goss_status ids_from_json(const json_t *array, const char *where, struct token_list *ids, goss_error *error)
{
    if (!json_is_array(array))
        return error_set(error, GOSS_E_FORMAT, "%s: not an array of token ids", where);
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *item = json_array_get(array, i);
        json_int_t value = json_integer_value(item);
        if (!json_is_integer(item) || value < 0 || value > INT32_MAX)
            return error_set(error, GOSS_E_FORMAT, "%s[%zu]: not a whole number from 0 to %d", where, i, INT32_MAX);
        int32_t id = (int32_t)value;
        goss_status status = token_list_append(ids, &id, 1, error);
        if (status)
            return status;
    }
    return GOSS_OK;
}

json_t *ids_to_json(const int32_t *id, size_t n)
{
    json_t *array = json_array();
    for (size_t i = 0; array && i < n; i++)
        if (json_array_append_new(array, json_integer(id[i]))) {
            json_decref(array);
            return NULL;
        }
    return array;
}

goss_status output_json(json_t *json, goss_error *error)
{
    if (!json)
        return error_memory(error, 0, "the JSON output");
    int failed = json_dumpf(json, stdout, JSON_COMPACT);
    json_decref(json);
    return failed || putchar('\n') == EOF ? error_errno(error, "standard output", "cannot write") : GOSS_OK;
}
