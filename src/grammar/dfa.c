#include "grammar/dfa.h"

#include <stdlib.h>
#include <string.h>

/* Rows of numbers that are told apart by their content: sets of states, pairs of states, sets of marks. */
struct table {
    int32_t *item; /* all rows, one after the other */
    int32_t *row;  /* [n_row + 1] where each begins */
    int32_t *slot; /* [n_slot] rows by hash, -1 free */
    int32_t n_row, row_capacity, n_slot;
    size_t n_item, item_capacity;
};

static void table_free(struct table *table)
{
    free(table->item);
    free(table->row);
    free(table->slot);
}

static uint32_t hash_of(const int32_t *item, size_t n)
{
    uint64_t hash = n;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ (uint32_t)item[i]) * UINT64_C(0x9E3779B97F4A7C15) ^ hash >> 29;
    return (uint32_t)(hash >> 32);
}

static bool table_grow(struct table *table)
{
    int32_t n_slot = table->n_slot ? 2 * table->n_slot : 256;
    int32_t *slot = malloc((size_t)n_slot * sizeof *slot);
    if (!slot)
        return false;
    memset(slot, -1, (size_t)n_slot * sizeof *slot);
    for (int32_t i = 0; i < table->n_row; i++) {
        uint32_t at = hash_of(table->item + table->row[i], (size_t)(table->row[i + 1] - table->row[i]));
        for (at &= (uint32_t)n_slot - 1; slot[at] >= 0; at = (at + 1) & ((uint32_t)n_slot - 1))
            ;
        slot[at] = i;
    }
    free(table->slot);
    table->slot = slot;
    table->n_slot = n_slot;
    return true;
}

static bool table_reserve(struct table *table, size_t n)
{
    if (table->n_item + n > table->item_capacity || !table->item) {
        size_t capacity = 2 * (table->n_item + n) + 64;
        int32_t *item = realloc(table->item, capacity * sizeof *item);
        if (!item)
            return false;
        table->item = item;
        table->item_capacity = capacity;
    }
    if (table->n_row + 2 > table->row_capacity) {
        int32_t capacity = 2 * table->row_capacity + 64;
        int32_t *row = realloc(table->row, (size_t)capacity * sizeof *row);
        if (!row)
            return false;
        row[0] = 0;
        table->row = row;
        table->row_capacity = capacity;
    }
    return 2 * table->n_row < table->n_slot || table_grow(table);
}

/* The number of a row, new or known; -1 when memory is out. */
static int32_t table_add(struct table *table, const int32_t *item, size_t n)
{
    if (n > 1 << 24 || table->n_item > 1 << 28 || !table_reserve(table, n))
        return -1;
    uint32_t mask = (uint32_t)table->n_slot - 1, at = hash_of(item, n) & mask;
    for (; table->slot[at] >= 0; at = (at + 1) & mask) {
        const int32_t *row = table->row + table->slot[at];
        if ((size_t)(row[1] - row[0]) == n && (n == 0 || memcmp(table->item + row[0], item, n * sizeof *item) == 0))
            return table->slot[at];
    }
    if (n)
        memcpy(table->item + table->n_item, item, n * sizeof *item);
    table->n_item += n;
    table->slot[at] = table->n_row++;
    table->row[table->n_row] = (int32_t)table->n_item;
    return table->slot[at];
}

/* An automaton under construction. */
struct builder {
    struct table state, marks;
    uint16_t *next, *accept;
    int32_t capacity, n_class;
    struct dfa_store *store; /* where work is counted */
    goss_status status;
    /* Sets of states of the nfa while they are gathered: member[s] == stamp if s is in. */
    int32_t *gathered, *member;
    int32_t n_gathered, stamp;
};

static void builder_free(struct builder *b)
{
    table_free(&b->state);
    table_free(&b->marks);
    free(b->next);
    free(b->accept);
    free(b->gathered);
    free(b->member);
}

static void stop(struct builder *b, goss_status status)
{
    b->status = b->status ? b->status : status;
}

