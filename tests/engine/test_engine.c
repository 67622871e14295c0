/* What one sequence can count on: its share of the steps, its limits, its errors, its mask and its scores. */
#include <stdlib.h>
#include <string.h>

#include "support/fake_engine.h"
#include "support/test.h"

static void a_long_prompt_delays_the_others_by_no_more_than_a_chunk(void **state)
{
    (void)state;
    struct fake_engine f;
    fake_engine_open(&f, FAKE_WINDOW,
                     (struct engine_options){.context = FAKE_CONTEXT, .max_sequences = 4, .chunk = 64});
    struct asked *quick[3], *slow = asked_new(3, 0, 77, 1500);
    for (int i = 0; i < 3; i++) {
        quick[i] = asked_new(9, 0, (uint64_t)i, 8);
        quick[i]->request.stop = quick[i]->id;
        asked_add(&f, quick[i]);
    }
    slow->request.max_tokens = 3;
    assert_true(engine_step(f.engine));
    asked_add(&f, slow);
    for (int step = 2; step <= 20; step++) {
        assert_true(engine_step(f.engine));
        for (int i = 0; i < 3; i++) {
            asked_pull(quick[i]);
            assert_int_equal(quick[i]->n_answer, step);
        }
    }
    assert_int_equal(engine_stats(f.engine).prefill_rows, 3 * 8 + 19 * 64);
    struct asked *late = asked_new(9, 0, 50, 30); /* gets its share at once, too */
    for (int i = 0; i < 3; i++)
        engine_cancel(f.engine, quick[i]->sequence);
    asked_add(&f, late);
    engine_step(f.engine);
    asked_pull(late);
    assert_int_equal(late->n_answer, 1);
    engine_close(f.engine);
    for (int i = 0; i < 3; i++)
        free(quick[i]);
    free(slow);
    free(late);
}

static void a_short_prompt_is_served_among_long_ones_when_rows_are_scarce(void **state)
{
    (void)state;
    struct fake_engine f;
    fake_engine_open(&f, FAKE_WINDOW, (struct engine_options){.context = FAKE_CONTEXT, .max_sequences = 5, .chunk = 2});
    struct asked *a[5];
    for (int i = 0; i < 5; i++) {
        a[i] = asked_new(3, 0, (uint64_t)i, i < 4 ? 1000 : 8);
        asked_add(&f, a[i]);
    }
    for (int step = 0; step < 30; step++) /* 8 rows of its own at 2 in 5 steps */
        engine_step(f.engine);
    asked_pull(a[4]);
    assert_true(a[4]->n_answer > 0);
    engine_close(f.engine);
    for (int i = 0; i < 5; i++)
        free(a[i]);
}

static void what_does_not_fit_is_refused_with_the_counts(void **state)
{
    (void)state;
    struct fake_engine f;
    goss_error error;
    fake_engine_open(&f, FAKE_WINDOW, (struct engine_options){.context = 1000, .max_waiting = 2});
    struct asked *a = asked_new(1, 0, 1, 990);
    a->request.max_tokens = 11;
    assert_int_equal(engine_add(f.engine, &a->request, &a->sequence, &error), GOSS_E_LIMIT);
    assert_non_null(strstr(error.text, "990"));
    assert_non_null(strstr(error.text, "11"));
    assert_non_null(strstr(error.text, "1000"));
    a->request.n_id = 1000;
    a->request.max_tokens = 0;
    assert_int_equal(engine_add(f.engine, &a->request, &a->sequence, &error), GOSS_E_LIMIT);
    a->request.n_id = 999;
    assert_int_equal(engine_add(f.engine, &a->request, &a->sequence, &error), GOSS_OK);
    engine_release(f.engine, a->sequence);
    a->id[4] = FAKE_VOCAB;
    assert_int_equal(engine_add(f.engine, &a->request, &a->sequence, &error), GOSS_E_ARGUMENT);
    a->id[4] = -1;
    assert_int_equal(engine_add(f.engine, &a->request, &a->sequence, &error), GOSS_E_ARGUMENT);
    a->request.n_id = 0;
    assert_int_equal(engine_add(f.engine, &a->request, &a->sequence, &error), GOSS_E_ARGUMENT);
    a->request.n_id = 3;
    a->request.sampling.top_p = 1.5;
    assert_int_equal(engine_add(f.engine, &a->request, &a->sequence, &error), GOSS_E_ARGUMENT);
    a->request.sampling.top_p = 1;
    assert_int_equal(engine_add(f.engine, &a->request, &a->sequence, &error), GOSS_OK);
    assert_int_equal(engine_add(f.engine, &a->request, &a->sequence, &error), GOSS_OK);
    assert_int_equal(engine_add(f.engine, &a->request, &a->sequence, &error), GOSS_E_LIMIT);
    engine_close(f.engine);
    struct engine_options small = {.context = 2000, .checkpoints = 1, .kv_bytes = fake_engine_bytes(3, 1, 1)};
    assert_int_equal(engine_open(&f.engine, &f.fake.model, &fake_backend, &small, &error), GOSS_E_LIMIT);
    assert_non_null(strstr(error.text, "2000"));
    small = (struct engine_options){.context = 8193};
    assert_int_equal(engine_open(&f.engine, &f.fake.model, &fake_backend, &small, &error), GOSS_E_LIMIT);
    small = (struct engine_options){.chunk = -1};
    assert_int_equal(engine_open(&f.engine, &f.fake.model, &fake_backend, &small, &error), GOSS_E_ARGUMENT);
    free(a);
}

