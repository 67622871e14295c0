/* Speed of the stages at the sizes of gpt-oss-20b on two synthetic layers (one sliding, one full) and a small head,
 * beside what this machine can do at all: the bare rate of its int8 products and the rate of reading memory.
 *
 *     bench_kernels [--isa NAME] [--threads N] [--rows N] [--steps N]                                              */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/pool.h"
#include "cpu/peak.h"
#include "cpu/state.h"
#include "model/forward.h"
#include "model/synthetic.h"
#include "weights/tile.h"

enum { LAYERS = 2, REAL_LAYERS = 24, CONTEXT = 1024, STAGES = 7 };

struct options {
    const char *isa;
    int threads, rows, steps;
};

struct bare {
    struct pool *pool;
    const struct peak *peak;
    const uint8_t *memory;
    atomic_ullong sum; /* so that no compiler leaves the work out */
};

enum { READ_BLOCK = 1 << 18, READ_BLOCKS = 64, ROUNDS = 2000 };

static void multiply_work(void *argument, int worker)
{
    struct bare *bare = argument;
    (void)worker;
    atomic_fetch_add(&bare->sum, (uint64_t)bare->peak->multiply(ROUNDS));
}

static void read_work(void *argument, int worker)
{
    struct bare *bare = argument;
    (void)worker;
    for (int block, end; pool_next(bare->pool, READ_BLOCKS, 1, &block, &end);)
        atomic_fetch_add(&bare->sum, bare->peak->read(bare->memory + (size_t)block * READ_BLOCK, READ_BLOCK));
}

/* Both in units per second, the best of a few tries. */
static void measure_machine(int threads, const struct peak *peak, double *macs, double *bytes)
{
    struct bare bare = {.peak = peak};
    goss_error error;
    if (pool_open(&bare.pool, threads, &error))
        exit(1);
    size_t n = (size_t)1 << 30, part = (size_t)READ_BLOCK * READ_BLOCKS;
    uint8_t *memory = aligned_alloc(4096, n);
    memset(memory, 1, n);
    *macs = *bytes = 0.0;
    for (int i = 0; i < 500; i++) {
        bare.sum = 0;
        double start = clock_seconds();
        pool_run(bare.pool, multiply_work, &bare);
        double rate = (double)bare.sum / (clock_seconds() - start);
        *macs = rate > *macs ? rate : *macs;
        bare.memory = memory + part * ((size_t)i % (n / part));
        start = clock_seconds();
        pool_run(bare.pool, read_work, &bare);
        rate = (double)part / (clock_seconds() - start);
        *bytes = rate > *bytes ? rate : *bytes;
    }
    free(memory);
    pool_close(bare.pool);
}

/* One thread, one product at a time, the best of many short tries: the most the kernels can reach. Weights come from
 * memory if n is small, since every try takes the next rows of the next expert. */
static void measure_products(const struct model *model, const struct kernels *kernels, double macs, double bytes)
{
    enum { TRIES = 1000, MAX_COLUMNS = 256, GROUPS = 4 };
    const struct matrix *matrices[] = {&model->layers[0].gate_up, &model->layers[0].qkv};
    for (int kind = 0; kind < 4; kind++) {
        const struct matrix *m = matrices[kind / 2];
        bool cached = kind % 2;
        size_t blocks = (size_t)m->cols / BLOCK * MAX_COLUMNS;
        struct panel panel = {
            .cols = m->cols, .q = calloc(blocks, BLOCK), .scale = calloc(blocks, 4), .offset = calloc(blocks, 4)};
        float *sum = calloc((size_t)MAX_COLUMNS * GROUPS * LANES, sizeof *sum);
        printf("%s from %s, columns: %% of the int8 rate (%% of the memory rate):",
               m->type == DTYPE_TILE_Q8 ? "Q8" : "MXFP4", cached ? "cache" : "memory");
        for (const int *n = (const int[]){1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 64, 128, 256, 0}; *n; n++) {
            double best = 1e9;
            panel.n = *n;
            for (int i = 0; i < TRIES; i++) {
                int group = cached ? 0 : i * GROUPS % (m->rows / LANES - GROUPS);
                struct slab slab = slab_of(m, cached ? 0 : i * 7 % m->count, group, GROUPS);
                double start = clock_seconds();
                kernels_product(kernels, m)(&slab, &panel, sum);
                double time = clock_seconds() - start;
                best = time < best ? time : best;
            }
            double work = (double)GROUPS * LANES * m->cols, read = (double)tile_bytes(m->type, GROUPS * LANES, m->cols);
            printf(" %d: %.1f (%.0f)", *n, 100.0 * work * *n / best / macs, 100.0 * read / best / bytes);
        }
        printf("\n");
        free(panel.q), free(panel.scale), free(panel.offset), free(sum);
    }
}

