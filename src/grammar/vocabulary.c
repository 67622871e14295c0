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
    t->token = malloc(((size_t)n_node + 1) * sizeof *t->token);
    t->twin = malloc(((size_t)n_id + 1) * sizeof *t->twin);
    if (!t->byte || !t->depth || !t->end || !t->token || !t->twin)
        return error_memory(error, (size_t)n_node * 10, "a vocabulary");
    memset(t->twin, -1, (size_t)n_id * sizeof *t->twin);
    return GOSS_OK;
}

/* Words come sorted, so a word's nodes are those behind what it shares with the one before. */
static void trie_fill(struct trie *t, const struct word *word, int32_t n)
{
    int32_t path[VOCABULARY_TOKEN_BYTES + 1]; /* the node of each depth on the way to the last word */
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

goss_status vocabulary_open(struct vocabulary **vocabulary, const struct tokenizer *tokenizer, int32_t n_id,
                            goss_error *error)
{
    *vocabulary = NULL;
    struct vocabulary *v = calloc(1, sizeof *v);
    struct word *word = malloc(((size_t)n_id + 1) * sizeof *word);
    goss_status status = v && word ? GOSS_OK : error_memory(error, (size_t)n_id * sizeof *word, "a vocabulary");
    if (status == GOSS_OK) {
        v->tokenizer = tokenizer;
        int32_t n = gather(tokenizer, n_id, word);
        int64_t n_node = n ? word[0].n : 0;
        for (int32_t i = 1; i < n; i++)
            n_node += word[i].n - shared_bytes(&word[i - 1], &word[i]);
        status = n_node < INT32_MAX ? trie_alloc(&v->trie, (int32_t)n_node, n_id, error)
                                    : error_set(error, GOSS_E_LIMIT, "the vocabulary has too many bytes");
        if (status == GOSS_OK)
            trie_fill(&v->trie, word, n);
        v->text = calloc((size_t)v->trie.n_word + 1, sizeof *v->text);
        for (int32_t i = 0; v->text && i < n; i++)
            v->text[word[i].id / 64] |= UINT64_C(1) << (word[i].id % 64);
        if (status == GOSS_OK && !v->text)
            status = error_memory(error, (size_t)v->trie.n_word * sizeof *v->text, "a vocabulary");
    }
    free(word);
    status = status ? status : string_dfa(&v->string, &v->store, error);
    if (status == GOSS_OK) {
        bool good = walk_open(&v->inside_string, &v->trie);
        if (good)
            (void)trie_walk(&v->trie, 0, v->trie.n_node, 0, &v->string, string_inside(&v->string), &v->inside_string);
        if (!good || v->inside_string.out_of_memory)
            status = error_memory(error, (size_t)v->trie.n_word, "a vocabulary");
    }
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

static void add_end(struct walk *walk, int32_t node, uint16_t accept, bool final)
{
    if (walk->n_end == walk->capacity) {
        int32_t capacity = 2 * walk->capacity + 64;
        struct text_end *end = realloc(walk->end, (size_t)capacity * sizeof *end);
        if (!end) {
            walk->out_of_memory = true;
            return;
        }
        walk->end = end;
        walk->capacity = capacity;
    }
    walk->end[walk->n_end++] = (struct text_end){node, accept, final};
}

int64_t trie_walk(const struct trie *trie, int32_t first, int32_t end, int above, const struct dfa *dfa, uint32_t state,
                  struct walk *walk)
{
    uint16_t at[VOCABULARY_TOKEN_BYTES + 1]; /* the state behind each depth */
    int64_t n = 0;
    at[above] = (uint16_t)state;
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
        if (dfa->accept[next]) {
            add_end(walk, i, dfa->accept[next], dfa->final[next]);
            if (dfa->final[next]) {
                i = trie->end[i];
                continue;
            }
        }
        if (trie->token[i] >= 0)
            trie_allow(trie, i, walk->inside);
        i++;
    }
    return n;
}
