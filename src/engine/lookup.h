/* Prompt lookup: guesses what a sequence says next from what it holds already. Where the last ids stood before, what
 * followed then is likely to follow now, and the longer the stretch that agrees, the likelier: so each guess has a
 * chance, learnt per sequence by comparing every new id with its guess, whether the guess was computed or not. A guess
 * never decides anything: the engine accepts it only if it is the id that the sampler picks.
 *
 * Cost: a few comparisons per id. Memory: one table of at most LOOKUP_PLACES positions. */
#ifndef ENGINE_LOOKUP_H
#define ENGINE_LOOKUP_H

#include <stdint.h>

#include "base/error.h"

enum {
    LOOKUP_IDS = 3,          /* ids that must have stood before */
    LOOKUP_MOST = 15,        /* most guesses at once */
    LOOKUP_PLACES = 1 << 17, /* most places of the table */
    LOOKUP_CLASSES = 6,      /* of lengths of agreement */
};

struct lookup {
    int32_t *place; /* [n_place] by hash of LOOKUP_IDS ids: the position after where they stood last; 0: none */
    uint32_t n_place;
    int source; /* the position whose id is the guess for the next one; 0: none */
    int length; /* ids before it that equal the last ids of the sequence, as far as they were compared */
    double right[LOOKUP_CLASSES], tried[LOOKUP_CLASSES]; /* guesses by class of length; the old ones fade */
};

/* For a sequence of up to `limit` ids. */
goss_status lookup_open(struct lookup *lookup, int limit, goss_error *error);
void lookup_close(struct lookup *lookup); /* zeroed is fine */

/* Tells that id[n - 1] was appended; id[0 .. n-1) were appended before. */
void lookup_append(struct lookup *lookup, const int32_t *id, int n);

/* Writes up to `most` guesses for the ids that follow to id[n .. n + most) and returns how many: `most` or 0. */
int lookup_guess(const struct lookup *lookup, int32_t *id, int n, int most);

/* The chance that guess i (from 0) is right if those before it are. There must be a guess. */
double lookup_chance(const struct lookup *lookup, int i);

#endif
