/* The engine over the fake backend: whatever the crowd, the chunks and the cache, every answer is the one that
 * fake_reference gives from the ids alone. */
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "engine/engine.h"
#include "support/fake_backend.h"
#include "support/test.h"

enum { CONTEXT = 1600, MAX_ANSWER = 64 };

struct fixture {
    struct fake_counts counts;
    struct fake_model fake;
    struct engine *engine;
};

static void open_engine(struct fixture *f, int window, struct engine_options options)
{
    memset(f, 0, sizeof *f);
    f->fake = fake_model(&f->counts, window, 8192);
    goss_error error;
    if (engine_open(&f->engine, &f->fake.model, &fake_backend, &options, &error))
        fail_msg("%s", error.text);
}

static uint64_t bytes_of(int pages, int rings, int checkpoints)
{
    struct fake_counts counts = {0};
    struct fake_model fake = fake_model(&counts, FAKE_WINDOW, 8192);
    return fake_backend.kv_bytes(&fake.model.config, pages, rings + checkpoints);
}

/* All that was held is free again, once the cache is dropped too. */
static void close_engine(struct fixture *f)
{
    engine_forget(f->engine);
    struct engine_stats stats = engine_stats(f->engine);
    assert_int_equal(stats.pages_free, stats.pages);
    assert_int_equal(stats.pages_cached, 0);
    assert_int_equal(stats.rings_free, stats.rings);
    assert_int_equal(stats.checkpoints, 0);
    assert_int_equal(f->counts.faults, 0);
    engine_close(f->engine);
    assert_int_equal(f->counts.open, 0);
}

/* Ids of a text: two texts of one family share their beginning. */
static void make_ids(int32_t *id, int n, uint64_t family, int shared, uint64_t own)
{
    for (int i = 0; i < n; i++) {
        uint32_t words[4];
        random_words(i < shared ? family : own + 1000, (uint64_t)i, 0, words);
        id[i] = (int32_t)(words[0] % FAKE_VOCAB);
    }
}

struct asked {
    int32_t id[CONTEXT];
    struct sequence_request request;
    struct sequence *sequence;
    int32_t answer[CONTEXT];
    int n_answer, stop_after; /* cancelled after so many tokens, or -1 */
};

static struct asked *ask(uint64_t family, int shared, uint64_t own, int n)
{
    struct asked *a = calloc(1, sizeof *a);
    make_ids(a->id, n, family, shared, own);
    a->request = (struct sequence_request){.id = a->id, .n_id = n, .max_tokens = MAX_ANSWER};
    a->request.sampling = sampling_default();
    a->request.sampling.seed = own;
    a->stop_after = -1;
    return a;
}

static void pull(struct asked *a)
{
    struct sampled sampled;
    while (sequence_next(a->sequence, &sampled))
        a->answer[a->n_answer++] = sampled.id;
}

static void add(struct fixture *f, struct asked *a)
{
    goss_error error;
    if (engine_add(f->engine, &a->request, &a->sequence, &error))
        fail_msg("%s", error.text);
}

static void run_alone(struct fixture *f, struct asked *a)
{
    add(f, a);
    while (engine_step(f->engine))
        pull(a);
}

static bool is_stop(const struct fixture *f, int32_t id)
{
    return id == f->fake.model.config.stop[0] || id == f->fake.model.config.stop[1];
}

/* Compares an answer, or the part of it that was given before the end, with the reference, and frees it. */
static void check_answer(struct fixture *f, struct asked *a)
{
    int n = a->request.n_id + a->n_answer;
    int32_t *id = malloc((size_t)n * sizeof *id);
    uint64_t *hidden = malloc((size_t)n * sizeof *hidden);
    memcpy(id, a->id, (size_t)a->request.n_id * sizeof *id);
    memcpy(id + a->request.n_id, a->answer, (size_t)a->n_answer * sizeof *id);
    fake_reference(&f->fake, id, n, hidden);
    struct sampler *sampler;
    assert_int_equal(sampler_open(&sampler, &a->request.sampling, FAKE_VOCAB, NULL), GOSS_OK);
    for (int i = 0; i < a->request.n_id; i++)
        sampler_see_prompt(sampler, id[i]);
    for (int i = a->request.n_id; i < n; i++) {
        float logits[FAKE_VOCAB];
        struct sampled sampled;
        fake_logits(&f->fake, hidden[i - 1], id[i - 1], logits);
        assert_int_equal(sampler_sample(sampler, logits, (uint64_t)i, NULL, &sampled, NULL), GOSS_OK);
        assert_int_equal(sampled.id, id[i]);
        sampler_see_answer(sampler, sampled.id);
        assert_true(i == n - 1 || !is_stop(f, id[i]));
    }
    enum finish finish = sequence_finish(a->sequence);
    assert_int_equal(sequence_usage(a->sequence).answer_tokens, a->n_answer);
    if (finish == FINISH_STOP)
        assert_true(is_stop(f, id[n - 1]));
    else if (finish == FINISH_LENGTH)
        assert_int_equal(a->n_answer, a->request.max_tokens);
    else
        assert_int_equal(finish, FINISH_CANCELLED);
    sampler_close(sampler);
    free(id);
    free(hidden);
    engine_release(f->engine, a->sequence);
    free(a);
}

