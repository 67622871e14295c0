/* The inside of a vocabulary, and the walks through it; for vocabulary.c, mask.c and matcher.c. */
#ifndef GRAMMAR_TRIE_H
#define GRAMMAR_TRIE_H

#include "grammar/node.h"

/* Nodes in order of their bytes, each before those below it: 0 .. n_node - 1, all beginnings of tokens. */
struct trie {
    int32_t n_node, n_id, n_word; /* n_word: words of a set of ids */
    int32_t deepest;              /* most bytes of a token */
    uint8_t *byte, *depth;        /* [n_node] the last byte, and how many there are: 1 .. VOCABULARY_TOKEN_BYTES */
    int32_t *end;                 /* [n_node] behind the last node below it */
    int32_t *token;               /* [n_node] the id that ends here, or -1 */
    int32_t *twin;                /* [n_id] another id with the same bytes, or -1 */
};

static inline void trie_allow(const struct trie *trie, int32_t node, uint64_t *bits)
{
    for (int32_t id = trie->token[node]; id >= 0; id = trie->twin[id])
        bits[id / 64] |= UINT64_C(1) << (id % 64);
}

/* A place in the trie where a text may have ended; what follows has to take its children. */
struct text_end {
    int32_t node;
    uint16_t accept; /* as the dfa says */
    bool final;
};

/* All that can happen to a text in one token: the tokens that stay inside it or end where it could also go on, and
 * all its ends. */
struct walk {
    struct walk *next;
    const uint16_t *dfa; /* its edges, which tell dfas apart */
    uint32_t state;
    uint64_t *inside;     /* [n_word] */
    struct text_end *end; /* [n_end] */
    int32_t n_end, capacity;
    bool out_of_memory;
};

struct vocabulary {
    const struct tokenizer *tokenizer;
    struct trie trie;
    uint64_t *text; /* [n_word] all ids in the trie */
    struct dfa_store store;
    struct dfa string; /* any JSON string, the same as dfa 0 of every grammar made from a schema */
    struct walk inside_string;
};

/* Walks a dfa from `state` through the nodes first .. end - 1, whose parents have depth `above`; returns how many
 * nodes it looked at. */
int64_t trie_walk(const struct trie *trie, int32_t first, int32_t end, int above, const struct dfa *dfa, uint32_t state,
                  struct walk *walk);
bool walk_open(struct walk *walk, const struct trie *trie); /* false when memory is out */
void walk_close(struct walk *walk);

#endif
