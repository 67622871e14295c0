/* Runs a model step by step, as the engine will: sequences over pages and rings, batches of any composition. */
#ifndef SUPPORT_STEPS_H
#define SUPPORT_STEPS_H

#include "model/backend.h"

enum { STEPS_PAGES = 1024, STEPS_MATES = 4 };

/* One sequence: sequence i uses ring i. */
struct steps_sequence {
    const int32_t *token; /* [n] */
    int n, position;      /* tokens to run, and the position of the first of them */
    int done;             /* tokens already run; start with 0 */
    int32_t page[STEPS_PAGES];
    float *logits; /* [n][n_vocab] */
};

struct steps {
    const struct backend_table *table;
    const struct model *model;
    struct backend *backend;
    int max_rows;
};

/* Asserts that it works. isa may be NULL. The CPU backend, or another one. */
void steps_open(struct steps *steps, const struct model *model, const char *isa, int threads, int max_rows, int pages,
                int rings);
void steps_open_on(struct steps *steps, const struct backend_table *table, const struct model *model,
                   const struct backend_options *options);
void steps_close(struct steps *steps);

/* Gives the sequence pages first, first + 1, .. for all its positions from 0 on. */
void steps_pages(struct steps_sequence *sequence, int first);

/* One step with up to `take[i]` tokens of each of n sequences, in the order given; ring_of[i] is the ring of entry i.
 */
void steps_step(struct steps *steps, struct steps_sequence *const *sequence, const int *ring_of, const int *take,
                int n);

/* Runs one sequence to its end, `chunk` tokens a step. */
void steps_run(struct steps *steps, struct steps_sequence *sequence, int ring, int chunk);

/* A sequence of the first n of `token`, with room for its logits; its pages are numbered from first_page on. */
struct steps_sequence *steps_sequence_open(const struct model *model, const int32_t *token, int n, int position,
                                           int first_page);
void steps_sequence_close(struct steps_sequence *sequence);
/* Both are done and have the same finite logits, to the bit. */
void steps_assert_same(const struct model *model, const struct steps_sequence *a, const struct steps_sequence *b);

/* Runs sequences that were run alone again, together and in several orders, and asserts that each gets the same logits.
 * open: for 80 rows, 4 * STEPS_MATES pages and STEPS_MATES rings. */
void steps_assert_mates_same(const struct model *model, struct steps_sequence *const alone[STEPS_MATES],
                             void (*open)(struct steps *steps, const struct model *model));

#endif