/* 24 prompts of a few families join a few at a time; some are cancelled on the way. */
static void run_crowd(struct fixture *f, uint64_t seed)
{
    enum { CROWD = 24 };
    struct asked *asked[CROWD];
    int joined = 0, gone = 0;
    for (int step = 0; gone < CROWD; step++) {
        assert_true(step < 100000);
        for (int more = step % 3; more > 0 && joined < CROWD; more--) {
            uint32_t w[4];
            random_words(seed, (uint64_t)joined, 7, w);
            int shared = (int)(w[0] % 700), n = shared + 1 + (int)(w[1] % 300);
            struct asked *a = asked[joined] = ask(w[2] % 3, shared, seed * 100 + (uint64_t)joined, n);
            a->request.max_tokens = 1 + (int)(w[3] % MAX_ANSWER);
            a->request.sampling.temperature = w[2] % 5 == 0 ? 0 : 0.2;
            a->request.sampling.frequency_penalty = w[2] % 4 == 0 ? 0.5 : 0;
            a->request.owner = w[3] % 2;
            a->stop_after = w[1] % 4 == 0 ? (int)(w[1] % 13) : -1;
            int32_t boundary[2] = {shared / 2 + 1, shared + 1};
            a->request.boundary = boundary;
            a->request.n_boundary = 2;
            add(f, a);
            a->request.boundary = NULL; /* engine_add has copied it */
            joined++;
        }
        engine_step(f->engine);
        for (int i = 0; i < joined; i++) {
            if (!asked[i])
                continue;
            pull(asked[i]);
            if (asked[i]->stop_after >= 0 && asked[i]->n_answer >= asked[i]->stop_after && step % 7 == 0)
                engine_cancel(f->engine, asked[i]->sequence);
            if (sequence_finish(asked[i]->sequence) != FINISH_NONE) {
                pull(asked[i]);
                check_answer(f, asked[i]);
                asked[i] = NULL;
                gone++;
            }
        }
    }
}

static void answers_do_not_depend_on_chunks_or_company(void **state)
{
    (void)state;
    static const int chunk[] = {1, 17, 128, 512}, sequences[] = {1, 3, 8};
    for (int c = 0; c < 4; c++)
        for (int s = 0; s < 3; s++) {
            struct fixture f;
            open_engine(&f, FAKE_WINDOW,
                        (struct engine_options){.chunk = chunk[c], .context = CONTEXT, .max_sequences = sequences[s]});
            run_crowd(&f, (uint64_t)(c + 1));
            assert_true(engine_stats(f.engine).prefix_hits > 0);
            close_engine(&f);
        }
}

static void answers_survive_eviction_and_preemption(void **state)
{
    (void)state;
    uint64_t preemptions = 0, evictions = 0, hits = 0;
    for (int s = 1; s <= 6; s++) {
        struct fixture f;
        open_engine(&f, s % 3 == 0 ? 0 : FAKE_WINDOW,
                    (struct engine_options){.chunk = 100,
                                            .context = CONTEXT,
                                            .max_sequences = 5,
                                            .checkpoints = 6,
                                            .kv_bytes = bytes_of(CONTEXT / KV_PAGE + 2, 5, 6)});
        run_crowd(&f, (uint64_t)s + 50);
        struct engine_stats stats = engine_stats(f.engine);
        assert_true(stats.pages <= CONTEXT / KV_PAGE + 4);
        preemptions += stats.preemptions;
        evictions += stats.evictions;
        hits += stats.prefix_hits;
        close_engine(&f);
    }
    assert_true(preemptions > 0 && evictions > 0 && hits > 0);
}

