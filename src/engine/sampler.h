/* From one row of logits to one token. docs/sampling.md is the definition.
 *
 * A token depends on the logits, the parameters, the ids seen before, the seed and its own position, and on nothing
 * else: the random number is looked up by (seed, position), never drawn from a stream. The only rounding is in the
 * weight of an id, exp((logit - max) / temperature) as a 44-bit fixed-point integer; sums, cut-offs and the draw are
 * integer arithmetic, so no order of summation shows. Ties go to the lower id.
 *
 * Thread safety: a sampler belongs to one sequence; logprobs_* are pure. */
#ifndef ENGINE_SAMPLER_H
#define ENGINE_SAMPLER_H

#include <stdint.h>

#include "base/error.h"
#include "model/batch.h"

enum { SAMPLER_MAX_LOGPROBS = 20, SAMPLER_MAX_BIAS = 1024 };

struct logit_bias {
    int32_t id;
    float bias; /* -100 .. 100, added to the logit */
};

/* Start from sampling_default(): temperature 1 and everything else off, which is what gpt-oss was trained for. */
struct sampling {
    double temperature;        /* 0 .. 100; below 1e-4 the highest logit wins */
    double top_p;              /* 0 .. 1; 1 is off; 0 keeps one id */
    double min_p;              /* 0 .. 1; 0 is off: drops ids less likely than min_p times the likeliest */
    int top_k;                 /* 0 is off */
    double repetition_penalty; /* 0.01 .. 100; 1 is off; prompt and answer: positive logits are divided by it, others
                                  multiplied */
    double presence_penalty;   /* -100 .. 100; 0 is off; subtracted from ids that the answer holds */
    double frequency_penalty;  /* -100 .. 100; 0 is off; subtracted once per occurrence in the answer */
    const struct logit_bias *bias; /* [n_bias] or NULL; copied by sampler_open; biases of one id add up */
    int n_bias;
    uint64_t seed;
    int logprobs; /* -1: none; else the sampled id's logprob and the `logprobs` likeliest ids, at most 20 */
};

struct sampling sampling_default(void);

/* GOSS_E_ARGUMENT, naming the parameter, its value and its range. */
goss_status sampling_check(const struct sampling *sampling, int n_vocab, goss_error *error);

/* Logprobs are of the model's own distribution: the raw logits at temperature 1, before mask, bias and penalties. */
struct logprob {
    int32_t id;
    double logprob; /* natural logarithm */
};
struct sampled {
    int32_t id;
    int n_top;                                /* -1 if logprobs were not asked for, and then logprob is 0 */
    double logprob;                           /* of id */
    struct logprob top[SAMPLER_MAX_LOGPROBS]; /* [n_top], the likeliest first */
};

struct sampler;

goss_status sampler_open(struct sampler **sampler, const struct sampling *sampling, int n_vocab, goss_error *error);
void sampler_close(struct sampler *sampler); /* NULL is fine */

/* Tells the penalties about an id of the prompt, or one of the answer. */
void sampler_see_prompt(struct sampler *sampler, int32_t id);
void sampler_see_answer(struct sampler *sampler, int32_t id);

/* Samples the id at `position` (the absolute position it will have in the sequence). logits float [n_vocab] is
 * overwritten. `allowed` is a set of ids, bit i%64 of word i/64, or NULL for all; it comes before everything else.
 * Fails with GOSS_E_FORMAT on a logit that is not finite and GOSS_E_ARGUMENT on an empty set. */
goss_status sampler_sample(struct sampler *sampler, float *logits, uint64_t position, const uint64_t *allowed,
                           struct sampled *sampled, goss_error *error);

/* How sampler_sample would draw at `position`, for a backend that can do so itself; not wanted if more than the logits
 * takes part (penalties, biases) or more than the id comes of it (logprobs). */
struct batch_draw sampler_draw(const struct sampler *sampler, uint64_t position);

/* The logprob of `id` and of the n likeliest ids (n <= 20, written to top, which may be NULL when n is 0). All logits
 * must be finite: see logits_check. */
double logprobs_of(const float *logits, int n_vocab, int32_t id, int n, struct logprob *top);

/* GOSS_E_FORMAT, naming the id and the position, if any of logits float [n_vocab] is not finite. */
goss_status logits_check(const float *logits, int n_vocab, uint64_t position, goss_error *error);

#endif
