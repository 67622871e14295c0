/* What the two halves of `gossamer bench` share: bench.c measures the machine and makes the report, bench_model.c
 * measures a model between two measurements of the machine. */
#ifndef APPS_BENCH_H
#define APPS_BENCH_H

#include <jansson.h>

#include "command.h"
#include "cpu/kernels.h"
#include "rates.h"
#include "session.h"
#include "terminal.h"

/* A limit of the machine, measured again and again because shared machines change their speed. */
struct limit {
    double now;                    /* median of the last measurement, per second */
    double sample[FIGURE_REPEATS]; /* [n] of all measurements */
    int n;
};

struct bench {
    const struct arguments *arguments;
    bool print; /* for people */
    int threads;
    const struct kernels *kernels;
    struct limit read, int8;
    struct rate_memory read_memory;
    json_t *report;
    uint64_t peak_memory; /* of the model's part so far; read_memory does not count */

    struct session session;
    int32_t *id;        /* [longest + 1] the prompt that all requests begin with */
    int longest;        /* positions of the longest request */
    bool on_cpu;        /* the limits are those of what computes */
    double prompt_rate; /* tokens a second of the last prompt timed; 0 before */
    int cached;         /* positions of `id` that the engine's cache holds */
};

/* Measures both limits anew. */
goss_status bench_limits(struct bench *bench, goss_error *error);

/* How fast the weights are read where the open model has them. */
goss_status bench_weights(struct bench *bench, goss_error *error);

/* A line of the table, for people. */
void bench_row(const struct bench *bench, const char *what, struct figure figure, double unit, const char *name,
               const char *note);

/* {"median", "least", "most"}; NULL when memory is out. */
json_t *figure_json(struct figure figure);

/* object[key] = value, which is given away; NULL is reported as memory being out. */
goss_status bench_put(struct bench *bench, const char *key, json_t *value, goss_error *error);

/* Starts the model cold and warm, times prompts and answers; adds "model", "prefill" and "decode" to the report. */
goss_status bench_model(struct bench *bench, goss_error *error);

#endif
