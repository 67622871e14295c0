#include "support/torture.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "support/test.h"

enum { SLOTS = 1 << 18, EVERY_ONE = 200 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static void *live[SLOTS]; /* a hash table of what was allocated here and not freed yet; REMOVED where one was */
static int n_live;
static char removed;
#define REMOVED ((void *)&removed)
static long n_seen, fail_at; /* allocations since the run began; the number of the one that fails, 0: none */
static bool fail_on;         /* those behind it fail, too */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void __real_free(void *p);
void *__real_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t n);
void __wrap_free(void *p);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument);

static bool fails(void)
{
    pthread_mutex_lock(&mutex);
    n_seen++;
    bool failing = fail_at > 0 && (fail_on ? n_seen >= fail_at : n_seen == fail_at);
    pthread_mutex_unlock(&mutex);
    if (failing)
        errno = ENOMEM;
    return failing;
}

static size_t home(const void *p)
{
    return (uintptr_t)p / 16 * 0x9E3779B97F4A7C15u >> 20 & (SLOTS - 1);
}

static void *keep(void *p)
{
    if (!p)
        return NULL;
    pthread_mutex_lock(&mutex);
    size_t i = home(p);
    while (live[i] && live[i] != REMOVED)
        i = (i + 1) & (SLOTS - 1);
    live[i] = p;
    n_live++;
    pthread_mutex_unlock(&mutex);
    return p;
}

/* What the C library allocated for itself is not found here. */
static void forget(const void *p)
{
    pthread_mutex_lock(&mutex);
    for (size_t i = home(p); p && live[i]; i = (i + 1) & (SLOTS - 1))
        if (live[i] == p) {
            live[i] = REMOVED;
            n_live--;
            break;
        }
    pthread_mutex_unlock(&mutex);
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : keep(__real_malloc(size));
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : keep(__real_calloc(n, size));
}

void *__wrap_realloc(void *p, size_t size)
{
    if (fails())
        return NULL;
    forget(p);
    return keep(__real_realloc(p, size));
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return fails() ? NULL : keep(__real_aligned_alloc(alignment, size));
}

char *__wrap_strndup(const char *text, size_t n)
{
    size_t size = strnlen(text, n);
    char *copy = __wrap_malloc(size + 1);
    if (copy) {
        memcpy(copy, text, size);
        copy[size] = 0;
    }
    return copy;
}

char *__wrap_strdup(const char *text)
{
    return __wrap_strndup(text, strlen(text));
}

void __wrap_free(void *p)
{
    forget(p);
    __real_free(p);
}

void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    return fails() ? MAP_FAILED : __real_mmap(at, size, protection, flags, fd, offset);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument)
{
    return fails() ? EAGAIN : __real_pthread_create(thread, attributes, run, argument);
}

static goss_status attempt(tortured *run, void *argument, long at, bool on, goss_error *error)
{
    *error = (goss_error){0};
    n_seen = 0;
    fail_on = on;
    fail_at = at;
    goss_status status = run(argument, error);
    fail_at = 0;
    return status;
}

static void must_work(tortured *run, void *argument)
{
    goss_error error;
    if (attempt(run, argument, 0, false, &error))
        fail_msg("untroubled: %s", error.text);
}

static void expect(bool fine, const char *what, long at, bool on, goss_status status, const goss_error *error)
{
    if (!fine)
        fail_msg("allocation %ld%s: %s (%s: %s)", at, on ? " and all behind it" : "", what, goss_status_name(status),
                 error->text);
}

void torture(tortured *run, void *argument)
{
    goss_error error;
    must_work(run, argument); /* what is kept for good is made now */
    int before = n_live, failures = 0;
    must_work(run, argument);
    expect(n_live == before, "something is left without any failure", 0, false, GOSS_OK, &error);
    long n = n_seen;
    assert_true(n > 0);
    for (long at = 1; at <= n; at += 1 + (at > EVERY_ONE ? at / 40 : 0))
        for (int on = 0; on <= 1; on++) {
            goss_status status = attempt(run, argument, at, on, &error);
            bool named = status == GOSS_E_MEMORY && error.status == status && error.text[0];
            expect(status == GOSS_OK || named, "not reported as what it is", at, on, status, &error);
            expect(n_live == before, "something is left", at, on, status, &error);
            failures += status != GOSS_OK;
        }
    assert_true(failures > 0);
    must_work(run, argument);
}
