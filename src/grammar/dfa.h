/* Deterministic automata over bytes. A byte costs one look-up, and every state leads to acceptance: where a text can
 * no longer be completed there is no state. */
#ifndef GRAMMAR_DFA_H
#define GRAMMAR_DFA_H

#include "base/arena.h"
#include "grammar/nfa.h"

/* State 0 is where nothing can follow. */
enum { DFA_DEAD = 0, DFA_STATES = 60000, DFA_EDGES = 1 << 22 /* states times classes of bytes */ };

/* What all automata of one grammar may take together: DFA_BYTES, and DFA_WORK steps (edges looked at), which is about a
 * second. */
enum { DFA_BYTES = 64 << 20, DFA_WORK = 200000000 };
struct dfa_store {
    struct arena arena;
    uint64_t work;
};

struct dfa {
    int32_t n_state, n_class;
    int32_t start;          /* DFA_DEAD if nothing is accepted */
    uint8_t class_of[256];  /* bytes that are alike everywhere share a class */
    const uint16_t *next;   /* [n_state][n_class] */
    const uint16_t *accept; /* [n_state] 0, or 1 + the number of a set of marks */
    const uint8_t *final;   /* [n_state] accepting, and nothing can follow */
    int32_t n_set;          /* sets of marks: all that a text that ends here is accepted with */
    const int32_t *set;     /* [n_set + 1] where each begins in mark */
    const int32_t *mark;    /* sorted */
};

static inline uint16_t dfa_next(const struct dfa *dfa, uint32_t state, uint8_t byte)
{
    return dfa->next[(size_t)state * (size_t)dfa->n_class + dfa->class_of[byte]];
}

/* Determinises `nfa` from its state `begin`. All arrays belong to the store. GOSS_E_LIMIT if it gets too large; what
 * went wrong in building the nfa is told here, too. The error has no place: the caller knows it. */
goss_status dfa_build(struct dfa *dfa, struct dfa_store *store, const struct nfa *nfa, int32_t begin,
                      goss_error *error);
/* Texts that both accept, with the marks of `a`. */
goss_status dfa_intersect(struct dfa *dfa, struct dfa_store *store, const struct dfa *a, const struct dfa *b,
                          goss_error *error);
/* The same texts with a quote behind them and, if `open`, before; no text may hold a raw quote. */
goss_status dfa_quote(struct dfa *dfa, struct dfa_store *store, const struct dfa *inside, bool open, goss_error *error);

/* The GOSS_E_LIMIT that tells which limit was met. */
goss_status dfa_too_large(const struct dfa_store *store, goss_error *error);

bool dfa_matches(const struct dfa *dfa, const char *text, size_t size);

#endif
