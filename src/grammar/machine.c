#include "grammar/machine.h"

#include <stdlib.h>
#include <string.h>

/* ---- the store ---- */

enum { FIRST_SLOTS = 256 };

static uint32_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9E3779B97F4A7C15);
    return (uint32_t)(hash >> 32);
}

static uint32_t frame_hash(const struct frame *f)
{
    return mix(mix(f->parent, (uint64_t)f->node << 32 | f->count), f->parent);
}

static uint32_t keys_hash(const struct keys *k, const uint64_t *seen, int32_t n_word)
{
    uint32_t hash = mix(mix(k->node, (uint64_t)k->total << 32 | k->room), k->node);
    for (int32_t i = 0; i < n_word; i++)
        hash = mix(hash, seen[i]);
    return hash;
}

static int32_t word_count(const struct machine *m, uint32_t node)
{
    return m->grammar->node[node].object->n_word;
}

/* Links what is stored anew, in order, so that the newest stands first in its slot. */
static bool relink(struct machine *m, int32_t n_slot)
{
    int32_t *frame_slot = malloc((size_t)n_slot * sizeof *frame_slot);
    int32_t *keys_slot = malloc((size_t)n_slot * sizeof *keys_slot);
    if (!frame_slot || !keys_slot) {
        free(frame_slot);
        free(keys_slot);
        return false;
    }
    free(m->frame_slot);
    free(m->keys_slot);
    m->frame_slot = frame_slot;
    m->keys_slot = keys_slot;
    m->n_slot = n_slot;
    memset(frame_slot, -1, (size_t)n_slot * sizeof *frame_slot);
    memset(keys_slot, -1, (size_t)n_slot * sizeof *keys_slot);
    for (int32_t i = 0; i < m->n_frame; i++) {
        int32_t *slot = &frame_slot[frame_hash(&m->frame[i]) & (uint32_t)(n_slot - 1)];
        m->frame[i].next = *slot;
        *slot = i;
    }
    for (int32_t i = 0; i < m->n_keys; i++) {
        const struct keys *k = &m->keys[i];
        int32_t *slot = &keys_slot[keys_hash(k, m->bits + k->bits, word_count(m, k->node)) & (uint32_t)(n_slot - 1)];
        m->keys[i].next = *slot;
        *slot = i;
    }
    return true;
}

static bool reserve(void *array, int32_t *capacity, int32_t n, size_t size)
{
    void **p = array;
    if (n < *capacity)
        return true;
    void *grown = realloc(*p, 2 * (size_t)(n + 32) * size);
    if (!grown)
        return false;
    *p = grown;
    *capacity = 2 * (n + 32);
    return true;
}

static uint32_t find_frame(struct machine *m, struct frame f)
{
    if (!reserve(&m->frame, &m->frame_capacity, m->n_frame, sizeof *m->frame) ||
        (m->n_frame + m->n_keys > m->n_slot && !relink(m, 2 * m->n_slot))) {
        m->out_of_memory = true;
        return 0;
    }
    int32_t *slot = &m->frame_slot[frame_hash(&f) & (uint32_t)(m->n_slot - 1)];
    for (int32_t i = *slot; i >= 0; i = m->frame[i].next)
        if (m->frame[i].parent == f.parent && m->frame[i].node == f.node && m->frame[i].count == f.count)
            return (uint32_t)i;
    f.next = *slot;
    *slot = m->n_frame;
    m->frame[m->n_frame] = f;
    return (uint32_t)m->n_frame++;
}

static uint32_t push(struct machine *m, uint32_t parent, uint32_t node, uint32_t count)
{
    return find_frame(
        m, (struct frame){.parent = parent, .node = node, .depth = m->frame[parent].depth + 1, .count = count});
}

static bool has(const uint64_t *set, int32_t i)
{
    return set[i / 64] >> (i % 64) & 1;
}

static bool fits(const struct machine *m, uint32_t depth, int32_t node)
{
    return depth + m->grammar->node[node].need <= GRAMMAR_DEPTH;
}

/* The classes that may follow once the keys in `seen` have come. */
static void find_viable(const struct machine *m, struct keys *k, const uint64_t *seen, uint64_t *viable)
{
    const struct object_rule *rule = m->grammar->node[k->node].object;
    int32_t last = -1, next_required = rule->n_property; /* in_order: from behind last up to next_required */
    k->missing = 0;
    for (int32_t c = 0; c < rule->n_property; c++) {
        last = has(seen, c) ? c : last;
        k->missing += has(rule->required, c) && !has(seen, c);
    }
    for (int32_t c = rule->n_property - 1; c > last; c--)
        next_required = has(rule->required, c) ? c : next_required;
    memset(viable, 0, (size_t)rule->n_word * sizeof *viable);
    for (int32_t c = 0; c < rule->n_class; c++) {
        bool property = c < rule->n_property;
        if (!has(rule->possible, c) || (property && has(seen, c)) || m->grammar->node[rule->value[c]].need > k->room)
            continue;
        if (rule->in_order && (property ? c <= last || c > next_required : next_required < rule->n_property))
            continue;
        bool needed = property && has(rule->required, c);
        if (rule->most != NO_LIMIT && k->total + k->missing + !needed > rule->most)
            continue;
        viable[c / 64] |= UINT64_C(1) << (c % 64);
    }
}

