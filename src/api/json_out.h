/* JSON written front to back. Commas are put by themselves; a failure stops every later write and is kept in status. */
#ifndef API_JSON_OUT_H
#define API_JSON_OUT_H

#include <stdbool.h>

#include "base/buffer.h"

struct json_out {
    struct buffer *out;
    goss_error *error;
    goss_status status;
    bool comma; /* something stands before the place, in the same object or array */
};

/* key is NULL inside arrays and for the outermost value. Text is well-formed UTF-8. */
void json_out_open(struct json_out *json, const char *key, char bracket);     /* '{' or '[' */
void json_out_close(struct json_out *json, char bracket);                     /* '}' or ']' */
void json_out_text(struct json_out *json, const char *key, const char *text); /* NULL becomes null */
void json_out_bytes(struct json_out *json, const char *key, const void *text, size_t size);
void json_out_integer(struct json_out *json, const char *key, long long value);
void json_out_number(struct json_out *json, const char *key, double value); /* finite; shortest digits that read back */
void json_out_bool(struct json_out *json, const char *key, bool value);
void json_out_null(struct json_out *json, const char *key);
/* JSON text as it is, but on one line: what breaks lines in it stands between values. NULL becomes null. */
void json_out_raw(struct json_out *json, const char *key, const char *text, size_t size);

/* One server-sent event around JSON that contains no newline: sse_begin writes "event: NAME\ndata: ", sse_end the blank
 * line. name may be NULL. */
void sse_begin(struct json_out *json, const char *name);
void sse_end(struct json_out *json);
/* The same on a line of its own. */
void line_begin(struct json_out *json);
void line_end(struct json_out *json);

#endif
