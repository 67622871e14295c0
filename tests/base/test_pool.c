#include "base/pool.h"

#include <stdatomic.h>
#include <string.h>

#include "support/test.h"

enum { ITEMS = 97, PHASES = 20 };

struct counts {
    struct pool *pool;
    atomic_int taken[PHASES][ITEMS];
    atomic_int wrong;
};

static void take_work(void *argument, int worker)
{
    struct counts *c = argument;
    (void)worker;
    for (int phase = 0; phase < PHASES; phase++) {
        int grain = 1 + phase % 7, most = phase < PHASES / 2 ? grain : 12;
        for (int begin, end; most == grain ? pool_next(c->pool, ITEMS, grain, &begin, &end)
                                           : pool_next_run(c->pool, ITEMS, grain, most, &begin, &end);) {
            if (end - begin < 1 || end - begin > most || ((end - begin) % grain != 0 && end != ITEMS))
                atomic_fetch_add(&c->wrong, 1);
            for (; begin < end; begin++)
                atomic_fetch_add(&c->taken[phase][begin], 1);
        }
        pool_barrier(c->pool);
        for (int i = 0; i < ITEMS; i++) /* what the others did before the barrier is seen after it */
            if (atomic_load_explicit(&c->taken[phase][i], memory_order_relaxed) % PHASES == 0)
                atomic_fetch_add(&c->wrong, 1);
    }
}

static void every_item_is_taken_once_in_every_phase(void **state)
{
    (void)state;
    static struct counts c;
    for (int threads = 1; threads <= 6; threads++) {
        memset(&c, 0, sizeof c);
        assert_int_equal(pool_open(&c.pool, threads, NULL), GOSS_OK);
        for (int round = 1; round <= PHASES - 1; round++) {
            pool_run(c.pool, take_work, &c);
            for (int phase = 0; phase < PHASES; phase++)
                for (int i = 0; i < ITEMS; i++)
                    assert_int_equal(atomic_load(&c.taken[phase][i]), round);
        }
        assert_int_equal(atomic_load(&c.wrong), 0);
        pool_close(c.pool);
    }
}

struct meetings {
    struct pool *pool;
    int n, plain; /* plain: only ever touched by the worker that came last */
    atomic_int wrong;
};

static void count_meeting(void *argument)
{
    struct meetings *m = argument;
    m->plain++;
}

static void meet_work(void *argument, int worker)
{
    struct meetings *m = argument;
    (void)worker;
    for (int i = 1; i <= m->n; i++) {
        pool_barrier_once(m->pool, count_meeting, m);
        if (m->plain != i)
            atomic_fetch_add(&m->wrong, 1);
        pool_barrier(m->pool);
    }
}

static void the_last_to_come_works_once_before_anyone_goes_on(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 6; threads++) {
        struct meetings m = {.n = 200};
        assert_int_equal(pool_open(&m.pool, threads, NULL), GOSS_OK);
        pool_run(m.pool, meet_work, &m);
        assert_int_equal(m.plain, 200);
        assert_int_equal(atomic_load(&m.wrong), 0);
        pool_close(m.pool);
    }
}

static void runs_begin_long_and_end_short(void **state)
{
    (void)state;
    struct pool *pool;
    assert_int_equal(pool_open(&pool, 1, NULL), GOSS_OK);
    int begin, end, length[3] = {0};
    for (int i = 0; i < 3; i++) {
        assert_true(pool_next_run(pool, 80, 3, 100, &begin, &end));
        length[i] = end - begin;
    }
    assert_int_equal(length[0], 18); /* a quarter of 80, in threes */
    assert_int_equal(length[1], 15);
    assert_int_equal(length[2], 9);
    pool_close(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_item_is_taken_once_in_every_phase),
        cmocka_unit_test(runs_begin_long_and_end_short),
        cmocka_unit_test(the_last_to_come_works_once_before_anyone_goes_on),
    };
    return cmocka_run_group_tests_name("base.pool", tests, NULL, NULL);
}