static int32_t add_state(struct builder *b, const int32_t *item, size_t n)
{
    if (b->status)
        return DFA_DEAD;
    int32_t state = table_add(&b->state, item, n);
    if (state < 0 || b->state.n_row > DFA_STATES) {
        stop(b, state < 0 ? GOSS_E_MEMORY : GOSS_E_LIMIT);
        return DFA_DEAD;
    }
    if (state < b->capacity)
        return state;
    if (state >= DFA_EDGES / b->n_class || b->store->work > DFA_WORK) {
        stop(b, GOSS_E_LIMIT);
        return DFA_DEAD;
    }
    int32_t capacity = 2 * b->capacity + 64;
    uint16_t *next = realloc(b->next, (size_t)capacity * (size_t)b->n_class * sizeof *next);
    b->next = next ? next : b->next;
    uint16_t *accept = realloc(b->accept, (size_t)capacity * sizeof *accept);
    b->accept = accept ? accept : b->accept;
    if (!next || !accept) {
        stop(b, GOSS_E_MEMORY);
        return DFA_DEAD;
    }
    memset(next + (size_t)b->capacity * (size_t)b->n_class, 0,
           (size_t)(capacity - b->capacity) * (size_t)b->n_class * sizeof *next);
    memset(accept + b->capacity, 0, (size_t)(capacity - b->capacity) * sizeof *accept);
    b->capacity = capacity;
    return state;
}

/* Whether each state leads to acceptance: seen[s]. Walks edges backwards, by rounds over a list of edges by target. */
static bool find_useful(const struct builder *b, int32_t n, uint8_t *useful)
{
    size_t n_edge = (size_t)n * (size_t)b->n_class;
    int32_t *first = calloc((size_t)n + 2, sizeof *first), *from = malloc((n_edge + 1) * sizeof *from);
    int32_t *list = malloc(((size_t)n + 1) * sizeof *list);
    bool good = first && from && list;
    if (good) {
        for (size_t i = 0; i < n_edge; i++)
            first[b->next[i] + 2]++;
        for (int32_t i = 1; i <= n + 1; i++)
            first[i] += first[i - 1];
        for (size_t i = 0; i < n_edge; i++)
            from[first[b->next[i] + 1]++] = (int32_t)(i / (size_t)b->n_class);
        int32_t n_list = 0;
        for (int32_t i = 1; i < n; i++)
            if (b->accept[i]) {
                useful[i] = 1;
                list[n_list++] = i;
            }
        while (n_list > 0) {
            int32_t state = list[--n_list];
            for (int32_t i = first[state]; i < first[state + 1]; i++)
                if (!useful[from[i]]) {
                    useful[from[i]] = 1;
                    list[n_list++] = from[i];
                }
        }
    }
    free(first);
    free(from);
    free(list);
    return good;
}

static void *copy_into(struct arena *arena, const void *from, size_t n)
{
    void *to = arena_alloc(arena, n ? n : 1);
    if (to && n)
        memcpy(to, from, n);
    return to;
}

goss_status dfa_too_large(const struct dfa_store *store, goss_error *error)
{
    if (store->work > DFA_WORK)
        return error_set(error, GOSS_E_LIMIT, "takes more than %d million steps to compile", DFA_WORK / 1000000);
    if (store->arena.total > DFA_BYTES)
        return error_set(error, GOSS_E_LIMIT, "takes more than %d MiB when compiled", DFA_BYTES >> 20);
    return error_set(error, GOSS_E_LIMIT, "too large: an automaton may have %d states and %d edges", DFA_STATES,
                     DFA_EDGES);
}