/* The stored keys that are equal; `seen` may lie in the store. */
static uint32_t find_keys(struct machine *m, struct keys k, const uint64_t *seen, int32_t added)
{
    size_t n_word = (size_t)word_count(m, k.node);
    size_t from = seen ? (size_t)(seen - m->bits) : 0;
    if (!m->bits || m->n_bits + 2 * n_word > m->bits_capacity) {
        size_t capacity = 2 * (m->n_bits + 2 * n_word) + 64;
        uint64_t *bits = realloc(m->bits, capacity * sizeof *bits);
        if (!bits)
            m->out_of_memory = true;
        m->bits = bits ? bits : m->bits;
        m->bits_capacity = bits ? capacity : m->bits_capacity;
    }
    if (m->out_of_memory || !reserve(&m->keys, &m->keys_capacity, m->n_keys, sizeof *m->keys) ||
        (m->n_frame + m->n_keys > m->n_slot && !relink(m, 2 * m->n_slot))) {
        m->out_of_memory = true;
        return 0;
    }
    uint64_t *own = m->bits + m->n_bits;
    if (seen)
        memcpy(own, m->bits + from, n_word * sizeof *own);
    else
        memset(own, 0, n_word * sizeof *own);
    if (added >= 0)
        own[added / 64] |= UINT64_C(1) << (added % 64);
    int32_t *slot = &m->keys_slot[keys_hash(&k, own, (int32_t)n_word) & (uint32_t)(m->n_slot - 1)];
    for (int32_t i = *slot; i >= 0; i = m->keys[i].next) {
        const struct keys *other = &m->keys[i];
        if (other->node == k.node && other->total == k.total && other->room == k.room &&
            memcmp(m->bits + other->bits, own, n_word * sizeof *own) == 0)
            return (uint32_t)i;
    }
    find_viable(m, &k, own, own + n_word);
    k.bits = m->n_bits;
    k.next = *slot;
    m->n_bits += 2 * n_word;
    *slot = m->n_keys;
    m->keys[m->n_keys] = k;
    return (uint32_t)m->n_keys++;
}

struct machine_mark machine_mark(const struct machine *m)
{
    return (struct machine_mark){m->n_frame, m->n_keys, m->n_bits};
}

void machine_drop(struct machine *m, struct machine_mark mark)
{
    while (m->n_frame > mark.n_frame) {
        const struct frame *f = &m->frame[--m->n_frame];
        m->frame_slot[frame_hash(f) & (uint32_t)(m->n_slot - 1)] = f->next;
    }
    while (m->n_keys > mark.n_keys) {
        const struct keys *k = &m->keys[--m->n_keys];
        uint32_t hash = keys_hash(k, m->bits + k->bits, word_count(m, k->node));
        m->keys_slot[hash & (uint32_t)(m->n_slot - 1)] = k->next;
    }
    m->n_bits = mark.n_bits;
}

goss_status machine_open(struct machine *m, const struct grammar *grammar, goss_error *error)
{
    *m = (struct machine){.grammar = grammar};
    if (!relink(m, FIRST_SLOTS) || !reserve(&m->frame, &m->frame_capacity, 0, sizeof *m->frame)) {
        machine_close(m);
        return error_memory(error, FIRST_SLOTS, "a text's state");
    }
    (void)find_frame(m, (struct frame){0}); /* frame 0: around nothing */
    return GOSS_OK;
}

void machine_close(struct machine *m)
{
    free(m->frame);
    free(m->keys);
    free(m->bits);
    free(m->frame_slot);
    free(m->keys_slot);
    *m = (struct machine){0};
}

/* ---- positions ---- */

static void add(struct positions *set, struct position p)
{
    for (int32_t i = 0; i < set->n; i++)
        if (memcmp(&set->position[i], &p, sizeof p) == 0)
            return;
    if (set->n < POSITIONS)
        set->position[set->n++] = p;
}

/* Blanks between tokens: one blank, or one or two line breaks and then an indentation. The state is 0 before any. */
enum { ONE_BLANK = 1, ONE_BREAK = 2, TWO_BREAKS = ONE_BREAK + GRAMMAR_BLANKS + 1, NO_MORE_BLANKS = UINT16_MAX };

