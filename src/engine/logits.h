/* Passes over one row of logits, each a few tenths of a millisecond at 200,000 ids. What they compute is defined in
 * docs/sampling.md: the weight of an id is exp((logit - max) / temperature) in steps of 2^-44, and all sums of weights
 * are exact. */
#ifndef ENGINE_LOGITS_H
#define ENGINE_LOGITS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/weigh_inline.h"

enum { WEIGHT_BLOCK = 256 };

/* Which ids are left, and how to weigh them. */
struct logits {
    const float *x; /* [n] finite, or -inf for an id that is out of the question */
    int n;
    float max;                 /* of x, finite */
    float inverse_temperature; /* > 0 */
    /* An id is kept if it ranks no lower than (cut, last): by greater logit, then by lower id; and if it weighs at
     * least this much. */
    float cut;
    int32_t last;
    uint64_t least;
};

/* True if every x is finite or, where allowed, -inf; *max is the greatest. */
bool logits_scan(const float *x, int n, bool allow_minus_inf, float *max);
int32_t logits_first_equal(const float *x, int n, float value); /* the lowest id that has this logit, or n */

struct logits logits_all(const float *x, int n, float max, double temperature); /* nothing cut off yet */

/* The weights of ids first .. first + m - 1 (m <= WEIGHT_BLOCK), 0 for those not kept; returns their sum. */
uint64_t logits_weigh(const struct logits *logits, int first, int m, uint64_t weight[WEIGHT_BLOCK]);
uint64_t logits_total(const struct logits *logits);

/* One id out of a ranking: its logit as an integer of the same order, and what it counts. */
struct candidate {
    uint32_t key;
    int32_t id;
    uint64_t count;
};

/* Cut the ranking after the first k ids; or after the shortest prefix whose weights reach the part p (0 .. 1) of the
 * weight of all that are kept. scratch is [n]. */
void logits_cut_top_k(struct logits *logits, int k, struct candidate *scratch);
void logits_cut_top_p(struct logits *logits, double p, struct candidate *scratch);

/* p of a total weight, in whole units, at least 1. */
uint64_t logits_part(double p, uint64_t total);

/* The id at which the running sum of weights, in order of ids, first exceeds r < total. */
int32_t logits_pick(const struct logits *logits, uint64_t r);

#endif
