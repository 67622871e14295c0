#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/random.h"
#include "bench.h"
#include "machine.h"
#include "weights/packed.h"
#include "work.h"

enum {
    DECODE_TOKENS = 32,
    WARM_UP = 512, /* tokens of the untimed prompt that fetches the weights */
    WARM_STARTS = 3,
    LONG_PROMPT = 2048, /* from here on a progress bar is worth drawing */
    PATIENCE = 300,     /* seconds: what takes longer is left out unless it was asked for */
    PAGE = 4096
};

/* ---- requests ---- */

struct timing {
    double first; /* seconds to the first token */
    double rest;  /* and from there to the last */
};

/* Draws the prompt's progress until it is computed. */
static void show_prompt(const struct bench *bench, struct progress *bar, const struct terminal *terminal, int n,
                        uint64_t rows_before)
{
    uint64_t rows = engine_stats(bench->session.engine).rows - rows_before;
    if (n >= LONG_PROMPT && terminal->is_terminal && rows < (uint64_t)n)
        progress_show(bar, terminal, "prompt", rows, (uint64_t)n);
}

/* Pulls `answer` tokens out of the sequence. */
static goss_status pull(struct bench *bench, struct sequence *sequence, int n, int answer, struct timing *timing,
                        goss_error *error)
{
    struct engine *engine = bench->session.engine;
    struct terminal terminal;
    struct progress bar = {.unit = "tokens"};
    struct sampled sampled;
    uint64_t rows_before = engine_stats(engine).rows;
    double begin = clock_seconds(), middle = begin;
    terminal_open(&terminal, stderr, COLOR_AUTO);
    for (int found = 0; found < answer;) {
        if (interrupted())
            return error_set(error, GOSS_E_CANCELLED, "interrupted");
        if (sequence_next(sequence, &sampled)) {
            if (found++ == 0)
                middle = clock_seconds();
        } else if (engine_step(engine)) {
            show_prompt(bench, &bar, &terminal, n, rows_before);
        } else {
            return error_set(error, GOSS_E_INTERNAL, "the sequence ended after %d of %d tokens", found, answer);
        }
    }
    timing->first = middle - begin;
    timing->rest = clock_seconds() - middle;
    progress_end(&bar, &terminal);
    return GOSS_OK;
}

/* One request of the first n ids and `answer` tokens. What it computes of them stays in the engine's cache up to
 * position n - 1, and a later one continues there. */
static goss_status time_request(struct bench *bench, int n, int answer, struct timing *timing, goss_error *error)
{
    struct sequence *sequence = NULL;
    int32_t no_stop = 0, last = n - 1;
    struct sequence_request request = {.id = bench->id,
                                       .n_id = n,
                                       .max_tokens = answer,
                                       .sampling = sampling_default(),
                                       .stop = &no_stop,
                                       .n_stop = 0,
                                       .boundary = &last,
                                       .n_boundary = 1};
    goss_status status = engine_add(bench->session.engine, &request, &sequence, error);
    if (!status)
        status = pull(bench, sequence, n, answer, timing, error);
    engine_release(bench->session.engine, sequence);
    return status;
}

/* Nothing is cached after it. */
static void forget(struct bench *bench)
{
    engine_forget(bench->session.engine);
    bench->cached = 0;
}

/* ---- starting ---- */

/* Asks the system to drop its copy of a file that nobody maps; *left is the share that stayed. */
static goss_status evict(const char *path, double *left, goss_error *error)
{
    struct file_map map;
    size_t pages, resident = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(error, path, "cannot open");
    (void)fdatasync(fd); /* what is not yet written cannot be dropped */
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    (void)close(fd);
    goss_status status = file_map_open(&map, path, error);
    if (status)
        return status;
    pages = (size_t)((map.size + PAGE - 1) / PAGE);
    unsigned char *in = malloc(pages);
    if (!in)
        status = error_memory(error, pages, "the pages of a file");
    else if (mincore((void *)(uintptr_t)map.data, (size_t)map.size, in))
        status = error_errno(error, path, "cannot tell what is in memory");
    for (size_t i = 0; !status && i < pages; i++)
        resident += in[i] & 1;
    *left = (double)resident / (double)pages;
    free(in);
    file_map_close(&map);
    return status;
}

/* Opens the model and an engine, and takes the first token after a prompt of one. */
static goss_status start(struct bench *bench, double *load, double *first, goss_error *error)
{
    struct engine_options options = {.max_sequences = 1, .context = bench->longest, .lookup = LOOKUP_OFF};
    struct timing timing = {0};
    session_close(&bench->session);
    goss_status status = session_open_model(&bench->session, bench->arguments, error);
    if (!status)
        status = session_open_engine(&bench->session, bench->arguments, &options, error);
    *load = bench->session.model_seconds + bench->session.engine_seconds;
    if (!status)
        status = time_request(bench, 1, 1, &timing, error);
    *first = *load + timing.first;
    if (!status)
        forget(bench);
    return status;
}

