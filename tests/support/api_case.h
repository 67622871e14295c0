/* A case of tests/api/vectors as JSON in and JSON out. */
#ifndef SUPPORT_API_CASE_H
#define SUPPORT_API_CASE_H

#include "base/buffer.h"

/* {"wire": "responses", .., "body": any JSON or a string that is the body, "script": [..], "open_responses", "key"} ->
 * {"http": .., "prompt": "..", "stream": "..", "object": {..}, "input_items": [..]}. The body is passed on as it is
 * written. */
void api_case_answer(const char *text, size_t size, struct buffer *out);

#endif