static void answers_without_sliding_layers_are_the_same_too(void **state)
{
    (void)state;
    struct fixture f;
    open_engine(&f, 0, (struct engine_options){.chunk = 64, .context = CONTEXT, .max_sequences = 4});
    run_crowd(&f, 99);
    assert_true(engine_stats(f.engine).prefix_hits > 0);
    close_engine(&f);
}

/* Prompts that part from a cached one at every interesting place around page boundaries. */
static void a_prefix_is_continued_exactly_around_page_boundaries(void **state)
{
    (void)state;
    static const int place[] = {1, 2, 23, 24, 25, 254, 255, 256, 257, 258, 511, 512, 513, 767, 768, 769};
    for (size_t i = 0; i < sizeof place / sizeof *place; i++)
        for (int chunk = 100; chunk <= 1000; chunk += 900) {
            struct fixture f;
            open_engine(&f, FAKE_WINDOW, (struct engine_options){.chunk = chunk, .context = CONTEXT});
            int32_t boundary = place[i];
            struct asked *cold = ask(5, place[i], 1, place[i] + 40), *warm = ask(5, place[i], 2, place[i] + 90);
            cold->request.boundary = &boundary;
            cold->request.n_boundary = 1;
            run_alone(&f, cold);
            uint64_t before = f.counts.rows;
            run_alone(&f, warm);
            struct engine_stats stats = engine_stats(f.engine);
            assert_int_equal(stats.prefix_hits, 1);
            assert_int_equal(stats.prefix_tokens, place[i]);
            assert_int_equal(sequence_usage(cold->sequence).cached_tokens, 0);
            assert_int_equal(sequence_usage(warm->sequence).cached_tokens, place[i]);
            assert_int_equal(f.counts.rows - before, 90 + warm->n_answer - 1);
            assert_int_equal(stats.page_copies, place[i] % KV_PAGE != 0);
            check_answer(&f, cold);
            check_answer(&f, warm);
            close_engine(&f);
        }
}

static void the_end_of_an_answer_can_be_continued(void **state)
{
    (void)state;
    struct fixture f;
    open_engine(&f, FAKE_WINDOW, (struct engine_options){.context = CONTEXT});
    struct asked *first = ask(1, 0, 3, 300), *second = ask(1, 0, 3, 300);
    first->request.sampling.temperature = second->request.sampling.temperature = 0.3;
    run_alone(&f, first);
    memcpy(second->id + 300, first->answer, (size_t)first->n_answer * sizeof *first->answer);
    second->id[300 + first->n_answer] = 5;
    second->request.n_id = 301 + first->n_answer;
    run_alone(&f, second);
    assert_int_equal(sequence_usage(second->sequence).cached_tokens, 300 + first->n_answer - 1);
    check_answer(&f, first);
    check_answer(&f, second);
    close_engine(&f);
}

static void a_prompt_that_is_wholly_cached_still_computes_its_last_id(void **state)
{
    (void)state;
    struct fixture f;
    open_engine(&f, FAKE_WINDOW, (struct engine_options){.context = CONTEXT});
    struct asked *first = ask(1, 300, 3, 300), *second = ask(1, 300, 4, 300);
    int32_t boundary = 290;
    first->request.boundary = &boundary;
    first->request.n_boundary = 1;
    first->request.max_tokens = second->request.max_tokens = 1; /* so the first ends with a checkpoint at 300 */
    run_alone(&f, first);
    run_alone(&f, second);
    assert_int_equal(sequence_usage(second->sequence).cached_tokens, 290);
    check_answer(&f, first);
    check_answer(&f, second);
    close_engine(&f);
}

/* The page is still being written by the first sequence when the second begins from a checkpoint inside it. */
static void a_page_shared_while_it_is_written_is_copied(void **state)
{
    (void)state;
    struct fixture f;
    open_engine(&f, FAKE_WINDOW, (struct engine_options){.context = CONTEXT, .max_sequences = 2, .chunk = 128});
    int32_t boundary = 300;
    struct asked *a = ask(2, 300, 1, 310), *b = ask(2, 300, 2, 320);
    a->request.stop = b->request.stop = a->id; /* with n_stop 0: no stop ids */
    a->request.boundary = &boundary;
    a->request.n_boundary = 1;
    add(&f, a);
    while (a->n_answer < 5) {
        assert_true(engine_step(f.engine));
        pull(a);
    }
    add(&f, b);
    while (engine_step(f.engine)) {
        pull(a);
        pull(b);
    }
    assert_int_equal(sequence_usage(b->sequence).cached_tokens, 300);
    assert_int_equal(a->n_answer, MAX_ANSWER);
    assert_int_equal(engine_stats(f.engine).page_copies, 1);
    f.fake.model.config.stop[0] = f.fake.model.config.stop[1] = -1;
    check_answer(&f, a);
    check_answer(&f, b);
    close_engine(&f);
}

