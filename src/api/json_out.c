#include "api/json_out.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/json_tree.h"

static void put(struct json_out *json, const char *text, size_t size)
{
    if (json->status == GOSS_OK)
        json->status = buffer_append(json->out, text, size, json->error);
}

static void put_string(struct json_out *json, const char *text, size_t size)
{
    if (json->status == GOSS_OK)
        json->status = json_write_string(json->out, text, size, json->error);
}

/* What stands before every value: the comma and the key. */
static void begin(struct json_out *json, const char *key)
{
    if (json->comma)
        put(json, ",", 1);
    json->comma = true;
    if (key) {
        put_string(json, key, strlen(key));
        put(json, ":", 1);
    }
}

void json_out_open(struct json_out *json, const char *key, char bracket)
{
    begin(json, key);
    put(json, &bracket, 1);
    json->comma = false;
}

void json_out_close(struct json_out *json, char bracket)
{
    put(json, &bracket, 1);
    json->comma = true;
}

void json_out_bytes(struct json_out *json, const char *key, const void *text, size_t size)
{
    begin(json, key);
    put_string(json, text, size);
}

void json_out_text(struct json_out *json, const char *key, const char *text)
{
    if (text)
        json_out_bytes(json, key, text, strlen(text));
    else
        json_out_null(json, key);
}

void json_out_raw(struct json_out *json, const char *key, const char *text, size_t size)
{
    begin(json, key);
    if (!text) {
        put(json, "null", 4);
        return;
    }
    for (size_t done = 0, n; done < size; done += n) {
        bool blank = text[done] == '\n' || text[done] == '\r';
        n = 1;
        while (!blank && done + n < size && text[done + n] != '\n' && text[done + n] != '\r')
            n++;
        put(json, blank ? " " : text + done, n);
    }
}

void json_out_null(struct json_out *json, const char *key)
{
    json_out_raw(json, key, NULL, 0);
}

void json_out_bool(struct json_out *json, const char *key, bool value)
{
    json_out_raw(json, key, value ? "true" : "false", value ? 4 : 5);
}

void json_out_integer(struct json_out *json, const char *key, long long value)
{
    char text[24];
    json_out_raw(json, key, text, (size_t)snprintf(text, sizeof text, "%lld", value));
}

void json_out_number(struct json_out *json, const char *key, double value)
{
    char text[40];
    int n = 0;
    for (int digits = 1; digits <= 17; digits++) {
        n = snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    json_out_raw(json, key, isfinite(value) ? text : "0", isfinite(value) ? (size_t)n : 1);
}

void sse_begin(struct json_out *json, const char *name)
{
    json->comma = false;
    if (name) {
        put(json, "event: ", 7);
        put(json, name, strlen(name));
        put(json, "\n", 1);
    }
    put(json, "data: ", 6);
}

void line_begin(struct json_out *json)
{
    json->comma = false;
}

void line_end(struct json_out *json)
{
    put(json, "\n", 1);
}

void sse_end(struct json_out *json)
{
    put(json, "\n\n", 2);
}
