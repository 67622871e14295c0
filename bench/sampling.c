/* Milliseconds that the sampler takes for one token of gpt-oss's vocabulary, the best of 100, by what is switched on:
 * one JSON line each. Two rows of logits: one peaked like a model's, one flat. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/random.h"
#include "engine/sampler.h"

enum { VOCABULARY = 201088, ROUNDS = 100 };

static double milliseconds(void)
{
    return 1e3 * clock_seconds();
}

static void make_logits(float *x, bool peaked)
{
    for (int i = 0; i < VOCABULARY; i++) {
        double u = random_uniform(1, (uint64_t)i, 0), v = random_uniform(2, (uint64_t)i, 0);
        x[i] = (float)(4 * (u + v - 1) + (peaked && i % 997 == 0 ? 20 * v : 0));
    }
}

static bool measure(const char *name, const struct sampling *sampling, const float *logits, const char *shape)
{
    struct sampler *sampler;
    goss_error error;
    float *copy = malloc(VOCABULARY * sizeof *copy);
    if (!copy || sampler_open(&sampler, sampling, VOCABULARY, &error)) {
        free(copy);
        return false;
    }
    double best = 1e9;
    for (uint64_t i = 0; i < ROUNDS; i++) {
        struct sampled sampled;
        memcpy(copy, logits, VOCABULARY * sizeof *copy);
        double begin = milliseconds();
        if (sampler_sample(sampler, copy, i, NULL, &sampled, &error))
            break;
        double taken = milliseconds() - begin;
        best = taken < best ? taken : best;
    }
    (void)printf("{\"sampling\":\"%s\",\"logits\":\"%s\",\"ms\":%.3f}\n", name, shape, best);
    sampler_close(sampler);
    free(copy);
    return true;
}

int main(void)
{
    float *logits = malloc(VOCABULARY * sizeof *logits);
    struct sampling greedy = sampling_default(), plain = greedy, top_k = greedy, top_p = greedy, min_p = greedy,
                    logprobs = greedy;
    greedy.temperature = 0;
    top_k.top_k = 40;
    top_p.top_p = 0.9;
    min_p.min_p = 0.05;
    logprobs.logprobs = 5;
    bool fine = logits != NULL;
    for (int peaked = 1; peaked >= 0 && fine; peaked--) {
        const char *shape = peaked ? "peaked" : "flat";
        make_logits(logits, peaked);
        fine = measure("greedy", &greedy, logits, shape) && measure("temperature", &plain, logits, shape) &&
               measure("top_k", &top_k, logits, shape) && measure("top_p", &top_p, logits, shape) &&
               measure("min_p", &min_p, logits, shape) && measure("logprobs", &logprobs, logits, shape);
    }
    free(logits);
    return !fine;
}