static void an_answer_ends_at_the_context(void **state)
{
    (void)state;
    struct fake_engine f;
    fake_engine_open(&f, FAKE_WINDOW, (struct engine_options){.context = 300});
    struct asked *a = asked_new(1, 0, 1, 290);
    a->request.max_tokens = 0;
    a->request.stop = a->id;
    asked_run_alone(&f, a);
    assert_int_equal(sequence_finish(a->sequence), FINISH_LENGTH);
    assert_int_equal(a->n_answer, 10);
    a->request.max_tokens = 10;
    f.fake.model.config.stop[0] = f.fake.model.config.stop[1] = -1;
    asked_check(&f, a);
    fake_engine_close(&f);
}

static void a_logit_that_is_not_finite_ends_its_own_sequence_only(void **state)
{
    (void)state;
    struct fake_engine f;
    fake_engine_open(&f, FAKE_WINDOW, (struct engine_options){.context = FAKE_CONTEXT, .max_sequences = 3});
    f.fake.nan_id = 123;
    f.fake.infinite_id = 124;
    struct asked *good = asked_new(1, 0, 1, 50), *nan = asked_new(1, 0, 2, 50), *infinite = asked_new(1, 0, 3, 50);
    for (int i = 0; i < 50; i++) /* the good one may not run into it */
        good->id[i] %= 100;
    nan->id[49] = 123;
    infinite->id[49] = 124;
    good->request.sampling.temperature = 0.01;
    asked_add(&f, good);
    asked_add(&f, nan);
    asked_add(&f, infinite);
    while (engine_step(f.engine)) {
        asked_pull(good);
        asked_pull(nan);
    }
    assert_int_equal(sequence_finish(nan->sequence), FINISH_ERROR);
    assert_int_equal(sequence_finish(infinite->sequence), FINISH_ERROR);
    assert_int_equal(sequence_error(nan->sequence)->status, GOSS_E_FORMAT);
    assert_non_null(strstr(sequence_error(nan->sequence)->text, "150"));
    assert_null(sequence_error(good->sequence));
    assert_int_equal(nan->n_answer, 0);
    assert_true(good->n_answer > 0);
    asked_check(&f, good);
    engine_release(f.engine, nan->sequence);
    engine_release(f.engine, infinite->sequence);
    free(nan);
    free(infinite);
    fake_engine_close(&f);
}

/* Allows one id after the other, from 200 on, `n` of them; then all. */
struct row_guide {
    uint64_t allowed[(FAKE_VOCAB + 63) / 64];
    int n, asked;
    int32_t taken;
};

static goss_status allow_next(void *self, const uint64_t **allowed, goss_error *error)
{
    (void)error;
    struct row_guide *guide = self;
    memset(guide->allowed, 0, sizeof guide->allowed);
    guide->allowed[(200 + guide->asked) / 64] |= UINT64_C(1) << ((200 + guide->asked) % 64);
    *allowed = guide->asked++ < guide->n ? guide->allowed : NULL;
    return GOSS_OK;
}

static goss_status take_next(void *self, int32_t id, goss_error *error)
{
    struct row_guide *guide = self;
    guide->taken = id;
    return id == 205 ? error_set(error, GOSS_E_LIMIT, "not 205") : GOSS_OK;
}

static void a_guide_is_asked_before_each_id_and_told_it(void **state)
{
    (void)state;
    struct fake_engine f;
    fake_engine_open(&f, FAKE_WINDOW, (struct engine_options){.context = FAKE_CONTEXT});
    struct asked *a = asked_new(1, 0, 1, 20);
    struct row_guide guide = {.n = 5};
    a->request.guide = (struct guide){.self = &guide, .allow = allow_next, .take = take_next};
    asked_add(&f, a);
    for (int i = 0; i < 5; i++) {
        engine_step(f.engine);
        assert_int_equal(guide.taken, 200 + i);
    }
    while (engine_step(f.engine))
        asked_pull(a);
    for (int i = 0; i < 5; i++)
        assert_int_equal(a->answer[i], 200 + i);
    assert_true(a->n_answer == 5 || a->answer[5] != 205);
    assert_int_equal(guide.taken, a->answer[a->n_answer - 1]);
    engine_release(f.engine, a->sequence);
    free(a);
    fake_engine_close(&f);
}

