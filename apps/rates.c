#include "rates.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "machine.h"
#include "terminal.h"
#include "weights/tile.h"

enum { WORDS = 64 /* in flight per step of the reading loop */, PAGE = 4096 };

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct figure figure_of(double *value, int n)
{
    qsort(value, (size_t)n, sizeof *value, ascending);
    double median = n % 2 ? value[n / 2] : (value[n / 2 - 1] + value[n / 2]) / 2;
    return (struct figure){.median = median, .least = value[0], .most = value[n - 1]};
}

struct reading {
    const struct pool *pool;
    uint64_t *word;
    size_t n_page;
    atomic_uint_fast64_t sum; /* so that no compiler leaves the reading out */
};

static void pages_of(const struct reading *reading, int worker, size_t *begin, size_t *end)
{
    size_t threads = (size_t)pool_threads(reading->pool);
    *begin = reading->n_page * (size_t)worker / threads;
    *end = reading->n_page * ((size_t)worker + 1) / threads;
}

static void reading_fill(void *argument, int worker)
{
    struct reading *reading = argument;
    size_t begin, end;
    pages_of(reading, worker, &begin, &end);
    memset((uint8_t *)reading->word + begin * PAGE, worker + 1, (end - begin) * PAGE);
}

static void reading_run(void *argument, int worker)
{
    struct reading *reading = argument;
    uint64_t sum[WORDS] = {0}, total = 0;
    size_t begin, end;
    pages_of(reading, worker, &begin, &end);
    for (size_t i = begin * PAGE / sizeof *reading->word; i < end * PAGE / sizeof *reading->word; i += WORDS)
        for (int k = 0; k < WORDS; k++)
            sum[k] += reading->word[i + (size_t)k];
    for (int k = 0; k < WORDS; k++)
        total += sum[k];
    (void)atomic_fetch_add(&reading->sum, total);
}

goss_status rate_read(struct pool *pool, int repeat, struct figure *rate, goss_error *error)
{
    double value[FIGURE_REPEATS];
    struct machine machine;
    machine_read(&machine);
    uint64_t bytes = (uint64_t)1 << 30;
    while (bytes > machine.memory_free_bytes / 4 && bytes > (uint64_t)1 << 26)
        bytes /= 2;
    struct reading reading = {.pool = pool, .n_page = bytes / PAGE};
    reading.word = aligned_alloc(PAGE, bytes);
    if (!reading.word)
        return error_memory(error, bytes, "measuring the memory");
    pool_run(pool, reading_fill, &reading);
    for (int i = 0; i < repeat; i++) {
        double begin = seconds_now();
        pool_run(pool, reading_run, &reading);
        value[i] = (double)bytes / (seconds_now() - begin);
    }
    free(reading.word);
    *rate = figure_of(value, repeat);
    return GOSS_OK;
}

enum { ROWS = 256, COLS = 1024, COLUMNS = 16, BLOCKS = COLS / TILE_COLS, ROUNDS = 40 };

struct multiplying {
    const struct kernels *kernels;
    uint8_t *quants, *scales;
    struct panel panel;
    float *sum; /* [threads][COLUMNS][ROWS] */
};

static void multiplying_run(void *argument, int worker)
{
    const struct multiplying *work = argument;
    struct slab slab = {.quants = work->quants, .scales = work->scales, .groups = ROWS / TILE_ROWS, .cols = COLS};
    for (int i = 0; i < ROUNDS; i++)
        work->kernels->product_mxfp4(&slab, &work->panel, work->sum + (size_t)worker * COLUMNS * ROWS);
}

/* Any weights and activations do: the time of a product does not depend on them. */
static void multiplying_fill(struct multiplying *work)
{
    float x[COLS];
    for (int i = 0; i < COLS; i++)
        x[i] = (float)(i % 17) - 8;
    memset(work->quants, 0x5a, (size_t)ROWS * COLS / 2);
    memset(work->scales, 127, (size_t)ROWS * BLOCKS);
    for (int column = 0; column < COLUMNS; column++)
        work->kernels->quantise(x, BLOCKS, &work->panel, 0, column);
}

goss_status rate_int8(struct pool *pool, const struct kernels *kernels, int repeat, struct figure *rate,
                      goss_error *error)
{
    double value[FIGURE_REPEATS];
    int threads = pool_threads(pool);
    struct multiplying work = {.kernels = kernels, .panel = {.n = COLUMNS, .cols = COLS}};
    goss_status status = GOSS_OK;
    work.quants = aligned_alloc(64, (size_t)ROWS * COLS / 2);
    work.scales = aligned_alloc(64, (size_t)ROWS * BLOCKS);
    work.panel.q = aligned_alloc(64, (size_t)COLS * COLUMNS);
    work.panel.scale = aligned_alloc(64, sizeof(float) * BLOCKS * COLUMNS);
    work.panel.offset = aligned_alloc(64, sizeof(int32_t) * BLOCKS * COLUMNS);
    work.panel.wide = aligned_alloc(64, sizeof(uint16_t) * COLS * COLUMNS);
    work.sum = aligned_alloc(64, sizeof(float) * COLUMNS * ROWS * (size_t)threads);
    if (!work.quants || !work.scales || !work.panel.q || !work.panel.scale || !work.panel.offset || !work.panel.wide ||
        !work.sum) {
        status = error_memory(error, (size_t)ROWS * COLS, "measuring int8 products");
    } else {
        multiplying_fill(&work);
        for (int i = 0; i < repeat; i++) {
            double begin = seconds_now();
            pool_run(pool, multiplying_run, &work);
            value[i] = 2.0 * ROWS * COLS * COLUMNS * ROUNDS * threads / (seconds_now() - begin);
        }
        *rate = figure_of(value, repeat);
    }
    free(work.quants);
    free(work.scales);
    free(work.panel.q);
    free(work.panel.scale);
    free(work.panel.offset);
    free(work.panel.wide);
    free(work.sum);
    return status;
}
