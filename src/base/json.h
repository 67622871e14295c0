/* JSON from strangers, read by jansson with bounds: at most JSON_MAX_DEPTH levels, no duplicate keys, no ill-formed
 * UTF-8, no NUL, nothing after the value. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <jansson.h>
#include <stddef.h>

#include "base/error.h"

enum { JSON_MAX_DEPTH = 64 };

/* `file` is named in the message. The caller owns *json (json_decref); NULL on failure. The tree may take some forty
 * times the memory of the text, so callers bound `size`. */
goss_status json_parse(json_t **json, const void *bytes, size_t size, const char *file, goss_error *error);

#endif
