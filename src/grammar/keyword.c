#include <string.h>

#include "grammar/compile.h"

/* Keywords by what becomes of them. */
enum use {
    USE_NOTE,    /* says nothing about the value */
    USE_REFER,   /* leads to other schemas that apply as well */
    USE_TYPE,    /* the value's type, or the values themselves */
    USE_RULE,    /* a rule */
    USE_REFUSED, /* a rule that cannot be followed */
};

static const struct keyword {
    const char *name;
    enum use use;
} keywords[] = {
    {"$schema", USE_NOTE},
    {"$comment", USE_NOTE},
    {"$defs", USE_NOTE},
    {"definitions", USE_NOTE},
    {"$anchor", USE_NOTE},
    {"$id", USE_NOTE},
    {"title", USE_NOTE},
    {"description", USE_NOTE},
    {"default", USE_NOTE},
    {"examples", USE_NOTE},
    {"example", USE_NOTE},
    {"deprecated", USE_NOTE},
    {"readOnly", USE_NOTE},
    {"writeOnly", USE_NOTE},
    {"contentEncoding", USE_NOTE},
    {"contentMediaType", USE_NOTE},
    {"contentSchema", USE_NOTE},
    {"discriminator", USE_NOTE}, /* of OpenAPI, beside oneOf */
    {"$ref", USE_REFER},
    {"allOf", USE_REFER},
    {"type", USE_TYPE},
    {"enum", USE_TYPE},
    {"const", USE_TYPE},
    {"anyOf", USE_RULE},
    {"oneOf", USE_RULE},
    {"not", USE_RULE},
    {"properties", USE_RULE},
    {"required", USE_RULE},
    {"additionalProperties", USE_RULE},
    {"patternProperties", USE_RULE},
    {"propertyNames", USE_RULE},
    {"minProperties", USE_RULE},
    {"maxProperties", USE_RULE},
    {"items", USE_RULE},
    {"prefixItems", USE_RULE},
    {"additionalItems", USE_RULE},
    {"minItems", USE_RULE},
    {"maxItems", USE_RULE},
    {"minLength", USE_RULE},
    {"maxLength", USE_RULE},
    {"pattern", USE_RULE},
    {"format", USE_RULE},
    {"minimum", USE_RULE},
    {"maximum", USE_RULE},
    {"exclusiveMinimum", USE_RULE},
    {"exclusiveMaximum", USE_RULE},
    {"multipleOf", USE_RULE},
    {"uniqueItems", USE_REFUSED},
    {"contains", USE_REFUSED},
    {"minContains", USE_REFUSED},
    {"maxContains", USE_REFUSED},
    {"dependentRequired", USE_REFUSED},
    {"dependentSchemas", USE_REFUSED},
    {"dependencies", USE_REFUSED},
    {"if", USE_REFUSED},
    {"then", USE_REFUSED},
    {"else", USE_REFUSED},
    {"unevaluatedItems", USE_REFUSED},
    {"unevaluatedProperties", USE_REFUSED},
    {"$dynamicRef", USE_REFUSED},
    {"$dynamicAnchor", USE_REFUSED},
    {"$recursiveRef", USE_REFUSED},
    {"$recursiveAnchor", USE_REFUSED},
    {"$vocabulary", USE_REFUSED},
};

static const struct keyword *find_keyword(const struct json_node *member)
{
    for (size_t i = 0; i < sizeof keywords / sizeof keywords[0]; i++)
        if (strlen(keywords[i].name) == member->key_size &&
            memcmp(keywords[i].name, member->key, member->key_size) == 0)
            return &keywords[i];
    return NULL;
}

/* Some rules are refused only when they ask for something. */
static bool asks_nothing(const struct keyword *keyword, const struct json_node *value)
{
    return strcmp(keyword->name, "uniqueItems") == 0 && value->kind == JSON_TREE_FALSE;
}

