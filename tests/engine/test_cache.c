/* What is computed once and used again: prefixes continued at checkpoints, pages shared and copied, owners apart. */
#include <stdlib.h>
#include <string.h>

#include "support/fake_engine.h"
#include "support/test.h"

/* Prompts that part from a cached one at every interesting place around page boundaries. */
static void a_prefix_is_continued_exactly_around_page_boundaries(void **state)
{
    (void)state;
    static const int place[] = {1, 2, 23, 24, 25, 254, 255, 256, 257, 258, 511, 512, 513, 767, 768, 769};
    for (size_t i = 0; i < sizeof place / sizeof *place; i++)
        for (int chunk = 100; chunk <= 1000; chunk += 900) {
            struct fake_engine f;
            fake_engine_open(&f, FAKE_WINDOW, (struct engine_options){.chunk = chunk, .context = FAKE_CONTEXT});
            int32_t boundary = place[i];
            struct asked *cold = asked_new(5, place[i], 1, place[i] + 40),
                         *warm = asked_new(5, place[i], 2, place[i] + 90);
            cold->request.boundary = &boundary;
            cold->request.n_boundary = 1;
            asked_run_alone(&f, cold);
            uint64_t before = f.counts.rows;
            asked_run_alone(&f, warm);
            struct engine_stats stats = engine_stats(f.engine);
            assert_int_equal(stats.prefix_hits, 1);
            assert_int_equal(stats.prefix_tokens, place[i]);
            assert_int_equal(sequence_usage(cold->sequence).cached_tokens, 0);
            assert_int_equal(sequence_usage(warm->sequence).cached_tokens, place[i]);
            assert_int_equal(f.counts.rows - before, 90 + warm->n_answer - 1);
            assert_int_equal(stats.page_copies, place[i] % KV_PAGE != 0);
            asked_check(&f, cold);
            asked_check(&f, warm);
            fake_engine_close(&f);
        }
}

static void the_end_of_an_answer_can_be_continued(void **state)
{
    (void)state;
    struct fake_engine f;
    fake_engine_open(&f, FAKE_WINDOW, (struct engine_options){.context = FAKE_CONTEXT});
    struct asked *first = asked_new(1, 0, 3, 300), *second = asked_new(1, 0, 3, 300);
    first->request.sampling.temperature = second->request.sampling.temperature = 0.3;
    asked_run_alone(&f, first);
    memcpy(second->id + 300, first->answer, (size_t)first->n_answer * sizeof *first->answer);
    second->id[300 + first->n_answer] = 5;
    second->request.n_id = 301 + first->n_answer;
    asked_run_alone(&f, second);
    assert_int_equal(sequence_usage(second->sequence).cached_tokens, 300 + first->n_answer - 1);
    asked_check(&f, first);
    asked_check(&f, second);
    fake_engine_close(&f);
}

static void a_prompt_that_is_wholly_cached_still_computes_its_last_id(void **state)
{
    (void)state;
    struct fake_engine f;
    fake_engine_open(&f, FAKE_WINDOW, (struct engine_options){.context = FAKE_CONTEXT});
    struct asked *first = asked_new(1, 300, 3, 300), *second = asked_new(1, 300, 4, 300);
    int32_t boundary = 290;
    first->request.boundary = &boundary;
    first->request.n_boundary = 1;
    first->request.max_tokens = second->request.max_tokens = 1; /* so the first ends with a checkpoint at 300 */
    asked_run_alone(&f, first);
    asked_run_alone(&f, second);
    assert_int_equal(sequence_usage(second->sequence).cached_tokens, 290);
    asked_check(&f, first);
    asked_check(&f, second);
    fake_engine_close(&f);
}

/* The page is still being written by the first sequence when the second begins from a checkpoint inside it. */
static void a_page_shared_while_it_is_written_is_copied(void **state)
{
    (void)state;
    struct fake_engine f;
    fake_engine_open(&f, FAKE_WINDOW,
                     (struct engine_options){.context = FAKE_CONTEXT, .max_sequences = 2, .chunk = 128});
    int32_t boundary = 300;
    struct asked *a = asked_new(2, 300, 1, 310), *b = asked_new(2, 300, 2, 320);
    a->request.stop = b->request.stop = a->id; /* with n_stop 0: no stop ids */
    a->request.boundary = &boundary;
    a->request.n_boundary = 1;
    asked_add(&f, a);
    while (a->n_answer < 5) {
        assert_true(engine_step(f.engine));
        asked_pull(a);
    }
    asked_add(&f, b);
    while (engine_step(f.engine)) {
        asked_pull(a);
        asked_pull(b);
    }
    assert_int_equal(sequence_usage(b->sequence).cached_tokens, 300);
    assert_int_equal(a->n_answer, FAKE_ANSWER);
    assert_int_equal(engine_stats(f.engine).page_copies, 1);
    f.fake.model.config.stop[0] = f.fake.model.config.stop[1] = -1;
    asked_check(&f, a);
    asked_check(&f, b);
    fake_engine_close(&f);
}

