#include <stdio.h>
#include <string.h>

#include "grammar/compile.h"
#include "grammar/number.h"
#include "grammar/regex.h"

static goss_status add_text_node(struct compiler *c, int32_t choice, const struct dfa *dfa)
{
    int32_t index, node;
    if (dfa->start == DFA_DEAD)
        return GOSS_OK;
    goss_status status = new_dfa(c, dfa, &index);
    status = status ? status : new_node(c, NODE_TEXT, &node);
    if (status)
        return status;
    c->grammar->node[node].dfa = index;
    return add_leaf(c, choice, node);
}

/* Narrows *dfa, or begins it when *empty. */
static goss_status narrow(struct compiler *c, struct dfa *dfa, bool *empty, const struct dfa *rule, goss_error *inner)
{
    struct dfa both = *rule;
    goss_status status = *empty ? GOSS_OK : dfa_intersect(&both, &c->grammar->store, dfa, rule, inner);
    *dfa = both;
    *empty = false;
    return status;
}

/* ---- strings ---- */

/* Strings that an expression matches, inside their quotes. */
static goss_status narrow_by_regex(struct compiler *c, struct dfa *dfa, bool *empty, const char *regex, size_t size,
                                   bool anywhere, goss_error *inner)
{
    struct nfa nfa;
    struct dfa rule;
    nfa_open(&nfa, SPELL_JSON);
    int32_t end = nfa_state(&nfa);
    goss_status status = regex_add(&nfa, 0, end, regex, size, anywhere, inner);
    if (!nfa.status)
        nfa.mark[end] = 0;
    status = status ? status : dfa_build(&rule, &c->grammar->store, &nfa, 0, inner);
    nfa_free(&nfa);
    return status ? status : narrow(c, dfa, empty, &rule, inner);
}

/* Strings of a list, or the one. */
static goss_status narrow_by_values(struct compiler *c, struct dfa *dfa, bool *empty, const struct json_node *value,
                                    bool list, goss_error *inner)
{
    struct nfa nfa;
    struct dfa rule;
    nfa_open(&nfa, SPELL_JSON);
    int32_t end = nfa_state(&nfa);
    for (const struct json_node *each = list ? value->child : value; each; each = list ? each->next : NULL)
        if (each->kind == JSON_TREE_STRING)
            nfa_empty(&nfa, nfa_text(&nfa, 0, each->text, each->size), end);
    if (!nfa.status)
        nfa.mark[end] = 0;
    goss_status status = dfa_build(&rule, &c->grammar->store, &nfa, 0, inner);
    nfa_free(&nfa);
    return status ? status : narrow(c, dfa, empty, &rule, inner);
}

static goss_status narrow_by_item(struct compiler *c, struct dfa *dfa, bool *empty, const struct json_node *schema)
{
    goss_error inner;
    goss_status status = GOSS_OK;
    const struct json_node *pattern = json_tree_get(schema, "pattern"), *format = json_tree_get(schema, "format");
    if ((pattern && pattern->kind != JSON_TREE_STRING) || (format && format->kind != JSON_TREE_STRING))
        return compile_error(c, schema, pattern ? "pattern" : "format", GOSS_E_FORMAT, "not a string");
    if (pattern)
        status = narrow_by_regex(c, dfa, empty, pattern->text, pattern->size, true, &inner);
    if (status)
        return compile_error_at(c, pattern, NULL, &inner);
    const char *regex = format ? format_regex(format->text, format->size) : NULL;
    if (format && !regex)
        return compile_error(c, format, NULL, GOSS_E_UNSUPPORTED,
                             "only date, time, date-time, duration, email, hostname, ipv4, ipv6, uri, uuid are known");
    if (regex)
        status = narrow_by_regex(c, dfa, empty, regex, strlen(regex), false, &inner);
    if (status)
        return compile_error_at(c, format, NULL, &inner);
    const struct json_node *constant = json_tree_get(schema, "const"), *values = json_tree_get(schema, "enum");
    if (constant)
        status = narrow_by_values(c, dfa, empty, constant, false, &inner);
    if (status == GOSS_OK && values)
        status = narrow_by_values(c, dfa, empty, values, true, &inner);
    return status ? compile_error_at(c, schema, NULL, &inner) : GOSS_OK;
}