/* Drops the edges to states without a future and hands the arrays over. */
static goss_status finish(struct builder *b, struct dfa *dfa, struct dfa_store *store, int32_t start, goss_error *error)
{
    if (b->status == GOSS_E_LIMIT)
        return dfa_too_large(store, error);
    store->work += (uint64_t)b->state.n_row * (uint64_t)b->n_class;
    int32_t n = b->state.n_row;
    uint8_t *useful = b->status ? NULL : calloc((size_t)n + 1, 1);
    if (!useful || !find_useful(b, n, useful)) {
        free(useful);
        return error_memory(error, (size_t)n, "an automaton");
    }
    for (size_t i = 0; i < (size_t)n * (size_t)b->n_class; i++)
        if (!useful[b->next[i]])
            b->next[i] = DFA_DEAD;
    dfa->n_state = n;
    dfa->n_class = b->n_class;
    dfa->start = useful[start] ? start : DFA_DEAD;
    free(useful);
    static const int32_t nothing[1] = {0};
    dfa->next = copy_into(&store->arena, b->next, (size_t)n * (size_t)b->n_class * sizeof *b->next);
    dfa->accept = copy_into(&store->arena, b->accept, (size_t)n * sizeof *b->accept);
    dfa->n_set = b->marks.n_row;
    dfa->set =
        copy_into(&store->arena, b->marks.row ? b->marks.row : nothing, (size_t)(dfa->n_set + 1) * sizeof *dfa->set);
    dfa->mark = copy_into(&store->arena, b->marks.item, b->marks.n_item * sizeof *dfa->mark);
    uint8_t *final = arena_alloc(&store->arena, (size_t)n);
    dfa->final = final;
    if (!dfa->next || !dfa->accept || !dfa->set || !dfa->mark || !final)
        return error_memory(error, (size_t)n, "an automaton");
    if (store->arena.total > DFA_BYTES)
        return dfa_too_large(store, error);
    for (int32_t state = 0; state < n; state++) {
        final[state] = dfa->accept[state] != 0;
        for (int32_t class = 0; class < dfa->n_class; class ++)
            final[state] &= dfa->next[(size_t)state * (size_t)dfa->n_class + (size_t) class] == DFA_DEAD;
    }
    return GOSS_OK;
}

/* ---- from an nfa ---- */

static void find_classes(const struct nfa *nfa, struct dfa *dfa)
{
    bool cut[257] = {false};
    for (int32_t i = 0; i < nfa->n_edge; i++)
        if (nfa->edge[i].kind == EDGE_BYTES)
            cut[nfa->edge[i].first] = cut[nfa->edge[i].last + 1] = true;
    int class = 0;
    for (int byte = 0; byte < 256; byte++) {
        class += byte > 0 && cut[byte];
        dfa->class_of[byte] = (uint8_t) class;
    }
    dfa->n_class = class + 1;
}

static void gather(struct builder *b, int32_t state)
{
    if (b->member[state] == b->stamp)
        return;
    b->member[state] = b->stamp;
    b->gathered[b->n_gathered++] = state;
}

/* Follows empty edges, and assertions of the kinds that hold, from what is gathered. */
static void close_gathered(struct builder *b, const struct nfa *nfa, bool begin, bool end)
{
    for (int32_t i = 0; i < b->n_gathered; i++)
        for (int32_t e = nfa->edge_of[b->gathered[i]]; e >= 0; e = nfa->edge[e].next) {
            b->store->work++;
            if (nfa->edge[e].kind == EDGE_EMPTY || (nfa->edge[e].kind == EDGE_BEGIN && begin) ||
                (nfa->edge[e].kind == EDGE_END && end))
                gather(b, nfa->edge[e].to);
        }
}

