/* Guesses over the real CPU backend and a toy model, whose ring of two windows has no place to spare: ids and logprobs
 * to the last bit those of plain decoding, one sequence at a time. */
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "engine/engine.h"
#include "engine/lookup.h"
#include "model/synthetic.h"
#include "support/test.h"
#include "support/toy_engine.h"

enum { REQUESTS = 24, ANSWER = 50, CONTEXT = 700 };

struct fixture {
    struct model *model;
    struct toy_asked asked[REQUESTS];
};

/* Prompts that end around the width of the window, of its ring and of pages, and that repeat themselves, so that there
 * is always something to guess; every other one is decoded greedily and falls into loops. */
static void make_requests(struct fixture *f)
{
    static const int end[] = {18, 34, 46, 236, 250, 500, 511, 520};
    for (int i = 0; i < REQUESTS; i++) {
        struct toy_asked *a = &f->asked[i];
        int n = end[i % 8] + i / 8;
        for (int p = 0; p < n; p++) {
            uint32_t words[4];
            random_words((uint64_t)i / 2, (uint64_t)(p % (5 + i)), 0, words);
            a->id[p] = (int32_t)(words[0] % (uint32_t)f->model->config.n_vocab);
        }
        a->request = (struct sequence_request){
            .id = a->id, .n_id = n, .max_tokens = ANSWER, .sampling = sampling_default(), .stop = a->id};
        a->request.sampling.seed = (uint64_t)i;
        a->request.sampling.temperature = i % 2 ? 0 : 0.3;
        a->request.sampling.frequency_penalty = i % 5 == 4 ? 0.1 : 0;
        a->request.sampling.logprobs = 2;
    }
}

static struct engine *open_engine(const struct fixture *f, struct engine_options options)
{
    options.context = CONTEXT;
    return toy_engine_open(f->model, options);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct synthetic_shape shape = synthetic_small();
    f->model = synthetic_open(&shape);
    make_requests(f);
    struct engine *engine = open_engine(f, (struct engine_options){.threads = 1, .lookup = LOOKUP_OFF});
    for (int i = 0; i < REQUESTS; i++) {
        toy_asked_alone(engine, &f->asked[i]);
        assert_int_equal(f->asked[i].n_expected, ANSWER);
    }
    engine_close(engine);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    synthetic_close(f->model);
    free(f);
    return 0;
}

static struct engine_stats run_all(struct fixture *f, struct engine_options options)
{
    struct engine *engine = open_engine(f, options);
    for (int i = 0; i < REQUESTS; i++)
        toy_asked_add(engine, &f->asked[i]);
    while (engine_step(engine))
        for (int i = 0; i < REQUESTS; i++)
            toy_asked_pull(&f->asked[i]);
    struct engine_stats stats = engine_stats(engine);
    for (int i = 0; i < REQUESTS; i++)
        toy_asked_check(engine, &f->asked[i]);
    engine_close(engine);
    return stats;
}

static void guesses_change_no_bit_of_an_answer(void **state)
{
    static const struct engine_options options[] = {
        {.threads = 1, .chunk = 256, .lookup = LOOKUP_MOST},
        {.threads = 2, .chunk = 17, .max_sequences = 4, .lookup = 5},
        {.threads = 2, .isa = LESSER_ISA, .chunk = 256, .max_sequences = 12, .lookup = LOOKUP_MOST},
        {.threads = 2, .chunk = 100, .max_sequences = 3, .lookup = LOOKUP_AUTO},
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        struct engine_stats stats = run_all(*state, options[i]);
        assert_true(options[i].lookup == LOOKUP_AUTO || (stats.accepted > 50 && stats.drafted > stats.accepted + 50));
    }
}

static void guesses_change_no_bit_when_pages_are_short(void **state)
{
    struct fixture *f = *state;
    uint64_t page = cpu_backend.kv_bytes(&f->model->config, 1, 0), ring = cpu_backend.kv_bytes(&f->model->config, 0, 1);
    struct engine_stats stats = run_all(f, (struct engine_options){.threads = 2,
                                                                   .chunk = 96,
                                                                   .max_sequences = 4,
                                                                   .checkpoints = 3,
                                                                   .kv_bytes = 4 * page + 7 * ring,
                                                                   .lookup = LOOKUP_MOST});
    assert_true(stats.preemptions > 0 && stats.accepted > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guesses_change_no_bit_of_an_answer),
        cmocka_unit_test(guesses_change_no_bit_when_pages_are_short),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