static uint32_t blank_step(uint32_t state, uint8_t byte)
{
    if (state == 0)
        return byte == ' ' ? ONE_BLANK : byte == '\n' ? ONE_BREAK : NO_MORE_BLANKS;
    if (state == ONE_BLANK)
        return NO_MORE_BLANKS;
    if (byte == '\n')
        return state == ONE_BREAK ? TWO_BREAKS : NO_MORE_BLANKS;
    bool full = state == TWO_BREAKS - 1 || state == TWO_BREAKS + GRAMMAR_BLANKS;
    return (byte == ' ' || byte == '\t') && !full ? state + 1 : NO_MORE_BLANKS;
}

struct position machine_behind(const struct machine *m, uint32_t frame)
{
    uint32_t where = frame == 0                                                  ? AT_END
                     : m->grammar->node[m->frame[frame].node].kind == NODE_ARRAY ? BEHIND_ITEM
                                                                                 : BEHIND_VALUE;
    return (struct position){.where = where, .frame = frame};
}

bool text_step(const struct grammar *g, const struct node *node, uint32_t *state, uint32_t *count, uint8_t byte)
{
    const struct dfa *dfa = &g->dfa[node->dfa];
    uint32_t before = *state;
    *state = dfa_next(dfa, before, byte);
    if (*state == DFA_DEAD || !node->counted)
        return *state != DFA_DEAD;
    if (dfa->final[*state])
        return *count >= node->least;
    uint32_t inside = string_inside(dfa);
    if (before == inside && *count == node->most)
        return false;
    *count += *state == inside && before != (uint32_t)dfa->start;
    return true;
}

static void add_text(const struct machine *m, uint32_t node, uint32_t state, uint32_t count, uint32_t frame,
                     struct positions *to)
{
    const struct dfa *dfa = &m->grammar->dfa[m->grammar->node[node].dfa];
    add(to, dfa->final[state] ? machine_behind(m, frame) : (struct position){IN_TEXT, node, state, count, frame});
}

/* A value begins with this byte. */
static void begin_value(struct machine *m, int32_t value, uint32_t frame, uint8_t byte, struct positions *to)
{
    const struct grammar *g = m->grammar;
    uint32_t depth = m->frame[frame].depth;
    for (int32_t i = 0; i < g->node[value].n_leaf; i++) {
        uint32_t leaf = (uint32_t)g->node[value].leaf[i], state, count = 0;
        const struct node *node = &g->node[leaf];
        if (!fits(m, depth, (int32_t)leaf))
            continue;
        if (node->kind == NODE_TEXT) {
            state = (uint32_t)g->dfa[node->dfa].start;
            if (text_step(g, node, &state, &count, byte))
                add_text(m, leaf, state, count, frame, to);
        } else if (node->kind == NODE_ARRAY && byte == '[') {
            add(to, (struct position){.where = AT_FIRST_ITEM, .frame = push(m, frame, leaf, 0)});
        } else if (node->kind == NODE_OBJECT && byte == '{') {
            uint32_t room = GRAMMAR_DEPTH - depth - 1;
            uint32_t keys = find_keys(m, (struct keys){.node = leaf, .room = room}, NULL, -1);
            add(to, (struct position){.where = AT_FIRST_KEY, .frame = push(m, frame, leaf, keys)});
        }
    }
}

static int32_t item_at(const struct node *array, uint32_t index)
{
    return index < (uint32_t)array->n_item ? array->item[index] : array->rest;
}

/* The frame with one more item begun; counts that make no difference are one. */
static uint32_t next_item(struct machine *m, uint32_t frame)
{
    const struct frame f = m->frame[frame];
    const struct node *array = &m->grammar->node[f.node];
    uint32_t enough = array->least > (uint32_t)array->n_item ? array->least : (uint32_t)array->n_item;
    bool counts = array->most != NO_LIMIT || f.count < enough;
    return counts ? push(m, f.parent, f.node, f.count + 1) : frame;
}

static void step_array(struct machine *m, const struct position *p, uint8_t byte, struct positions *to)
{
    const struct frame f = m->frame[p->frame];
    const struct node *array = &m->grammar->node[f.node];
    if (byte == ']') {
        if (f.count >= array->least)
            add(to, machine_behind(m, f.parent));
        return;
    }
    if (f.count >= array->most)
        return;
    int32_t item = item_at(array, f.count);
    if (p->where == AT_FIRST_ITEM)
        begin_value(m, item, next_item(m, p->frame), byte, to);
    else if (byte == ',' && fits(m, f.depth, item))
        add(to, (struct position){.where = AT_VALUE, .node = (uint32_t)item, .frame = next_item(m, p->frame)});
}

const uint64_t *machine_viable(const struct machine *m, uint32_t frame)
{
    const struct keys *k = &m->keys[m->frame[frame].count];
    return m->bits + k->bits + word_count(m, k->node);
}