static void owners_never_share(void **state)
{
    (void)state;
    for (int32_t boundary = 100; boundary <= 600; boundary += 500) { /* before and after the first page boundary */
        struct fake_engine f;
        fake_engine_open(&f, FAKE_WINDOW, (struct engine_options){.context = FAKE_CONTEXT});
        int n = boundary + 100;
        for (int owner = 0; owner < 3; owner++) {
            struct asked *a = asked_new(8, n, 1, n);
            a->request.owner = (uint64_t)owner;
            a->request.boundary = &boundary;
            a->request.n_boundary = 1;
            asked_run_alone(&f, a);
            assert_int_equal(sequence_usage(a->sequence).cached_tokens, 0);
            asked_check(&f, a);
        }
        struct asked *again = asked_new(8, n, 2, n), *shy = asked_new(8, n, 2, n);
        again->request.owner = 1;
        shy->request.owner = 1;
        shy->request.no_cache = true;
        asked_run_alone(&f, again);
        asked_run_alone(&f, shy);
        assert_int_equal(sequence_usage(again->sequence).cached_tokens, boundary);
        assert_int_equal(sequence_usage(shy->sequence).cached_tokens, 0);
        asked_check(&f, again);
        asked_check(&f, shy);
        fake_engine_close(&f);
    }
}

static int cached_tokens_of(struct fake_engine *f, struct asked *a)
{
    asked_run_alone(f, a);
    int cached = sequence_usage(a->sequence).cached_tokens;
    asked_check(f, a);
    return cached;
}

static void of_one_prompt_the_shortest_prefix_stays_cached_longest(void **state)
{
    (void)state;
    struct fake_engine f;
    fake_engine_open(
        &f, FAKE_WINDOW,
        (struct engine_options){
            .context = 1024, .max_sequences = 1, .checkpoints = 3, .kv_bytes = fake_engine_bytes(12, 1, 3)});
    assert_int_equal(engine_stats(f.engine).checkpoints_max, 3);
    assert_int_equal(engine_stats(f.engine).pages, 12); /* all that the budget holds beside a ring and 3 snapshots */
    int32_t boundary[] = {100, 130};
    for (uint64_t strangers = 0; strangers <= 3; strangers++) {
        struct asked *a = asked_new(4 + strangers, 200, 1, 200);
        a->request.boundary = boundary;
        a->request.n_boundary = 2;
        assert_int_equal(cached_tokens_of(&f, a), 0); /* leaves 100, 130 and its end */
        for (uint64_t i = 0; i < strangers; i++)
            assert_int_equal(cached_tokens_of(&f, asked_new(20 + strangers, 0, 30 * strangers + i, 50)), 0);
        static const int expected[] = {130, 130, 100, 0}; /* the next prompt parts from it at 150 */
        assert_int_equal(cached_tokens_of(&f, asked_new(4 + strangers, 150, 2, 200)), expected[strangers]);
        engine_forget(f.engine);
    }
    fake_engine_close(&f);
}

static void a_prompt_that_is_being_computed_is_not_computed_twice(void **state)
{
    (void)state;
    enum { SAME = 4 };
    struct fake_engine f;
    fake_engine_open(&f, FAKE_WINDOW,
                     (struct engine_options){.context = FAKE_CONTEXT, .max_sequences = 6, .chunk = 100});
    struct asked *a[SAME + 1];
    int32_t boundary[] = {400, 790};
    for (int i = 0; i <= SAME; i++) { /* the last one is another prompt, and does not wait */
        a[i] = asked_new(i < SAME ? 1 : 2, 800, (uint64_t)i, i < SAME ? 800 : 50);
        a[i]->request.boundary = boundary;
        a[i]->request.n_boundary = 2;
        asked_add(&f, a[i]);
    }
    assert_true(engine_step(f.engine));
    asked_pull(a[SAME]);
    assert_int_equal(a[SAME]->n_answer, 1);
    while (engine_step(f.engine))
        for (int i = 0; i <= SAME; i++)
            asked_pull(a[i]);
    assert_int_equal(engine_stats(f.engine).prefill_rows, 800 + (SAME - 1) * 10 + 50);
    for (int i = 0; i <= SAME; i++)
        asked_check(&f, a[i]);
    fake_engine_close(&f);
}

static void a_prompt_whose_older_twin_is_cancelled_does_not_wait_for_ever(void **state)
{
    (void)state;
    struct fake_engine f;
    fake_engine_open(&f, FAKE_WINDOW,
                     (struct engine_options){.context = FAKE_CONTEXT, .max_sequences = 6, .chunk = 100});
    int32_t boundary = 790;
    struct asked *a = asked_new(1, 800, 1, 800), *b = asked_new(1, 800, 2, 800);
    a->request.boundary = b->request.boundary = &boundary;
    a->request.n_boundary = b->request.n_boundary = 1;
    asked_add(&f, a);
    asked_add(&f, b);
    for (int i = 0; i < 3; i++)
        assert_true(engine_step(f.engine));
    assert_int_equal(engine_stats(f.engine).waiting, 1);
    engine_cancel(f.engine, a->sequence);
    while (engine_step(f.engine))
        asked_pull(b);
    assert_int_equal(sequence_usage(b->sequence).cached_tokens, 300); /* what the twin had got to */
    asked_check(&f, a);
    asked_check(&f, b);
    fake_engine_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prefix_is_continued_exactly_around_page_boundaries),
        cmocka_unit_test(the_end_of_an_answer_can_be_continued),
        cmocka_unit_test(a_prompt_that_is_wholly_cached_still_computes_its_last_id),
        cmocka_unit_test(a_page_shared_while_it_is_written_is_copied),
        cmocka_unit_test(owners_never_share),
        cmocka_unit_test(of_one_prompt_the_shortest_prefix_stays_cached_longest),
        cmocka_unit_test(a_prompt_that_is_being_computed_is_not_computed_twice),
        cmocka_unit_test(a_prompt_whose_older_twin_is_cancelled_does_not_wait_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