static goss_status start_cold(struct bench *bench, json_t *report, goss_error *error)
{
    double load = 0, first = 0, left = 0;
    char *packed = strdup(bench->session.model->file->map.path), note[64] = "";
    if (!packed)
        return error_memory(error, 0, "a path");
    session_close(&bench->session);
    goss_status status = evict(packed, &left, error);
    free(packed);
    if (!status)
        status = start(bench, &load, &first, error);
    if (status)
        return status;
    if (left >= 0.01)
        (void)snprintf(note, sizeof note, "%.0f %% of the file stayed in memory", 100 * left);
    bench_row(bench, "first token, cold", (struct figure){first, first, first}, 1, "s", note);
    if (json_object_set_new(
            report, "cold",
            json_pack("{s:f, s:f, s:f}", "load_seconds", load, "first_token_seconds", first, "still_in_memory", left)))
        return error_memory(error, 0, "the report");
    return GOSS_OK;
}

static goss_status start_warm(struct bench *bench, json_t *report, goss_error *error)
{
    double load[WARM_STARTS], first[WARM_STARTS];
    for (int i = 0; i < WARM_STARTS; i++) {
        goss_status status = start(bench, &load[i], &first[i], error);
        if (status)
            return status;
    }
    struct figure loads = figure_of(load, WARM_STARTS), firsts = figure_of(first, WARM_STARTS);
    bench_row(bench, "load, warm", loads, 1, "s", "");
    bench_row(bench, "first token, warm", firsts, 1, "s", "");
    const struct session *session = &bench->session;
    json_t *warm =
        json_pack("{s:s, s:s, s:I, s:f, s:f, s:o, s:o}", "path", session->path, "isa", engine_isa(session->engine),
                  "weight_bytes_per_token", (json_int_t)work_weight_bytes(session->model), "load_seconds", loads.median,
                  "first_token_seconds", firsts.median, "load_spread", figure_json(loads), "first_token_spread",
                  figure_json(firsts));
    int failed = !warm || json_object_update(report, warm);
    json_decref(warm);
    return failed ? error_memory(error, 0, "the report") : GOSS_OK;
}

/* ---- prompts and answers ---- */

/* What is left out, and how to have it, because the standard lengths must suit slow machines and small models. */
static bool left_out(const struct bench *bench, enum option_id option, int n, int to_compute)
{
    const char *name = option_table[option].name;
    int most = engine_context(bench->session.engine) - DECODE_TOKENS - 2;
    double seconds = bench->prompt_rate > 0 ? to_compute / bench->prompt_rate : 0;
    if (bench->arguments->value[option].given)
        return false;
    if (n > most)
        (void)fprintf(stderr, "left out: --%s %d, the model holds %d\n", name, n, most);
    else if (seconds > PATIENCE)
        (void)fprintf(stderr, "left out: --%s %d would take %.0f minutes; ask for it to have it\n", name, n,
                      seconds / 60);
    return n > most || seconds > PATIENCE;
}

/* Repeats a request until --repeat or --seconds is used up. rate[i] is of the prompt, or of the answer if there is one
 * of more than one token. */
static goss_status repeat_request(struct bench *bench, int n, int answer, double rate[FIGURE_REPEATS], int *found,
                                  goss_error *error)
{
    int repeat = (int)bench->arguments->value[OPTION_REPEAT].whole;
    double begin = clock_seconds(), most = (double)bench->arguments->value[OPTION_SECONDS].whole;
    *found = 0;
    do {
        struct timing timing;
        if (answer == 1)
            forget(bench);
        goss_status status = time_request(bench, n, answer, &timing, error);
        if (status)
            return status;
        rate[(*found)++] = answer == 1 ? n / timing.first : (answer - 1) / timing.rest;
    } while (*found < repeat && clock_seconds() - begin < most);
    return GOSS_OK;
}

/* The share of a limit of the CPU says something if the CPU computes. */
static json_t *share_json(const struct bench *bench, double share)
{
    return bench->on_cpu ? json_real(share) : json_null();
}

static void share_note(const struct bench *bench, double share, const char *limit, char note[64])
{
    note[0] = '\0';
    if (bench->on_cpu)
        (void)snprintf(note, 64, "%.0f %% of the %s rate", 100 * share, limit);
}

static goss_status add_row(json_t *list, const char *key, int n, const double *rate, int n_rate, struct figure figure,
                           const char *share_key, json_t *share, goss_error *error)
{
    json_t *runs = json_array();
    for (int i = 0; i < n_rate; i++)
        if (json_array_append_new(runs, json_real(rate[i])))
            return error_memory(error, 0, "the report");
    if (json_array_append_new(list, json_pack("{s:i, s:o, s:o, s:o}", key, n, "tokens_per_second", figure_json(figure),
                                              share_key, share, "runs", runs)))
        return error_memory(error, 0, "the report");
    return GOSS_OK;
}

