/* What engine.c, scheduler.c and step.c share; nobody else includes it. */
#ifndef ENGINE_INTERNAL_H
#define ENGINE_INTERNAL_H

#include "engine/cost.h"
#include "engine/engine.h"
#include "engine/kv.h"
#include "engine/lookup.h"

enum state { STATE_WAITING, STATE_RUNNING, STATE_DONE };

enum { DRAFT_ROWS = 32 /* most guesses in a batch, all sequences together */ };

struct sequence {
    struct engine *engine;
    struct sequence *previous, *next; /* in engine->active, or in engine->done */
    enum state state;
    enum finish finish;
    goss_error error;

    int32_t *id;               /* [limit] prompt, then answer */
    int n_prompt, n_id, limit; /* limit: prompt + max_tokens */
    int n_computed;            /* ids whose keys and values are in the cache; the others are rows to come */
    int n_begun;               /* n_computed when it last got its pages: what came from the cache */
    int cached_tokens;         /* the same when it began for the first time, or -1 before */
    int32_t *stop, *boundary;  /* owned */
    int n_stop, n_boundary;
    bool score;
    struct sampler *sampler; /* NULL if score */
    struct guide guide;
    struct kv_sequence kv;
    struct lookup lookup; /* place is NULL if it is off */
    int most_drafts;      /* guesses a step */
    bool eager;           /* guesses without asking whether it pays */

    int n_row;        /* rows in the batch being planned or computed; 0 if none */
    int n_draft;      /* the last of them: guesses, kept behind the true ids in id[n_id ..) */
    int n_guess;      /* while planning: the guesses there are */
    double chance;    /* while planning: that the guess after the last one taken is accepted */
    int first_output; /* its first row of logits in that batch */
    struct score_rows scores;

    struct sampled queue[ENGINE_QUEUE]; /* sampled and not pulled yet: n_queue from first_queued, circular */
    int first_queued, n_queue;
};

struct sequence_list {
    struct sequence *first, *last;
};

struct engine {
    const struct model *model;
    const struct backend_table *table;
    struct backend *backend;
    struct engine_options options; /* no field is 0 that has a default */
    struct kv_cache *kv;
    uint64_t page_bytes, ring_bytes; /* of one, in the backend */
    uint64_t snapshot_bytes;         /* of a checkpoint's ring */
    int slack;                       /* how far behind a checkpoint's position a batch may end */
    struct sequence_list active;     /* waiting and running, in the order in which they were added */
    struct sequence_list done;
    int n_running, n_waiting;
    /* the batch: arrays for max_rows, max_sequences and max_outputs */
    struct batch batch;
    int32_t *token, *position, *output_row;
    struct batch_sequence *rows;
    struct sequence **row_owner; /* [n_sequence] */
    float *logits;
    struct batch_draw *draw; /* [n_output] */
    int32_t *drawn;          /* [n_output] */
    struct step_cost cost;
    uint64_t n_steps, n_rows, n_decode_rows, n_drafted, n_accepted, n_preemptions;
};

/* scheduler.c: gives waiting sequences pages and decides how many rows each sequence has in the next batch (n_row). */
void scheduler_plan(struct engine *engine);
/* Moves a sequence to the done list with everything it holds given back. */
void sequence_end(struct sequence *sequence, enum finish finish);

static inline bool sequence_stops(const struct sequence *sequence, int32_t id)
{
    for (int i = 0; i < sequence->n_stop; i++)
        if (sequence->stop[i] == id)
            return true;
    return false;
}

static inline int rows_to_come(const struct sequence *sequence)
{
    return sequence->n_id - sequence->n_computed;
}

#endif
