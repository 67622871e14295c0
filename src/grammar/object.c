#include <stdlib.h>
#include <string.h>

#include "grammar/compile.h"
#include "grammar/regex.h"

/* One patternProperties entry of one item. */
struct pattern {
    const struct json_node *entry; /* its key is the expression, itself the schema */
    int32_t item;
    struct dfa names; /* raw, to try names with */
};

/* An object under construction. Marks of its keys' automaton: 0 .. n_name - 1 the names, then the patterns, then
 * OTHER for any key at all. */
struct draft {
    struct compiler *c;
    const struct place *place;
    const struct json_node **name; /* [n_name] its text and size are a name */
    struct pattern *pattern;       /* [n_pattern] */
    int32_t n_name, n_pattern, n_class;
    int32_t *open_node; /* [n_open] classes n_name .. by node */
    int32_t n_open, open_capacity;
    uint64_t *required;
    bool other; /* keys without name and pattern are allowed */
};

/* ---- names ---- */

static const char *name_text(const struct json_node *name, size_t *size)
{
    bool member = name->key != NULL && name->parent && name->parent->kind == JSON_TREE_OBJECT;
    *size = member ? name->key_size : name->size;
    return member ? name->key : name->text;
}

static int by_text(const void *a, const void *b)
{
    size_t n, m;
    const char *x = name_text(*(const struct json_node *const *)a, &n);
    const char *y = name_text(*(const struct json_node *const *)b, &m);
    int order = memcmp(x, y, n < m ? n : m);
    return order ? order : (n > m) - (n < m);
}

/* Where a name stands in a sorted row of names, or -1. */
static int32_t find_name(const struct json_node *const *sorted, int32_t n, const struct json_node *name)
{
    const struct json_node *const *found =
        n ? bsearch(&name, sorted, (size_t)n, sizeof(const struct json_node *), by_text) : NULL;
    return found ? (int32_t)(found - sorted) : -1;
}

static goss_status count_names(struct draft *d, size_t *n)
{
    *n = 0;
    for (int32_t i = 0; i < d->place->n_item; i++) {
        const struct json_node *json = d->place->item[i].json;
        if (d->place->item[i].flags & ITEM_VALUE) {
            *n += json->n_child;
            continue;
        }
        const struct json_node *properties = json_tree_get(json, "properties"),
                               *required = json_tree_get(json, "required");
        if (properties && properties->kind != JSON_TREE_OBJECT)
            return compile_error(d->c, properties, NULL, GOSS_E_FORMAT, "not an object of schemas");
        if (required && required->kind != JSON_TREE_ARRAY)
            return compile_error(d->c, required, NULL, GOSS_E_FORMAT, "not a list of names");
        for (const struct json_node *name = required ? required->child : NULL; name; name = name->next)
            if (name->kind != JSON_TREE_STRING)
                return compile_error(d->c, name, NULL, GOSS_E_FORMAT, "not a name");
        *n += (properties ? properties->n_child : 0) + (required ? required->n_child : 0);
    }
    goss_status status = spend(d->c, *n * STEPS_MEMBER * (1 + (size_t)d->place->n_item));
    if (status)
        return status;
    if (*n > 2 * GRAMMAR_PROPERTIES)
        return compile_error(d->c, d->place->item[0].json, NULL, GOSS_E_LIMIT, "more than %d properties",
                             GRAMMAR_PROPERTIES);
    return GOSS_OK;
}

static void add_names(struct draft *d, const struct json_node *list)
{
    for (const struct json_node *name = list ? list->child : NULL; name; name = name->next)
        d->name[d->n_name++] = name;
}

/* All names, each once, in the order in which the schemas first say them. */
static goss_status gather_names(struct draft *d)
{
    size_t n;
    goss_status status = count_names(d, &n);
    if (status)
        return status;
    struct arena *arena = &d->c->scratch;
    d->name = arena_alloc(arena, (n + 1) * sizeof(const struct json_node *));
    const struct json_node **sorted = arena_alloc(arena, (n + 1) * sizeof *sorted);
    int32_t *first = arena_alloc(arena, (n + 1) * sizeof *first);
    if (!d->name || !sorted || !first)
        return error_memory(d->c->error, n, "a grammar");
    for (int32_t i = 0; i < d->place->n_item; i++) {
        const struct json_node *json = d->place->item[i].json;
        bool value = d->place->item[i].flags & ITEM_VALUE;
        add_names(d, value ? json : json_tree_get(json, "properties"));
    }
    for (int32_t i = 0; i < d->place->n_item; i++)
        if (!(d->place->item[i].flags & ITEM_VALUE))
            add_names(d, json_tree_get(d->place->item[i].json, "required"));
    int32_t n_sorted = 0, n_name = 0;
    if (d->n_name) {
        memcpy(sorted, d->name, (size_t)d->n_name * sizeof *sorted);
        qsort(sorted, (size_t)d->n_name, sizeof *sorted, by_text);
    }
    for (int32_t i = 0; i < d->n_name; i++)
        if (i == 0 || by_text(&sorted[i], &sorted[n_sorted - 1]) != 0)
            sorted[n_sorted++] = sorted[i];
    for (int32_t i = 0; i < d->n_name; i++) {
        int32_t at = find_name(sorted, n_sorted, d->name[i]);
        if (first[at]++ == 0)
            d->name[n_name++] = d->name[i];
    }
    d->n_name = n_name;
    return GOSS_OK;
}

