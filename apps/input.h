/* What a command reads: standard input, JSON, token ids. */
#ifndef APPS_INPUT_H
#define APPS_INPUT_H

#include <jansson.h>

#include "base/buffer.h"
#include "text/tokenizer.h"

/* All of standard input, at most 1 GiB; the buffer is initialised here and freed by the caller, also on failure. */
goss_status input_read(struct buffer *bytes, goss_error *error);

/* Standard input as one JSON object or array; *json is a new reference. */
goss_status input_json(json_t **json, goss_error *error);

/* A JSON array of whole numbers 0 .. 2^31-1. `where` is named in messages. */
goss_status ids_from_json(const json_t *array, const char *where, struct token_list *ids, goss_error *error);
json_t *ids_to_json(const int32_t *id, size_t n); /* new reference; NULL when memory is out */

/* Prints one line of JSON and frees it. NULL is reported as memory being out. */
goss_status output_json(json_t *json, goss_error *error);

#endif