static goss_status bench_prompt(struct bench *bench, int n, json_t *list, goss_error *error)
{
    double rate[FIGURE_REPEATS], sorted[FIGURE_REPEATS], limit = bench->int8.now;
    int found;
    char what[64], note[64];
    if (left_out(bench, OPTION_PREFILL, n, n))
        return GOSS_OK;
    goss_status status = repeat_request(bench, n, 1, rate, &found, error);
    bench->cached = n;
    if (!status)
        status = bench_limits(bench, error);
    if (status)
        return status;
    limit = (limit + bench->int8.now) / 2;
    memcpy(sorted, rate, sizeof rate);
    struct figure figure = figure_of(sorted, found);
    double share = figure.median * work_prompt_ops(bench->session.model, n) / n / limit;
    bench->prompt_rate = figure.median;
    (void)snprintf(what, sizeof what, "prefill of %d", n);
    share_note(bench, share, "int8", note);
    bench_row(bench, what, figure, 1, "tokens/s", note);
    return add_row(list, "tokens", n, rate, found, figure, "int8_rate_share", share_json(bench, share), error);
}

static goss_status bench_answer(struct bench *bench, int depth, json_t *list, goss_error *error)
{
    const struct model *model = bench->session.model;
    double rate[FIGURE_REPEATS], sorted[FIGURE_REPEATS], limit;
    int found;
    char what[64], note[64];
    struct timing timing;
    if (left_out(bench, OPTION_DEPTH, depth, depth - bench->cached))
        return GOSS_OK;
    goss_status status = time_request(bench, depth + 1, 1, &timing, error); /* fills the cache */
    bench->cached = depth > bench->cached ? depth : bench->cached;
    if (!status)
        status = bench_limits(bench, error);
    limit = bench->read.now;
    if (!status)
        status = repeat_request(bench, depth + 1, DECODE_TOKENS + 1, rate, &found, error);
    if (!status)
        status = bench_limits(bench, error);
    if (status)
        return status;
    limit = (limit + bench->read.now) / 2;
    memcpy(sorted, rate, sizeof rate);
    struct figure figure = figure_of(sorted, found);
    uint64_t bytes = work_weight_bytes(model) + work_kv_bytes(model, depth + DECODE_TOKENS / 2);
    double share = figure.median * (double)bytes / limit;
    (void)snprintf(what, sizeof what, "decode at depth %d", depth);
    share_note(bench, share, "memory", note);
    bench_row(bench, what, figure, 1, "tokens/s", note);
    return add_row(list, "depth", depth, rate, found, figure, "memory_rate_share", share_json(bench, share), error);
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
        return bench_put(bench, key, list, error);
    json_decref(list);
    return status;
}

/* ---- all of it ---- */

/* The longest request of both lists, and random ids for it: random ids choose their experts evenly. */
static goss_status make_prompt(struct bench *bench, goss_error *error)
{
    static const enum option_id option[] = {OPTION_PREFILL, OPTION_DEPTH};
    int n_vocab = bench->session.model->config.n_vocab;
    bench->longest = WARM_UP + 1;
    for (int k = 0; k < 2; k++) {
        int32_t *number = NULL;
        size_t n = 0;
        goss_status status = arguments_list(bench->arguments, option[k], &number, &n, error);
        for (size_t i = 0; !status && i < n; i++)
            if (number[i] + DECODE_TOKENS + 2 > bench->longest)
                bench->longest = number[i] + DECODE_TOKENS + 2;
        free(number);
        if (status)
            return status;
    }
    bench->id = malloc(sizeof *bench->id * (size_t)bench->longest);
    if (!bench->id)
        return error_memory(error, sizeof *bench->id * (size_t)bench->longest, "a prompt");
    for (int i = 0; i < bench->longest; i++)
        bench->id[i] = (int32_t)(random_uniform(1, (uint64_t)i, 0) * n_vocab);
    return GOSS_OK;
}

/* Starts the model, cold if asked, fetches its weights, and measures how fast they are read there. */
static goss_status begin(struct bench *bench, json_t *report, goss_error *error)
{
    struct timing timing;
    double load = 0, first = 0;
    goss_status status = session_open_model(&bench->session, bench->arguments, error); /* packs it if need be */
    if (!status)
        status = make_prompt(bench, error);
    if (status)
        return status;
    if (bench->print)
        (void)printf("%s\n", bench->session.path);
    (void)fflush(stdout);
    status = bench->arguments->value[OPTION_NO_COLD].given ? start(bench, &load, &first, error)
                                                           : start_cold(bench, report, error);
    if (status)
        return status;
    bench->on_cpu = strcmp(engine_backend(bench->session.engine), "cpu") == 0;
    int n = engine_context(bench->session.engine) - 1;
    status = time_request(bench, n < WARM_UP ? n : WARM_UP, 1, &timing, error);
    return status || !bench->on_cpu ? status : bench_weights(bench, error);
}

goss_status bench_model(struct bench *bench, goss_error *error)
{
    json_t *report = json_object();
    goss_status status = report ? begin(bench, report, error) : error_memory(error, 0, "the report");
    if (!status)
        status = bench_list(bench, OPTION_PREFILL, "prefill", bench_prompt, error);
    if (!status)
        status = bench_list(bench, OPTION_DEPTH, "decode", bench_answer, error);
    if (!status)
        status = start_warm(bench, report, error);
    if (!status)
        status = bench_limits(bench, error);
    if (!status)
        status = bench_put(bench, "model", json_incref(report), error);
    json_decref(report);
    return status;
}
