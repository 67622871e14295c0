#include "grammar/compile.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- errors with their place ---- */

/* "/properties/a/items": the way to a value, cut in front if it is very long. */
static void print_path(const struct json_node *json, char *path, size_t size)
{
    size_t begin = size - 1;
    path[begin] = 0;
    for (; json && json->parent; json = json->parent) {
        char step[64];
        int n;
        if (json->key) {
            n = snprintf(step, sizeof step, "/%.*s", json->key_size > 40 ? 40 : (int)json->key_size, json->key);
        } else {
            int index = 0;
            for (const struct json_node *at = json->parent->child; at != json; at = at->next)
                index++;
            n = snprintf(step, sizeof step, "/%d", index);
        }
        if ((size_t)n > begin)
            break;
        begin -= (size_t)n;
        memcpy(path + begin, step, (size_t)n);
    }
    memmove(path, path + begin, size - begin);
}

static goss_status error_with_place(struct compiler *c, const struct json_node *json, const char *keyword,
                                    goss_status status, const char *sentence)
{
    char path[200];
    print_path(json, path, sizeof path);
    return error_set(c->error, status, "schema: %s%s%s: %s", path,
                     keyword   ? "/"
                     : path[0] ? ""
                               : "/",
                     keyword ? keyword : "", sentence);
}

goss_status compile_error(struct compiler *c, const struct json_node *json, const char *keyword, goss_status status,
                          const char *format, ...)
{
    char sentence[256];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    return error_with_place(c, json, keyword, status, sentence);
}

goss_status compile_error_at(struct compiler *c, const struct json_node *json, const char *keyword,
                             const goss_error *inner)
{
    return error_with_place(c, json, keyword, inner->status, inner->text);
}

/* ---- nodes ---- */

void *compile_alloc(struct compiler *c, size_t n, goss_status *status)
{
    void *p = arena_alloc(&c->grammar->store.arena, n ? n : 1);
    if (!p)
        *status = error_memory(c->error, n, "a grammar");
    else if (c->grammar->store.arena.total > DFA_BYTES)
        *status = spend(c, 0);
    return p;
}

goss_status spend(struct compiler *c, uint64_t steps)
{
    struct dfa_store *store = &c->grammar->store;
    goss_error inner;
    store->work += steps;
    if (store->work <= DFA_WORK && store->arena.total <= DFA_BYTES)
        return GOSS_OK;
    return error_set(c->error, dfa_too_large(store, &inner), "schema: %s", inner.text);
}

goss_status new_node(struct compiler *c, enum node_kind kind, int32_t *index)
{
    struct grammar *g = c->grammar;
    if (g->n_node == GRAMMAR_NODES)
        return error_set(c->error, GOSS_E_LIMIT, "schema: describes more than %d different places", GRAMMAR_NODES);
    if (g->n_node == g->node_capacity) {
        int32_t capacity = 2 * g->node_capacity + 16;
        struct node *node = realloc(g->node, (size_t)capacity * sizeof *node);
        if (!node)
            return error_memory(c->error, (size_t)capacity * sizeof *node, "a grammar");
        g->node = node;
        g->node_capacity = capacity;
    }
    *index = g->n_node++;
    g->node[*index] = (struct node){.kind = kind};
    return GOSS_OK;
}

goss_status new_dfa(struct compiler *c, const struct dfa *dfa, int32_t *index)
{
    struct grammar *g = c->grammar;
    if (g->n_dfa == g->dfa_capacity) {
        int32_t capacity = 2 * g->dfa_capacity + 4;
        struct dfa *grown = realloc(g->dfa, (size_t)capacity * sizeof *grown);
        if (!grown)
            return error_memory(c->error, (size_t)capacity * sizeof *grown, "a grammar");
        g->dfa = grown;
        g->dfa_capacity = capacity;
    }
    g->dfa[g->n_dfa] = *dfa;
    *index = g->n_dfa++;
    return GOSS_OK;
}

goss_status add_leaf(struct compiler *c, int32_t choice, int32_t leaf)
{
    struct node *node = &c->grammar->node[choice];
    goss_status status = GOSS_OK;
    if ((node->n_leaf & (node->n_leaf - 1)) == 0) { /* full at 0, 1, 2, 4, .. */
        size_t n = node->n_leaf ? 2 * (size_t)node->n_leaf : 1;
        int32_t *grown = compile_alloc(c, n * sizeof *grown, &status);
        if (!grown)
            return status;
        if (node->n_leaf)
            memcpy(grown, node->leaf, (size_t)node->n_leaf * sizeof *grown);
        node->leaf = grown;
    }
    node->leaf[node->n_leaf++] = leaf;
    return GOSS_OK;
}

