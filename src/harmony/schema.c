#include "harmony/schema.h"

#include <string.h>

/* What is being printed around the current place. An object prints its properties, a oneOf its variants; both wait in
 * `current` until that child's type is complete. */
enum frame_kind { FRAME_ARRAY, FRAME_OBJECT, FRAME_ONE_OF, FRAME_PROPERTY_ONE_OF };

struct frame {
    enum frame_kind kind;
    const struct json_node *schema;    /* of the array, object or oneOf */
    struct json_node *first, *current; /* the children in order; the one whose type is being printed */
    size_t indent;                     /* of properties and variants, in blanks */
    size_t begin;                      /* where in the output the type of `current` begins */
};

/* A failure stops every later write and is returned in the end. */
struct printer {
    struct buffer *out;
    goss_error *error;
    goss_status status;
    size_t depth;
    struct frame frame[JSON_DEPTH + 1];
};

static void put(struct printer *printer, const char *text, size_t n)
{
    if (printer->status == GOSS_OK)
        printer->status = buffer_append(printer->out, text, n, printer->error);
}

static void put_text(struct printer *printer, const char *text)
{
    put(printer, text, strlen(text));
}

static void put_string(struct printer *printer, const struct json_node *string)
{
    put(printer, string->text, string->size);
}

static void put_indent(struct printer *printer, size_t indent)
{
    while (indent-- > 0)
        put(printer, " ", 1);
}

static void put_comment(struct printer *printer, size_t indent, const struct json_node *string)
{
    put_indent(printer, indent);
    put_text(printer, "// ");
    put_string(printer, string);
    put_text(printer, "\n");
}

/* A member that is of the kind, or NULL. */
static struct json_node *member(const struct json_node *schema, const char *key, enum json_kind kind)
{
    struct json_node *node = json_tree_get(schema, key);
    return json_tree_is(node, kind) ? node : NULL;
}

static bool has_enum(const struct json_node *schema)
{
    const struct json_node *values = member(schema, "enum", JSON_TREE_ARRAY);
    return values && values->child;
}

static bool same_string(const struct json_node *a, const struct json_node *b)
{
    return a && b && a->size == b->size && memcmp(a->text, b->text, a->size) == 0;
}

/* "default: " and the value: strings in quotes without escapes, or bare beside an enum; in a oneOf that is no
 * property's (kind FRAME_ONE_OF), beside an enum as JSON. */
static void put_default(struct printer *printer, const struct json_node *schema, const struct json_node *value,
                        enum frame_kind kind)
{
    put_text(printer, "default: ");
    if (value->kind != JSON_TREE_STRING || (has_enum(schema) && kind == FRAME_ONE_OF)) {
        if (printer->status == GOSS_OK)
            printer->status = json_tree_write(value, printer->out, printer->error);
        return;
    }
    const char *quote = has_enum(schema) ? "" : "\"";
    put_text(printer, quote);
    put_string(printer, value);
    put_text(printer, quote);
}

/* The string members of an array joined by " | ", each between quotes; the number of members written. */
static size_t put_alternatives(struct printer *printer, const struct json_node *array, const char *quote)
{
    size_t n = 0;
    for (const struct json_node *node = array->child; node; node = node->next) {
        if (node->kind != JSON_TREE_STRING)
            continue;
        put_text(printer, n++ ? " | " : "");
        put_text(printer, quote);
        bool integer = !*quote && node->size == 7 && memcmp(node->text, "integer", 7) == 0;
        integer ? put_text(printer, "number") : put_string(printer, node);
        put_text(printer, quote);
    }
    return n;
}

static void put_null_if_nullable(struct printer *printer, const struct json_node *schema, size_t begin)
{
    const struct buffer *out = printer->out;
    if (!json_tree_is(json_tree_get(schema, "nullable"), JSON_TREE_TRUE) || printer->status)
        return;
    if (!memmem(out->data + begin, out->size - begin, "null", 4))
        put_text(printer, " | null");
}

static void push(struct printer *printer, enum frame_kind kind, const struct json_node *schema, struct json_node *first,
                 size_t indent)
{
    if (printer->depth == JSON_DEPTH + 1) {
        printer->status = error_set(printer->error, GOSS_E_LIMIT, "a schema nested deeper than %d levels", JSON_DEPTH);
        return;
    }
    printer->frame[printer->depth++] = (struct frame){.kind = kind, .schema = schema, .first = first, .indent = indent};
}