static const char *const stage_names[STAGES] = {"embed", "attn_in", "attend", "attn_out",
                                                "route", "experts", "unembed"};

struct timed {
    const struct model *model;
    struct backend *backend;
    const struct batch *batch;
    double time[STAGES];
};

/* As model/forward.c does; the first worker holds the watch. */
static void timed_stages(void *argument, int worker)
{
    struct timed *t = argument;
    struct backend *b = t->backend;
    double time[STAGES] = {0}, from = clock_seconds(), to;
    cpu_backend.embed(b, worker, t->batch), time[0] = (to = clock_seconds()) - from, from = to;
    for (int l = 0; l < t->model->config.n_layer; l++) {
        cpu_backend.attn_in(b, worker, t->batch, l), time[1] += (to = clock_seconds()) - from, from = to;
        cpu_backend.attend(b, worker, t->batch, l), time[2] += (to = clock_seconds()) - from, from = to;
        cpu_backend.attn_out(b, worker, t->batch, l), time[3] += (to = clock_seconds()) - from, from = to;
        cpu_backend.route(b, worker, t->batch, l), time[4] += (to = clock_seconds()) - from, from = to;
        cpu_backend.experts(b, worker, t->batch, l), time[5] += (to = clock_seconds()) - from, from = to;
    }
    cpu_backend.unembed(b, worker, t->batch), time[6] = clock_seconds() - from;
    if (worker == 0)
        memcpy(t->time, time, sizeof time);
}

/* One step, with the best time of each stage over the layers kept in `best`. */
static void timed_step(const struct model *model, struct backend *backend, const struct batch *batch, double *best)
{
    struct timed timed = {.model = model, .backend = backend, .batch = batch};
    cpu_backend.run(backend, timed_stages, &timed);
    for (int i = 0; i < STAGES; i++)
        best[i] = best[i] == 0.0 || timed.time[i] < best[i] ? timed.time[i] : best[i];
}

static void measure_steps(const struct model *model, struct backend *backend, int rows, int position, int steps,
                          double *best)
{
    int32_t *token = calloc((size_t)rows, 4), *place = calloc((size_t)rows, 4), page[CONTEXT / KV_PAGE],
            output = rows - 1;
    float *logits = malloc((size_t)model->config.n_vocab * sizeof *logits);
    for (int i = 0; i < CONTEXT / KV_PAGE; i++)
        page[i] = i;
    memset(best, 0, STAGES * sizeof *best);
    for (int s = 0; s < steps; s++) {
        for (int i = 0; i < rows; i++) {
            token[i] = (i * 37 + s * 11) % model->config.n_vocab;
            place[i] = position + i;
        }
        struct batch_sequence sequence = {.n_row = rows, .first_position = position, .page = page};
        struct batch batch = {.n_row = rows,
                              .token = token,
                              .position = place,
                              .n_sequence = 1,
                              .sequence = &sequence,
                              .n_output = 1,
                              .output_row = &output,
                              .logits = logits};
        timed_step(model, backend, &batch, best);
    }
    free(token), free(place), free(logits);
}

static uint64_t matrix_bytes(const struct matrix *m)
{
    return tile_bytes(m->type, m->rows, m->cols);
}