/* ---- places ---- */

goss_status add_item(struct compiler *c, struct items *items, struct json_node *json, uint8_t flags)
{
    for (int32_t i = 0; i < items->n; i++)
        if (items->item[i].json == json && (items->item[i].flags & ITEM_VALUE) == (flags & ITEM_VALUE)) {
            items->item[i].flags &= flags; /* what one of the two still asks for is asked for */
            return GOSS_OK;
        }
    if (items->n == PLACE_ITEMS)
        return compile_error(c, json, NULL, GOSS_E_LIMIT, "more than %d schemas apply at once", PLACE_ITEMS);
    items->item[items->n++] = (struct item){json, flags};
    return GOSS_OK;
}

static goss_status add_all_of(struct compiler *c, struct items *items, struct json_node *schema)
{
    struct json_node *all = json_tree_get(schema, "allOf");
    if (!all)
        return GOSS_OK;
    if (all->kind != JSON_TREE_ARRAY || !all->child)
        return compile_error(c, all, NULL, GOSS_E_FORMAT, "not a list of schemas");
    goss_status status = GOSS_OK;
    for (struct json_node *each = all->child; each && status == GOSS_OK; each = each->next)
        status = add_item(c, items, each, 0);
    return status;
}

/* Adds what the items refer to and drops what says nothing. *never: one of them is `false`. */
static goss_status complete(struct compiler *c, struct items *items, bool *never)
{
    *never = false;
    for (int32_t i = 0; i < items->n; i++) {
        struct item item = items->item[i];
        if (item.flags & ITEM_VALUE || item.json->kind == JSON_TREE_TRUE)
            continue;
        if (item.json->kind == JSON_TREE_FALSE) {
            *never = true;
            return GOSS_OK;
        }
        if (item.json->kind != JSON_TREE_OBJECT)
            return compile_error(c, item.json, NULL, GOSS_E_FORMAT, "not a schema: an object, true or false");
        struct json_node *target;
        goss_status status = spend(c, STEPS_ITEM + item.json->n_child * STEPS_MEMBER);
        status = status ? status : check_keywords(c, item.json);
        status = status ? status : find_reference(c, item.json, &target);
        if (status == GOSS_OK && target)
            status = add_item(c, items, target, 0);
        status = status ? status : add_all_of(c, items, item.json);
        if (status)
            return status;
    }
    int32_t n = 0;
    for (int32_t i = 0; i < items->n; i++)
        if (items->item[i].flags & ITEM_VALUE ||
            (items->item[i].json->kind == JSON_TREE_OBJECT && constrains(&items->item[i])))
            items->item[n++] = items->item[i];
    items->n = n;
    return GOSS_OK;
}

static uint32_t place_hash(const struct item *item, int32_t n)
{
    uint64_t hash = (uint64_t)n;
    for (int32_t i = 0; i < n; i++)
        hash = (hash ^ (uintptr_t)item[i].json ^ item[i].flags) * UINT64_C(0x9E3779B97F4A7C15) ^ hash >> 31;
    return (uint32_t)(hash >> 32);
}

static bool same_place(const struct place *place, const struct items *items)
{
    if (place->n_item != items->n)
        return false;
    for (int32_t i = 0; i < items->n; i++)
        if (place->item[i].json != items->item[i].json || place->item[i].flags != items->item[i].flags)
            return false;
    return true;
}

static bool grow_places(struct compiler *c)
{
    int32_t capacity = 2 * c->place_capacity + 64, n_slot = 4 * capacity;
    while (n_slot & (n_slot - 1))
        n_slot &= n_slot - 1;
    struct place *place = realloc(c->place, (size_t)capacity * sizeof *place);
    int32_t *slot = place ? malloc((size_t)n_slot * sizeof *slot) : NULL;
    c->place = place ? place : c->place;
    if (!slot)
        return false;
    c->place_capacity = capacity;
    memset(slot, -1, (size_t)n_slot * sizeof *slot);
    for (int32_t i = 0; i < c->n_place; i++) {
        uint32_t at = place_hash(place[i].item, place[i].n_item) & ((uint32_t)n_slot - 1);
        while (slot[at] >= 0)
            at = (at + 1) & ((uint32_t)n_slot - 1);
        slot[at] = i;
    }
    free(c->slot);
    c->slot = slot;
    c->n_slot = n_slot;
    return true;
}