static void owners_never_share(void **state)
{
    (void)state;
    for (int32_t boundary = 100; boundary <= 600; boundary += 500) { /* before and after the first page boundary */
        struct fixture f;
        open_engine(&f, FAKE_WINDOW, (struct engine_options){.context = CONTEXT});
        int n = boundary + 100;
        for (int owner = 0; owner < 3; owner++) {
            struct asked *a = ask(8, n, 1, n);
            a->request.owner = (uint64_t)owner;
            a->request.boundary = &boundary;
            a->request.n_boundary = 1;
            run_alone(&f, a);
            assert_int_equal(sequence_usage(a->sequence).cached_tokens, 0);
            check_answer(&f, a);
        }
        struct asked *again = ask(8, n, 2, n), *shy = ask(8, n, 2, n);
        again->request.owner = 1;
        shy->request.owner = 1;
        shy->request.no_cache = true;
        run_alone(&f, again);
        run_alone(&f, shy);
        assert_int_equal(sequence_usage(again->sequence).cached_tokens, boundary);
        assert_int_equal(sequence_usage(shy->sequence).cached_tokens, 0);
        check_answer(&f, again);
        check_answer(&f, shy);
        close_engine(&f);
    }
}

static int cached_tokens_of(struct fixture *f, struct asked *a)
{
    run_alone(f, a);
    int cached = sequence_usage(a->sequence).cached_tokens;
    check_answer(f, a);
    return cached;
}

static void of_one_prompt_the_shortest_prefix_stays_cached_longest(void **state)
{
    (void)state;
    struct fixture f;
    open_engine(
        &f, FAKE_WINDOW,
        (struct engine_options){.context = 1024, .max_sequences = 1, .checkpoints = 3, .kv_bytes = bytes_of(12, 1, 3)});
    assert_int_equal(engine_stats(f.engine).checkpoints_max, 3);
    int32_t boundary[] = {100, 130};
    for (uint64_t strangers = 0; strangers <= 3; strangers++) {
        struct asked *a = ask(4 + strangers, 200, 1, 200);
        a->request.boundary = boundary;
        a->request.n_boundary = 2;
        assert_int_equal(cached_tokens_of(&f, a), 0); /* leaves 100, 130 and its end */
        for (uint64_t i = 0; i < strangers; i++)
            assert_int_equal(cached_tokens_of(&f, ask(20 + strangers, 0, 30 * strangers + i, 50)), 0);
        static const int expected[] = {130, 130, 100, 0}; /* the next prompt parts from it at 150 */
        assert_int_equal(cached_tokens_of(&f, ask(4 + strangers, 150, 2, 200)), expected[strangers]);
        engine_forget(f.engine);
    }
    close_engine(&f);
}

static void a_prompt_that_is_being_computed_is_not_computed_twice(void **state)
{
    (void)state;
    enum { SAME = 4 };
    struct fixture f;
    open_engine(&f, FAKE_WINDOW, (struct engine_options){.context = CONTEXT, .max_sequences = 6, .chunk = 100});
    struct asked *a[SAME + 1];
    int32_t boundary[] = {400, 790};
    for (int i = 0; i <= SAME; i++) { /* the last one is another prompt, and does not wait */
        a[i] = ask(i < SAME ? 1 : 2, 800, (uint64_t)i, i < SAME ? 800 : 50);
        a[i]->request.boundary = boundary;
        a[i]->request.n_boundary = 2;
        add(&f, a[i]);
    }
    assert_true(engine_step(f.engine));
    pull(a[SAME]);
    assert_int_equal(a[SAME]->n_answer, 1);
    while (engine_step(f.engine))
        for (int i = 0; i <= SAME; i++)
            pull(a[i]);
    assert_int_equal(engine_stats(f.engine).prefill_rows, 800 + (SAME - 1) * 10 + 50);
    for (int i = 0; i <= SAME; i++)
        check_answer(&f, a[i]);
    close_engine(&f);
}

