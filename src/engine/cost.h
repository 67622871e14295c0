/* How long a step takes by its number of rows, relative to other numbers: for deciding whether one more row pays.
 *
 * The first estimate is what a batch reads: the matrices that every row needs once, and of the experts those that at
 * least one row chooses, as if rows chose independently. Measured steps correct it by a straight line over that
 * estimate, old ones fading, so that a machine whose arithmetic is the limit, not its memory, shows. */
#ifndef ENGINE_COST_H
#define ENGINE_COST_H

#include "model/config.h"

struct step_cost {
    double chosen;               /* the share of a layer's experts that one row chooses */
    double shared;               /* the share of what one row reads that further rows need not read again */
    double weight, x, y, xx, xy; /* sums over measured steps: estimate x, seconds y */
};

void step_cost_open(struct step_cost *cost, const struct model_config *config);

/* Tells that a step of `rows` rows, each of them decoding, took so many seconds. */
void step_cost_learn(struct step_cost *cost, int rows, double seconds);

/* In units of its own; greater than 0. */
double step_cost_of(const struct step_cost *cost, int rows);

#endif