goss_status node_of(struct compiler *c, struct items *items, int32_t *node)
{
    bool never;
    *node = NODE_NEVER;
    goss_status status = complete(c, items, &never);
    if (status || never)
        return status;
    if (c->n_place == c->place_capacity && !grow_places(c))
        return error_memory(c->error, (size_t)c->n_place, "a grammar");
    uint32_t mask = (uint32_t)c->n_slot - 1, at = place_hash(items->item, items->n) & mask;
    for (; c->slot[at] >= 0; at = (at + 1) & mask)
        if (same_place(&c->place[c->slot[at]], items)) {
            *node = c->place[c->slot[at]].node;
            return GOSS_OK;
        }
    struct place place = {.n_item = items->n};
    place.item = arena_alloc(&c->scratch, (size_t)items->n * sizeof *place.item + 1);
    if (!place.item)
        return error_memory(c->error, (size_t)items->n, "a grammar");
    memcpy(place.item, items->item, (size_t)items->n * sizeof *place.item);
    status = new_node(c, NODE_CHOICE, &place.node);
    if (status)
        return status;
    c->slot[at] = c->n_place;
    c->place[c->n_place++] = place;
    *node = place.node;
    return GOSS_OK;
}

/* ---- alternatives ---- */

/* No value may satisfy two branches of oneOf, which is then the same as anyOf. */
static goss_status check_disjoint(struct compiler *c, const struct json_node *one)
{
    if (one->n_child > GRAMMAR_ONE_OF)
        return compile_error(c, one, NULL, GOSS_E_LIMIT, "more than %d schemas; use anyOf", GRAMMAR_ONE_OF);
    for (struct json_node *a = one->child; a; a = a->next)
        for (struct json_node *b = a->next; b; b = b->next) {
            goss_status status = spend(c, STEPS_MEMBER);
            if (status)
                return status;
            if (!disjoint(c, a, b))
                return compile_error(c, one, NULL, GOSS_E_UNSUPPORTED,
                                     "two of its schemas may hold at once; use anyOf, or give each a required key "
                                     "with another const");
        }
    return GOSS_OK;
}

/* The place once per branch of an item's anyOf or oneOf. *done: there was one. */
static goss_status add_branches(struct compiler *c, const struct place *place, const char *keyword, uint8_t skip,
                                bool *done)
{
    struct json_node *list = NULL;
    int32_t at = 0;
    for (; at < place->n_item && !list; at++)
        if (!(place->item[at].flags & (skip | ITEM_VALUE)))
            list = json_tree_get(place->item[at].json, keyword);
    *done = list != NULL;
    if (!list)
        return GOSS_OK;
    if (list->kind != JSON_TREE_ARRAY || !list->child)
        return compile_error(c, list, NULL, GOSS_E_FORMAT, "not a list of schemas");
    goss_status status = skip == SKIP_ONE_OF ? check_disjoint(c, list) : GOSS_OK;
    for (struct json_node *branch = list->child; branch && status == GOSS_OK; branch = branch->next) {
        struct items items = {.n = place->n_item};
        memcpy(items.item, place->item, (size_t)place->n_item * sizeof *place->item);
        items.item[at - 1].flags |= skip;
        int32_t node;
        status = add_item(c, &items, branch, 0);
        status = status ? status : node_of(c, &items, &node);
        if (status == GOSS_OK && node != NODE_NEVER)
            status = add_leaf(c, place->node, node);
    }
    return status;
}

/* What the place can be when there are no alternatives left: values that are listed, or one thing of each type. */
static goss_status fill(struct compiler *c, const struct place *place)
{
    bool done;
    goss_status status = add_branches(c, place, "anyOf", SKIP_ANY_OF, &done);
    if (status == GOSS_OK && !done)
        status = add_branches(c, place, "oneOf", SKIP_ONE_OF, &done);
    if (status || done)
        return status;
    int types = TYPE_ANY;
    const struct item *values = NULL;
    for (int32_t i = 0; i < place->n_item && status == GOSS_OK; i++) {
        const struct item *item = &place->item[i];
        int own;
        status = types_of(c, item, &own);
        types &= own;
        if (!values &&
            (item->flags & ITEM_VALUE || json_tree_get(item->json, "const") || json_tree_get(item->json, "enum")))
            values = item;
    }
    if (status || values)
        return status ? status : add_values(c, place->node, place, values);
    if ((types & TYPE_NUMBER) == TYPE_FRACTION)
        return compile_error(c, place->item[0].json, NULL, GOSS_E_UNSUPPORTED, "a number that is no integer");
    status = add_scalars(c, place->node, place, types);
    if (status == GOSS_OK && types & TYPE_ARRAY)
        status = add_array(c, place->node, place);
    if (status == GOSS_OK && types & TYPE_OBJECT)
        status = add_object(c, place->node, place);
    return status;
}