goss_status build_string(struct compiler *c, const struct item *item, int32_t n, struct dfa *dfa, bool *plain,
                         uint32_t *least, uint32_t *most)
{
    goss_status status = GOSS_OK;
    *plain = true;
    *least = 0;
    *most = NO_LIMIT;
    const struct json_node *place = n ? item[0].json : c->root;
    for (int32_t i = 0; i < n && status == GOSS_OK; i++) {
        if (item[i].flags & ITEM_VALUE)
            continue;
        uint32_t low = 0, high = NO_LIMIT;
        status = read_count(c, item[i].json, "minLength", &low);
        status = status ? status : read_count(c, item[i].json, "maxLength", &high);
        status = status ? status : narrow_by_item(c, dfa, plain, item[i].json);
        if (low || high != NO_LIMIT)
            place = item[i].json;
        *least = low > *least ? low : *least;
        *most = high < *most ? high : *most;
    }
    if (status || *plain || (*least == 0 && *most == NO_LIMIT))
        return status;
    char regex[64], end[16] = "";
    goss_error inner;
    if (*most != NO_LIMIT)
        (void)snprintf(end, sizeof end, "%u", *most);
    (void)snprintf(regex, sizeof regex, "[^]{%u,%s}", *least, end);
    status = *most < *least ? GOSS_OK : narrow_by_regex(c, dfa, plain, regex, strlen(regex), false, &inner);
    if (*most < *least)
        dfa->start = DFA_DEAD;
    return status ? compile_error_at(c, place, *most != NO_LIMIT ? "maxLength" : "minLength", &inner) : GOSS_OK;
}

static goss_status add_string(struct compiler *c, int32_t choice, const struct place *place)
{
    struct dfa inside, dfa;
    bool plain;
    uint32_t least, most;
    int32_t node;
    goss_status status = build_string(c, place->item, place->n_item, &inside, &plain, &least, &most);
    if (status)
        return status;
    if (!plain) {
        goss_error inner;
        status = dfa_quote(&dfa, &c->grammar->store, &inside, true, &inner);
        return status ? compile_error_at(c, place->item[0].json, NULL, &inner) : add_text_node(c, choice, &dfa);
    }
    if (most < least)
        return GOSS_OK;
    status = new_node(c, NODE_TEXT, &node);
    if (status)
        return status;
    struct node *text = &c->grammar->node[node];
    text->dfa = DFA_STRING;
    text->counted = least > 0 || most != NO_LIMIT;
    text->least = least;
    text->most = most;
    return add_leaf(c, choice, node);
}

/* ---- numbers ---- */

static goss_status read_bound(struct compiler *c, const struct json_node *schema, const char *keyword,
                              struct number_text *bound)
{
    const struct json_node *node = json_tree_get(schema, keyword);
    *bound = (struct number_text){0};
    if (!node)
        return GOSS_OK;
    if (node->kind != JSON_TREE_NUMBER)
        return compile_error(c, node, NULL, GOSS_E_FORMAT, "not a number");
    *bound = (struct number_text){node->text, node->size};
    return GOSS_OK;
}

/* The numbers that all items allow. *plain: any number, or any integer. */
static goss_status build_number(struct compiler *c, const struct place *place, bool integer, struct dfa *dfa,
                                bool *plain)
{
    *plain = true;
    for (int32_t i = 0; i < place->n_item; i++) {
        const struct json_node *schema = place->item[i].json;
        if (place->item[i].flags & ITEM_VALUE)
            continue;
        struct number_rule rule = {.integer = integer};
        goss_status status = read_bound(c, schema, "minimum", &rule.least);
        status = status ? status : read_bound(c, schema, "maximum", &rule.most);
        status = status ? status : read_bound(c, schema, "exclusiveMinimum", &rule.above);
        status = status ? status : read_bound(c, schema, "exclusiveMaximum", &rule.below);
        status = status ? status : read_bound(c, schema, "multipleOf", &rule.multiple);
        if (status)
            return status;
        if (!rule.least.text && !rule.most.text && !rule.above.text && !rule.below.text && !rule.multiple.text)
            continue;
        struct dfa own;
        goss_error inner;
        status = number_build(&own, &c->grammar->store, &rule, &inner);
        status = status ? status : narrow(c, dfa, plain, &own, &inner);
        if (status)
            return compile_error_at(c, schema, NULL, &inner);
    }
    return GOSS_OK;
}

