#include "watch.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "base/error.h"
#include "terminal.h"

enum { POLL_NANOSECONDS = 50000000, SECOND_NANOSECONDS = 1000000000 };

struct watched {
    goss_status (*work)(void *argument, goss_error *error);
    void *argument;
    goss_status status;
    goss_error error;
};

static void *watched_run(void *argument)
{
    struct watched *watched = argument;
    watched->status = watched->work(watched->argument, &watched->error);
    return NULL;
}

/* Waits a little for the thread to end; false if it has not. */
static bool ended(pthread_t thread)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += POLL_NANOSECONDS;
    until.tv_sec += until.tv_nsec / SECOND_NANOSECONDS;
    until.tv_nsec %= SECOND_NANOSECONDS;
    return pthread_timedjoin_np(thread, NULL, &until) == 0;
}

static void draw(struct progress *bar, const struct terminal *terminal, const char *what,
                 struct pack_progress *progress)
{
    uint64_t total = atomic_load(&progress->total);
    if (!total)
        return;
    if (progress->again.text[0] && !bar->drawn)
        (void)fprintf(terminal->file, "packing again: %s\n", progress->again.text);
    progress_show(bar, terminal, what, atomic_load(&progress->done), total);
}

goss_status watch(const char *what, goss_status (*work)(void *argument, goss_error *error), void *argument,
                  struct pack_progress *progress, goss_error *error)
{
    struct watched watched = {.work = work, .argument = argument};
    struct progress bar = {0};
    struct terminal terminal;
    pthread_t thread;
    terminal_open(&terminal, stderr, COLOR_AUTO);
    if (pthread_create(&thread, NULL, watched_run, &watched))
        return error_set(error, GOSS_E_IO, "cannot start a thread");
    while (!ended(thread)) {
        draw(&bar, &terminal, what, progress);
        if (interrupted())
            atomic_store(&progress->cancel, true);
    }
    draw(&bar, &terminal, what, progress);
    progress_end(&bar, &terminal);
    if (watched.status && error)
        *error = watched.error;
    return watched.status;
}
