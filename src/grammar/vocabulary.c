#include "grammar/vocabulary.h"

#include <stdlib.h>
#include <string.h>

#include "grammar/trie.h"

struct word {
    const uint8_t *byte;
    int32_t n, id;
};

static int by_bytes(const void *a, const void *b)
{
    const struct word *x = a, *y = b;
    int order = memcmp(x->byte, y->byte, (size_t)(x->n < y->n ? x->n : y->n));
    order = order ? order : (x->n > y->n) - (x->n < y->n);
    return order ? order : (x->id > y->id) - (x->id < y->id);
}

/* Bytes that well-formed UTF-8 never has are left to those who build grammars of more than text (agent/guide.c). */
static bool is_text(const uint8_t *byte, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (byte[i] == 0xC0 || byte[i] == 0xC1 || byte[i] >= 0xF5)
            return false;
    return n > 0 && n <= VOCABULARY_TOKEN_BYTES;
}

static int32_t gather(const struct tokenizer *tokenizer, int32_t n_id, struct word *word)
{
    int32_t n = 0;
    for (int32_t id = 0; id < n_id && id < tokenizer_size(tokenizer); id++) {
        size_t size;
        const uint8_t *byte = tokenizer_bytes(tokenizer, id, &size);
        if (!tokenizer_is_control(tokenizer, id) && is_text(byte, size))
            word[n++] = (struct word){byte, (int32_t)size, id};
    }
    qsort(word, (size_t)n, sizeof *word, by_bytes);
    return n;
}

static int32_t shared_bytes(const struct word *a, const struct word *b)
{
    int32_t n = 0;
    while (n < a->n && n < b->n && a->byte[n] == b->byte[n])
        n++;
    return n;
}

static goss_status trie_alloc(struct trie *t, int32_t n_node, int32_t n_id, goss_error *error)
{
    t->n_id = n_id;
    t->n_word = (n_id + 63) / 64;
    t->byte = malloc((size_t)n_node + 1);
    t->depth = malloc((size_t)n_node + 1);
    t->end = malloc(((size_t)n_node + 1) * sizeof *t->end);
    t->token = calloc((size_t)n_node + 1, sizeof *t->token);
    t->twin = malloc(((size_t)n_id + 1) * sizeof *t->twin);
    if (!t->byte || !t->depth || !t->end || !t->token || !t->twin)
        return error_memory(error, (size_t)n_node * 10, "a vocabulary");
    memset(t->twin, -1, (size_t)n_id * sizeof *t->twin);
    return GOSS_OK;
}

/* Words come sorted, so a word's nodes are those behind what it shares with the one before. */
static void trie_fill(struct trie *t, const struct word *word, int32_t n)
{
    int32_t path[VOCABULARY_TOKEN_BYTES + 1] = {0}; /* the node of each depth on the way to the last word */
    int32_t depth = 0;
    for (int32_t i = 0; i < n; i++) {
        int32_t shared = i ? shared_bytes(&word[i - 1], &word[i]) : 0;
        for (; depth > shared; depth--)
            t->end[path[depth]] = t->n_node;
        while (depth < word[i].n) {
            int32_t node = t->n_node++;
            path[++depth] = node;
            t->byte[node] = word[i].byte[depth - 1];
            t->depth[node] = (uint8_t)depth;
            t->token[node] = -1;
        }
        t->twin[word[i].id] = t->token[path[depth]];
        t->token[path[depth]] = word[i].id;
        t->deepest = depth > t->deepest ? depth : t->deepest;
    }
    for (; depth > 0; depth--)
        t->end[path[depth]] = t->n_node;
}

static goss_status build_trie(struct vocabulary *v, int32_t n_id, goss_error *error)
{
    struct word *word = malloc(((size_t)n_id + 1) * sizeof *word);
    if (!word)
        return error_memory(error, (size_t)n_id * sizeof *word, "a vocabulary");
    int32_t n = gather(v->tokenizer, n_id, word);
    int64_t n_node = n ? word[0].n : 0;
    for (int32_t i = 1; i < n; i++)
        n_node += word[i].n - shared_bytes(&word[i - 1], &word[i]);
    goss_status status = n_node < INT32_MAX ? trie_alloc(&v->trie, (int32_t)n_node, n_id, error)
                                            : error_set(error, GOSS_E_LIMIT, "the vocabulary has too many bytes");
    if (status == GOSS_OK && !(v->text = calloc((size_t)v->trie.n_word + 1, sizeof *v->text)))
        status = error_memory(error, (size_t)v->trie.n_word * sizeof *v->text, "a vocabulary");
    if (status == GOSS_OK) {
        trie_fill(&v->trie, word, n);
        for (int32_t i = 0; i < n; i++)
            v->text[word[i].id / 64] |= UINT64_C(1) << (word[i].id % 64);
    }
    free(word);
    return status;
}

static int by_length(const void *a, const void *b)
{
    const struct token_length *x = a, *y = b;
    int order = (x->n_char > y->n_char) - (x->n_char < y->n_char);
    return order ? order : (x->id > y->id) - (x->id < y->id);
}

