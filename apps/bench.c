/* How fast this machine is, and how fast a model runs on it. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "command.h"
#include "cpu/kernels.h"
#include "input.h"
#include "machine.h"
#include "rates.h"
#include "session.h"
#include "terminal.h"
#include "weights/tile.h"

enum { DECODE_TOKENS = 32, RATE_REPEATS = 7 };

struct bench {
    const struct arguments *arguments;
    struct session session;
    struct pool *pool;
    struct terminal terminal;
    json_t *report;
    double read_rate; /* median, bytes a second */
};

static json_t *figure_json(struct figure figure)
{
    return json_pack("{s:f, s:f, s:f}", "median", figure.median, "least", figure.least, "most", figure.most);
}

static goss_status put(json_t *object, const char *key, json_t *value, goss_error *error)
{
    return json_object_set_new(object, key, value) ? error_memory(error, 0, "the report") : GOSS_OK;
}

/* A line of the table, unless JSON is asked for. */
static void row(const struct bench *bench, const char *what, struct figure figure, double unit, const char *name,
                const char *note)
{
    if (bench->arguments->value[OPTION_JSON].given)
        return;
    (void)printf("  %-26s%10.1f %-10s %8.1f .. %-8.1f%s\n", what, figure.median / unit, name, figure.least / unit,
                 figure.most / unit, note);
    (void)fflush(stdout);
}

static goss_status bench_machine(struct bench *bench, goss_error *error)
{
    struct figure read, multiply;
    const struct kernels *kernels;
    goss_status status =
        pool_open(&bench->pool,
                  bench->arguments->value[OPTION_THREADS].given ? (int)bench->arguments->value[OPTION_THREADS].whole
                                                                : pool_cores(),
                  error);
    if (!status)
        status = kernels_pick(&kernels, bench->arguments->value[OPTION_ISA].text, error);
    if (!status)
        status = rate_read(bench->pool, RATE_REPEATS, &read, error);
    if (!status)
        status = rate_int8(bench->pool, kernels, RATE_REPEATS, &multiply, error);
    if (status)
        return status;
    bench->read_rate = read.median;
    row(bench, "memory read", read, 1e9, "GB/s", "");
    row(bench, "int8 products", multiply, 1e9, "Gop/s", "");
    json_t *machine =
        json_pack("{s:i, s:s, s:o, s:o}", "threads", pool_threads(bench->pool), "isa", kernels->name,
                  "read_bytes_per_second", figure_json(read), "int8_ops_per_second", figure_json(multiply));
    pool_close(bench->pool); /* the engine brings its own threads, which should not compete with idle ones */
    bench->pool = NULL;
    return put(bench->report, "machine", machine, error);
}

static uint64_t matrix_bytes(const struct matrix *matrix, int of_stack)
{
    return tile_bytes(matrix->type, (uint64_t)matrix->rows, (uint64_t)matrix->cols) * (uint64_t)of_stack;
}

/* Bytes of weights that one decoded token reads. */
static uint64_t token_bytes(const struct model *model)
{
    uint64_t bytes = matrix_bytes(&model->head, 1);
    for (int i = 0; i < model->config.n_layer; i++) {
        const struct layer *layer = &model->layers[i];
        bytes += matrix_bytes(&layer->qkv, 1) + matrix_bytes(&layer->attn_out, 1) + matrix_bytes(&layer->router, 1);
        bytes +=
            matrix_bytes(&layer->gate_up, model->config.n_active) + matrix_bytes(&layer->down, model->config.n_active);
    }
    return bytes;
}

/* One request of n random ids and `answer` tokens: seconds until the first token, and from there to the last. */
static goss_status time_request(struct bench *bench, int n, int answer, double *first, double *rest, goss_error *error)
{
    struct sequence *sequence = NULL;
    struct sampled sampled;
    int32_t no_stop = 0, *id = malloc(sizeof *id * (size_t)n);
    int found = 0, n_vocab = bench->session.model->config.n_vocab;
    if (!id)
        return error_memory(error, sizeof *id * (size_t)n, "a prompt");
    for (int i = 0; i < n; i++)
        id[i] = (int32_t)(random_uniform(1, (uint64_t)i, 0) * n_vocab);
    struct sequence_request request = {.id = id,
                                       .n_id = n,
                                       .max_tokens = answer,
                                       .sampling = sampling_default(),
                                       .stop = &no_stop,
                                       .n_stop = 0,
                                       .no_cache = true};
    double begin = seconds_now(), middle = begin;
    goss_status status = engine_add(bench->session.engine, &request, &sequence, error);
    while (!status && found < answer && !interrupted()) {
        if (sequence_next(sequence, &sampled)) {
            if (found++ == 0)
                middle = seconds_now();
        } else if (!engine_step(bench->session.engine)) {
            status = error_set(error, GOSS_E_INTERNAL, "the sequence ended after %d of %d tokens", found, answer);
        }
    }
    *first = middle - begin;
    *rest = seconds_now() - middle;
    if (!status && interrupted())
        status = error_set(error, GOSS_E_CANCELLED, "interrupted");
    engine_release(bench->session.engine, sequence);
    free(id);
    return status;
}

