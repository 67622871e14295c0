/* The sampler against a plain reading of docs/sampling.md that sorts everything. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "engine/logits.h"
#include "engine/sampler.h"
#include "support/test.h"

enum { MOST = 3000 };

static double uniform(uint64_t seed, uint64_t i)
{
    return random_uniform(seed, i, 99);
}

/* Logits with many ties, on several scales; with `holes` a part of them is -inf. */
static void random_logits(float *x, int n, uint64_t seed, bool holes)
{
    double scale = exp(4 * uniform(seed, 1) - 1);
    bool coarse = uniform(seed, 2) < 0.5;
    for (int i = 0; i < n; i++) {
        double u = scale * (uniform(seed, 10 + (uint64_t)i) - 0.5);
        x[i] = (float)(coarse ? round(4 * u) / 4 : u);
        if (coarse && x[i] == 0 && i % 2)
            x[i] = -0.0f;
        if (holes && uniform(seed + 1, (uint64_t)i) < 0.3)
            x[i] = -INFINITY;
    }
    if (holes)
        x[n / 2] = 0;
}

/* ---- the reference ---- */

struct ranked {
    int32_t id;
    float logit;
    uint64_t weight;
};

static int by_rank(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static int by_id(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    return x->id < y->id ? -1 : 1;
}

static uint64_t weight_alone(float x, float max, double temperature)
{
    uint64_t weight[WEIGHT_BLOCK];
    struct logits l = logits_all(&x, 1, max, temperature);
    return logits_weigh(&l, 0, 1, weight);
}

static uint64_t sum(const struct ranked *r, int n)
{
    uint64_t total = 0;
    for (int i = 0; i < n; i++)
        total += r[i].weight;
    return total;
}

static int32_t reference(const struct sampling *o, const float *x, int n, uint64_t position)
{
    struct ranked *r = malloc((size_t)n * sizeof *r);
    float max = -INFINITY;
    for (int i = 0; i < n; i++)
        max = x[i] > max ? x[i] : max;
    int m = 0;
    for (int i = 0; i < n; i++)
        if (x[i] > -INFINITY) {
            double t = o->temperature < 1e-4 ? 1 : o->temperature;
            r[m++] = (struct ranked){.id = i, .logit = x[i], .weight = weight_alone(x[i], max, t)};
        }
    qsort(r, (size_t)m, sizeof *r, by_rank);
    int32_t id = r[0].id;
    if (o->temperature >= 1e-4) {
        if (o->top_k > 0 && o->top_k < m)
            m = o->top_k;
        if (o->top_p < 1) {
            uint64_t total = sum(r, m), target = (uint64_t)(o->top_p * (double)total), have = 0;
            int kept = 0;
            while (kept < m && (kept == 0 || have < target))
                have += r[kept++].weight;
            m = kept;
        }
        if (o->min_p > 0) {
            int kept = 0;
            uint64_t least = (uint64_t)(o->min_p * 0x1p44);
            for (int i = 0; i < m; i++)
                if (r[i].weight >= least)
                    r[kept++] = r[i];
            m = kept;
        }
        qsort(r, (size_t)m, sizeof *r, by_id);
        uint32_t w[4];
        random_words(o->seed, position, 0, w);
        unsigned __int128 product = (unsigned __int128)((uint64_t)w[0] << 32 | w[1]) * sum(r, m);
        uint64_t target = (uint64_t)(product >> 64);
        int i = 0;
        for (; target >= r[i].weight; i++)
            target -= r[i].weight;
        id = r[i].id;
    }
    free(r);
    return id;
}

/* ---- the tests ---- */

static int32_t sample_once(const struct sampling *o, const float *x, int n, uint64_t position, const uint64_t *allowed)
{
    struct sampler *sampler;
    struct sampled sampled;
    goss_error error;
    float *copy = malloc((size_t)n * sizeof *copy);
    memcpy(copy, x, (size_t)n * sizeof *copy);
    assert_int_equal(sampler_open(&sampler, o, n, NULL), GOSS_OK);
    if (sampler_sample(sampler, copy, position, allowed, &sampled, &error))
        fail_msg("%s", error.text);
    sampler_close(sampler);
    free(copy);
    return sampled.id;
}

static void every_choice_is_that_of_the_sorting_reference(void **state)
{
    (void)state;
    float x[MOST], holed[MOST];
    for (uint64_t seed = 0; seed < 3000; seed++) {
        int n = 1 + (int)(uniform(seed, 0) * (seed % 3 ? 400 : MOST - 1));
        bool masked = seed % 4 == 3;
        random_logits(x, n, seed, false);
        uint64_t allowed[MOST / 64 + 1] = {0};
        for (int i = 0; i < n; i++) {
            bool out = masked && i != n / 2 && uniform(seed + 5, (uint64_t)i) < 0.4;
            holed[i] = out ? -INFINITY : x[i];
            allowed[i / 64] |= (uint64_t)!out << (i % 64);
        }
        struct sampling o = sampling_default();
        o.seed = seed;
        o.temperature = seed % 11 == 0 ? 0 : 0.2 + 1.8 * uniform(seed, 3);
        o.top_p = seed % 2 ? uniform(seed, 4) : 1;
        o.top_p = seed % 50 == 1 ? 0 : o.top_p;
        o.top_k = seed % 3 == 0 ? 1 + (int)(uniform(seed, 5) * 50) : 0;
        o.min_p = seed % 5 == 0 ? uniform(seed, 6) : 0;
        for (uint64_t position = 0; position < 3; position++)
            assert_int_equal(sample_once(&o, x, n, position, masked ? allowed : NULL),
                             reference(&o, holed, n, position));
    }
}

static void a_weight_is_the_exponential_to_seven_digits(void **state)
{
    (void)state;
    assert_int_equal(weight_alone(3, 3, 1), UINT64_C(1) << 44);
    assert_int_equal(weight_alone(-INFINITY, 3, 1), 0);
    assert_int_equal(weight_alone(-1000, 3, 1), 0);
    for (int i = 0; i < 200000; i++) {
        float x = -20.0f * (float)uniform(1, (uint64_t)i);
        double expected = exp((double)x) * 0x1p44, found = (double)weight_alone(x, 0, 1);
        assert_true(fabs(found - expected) <= 4e-7 * expected + 0.5);
    }
}

static void weights_do_not_depend_on_the_place_in_a_block(void **state)
{
    (void)state;
    float x[700];
    random_logits(x, 700, 4, false);
    struct logits l = logits_all(x, 700, 30, 0.7);
    uint64_t weight[WEIGHT_BLOCK], total = 0;
    for (int first = 0; first < 700; first += 7) {
        (void)logits_weigh(&l, first, 7, weight);
        for (int i = 0; i < 7; i++) {
            assert_int_equal(weight[i], weight_alone(x[first + i], 30, 0.7));
            total += weight[i];
        }
    }
    assert_int_equal(total, logits_total(&l));
}

static void ties_go_to_the_lower_id(void **state)
{
    (void)state;
    float x[500];
    for (int i = 0; i < 500; i++)
        x[i] = i % 10 == 3 ? 2.5f : -1.0f;
    struct sampling o = sampling_default();
    o.temperature = 0;
    assert_int_equal(sample_once(&o, x, 500, 0, NULL), 3);
    o.temperature = 1;
    o.top_k = 1;
    for (uint64_t p = 0; p < 20; p++)
        assert_int_equal(sample_once(&o, x, 500, p, NULL), 3);
    o.top_k = 2;
    bool seen[500] = {false};
    for (uint64_t p = 0; p < 60; p++)
        seen[sample_once(&o, x, 500, p, NULL)] = true;
    for (int i = 0; i < 500; i++)
        assert_true(seen[i] == (i == 3 || i == 13));
}

/* Chi-square against the exact distribution, 50 cells: 99.99 % of true samplers stay below 98. */
static void frequencies_are_those_of_the_softmax(void **state)
{
    (void)state;
    enum { N = 50, DRAWS = 100000 };
    float x[N], copy[N];
    double p[N], total = 0, chi = 0;
    int count[N] = {0};
    for (int i = 0; i < N; i++) {
        x[i] = (float)(3 * uniform(77, (uint64_t)i));
        total += p[i] = exp((double)x[i] / 0.8);
    }
    struct sampling o = sampling_default();
    o.temperature = 0.8;
    o.seed = 42;
    struct sampler *sampler;
    assert_int_equal(sampler_open(&sampler, &o, N, NULL), GOSS_OK);
    for (uint64_t i = 0; i < DRAWS; i++) {
        struct sampled sampled;
        memcpy(copy, x, sizeof x);
        assert_int_equal(sampler_sample(sampler, copy, i, NULL, &sampled, NULL), GOSS_OK);
        count[sampled.id]++;
    }
    sampler_close(sampler);
    for (int i = 0; i < N; i++) {
        double expected = DRAWS * p[i] / total, difference = count[i] - expected;
        chi += difference * difference / expected;
    }
    assert_true(chi < 98);
}

static void a_token_depends_on_seed_and_position_only(void **state)
{
    (void)state;
    float x[1000];
    random_logits(x, 1000, 3, false);
    struct sampling o = sampling_default();
    o.temperature = 2;
    int32_t first[100];
    int same_position = 0, same_seed = 0;
    for (uint64_t p = 0; p < 100; p++)
        first[p] = sample_once(&o, x, 1000, p, NULL);
    for (uint64_t p = 100; p-- > 0;)
        assert_int_equal(sample_once(&o, x, 1000, p, NULL), first[p]);
    for (uint64_t p = 0; p < 100; p++) {
        o.seed = p + 1;
        same_position += sample_once(&o, x, 1000, 0, NULL) == first[0];
        same_seed += p > 0 && first[p] == first[p - 1];
    }
    assert_true(same_position < 20 && same_seed < 20);
}

static void logits_that_are_not_finite_are_refused(void **state)
{
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    float x[100];
    for (int b = 0; b < 3; b++)
        for (int at = 0; at < 100; at += 9) {
            goss_error error;
            struct sampler *sampler;
            struct sampled sampled;
            struct sampling o = sampling_default();
            random_logits(x, 100, 6, false);
            x[at] = bad[b];
            assert_int_equal(sampler_open(&sampler, &o, 100, NULL), GOSS_OK);
            assert_int_equal(sampler_sample(sampler, x, 12, NULL, &sampled, &error), GOSS_E_FORMAT);
            char expected[40];
            (void)snprintf(expected, sizeof expected, "id %d at position 12", at);
            assert_non_null(strstr(error.text, expected));
            sampler_close(sampler);
        }
}

static void an_empty_mask_is_an_error(void **state)
{
    (void)state;
    float x[70] = {0};
    uint64_t none[2] = {0};
    struct sampler *sampler;
    struct sampled sampled;
    struct sampling o = sampling_default();
    assert_int_equal(sampler_open(&sampler, &o, 70, NULL), GOSS_OK);
    assert_int_equal(sampler_sample(sampler, x, 0, none, &sampled, NULL), GOSS_E_ARGUMENT);
    sampler_close(sampler);
}

/* Greedy, so that the penalised logits can be read off the choice. */
static void penalties_and_biases_move_logits_as_defined(void **state)
{
    (void)state;
    static const float start[6] = {1.0f, 2.0f, -1.0f, 1.9f, 0.5f, 0.25f};
    float x[6];
    struct sampler *sampler;
    struct sampled sampled;
    struct logit_bias bias[] = {{5, 1.0f}, {5, 0.5f}, {0, -3.0f}};
    struct sampling o = sampling_default();
    o.repetition_penalty = 2;
    o.presence_penalty = 0.5;
    o.frequency_penalty = 0.25;
    o.bias = bias;
    o.n_bias = 3;
    assert_int_equal(sampler_open(&sampler, &o, 6, NULL), GOSS_OK);
    sampler_see_prompt(sampler, 1);
    sampler_see_prompt(sampler, 2);
    sampler_see_answer(sampler, 3);
    sampler_see_answer(sampler, 3);
    sampler_see_answer(sampler, 2);
    memcpy(x, start, sizeof x);
    assert_int_equal(sampler_sample(sampler, x, 0, NULL, &sampled, NULL), GOSS_OK);
    static const double expected[6] = {1 - 3, 2.0 / 2, -1 * 2 - 0.5 - 0.25, 1.9 / 2 - 0.5 - 2 * 0.25, 0.5, 0.25 + 1.5};
    for (int i = 0; i < 6; i++)
        assert_true(fabs((double)x[i] - expected[i]) < 1e-6);
    sampler_close(sampler);
}

static void logprobs_are_of_the_raw_distribution(void **state)
{
    (void)state;
    enum { N = 2000 };
    float x[N], copy[N];
    for (uint64_t seed = 0; seed < 50; seed++) {
        random_logits(x, N, seed, false);
        memcpy(copy, x, sizeof x);
        struct logit_bias bias = {17, 50};
        struct sampling o = sampling_default();
        o.temperature = 0.5;
        o.logprobs = (int)(seed % 21);
        o.bias = &bias;
        o.n_bias = 1;
        struct sampler *sampler;
        struct sampled sampled;
        assert_int_equal(sampler_open(&sampler, &o, N, NULL), GOSS_OK);
        assert_int_equal(sampler_sample(sampler, copy, seed, NULL, &sampled, NULL), GOSS_OK);
        sampler_close(sampler);
        double total = 0;
        struct ranked r[N];
        for (int i = 0; i < N; i++) {
            total += exp((double)x[i] - 30);
            r[i] = (struct ranked){.id = i, .logit = x[i]};
        }
        qsort(r, N, sizeof *r, by_rank);
        double normalizer = 30 + log(total);
        assert_int_equal(sampled.n_top, o.logprobs);
        assert_true(fabs(sampled.logprob - ((double)x[sampled.id] - normalizer)) < 1e-6);
        for (int i = 0; i < sampled.n_top; i++) {
            assert_int_equal(sampled.top[i].id, r[i].id);
            assert_true(fabs(sampled.top[i].logprob - ((double)r[i].logit - normalizer)) < 1e-6);
        }
    }
}

static void parameters_out_of_range_are_named(void **state)
{
    (void)state;
    struct logit_bias bias = {10, 0};
    struct sampling o[10];
    static const char *name[10] = {"temperature",      "temperature",       "top_p", "min_p",   "repetition_penalty",
                                   "presence_penalty", "frequency_penalty", "top_k", "logprob", "id 10"};
    for (int i = 0; i < 10; i++)
        o[i] = sampling_default();
    o[0].temperature = -0.1;
    o[1].temperature = NAN;
    o[2].top_p = 1.01;
    o[3].min_p = INFINITY;
    o[4].repetition_penalty = 0;
    o[5].presence_penalty = 101;
    o[6].frequency_penalty = -101;
    o[7].top_k = -1;
    o[8].logprobs = 21;
    o[9].bias = &bias;
    o[9].n_bias = 1;
    for (int i = 0; i < 10; i++) {
        goss_error error;
        struct sampler *sampler;
        assert_int_equal(sampler_open(&sampler, &o[i], 10, &error), GOSS_E_ARGUMENT);
        assert_null(sampler);
        assert_non_null(strstr(error.text, name[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_choice_is_that_of_the_sorting_reference),
        cmocka_unit_test(a_weight_is_the_exponential_to_seven_digits),
        cmocka_unit_test(weights_do_not_depend_on_the_place_in_a_block),
        cmocka_unit_test(ties_go_to_the_lower_id),
        cmocka_unit_test(frequencies_are_those_of_the_softmax),
        cmocka_unit_test(a_token_depends_on_seed_and_position_only),
        cmocka_unit_test(logits_that_are_not_finite_are_refused),
        cmocka_unit_test(an_empty_mask_is_an_error),
        cmocka_unit_test(penalties_and_biases_move_logits_as_defined),
        cmocka_unit_test(logprobs_are_of_the_raw_distribution),
        cmocka_unit_test(parameters_out_of_range_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