static goss_status mark_required(struct draft *d, uint64_t *required, int32_t *n_required)
{
    const struct json_node **sorted = arena_alloc(&d->c->scratch, ((size_t)d->n_name + 1) * sizeof *sorted);
    int32_t *number = arena_alloc(&d->c->scratch, ((size_t)d->n_name + 1) * sizeof *number);
    if (!sorted || !number)
        return error_memory(d->c->error, (size_t)d->n_name, "a grammar");
    memcpy(sorted, d->name, (size_t)d->n_name * sizeof *sorted);
    qsort(sorted, (size_t)d->n_name, sizeof *sorted, by_text);
    for (int32_t i = 0; i < d->n_name; i++)
        number[find_name(sorted, d->n_name, d->name[i])] = i;
    for (int32_t i = 0; i < d->place->n_item; i++) {
        const struct json_node *json = d->place->item[i].json;
        const struct json_node *list = d->place->item[i].flags & ITEM_VALUE ? json : json_tree_get(json, "required");
        for (const struct json_node *name = list ? list->child : NULL; name; name = name->next) {
            int32_t at = number[find_name(sorted, d->n_name, name)];
            *n_required += !(required[at / 64] >> (at % 64) & 1);
            required[at / 64] |= UINT64_C(1) << (at % 64);
        }
    }
    return GOSS_OK;
}

/* ---- patterns ---- */

static goss_status gather_patterns(struct draft *d)
{
    size_t n = 0;
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1 && !(d->pattern = arena_alloc(&d->c->scratch, (n + 1) * sizeof *d->pattern)))
            return error_memory(d->c->error, n, "a grammar");
        for (int32_t i = 0; i < d->place->n_item; i++) {
            if (d->place->item[i].flags & ITEM_VALUE)
                continue;
            const struct json_node *list = json_tree_get(d->place->item[i].json, "patternProperties");
            if (list && list->kind != JSON_TREE_OBJECT)
                return compile_error(d->c, list, NULL, GOSS_E_FORMAT, "not an object of schemas");
            n += pass == 0 && list ? list->n_child : 0;
            for (const struct json_node *entry = list && pass ? list->child : NULL; entry; entry = entry->next)
                d->pattern[d->n_pattern++] = (struct pattern){.entry = entry, .item = i};
        }
    }
    for (int32_t i = 0; i < d->n_pattern; i++) {
        struct nfa nfa;
        goss_error inner;
        const struct json_node *entry = d->pattern[i].entry;
        nfa_open(&nfa, SPELL_RAW);
        int32_t end = nfa_state(&nfa);
        goss_status status = regex_add(&nfa, 0, end, entry->key, entry->key_size, true, &inner);
        if (!nfa.status)
            nfa.mark[end] = 0;
        status = status ? status : dfa_build(&d->pattern[i].names, &d->c->grammar->store, &nfa, 0, &inner);
        nfa_free(&nfa);
        if (status)
            return compile_error_at(d->c, entry, NULL, &inner);
    }
    return GOSS_OK;
}

/* ---- values ---- */