static void a_prompt_whose_older_twin_is_cancelled_does_not_wait_for_ever(void **state)
{
    (void)state;
    struct fixture f;
    open_engine(&f, FAKE_WINDOW, (struct engine_options){.context = CONTEXT, .max_sequences = 6, .chunk = 100});
    int32_t boundary = 790;
    struct asked *a = ask(1, 800, 1, 800), *b = ask(1, 800, 2, 800);
    a->request.boundary = b->request.boundary = &boundary;
    a->request.n_boundary = b->request.n_boundary = 1;
    add(&f, a);
    add(&f, b);
    for (int i = 0; i < 3; i++)
        assert_true(engine_step(f.engine));
    assert_int_equal(engine_stats(f.engine).waiting, 1);
    engine_cancel(f.engine, a->sequence);
    while (engine_step(f.engine))
        pull(b);
    assert_int_equal(sequence_usage(b->sequence).cached_tokens, 300); /* what the twin had got to */
    check_answer(&f, a);
    check_answer(&f, b);
    close_engine(&f);
}

static void a_long_prompt_delays_the_others_by_no_more_than_a_chunk(void **state)
{
    (void)state;
    struct fixture f;
    open_engine(&f, FAKE_WINDOW, (struct engine_options){.context = CONTEXT, .max_sequences = 4, .chunk = 64});
    struct asked *quick[3], *slow = ask(3, 0, 77, 1500);
    for (int i = 0; i < 3; i++) {
        quick[i] = ask(9, 0, (uint64_t)i, 8);
        quick[i]->request.stop = quick[i]->id;
        add(&f, quick[i]);
    }
    slow->request.max_tokens = 3;
    assert_true(engine_step(f.engine));
    add(&f, slow);
    for (int step = 2; step <= 20; step++) {
        assert_true(engine_step(f.engine));
        for (int i = 0; i < 3; i++) {
            pull(quick[i]);
            assert_int_equal(quick[i]->n_answer, step);
        }
    }
    assert_int_equal(engine_stats(f.engine).prefill_rows, 3 * 8 + 19 * 64);
    struct asked *late = ask(9, 0, 50, 30); /* gets its share at once, too */
    for (int i = 0; i < 3; i++)
        engine_cancel(f.engine, quick[i]->sequence);
    add(&f, late);
    engine_step(f.engine);
    pull(late);
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
    struct fixture f;
    open_engine(&f, FAKE_WINDOW, (struct engine_options){.context = CONTEXT, .max_sequences = 5, .chunk = 2});
    struct asked *a[5];
    for (int i = 0; i < 5; i++) {
        a[i] = ask(3, 0, (uint64_t)i, i < 4 ? 1000 : 8);
        add(&f, a[i]);
    }
    for (int step = 0; step < 30; step++) /* 8 rows of its own at 2 in 5 steps */
        engine_step(f.engine);
    pull(a[4]);
    assert_true(a[4]->n_answer > 0);
    engine_close(f.engine);
    for (int i = 0; i < 5; i++)
        free(a[i]);
}

static void what_does_not_fit_is_refused_with_the_counts(void **state)
{
    (void)state;
    struct fixture f;
    goss_error error;
    open_engine(&f, FAKE_WINDOW, (struct engine_options){.context = 1000, .max_waiting = 2});
    struct asked *a = ask(1, 0, 1, 990);
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
    struct engine_options small = {.context = 2000, .checkpoints = 1, .kv_bytes = bytes_of(3, 1, 1)};
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
    struct fixture f;
    open_engine(&f, FAKE_WINDOW, (struct engine_options){.context = 300});
    struct asked *a = ask(1, 0, 1, 290);
    a->request.max_tokens = 0;
    a->request.stop = a->id;
    run_alone(&f, a);
    assert_int_equal(sequence_finish(a->sequence), FINISH_LENGTH);
    assert_int_equal(a->n_answer, 10);
    a->request.max_tokens = 10;
    f.fake.model.config.stop[0] = f.fake.model.config.stop[1] = -1;
    check_answer(&f, a);
    close_engine(&f);
}

