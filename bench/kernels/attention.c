/* Attention at depth, at the sizes of gpt-oss-20b, on one sliding and one full layer: time for a layer, and its share
 * of what this machine can do: the f32 multiply-adds of attention against a bare loop of fma, the bytes of keys and
 * values against the rate of reading memory. CSV on standard output.
 *
 *     bench_attention [ISA [THREADS [ROWS]]]                                                                       */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fmath.h"
#include "base/pool.h"
#include "base/random.h"
#include "cpu/peak.h"
#include "cpu/state.h"
#include "fma.h"
#include "median.h"
#include "model/synthetic.h"

enum { LAYERS = 2, MAX_DEPTH = 32768, MAX_ROWS = 512, PAGES = MAX_DEPTH / KV_PAGE, REPEATS = 9 };

struct machine {
    const struct peak *peak;
    const uint8_t *memory;
    struct pool *pool;
    atomic_ullong sum; /* so that no compiler leaves the reading out */
};

enum { READ_BYTES = 1 << 29, READ_BLOCK = 1 << 18 };

static void read_work(void *argument, int worker)
{
    struct machine *m = argument;
    (void)worker;
    for (int block, end; pool_next(m->pool, READ_BYTES / READ_BLOCK, 1, &block, &end);)
        atomic_fetch_add(&m->sum, m->peak->read(m->memory + (size_t)block * READ_BLOCK, READ_BLOCK));
}

static void fma_work(void *argument, int worker)
{
    (void)worker;
    if (peak_fma(*(long *)argument) == 1.0f)
        puts("");
}

/* Medians: bytes read and f32 multiply-adds per second, of all threads. */
static void measure_machine(const struct peak *peak, struct pool *pool, double *read, double *fma)
{
    double reads[REPEATS], fmas[REPEATS];
    long rounds = 1000000;
    uint8_t *memory = aligned_alloc(4096, READ_BYTES);
    memset(memory, 1, READ_BYTES);
    struct machine m = {.peak = peak, .memory = memory, .pool = pool};
    for (int i = 0; i < REPEATS; i++) {
        double start = clock_seconds();
        pool_run(pool, read_work, &m);
        reads[i] = (double)READ_BYTES / (clock_seconds() - start);
        start = clock_seconds();
        pool_run(pool, fma_work, &rounds);
        fmas[i] = (double)rounds * FMA_PER_ROUND * pool_threads(pool) / (clock_seconds() - start);
    }
    *read = median(reads, REPEATS);
    *fma = median(fmas, REPEATS);
    free(memory);
}

struct step {
    struct backend *backend;
    const struct batch *batch;
    double time[LAYERS];
};

static void stages(void *argument, int worker)
{
    struct step *step = argument;
    cpu_backend.embed(step->backend, worker, step->batch);
    for (int l = 0; l < LAYERS; l++) {
        cpu_backend.attn_in(step->backend, worker, step->batch, l);
        double start = clock_seconds();
        cpu_backend.attend(step->backend, worker, step->batch, l);
        if (worker == 0)
            step->time[l] = clock_seconds() - start;
    }
}

/* One sequence's rows that end at `depth`. Every repeat has keys of its own, which come from memory therefore. */
static void measure(struct backend *backend, const struct model *model, int rows, int depth, double *sliding,
                    double *full)
{
    static int32_t token[MAX_ROWS], position[MAX_ROWS], page[PAGES];
    double times[LAYERS][REPEATS];
    for (int i = 0; i < rows; i++) {
        token[i] = i % model->config.n_vocab;
        position[i] = depth - rows + i;
    }
    struct batch_sequence sequence = {.n_row = rows, .first_position = depth - rows, .page = page};
    struct batch batch = {.n_row = rows, .token = token, .position = position, .n_sequence = 1, .sequence = &sequence};
    for (int i = 0; i < REPEATS; i++) {
        for (int j = 0; j < PAGES; j++)
            page[j] = i % 9 * PAGES + j;
        struct step step = {.backend = backend, .batch = &batch};
        cpu_backend.run(backend, stages, &step);
        for (int l = 0; l < LAYERS; l++)
            times[l][i] = step.time[l];
    }
    *sliding = median(times[0], REPEATS);
    *full = median(times[1], REPEATS);
}

/* Keys that all rows see together. */
static double keys_seen(int rows, int depth, int window)
{
    double sum = 0;
    for (int i = depth - rows; i < depth; i++)
        sum += window && i >= window ? window : i + 1;
    return sum;
}

static void report(const struct model_config *c, const char *kind, int rows, int depth, int window, double seconds,
                   double read, double fma)
{
    double macs = 2.0 * c->n_head * c->head_dim * keys_seen(rows, depth, window);
    double span = window ? (rows + window < depth ? rows + window : depth) : depth;
    double bytes = 4.0 * c->n_kv_head * c->head_dim * span;
    printf("%s,%d,%d,%.1f,%.1f,%.3f,%.2f,%.3f\n", kind, rows, depth, 1e6 * seconds, macs / seconds * 1e-9,
           macs / seconds / fma, bytes / seconds * 1e-9, bytes / seconds / read);
}

int main(int argc, char **argv)
{
    const int one[] = {argc > 3 ? atoi(argv[3]) : 1, 0};
    if (one[0] < 1 || one[0] > MAX_ROWS) {
        fprintf(stderr, "bench_attention: ROWS: 1 to %d\n", MAX_ROWS);
        return 2;
    }
    struct synthetic_shape shape = synthetic_20b();
    shape.n_layer = LAYERS;
    shape.d_ff = 32;
    shape.n_expert = shape.n_active = 1;
    shape.n_vocab = 512;
    struct model *model = synthetic_open(&shape);
    struct backend_options options = {.threads = argc > 2 ? atoi(argv[2]) : pool_cores(),
                                      .isa = argc > 1 ? argv[1] : NULL,
                                      .max_rows = MAX_ROWS,
                                      .max_outputs = 1,
                                      .max_sequences = 1,
                                      .pages = 9 * PAGES,
                                      .rings = 1};
    struct backend *backend;
    goss_error error;
    double read, fma, sliding, full;
    if (cpu_backend.open(&backend, model, &options, &error)) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    for (size_t i = 0; i < backend->kv.pages_bytes / sizeof *backend->kv.pages; i++)
        backend->kv.pages[i] = f32_to_f16((float)(random_uniform(1, i % 65536, 0) - 0.5));
    measure_machine(peak_of(backend->kernels), backend->pool, &read, &fma);
    printf("# %s, %d threads, read %.1f GB/s, fma %.1f G/s\n", cpu_backend.isa(backend), options.threads, read * 1e-9,
           fma * 1e-9);
    printf("layer,rows,depth,us,gmacs,share_of_fma,gbytes,share_of_read\n");
    const int some[] = {1, 4, 128, MAX_ROWS, 0};
    for (const int *rows = argc > 3 ? one : some; *rows; rows++)
        for (const int *depth = (const int[]){512, 2048, 8192, 32768, 0}; *depth; depth++) {
            measure(backend, model, *rows, *depth, &sliding, &full);
            if (*depth == 2048)
                report(&model->config, "sliding", *rows, *depth, shape.window, sliding, read, fma);
            report(&model->config, "full", *rows, *depth, 0, full, read, fma);
        }
    cpu_backend.close(backend);
    synthetic_close(model);
    return 0;
}