goss_status check_keywords(struct compiler *c, struct json_node *schema)
{
    if (schema->mark)
        return GOSS_OK;
    schema->mark = true;
    for (const struct json_node *member = schema->child; member; member = member->next) {
        const struct keyword *keyword = find_keyword(member);
        if (!keyword && (member->key_size < 2 || memcmp(member->key, "x-", 2) != 0))
            return compile_error(c, member, NULL, GOSS_E_UNSUPPORTED, "an unknown keyword");
        if (keyword && keyword->use == USE_REFUSED && !asks_nothing(keyword, member))
            return compile_error(c, member, NULL, GOSS_E_UNSUPPORTED, "not supported");
        if (keyword && strcmp(keyword->name, "$id") == 0 && schema->parent)
            return compile_error(c, member, NULL, GOSS_E_UNSUPPORTED, "only the outermost schema may have one");
    }
    return GOSS_OK;
}

static bool uses(const struct item *item, enum use least)
{
    if (item->flags & ITEM_VALUE)
        return true;
    for (const struct json_node *member = item->json->child; member; member = member->next) {
        const struct keyword *keyword = find_keyword(member);
        if (!keyword || keyword->use < least)
            continue;
        if ((item->flags & SKIP_ANY_OF && strcmp(keyword->name, "anyOf") == 0) ||
            (item->flags & SKIP_ONE_OF && strcmp(keyword->name, "oneOf") == 0) || keyword->use == USE_REFUSED)
            continue;
        return true;
    }
    return false;
}

bool constrains(const struct item *item)
{
    return uses(item, USE_TYPE);
}

bool constrains_beyond_type(const struct item *item)
{
    return uses(item, USE_RULE);
}

int type_of_value(const struct json_node *value)
{
    static const int type[] = {
        [JSON_TREE_NULL] = TYPE_NULL,     [JSON_TREE_FALSE] = TYPE_BOOLEAN, [JSON_TREE_TRUE] = TYPE_BOOLEAN,
        [JSON_TREE_NUMBER] = TYPE_NUMBER, [JSON_TREE_STRING] = TYPE_STRING, [JSON_TREE_ARRAY] = TYPE_ARRAY,
        [JSON_TREE_OBJECT] = TYPE_OBJECT};
    return type[value->kind];
}

static bool add_type(const struct json_node *name, int *types)
{
    static const struct {
        const char *name;
        int types;
    } known[] = {{"null", TYPE_NULL},     {"boolean", TYPE_BOOLEAN}, {"integer", TYPE_INTEGER}, {"number", TYPE_NUMBER},
                 {"string", TYPE_STRING}, {"array", TYPE_ARRAY},     {"object", TYPE_OBJECT}};
    for (size_t i = 0; json_tree_is(name, JSON_TREE_STRING) && i < sizeof known / sizeof known[0]; i++)
        if (strlen(known[i].name) == name->size && memcmp(known[i].name, name->text, name->size) == 0) {
            *types |= known[i].types;
            return true;
        }
    return false;
}

static goss_status read_types(struct compiler *c, const struct json_node *schema, int *types)
{
    const struct json_node *type = json_tree_get(schema, "type");
    *types = type ? 0 : TYPE_ANY;
    if (!type || add_type(type, types))
        return GOSS_OK;
    if (type->kind != JSON_TREE_ARRAY)
        return compile_error(c, type, NULL, GOSS_E_FORMAT, "not the name of a type, or a list of them");
    for (const struct json_node *name = type->child; name; name = name->next)
        if (!add_type(name, types))
            return compile_error(c, name, NULL, GOSS_E_FORMAT, "not the name of a type");
    return GOSS_OK;
}

goss_status types_of(struct compiler *c, const struct item *item, int *types)
{
    *types = TYPE_ANY;
    if (item->flags & ITEM_VALUE) {
        *types = type_of_value(item->json);
        return GOSS_OK;
    }
    goss_status status = read_types(c, item->json, types);
    const struct json_node *not = json_tree_get(item->json, "not");
    if (status || !not )
        return status;
    int without = TYPE_ANY;
    if (not ->kind == JSON_TREE_FALSE)
        return GOSS_OK;
    if (not ->kind == JSON_TREE_OBJECT && not ->n_child == 1 && json_tree_get(not, "type"))
        status = read_types(c, not, &without);
    else if (not ->kind != JSON_TREE_TRUE && !(not ->kind == JSON_TREE_OBJECT && not ->n_child == 0))
        status = compile_error(c, not, NULL, GOSS_E_UNSUPPORTED, "supported only for types");
    *types &= ~without;
    return status;
}

