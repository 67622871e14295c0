/* Ids drawn by the emulated GPU are those of the sampler (docs/sampling.md), alone and as part of an engine. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "cuda/emulated/control.h"
#include "cuda/emulated/stages.h"
#include "cuda/library.h"
#include "engine/engine.h"
#include "engine/sampler.h"
#include "model/synthetic.h"
#include "support/test.h"

static uint64_t drawn;

static uint32_t word(void)
{
    uint32_t w[4];
    random_words(13, drawn++, 0, w);
    return w[0];
}

static int below(int n)
{
    return (int)(word() % (uint32_t)n);
}

static double uniform(void)
{
    return (double)word() * 0x1p-32;
}

/* Logits on several scales, some with many ties and zeros of both signs; or all alike. */
static void random_logits(float *x, int n, bool same)
{
    double scale = exp(5 * uniform() - 1);
    bool coarse = below(2);
    for (int i = 0; i < n; i++) {
        double u = scale * (uniform() - 0.5);
        x[i] = same ? 1.5f : (float)(coarse ? round(4 * u) / 4 : u);
        if (x[i] == 0 && i % 2)
            x[i] = -0.0f;
    }
}

static struct sampling random_sampling(void)
{
    struct sampling s = sampling_default();
    s.seed = word();
    s.temperature = below(6) == 0 ? 0 : exp(3 * uniform() - 2);
    if (below(3) == 0)
        s.top_k = 1 + below(below(2) ? 10 : 3000);
    if (below(3) == 0)
        s.top_p = below(2) ? uniform() : below(9) / 8.0;
    if (below(3) == 0)
        s.min_p = uniform() * (below(2) ? 1 : 0.01);
    return s;
}

static void rows_are_drawn_as_the_sampler_draws_them(void **state)
{
    (void)state;
    enum { MOST_ROWS = 4 };
    for (int round = 0; round < 120; round++) {
        int n_vocab = 1 + below(round % 3 ? 300 : 13000), n_row = 1 + below(MOST_ROWS);
        bool same = round % 4 == 1;
        if (same) /* so that a part of all weights can be a whole number of ids */
            n_vocab = 8 * (1 + below(30));
        float *logits = malloc((size_t)n_row * n_vocab * sizeof *logits);
        struct batch_draw draw[MOST_ROWS];
        struct sampler *sampler[MOST_ROWS];
        int32_t got[MOST_ROWS];
        bool cut = false;
        for (int row = 0; row < n_row; row++) {
            struct sampling s = random_sampling();
            random_logits(logits + (size_t)row * n_vocab, n_vocab, same);
            assert_int_equal(sampler_open(&sampler[row], &s, n_vocab, NULL), GOSS_OK);
            draw[row] = sampler_draw(sampler[row], (uint64_t)row);
            cut = cut || s.top_k > 0 || s.top_p < 1;
        }
        if (round % 10 == 0)
            logits[below(n_row * n_vocab)] = (const float[]){NAN, INFINITY, -INFINITY}[below(3)];
        draw[n_row - 1].wanted = round % 7 != 0;
        emulated_order(round % 2);
        stages_sample(n_vocab, n_row, logits, draw, cut, got);
        for (int row = 0; row < n_row; row++) {
            struct sampled want;
            goss_error error;
            goss_status status =
                sampler_sample(sampler[row], logits + (size_t)row * n_vocab, (uint64_t)row, NULL, &want, &error);
            assert_int_equal(got[row], status || !draw[row].wanted ? -1 : want.id);
            sampler_close(sampler[row]);
        }
        free(logits);
    }
}

static void a_vocabulary_of_a_million_is_drawn_from_as_well(void **state)
{
    (void)state;
    enum { N = 1060000 };
    float *logits = malloc(N * sizeof *logits);
    for (int i = 0; i < N; i++)
        logits[i] = (float)(i % 977) * 0x1p-9f;
    for (int seed = 0; seed < 3; seed++) {
        struct sampling s = sampling_default();
        struct sampler *sampler;
        struct sampled want;
        int32_t got;
        s.seed = (uint64_t)seed;
        assert_int_equal(sampler_open(&sampler, &s, N, NULL), GOSS_OK);
        struct batch_draw draw = sampler_draw(sampler, 5);
        stages_sample(N, 1, logits, &draw, false, &got);
        assert_int_equal(sampler_sample(sampler, logits, 5, NULL, &want, NULL), GOSS_OK);
        assert_int_equal(got, want.id);
        sampler_close(sampler);
    }
    free(logits);
}

