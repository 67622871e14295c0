#include "engine/cost.h"

static const double KEEP = 0.97;  /* of the weight of older steps, at each new one */
static const double RIDGE = 0.02; /* variance of the estimate below which it is trusted rather than the line */

/* Experts take half a byte a weight, everything else one. */
void step_cost_open(struct step_cost *cost, const struct model_config *c)
{
    double d = c->d_model, heads = 2.0 * c->n_head + 2.0 * c->n_kv_head;
    double dense = c->n_layer * d * heads * c->head_dim + d * c->n_vocab;
    double experts = 0.5 * c->n_layer * c->n_active * 3.0 * d * c->d_ff;
    *cost = (struct step_cost){.chosen = c->n_expert > 0 ? (double)c->n_active / c->n_expert : 1,
                               .shared = dense + experts > 0 ? dense / (dense + experts) : 0.5};
}

/* What a batch reads; 1 for one row. */
static double reads(const struct step_cost *cost, int rows)
{
    double unread = 1; /* the share of the experts that no row chooses */
    for (int i = 0; i < rows && unread > 1e-6; i++)
        unread *= 1 - cost->chosen;
    return cost->shared + (1 - cost->shared) * (1 - unread) / cost->chosen;
}

void step_cost_learn(struct step_cost *cost, int rows, double seconds)
{
    double x = reads(cost, rows), *sum[] = {&cost->weight, &cost->x, &cost->y, &cost->xx, &cost->xy};
    const double term[] = {1, x, seconds, x * x, x * seconds};
    for (int i = 0; i < 5; i++)
        *sum[i] = *sum[i] * KEEP + term[i];
}

double step_cost_of(const struct step_cost *cost, int rows)
{
    double x = reads(cost, rows);
    if (cost->y <= 0)
        return x;
    double mean_x = cost->x / cost->weight, mean_y = cost->y / cost->weight;
    double variance = cost->xx / cost->weight - mean_x * mean_x;
    double covariance = cost->xy / cost->weight - mean_x * mean_y;
    double slope = (covariance + RIDGE * mean_y / mean_x) / (variance + RIDGE);
    double seconds = mean_y + slope * (x - mean_x), least = mean_y / 64;
    return seconds > least ? seconds : least;
}
