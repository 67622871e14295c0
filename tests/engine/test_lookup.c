/* Guesses from what was said before: what is guessed, what it costs, and that no answer shows it. */
#include <stdlib.h>
#include <string.h>

#include "engine/cost.h"
#include "engine/lookup.h"
#include "support/fake_engine.h"
#include "support/test.h"

/* ---- guesses ---- */

static struct lookup lookup_of(const int32_t *id, int n)
{
    struct lookup lookup;
    assert_int_equal(lookup_open(&lookup, 1000, NULL), GOSS_OK);
    for (int i = 0; i < n; i++)
        lookup_append(&lookup, id, i + 1);
    return lookup;
}

static void what_followed_the_same_three_ids_last_time_is_guessed(void **state)
{
    (void)state;
    int32_t id[64] = {5, 1, 2, 3, 10, 11, 1, 2, 3, 20, 21, 22, 9, 1, 2, 3};
    struct lookup lookup = lookup_of(id, 16);
    assert_int_equal(lookup_guess(&lookup, id, 16, 4), 4);
    static const int32_t expected[] = {20, 21, 22, 9};
    assert_memory_equal(id + 16, expected, sizeof expected);
    lookup_close(&lookup);
}

static void two_ids_are_not_enough_for_a_guess(void **state)
{
    (void)state;
    int32_t id[64] = {1, 2, 3, 4, 5, 9, 2, 3};
    struct lookup lookup = lookup_of(id, 8);
    assert_int_equal(lookup_guess(&lookup, id, 8, 4), 0);
    lookup_close(&lookup);
}

static void a_guess_may_run_into_itself(void **state)
{
    (void)state;
    int32_t id[64] = {7, 8, 7, 8, 7};
    struct lookup lookup = lookup_of(id, 5);
    assert_int_equal(lookup_guess(&lookup, id, 5, 9), 9);
    for (int i = 5; i < 14; i++)
        assert_int_equal(id[i], i % 2 ? 8 : 7);
    lookup_close(&lookup);
}

static void a_wrong_guess_is_given_up_for_a_better_one(void **state)
{
    (void)state;
    int32_t id[64] = {1, 2, 3, 4, 5, 6, 2, 3, 8, 30, 31, 1, 2, 3, 8};
    struct lookup lookup = lookup_of(id, 15); /* after 1 2 3 came 4, but here 8 did; 2 3 8 was followed by 30 */
    assert_int_equal(lookup_guess(&lookup, id, 15, 2), 2);
    assert_int_equal(id[15], 30);
    assert_int_equal(id[16], 31);
    lookup_close(&lookup);
}

/* More distinct triples than the table has places: what collides is compared, never believed. */
static void other_ids_with_the_same_hash_give_no_guess(void **state)
{
    (void)state;
    enum { N = 5000 };
    int32_t *id = malloc((N + 1) * sizeof *id);
    struct lookup lookup;
    assert_int_equal(lookup_open(&lookup, 64, NULL), GOSS_OK);
    for (int i = 0; i < N; i++) {
        id[i] = i;
        lookup_append(&lookup, id, i + 1);
        assert_int_equal(lookup_guess(&lookup, id, i + 1, 1), 0);
    }
    lookup_close(&lookup);
    free(id);
}

static void chances_grow_with_the_stretch_that_agrees_and_with_success(void **state)
{
    (void)state;
    int32_t id[600];
    for (int i = 0; i < 600; i++)
        id[i] = i % 200; /* the same three times */
    struct lookup lookup = lookup_of(id, 203);
    double first = lookup_chance(&lookup, 0), later = lookup_chance(&lookup, 14);
    assert_true(first > 0 && first < later && later < 1);
    for (int i = 203; i < 600; i++)
        lookup_append(&lookup, id, i + 1);
    assert_true(lookup_chance(&lookup, 0) > 0.97);
    lookup_close(&lookup);
}

static void guesses_that_fail_are_soon_known_to_fail(void **state)
{
    (void)state;
    enum { N = 800 };
    int32_t id[N];
    for (int i = 0; i < N; i++)
        id[i] = i % 4 < 3 ? i % 4 : 100 + i; /* 0 1 2, then always something new */
    struct lookup lookup = lookup_of(id, N - 1);
    assert_int_equal(lookup_guess(&lookup, id, N - 1, 1), 1);
    assert_true(lookup_chance(&lookup, 0) < 0.05);
    lookup_close(&lookup);
}

/* ---- costs ---- */

static struct step_cost cost_of_20b(void)
{
    struct model_config c = {.n_layer = 24,
                             .d_model = 2880,
                             .n_head = 64,
                             .n_kv_head = 8,
                             .head_dim = 64,
                             .d_ff = 2880,
                             .n_expert = 32,
                             .n_active = 4,
                             .n_vocab = 201088};
    struct step_cost cost;
    step_cost_open(&cost, &c);
    return cost;
}

