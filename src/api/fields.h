/* Reading the body of a request: strict JSON with the limits of every wire, and members by type. A member that is
 * absent or null counts as not given; one of the wrong type or range is refused with its path. The first refusal is
 * kept and every later step does nothing, so a reader asks once at its end. */
#ifndef API_FIELDS_H
#define API_FIELDS_H

#include "api/error.h"
#include "text/json_tree.h"

enum {
    API_BODY_BYTES = 16 << 20,
    API_JSON_DEPTH = 64,
    API_OBJECT_KEYS = 4096,
    API_JSON_VALUES = 1000000,
};

struct fields {
    struct arena *arena; /* owns what is read */
    struct api_error *error;
    goss_status status;
};

/* The root, an object. body is copied. NULL when refused: 413 for too many bytes, else 400. */
const struct json_node *fields_body(struct fields *fields, const void *body, size_t size);

/* A member, or NULL if it is not given. */
const struct json_node *field(const struct json_node *object, const char *key);
/* A member of that type, or NULL. */
const struct json_node *field_object(struct fields *fields, const struct json_node *object, const char *key);
const struct json_node *field_array(struct fields *fields, const struct json_node *object, const char *key);
const char *field_string(struct fields *fields, const struct json_node *object, const char *key);
/* The same; refused when absent. */
const char *field_required(struct fields *fields, const struct json_node *object, const char *key);
bool field_bool(struct fields *fields, const struct json_node *object, const char *key, bool absent);
int64_t field_integer(struct fields *fields, const struct json_node *object, const char *key, int64_t low, int64_t high,
                      int64_t absent);
double field_number(struct fields *fields, const struct json_node *object, const char *key, double low, double high,
                    double absent);

/* Whether a node is a string that says `text`. */
bool node_says(const struct json_node *node, const char *text);
/* Refuses with 400 at the path of a node: "PATH: what". */
void field_refuse(struct fields *fields, const struct json_node *node, const char *code, const char *what, ...)
    __attribute__((format(printf, 4, 5)));
/* Refuses with 400 at the path that a member would have. */
void field_missing(struct fields *fields, const struct json_node *object, const char *key);
/* A NUL-terminated copy of a node's JSON text, of a string; NULL for NULL. */
const char *node_source(struct fields *fields, const struct json_node *node);
void *fields_alloc(struct fields *fields, size_t count, size_t each); /* zeroed */
const char *fields_copy(struct fields *fields, const char *text, size_t size);
const char *fields_format(struct fields *fields, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* "input[2].content", from the root's point of view. */
void node_path(const struct json_node *node, char path[API_PARAM_SIZE]);

#endif
