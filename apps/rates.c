#include "rates.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "machine.h"
#include "terminal.h"

enum { PAGE = 4096, HUGE_PAGE = 1 << 21, STRETCHES = 8, STRETCH = 1 << 27 };

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct figure figure_of(double *value, int n)
{
    if (n == 0)
        return (struct figure){0};
    qsort(value, (size_t)n, sizeof *value, ascending);
    double median = n % 2 ? value[n / 2] : (value[n / 2 - 1] + value[n / 2]) / 2;
    return (struct figure){.median = median, .least = value[0], .most = value[n - 1]};
}

struct reading {
    const struct pool *pool;
    const struct peak *peak;
    const uint8_t *memory;
    size_t n_page;
    atomic_uint_fast64_t sum; /* so that no compiler leaves the reading out */
};

static void pages_of(const struct reading *reading, int worker, size_t *begin, size_t *end)
{
    size_t threads = (size_t)pool_threads(reading->pool);
    *begin = reading->n_page * (size_t)worker / threads;
    *end = reading->n_page * ((size_t)worker + 1) / threads;
}

static void reading_run(void *argument, int worker)
{
    struct reading *reading = argument;
    size_t begin, end;
    pages_of(reading, worker, &begin, &end);
    uint64_t sum = reading->peak->read(reading->memory + begin * PAGE, (end - begin) * PAGE);
    (void)atomic_fetch_add(&reading->sum, sum);
}

static double reading_seconds(struct pool *pool, struct reading *reading)
{
    double begin = clock_seconds();
    pool_run(pool, reading_run, reading);
    return clock_seconds() - begin;
}

struct filling {
    const struct reading *reading;
    uint8_t *memory;
};

static void filling_run(void *argument, int worker)
{
    const struct filling *filling = argument;
    size_t begin, end;
    pages_of(filling->reading, worker, &begin, &end);
    memset(filling->memory + begin * PAGE, worker + 1, (end - begin) * PAGE);
}

static goss_status open_memory(struct pool *pool, struct rate_memory *memory, goss_error *error)
{
    struct machine machine;
    machine_read(&machine);
    uint64_t size = (uint64_t)1 << 30;
    while (size > machine.memory_free_bytes / 4 && size > (uint64_t)1 << 26)
        size /= 2;
    memory->bytes = aligned_alloc(HUGE_PAGE, size);
    if (!memory->bytes)
        return error_memory(error, size, "measuring the memory");
    memory->size = size;
    (void)madvise(memory->bytes, size, MADV_HUGEPAGE); /* refused: slower, and so is the model's memory */
    struct reading reading = {.pool = pool, .n_page = size / PAGE};
    pool_run(pool, filling_run, &(struct filling){&reading, memory->bytes});
    return GOSS_OK;
}

void rate_memory_free(struct rate_memory *memory)
{
    free(memory->bytes);
    *memory = (struct rate_memory){0};
}

goss_status rate_read(struct pool *pool, const struct peak *peak, struct rate_memory *memory,
                      double value[RATE_SAMPLES], goss_error *error)
{
    goss_status status = memory->bytes ? GOSS_OK : open_memory(pool, memory, error);
    struct reading reading = {.pool = pool, .peak = peak, .memory = memory->bytes, .n_page = memory->size / PAGE};
    for (int i = 0; !status && i < RATE_SAMPLES; i++)
        value[i] = (double)memory->size / reading_seconds(pool, &reading);
    return status;
}

void rate_read_of(struct pool *pool, const struct peak *peak, const uint8_t *memory, uint64_t size,
                  double value[RATE_SAMPLES])
{
    size_t apart = size / STRETCHES / PAGE, n_page = apart < STRETCH / PAGE ? apart : STRETCH / PAGE; /* in pages */
    for (int i = -1; i < RATE_SAMPLES; i++) { /* once before it counts, for pages that are not yet mapped */
        double seconds = 0;
        for (size_t k = 0; k < STRETCHES; k++) {
            struct reading stretch = {
                .pool = pool, .peak = peak, .memory = memory + k * apart * PAGE, .n_page = n_page};
            seconds += reading_seconds(pool, &stretch);
        }
        if (i >= 0)
            value[i] = (double)(STRETCHES * n_page * PAGE) / seconds;
    }
}

struct multiplying {
    const struct peak *peak;
    int64_t rounds;
    atomic_int_fast64_t done;
};

static void multiplying_run(void *argument, int worker)
{
    struct multiplying *work = argument;
    (void)worker;
    (void)atomic_fetch_add(&work->done, work->peak->multiply(work->rounds));
}

static double multiplying_time(struct pool *pool, struct multiplying *work)
{
    double begin = clock_seconds();
    work->done = 0;
    pool_run(pool, multiplying_run, work);
    return clock_seconds() - begin;
}

void rate_int8(struct pool *pool, const struct peak *peak, double value[RATE_SAMPLES])
{
    static const double ENOUGH = 0.05; /* seconds: a sample that the clock and the start of threads do not blur */
    struct multiplying work = {.peak = peak, .rounds = 64};
    while (multiplying_time(pool, &work) < ENOUGH)
        work.rounds *= 2;
    for (int i = 0; i < RATE_SAMPLES; i++) {
        double seconds = multiplying_time(pool, &work);
        value[i] = 2 * (double)work.done / seconds;
    }
}