static void before_any_step_a_row_costs_the_experts_it_drags_in(void **state)
{
    (void)state;
    struct step_cost cost = cost_of_20b();
    double one = step_cost_of(&cost, 1);
    assert_true(step_cost_of(&cost, 2) > 1.35 * one && step_cost_of(&cost, 2) < 1.5 * one);
    assert_true(step_cost_of(&cost, 1000) < 5.1 * one); /* all experts once: eight times those of a row */
    for (int rows = 1; rows < 40; rows++)
        assert_true(step_cost_of(&cost, rows + 1) > step_cost_of(&cost, rows));
}

static void measured_steps_correct_what_a_row_costs(void **state)
{
    (void)state;
    struct step_cost slow = cost_of_20b(), same = slow;
    for (int i = 0; i < 50; i++) {
        int rows = 1 + i % 8;
        step_cost_learn(&slow, rows, 0.2 * rows);
        step_cost_learn(&same, 1, 0.2);
    }
    assert_true(step_cost_of(&slow, 8) > 6.5 * step_cost_of(&slow, 1)); /* arithmetic is the limit: no gain */
    assert_true(step_cost_of(&same, 8) < 3.5 * step_cost_of(&same, 1)); /* nothing learnt about more rows */
    for (int i = 0; i < 200; i++)
        step_cost_learn(&slow, 1 + i % 8, 0.2 + 0.001 * (i % 8));
    assert_true(step_cost_of(&slow, 8) < 1.2 * step_cost_of(&slow, 1)); /* what is long ago is forgotten */
}

static void no_measurement_makes_a_step_free(void **state)
{
    (void)state;
    struct step_cost cost = cost_of_20b();
    step_cost_learn(&cost, 1, 1e-9);
    step_cost_learn(&cost, 16, 1e3);
    for (int rows = 1; rows <= 64; rows++)
        assert_true(step_cost_of(&cost, rows) > 0);
}

/* ---- answers ---- */

static const int lookups[] = {LOOKUP_OFF, LOOKUP_AUTO, 1, 2, 3, 7, LOOKUP_MOST};
enum { LOOKUPS = sizeof lookups / sizeof *lookups };

static void answers_do_not_depend_on_lookups(void **state)
{
    (void)state;
    static const int chunk[] = {1, 17, 512}, window[] = {FAKE_WINDOW, 5, 1, 0};
    for (int l = 0; l < LOOKUPS; l++) {
        uint64_t drafted = 0, accepted = 0;
        for (int w = 0; w < 4; w++)
            for (int c = 0; c < 3; c++) {
                struct fake_engine f;
                fake_engine_open(
                    &f, window[w],
                    (struct engine_options){
                        .chunk = chunk[c], .context = FAKE_CONTEXT, .max_sequences = 1 + 3 * c, .lookup = lookups[l]});
                f.fake.repeats = true;
                fake_engine_crowd(&f, (uint64_t)(10 * w + c));
                struct engine_stats stats = engine_stats(f.engine);
                assert_int_equal(stats.rows, stats.prefill_rows + stats.decode_rows + stats.drafted);
                drafted += stats.drafted;
                accepted += stats.accepted;
                fake_engine_close(&f);
            }
        if (lookups[l] == LOOKUP_OFF)
            assert_int_equal(drafted, 0);
        else if (lookups[l] > 0)
            assert_true(accepted > 100 && drafted > accepted + 100);
    }
}

static void answers_survive_eviction_and_preemption_with_lookups(void **state)
{
    (void)state;
    uint64_t preemptions = 0, evictions = 0, accepted = 0;
    for (int l = 1; l < LOOKUPS; l++) {
        struct fake_engine f;
        fake_engine_open(&f, FAKE_WINDOW,
                         (struct engine_options){.chunk = 100,
                                                 .context = FAKE_CONTEXT,
                                                 .max_sequences = 5,
                                                 .checkpoints = 6,
                                                 .kv_bytes = fake_engine_bytes(FAKE_CONTEXT / KV_PAGE + 2, 5, 6),
                                                 .lookup = lookups[l]});
        f.fake.repeats = true;
        fake_engine_crowd(&f, (uint64_t)l + 150);
        struct engine_stats stats = engine_stats(f.engine);
        preemptions += stats.preemptions;
        evictions += stats.evictions;
        accepted += stats.accepted;
        fake_engine_close(&f);
    }
    assert_true(preemptions > 0 && evictions > 0 && accepted > 0);
}

/* Prompts of every length around the end of a page and the width of a window, so that guesses are right and wrong on
 * both sides of each; then the end of the answer is continued, from a ring whose last rows were taken back. */
