/* Whatever the crowd, the chunks and the cache, every answer is the one that fake_reference gives from the ids alone.
 */
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "support/fake_engine.h"
#include "support/test.h"

static void answers_do_not_depend_on_chunks_or_company(void **state)
{
    (void)state;
    static const int chunk[] = {1, 17, 128, 512}, sequences[] = {1, 3, 8};
    for (int c = 0; c < 4; c++)
        for (int s = 0; s < 3; s++) {
            struct fake_engine f;
            fake_engine_open(
                &f, FAKE_WINDOW,
                (struct engine_options){.chunk = chunk[c], .context = FAKE_CONTEXT, .max_sequences = sequences[s]});
            fake_engine_crowd(&f, (uint64_t)(c + 1));
            assert_true(engine_stats(f.engine).prefix_hits > 0);
            fake_engine_close(&f);
        }
}

/* Two owners say the same things at the same time, with few pages: what one computed must never be read for the other,
 * whether a page is shared, copied, restored from a snapshot or handed on with the last owner's bytes in it. */
static void nothing_that_one_owner_computed_is_read_for_another(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct fake_engine f;
        fake_engine_open(&f, FAKE_WINDOW,
                         (struct engine_options){.chunk = 64,
                                                 .context = FAKE_CONTEXT,
                                                 .max_sequences = 4,
                                                 .checkpoints = 4,
                                                 .kv_bytes = fake_engine_bytes(FAKE_CONTEXT / KV_PAGE + 2, 4, 4)});
        int32_t boundary[] = {200, 300, 520};
        for (int round = 0; round < 6; round++) {
            struct asked *a[4];
            for (int i = 0; i < 4; i++) {
                a[i] = asked_new(seed, 600, seed, 600 + 10 * round);
                a[i]->request.owner = (uint64_t)(i % 2);
                a[i]->request.boundary = boundary;
                a[i]->request.n_boundary = 3;
                asked_add(&f, a[i]);
            }
            while (engine_step(f.engine))
                for (int i = 0; i < 4; i++)
                    asked_pull(a[i]);
            for (int i = 0; i < 4; i++)
                asked_check(&f, a[i]);
        }
        struct engine_stats stats = engine_stats(f.engine);
        assert_true(stats.prefix_hits > 0 && stats.evictions > 0 && stats.page_copies > 0);
        fake_engine_close(&f);
    }
}

static void answers_survive_eviction_and_preemption(void **state)
{
    (void)state;
    uint64_t preemptions = 0, evictions = 0, hits = 0;
    for (int s = 1; s <= 6; s++) {
        struct fake_engine f;
        fake_engine_open(&f, s % 3 == 0 ? 0 : FAKE_WINDOW,
                         (struct engine_options){.chunk = 100,
                                                 .context = FAKE_CONTEXT,
                                                 .max_sequences = 5,
                                                 .checkpoints = 6,
                                                 .kv_bytes = fake_engine_bytes(FAKE_CONTEXT / KV_PAGE + 2, 5, 6)});
        fake_engine_crowd(&f, (uint64_t)s + 50);
        struct engine_stats stats = engine_stats(f.engine);
        assert_true(stats.pages <= FAKE_CONTEXT / KV_PAGE + 4);
        preemptions += stats.preemptions;
        evictions += stats.evictions;
        hits += stats.prefix_hits;
        fake_engine_close(&f);
    }
    assert_true(preemptions > 0 && evictions > 0 && hits > 0);
}

static void answers_without_sliding_layers_are_the_same_too(void **state)
{
    (void)state;
    struct fake_engine f;
    fake_engine_open(&f, 0, (struct engine_options){.chunk = 64, .context = FAKE_CONTEXT, .max_sequences = 4});
    fake_engine_crowd(&f, 99);
    assert_true(engine_stats(f.engine).prefix_hits > 0);
    fake_engine_close(&f);
}

static void ten_thousand_sequences_leave_nothing_behind(void **state)
{
    (void)state;
    struct fake_engine f;
    fake_engine_open(
        &f, FAKE_WINDOW,
        (struct engine_options){
            .context = 512, .max_sequences = 4, .chunk = 64, .checkpoints = 8, .kv_bytes = fake_engine_bytes(4, 4, 8)});
    struct sequence *live[6] = {NULL};
    for (uint64_t i = 0; i < 10000; i++) {
        uint32_t w[4];
        random_words(17, i, 0, w);
        struct asked *a = asked_new(w[0] % 4, (int)(w[0] % 300), i, (int)(w[0] % 300) + 1 + (int)(w[1] % 20));
        int32_t boundary = (int)(w[0] % 300);
        a->request.boundary = &boundary;
        a->request.n_boundary = boundary > 0;
        a->request.no_cache = w[2] % 10 == 0;
        engine_release(f.engine, live[i % 6]);
        asked_add(&f, a);
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
    fake_engine_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_do_not_depend_on_chunks_or_company),
        cmocka_unit_test(nothing_that_one_owner_computed_is_read_for_another),
        cmocka_unit_test(answers_survive_eviction_and_preemption),
        cmocka_unit_test(answers_without_sliding_layers_are_the_same_too),
        cmocka_unit_test(ten_thousand_sequences_leave_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