/* ---- the whole ---- */

goss_status string_dfa(struct dfa *dfa, struct dfa_store *store, goss_error *error)
{
    struct nfa nfa;
    struct charset any;
    struct dfa inside;
    charset_clear(&any);
    charset_invert(&any);
    nfa_open(&nfa, SPELL_ANY);
    nfa_set(&nfa, 0, 0, &any);
    if (!nfa.status)
        nfa.mark[0] = 0;
    goss_status status = dfa_build(&inside, store, &nfa, 0, error);
    nfa_free(&nfa);
    return status ? status : dfa_quote(dfa, store, &inside, true, error);
}

static goss_status open_grammar(struct grammar **grammar, goss_error *error)
{
    *grammar = calloc(1, sizeof **grammar);
    return *grammar ? GOSS_OK : error_memory(error, sizeof **grammar, "a grammar");
}

static goss_status compile(struct compiler *c)
{
    struct dfa string;
    int32_t node;
    goss_status status = string_dfa(&string, &c->grammar->store, c->error);
    status = status ? status : new_dfa(c, &string, &node);
    status = status ? status : new_node(c, NODE_CHOICE, &node); /* NODE_NEVER */
    struct items items = {0};
    status = status ? status : add_item(c, &items, c->root, 0);
    status = status ? status : node_of(c, &items, &c->grammar->root);
    while (status == GOSS_OK && c->next < c->n_place) {
        struct place place = c->place[c->next++];
        status = fill(c, &place);
    }
    return status ? status : finish_nodes(c->grammar, c->error);
}

goss_status grammar_from_schema(struct grammar **grammar, const char *json, size_t size, bool in_order,
                                goss_error *error)
{
    *grammar = NULL;
    if (size > GRAMMAR_SCHEMA_BYTES)
        return error_set(error, GOSS_E_LIMIT, "schema: %zu bytes, at most %d are read", size, GRAMMAR_SCHEMA_BYTES);
    struct compiler c = {.in_order = in_order, .number = {-1, -1}, .error = error};
    goss_status status = open_grammar(&c.grammar, error);
    status = status ? status : json_tree_read(&c.scratch, json, size, "schema", &c.root, error);
    status = status ? status : compile(&c);
    arena_free(&c.scratch);
    free(c.place);
    free(c.slot);
    if (status) {
        grammar_close(c.grammar);
        return status;
    }
    *grammar = c.grammar;
    return GOSS_OK;
}

goss_status grammar_of_object(struct grammar **grammar, goss_error *error)
{
    static const char schema[] = "{\"type\":\"object\"}";
    return grammar_from_schema(grammar, schema, sizeof schema - 1, false, error);
}

/* ---- texts that are no JSON ---- */

/* One node: the texts between state 0 and `end`. */
static goss_status close_text(struct grammar **grammar, struct nfa *nfa, int32_t end, goss_error *error)
{
    struct compiler c = {.error = error};
    struct dfa dfa;
    int32_t index;
    if (!nfa->status)
        nfa->mark[end] = 0;
    goss_status status = open_grammar(&c.grammar, error);
    status = status ? status : dfa_build(&dfa, &c.grammar->store, nfa, 0, error);
    nfa_free(nfa);
    status = status ? status : new_dfa(&c, &dfa, &index); /* dfa 0, which is no string here: nothing counts */
    status = status ? status : new_node(&c, NODE_CHOICE, &index);
    status = status ? status : new_node(&c, NODE_TEXT, &c.grammar->root);
    if (status == GOSS_OK)
        c.grammar->raw = true;
    status = status ? status : finish_nodes(c.grammar, error);
    if (status)
        grammar_close(c.grammar);
    *grammar = status ? NULL : c.grammar;
    return status;
}

goss_status grammar_from_choice(struct grammar **grammar, const char *const *text, int n, goss_error *error)
{
    struct nfa nfa;
    *grammar = NULL;
    nfa_open(&nfa, SPELL_RAW);
    int32_t end = nfa_state(&nfa);
    for (int i = 0; i < n; i++)
        nfa_empty(&nfa, nfa_literal(&nfa, 0, text[i], strlen(text[i])), end);
    return close_text(grammar, &nfa, end, error);
}

void grammar_close(struct grammar *grammar)
{
    if (!grammar)
        return;
    walks_free(grammar->walk);
    arena_free(&grammar->store.arena);
    free(grammar->node);
    free(grammar->dfa);
    free(grammar);
}
