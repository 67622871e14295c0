/* The engine over the real CPU backend and a toy model with every mechanism: ids and logprobs to the last bit, alone
 * and cold, or in a crowd with a cache, whatever the threads, the kernels and the chunks. */
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "engine/engine.h"
#include "model/synthetic.h"
#include "support/test.h"
#include "support/toy_engine.h"

enum { REQUESTS = 7, ANSWER = 10, CONTEXT = 700 };

struct fixture {
    struct model *model;
    struct toy_asked asked[REQUESTS];
};

/* Seven prompts that share one of two beginnings, with parting points around the page boundaries. */
static void make_requests(struct fixture *f)
{
    static const int shared[REQUESTS] = {249, 240, 255, 256, 257, 513, 512};
    for (int i = 0; i < REQUESTS; i++) {
        struct toy_asked *a = &f->asked[i];
        int n = shared[i] + 1 + 11 * i;
        for (int p = 0; p < n; p++) {
            uint32_t words[4];
            random_words(p < shared[i] ? (uint64_t)(i == 6) : 100 + (uint64_t)i, (uint64_t)p, 0, words);
            a->id[p] = (int32_t)(words[0] % (uint32_t)f->model->config.n_vocab);
        }
        a->boundary[0] = shared[i] / 2;
        a->boundary[1] = shared[i];
        a->request = (struct sequence_request){.id = a->id,
                                               .n_id = n,
                                               .max_tokens = ANSWER,
                                               .sampling = sampling_default(),
                                               .boundary = a->boundary,
                                               .n_boundary = 2};
        a->request.sampling.seed = (uint64_t)i;
        a->request.sampling.temperature = i % 3 == 0 ? 0 : 1;
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
    struct engine *engine = open_engine(f, (struct engine_options){.threads = 1, .isa = "scalar", .chunk = 512});
    for (int i = 0; i < REQUESTS; i++) {
        struct toy_asked *a = &f->asked[i];
        a->request.no_cache = true;
        toy_asked_alone(engine, a);
        a->request.no_cache = false;
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

/* All requests, each joining two steps after the one before; `cancel` drops the fifth on its way and asks it again. */
static void run_crowd(struct fixture *f, struct engine *engine, bool cancel)
{
    int joined = 0, gone = 0;
    for (int step = 0; gone < REQUESTS; step++) {
        if (step % 2 == 0 && joined < REQUESTS)
            toy_asked_add(engine, &f->asked[joined++]);
        engine_step(engine);
        for (int i = 0; i < joined; i++) {
            struct toy_asked *a = &f->asked[i];
            toy_asked_pull(a);
            if (cancel && i == 4 && a->n_found == 3) {
                engine_release(engine, a->sequence);
                toy_asked_add(engine, a);
                cancel = false;
            }
            if (a->sequence && sequence_finish(a->sequence) != FINISH_NONE) {
                toy_asked_check(engine, a);
                gone++;
            }
        }
    }
}

static void a_crowd_gives_the_bits_of_each_alone(void **state)
{
    static const struct engine_options options[] = {
        {.threads = 1, .isa = "scalar", .chunk = 17, .max_sequences = 4},
        {.threads = 1, .chunk = 1, .max_sequences = 3},
        {.threads = 2, .chunk = 128, .max_sequences = 8},
        {.threads = 3, .isa = LESSER_ISA, .chunk = 512, .max_sequences = 10},
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        struct engine *engine = open_engine(*state, options[i]);
        run_crowd(*state, engine, true);
        struct engine_stats cold = engine_stats(engine);
        run_crowd(*state, engine, false); /* again, from the cache */
        struct engine_stats warm = engine_stats(engine);
        assert_true(warm.prefix_hits - cold.prefix_hits >= REQUESTS - 1);
        assert_true(warm.prefill_rows - cold.prefill_rows < cold.prefill_rows / 2);
        engine_forget(engine);
        assert_int_equal(engine_stats(engine).pages_free, warm.pages);
        engine_close(engine);
    }
}

static void eviction_and_preemption_do_not_change_a_bit(void **state)
{
    struct fixture *f = *state;
    uint64_t page = cpu_backend.kv_bytes(&f->model->config, 1, 0), ring = cpu_backend.kv_bytes(&f->model->config, 0, 1);
    struct engine *engine = open_engine(
        f, (struct engine_options){
               .threads = 2, .chunk = 96, .max_sequences = 4, .checkpoints = 3, .kv_bytes = 4 * page + 7 * ring});
    assert_int_equal(engine_stats(engine).pages, 4);
    for (int round = 0; round < 3; round++)
        run_crowd(f, engine, round == 1);
    struct engine_stats stats = engine_stats(engine);
    assert_true(stats.evictions > 0 && stats.preemptions > 0 && stats.prefix_hits > 0);
    engine_close(engine);
}

/* Fills [n_id][n_vocab]. */
static void score(const struct fixture *f, const struct toy_asked *a, struct engine_options options, float *logits)
{
    struct engine *engine = open_engine(f, options);
    struct sequence *sequence;
    struct sequence_request request = {.id = a->id, .n_id = a->request.n_id, .score = true};
    int n_vocab = f->model->config.n_vocab, next = 0;
    assert_int_equal(engine_add(engine, &request, &sequence, NULL), GOSS_OK);
    while (engine_step(engine)) {
        struct score_rows rows;
        sequence_scores(sequence, &rows);
        assert_int_equal(rows.first, next);
        memcpy(logits + (size_t)next * n_vocab, rows.logits, (size_t)rows.n * n_vocab * sizeof *logits);
        next += rows.n;
    }
    assert_int_equal(next, request.n_id);
    engine_close(engine);
}

static void scores_have_the_same_bits_in_any_chunks(void **state)
{
    struct fixture *f = *state;
    const struct toy_asked *a = &f->asked[3];
    size_t bytes = (size_t)a->request.n_id * f->model->config.n_vocab * sizeof(float);
    float *expected = malloc(bytes), *found = malloc(bytes);
    score(f, a, (struct engine_options){.threads = 1, .isa = "scalar", .chunk = 512, .score_rows = 512}, expected);
    score(f, a, (struct engine_options){.threads = 2, .chunk = 512, .score_rows = 1}, found);
    assert_memory_equal(expected, found, bytes);
    score(f, a, (struct engine_options){.threads = 1, .chunk = 100, .score_rows = 64}, found);
    assert_memory_equal(expected, found, bytes);
    free(expected);
    free(found);
}

/* 12 full layers of 8 heads with a key and a value of 64 halves each; the sliding layers cost nothing per token. */
static void at_20b_sizes_a_token_takes_24_kib(void **state)
{
    (void)state;
    struct model_config c = {.n_layer = 24, .n_kv_head = 8, .head_dim = 64, .window = 128};
    for (int l = 0; l < c.n_layer; l++)
        c.sliding[l] = l % 2 == 0;
    assert_int_equal(cpu_backend.kv_bytes(&c, 1, 0), KV_PAGE * 24 * 1024);
    assert_int_equal(cpu_backend.kv_bytes(&c, 512, 0), UINT64_C(3) << 30); /* 131,072 tokens */
    assert_in_range(cpu_backend.kv_bytes(&c, 0, 1), 3 << 20, 7 << 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crowd_gives_the_bits_of_each_alone),
        cmocka_unit_test(eviction_and_preemption_do_not_change_a_bit),
        cmocka_unit_test(at_20b_sizes_a_token_takes_24_kib),
        cmocka_unit_test(scores_have_the_same_bits_in_any_chunks),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
