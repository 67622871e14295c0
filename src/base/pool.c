#include "base/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/system.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define RELAX() _mm_pause()
#elif defined(__aarch64__)
#define RELAX() __asm__ volatile("yield")
#else
#define RELAX() ((void)0)
#endif

/* Waiting spins for a short while, since the next region usually comes within microseconds, and then sleeps, so
 * that an idle program costs nothing and another program on the same core gets it. With more threads than cores it
 * sleeps at once: the one that is waited for needs the core. */
enum { SPINS = 4000, MAX_THREADS = 1024 };

struct worker {
    struct pool *pool;
    int index;
    pthread_t thread;
};

struct pool {
    int threads, spins;
    struct worker *workers; /* [threads]; worker 0 is the caller */
    void (*work)(void *argument, int worker);
    void *argument;
    atomic_uint region;  /* counts regions started */
    atomic_int running;  /* workers that have not finished the region */
    atomic_uint done;    /* counts regions finished; may lag, so it is only a reason to look at running again */
    atomic_int arrived;  /* workers at the barrier */
    atomic_uint barrier; /* counts barriers passed */
    atomic_int taken;    /* items given out by pool_next since the region or the last barrier began */
    atomic_bool stop;
    atomic_int sleepers;   /* threads that sleep, or are about to, on `changed` */
    pthread_mutex_t mutex; /* protects only the sleeping */
    pthread_cond_t changed;
};

/* To be called after a counter changed. A sleeper announces itself before its last look at the counter, and the counter
 * changes before this looks for sleepers, all in one total order: so either it sees the change or this sees it. */
static void wake(struct pool *pool)
{
    if (atomic_load(&pool->sleepers) == 0)
        return;
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_broadcast(&pool->changed);
    pthread_mutex_unlock(&pool->mutex);
}

/* Returns when *counter differs from seen. */
static void wait_change(struct pool *pool, atomic_uint *counter, unsigned seen)
{
    for (int i = 0; i < pool->spins; i++) {
        if (atomic_load_explicit(counter, memory_order_acquire) != seen)
            return;
        RELAX();
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleepers, 1);
    while (atomic_load(counter) == seen)
        pthread_cond_wait(&pool->changed, &pool->mutex);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->mutex);
}

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    struct pool *pool = worker->pool;
    for (unsigned seen = 0;; seen++) {
        wait_change(pool, &pool->region, seen);
        if (atomic_load(&pool->stop))
            return NULL;
        pool->work(pool->argument, worker->index);
        if (atomic_fetch_sub_explicit(&pool->running, 1, memory_order_acq_rel) == 1) {
            atomic_fetch_add(&pool->done, 1);
            wake(pool);
        }
    }
}

goss_status pool_open(struct pool **out, int threads, goss_error *error)
{
    *out = NULL;
    if (threads < 1 || threads > MAX_THREADS)
        return error_set(error, GOSS_E_ARGUMENT, "threads: %d is not within 1..%d", threads, MAX_THREADS);
    struct pool *pool = calloc(1, sizeof *pool);
    if (pool)
        pool->workers = calloc((size_t)threads, sizeof *pool->workers);
    if (!pool || !pool->workers) {
        free(pool);
        return error_memory(error, sizeof *pool, "the thread pool");
    }
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->changed, NULL);
    pool->threads = 1;
    pool->spins = threads <= pool_cores() ? SPINS : 0;
    for (int i = 1; i < threads; i++) {
        pool->workers[i] = (struct worker){.pool = pool, .index = i};
        if (pthread_create(&pool->workers[i].thread, NULL, worker_main, &pool->workers[i]) != 0) {
            pool_close(pool);
            return error_set(error, GOSS_E_MEMORY, "threads: only %d of %d could be started", i, threads);
        }
        pool->threads++;
    }
    *out = pool;
    return GOSS_OK;
}

void pool_close(struct pool *pool)
{
    if (!pool)
        return;
    atomic_store(&pool->stop, 1);
    atomic_fetch_add(&pool->region, 1);
    wake(pool);
    for (int i = 1; i < pool->threads; i++)
        pthread_join(pool->workers[i].thread, NULL);
    pthread_cond_destroy(&pool->changed);
    pthread_mutex_destroy(&pool->mutex);
    free(pool->workers);
    free(pool);
}

int pool_threads(const struct pool *pool)
{
    return pool->threads;
}

void pool_run(struct pool *pool, void (*work)(void *argument, int worker), void *argument)
{
    atomic_store_explicit(&pool->taken, 0, memory_order_relaxed);
    if (pool->threads == 1) {
        work(argument, 0);
        return;
    }
    pool->work = work;
    pool->argument = argument;
    atomic_store_explicit(&pool->running, pool->threads, memory_order_relaxed);
    atomic_fetch_add(&pool->region, 1);
    wake(pool);
    work(argument, 0);
    if (atomic_fetch_sub_explicit(&pool->running, 1, memory_order_acq_rel) == 1)
        return;
    for (;;) {
        unsigned seen = atomic_load_explicit(&pool->done, memory_order_acquire);
        if (atomic_load_explicit(&pool->running, memory_order_acquire) == 0)
            return;
        wait_change(pool, &pool->done, seen);
    }
}

void pool_barrier_once(struct pool *pool, void (*work)(void *argument), void *argument)
{
    unsigned seen = atomic_load_explicit(&pool->barrier, memory_order_acquire);
    if (atomic_fetch_add_explicit(&pool->arrived, 1, memory_order_acq_rel) < pool->threads - 1) {
        wait_change(pool, &pool->barrier, seen);
        return;
    }
    if (work)
        work(argument);
    atomic_store_explicit(&pool->arrived, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->taken, 0, memory_order_relaxed);
    atomic_fetch_add(&pool->barrier, 1);
    wake(pool);
}

void pool_barrier(struct pool *pool)
{
    pool_barrier_once(pool, NULL, NULL);
}

void pool_share(const struct pool *pool, int worker, int n, int grain, int *begin, int *end)
{
    long units = (n + (long)grain - 1) / grain;
    long first = units * worker / pool->threads, last = units * (worker + 1) / pool->threads;
    *begin = (int)(first * grain < n ? first * grain : n);
    *end = (int)(last * grain < n ? last * grain : n);
}

bool pool_next(struct pool *pool, int n, int grain, int *begin, int *end)
{
    int first = atomic_load_explicit(&pool->taken, memory_order_relaxed);
    if (first < n)
        first = atomic_fetch_add_explicit(&pool->taken, grain, memory_order_relaxed);
    *begin = first < n ? first : n;
    *end = n - *begin > grain ? *begin + grain : n;
    return *begin < n;
}

bool pool_next_run(struct pool *pool, int n, int grain, int most, int *begin, int *end)
{
    enum { RUNS = 4 /* of every thread, were they all as long as the first */ };
    int first = atomic_load_explicit(&pool->taken, memory_order_relaxed), run = grain;
    while (first < n) {
        run = (n - first) / (RUNS * pool->threads);
        run = run > most ? most : run;
        run = run > grain ? run / grain * grain : grain;
        if (atomic_compare_exchange_weak_explicit(&pool->taken, &first, first + run, memory_order_relaxed,
                                                  memory_order_relaxed))
            break;
    }
    *begin = first < n ? first : n;
    *end = n - *begin > run ? *begin + run : n;
    return *begin < n;
}

int pool_cores(void)
{
    struct system_limits limits;
    system_limits("", &limits);
    return limits.cores;
}