static goss_status add_number(struct compiler *c, int32_t choice, const struct place *place, bool integer)
{
    struct dfa dfa;
    bool plain;
    int32_t node;
    goss_status status = build_number(c, place, integer, &dfa, &plain);
    if (status || !plain)
        return status ? status : add_text_node(c, choice, &dfa);
    if (c->number[integer] < 0) {
        status = number_build(&dfa, &c->grammar->store, &(struct number_rule){.integer = integer}, c->error);
        status = status ? status : new_dfa(c, &dfa, &c->number[integer]);
    }
    status = status ? status : new_node(c, NODE_TEXT, &node);
    if (status)
        return status;
    c->grammar->node[node].dfa = c->number[integer];
    return add_leaf(c, choice, node);
}

goss_status add_scalars(struct compiler *c, int32_t node, const struct place *place, int types)
{
    goss_status status = GOSS_OK;
    if (types & (TYPE_NULL | TYPE_BOOLEAN)) {
        struct nfa nfa;
        struct dfa dfa;
        nfa_open(&nfa, SPELL_RAW);
        int32_t end = nfa_state(&nfa);
        if (types & TYPE_NULL)
            nfa_empty(&nfa, nfa_literal(&nfa, 0, "null", 4), end);
        if (types & TYPE_BOOLEAN) {
            nfa_empty(&nfa, nfa_literal(&nfa, 0, "true", 4), end);
            nfa_empty(&nfa, nfa_literal(&nfa, 0, "false", 5), end);
        }
        if (!nfa.status)
            nfa.mark[end] = 0;
        status = dfa_build(&dfa, &c->grammar->store, &nfa, 0, c->error);
        nfa_free(&nfa);
        status = status ? status : add_text_node(c, node, &dfa);
    }
    if (status == GOSS_OK && types & TYPE_INTEGER)
        status = add_number(c, node, place, !(types & TYPE_FRACTION));
    if (status == GOSS_OK && types & TYPE_STRING)
        status = add_string(c, node, place);
    return status;
}

/* ---- listed values ---- */

/* Whether two values are the same. Lists and objects: only if they are written alike. */
static bool same_value(const struct json_node *a, const struct json_node *b)
{
    if (a->kind != b->kind)
        return false;
    if (a->kind == JSON_TREE_NUMBER) {
        char x[NUMBER_TEXT], y[NUMBER_TEXT];
        bool integer;
        if (number_plain((struct number_text){a->text, a->size}, x, &integer) &&
            number_plain((struct number_text){b->text, b->size}, y, &integer))
            return strcmp(x, y) == 0;
    }
    if (a->kind == JSON_TREE_STRING)
        return a->size == b->size && memcmp(a->text, b->text, a->size) == 0;
    return a->source_size == b->source_size && memcmp(a->source, b->source, a->source_size) == 0;
}

static bool is_listed(const struct item *item, const struct json_node *value)
{
    if (item->flags & ITEM_VALUE)
        return same_value(item->json, value);
    const struct json_node *constant = json_tree_get(item->json, "const"), *values = json_tree_get(item->json, "enum");
    if (constant && !same_value(constant, value))
        return false;
    for (const struct json_node *each = values ? values->child : NULL; each; each = each->next)
        if (same_value(each, value))
            return true;
    return !values;
}

/* What the rules beside the list leave of it. */
struct filter {
    struct dfa string, number;
    bool any_string, any_number; /* no dfa: lengths count, or nothing does */
    uint32_t least, most;
    bool integer;
};

static goss_status open_filter(struct compiler *c, struct filter *filter, const struct place *place, int types)
{
    *filter = (struct filter){.integer = !(types & TYPE_FRACTION)};
    goss_status status = build_string(c, place->item, place->n_item, &filter->string, &filter->any_string,
                                      &filter->least, &filter->most);
    return status ? status : build_number(c, place, filter->integer, &filter->number, &filter->any_number);
}

