/* A fixed set of worker threads that run one parallel region at a time. */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include <stdbool.h>

#include "base/error.h"

struct pool;

/* `threads` counts the caller, who works too: 1 makes no thread at all. 1..1024. */
goss_status pool_open(struct pool **pool, int threads, goss_error *error);
void pool_close(struct pool *pool); /* NULL is fine */
int pool_threads(const struct pool *pool);

/* Calls work(argument, worker) once for every worker 0..threads-1 and returns when all have returned.
 * Not reentrant: work may not call pool_run on the same pool. */
void pool_run(struct pool *pool, void (*work)(void *argument, int worker), void *argument);

/* Inside pool_run: waits until every worker has come to the same barrier. */
void pool_barrier(struct pool *pool);

/* The same, and the last worker to come calls work(argument) before any goes on: for what is too little to share. All
 * workers must pass the same two. */
void pool_barrier_once(struct pool *pool, void (*work)(void *argument), void *argument);

/* Inside pool_run: the part [*begin, *end) of n items that falls to `worker`, in units of `grain` items. */
void pool_share(const struct pool *pool, int worker, int n, int grain, int *begin, int *end);

/* Inside pool_run: takes the next up to `grain` of n items that no worker has taken yet; false when none is left. The
 * count starts again in every region and after every barrier, so all workers must ask with the same n. Which worker
 * gets what differs from run to run. */
bool pool_next(struct pool *pool, int n, int grain, int *begin, int *end);

/* The same in runs that begin long and end short: each is a share of what is left, from `grain` items, of which it is a
 * multiple, to `most`. For work that streams memory, which likes long runs, and still ends together. */
bool pool_next_run(struct pool *pool, int n, int grain, int most, int *begin, int *end);

/* Cores this process may use (affinity mask and cgroup quota respected), at least 1. */
int pool_cores(void);

#endif
