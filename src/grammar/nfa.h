/* Automata over bytes, as they are built: states, edges by ranges of bytes, empty edges, and the two assertions of
 * regular expressions. What can go wrong (memory, too many states) is remembered and told by dfa_build.
 *
 * Characters are spelled in bytes as the text they stand in wants it: raw UTF-8, or the inside of a JSON string. */
#ifndef GRAMMAR_NFA_H
#define GRAMMAR_NFA_H

#include "base/error.h"
#include "grammar/charset.h"

enum spelling {
    SPELL_RAW,  /* UTF-8 */
    SPELL_JSON, /* inside a JSON string: ASCII that can stand for itself does; all else raw or escaped */
    SPELL_ANY,  /* inside a JSON string, any character may also be \uXXXX */
};

enum edge_kind {
    EDGE_BYTES,
    EDGE_EMPTY,
    EDGE_BEGIN, /* passable before the first byte */
    EDGE_END,   /* passable after the last byte */
};

enum { NFA_STATES = 400000 };

struct nfa_edge {
    int32_t to, next; /* next edge of the same state, or -1 */
    uint8_t kind, first, last;
};

struct nfa {
    enum spelling spelling;
    int32_t *edge_of; /* [n_state] its first edge, or -1 */
    int32_t *mark;    /* [n_state] accepting with this mark, or -1 */
    struct nfa_edge *edge;
    int32_t n_state, n_edge, state_capacity, edge_capacity;
    goss_status status; /* GOSS_OK, or what went wrong */
};

void nfa_open(struct nfa *nfa, enum spelling spelling);
void nfa_free(struct nfa *nfa);

int32_t nfa_state(struct nfa *nfa); /* 0 when something went wrong */
void nfa_bytes(struct nfa *nfa, int32_t from, int32_t to, uint8_t first, uint8_t last);
void nfa_empty(struct nfa *nfa, int32_t from, int32_t to);
void nfa_assert(struct nfa *nfa, int32_t from, int32_t to, enum edge_kind kind);
/* Any character of the set, spelled out. */
void nfa_set(struct nfa *nfa, int32_t from, int32_t to, const struct charset *set);
/* The characters of well-formed UTF-8, spelled out; returns the state behind them. */
int32_t nfa_text(struct nfa *nfa, int32_t from, const char *text, size_t size);
/* Bytes as they are. */
int32_t nfa_literal(struct nfa *nfa, int32_t from, const char *bytes, size_t size);
/* States first .. end - 1 once more, whose edges stay among them; returns the new number of `first`. */
int32_t nfa_copy(struct nfa *nfa, int32_t first, int32_t end);

#endif