static goss_status bench_prefill(struct bench *bench, int n, json_t *list, goss_error *error)
{
    double rate[FIGURE_REPEATS], first = 0, rest = 0;
    int repeat = (int)bench->arguments->value[OPTION_REPEAT].whole;
    char what[64];
    for (int i = 0; i < repeat; i++) {
        goss_status status = time_request(bench, n, 1, &first, &rest, error);
        if (status)
            return status;
        rate[i] = n / first;
    }
    struct figure figure = figure_of(rate, repeat);
    (void)snprintf(what, sizeof what, "prefill of %d", n);
    row(bench, what, figure, 1, "tokens/s", "");
    if (json_array_append_new(list, json_pack("{s:i, s:o}", "tokens", n, "tokens_per_second", figure_json(figure))))
        return error_memory(error, 0, "the report");
    return GOSS_OK;
}

static goss_status bench_decode(struct bench *bench, int depth, json_t *list, goss_error *error)
{
    double rate[FIGURE_REPEATS], first = 0, rest = 0;
    int repeat = (int)bench->arguments->value[OPTION_REPEAT].whole;
    char what[64], note[64];
    for (int i = 0; i < repeat; i++) {
        goss_status status = time_request(bench, depth + 1, DECODE_TOKENS + 1, &first, &rest, error);
        if (status)
            return status;
        rate[i] = DECODE_TOKENS / rest;
    }
    struct figure figure = figure_of(rate, repeat);
    double share = figure.median * (double)token_bytes(bench->session.model) / bench->read_rate;
    (void)snprintf(what, sizeof what, "decode at depth %d", depth);
    (void)snprintf(note, sizeof note, "  %.0f %% of the memory rate", 100 * share);
    row(bench, what, figure, 1, "tokens/s", note);
    if (json_array_append_new(list, json_pack("{s:i, s:o, s:f}", "depth", depth, "tokens_per_second",
                                              figure_json(figure), "memory_rate_share", share)))
        return error_memory(error, 0, "the report");
    return GOSS_OK;
}

/* Runs one of the two measurements for every number of a list option. */
static goss_status bench_list(struct bench *bench, enum option_id option, const char *key,
                              goss_status (*measure)(struct bench *bench, int n, json_t *list, goss_error *error),
                              goss_error *error)
{
    int32_t *number = NULL;
    size_t n = 0;
    json_t *list = json_array();
    goss_status status =
        list ? arguments_list(bench->arguments, option, &number, &n, error) : error_memory(error, 0, "the report");
    for (size_t i = 0; !status && i < n; i++)
        status = measure(bench, number[i], list, error);
    free(number);
    if (!status)
        return put(bench->report, key, list, error);
    json_decref(list);
    return status;
}

/* The longest request of both lists. */
static goss_status longest(const struct arguments *arguments, int *most, goss_error *error)
{
    static const enum option_id option[] = {OPTION_PREFILL, OPTION_DEPTH};
    *most = 0;
    for (int k = 0; k < 2; k++) {
        int32_t *number = NULL;
        size_t n = 0;
        goss_status status = arguments_list(arguments, option[k], &number, &n, error);
        for (size_t i = 0; !status && i < n; i++)
            if (number[i] + DECODE_TOKENS + 2 > *most)
                *most = number[i] + DECODE_TOKENS + 2;
        free(number);
        if (status)
            return status;
    }
    return GOSS_OK;
}

static goss_status bench_model(struct bench *bench, goss_error *error)
{
    struct engine_options options = {.max_sequences = 1, .lookup = LOOKUP_OFF};
    double first = 0, rest = 0;
    goss_status status = longest(bench->arguments, &options.context, error);
    if (!status)
        status = session_open_model(&bench->session, bench->arguments, error);
    if (!status)
        status = session_open_engine(&bench->session, bench->arguments, &options, error);
    if (!status)
        status = time_request(bench, 1, 1, &first, &rest, error);
    if (status)
        return status;
    const struct session *session = &bench->session;
    double load = session->model_seconds + session->engine_seconds;
    if (!bench->arguments->value[OPTION_JSON].given)
        (void)printf("  %-26s%10.2f s, first token after %.2f s\n", "load", load, load + first);
    status = put(bench->report, "model",
                 json_pack("{s:s, s:s, s:I, s:f, s:f}", "path", session->path, "isa", engine_isa(session->engine),
                           "weight_bytes_per_token", (json_int_t)token_bytes(session->model), "load_seconds", load,
                           "first_token_seconds", load + first),
                 error);
    if (!status)
        status = bench_list(bench, OPTION_PREFILL, "prefill", bench_prefill, error);
    if (!status)
        status = bench_list(bench, OPTION_DEPTH, "decode", bench_decode, error);
    return status;
}

goss_status command_bench(const struct arguments *arguments, goss_error *error)
{
    struct bench bench = {.arguments = arguments, .report = json_object()};
    char peak[32];
    bool json = arguments->value[OPTION_JSON].given;
    interrupts_catch();
    if (!bench.report)
        return error_memory(error, 0, "the report");
    if (!json)
        (void)printf("  %-26s%10s %-10s %8s .. %s\n", "", "median", "", "least", "most");
    goss_status status = bench_machine(&bench, error);
    if (!status && arguments->value[OPTION_MODEL].given)
        status = bench_model(&bench, error);
    if (!status)
        status = put(bench.report, "peak_memory_bytes", json_integer((json_int_t)peak_memory_bytes()), error);
    if (!status && json)
        status = output_json(json_incref(bench.report), error);
    else if (!status)
        (void)printf("  %-26s%s\n", "peak memory", bytes_text(peak_memory_bytes(), true, peak));
    json_decref(bench.report);
    pool_close(bench.pool);
    session_close(&bench.session);
    return status;
}