/* Required properties are marked once, so that an object of many properties takes no quadratic time. */
static void begin_object(struct printer *printer, const struct json_node *schema, size_t indent)
{
    const struct json_node *description = member(schema, "description", JSON_TREE_STRING);
    struct json_node *properties = member(schema, "properties", JSON_TREE_OBJECT);
    const struct json_node *required = member(schema, "required", JSON_TREE_ARRAY);
    for (const struct json_node *name = required ? required->child : NULL; name; name = name->next) {
        struct json_node *property =
            name->kind == JSON_TREE_STRING ? json_tree_find(properties, name->text, name->size) : NULL;
        if (property)
            property->mark = true;
    }
    if (description)
        put_comment(printer, indent, description);
    put_text(printer, "{\n");
    push(printer, FRAME_OBJECT, schema, properties ? properties->child : NULL, indent);
}

/* Prints a type that has no children, or opens the frame that will print them. */
static void begin_type(struct printer *printer, const struct json_node *schema, size_t indent)
{
    const struct json_node *one_of = member(schema, "oneOf", JSON_TREE_ARRAY);
    const struct json_node *types = member(schema, "type", JSON_TREE_ARRAY);
    const struct json_node *type = member(schema, "type", JSON_TREE_STRING);
    if (one_of) {
        push(printer, FRAME_ONE_OF, schema, one_of->child, indent);
        return;
    }
    if (types && put_alternatives(printer, types, "") > 0)
        return;
    const char *name = type && !memchr(type->text, 0, type->size) ? type->text : "";
    if (strcmp(name, "object") == 0) {
        begin_object(printer, schema, indent);
    } else if (strcmp(name, "string") == 0) {
        const struct json_node *values = member(schema, "enum", JSON_TREE_ARRAY);
        if (!values || put_alternatives(printer, values, "\"") == 0)
            put_text(printer, "string");
    } else if (strcmp(name, "number") == 0 || strcmp(name, "integer") == 0) {
        put_text(printer, "number");
    } else if (strcmp(name, "boolean") == 0) {
        put_text(printer, "boolean");
    } else if (strcmp(name, "array") == 0) {
        struct json_node *items = json_tree_get(schema, "items");
        if (items)
            push(printer, FRAME_ARRAY, schema, items, indent);
        else
            put_text(printer, "Array<any>");
    } else {
        put_text(printer, "any");
    }
}

static void put_examples(struct printer *printer, const struct json_node *examples, size_t indent)
{
    put_indent(printer, indent);
    put_text(printer, "// Examples:\n");
    for (const struct json_node *e = examples->child; e; e = e->next) {
        if (e->kind != JSON_TREE_STRING)
            continue;
        put_indent(printer, indent);
        put_text(printer, "// - \"");
        put_string(printer, e);
        put_text(printer, "\"\n");
    }
}

/* The comments above a property. With a oneOf, its description and default come last, and the description only if the
 * first variant does not say the same. */
static void put_property_comments(struct printer *printer, const struct json_node *property, size_t indent,
                                  const struct json_node *one_of)
{
    const struct json_node *title = member(property, "title", JSON_TREE_STRING);
    const struct json_node *description = member(property, "description", JSON_TREE_STRING);
    const struct json_node *examples = member(property, "examples", JSON_TREE_ARRAY);
    const struct json_node *value = json_tree_get(property, "default");
    if (title) {
        put_comment(printer, indent, title);
        put_indent(printer, indent);
        put_text(printer, "//\n");
    }
    if (description && !json_tree_get(property, "oneOf"))
        put_comment(printer, indent, description);
    if (examples && examples->child)
        put_examples(printer, examples, indent);
    if (one_of && description && !same_string(description, member(one_of->child, "description", JSON_TREE_STRING)))
        put_comment(printer, indent, description);
    if (one_of && value) {
        put_indent(printer, indent);
        put_text(printer, "// ");
        put_default(printer, property, value, FRAME_OBJECT);
        put_text(printer, "\n");
    }
}