static void what_needs_more_than_the_logits_is_left_to_the_sampler(void **state)
{
    (void)state;
    static const struct logit_bias bias = {3, 1.0f};
    for (int i = 0; i < 5; i++) {
        struct sampling s = sampling_default();
        struct sampler *sampler;
        s.repetition_penalty = i == 1 ? 1.1 : 1;
        s.frequency_penalty = i == 2 ? 0.5 : 0;
        s.logprobs = i == 3 ? 0 : -1;
        s.bias = &bias;
        s.n_bias = i == 4;
        assert_int_equal(sampler_open(&sampler, &s, 10, NULL), GOSS_OK);
        assert_int_equal(sampler_draw(sampler, 0).wanted, i == 0);
        sampler_close(sampler);
    }
}

enum { SEQUENCES = 5, ANSWER = 12, PROMPT = 9 };

/* The answers of several sequences at once, each with a sampling of its own, in some runs with top-k and top-p. */
static void answer(const struct model *model, const struct backend_table *table, bool cuts,
                   int32_t id[SEQUENCES][ANSWER])
{
    struct engine *engine;
    goss_error error;
    struct engine_options options = {.threads = 1, .context = 256, .max_sequences = SEQUENCES};
    if (engine_open(&engine, model, table, &options, &error))
        fail_msg("%s", error.text);
    struct sequence *sequence[SEQUENCES];
    static const struct logit_bias bias = {3, 2.0f};
    for (int i = 0; i < SEQUENCES; i++) {
        int32_t prompt[PROMPT];
        for (int p = 0; p < PROMPT; p++)
            prompt[p] = (i * 17 + p * 5) % model->config.n_vocab;
        struct sequence_request r = {.id = prompt, .n_id = PROMPT - i, .max_tokens = ANSWER};
        r.sampling = sampling_default();
        r.sampling.seed = (uint64_t)i;
        r.sampling.top_k = cuts && i == 1 ? 5 : 0;
        r.sampling.top_p = cuts && i == 2 ? 0.7 : 1;
        r.sampling.temperature = i == 3 ? 0 : 0.9;
        r.sampling.bias = &bias;
        r.sampling.n_bias = i == 4; /* this one brings its logits over */
        if (engine_add(engine, &r, &sequence[i], &error))
            fail_msg("%s", error.text);
    }
    while (engine_step(engine))
        continue;
    for (int i = 0; i < SEQUENCES; i++) {
        struct sampled sampled;
        for (int t = 0; t < ANSWER; t++)
            id[i][t] = sequence_next(sequence[i], &sampled) ? sampled.id : -1;
        engine_release(engine, sequence[i]);
    }
    engine_close(engine);
}

static void an_engine_on_the_gpu_answers_with_the_ids_of_the_cpu(void **state)
{
    (void)state;
    struct synthetic_shape shape = synthetic_small();
    shape.n_layer = 2;
    struct model *model = synthetic_open(&shape);
    int32_t want[SEQUENCES][ANSWER], got[SEQUENCES][ANSWER];
    for (int cuts = 0; cuts < 2; cuts++) {
        answer(model, &cpu_backend, cuts, want);
        answer(model, gossamer_cuda.table, cuts, got);
        assert_memory_equal(got, want, sizeof got);
    }
    synthetic_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_drawn_as_the_sampler_draws_them),
        cmocka_unit_test(a_vocabulary_of_a_million_is_drawn_from_as_well),
        cmocka_unit_test(what_needs_more_than_the_logits_is_left_to_the_sampler),
        cmocka_unit_test(an_engine_on_the_gpu_answers_with_the_ids_of_the_cpu),
    };
    return cmocka_run_group_tests_name("cuda.sample", tests, NULL, NULL);
}