static void a_logit_that_is_not_finite_ends_its_own_sequence_only(void **state)
{
    (void)state;
    struct fixture f;
    open_engine(&f, FAKE_WINDOW, (struct engine_options){.context = CONTEXT, .max_sequences = 3});
    f.fake.nan_id = 123;
    f.fake.infinite_id = 124;
    struct asked *good = ask(1, 0, 1, 50), *nan = ask(1, 0, 2, 50), *infinite = ask(1, 0, 3, 50);
    for (int i = 0; i < 50; i++) /* the good one may not run into it */
        good->id[i] %= 100;
    nan->id[49] = 123;
    infinite->id[49] = 124;
    good->request.sampling.temperature = 0.01;
    add(&f, good);
    add(&f, nan);
    add(&f, infinite);
    while (engine_step(f.engine)) {
        pull(good);
        pull(nan);
    }
    assert_int_equal(sequence_finish(nan->sequence), FINISH_ERROR);
    assert_int_equal(sequence_finish(infinite->sequence), FINISH_ERROR);
    assert_int_equal(sequence_error(nan->sequence)->status, GOSS_E_FORMAT);
    assert_non_null(strstr(sequence_error(nan->sequence)->text, "150"));
    assert_null(sequence_error(good->sequence));
    assert_int_equal(nan->n_answer, 0);
    assert_true(good->n_answer > 0);
    check_answer(&f, good);
    engine_release(f.engine, nan->sequence);
    engine_release(f.engine, infinite->sequence);
    free(nan);
    free(infinite);
    close_engine(&f);
}

static void a_mask_restricts_what_is_sampled(void **state)
{
    (void)state;
    struct fixture f;
    open_engine(&f, FAKE_WINDOW, (struct engine_options){.context = CONTEXT});
    struct asked *a = ask(1, 0, 1, 20);
    uint64_t allowed[(FAKE_VOCAB + 63) / 64] = {0};
    allowed[200 / 64] |= UINT64_C(1) << (200 % 64);
    add(&f, a);
    sequence_allow(a->sequence, allowed);
    for (int i = 0; i < 5; i++)
        engine_step(f.engine);
    sequence_allow(a->sequence, NULL);
    while (engine_step(f.engine))
        pull(a);
    for (int i = 0; i < 5; i++)
        assert_int_equal(a->answer[i], 200);
    assert_true(a->n_answer == 5 || a->answer[5] != 200);
    engine_release(f.engine, a->sequence);
    free(a);
    close_engine(&f);
}

static void a_paced_sequence_samples_one_token_at_a_time(void **state)
{
    (void)state;
    struct fixture f;
    open_engine(&f, FAKE_WINDOW, (struct engine_options){.context = CONTEXT});
    struct asked *a = ask(1, 0, 1, 20);
    a->request.paced = true;
    add(&f, a);
    for (int i = 1; i <= 10; i++) {
        uint64_t allowed[(FAKE_VOCAB + 63) / 64] = {0};
        allowed[(200 + i) / 64] |= UINT64_C(1) << ((200 + i) % 64);
        sequence_allow(a->sequence, allowed);
        assert_true(engine_step(f.engine));
        assert_false(engine_step(f.engine));
        pull(a);
        assert_int_equal(a->n_answer, i);
        assert_int_equal(a->answer[i - 1], 200 + i);
    }
    engine_release(f.engine, a->sequence);
    free(a);
    close_engine(&f);
}

static void a_sequence_that_nobody_pulls_pauses(void **state)
{
    (void)state;
    struct fixture f;
    open_engine(&f, FAKE_WINDOW, (struct engine_options){.context = CONTEXT});
    struct asked *a = ask(1, 0, 1, 20);
    a->request.stop = a->id;
    f.fake.model.config.stop[0] = f.fake.model.config.stop[1] = -1;
    add(&f, a);
    int steps = 0;
    while (engine_step(f.engine))
        steps++;
    assert_int_equal(steps, ENGINE_QUEUE);
    pull(a);
    assert_int_equal(a->n_answer, ENGINE_QUEUE);
    while (engine_step(f.engine))
        pull(a);
    assert_int_equal(a->n_answer, MAX_ANSWER);
    check_answer(&f, a);
    close_engine(&f);
}

