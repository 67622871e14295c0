/* BATCH, the waist between the engine and the model: what one step computes. The model knows no messages and no
 * requests, only rows, positions and where each sequence's keys and values are kept. */
#ifndef MODEL_BATCH_H
#define MODEL_BATCH_H

#include <stdbool.h>
#include <stdint.h>

enum {
    KV_PAGE = 256, /* positions in one page of a full layer; also the chunk of keys that attention sums over, aligned
                      to absolute positions, so that neither chunking nor batch mates show in a bit */
};

/* A run of consecutive rows that belong to one sequence: positions first_position .. first_position + n_row - 1. The
 * sequence goes on behind the last batch's end or up to `window` positions before it: then rows of that batch were for
 * ids that turned out not to follow, and their keys and values are written anew. */
struct batch_sequence {
    int32_t first_row, n_row;
    int32_t first_position;
    const int32_t
        *page;    /* page[p / KV_PAGE] = page id of position p on every full layer; covers all positions <= last */
    int32_t ring; /* ring id: where the window layers keep their last positions */
};

/* How one output row's id is drawn, where nothing but its logits decides: docs/sampling.md, steps 6 to 11. */
struct batch_draw {
    bool wanted; /* if not, the row's logits are */
    bool greedy; /* then the rest does not count */
    float inverse_temperature;
    int32_t top_k;   /* 0 is off */
    double top_p;    /* 1 is off */
    uint64_t least;  /* an id of less weight is not drawn: min-p */
    uint64_t random; /* R of step 11 */
};

struct batch {
    int32_t n_row;
    const int32_t *token;    /* [n_row] ids, 0 <= id < n_vocab */
    const int32_t *position; /* [n_row] */
    int32_t n_sequence;
    const struct batch_sequence *sequence; /* in order of first_row, covering all rows; no sequence twice */
    int32_t n_output;
    const int32_t *output_row; /* [n_output] rows whose logits are wanted, increasing */
    float *logits;             /* [n_output][n_vocab], written by the step */
    /* NULL, or how ids are drawn by a backend that can do it where the logits are. It puts the id into `drawn` and no
     * logits into the row. Another one, or one that finds a logit that is not finite, leaves `drawn` as it is. */
    const struct batch_draw *draw; /* [n_output] */
    int32_t *drawn;                /* [n_output] */
};

#endif
