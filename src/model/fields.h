/* Reading named fields one after the other: the first fault is kept, later calls do nothing, the status is looked at
 * once at the end. Private to the readers of configurations. */
#ifndef MODEL_FIELDS_H
#define MODEL_FIELDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "weights/gguf.h"

struct fields {
    const char *file;
    const json_t *json;      /* an object, or NULL: then the fields are keys of gguf */
    const struct gguf *gguf; /* keys are looked up as PREFIX.KEY */
    const char *prefix;
    goss_status status;
    goss_error *error;
};

/* Keeps the first fault; the message names file and field. */
void fields_refuse(struct fields *fields, const char *key, const char *why);
/* Present, and not null. */
bool fields_have(const struct fields *fields, const char *key);

/* A missing field is a fault. The value is 0 after a fault. */
int fields_integer(struct fields *fields, const char *key, int64_t least, int64_t most);
double fields_number(struct fields *fields, const char *key);
/* The same with a value for when the field is missing. */
double fields_number_or(struct fields *fields, const char *key, double missing);
/* If the field is there, it must have this value. */
void fields_expect_text(struct fields *fields, const char *key, const char *expected);
void fields_expect_number(struct fields *fields, const char *key, double expected);

#endif
