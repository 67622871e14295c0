/* An engine over the fake backend, and requests whose answers are compared with what fake_reference gives from the ids
 * alone. Everything asserts that it works. */
#ifndef SUPPORT_FAKE_ENGINE_H
#define SUPPORT_FAKE_ENGINE_H

#include "engine/engine.h"
#include "support/fake_backend.h"

enum { FAKE_CONTEXT = 1600, FAKE_ANSWER = 64 };

struct fake_engine {
    struct fake_counts counts;
    struct fake_model fake; /* may be changed */
    struct engine *engine;
};

void fake_engine_open(struct fake_engine *fake, int window, struct engine_options options);
/* All that was held is free again, once the cache is dropped too. */
void fake_engine_close(struct fake_engine *fake);
uint64_t fake_engine_bytes(int pages, int rings, int checkpoints);

/* A request and what came of it. */
struct asked {
    int32_t id[FAKE_CONTEXT];
    struct sequence_request request;
    struct sequence *sequence;
    int32_t answer[FAKE_CONTEXT];
    int n_answer, stop_after; /* cancelled after so many tokens, or -1 */
};

/* A prompt of n ids: the first `shared` ones are those of a family, the others its own. `own` is its seed, too. */
struct asked *asked_new(uint64_t family, int shared, uint64_t own, int n);
void asked_add(struct fake_engine *fake, struct asked *asked);
void asked_pull(struct asked *asked);
void asked_run_alone(struct fake_engine *fake, struct asked *asked);
/* Compares the answer, or the part of it that was given before the end, and frees everything. */
void asked_check(struct fake_engine *fake, struct asked *asked);

/* 24 prompts of a few families join a few at a time; some are cancelled on the way; all are checked. */
void fake_engine_crowd(struct fake_engine *fake, uint64_t seed);

#endif