static bool keeps_string(struct compiler *c, const struct filter *filter, const struct json_node *value)
{
    if (filter->any_string) {
        uint32_t n = 0;
        for (size_t at = 0; at < value->size; n++)
            (void)char_at(value->text, value->size, &at);
        return n >= filter->least && n <= filter->most;
    }
    struct buffer quoted;
    buffer_init(&quoted, GRAMMAR_SCHEMA_BYTES * 8);
    bool good = json_write_string(&quoted, value->text, value->size, c->error) == GOSS_OK &&
                dfa_matches(&filter->string, (const char *)quoted.data + 1, quoted.size - 2);
    buffer_free(&quoted);
    return good;
}

/* Adds the scalar to the nfa, if it may stand there. */
static void add_value(struct compiler *c, struct nfa *nfa, int32_t end, const struct filter *filter,
                      const struct json_node *value)
{
    if (value->kind == JSON_TREE_STRING) {
        if (!keeps_string(c, filter, value))
            return;
        int32_t behind = nfa_text(nfa, nfa_literal(nfa, 0, "\"", 1), value->text, value->size);
        nfa_empty(nfa, nfa_literal(nfa, behind, "\"", 1), end);
        return;
    }
    char plain[NUMBER_TEXT];
    bool integer = false;
    if (value->kind == JSON_TREE_NUMBER &&
        number_plain((struct number_text){value->text, value->size}, plain, &integer)) {
        if ((filter->integer && !integer) ||
            (!filter->any_number && !dfa_matches(&filter->number, plain, strlen(plain))))
            return;
        nfa_empty(nfa, nfa_literal(nfa, 0, plain, strlen(plain)), end);
    }
    nfa_empty(nfa, nfa_literal(nfa, 0, value->source, value->source_size), end);
}

static goss_status check_value(struct compiler *c, const struct place *place, const struct item *values,
                               const struct json_node *value, int types, bool *kept)
{
    *kept = (type_of_value(value) & types) != 0;
    for (int32_t i = 0; i < place->n_item && *kept; i++) {
        *kept = &place->item[i] == values || is_listed(&place->item[i], value);
        if (*kept && value->kind >= JSON_TREE_ARRAY && !(place->item[i].flags & ITEM_VALUE) &&
            constrains_beyond_type(&place->item[i]))
            return compile_error(c, value, NULL, GOSS_E_UNSUPPORTED,
                                 "lists and objects among listed values are supported only without further rules");
    }
    return GOSS_OK;
}

goss_status add_values(struct compiler *c, int32_t node, const struct place *place, const struct item *values)
{
    int types = TYPE_ANY;
    goss_status status = GOSS_OK;
    for (int32_t i = 0; i < place->n_item && status == GOSS_OK; i++) {
        int own;
        status = types_of(c, &place->item[i], &own);
        types &= own;
    }
    struct filter filter;
    status = status ? status : open_filter(c, &filter, place, types);
    if (status)
        return status;
    struct json_node *list = NULL, *each = values->json;
    if (!(values->flags & ITEM_VALUE) && !(each = json_tree_get(values->json, "const"))) {
        list = json_tree_get(values->json, "enum");
        if (list->kind != JSON_TREE_ARRAY)
            return compile_error(c, list, NULL, GOSS_E_FORMAT, "not a list of values");
        if (list->n_child > GRAMMAR_VALUES)
            return compile_error(c, list, NULL, GOSS_E_LIMIT, "more than %d values", GRAMMAR_VALUES);
        each = list->child;
    }
    struct nfa nfa;
    struct dfa dfa;
    nfa_open(&nfa, SPELL_JSON);
    int32_t end = nfa_state(&nfa);
    for (; each && status == GOSS_OK; each = list ? each->next : NULL) {
        bool kept;
        status = check_value(c, place, values, each, types, &kept);
        if (status || !kept)
            continue;
        if (each->kind == JSON_TREE_ARRAY && !(values->flags & ITEM_VALUE)) {
            struct items items = {.item = {{each, ITEM_VALUE}}, .n = 1};
            int32_t leaf;
            status = node_of(c, &items, &leaf);
            status = status ? status : add_leaf(c, node, leaf);
        } else if (each->kind == JSON_TREE_ARRAY) {
            status = add_array(c, node, &(struct place){.item = &(struct item){each, ITEM_VALUE}, .n_item = 1});
        } else if (each->kind == JSON_TREE_OBJECT) {
            status = add_object(c, node, &(struct place){.item = &(struct item){each, ITEM_VALUE}, .n_item = 1});
        } else {
            add_value(c, &nfa, end, &filter, each);
        }
    }
    if (!nfa.status)
        nfa.mark[end] = 0;
    status = status ? status : dfa_build(&dfa, &c->grammar->store, &nfa, 0, c->error);
    nfa_free(&nfa);
    return status ? status : add_text_node(c, node, &dfa);
}