/* The node of the values behind a key: matches[p] says whether pattern p matches it; name is NULL for an open key. */
static goss_status value_node(struct draft *d, const struct json_node *name, const bool *matches, int32_t *node)
{
    struct items items = {0};
    goss_status status = GOSS_OK;
    size_t size = 0;
    const char *text = name ? name_text(name, &size) : NULL;
    *node = NODE_NEVER;
    for (int32_t i = 0; i < d->place->n_item && status == GOSS_OK; i++) {
        struct json_node *json = d->place->item[i].json;
        if (d->place->item[i].flags & ITEM_VALUE) {
            struct json_node *own = name ? json_tree_find(json, text, size) : NULL;
            if (!own)
                return GOSS_OK;
            status = add_item(d->c, &items, own, ITEM_VALUE);
            continue;
        }
        struct json_node *own = name ? json_tree_find(json_tree_get(json, "properties"), text, size) : NULL;
        bool known = own != NULL;
        if (own)
            status = add_item(d->c, &items, own, 0);
        for (int32_t p = 0; p < d->n_pattern && status == GOSS_OK; p++)
            if (d->pattern[p].item == i && matches[p]) {
                known = true;
                status = add_item(d->c, &items, (struct json_node *)(uintptr_t)d->pattern[p].entry, 0);
            }
        own = json_tree_get(json, "additionalProperties");
        if (status == GOSS_OK && !known && own)
            status = add_item(d->c, &items, own, 0);
    }
    return status ? status : node_of(d->c, &items, node);
}

static goss_status name_values(struct draft *d, int32_t *value, bool *matches)
{
    for (int32_t i = 0; i < d->n_name; i++) {
        size_t size;
        const char *text = name_text(d->name[i], &size);
        for (int32_t p = 0; p < d->n_pattern; p++)
            matches[p] = dfa_matches(&d->pattern[p].names, text, size);
        goss_status status = value_node(d, d->name[i], matches, &value[i]);
        if (status)
            return status;
    }
    return GOSS_OK;
}

/* ---- keys ---- */

static goss_status refuse_names(struct draft *d, const struct json_node *names)
{
    static const char *const known[] = {"type", "pattern", "format", "minLength", "maxLength", "enum", "const"};
    for (const struct json_node *member = names->child; member; member = member->next) {
        bool fine = false;
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
            fine |= strlen(known[i]) == member->key_size && memcmp(known[i], member->key, member->key_size) == 0;
        if (!fine)
            return compile_error(d->c, member, NULL, GOSS_E_UNSUPPORTED, "not supported for names");
    }
    return GOSS_OK;
}

/* Narrows the keys by every propertyNames. */
static goss_status narrow_names(struct draft *d, struct dfa *keys)
{
    for (int32_t i = 0; i < d->place->n_item; i++) {
        const struct item *item = &d->place->item[i];
        struct json_node *names = item->flags & ITEM_VALUE ? NULL : json_tree_get(item->json, "propertyNames");
        if (!names || names->kind == JSON_TREE_TRUE)
            continue;
        if (names->kind != JSON_TREE_OBJECT && names->kind != JSON_TREE_FALSE)
            return compile_error(d->c, names, NULL, GOSS_E_FORMAT, "not a schema");
        struct items items = {.item = {{names, 0}}, .n = names->kind == JSON_TREE_OBJECT};
        goss_status status = refuse_names(d, names);
        int types = names->kind == JSON_TREE_OBJECT ? TYPE_STRING : 0;
        if (status == GOSS_OK && types)
            status = types_of(d->c, &items.item[0], &types);
        if (status)
            return status;
        if (!(types & TYPE_STRING)) {
            keys->start = DFA_DEAD;
            return GOSS_OK;
        }
        struct dfa rule, both;
        bool plain;
        uint32_t least, most;
        goss_error inner;
        status = build_string(d->c, items.item, 1, &rule, &plain, &least, &most);
        if (status == GOSS_OK && plain && (least > 0 || most != NO_LIMIT))
            status = compile_error(d->c, names, NULL, GOSS_E_UNSUPPORTED, "a length needs a pattern beside it");
        if (status || plain) {
            if (status)
                return status;
            continue;
        }
        status = dfa_intersect(&both, &d->c->grammar->store, keys, &rule, &inner);
        if (status)
            return compile_error_at(d->c, names, NULL, &inner);
        *keys = both;
    }
    return GOSS_OK;
}

static bool names_are_bound(const struct draft *d)
{
    for (int32_t i = 0; i < d->place->n_item; i++)
        if (!(d->place->item[i].flags & ITEM_VALUE) && json_tree_get(d->place->item[i].json, "propertyNames"))
            return true;
    return false;
}