static bool may_become_key(const struct machine *m, uint32_t frame, uint32_t state)
{
    const struct object_rule *rule = m->grammar->node[m->frame[frame].node].object;
    const uint64_t *viable = machine_viable(m, frame), *reach = rule->reach + (size_t)state * (size_t)rule->n_word;
    for (int32_t i = 0; i < rule->n_word; i++)
        if (viable[i] & reach[i])
            return true;
    return false;
}

bool machine_behind_key(struct machine *m, const struct position *key, int32_t class, struct position *behind)
{
    const struct object_rule *rule = m->grammar->node[key->node].object;
    if (class < 0 || !has(machine_viable(m, key->frame), class))
        return false;
    const struct frame f = m->frame[key->frame];
    struct keys k = m->keys[f.count];
    bool counts = rule->most != NO_LIMIT || k.total < rule->least;
    const uint64_t *seen = m->bits + k.bits;
    uint32_t keys = find_keys(m, (struct keys){.node = k.node, .room = k.room, .total = k.total + counts}, seen,
                              class < rule->n_property ? class : -1);
    *behind = (struct position){
        .where = AT_COLON, .node = (uint32_t)rule->value[class], .frame = push(m, f.parent, f.node, keys)};
    return true;
}

static void step_key(struct machine *m, const struct position *p, uint8_t byte, struct positions *to)
{
    const struct object_rule *rule = m->grammar->node[p->node].object;
    uint32_t state = dfa_next(&rule->keys, p->state, byte);
    struct position behind;
    if (state == DFA_DEAD)
        return;
    if (rule->keys.accept[state]) {
        if (machine_behind_key(m, p, rule->class_of[rule->keys.accept[state]], &behind))
            add(to, behind);
    } else if (may_become_key(m, p->frame, state)) {
        add(to, (struct position){.where = IN_KEY, .node = p->node, .state = state, .frame = p->frame});
    }
}

static void step_object(struct machine *m, const struct position *p, uint8_t byte, struct positions *to)
{
    const struct frame f = m->frame[p->frame];
    const struct object_rule *rule = m->grammar->node[f.node].object;
    const struct keys *k = &m->keys[f.count];
    uint32_t start = (uint32_t)rule->keys.start;
    if (byte == '}' && p->where != AT_KEY && k->missing == 0 && k->total >= rule->least)
        add(to, machine_behind(m, f.parent));
    else if (byte == ',' && p->where == BEHIND_VALUE && may_become_key(m, p->frame, start))
        add(to, (struct position){.where = AT_KEY, .frame = p->frame});
    else if (byte == '"' && p->where != BEHIND_VALUE && may_become_key(m, p->frame, start))
        add(to, (struct position){.where = IN_KEY, .node = f.node, .state = start, .frame = p->frame});
}

void machine_step(struct machine *m, const struct position *p, uint8_t byte, struct positions *to)
{
    struct position at = *p;
    if (at.where == IN_TEXT) {
        const struct node *node = &m->grammar->node[at.node];
        uint32_t state = at.state, count = at.count;
        if (text_step(m->grammar, node, &state, &count, byte))
            add_text(m, at.node, state, count, at.frame, to);
        if (!m->grammar->dfa[node->dfa].accept[at.state])
            return;
        at = machine_behind(m, at.frame); /* a number may end here */
    }
    if (at.where == IN_KEY) {
        step_key(m, &at, byte, to);
        return;
    }
    if (at.where == AT_END)
        return;
    uint32_t blanks = blank_step(at.state, byte);
    if (blanks != NO_MORE_BLANKS) {
        at.state = blanks;
        add(to, at);
        return;
    }
    switch (at.where) {
    case AT_VALUE: begin_value(m, (int32_t)at.node, at.frame, byte, to); break;
    case AT_FIRST_ITEM:
    case BEHIND_ITEM: step_array(m, &at, byte, to); break;
    case AT_COLON:
        if (byte == ':')
            add(to, (struct position){.where = AT_VALUE, .node = at.node, .frame = at.frame});
        break;
    default: step_object(m, &at, byte, to);
    }
}

void machine_begin(struct machine *m, struct positions *set)
{
    const struct grammar *g = m->grammar;
    uint32_t root = (uint32_t)g->root;
    set->n = 0;
    if (g->raw)
        add_text(m, root, (uint32_t)g->dfa[g->node[root].dfa].start, 0, 0, set);
    else
        add(set, (struct position){.where = AT_VALUE, .node = root});
}

bool machine_can_end(const struct machine *m, const struct positions *set)
{
    for (int32_t i = 0; i < set->n; i++) {
        const struct position *p = &set->position[i];
        if (p->where == AT_END)
            return true;
        if (p->where == IN_TEXT && p->frame == 0 && m->grammar->dfa[m->grammar->node[p->node].dfa].accept[p->state])
            return true;
    }
    return false;
}