/* ---- arrays ---- */

/* prefixItems, or the older form of items that is a list. */
static const struct json_node *prefix_of(const struct json_node *schema)
{
    const struct json_node *prefix = json_tree_get(schema, "prefixItems"), *items = json_tree_get(schema, "items");
    return prefix ? prefix : json_tree_is(items, JSON_TREE_ARRAY) ? items : NULL;
}

/* What follows the prefix, or NULL: anything. */
static struct json_node *rest_of(const struct json_node *schema)
{
    struct json_node *items = json_tree_get(schema, "items");
    return json_tree_is(items, JSON_TREE_ARRAY) ? json_tree_get(schema, "additionalItems") : items;
}

/* The node of the item at `index`; index NO_LIMIT: of those behind every prefix. */
static goss_status item_node(struct compiler *c, const struct place *place, uint32_t index, int32_t *node)
{
    struct items items = {0};
    goss_status status = GOSS_OK;
    for (int32_t i = 0; i < place->n_item && status == GOSS_OK; i++) {
        struct json_node *json = place->item[i].json, *own;
        bool value = place->item[i].flags & ITEM_VALUE;
        const struct json_node *prefix = value ? json : prefix_of(json);
        if (prefix && index < prefix->n_child) {
            own = prefix->child;
            for (uint32_t n = index; n > 0; n--)
                own = own->next;
        } else {
            own = value ? NULL : rest_of(json);
        }
        if (own)
            status = add_item(c, &items, own, value ? ITEM_VALUE : 0);
    }
    return status ? status : node_of(c, &items, node);
}

static goss_status read_array_limits(struct compiler *c, const struct item *item, struct node *array, uint32_t *prefix)
{
    uint32_t low = 0, high = NO_LIMIT;
    goss_status status = GOSS_OK;
    const struct json_node *first = item->flags & ITEM_VALUE ? item->json : prefix_of(item->json);
    if (first && first->kind != JSON_TREE_ARRAY)
        return compile_error(c, first, NULL, GOSS_E_FORMAT, "not a list of schemas");
    if (first && first->n_child > GRAMMAR_VALUES)
        return compile_error(c, first, NULL, GOSS_E_LIMIT, "more than %d schemas", GRAMMAR_VALUES);
    uint32_t n = first ? (uint32_t)first->n_child : 0;
    if (item->flags & ITEM_VALUE) {
        low = high = n;
    } else {
        status = read_count(c, item->json, "minItems", &low);
        status = status ? status : read_count(c, item->json, "maxItems", &high);
    }
    *prefix = n > *prefix ? n : *prefix;
    array->least = low > array->least ? low : array->least;
    array->most = high < array->most ? high : array->most;
    return status;
}

goss_status add_array(struct compiler *c, int32_t choice, const struct place *place)
{
    int32_t index;
    struct node array = {.kind = NODE_ARRAY, .most = NO_LIMIT};
    uint32_t n_item = 0;
    goss_status status = GOSS_OK;
    for (int32_t i = 0; i < place->n_item && status == GOSS_OK; i++)
        status = read_array_limits(c, &place->item[i], &array, &n_item);
    if (status || array.most < array.least)
        return status;
    array.n_item = (int32_t)(n_item < array.most ? n_item : array.most);
    array.item = compile_alloc(c, (size_t)array.n_item * sizeof *array.item, &status);
    for (int32_t i = 0; i < array.n_item && status == GOSS_OK; i++)
        status = item_node(c, place, (uint32_t)i, &array.item[i]);
    if (status == GOSS_OK && array.most > (uint32_t)array.n_item)
        status = item_node(c, place, NO_LIMIT, &array.rest);
    status = status ? status : new_node(c, NODE_ARRAY, &index);
    if (status)
        return status;
    c->grammar->node[index] = array;
    return add_leaf(c, choice, index);
}