static goss_status build_keys(struct draft *d, struct dfa *keys)
{
    struct nfa nfa;
    struct dfa inside;
    goss_error inner;
    const struct json_node *place = d->place->n_item ? d->place->item[0].json : d->c->root;
    if (d->other && d->n_name + d->n_pattern == 0 && !names_are_bound(d)) { /* any string, whose walks are at hand */
        *keys = d->c->grammar->dfa[DFA_STRING];
        keys->start = (int32_t)string_inside(keys);
        return GOSS_OK;
    }
    nfa_open(&nfa, SPELL_JSON);
    goss_status status = GOSS_OK;
    for (int32_t i = 0; i < d->n_name; i++) {
        size_t size;
        const char *text = name_text(d->name[i], &size);
        int32_t end = nfa_text(&nfa, 0, text, size);
        int32_t mark = nfa_state(&nfa); /* the empty name ends where all begin */
        nfa_empty(&nfa, end, mark);
        if (!nfa.status)
            nfa.mark[mark] = i;
    }
    for (int32_t p = 0; p < d->n_pattern && status == GOSS_OK; p++) {
        int32_t end = nfa_state(&nfa);
        const struct json_node *entry = d->pattern[p].entry;
        status = regex_add(&nfa, 0, end, entry->key, entry->key_size, true, &inner);
        if (!nfa.status)
            nfa.mark[end] = d->n_name + p;
    }
    if (d->other) {
        struct charset any;
        int32_t loop = nfa_state(&nfa);
        charset_clear(&any);
        charset_invert(&any);
        nfa_set(&nfa, loop, loop, &any);
        nfa_empty(&nfa, 0, loop);
        if (!nfa.status)
            nfa.mark[loop] = d->n_name + d->n_pattern;
    }
    status = status ? status : dfa_build(&inside, &d->c->grammar->store, &nfa, 0, &inner);
    nfa_free(&nfa);
    if (status)
        return compile_error_at(d->c, place, "properties", &inner);
    status = narrow_names(d, &inside);
    if (status)
        return status;
    status = dfa_quote(keys, &d->c->grammar->store, &inside, false, &inner);
    return status ? compile_error_at(d->c, place, "properties", &inner) : GOSS_OK;
}

/* ---- classes ---- */

/* The class of open keys with this value. */
static goss_status open_class(struct draft *d, int32_t node, int32_t *class)
{
    for (int32_t i = 0; i < d->n_open; i++)
        if (d->open_node[i] == node) {
            *class = d->n_name + i;
            return GOSS_OK;
        }
    if (d->n_open == d->open_capacity) {
        int32_t capacity = 2 * d->open_capacity + 4;
        int32_t *grown = arena_alloc(&d->c->scratch, (size_t)capacity * sizeof *grown);
        if (!grown)
            return error_memory(d->c->error, (size_t)capacity, "a grammar");
        if (d->n_open)
            memcpy(grown, d->open_node, (size_t)d->n_open * sizeof *grown);
        d->open_node = grown;
        d->open_capacity = capacity;
    }
    d->open_node[d->n_open] = node;
    *class = d->n_name + d->n_open++;
    return GOSS_OK;
}

/* What each set of marks means. */
static goss_status find_classes(struct draft *d, struct object_rule *rule, bool *matches)
{
    goss_status status = GOSS_OK;
    rule->class_of = compile_alloc(d->c, ((size_t)rule->keys.n_set + 1) * sizeof *rule->class_of, &status);
    if (status)
        return status;
    rule->class_of[0] = -1;
    for (int32_t set = 0; set < rule->keys.n_set && status == GOSS_OK; set++) {
        int32_t *class = &rule->class_of[set + 1], node;
        const int32_t *mark = rule->keys.mark + rule->keys.set[set], *end = rule->keys.mark + rule->keys.set[set + 1];
        if (*mark < d->n_name) {
            *class = *mark;
            continue;
        }
        for (int32_t p = 0; p < d->n_pattern; p++)
            matches[p] = false;
        for (; mark < end; mark++)
            if (*mark < d->n_name + d->n_pattern)
                matches[*mark - d->n_name] = true;
        *class = -1;
        status = value_node(d, NULL, matches, &node);
        if (status == GOSS_OK && node != NODE_NEVER)
            status = open_class(d, node, class);
    }
    return status;
}