static void a_guide_that_fails_ends_its_sequence_alone(void **state)
{
    (void)state;
    struct fake_engine f;
    fake_engine_open(&f, FAKE_WINDOW, (struct engine_options){.context = FAKE_CONTEXT, .max_sequences = 2});
    struct asked *a = asked_new(1, 0, 1, 20), *b = asked_new(2, 0, 2, 30);
    struct row_guide guide = {.n = 6};
    a->request.guide = (struct guide){.self = &guide, .allow = allow_next, .take = take_next};
    asked_add(&f, a);
    asked_add(&f, b);
    while (engine_step(f.engine)) {
        asked_pull(a);
        asked_pull(b);
    }
    assert_int_equal(sequence_finish(a->sequence), FINISH_ERROR);
    assert_string_equal(sequence_error(a->sequence)->text, "not 205");
    assert_int_equal(a->n_answer, 5);
    asked_check(&f, b);
    engine_release(f.engine, a->sequence);
    free(a);
    fake_engine_close(&f);
}

static void a_sequence_that_nobody_pulls_pauses(void **state)
{
    (void)state;
    struct fake_engine f;
    fake_engine_open(&f, FAKE_WINDOW, (struct engine_options){.context = FAKE_CONTEXT});
    struct asked *a = asked_new(1, 0, 1, 20);
    a->request.stop = a->id;
    f.fake.model.config.stop[0] = f.fake.model.config.stop[1] = -1;
    asked_add(&f, a);
    int steps = 0;
    while (engine_step(f.engine))
        steps++;
    assert_int_equal(steps, ENGINE_QUEUE);
    asked_pull(a);
    assert_int_equal(a->n_answer, ENGINE_QUEUE);
    while (engine_step(f.engine))
        asked_pull(a);
    assert_int_equal(a->n_answer, FAKE_ANSWER);
    asked_check(&f, a);
    fake_engine_close(&f);
}

static void a_scored_prompt_gives_the_logits_of_every_position(void **state)
{
    (void)state;
    static const int chunk[] = {1, 17, 500}, rows[] = {1, 5, 64};
    uint64_t hidden[600];
    for (int c = 0; c < 3; c++)
        for (int r = 0; r < 3; r++) {
            struct fake_engine f;
            fake_engine_open(
                &f, FAKE_WINDOW,
                (struct engine_options){.chunk = chunk[c], .score_rows = rows[r], .context = 600, .max_sequences = 2});
            struct asked *a = asked_new(1, 0, 1, 600), *b = asked_new(1, 0, 2, 30);
            fake_reference(&f.fake, 0, a->id, 600, hidden);
            a->request.score = true;
            a->request.max_tokens = 0;
            asked_add(&f, a);
            asked_add(&f, b);
            int next = 0;
            while (engine_step(f.engine)) {
                struct score_rows scores;
                sequence_scores(a->sequence, &scores);
                asked_pull(b);
                assert_true(scores.n == 0 || scores.first == next);
                for (int i = 0; i < scores.n; i++, next++) {
                    float logits[FAKE_VOCAB];
                    fake_logits(&f.fake, hidden[next], a->id[next], logits);
                    assert_memory_equal(logits, scores.logits + (size_t)i * FAKE_VOCAB, sizeof logits);
                }
            }
            assert_int_equal(next, 600);
            assert_int_equal(sequence_finish(a->sequence), FINISH_SCORED);
            asked_check(&f, b);
            engine_release(f.engine, a->sequence);
            free(a);
            fake_engine_close(&f);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_prompt_delays_the_others_by_no_more_than_a_chunk),
        cmocka_unit_test(a_short_prompt_is_served_among_long_ones_when_rows_are_scarce),
        cmocka_unit_test(what_does_not_fit_is_refused_with_the_counts),
        cmocka_unit_test(an_answer_ends_at_the_context),
        cmocka_unit_test(a_logit_that_is_not_finite_ends_its_own_sequence_only),
        cmocka_unit_test(a_guide_is_asked_before_each_id_and_told_it),
        cmocka_unit_test(a_guide_that_fails_ends_its_sequence_alone),
        cmocka_unit_test(a_sequence_that_nobody_pulls_pauses),
        cmocka_unit_test(a_scored_prompt_gives_the_logits_of_every_position),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