static void guesses_may_cross_the_ends_of_pages_and_windows(void **state)
{
    (void)state;
    static const int around[] = {FAKE_WINDOW, 2 * FAKE_WINDOW, KV_PAGE, 2 * KV_PAGE};
    for (int i = 0; i < 4; i++)
        for (int n = around[i] - 20; n < around[i] + 4; n++) {
            struct fake_engine f;
            fake_engine_open(&f, FAKE_WINDOW, (struct engine_options){.context = FAKE_CONTEXT, .lookup = LOOKUP_MOST});
            f.fake.repeats = true;
            struct asked *first = asked_new(1, 0, 3, n), *second = asked_new(1, 0, 3, n);
            first->request.sampling.temperature = second->request.sampling.temperature = 0.3;
            asked_run_alone(&f, first);
            int end = n + first->n_answer;
            memcpy(second->id + n, first->answer, (size_t)first->n_answer * sizeof *first->answer);
            second->id[end] = 5;
            second->request.n_id = end + 1;
            asked_run_alone(&f, second);
            assert_int_equal(sequence_usage(second->sequence).cached_tokens, end - 1);
            assert_true(engine_stats(f.engine).accepted > 0);
            asked_check(&f, first);
            asked_check(&f, second);
            fake_engine_close(&f);
        }
}

/* A circle that is said again and again: one step then gives up to 1 + LOOKUP_MOST ids. */
static struct asked *endless(struct fake_engine *f, int n_answer)
{
    struct asked *a = asked_new(1, 0, 1, 60);
    f->fake.repeats = true;
    f->fake.model.config.stop[0] = f->fake.model.config.stop[1] = -1;
    for (int i = 0; i < 60; i++)
        a->id[i] = 12 + i % 12;
    a->request.max_tokens = n_answer;
    a->request.sampling.temperature = 0.01;
    return a;
}

static void a_step_samples_no_more_than_the_answer_or_the_queue_has_room_for(void **state)
{
    (void)state;
    for (int n = 1; n < 40; n++) {
        struct fake_engine f;
        fake_engine_open(&f, FAKE_WINDOW, (struct engine_options){.context = FAKE_CONTEXT, .lookup = LOOKUP_MOST});
        struct asked *a = endless(&f, n);
        asked_add(&f, a);
        for (int i = 0; i < 2 * ENGINE_QUEUE; i++)
            engine_step(f.engine);
        asked_pull(a);
        assert_int_equal(a->n_answer, n < ENGINE_QUEUE ? n : ENGINE_QUEUE);
        while (engine_step(f.engine))
            asked_pull(a);
        assert_int_equal(a->n_answer, n);
        uint64_t drafted = engine_stats(f.engine).drafted;
        assert_true(n > 1 || drafted == 0);
        asked_check(&f, a);
        fake_engine_close(&f);
    }
}

static void an_answer_that_repeats_takes_few_steps(void **state)
{
    (void)state;
    uint64_t steps[2];
    for (int l = 0; l < 2; l++) {
        struct fake_engine f;
        fake_engine_open(&f, FAKE_WINDOW,
                         (struct engine_options){.context = FAKE_CONTEXT, .lookup = l ? LOOKUP_MOST : LOOKUP_OFF});
        struct asked *a = endless(&f, 600);
        asked_run_alone(&f, a);
        struct engine_stats stats = engine_stats(f.engine);
        steps[l] = stats.steps;
        assert_int_equal(stats.decode_rows + stats.accepted, 600 - 1);
        asked_check(&f, a);
        fake_engine_close(&f);
    }
    assert_true(2 * steps[1] < steps[0]);
}

/* Every seventh id must be one of a quarter of all, of which quarter depends on what was said. */
struct sum_guide {
    uint64_t allowed[(FAKE_VOCAB + 63) / 64];
    int32_t sum, n;
};

static goss_status allow_quarter(void *self, const uint64_t **allowed, goss_error *error)
{
    (void)error;
    struct sum_guide *guide = self;
    memset(guide->allowed, 0, sizeof guide->allowed);
    for (int id = guide->sum % 4; id < FAKE_VOCAB; id += 4)
        guide->allowed[id / 64] |= UINT64_C(1) << (id % 64);
    *allowed = guide->n++ % 7 == 6 ? guide->allowed : NULL;
    return GOSS_OK;
}

static goss_status take_sum(void *self, int32_t id, goss_error *error)
{
    (void)error;
    ((struct sum_guide *)self)->sum += id;
    return GOSS_OK;
}