goss_status read_count(struct compiler *c, const struct json_node *schema, const char *keyword, uint32_t *value)
{
    const struct json_node *node = json_tree_get(schema, keyword);
    if (!node)
        return GOSS_OK;
    int64_t number;
    size_t size = node->size; /* 2.0 is a count, too */
    while (node->kind == JSON_TREE_NUMBER && memchr(node->text, '.', node->size) && size > 2 &&
           (node->text[size - 1] == '0' || node->text[size - 1] == '.'))
        if (node->text[--size] == '.')
            break;
    struct json_node whole = *node;
    whole.size = size;
    if (!json_tree_integer(&whole, 0, INT32_MAX, &number))
        return compile_error(c, node, NULL, GOSS_E_FORMAT, "not a whole number from 0 to %d", INT32_MAX);
    *value = (uint32_t)number;
    return GOSS_OK;
}

/* ---- references ---- */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
}

/* One step of a pointer, from *at behind a '/' up to the next, without its escapes. */
static size_t read_step(const char *text, size_t size, size_t *at, char *step)
{
    size_t n = 0;
    for (; *at < size && text[*at] != '/'; (*at)++) {
        char c = text[*at];
        if (c == '%' && *at + 2 < size && hex_digit(text[*at + 1]) >= 0 && hex_digit(text[*at + 2]) >= 0) {
            c = (char)(16 * hex_digit(text[*at + 1]) + hex_digit(text[*at + 2]));
            *at += 2;
        } else if (c == '~' && *at + 1 < size && (text[*at + 1] == '0' || text[*at + 1] == '1')) {
            c = text[*at + 1] == '0' ? '~' : '/';
            *at += 1;
        }
        step[n++] = c;
    }
    return n;
}

static struct json_node *child_at(struct compiler *c, struct json_node *parent, const char *step, size_t size)
{
    if (parent->kind != JSON_TREE_ARRAY)
        return json_tree_find(parent, step, size);
    const struct json_node index = {.kind = JSON_TREE_NUMBER, .text = step, .size = size};
    int64_t number;
    struct json_node *child = parent->child;
    if (size == 0 || !json_tree_integer(&index, 0, INT32_MAX, &number))
        return NULL;
    for (; child && number > 0; number--) {
        child = child->next;
        c->grammar->store.work++;
    }
    return child;
}

/* The schema with this $anchor. Walks the whole tree. */
static struct json_node *find_anchor(struct compiler *c, const char *name, size_t size)
{
    for (struct json_node *at = c->root; at;) {
        c->grammar->store.work += STEPS_MEMBER;
        const struct json_node *anchor = json_tree_get(at, "$anchor");
        if (json_tree_is(anchor, JSON_TREE_STRING) && anchor->size == size && memcmp(anchor->text, name, size) == 0)
            return at;
        if (at->child) {
            at = at->child;
            continue;
        }
        while (at && !at->next)
            at = at->parent;
        at = at ? at->next : NULL;
    }
    return NULL;
}

goss_status find_reference(struct compiler *c, struct json_node *schema, struct json_node **target)
{
    const struct json_node *ref = json_tree_get(schema, "$ref");
    *target = NULL;
    if (!ref)
        return GOSS_OK;
    if (ref->kind != JSON_TREE_STRING)
        return compile_error(c, ref, NULL, GOSS_E_FORMAT, "not a string");
    if (ref->size == 0 || ref->text[0] != '#')
        return compile_error(c, ref, NULL, GOSS_E_UNSUPPORTED, "supported only inside the schema ('#...')");
    char *step = arena_alloc(&c->scratch, ref->size);
    if (!step)
        return error_memory(c->error, ref->size, "a schema");
    struct json_node *at = c->root;
    if (ref->size > 1 && ref->text[1] != '/')
        at = find_anchor(c, ref->text + 1, ref->size - 1);
    else
        for (size_t i = 1; at && i < ref->size;) {
            i++; /* the slash */
            size_t n = read_step(ref->text, ref->size, &i, step);
            at = child_at(c, at, step, n);
        }
    if (!at)
        return compile_error(c, ref, NULL, GOSS_E_FORMAT, "leads nowhere");
    *target = at;
    return GOSS_OK;
}