static void begin_property(struct printer *printer, struct frame *frame)
{
    const struct json_node *property = frame->current, *one_of = member(property, "oneOf", JSON_TREE_ARRAY);
    size_t indent = frame->indent;
    put_property_comments(printer, property, indent, one_of);
    put_indent(printer, indent);
    put(printer, property->key, property->key_size);
    put_text(printer, property->mark ? ":" : "?:");
    put_text(printer, one_of ? "\n" : " ");
    frame->begin = printer->out->size;
    if (one_of)
        push(printer, FRAME_PROPERTY_ONE_OF, property, one_of->child, indent);
    else
        begin_type(printer, property, indent + 4);
}

static void end_property(struct printer *printer, const struct frame *frame)
{
    const struct json_node *property = frame->current, *value = json_tree_get(property, "default");
    if (!member(property, "oneOf", JSON_TREE_ARRAY)) {
        put_null_if_nullable(printer, property, frame->begin);
        put_text(printer, ",");
        if (value && !json_tree_get(property, "oneOf")) { /* one that is no array still hides the default */
            put_text(printer, " // ");
            put_default(printer, property, value, FRAME_OBJECT);
        }
    }
    put_text(printer, "\n");
}

static void begin_variant(struct printer *printer, struct frame *frame)
{
    if (frame->kind == FRAME_ONE_OF)
        put_text(printer, "\n");
    put_indent(printer, frame->indent);
    put_text(printer, " | ");
    frame->begin = printer->out->size;
    begin_type(printer, frame->current, frame->indent + 3);
}

/* After a variant's type: its description, unless the property above has said it, and its default. */
static void end_variant(struct printer *printer, const struct frame *frame)
{
    const struct json_node *variant = frame->current, *value = json_tree_get(variant, "default");
    const struct json_node *description = member(variant, "description", JSON_TREE_STRING);
    const struct json_node *above =
        frame->kind == FRAME_PROPERTY_ONE_OF ? member(frame->schema, "description", JSON_TREE_STRING) : NULL;
    put_null_if_nullable(printer, variant, frame->begin);
    if (above && (variant == variant->parent->child || same_string(above, description)))
        description = NULL;
    if (description || value)
        put_text(printer, " // ");
    if (description)
        put_string(printer, description);
    if (description && value)
        put_text(printer, " ");
    if (value)
        put_default(printer, variant, value, frame->kind);
    if (frame->kind == FRAME_PROPERTY_ONE_OF)
        put_text(printer, "\n");
}

/* All children are printed. */
static void end_frame(struct printer *printer, const struct frame *frame)
{
    if (frame->kind == FRAME_ARRAY) {
        put_text(printer, "[]");
    } else if (frame->kind == FRAME_OBJECT) {
        put_indent(printer, frame->indent);
        put_text(printer, "}");
    } else if (frame->kind == FRAME_PROPERTY_ONE_OF) {
        put_indent(printer, frame->indent);
        put_text(printer, ",");
    }
}

/* Ends the child that has been printed and begins the next; false when there is none. */
static bool next_child(struct printer *printer, struct frame *frame)
{
    struct json_node *next = frame->current ? frame->current->next : frame->first;
    if (frame->kind == FRAME_ARRAY)
        next = frame->current ? NULL : frame->first; /* `items` is a member, and what follows it is no second item */
    if (frame->current && frame->kind == FRAME_OBJECT)
        end_property(printer, frame);
    else if (frame->current && frame->kind != FRAME_ARRAY)
        end_variant(printer, frame);
    frame->current = next;
    if (!next)
        return false;
    if (frame->kind == FRAME_OBJECT)
        begin_property(printer, frame);
    else if (frame->kind == FRAME_ARRAY)
        begin_type(printer, next, frame->indent);
    else
        begin_variant(printer, frame);
    return true;
}

goss_status schema_write(struct json_node *schema, struct buffer *out, goss_error *error)
{
    struct printer printer = {.out = out, .error = error};
    begin_type(&printer, schema, 0);
    while (printer.depth > 0 && printer.status == GOSS_OK) {
        size_t depth = printer.depth;
        if (next_child(&printer, &printer.frame[depth - 1]))
            continue;
        end_frame(&printer, &printer.frame[depth - 1]);
        printer.depth = depth - 1;
    }
    return printer.status;
}