/* For every state of the keys' automaton the classes that it leads to. */
static goss_status find_reach(struct draft *d, struct object_rule *rule)
{
    const struct dfa *keys = &rule->keys;
    size_t n_edge = (size_t)keys->n_state * (size_t)keys->n_class, words = (size_t)rule->n_word;
    goss_status status = spend(d->c, (size_t)keys->n_state * words);
    if (status)
        return status;
    rule->reach = compile_alloc(d->c, (size_t)keys->n_state * words * sizeof *rule->reach, &status);
    if (status)
        return status;
    for (int32_t state = 1; state < keys->n_state; state++) {
        int32_t class = rule->class_of[keys->accept[state]];
        if (class >= 0)
            rule->reach[(size_t)state * words + (size_t) class / 64] |= UINT64_C(1) << (class % 64);
    }
    /* Names end far from the start and states are numbered from there on, so few rounds backwards are enough. */
    for (bool changed = true; changed && status == GOSS_OK;) {
        changed = false;
        status = spend(d->c, n_edge * words);
        for (size_t i = n_edge; i-- > (size_t)keys->n_class;) {
            if (keys->next[i] == DFA_DEAD)
                continue;
            uint64_t *to = rule->reach + i / (size_t)keys->n_class * words;
            const uint64_t *from = rule->reach + keys->next[i] * words;
            for (size_t w = 0; w < words; w++) {
                changed |= (from[w] & ~to[w]) != 0;
                to[w] |= from[w];
            }
        }
    }
    rule->always = compile_alloc(d->c, words * sizeof *rule->always, &status);
    for (size_t w = 0; w < words && status == GOSS_OK; w++) {
        rule->always[w] = UINT64_MAX;
        for (int32_t state = 1; state < keys->n_state; state++)
            if (!keys->final[state] && rule->reach[(size_t)state * words])
                rule->always[w] &= rule->reach[(size_t)state * words + w];
    }
    return status;
}

static goss_status read_limits(struct draft *d, struct object_rule *rule)
{
    goss_status status = GOSS_OK;
    for (int32_t i = 0; i < d->place->n_item && status == GOSS_OK; i++) {
        uint32_t low = 0, high = NO_LIMIT;
        if (d->place->item[i].flags & ITEM_VALUE)
            continue;
        status = read_count(d->c, d->place->item[i].json, "minProperties", &low);
        status = status ? status : read_count(d->c, d->place->item[i].json, "maxProperties", &high);
        rule->least = low > rule->least ? low : rule->least;
        rule->most = high < rule->most ? high : rule->most;
    }
    return status;
}

static goss_status build_rule(struct draft *d, struct object_rule *rule)
{
    goss_status status = read_limits(d, rule);
    status = status ? status : gather_names(d);
    status = status ? status : gather_patterns(d);
    if (status)
        return status;
    if (d->n_name > GRAMMAR_PROPERTIES)
        return compile_error(d->c, d->place->item[0].json, "properties", GOSS_E_LIMIT, "more than %d properties",
                             GRAMMAR_PROPERTIES);
    bool *matches = arena_alloc(&d->c->scratch, (size_t)d->n_pattern + 1);
    int32_t *value = arena_alloc(&d->c->scratch, ((size_t)d->n_name + 1) * sizeof *value), other;
    if (!matches || !value)
        return error_memory(d->c->error, (size_t)d->n_name, "a grammar");
    status = value_node(d, NULL, matches, &other);
    d->other = other != NODE_NEVER;
    status = status ? status : name_values(d, value, matches);
    status = status ? status : build_keys(d, &rule->keys);
    status = status ? status : find_classes(d, rule, matches);
    if (status)
        return status;
    rule->n_property = d->n_name;
    rule->n_class = d->n_name + d->n_open;
    rule->n_word = rule->n_class / 64 + 1;
    rule->value = compile_alloc(d->c, ((size_t)rule->n_class + 1) * sizeof *rule->value, &status);
    rule->required = compile_alloc(d->c, (size_t)rule->n_word * sizeof *rule->required, &status);
    rule->possible = compile_alloc(d->c, (size_t)rule->n_word * sizeof *rule->possible, &status);
    if (status)
        return status;
    memcpy(rule->value, value, (size_t)d->n_name * sizeof *value);
    if (d->n_open)
        memcpy(rule->value + d->n_name, d->open_node, (size_t)d->n_open * sizeof *value);
    status = mark_required(d, rule->required, &rule->n_required);
    return status ? status : find_reach(d, rule);
}

goss_status add_object(struct compiler *c, int32_t choice, const struct place *place)
{
    struct draft draft = {.c = c, .place = place};
    goss_status status = GOSS_OK;
    int32_t node;
    struct object_rule *rule = compile_alloc(c, sizeof *rule, &status);
    if (status)
        return status;
    *rule = (struct object_rule){.most = NO_LIMIT, .in_order = c->in_order};
    status = build_rule(&draft, rule);
    status = status ? status : new_node(c, NODE_OBJECT, &node);
    if (status)
        return status;
    c->grammar->node[node].object = rule;
    return add_leaf(c, choice, node);
}
