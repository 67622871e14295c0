/* A compiled grammar. A text is described by nodes that refer to each other, in circles too; what is regular inside
 * strings, numbers and keys is a dfa. compile.h makes nodes, machine.h follows them; nobody else includes this. */
#ifndef GRAMMAR_NODE_H
#define GRAMMAR_NODE_H

#include "grammar/dfa.h"
#include "grammar/grammar.h"

enum node_kind {
    NODE_CHOICE, /* one of its leaves */
    NODE_TEXT,   /* what a dfa accepts: strings, numbers, literals */
    NODE_ARRAY,
    NODE_OBJECT,
};

enum { NODE_NEVER = 0 /* a choice of nothing */, NEED_NEVER = UINT16_MAX };
#define NO_LIMIT UINT32_MAX

/* The keys and values of an object. A class is a kind of key that is followed by the same value: the first n_property
 * classes are one key each, which comes once at most, the others are open: keys that match the same patterns. Sets of
 * classes are [n_word] words. */
struct object_rule {
    struct dfa keys;   /* behind the opening quote, the closing one included */
    int32_t *class_of; /* [keys.n_set + 1] by keys.accept: the class, or -1 where there is none */
    int32_t n_class, n_property, n_word;
    int32_t *value; /* [n_class] nodes */
    uint64_t *required, *possible;
    uint64_t *reach;      /* [keys.n_state][n_word] the classes that a key may still turn out to be */
    uint64_t *always;     /* [n_word] the classes that every unfinished key may turn out to be */
    uint32_t least, most; /* minProperties, maxProperties */
    int32_t n_required;
    bool in_order;
};

struct node {
    enum node_kind kind;
    uint16_t need; /* how many arrays and objects inside each other it takes at least; NEED_NEVER: impossible */
    int32_t *leaf; /* [n_leaf] the nodes that are no choices which it may be; of a NODE_CHOICE at first any nodes */
    int32_t n_leaf;
    /* NODE_TEXT */
    int32_t dfa;
    bool counted;         /* the dfa is that of any string, and characters are counted beside it */
    uint32_t least, most; /* characters if counted; items of a NODE_ARRAY */
    /* NODE_ARRAY */
    int32_t *item; /* [n_item] the first ones; those behind them are `rest` */
    int32_t n_item, rest;
    /* NODE_OBJECT */
    struct object_rule *object;
};

struct walk; /* what mask.c remembers: one in a row of them */

struct grammar {
    struct dfa_store store; /* its arena owns everything but node, dfa and walk */
    struct node *node;
    int32_t n_node, node_capacity, root;
    bool raw; /* the root is a NODE_TEXT that no blanks surround */
    struct dfa *dfa;
    int32_t n_dfa, dfa_capacity;
    struct walk *walk;
    int32_t n_walk;
};

/* Any JSON string, quotes included: dfa 0 of every grammar, and the state behind its opening quote. */
enum { DFA_STRING = 0 };
goss_status string_dfa(struct dfa *dfa, struct dfa_store *store, goss_error *error);
static inline uint32_t string_inside(const struct dfa *dfa)
{
    return dfa_next(dfa, (uint32_t)dfa->start, '"');
}

void walks_free(struct walk *walk);

#endif
