#include <string.h>

#include "grammar/compile.h"
#include "grammar/number.h"

/* The schema that a chain of plain references leads to. */
static struct json_node *follow(struct compiler *c, struct json_node *schema)
{
    for (int i = 0; i < 16 && json_tree_is(schema, JSON_TREE_OBJECT); i++) {
        struct json_node *target;
        if (find_reference(c, schema, &target) || !target)
            break;
        schema = target;
    }
    return schema;
}

/* The types a schema allows, its listed values included. */
static int types_allowed(struct compiler *c, struct json_node *schema)
{
    int types = TYPE_ANY, listed = 0;
    const struct item item = {schema, 0};
    if (json_tree_is(schema, JSON_TREE_FALSE))
        return 0;
    if (!json_tree_is(schema, JSON_TREE_OBJECT) || types_of(c, &item, &types))
        return TYPE_ANY;
    const struct json_node *constant = json_tree_get(schema, "const"), *values = json_tree_get(schema, "enum");
    if (constant)
        return types & type_of_value(constant);
    if (!json_tree_is(values, JSON_TREE_ARRAY))
        return types;
    for (const struct json_node *value = values->child; value; value = value->next)
        listed |= type_of_value(value);
    return types & listed;
}

enum { COMPARED = 100 /* values of a list; longer lists count as not disjoint */ };

/* The first of the values that a schema lists, or NULL if it allows others; *list: there are more behind it. */
static const struct json_node *listed(const struct json_node *schema, bool *list)
{
    const struct json_node *constant = json_tree_get(schema, "const"), *values = json_tree_get(schema, "enum");
    *list = !constant;
    if (constant)
        return constant;
    return json_tree_is(values, JSON_TREE_ARRAY) && values->n_child <= COMPARED ? values->child : NULL;
}

/* Whether two scalars surely differ. */
static bool scalars_differ(const struct json_node *a, const struct json_node *b)
{
    if (a->kind != b->kind)
        return true;
    if (a->kind == JSON_TREE_STRING)
        return a->size != b->size || memcmp(a->text, b->text, a->size) != 0;
    char x[NUMBER_TEXT], y[NUMBER_TEXT];
    bool integer;
    return a->kind == JSON_TREE_NUMBER && number_plain((struct number_text){a->text, a->size}, x, &integer) &&
           number_plain((struct number_text){b->text, b->size}, y, &integer) && strcmp(x, y) != 0;
}

/* Both list values, and none is in both lists. */
static bool lists_differ(struct compiler *c, const struct json_node *a, const struct json_node *b)
{
    bool more_a, more_b;
    const struct json_node *first = listed(b, &more_b);
    const struct json_node *x = listed(a, &more_a);
    if (!x || !first)
        return false;
    for (; x; x = more_a ? x->next : NULL)
        for (const struct json_node *y = first; y; y = more_b ? y->next : NULL) {
            c->grammar->store.work++;
            if (!scalars_differ(x, y))
                return false;
        }
    return true;
}

static bool values_differ(struct compiler *c, struct json_node *a, struct json_node *b)
{
    return (types_allowed(c, a) & types_allowed(c, b)) == 0 || lists_differ(c, a, b);
}

static bool requires(struct compiler *c, const struct json_node *schema, const struct json_node *property)
{
    const struct json_node *required = json_tree_get(schema, "required");
    for (const struct json_node *name = json_tree_is(required, JSON_TREE_ARRAY) ? required->child : NULL; name;
         name = name->next) {
        c->grammar->store.work++;
        if (name->kind == JSON_TREE_STRING && name->size == property->key_size &&
            memcmp(name->text, property->key, name->size) == 0)
            return true;
    }
    return false;
}

/* A key that `a` requires, and that `b` forbids or gives other values. */
static bool objects_differ(struct compiler *c, const struct json_node *a, const struct json_node *b)
{
    const struct json_node *properties = json_tree_get(a, "properties"), *others = json_tree_get(b, "properties");
    bool closed = json_tree_is(json_tree_get(b, "additionalProperties"), JSON_TREE_FALSE) &&
                  !json_tree_get(b, "patternProperties");
    for (struct json_node *property = json_tree_is(properties, JSON_TREE_OBJECT) ? properties->child : NULL; property;
         property = property->next) {
        if (!requires(c, a, property))
            continue;
        struct json_node *other = json_tree_find(others, property->key, property->key_size);
        if (other ? values_differ(c, follow(c, property), follow(c, other)) : closed)
            return true;
    }
    return false;
}

bool disjoint(struct compiler *c, struct json_node *a, struct json_node *b)
{
    a = follow(c, a);
    b = follow(c, b);
    int common = types_allowed(c, a) & types_allowed(c, b);
    if (common == 0 || lists_differ(c, a, b))
        return true;
    return common == TYPE_OBJECT && (objects_differ(c, a, b) || objects_differ(c, b, a));
}