/* Sorts the ids inside a string by the characters that they take: first they are counted, then entered. */
static bool sort_lengths(struct vocabulary *v)
{
    size_t n_word = (size_t)v->trie.n_word;
    const struct walk *walk = &v->inside_string;
    v->within = calloc((NEAR + 1) * n_word + 1, sizeof *v->within);
    for (int pass = 0; v->within && pass < 2; pass++) {
        if (pass == 1 && !(v->far = malloc(((size_t)v->n_far + 1) * sizeof *v->far)))
            return false;
        v->n_far = 0;
        for (int32_t id = 0; id < v->trie.n_id; id++) {
            uint64_t bit = UINT64_C(1) << (id % 64);
            if (!(walk->inside[id / 64] & bit))
                continue;
            if (walk->taken[id] <= NEAR)
                v->within[walk->taken[id] * n_word + (size_t)id / 64] |= bit;
            else if (pass == 1)
                v->far[v->n_far++] = (struct token_length){id, walk->taken[id]};
            else
                v->n_far++;
        }
    }
    if (!v->within)
        return false;
    for (size_t i = n_word; i < (NEAR + 1) * n_word; i++)
        v->within[i] |= v->within[i - n_word];
    qsort(v->far, (size_t)v->n_far, sizeof *v->far, by_length);
    return true;
}

static goss_status walk_string(struct vocabulary *v, goss_error *error)
{
    goss_status status = string_dfa(&v->string, &v->store, error);
    if (status)
        return status;
    uint32_t inside = string_inside(&v->string);
    uint8_t *taken = calloc((size_t)v->trie.n_id + 1, 1);
    bool good = taken && walk_open(&v->inside_string, &v->trie);
    if (good) {
        v->inside_string.whole = inside;
        v->inside_string.taken = taken;
        (void)trie_walk(&v->trie, 0, v->trie.n_node, 0, &v->string, inside, &v->inside_string);
        good = !v->inside_string.out_of_memory && sort_lengths(v);
        v->inside_string.taken = NULL;
    }
    free(taken);
    return good ? GOSS_OK : error_memory(error, (size_t)v->trie.n_word, "a vocabulary");
}

goss_status vocabulary_open(struct vocabulary **vocabulary, const struct tokenizer *tokenizer, int32_t n_id,
                            goss_error *error)
{
    *vocabulary = NULL;
    struct vocabulary *v = calloc(1, sizeof *v);
    if (!v)
        return error_memory(error, sizeof *v, "a vocabulary");
    v->tokenizer = tokenizer;
    goss_status status = build_trie(v, n_id, error);
    status = status ? status : walk_string(v, error);
    if (status) {
        vocabulary_close(v);
        return status;
    }
    *vocabulary = v;
    return GOSS_OK;
}

void vocabulary_close(struct vocabulary *v)
{
    if (!v)
        return;
    free(v->trie.byte);
    free(v->trie.depth);
    free(v->trie.end);
    free(v->trie.token);
    free(v->trie.twin);
    free(v->text);
    free(v->within);
    free(v->far);
    walk_close(&v->inside_string);
    arena_free(&v->store.arena);
    free(v);
}

int32_t vocabulary_size(const struct vocabulary *v)
{
    return v->trie.n_id;
}

const uint64_t *vocabulary_text(const struct vocabulary *v)
{
    return v->text;
}

void vocabulary_allow_within(const struct vocabulary *v, uint32_t room, uint64_t *bits)
{
    const uint64_t *within = v->within + (size_t)(room < NEAR ? room : NEAR) * (size_t)v->trie.n_word;
    for (int32_t i = 0; i < v->trie.n_word; i++)
        bits[i] |= within[i];
    for (int32_t i = 0; i < v->n_far && v->far[i].n_char <= room; i++)
        bits[v->far[i].id / 64] |= UINT64_C(1) << (v->far[i].id % 64);
}

/* ---- walks ---- */

bool walk_open(struct walk *walk, const struct trie *trie)
{
    *walk = (struct walk){.inside = calloc((size_t)trie->n_word + 1, sizeof *walk->inside)};
    return walk->inside != NULL;
}

void walk_close(struct walk *walk)
{
    free(walk->inside);
    free(walk->end);
    *walk = (struct walk){0};
}

void walks_free(struct walk *walk)
{
    while (walk) {
        struct walk *next = walk->next;
        walk_close(walk);
        free(walk);
        walk = next;
    }
}

static void add_end(struct walk *walk, struct text_end end)
{
    if (walk->n_end == walk->capacity) {
        int32_t capacity = 2 * walk->capacity + 64;
        struct text_end *grown = realloc(walk->end, (size_t)capacity * sizeof *grown);
        if (!grown) {
            walk->out_of_memory = true;
            return;
        }
        walk->end = grown;
        walk->capacity = capacity;
    }
    walk->end[walk->n_end++] = end;
}

int64_t trie_walk(const struct trie *trie, int32_t first, int32_t end, int above, const struct dfa *dfa, uint32_t state,
                  struct walk *walk)
{
    uint16_t at[VOCABULARY_TOKEN_BYTES + 1];    /* the state behind each depth */
    uint8_t n_char[VOCABULARY_TOKEN_BYTES + 1]; /* and the whole characters up to it */
    int64_t n = 0;
    at[above] = (uint16_t)state;
    n_char[above] = 0;
    walk->dfa = dfa->next;
    walk->state = state;
    for (int32_t i = first; i < end; n++) {
        int depth = trie->depth[i];
        uint16_t next = dfa_next(dfa, at[depth - 1], trie->byte[i]);
        if (next == DFA_DEAD) {
            i = trie->end[i];
            continue;
        }
        at[depth] = next;
        n_char[depth] = (uint8_t)(n_char[depth - 1] + (next == walk->whole));
        if (dfa->accept[next]) {
            add_end(walk, (struct text_end){i, dfa->accept[next], n_char[depth], dfa->final[next]});
            if (dfa->final[next]) {
                i = trie->end[i];
                continue;
            }
        }
        if (trie->token[i] >= 0)
            trie_allow(trie, i, walk->inside);
        for (int32_t id = walk->taken ? trie->token[i] : -1; id >= 0; id = trie->twin[id])
            walk->taken[id] = (uint8_t)(n_char[depth] + (next != walk->whole));
        i++;
    }
    return n;
}