static void a_scored_prompt_gives_the_logits_of_every_position(void **state)
{
    (void)state;
    static const int chunk[] = {1, 17, 500}, rows[] = {1, 5, 64};
    uint64_t hidden[600];
    for (int c = 0; c < 3; c++)
        for (int r = 0; r < 3; r++) {
            struct fixture f;
            open_engine(
                &f, FAKE_WINDOW,
                (struct engine_options){.chunk = chunk[c], .score_rows = rows[r], .context = 600, .max_sequences = 2});
            struct asked *a = ask(1, 0, 1, 600), *b = ask(1, 0, 2, 30);
            fake_reference(&f.fake, a->id, 600, hidden);
            a->request.score = true;
            a->request.max_tokens = 0;
            add(&f, a);
            add(&f, b);
            int next = 0;
            while (engine_step(f.engine)) {
                struct score_rows scores;
                sequence_scores(a->sequence, &scores);
                pull(b);
                assert_true(scores.n == 0 || scores.first == next);
                for (int i = 0; i < scores.n; i++, next++) {
                    float logits[FAKE_VOCAB];
                    fake_logits(&f.fake, hidden[next], a->id[next], logits);
                    assert_memory_equal(logits, scores.logits + (size_t)i * FAKE_VOCAB, sizeof logits);
                }
            }
            assert_int_equal(next, 600);
            assert_int_equal(sequence_finish(a->sequence), FINISH_SCORED);
            check_answer(&f, b);
            engine_release(f.engine, a->sequence);
            free(a);
            close_engine(&f);
        }
}

static void ten_thousand_sequences_leave_nothing_behind(void **state)
{
    (void)state;
    struct fixture f;
    open_engine(&f, FAKE_WINDOW,
                (struct engine_options){
                    .context = 512, .max_sequences = 4, .chunk = 64, .checkpoints = 8, .kv_bytes = bytes_of(4, 4, 8)});
    struct sequence *live[6] = {NULL};
    for (uint64_t i = 0; i < 10000; i++) {
        uint32_t w[4];
        random_words(17, i, 0, w);
        struct asked *a = ask(w[0] % 4, (int)(w[0] % 300), i, (int)(w[0] % 300) + 1 + (int)(w[1] % 20));
        int32_t boundary = (int)(w[0] % 300);
        a->request.boundary = &boundary;
        a->request.n_boundary = boundary > 0;
        a->request.no_cache = w[2] % 10 == 0;
        engine_release(f.engine, live[i % 6]);
        add(&f, a);
        live[i % 6] = a->sequence;
        free(a);
        for (uint32_t steps = w[3] % 4; steps > 0; steps--)
            engine_step(f.engine);
    }
    for (int i = 0; i < 6; i++)
        engine_release(f.engine, live[i]);
    struct engine_stats stats = engine_stats(f.engine);
    assert_int_equal(stats.running + stats.waiting, 0);
    assert_int_equal(stats.pages_free + stats.pages_cached, stats.pages);
    assert_true(stats.preemptions > 0 && stats.prefix_hits > 0 && stats.evictions > 0);
    close_engine(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_do_not_depend_on_chunks_or_company),
        cmocka_unit_test(answers_survive_eviction_and_preemption),
        cmocka_unit_test(answers_without_sliding_layers_are_the_same_too),
        cmocka_unit_test(a_prefix_is_continued_exactly_around_page_boundaries),
        cmocka_unit_test(the_end_of_an_answer_can_be_continued),
        cmocka_unit_test(a_prompt_that_is_wholly_cached_still_computes_its_last_id),
        cmocka_unit_test(a_page_shared_while_it_is_written_is_copied),
        cmocka_unit_test(owners_never_share),
        cmocka_unit_test(of_one_prompt_the_shortest_prefix_stays_cached_longest),
        cmocka_unit_test(a_prompt_that_is_being_computed_is_not_computed_twice),
        cmocka_unit_test(a_prompt_whose_older_twin_is_cancelled_does_not_wait_for_ever),
        cmocka_unit_test(a_long_prompt_delays_the_others_by_no_more_than_a_chunk),
        cmocka_unit_test(a_short_prompt_is_served_among_long_ones_when_rows_are_scarce),
        cmocka_unit_test(what_does_not_fit_is_refused_with_the_counts),
        cmocka_unit_test(an_answer_ends_at_the_context),
        cmocka_unit_test(a_logit_that_is_not_finite_ends_its_own_sequence_only),
        cmocka_unit_test(a_mask_restricts_what_is_sampled),
        cmocka_unit_test(a_paced_sequence_samples_one_token_at_a_time),
        cmocka_unit_test(a_sequence_that_nobody_pulls_pauses),
        cmocka_unit_test(a_scored_prompt_gives_the_logits_of_every_position),
        cmocka_unit_test(ten_thousand_sequences_leave_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
