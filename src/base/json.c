#include "base/json.h"

#include <stdbool.h>
#include <stdint.h>

/* jansson recurses once per level, so the depth is checked before it sees the text. */
static bool too_deep(const uint8_t *p, size_t n)
{
    int depth = 0;
    bool inside = false;
    for (size_t i = 0; i < n; i++) {
        if (inside && p[i] == '\\')
            i++;
        else if (p[i] == '"')
            inside = !inside;
        else if (!inside && (p[i] == '{' || p[i] == '['))
            depth++;
        else if (!inside && (p[i] == '}' || p[i] == ']'))
            depth--;
        if (depth > JSON_MAX_DEPTH)
            return true;
    }
    return false;
}

goss_status json_parse(json_t **json, const void *bytes, size_t size, const char *file, goss_error *error)
{
    json_error_t where;
    *json = NULL;
    if (too_deep(bytes, size))
        return error_set(error, GOSS_E_LIMIT, "%s: JSON nested more than %d deep", file, JSON_MAX_DEPTH);
    *json = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &where);
    if (!*json && where.line < 0) /* it did not begin to read */
        return error_memory(error, size, file);
    if (!*json)
        return error_set(error, GOSS_E_FORMAT, "%s: bad JSON at line %d, column %d: %s", file, where.line, where.column,
                         where.text);
    return GOSS_OK;
}