static void guided_answers_are_those_of_plain_decoding(void **state)
{
    (void)state;
    static const int lookup[] = {LOOKUP_OFF, LOOKUP_MOST};
    struct asked *answer[2];
    for (int l = 0; l < 2; l++) {
        struct fake_engine f;
        struct sum_guide guide = {.sum = 0};
        fake_engine_open(&f, FAKE_WINDOW, (struct engine_options){.context = FAKE_CONTEXT, .lookup = lookup[l]});
        f.fake.repeats = true;
        struct asked *a = answer[l] = endless(&f, 400);
        a->request.guide = (struct guide){.self = &guide, .allow = allow_quarter, .take = take_sum};
        asked_run_alone(&f, a);
        assert_int_equal(a->n_answer, 400);
        assert_true(engine_stats(f.engine).accepted > 20 || l == 0);
        engine_release(f.engine, a->sequence);
        fake_engine_close(&f);
    }
    assert_memory_equal(answer[0]->answer, answer[1]->answer, 400 * sizeof answer[0]->answer[0]);
    free(answer[0]);
    free(answer[1]);
}

static void a_sequence_may_ask_for_no_lookup(void **state)
{
    (void)state;
    struct fake_engine f;
    fake_engine_open(&f, FAKE_WINDOW,
                     (struct engine_options){.context = FAKE_CONTEXT, .max_sequences = 2, .lookup = LOOKUP_MOST});
    struct asked *a = endless(&f, 100), *b = endless(&f, 100);
    a->request.lookup = LOOKUP_OFF;
    asked_run_alone(&f, a);
    assert_int_equal(engine_stats(f.engine).drafted, 0);
    asked_run_alone(&f, b);
    assert_true(engine_stats(f.engine).drafted > 0);
    asked_check(&f, a);
    asked_check(&f, b);
    a = endless(&f, 1);
    a->request.lookup = LOOKUP_MOST + 1;
    assert_int_equal(engine_add(f.engine, &a->request, &a->sequence, NULL), GOSS_E_ARGUMENT);
    free(a);
    fake_engine_close(&f);
    goss_error error;
    struct engine_options wrong = {.lookup = -2};
    assert_int_equal(engine_open(&f.engine, &f.fake.model, &fake_backend, &wrong, &error), GOSS_E_ARGUMENT);
    assert_non_null(strstr(error.text, "-2"));
}

/* With twelve ids in a circle nearly every answer can be guessed: by itself the engine notices. */
static void by_itself_the_engine_guesses_what_is_likely(void **state)
{
    (void)state;
    struct fake_engine f;
    fake_engine_open(&f, FAKE_WINDOW, (struct engine_options){.context = FAKE_CONTEXT});
    f.fake.model.config.n_expert = 32; /* an engine that is opened with these numbers knows that rows are cheap */
    f.fake.model.config.n_active = 4;
    engine_close(f.engine);
    assert_int_equal(
        engine_open(&f.engine, &f.fake.model, &fake_backend, &(struct engine_options){.context = FAKE_CONTEXT}, NULL),
        GOSS_OK);
    int32_t script[600];
    for (int i = 0; i < 600; i++)
        script[i] = 12 + i % 12;
    f.fake.script = script;
    f.fake.script_first = 60;
    f.fake.n_script = 600;
    struct asked *a = endless(&f, 600);
    asked_run_alone(&f, a);
    assert_int_equal(a->n_answer, 600);
    struct engine_stats stats = engine_stats(f.engine);
    assert_true(stats.accepted > 0 && stats.drafted < stats.accepted + 60);
    engine_release(f.engine, a->sequence);
    free(a);
    fake_engine_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_followed_the_same_three_ids_last_time_is_guessed),
        cmocka_unit_test(two_ids_are_not_enough_for_a_guess),
        cmocka_unit_test(a_guess_may_run_into_itself),
        cmocka_unit_test(a_wrong_guess_is_given_up_for_a_better_one),
        cmocka_unit_test(other_ids_with_the_same_hash_give_no_guess),
        cmocka_unit_test(chances_grow_with_the_stretch_that_agrees_and_with_success),
        cmocka_unit_test(guesses_that_fail_are_soon_known_to_fail),
        cmocka_unit_test(before_any_step_a_row_costs_the_experts_it_drags_in),
        cmocka_unit_test(measured_steps_correct_what_a_row_costs),
        cmocka_unit_test(no_measurement_makes_a_step_free),
        cmocka_unit_test(answers_do_not_depend_on_lookups),
        cmocka_unit_test(answers_survive_eviction_and_preemption_with_lookups),
        cmocka_unit_test(guesses_may_cross_the_ends_of_pages_and_windows),
        cmocka_unit_test(a_step_samples_no_more_than_the_answer_or_the_queue_has_room_for),
        cmocka_unit_test(an_answer_that_repeats_takes_few_steps),
        cmocka_unit_test(guided_answers_are_those_of_plain_decoding),
        cmocka_unit_test(a_sequence_may_ask_for_no_lookup),
        cmocka_unit_test(by_itself_the_engine_guesses_what_is_likely),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
