/* How fast this machine is, and how fast a model runs on it. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "machine.h"
#include "weights/packed.h"

/* Of the memory's rate: where the file is read more slowly than this, a copy of it is not. */
#define WORTH_COPYING 0.85

json_t *figure_json(struct figure figure)
{
    return json_pack("{s:f, s:f, s:f}", "median", figure.median, "least", figure.least, "most", figure.most);
}

goss_status bench_put(struct bench *bench, const char *key, json_t *value, goss_error *error)
{
    return json_object_set_new(bench->report, key, value) ? error_memory(error, 0, "the report") : GOSS_OK;
}

void bench_row(const struct bench *bench, const char *what, struct figure figure, double unit, const char *name,
               const char *note)
{
    if (!bench->print)
        return;
    (void)printf("  %-26s%10.2f %-9s%9.2f .. %-9.2f%s\n", what, figure.median / unit, name, figure.least / unit,
                 figure.most / unit, note);
    (void)fflush(stdout);
}

static void limit_add(struct limit *limit, double sample[RATE_SAMPLES])
{
    limit->now = figure_of(sample, RATE_SAMPLES).median;
    for (int i = 0; i < RATE_SAMPLES && limit->n < FIGURE_REPEATS; i++)
        limit->sample[limit->n++] = sample[i];
}

goss_status bench_limits(struct bench *bench, goss_error *error)
{
    double sample[RATE_SAMPLES];
    uint64_t all = peak_memory_bytes(), own = bench->read_memory.size, peak_memory = all > own ? all - own : 0;
    const struct peak *peak = peak_of(bench->kernels);
    struct pool *pool = NULL; /* of its own: the engine's threads sleep meanwhile */
    if (bench->session.engine && peak_memory > bench->peak_memory)
        bench->peak_memory = peak_memory;
    goss_status status = pool_open(&pool, bench->threads, error);
    if (!status)
        status = rate_read(pool, peak, &bench->read_memory, sample, error);
    if (!status) {
        limit_add(&bench->read, sample);
        rate_int8(pool, peak, sample);
        limit_add(&bench->int8, sample);
    }
    pool_close(pool);
    peak_memory_reset();
    return status;
}

goss_status bench_weights(struct bench *bench, goss_error *error)
{
    const struct file_map *map = &bench->session.model->file->map;
    double sample[RATE_SAMPLES];
    char note[64];
    struct pool *pool = NULL;
    goss_status status = bench_limits(bench, error);
    if (!status)
        status = pool_open(&pool, bench->threads, error);
    if (status)
        return status;
    rate_read_of(pool, peak_of(bench->kernels), map->data, map->size, sample);
    pool_close(pool);
    struct figure figure = figure_of(sample, RATE_SAMPLES);
    double share = figure.median / bench->read.now;
    bool copied = bench->arguments->value[OPTION_COPY_WEIGHTS].given;
    (void)snprintf(note, sizeof note, "%.0f %% of the memory rate%s", 100 * share,
                   share < WORTH_COPYING && !copied ? "; --copy-weights may help" : "");
    bench_row(bench, copied ? "weights read, copied" : "weights read, mapped", figure, 1e9, "GB/s", note);
    return bench_put(bench, "weights",
                     json_pack("{s:b, s:o, s:f}", "copied", copied, "read_bytes_per_second", figure_json(figure),
                               "memory_rate_share", share),
                     error);
}

static goss_status report_limits(struct bench *bench, goss_error *error)
{
    struct machine machine;
    machine_read(&machine);
    struct figure read = figure_of(bench->read.sample, bench->read.n);
    struct figure int8 = figure_of(bench->int8.sample, bench->int8.n);
    if (bench->read.n > RATE_SAMPLES && bench->print)
        (void)printf("the machine, measured %d times all along\n", bench->read.n / RATE_SAMPLES);
    bench_row(bench, "memory read", read, 1e9, "GB/s", "");
    bench_row(bench, "int8 products", int8, 1e9, "Gop/s", "");
    return bench_put(bench, "machine",
                     json_pack("{s:s, s:i, s:s, s:o, s:o}", "processor", machine.processor, "threads", bench->threads,
                               "isa", bench->kernels->name, "read_bytes_per_second", figure_json(read),
                               "int8_ops_per_second", figure_json(int8)),
                     error);
}

static goss_status bench_run(struct bench *bench, goss_error *error)
{
    const struct value *value = bench->arguments->value;
    bench->threads = value[OPTION_THREADS].given ? (int)value[OPTION_THREADS].whole : pool_cores();
    goss_status status = kernels_pick(&bench->kernels, value[OPTION_ISA].text, error);
    if (status)
        return status;
    if (bench->print)
        (void)printf("gossamer " GOSS_VERSION ", %s, threads: %d\n  %-26s%10s %-9s%9s .. %s\n", bench->kernels->name,
                     bench->threads, "", "median", "", "least", "most");
    status = bench_limits(bench, error);
    if (!status)
        status = report_limits(bench, error);
    if (status || !value[OPTION_MODEL].given)
        return status;
    status = bench_model(bench, error);
    if (!status) /* once more, now from all measurements */
        status = report_limits(bench, error);
    if (!status && bench->print) {
        char text[32];
        (void)printf("  %-26s%10s\n", "peak memory", bytes_text(bench->peak_memory, true, text));
    }
    if (!status)
        status = bench_put(bench, "peak_memory_bytes", json_integer((json_int_t)bench->peak_memory), error);
    return status;
}

goss_status command_bench(const struct arguments *arguments, goss_error *error)
{
    struct bench *bench = calloc(1, sizeof *bench);
    if (!bench)
        return error_memory(error, sizeof *bench, "the bench");
    bench->arguments = arguments;
    bench->print = !arguments->value[OPTION_JSON].given;
    bench->report = json_object();
    interrupts_catch();
    goss_status status = bench->report ? bench_run(bench, error) : error_memory(error, 0, "the report");
    if (!status && !bench->print)
        status = output_json(json_incref(bench->report), error);
    json_decref(bench->report);
    session_close(&bench->session);
    rate_memory_free(&bench->read_memory);
    free(bench->id);
    free(bench);
    return status;
}
