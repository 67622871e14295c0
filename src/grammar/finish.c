#include <stdlib.h>
#include <string.h>

#include "grammar/compile.h"

enum { MOST_LEAVES = 1000000 };

/* ---- choices of choices ---- */

struct flattener {
    struct grammar *grammar;
    int32_t *seen;  /* [n_node] the choice that met the node last */
    int32_t *stack; /* [n_node] */
    int32_t *leaf;  /* [n_node] gathered */
    size_t total;
};

/* All nodes that a choice may be in the end, in the order in which they are listed. */
static goss_status flatten(struct flattener *f, int32_t choice, goss_error *error)
{
    struct node *node = f->grammar->node;
    int32_t n_stack = 0, n = 0;
    f->stack[n_stack++] = choice;
    f->seen[choice] = choice;
    while (n_stack > 0) {
        int32_t at = f->stack[--n_stack];
        if (node[at].kind != NODE_CHOICE) {
            f->leaf[n++] = at;
            continue;
        }
        for (int32_t i = node[at].n_leaf - 1; i >= 0; i--)
            if (f->seen[node[at].leaf[i]] != choice) {
                f->seen[node[at].leaf[i]] = choice;
                f->stack[n_stack++] = node[at].leaf[i];
            }
    }
    f->total += (size_t)n;
    if (f->total > MOST_LEAVES)
        return error_set(error, GOSS_E_LIMIT, "schema: its alternatives multiply to more than %d", MOST_LEAVES);
    int32_t *leaf = arena_alloc(&f->grammar->store.arena, (size_t)n * sizeof *leaf + 1);
    if (!leaf)
        return error_memory(error, (size_t)n * sizeof *leaf, "a grammar");
    memcpy(leaf, f->leaf, (size_t)n * sizeof *leaf);
    f->seen[choice] = -1;
    /* Kept aside until all are done: other choices still have to walk through this one. */
    node[choice].item = leaf;
    node[choice].n_item = n;
    return GOSS_OK;
}

static goss_status flatten_all(struct grammar *g, goss_error *error)
{
    size_t bytes = (size_t)g->n_node * sizeof(int32_t);
    struct flattener f = {.grammar = g, .seen = malloc(bytes), .stack = malloc(bytes), .leaf = malloc(bytes)};
    goss_status status = GOSS_OK;
    if (!f.seen || !f.stack || !f.leaf)
        status = error_memory(error, bytes, "a grammar");
    else
        memset(f.seen, -1, bytes);
    for (int32_t i = 0; i < g->n_node && status == GOSS_OK; i++)
        if (g->node[i].kind == NODE_CHOICE)
            status = flatten(&f, i, error);
    for (int32_t i = 0; i < g->n_node && status == GOSS_OK; i++) {
        struct node *node = &g->node[i];
        if (node->kind == NODE_CHOICE) {
            node->leaf = node->item;
            node->n_leaf = node->n_item;
            continue;
        }
        node->leaf = arena_alloc(&g->store.arena, sizeof *node->leaf); /* itself */
        node->n_leaf = 1;
        if (node->leaf)
            node->leaf[0] = i;
        else
            status = error_memory(error, sizeof *node->leaf, "a grammar");
    }
    free(f.seen);
    free(f.stack);
    free(f.leaf);
    return status;
}

/* ---- what is possible ---- */

static bool has(const uint64_t *set, int32_t i)
{
    return set[i / 64] >> (i % 64) & 1;
}

static uint32_t array_need(const struct grammar *g, const struct node *array)
{
    uint32_t need = 0;
    for (uint32_t i = 0; i < array->least; i++) {
        bool behind = i >= (uint32_t)array->n_item;
        uint32_t own = g->node[behind ? array->rest : array->item[i]].need;
        need = own > need ? own : need;
        if (behind)
            break;
    }
    return need + 1;
}

static uint32_t object_need(const struct grammar *g, const struct object_rule *rule)
{
    uint32_t need = 0, most = 0, n = 0;
    bool open = false;
    const uint64_t *reach = rule->reach + (size_t)rule->keys.start * (size_t)rule->n_word;
    for (int32_t c = 0; c < rule->n_class; c++) {
        uint32_t own = has(reach, c) ? g->node[rule->value[c]].need : NEED_NEVER;
        if (c < rule->n_property && has(rule->required, c))
            need = own > need ? own : need;
        if (own == NEED_NEVER)
            continue;
        most = own > most ? own : most;
        n += c < rule->n_property;
        open |= c >= rule->n_property;
    }
    if (rule->most < rule->least || (uint32_t)rule->n_required > rule->most || (n < rule->least && !open))
        return NEED_NEVER;
    return (rule->least > (uint32_t)rule->n_required && most > need ? most : need) + 1;
}

static uint16_t need_of(const struct grammar *g, const struct node *node)
{
    uint32_t need = NEED_NEVER;
    if (node->kind == NODE_TEXT)
        need = g->dfa[node->dfa].start == DFA_DEAD ? NEED_NEVER : 0;
    else if (node->kind == NODE_ARRAY)
        need = array_need(g, node);
    else if (node->kind == NODE_OBJECT)
        need = object_need(g, node->object);
    else
        for (int32_t i = 0; i < node->n_leaf; i++)
            need = g->node[node->leaf[i]].need < need ? g->node[node->leaf[i]].need : need;
    return need > GRAMMAR_DEPTH ? NEED_NEVER : (uint16_t)need;
}

/* Drops the items and properties that nothing can fill. */
static void drop_impossible(struct grammar *g, struct node *node)
{
    if (node->kind == NODE_ARRAY) {
        for (uint32_t i = 0; i < node->most; i++) {
            bool behind = i >= (uint32_t)node->n_item;
            if (g->node[behind ? node->rest : node->item[i]].need == NEED_NEVER)
                node->most = i;
            if (behind)
                break;
        }
    } else if (node->kind == NODE_OBJECT) {
        struct object_rule *rule = node->object;
        const uint64_t *reach = rule->reach + (size_t)rule->keys.start * (size_t)rule->n_word;
        for (int32_t c = 0; c < rule->n_class; c++)
            if (has(reach, c) && g->node[rule->value[c]].need != NEED_NEVER)
                rule->possible[c / 64] |= UINT64_C(1) << (c % 64);
        if (rule->least > (uint32_t)rule->n_required)
            rule->in_order = false; /* keys that were passed over may be needed to reach the count */
    }
}

goss_status finish_nodes(struct grammar *g, goss_error *error)
{
    goss_status status = flatten_all(g, error);
    if (status)
        return status;
    for (int32_t i = 0; i < g->n_node; i++)
        g->node[i].need = NEED_NEVER;
    for (bool changed = true; changed;) { /* at most GRAMMAR_DEPTH rounds by more than one node each */
        changed = false;
        for (int32_t i = g->n_node - 1; i >= 0; i--) {
            uint16_t need = need_of(g, &g->node[i]);
            changed |= need != g->node[i].need;
            g->node[i].need = need;
        }
    }
    for (int32_t i = 0; i < g->n_node; i++)
        drop_impossible(g, &g->node[i]);
    if (g->node[g->root].need == NEED_NEVER)
        return error_set(error, GOSS_E_FORMAT, "schema: nothing satisfies it");
    return GOSS_OK;
}