static void report(const struct model *model, int rows, const double *best, double macs, double bytes)
{
    const struct layer *l = &model->layers[0];
    const struct model_config *c = &model->config;
    double dense = (double)l->qkv.rows * l->qkv.cols + (double)l->attn_out.rows * l->attn_out.cols;
    double expert = (double)l->gate_up.rows * l->gate_up.cols + (double)l->down.rows * l->down.cols;
    double read = (double)(matrix_bytes(&l->qkv) + matrix_bytes(&l->attn_out) + matrix_bytes(&l->router)) +
                  c->n_active * (double)(matrix_bytes(&l->gate_up) + matrix_bytes(&l->down));
    double layer = 0.0;
    printf("%d rows, us per layer:", rows);
    for (int i = 1; i < STAGES - 1; i++) {
        printf(" %s %.0f", stage_names[i], best[i] / LAYERS * 1e6);
        layer += best[i] / LAYERS;
    }
    double work = rows * (dense + c->n_active * expert);
    printf("\n  layers only: %.1f tokens/s at %d layers; %.1f%% of the int8 rate", rows / (layer * REAL_LAYERS),
           REAL_LAYERS, 100.0 * work / layer / macs);
    printf(" (experts %.1f%%, dense %.1f%%)", 100.0 * rows * c->n_active * expert / (best[5] / LAYERS) / macs,
           100.0 * rows * dense / ((best[1] + best[3]) / LAYERS) / macs);
    if (rows == 1)
        printf("; %.1f%% of the memory rate (experts %.1f%%)", 100.0 * read / layer / bytes,
               100.0 * c->n_active * (double)(matrix_bytes(&l->gate_up) + matrix_bytes(&l->down)) / (best[5] / LAYERS) /
                   bytes);
    printf("\n");
}

static struct options parse(int argc, char **argv)
{
    struct options o = {.threads = pool_cores(), .rows = 512, .steps = 6};
    for (int i = 1; i + 1 < argc; i += 2) {
        int n = atoi(argv[i + 1]);
        if (strcmp(argv[i], "--isa") == 0)
            o.isa = argv[i + 1];
        else if (strcmp(argv[i], "--threads") == 0)
            o.threads = n;
        else if (strcmp(argv[i], "--rows") == 0)
            o.rows = n < CONTEXT ? n : CONTEXT;
        else if (strcmp(argv[i], "--steps") == 0)
            o.steps = n;
    }
    return o;
}

int main(int argc, char **argv)
{
    struct options o = parse(argc, argv);
    struct synthetic_shape shape = synthetic_20b();
    shape.n_layer = LAYERS;
    shape.n_vocab = 4096;
    struct model *model = synthetic_open(&shape);
    struct backend_options options = {.threads = o.threads,
                                      .isa = o.isa,
                                      .max_rows = o.rows,
                                      .max_outputs = 1,
                                      .max_sequences = 1,
                                      .pages = CONTEXT / KV_PAGE,
                                      .rings = 1};
    struct backend *backend;
    goss_error error;
    if (cpu_backend.open(&backend, model, &options, &error)) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    double macs, bytes, best[STAGES];
    measure_machine(o.threads, peak_of(backend->kernels), &macs, &bytes);
    printf("%s, %d threads: %.2f T multiply-adds/s, memory %.1f GB/s\n", cpu_backend.isa(backend), o.threads,
           macs * 1e-12, bytes * 1e-9);
    measure_products(model, backend->kernels, macs / o.threads, bytes / o.threads);
    for (const int *rows = (const int[]){o.rows, 64, 8, 4, 1, 0}; *rows; rows++) {
        if (*rows > o.rows)
            continue;
        measure_steps(model, backend, *rows, *rows < CONTEXT / 2 ? CONTEXT / 2 : 0, *rows == 1 ? 10 * o.steps : o.steps,
                      best);
        report(model, *rows, best, macs, bytes);
    }
    cpu_backend.close(backend);
    synthetic_close(model);
    return 0;
}
