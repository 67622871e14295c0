/* A backend that computes nothing useful but notices everything: its activations are 64-bit hashes of all keys that
 * attention should see, read from pages and rings as a real backend would, so one wrong page, ring, position or
 * snapshot changes every later logit. Memory starts out as garbage. fake_reference computes the same from the ids
 * alone, without pages. */
#ifndef SUPPORT_FAKE_BACKEND_H
#define SUPPORT_FAKE_BACKEND_H

#include <stdbool.h>

#include "model/backend.h"

enum { FAKE_LAYERS = 4, FAKE_WINDOW = 24, FAKE_VOCAB = 300 };

struct fake_counts {
    int open;      /* backends open now */
    uint64_t rows; /* computed so far */
    int faults;    /* broken promises of the batch or of the KV copies */
};

struct fake_model {
    struct model model;
    /* If script is set, the id at position script_first + i is script[i], beyond any doubt; ids past it are 0. */
    const int32_t *script;
    int script_first, n_script;
    /* Every answer is noise; or else one id in eight is, and the others follow the one before them round a circle of
     * twelve, so that much has been said before. Where the noise comes depends on every key seen. */
    bool repeats;
    /* The owner of sequence `index` of the batch being computed. What an owner's ids become has the owner in it, so
     * that a key that was computed for another one is noticed even if it comes from the same ids. NULL: owner 0
     * throughout. */
    uint64_t (*owner)(const void *engine, int index);
    const void *engine;
    int32_t nan_id, infinite_id; /* ids after which the logits hold a NaN or an infinity; -1: none */
    struct fake_counts *counts;
};

/* A vocabulary of FAKE_VOCAB, which may be changed. window 0: no sliding layers. */
struct fake_model fake_model(struct fake_counts *counts, int window, int max_context);

/* hidden uint64_t [n]: the last activation at every position of id[0 .. n), a sequence of this owner. */
void fake_reference(const struct fake_model *model, uint64_t owner, const int32_t *id, int n, uint64_t *hidden);
/* logits float [n_vocab]. */
void fake_logits(const struct fake_model *model, uint64_t hidden, int32_t last_id, float *logits);

extern const struct backend_table fake_backend;

#endif
