/* An engine on the CPU over a toy model. */
#ifndef SUPPORT_TOY_ENGINE_H
#define SUPPORT_TOY_ENGINE_H

#include "engine/engine.h"

/* Asserts that it works. */
struct engine *toy_engine_open(const struct model *model, struct engine_options options);

/* A request, what it is answered alone, and what it is answered meanwhile elsewhere, which has to be the same. */
enum { TOY_MOST_PROMPT = 620, TOY_MOST_ANSWER = 50 };
struct toy_asked {
    int32_t id[TOY_MOST_PROMPT];
    int32_t boundary[2];
    struct sequence_request request;
    struct sampled expected[TOY_MOST_ANSWER], found[TOY_MOST_ANSWER];
    int n_expected, n_found;
    struct sequence *sequence; /* NULL: not under way */
};

/* Runs it on an engine that has nothing else to do: `expected`. */
void toy_asked_alone(struct engine *engine, struct toy_asked *a);
void toy_asked_add(struct engine *engine, struct toy_asked *a);
/* Takes what is there into `found`. */
void toy_asked_pull(struct toy_asked *a);
/* Ends it: ids and logprobs are those expected, to the last bit. */
void toy_asked_check(struct engine *engine, struct toy_asked *a);

/* An instruction set below the best that processors of this architecture have. */
#if defined(__x86_64__)
#define LESSER_ISA "avx2"
#elif defined(__aarch64__)
#define LESSER_ISA "neon"
#else
#define LESSER_ISA "scalar"
#endif

#endif
