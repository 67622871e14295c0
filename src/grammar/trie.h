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
    uint8_t n_char;  /* characters on the way, if the walk counts them */
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
    /* Of a walk that counts characters: the state behind a whole one, else DFA_DEAD; and [n_id] the characters that a
     * token inside the text takes, a begun one included, or NULL. */
    uint32_t whole;
    uint8_t *taken;
};

/* What a token takes of a string whose characters are limited: a set of ids for every limit up to NEAR, and the few ids
 * that take more. */
enum { NEAR = 32 };
struct token_length {
    int32_t id;
    uint8_t n_char;
};

struct vocabulary {
    const struct tokenizer *tokenizer;
    struct trie trie;
    uint64_t *text; /* [n_word] all ids in the trie */
    struct dfa_store store;
    struct dfa string; /* any JSON string, the same as dfa 0 of every grammar made from a schema */
    struct walk inside_string;
    uint64_t *within;         /* [NEAR + 1][n_word] ids that stay inside a string and take so many characters at most */
    struct token_length *far; /* [n_far] those that take more, the shortest first */
    int32_t n_far;
};

/* Adds the ids that stay inside a string and take `room` characters at most. */
void vocabulary_allow_within(const struct vocabulary *vocabulary, uint32_t room, uint64_t *bits);

/* Walks a dfa from `state` through the nodes first .. end - 1, whose parents have depth `above`; returns how many
 * nodes it looked at. */
int64_t trie_walk(const struct trie *trie, int32_t first, int32_t end, int above, const struct dfa *dfa, uint32_t state,
                  struct walk *walk);
bool walk_open(struct walk *walk, const struct trie *trie); /* false when memory is out */
void walk_close(struct walk *walk);

#endif