static int by_number(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* The marks of a state, once the text is said to end: 1 + the number of the set, or 0. */
static uint16_t find_accept(struct builder *b, const struct nfa *nfa, bool begin)
{
    close_gathered(b, nfa, begin, true);
    int32_t n = 0;
    for (int32_t i = 0; i < b->n_gathered; i++)
        if (nfa->mark[b->gathered[i]] >= 0)
            b->gathered[n++] = nfa->mark[b->gathered[i]];
    if (n == 0)
        return 0;
    qsort(b->gathered, (size_t)n, sizeof *b->gathered, by_number);
    int32_t unique = 1;
    for (int32_t i = 1; i < n; i++)
        if (b->gathered[i] != b->gathered[unique - 1])
            b->gathered[unique++] = b->gathered[i];
    int32_t set = table_add(&b->marks, b->gathered, (size_t)unique);
    if (set < 0 || set >= UINT16_MAX)
        stop(b, set < 0 ? GOSS_E_MEMORY : GOSS_E_LIMIT);
    return (uint16_t)(set + 1);
}

/* The state for what is gathered; its acceptance is found when it is new. */
static int32_t take_gathered(struct builder *b, const struct nfa *nfa, bool begin)
{
    close_gathered(b, nfa, begin, false);
    if (b->n_gathered == 0)
        return DFA_DEAD;
    qsort(b->gathered, (size_t)b->n_gathered, sizeof *b->gathered, by_number);
    int32_t before = b->state.n_row, state = add_state(b, b->gathered, (size_t)b->n_gathered);
    if (!b->status && b->state.n_row > before)
        b->accept[state] = find_accept(b, nfa, begin);
    if (b->store->work > DFA_WORK)
        stop(b, GOSS_E_LIMIT);
    return state;
}

static void expand(struct builder *b, const struct nfa *nfa, int32_t state, const uint8_t representative[256])
{
    for (int32_t class = 0; class < b->n_class && !b->status; class ++) {
        uint8_t byte = representative[class];
        b->stamp++;
        b->n_gathered = 0;
        const int32_t *row = b->state.row + state;
        for (int32_t i = row[0]; i < row[1]; i++)
            for (int32_t e = nfa->edge_of[b->state.item[i]]; e >= 0; e = nfa->edge[e].next) {
                b->store->work++;
                const struct nfa_edge *edge = &nfa->edge[e];
                if (edge->kind == EDGE_BYTES && edge->first <= byte && byte <= edge->last)
                    gather(b, edge->to);
            }
        int32_t next = take_gathered(b, nfa, false);
        if (!b->status)
            b->next[(size_t)state * (size_t)b->n_class + (size_t) class] = (uint16_t)next;
    }
}

goss_status dfa_build(struct dfa *dfa, struct dfa_store *store, const struct nfa *nfa, int32_t begin, goss_error *error)
{
    *dfa = (struct dfa){0};
    if (nfa->status == GOSS_E_LIMIT)
        return error_set(error, GOSS_E_LIMIT, "too large: more than %d states", NFA_STATES);
    if (nfa->status)
        return error_memory(error, (size_t)nfa->n_state, "an automaton");
    find_classes(nfa, dfa);
    uint8_t representative[256];
    for (int byte = 255; byte >= 0; byte--)
        representative[dfa->class_of[byte]] = (uint8_t)byte;
    struct builder b = {.n_class = dfa->n_class, .store = store};
    store->work += (uint64_t)nfa->n_state + (uint64_t)nfa->n_edge;
    b.gathered = malloc(((size_t)nfa->n_state + 1) * sizeof *b.gathered);
    b.member = calloc((size_t)nfa->n_state + 1, sizeof *b.member);
    int32_t start = 0;
    if (b.gathered && b.member) {
        (void)add_state(&b, NULL, 0); /* the empty set: DFA_DEAD */
        b.stamp = 1;
        gather(&b, begin);
        start = take_gathered(&b, nfa, true);
        for (int32_t state = 1; state < b.state.n_row && !b.status; state++)
            expand(&b, nfa, state, representative);
    } else {
        stop(&b, GOSS_E_MEMORY);
    }
    goss_status status = finish(&b, dfa, store, start, error);
    builder_free(&b);
    return status;
}

/* ---- from other dfas ---- */

static int32_t add_pair(struct builder *b, const struct dfa *x, const struct dfa *y, int32_t p, int32_t q)
{
    if (p == DFA_DEAD || q == DFA_DEAD)
        return DFA_DEAD;
    const int32_t pair[2] = {p, q};
    int32_t state = add_state(b, pair, 2);
    if (!b->status && y->accept[q])
        b->accept[state] = x->accept[p];
    return state;
}

static void copy_marks(struct builder *b, const struct dfa *from)
{
    for (int32_t i = 0; i < from->n_set; i++)
        if (table_add(&b->marks, from->mark + from->set[i], (size_t)(from->set[i + 1] - from->set[i])) < 0)
            stop(b, GOSS_E_MEMORY);
}

goss_status dfa_intersect(struct dfa *dfa, struct dfa_store *store, const struct dfa *x, const struct dfa *y,
                          goss_error *error)
{
    struct dfa out = {0};
    struct table classes = {0};
    struct builder b = {.store = store};
    int32_t representative[256];
    for (int byte = 0; byte < 256; byte++) {
        const int32_t pair[2] = {x->class_of[byte], y->class_of[byte]};
        int32_t class = table_add(&classes, pair, 2);
        if (class < 0)
            stop(&b, GOSS_E_MEMORY);
        else
            representative[out.class_of[byte] = (uint8_t) class] = byte;
    }
    b.n_class = classes.n_row;
    table_free(&classes);
    copy_marks(&b, x);
    (void)add_state(&b, NULL, 0);
    int32_t start = add_pair(&b, x, y, x->start, y->start);
    for (int32_t state = 1; state < b.state.n_row && !b.status; state++)
        for (int32_t class = 0; class < b.n_class && !b.status; class ++) {
            const int32_t *pair = b.state.item + b.state.row[state];
            store->work++;
            uint8_t byte = (uint8_t)representative[class];
            int32_t next =
                add_pair(&b, x, y, dfa_next(x, (uint32_t)pair[0], byte), dfa_next(y, (uint32_t)pair[1], byte));
            if (!b.status)
                b.next[(size_t)state * (size_t)b.n_class + (size_t) class] = (uint16_t)next;
        }
    goss_status status = finish(&b, &out, store, start, error);
    builder_free(&b);
    *dfa = out;
    return status;
}

goss_status dfa_quote(struct dfa *dfa, struct dfa_store *store, const struct dfa *inside, bool open, goss_error *error)
{
    struct dfa out = *inside;
    int32_t quote = inside->n_class, n = inside->n_state, n_class = quote + 1;
    struct builder b = {.n_class = n_class, .store = store};
    out.class_of['"'] = (uint8_t)quote;
    copy_marks(&b, inside);
    for (int32_t i = 0; i < n + 1 + inside->n_set; i++)
        (void)add_state(&b, &i, 1);
    if (quote > UINT8_MAX)
        stop(&b, GOSS_E_LIMIT);
    int32_t start = inside->start;
    if (!b.status && b.next) {
        for (int32_t i = 0; i < n; i++) {
            uint16_t *row = b.next + (size_t)i * (size_t)n_class;
            memcpy(row, inside->next + (size_t)i * (size_t)quote, (size_t)quote * sizeof *row);
            row[quote] = inside->accept[i] ? (uint16_t)(n + inside->accept[i])
                                           : dfa_next(inside, (uint32_t)i, '"'); /* an escaped one */
        }
        for (int32_t i = 0; i < inside->n_set; i++)
            b.accept[n + 1 + i] = (uint16_t)(1 + i);
        b.next[(size_t)n * (size_t)n_class + (size_t)quote] = (uint16_t)start;
        start = start == DFA_DEAD ? DFA_DEAD : open ? n : start;
    }
    goss_status status = finish(&b, &out, store, start, error);
    builder_free(&b);
    *dfa = out;
    return status;
}

bool dfa_matches(const struct dfa *dfa, const char *text, size_t size)
{
    uint32_t state = (uint32_t)dfa->start;
    for (size_t i = 0; i < size && state != DFA_DEAD; i++)
        state = dfa_next(dfa, state, (uint8_t)text[i]);
    return state != DFA_DEAD && dfa->accept[state] != 0;
}
