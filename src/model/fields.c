#include "model/fields.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { KEY = 256 };

static const char *full_key(const struct fields *f, const char *key, char buffer[KEY])
{
    if (f->json)
        return key;
    (void)snprintf(buffer, KEY, "%s.%s", f->prefix, key);
    return buffer;
}

void fields_refuse(struct fields *f, const char *key, const char *why)
{
    char buffer[KEY];
    if (f->status == GOSS_OK)
        f->status =
            error_set(f->error, GOSS_E_UNSUPPORTED, "%s: field '%s' %s", f->file, full_key(f, key, buffer), why);
}

static void fault(struct fields *f, const char *key, const char *why)
{
    fields_refuse(f, key, why);
    f->status = f->status == GOSS_E_UNSUPPORTED ? GOSS_E_FORMAT : f->status;
    if (f->error)
        f->error->status = f->status;
}

bool fields_have(const struct fields *f, const char *key)
{
    char buffer[KEY];
    if (!f->json)
        return gguf_find(f->gguf, full_key(f, key, buffer)) != NULL;
    const json_t *value = json_object_get(f->json, key);
    return value && !json_is_null(value);
}

double fields_number(struct fields *f, const char *key)
{
    char buffer[KEY];
    double value = 0;
    if (f->status)
        return 0;
    if (!fields_have(f, key)) {
        fault(f, key, "is missing");
    } else if (f->json) {
        const json_t *found = json_object_get(f->json, key);
        if (json_is_number(found))
            value = json_number_value(found);
        else
            fault(f, key, "is no number");
    } else {
        f->status = gguf_number(f->gguf, full_key(f, key, buffer), &value, f->error);
    }
    if (!isfinite(value))
        fault(f, key, "is not finite");
    return f->status ? 0 : value;
}

int fields_integer(struct fields *f, const char *key, int64_t least, int64_t most)
{
    double value = fields_number(f, key);
    char why[96];
    if (f->status)
        return 0;
    if (value != rint(value) || value < (double)least || value > (double)most) {
        (void)snprintf(why, sizeof why, "is %.17g, not an integer within %lld..%lld", value, (long long)least,
                       (long long)most);
        fault(f, key, why);
        return 0;
    }
    return (int)value;
}

double fields_number_or(struct fields *f, const char *key, double missing)
{
    return fields_have(f, key) ? fields_number(f, key) : missing;
}

void fields_expect_text(struct fields *f, const char *key, const char *expected)
{
    char buffer[KEY], why[160];
    const char *text = NULL;
    uint64_t size = 0;
    if (f->status || !fields_have(f, key))
        return;
    if (f->json) {
        text = json_string_value(json_object_get(f->json, key));
        size = json_string_length(json_object_get(f->json, key));
    } else {
        f->status = gguf_text(f->gguf, full_key(f, key, buffer), &text, &size, f->error);
    }
    if (f->status == GOSS_OK && (!text || size != strlen(expected) || memcmp(text, expected, size) != 0)) {
        (void)snprintf(why, sizeof why, "is '%.*s', only '%s' is known", (int)(size < 32 ? size : 32), text ? text : "",
                       expected);
        fields_refuse(f, key, why);
    }
}

void fields_expect_number(struct fields *f, const char *key, double expected)
{
    char why[96];
    double value = fields_number_or(f, key, expected);
    if (f->status == GOSS_OK && fabs(value - expected) > 1e-6 * fabs(expected)) {
        (void)snprintf(why, sizeof why, "is %.9g, only %.9g is known", value, expected);
        fields_refuse(f, key, why);
    }
}
