/* The small stages of src/cuda on the emulated GPU, to the bit: embedding, choice of experts, their sum. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fmath.h"
#include "base/random.h"
#include "cpu/kernels.h"
#include "cuda/emulated/control.h"
#include "cuda/emulated/stages.h"
#include "model/rope.h"
#include "support/test.h"

static uint64_t drawn;

static uint32_t word(void)
{
    uint32_t w[4];
    random_words(12, drawn++, 0, w);
    return w[0];
}

static int below(int n)
{
    return (int)(word() % (uint32_t)n);
}

static float uniform(void)
{
    return (float)((int32_t)word() >> 7) * 0x1p-24f;
}

static float *numbers(size_t n, float factor)
{
    float *x = malloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = uniform() * factor;
    return x;
}

static void assert_same(const char *what, const float *got, const float *want, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&got[i], &want[i], sizeof *got) != 0 && !(isnan(got[i]) && isnan(want[i])))
            fail_msg("%s, value %zu: %a is not %a", what, i, (double)got[i], (double)want[i]);
}

/* ---- the choice of experts ---- */

/* The greatest logit that is not taken; the lower index among equals, and the first of all if that is no number. */
static int greatest(const float *logit, int n, const int32_t *taken, int n_taken)
{
    int best = -1;
    for (int e = 0; e < n; e++) {
        bool used = false;
        for (int i = 0; i < n_taken; i++)
            used = used || taken[i] == e;
        if (!used && (best < 0 || logit[e] > logit[best]))
            best = e;
    }
    return best;
}

static void define_choice(const struct stages_route *t, const float *x, float *normed, int32_t *chosen, float *weight)
{
    const struct model_config *c = t->config;
    int groups = (c->n_expert + LANES - 1) / LANES;
    float *logit = malloc((size_t)groups * LANES * sizeof *logit), sum = 0.0f;
    struct slab slab = {.quants = t->router.quants, .groups = groups, .cols = c->d_model};
    struct panel panel = {.n = 1, .cols = c->d_model, .x = normed};
    scalar_kernels.rms_norm(x, t->gain, c->d_model, c->rms_eps, normed);
    scalar_kernels.product_f32(&slab, &panel, logit);
    for (int e = 0; e < c->n_expert; e++)
        logit[e] = logit[e] + t->bias[e];
    for (int s = 0; s < c->n_active; s++)
        chosen[s] = greatest(logit, c->n_expert, chosen, s);
    for (int s = 0; s < c->n_active; s++) {
        weight[s] = exp_f32(logit[chosen[s]] - logit[chosen[0]]);
        sum = s ? sum + weight[s] : weight[s];
    }
    for (int s = 0; s < c->n_active; s++)
        weight[s] = weight[s] / sum;
    free(logit);
}

/* Places go up by expert, then by slot; the experts with slots are listed for few rows. */
static void assert_sorted(const struct stages_route *t)
{
    int n_active = 0, place = 0;
    for (int e = 0; e < t->config->n_expert; e++) {
        assert_int_equal(t->expert_first[e], place);
        for (int slot = 0; slot < t->n_row * t->config->n_active; slot++)
            if (t->chosen[slot] == e) {
                assert_int_equal(t->place[slot], place);
                assert_int_equal(t->slot_of[place++], slot);
            }
        if (t->n_row <= 8 && t->expert_first[e + 1] > t->expert_first[e])
            assert_int_equal(t->active[n_active++], e);
    }
    assert_int_equal(t->expert_first[t->config->n_expert], place);
    for (int i = n_active; t->n_row <= 8 && i < t->config->n_expert; i++)
        assert_int_equal(t->active[i], -1);
}

/* The rounded rows hold, in whatever order within a block, the quants of the definition. */
static void assert_rounded(const struct stages_route *t, int row, const float *normed)
{
    int blocks = t->config->d_model / BLOCK, count[256];
    struct panel p = {.n = 1, .cols = t->config->d_model};
    p.q = malloc((size_t)blocks * BLOCK);
    p.scale = malloc((size_t)blocks * sizeof *p.scale);
    p.offset = malloc((size_t)blocks * sizeof *p.offset);
    scalar_kernels.quantise(normed, blocks, &p, 0, 0);
    assert_same("scales", t->scale + (size_t)row * blocks, p.scale, blocks);
    for (int b = 0; b < blocks; b++) {
        memset(count, 0, sizeof count);
        for (int i = 0; i < BLOCK; i++) {
            count[p.q[b * BLOCK + i] + 128]++;
            count[t->q[((size_t)row * blocks + b) * BLOCK + i] + 128]--;
        }
        for (int i = 0; i < 256; i++)
            assert_int_equal(count[i], 0);
    }
    free(p.q), free(p.scale), free(p.offset);
}

enum trouble { TROUBLE_NONE, TROUBLE_TIES, TROUBLE_NAN };

static void route(int n_expert, int n_active, int d_model, int n_row, enum dtype gate_up, enum trouble trouble,
                  bool little_shared)
{
    struct model_config c = {
        .n_layer = 1, .d_model = d_model, .n_expert = n_expert, .n_active = n_active, .rms_eps = 1e-5f};
    int groups = (n_expert + LANES - 1) / LANES;
    size_t d = d_model, slots = (size_t)n_row * n_active, rows = n_row;
    float *router = numbers((size_t)groups * LANES * d, trouble == TROUBLE_TIES ? 0.0f : 0.1f);
    float *gain = numbers(d, 2.0f), *bias = numbers(n_expert, 1.0f), *x = numbers(rows * d, 3.0f);
    for (int e = 0; trouble == TROUBLE_TIES && e < n_expert; e++)
        bias[e] = (float)(below(3) - 1) * 0.0f + (float)below(3);
    for (int e = 0; trouble == TROUBLE_NAN && e < n_expert; e++)
        bias[e] = below(3) ? bias[e] : NAN;
    struct stages_route t = {
        .config = &c,
        .router = {.type = DTYPE_TILE_F32, .rows = n_expert, .cols = d_model, .quants = (uint8_t *)router},
        .gain = gain,
        .bias = bias,
        .gate_up = gate_up,
        .little_shared = little_shared,
        .n_row = n_row,
        .x = x,
        .normed = malloc(rows * d * sizeof(float)),
        .q = malloc(rows * d),
        .scale = malloc(rows * d / BLOCK * sizeof(float)),
        .chosen = malloc(slots * 4),
        .place = malloc(slots * 4),
        .slot_of = malloc(slots * 4),
        .weight = malloc(slots * 4),
        .expert_first = malloc(((size_t)n_expert + 1) * 4),
        .active = malloc((size_t)n_expert * 4)};
    emulated_order(drawn % 2);
    stages_route(&t);
    float *normed = malloc(d * sizeof *normed), weight[MODEL_MAX_ACTIVE];
    for (int row = 0; row < n_row; row++) {
        int32_t chosen[MODEL_MAX_ACTIVE];
        define_choice(&t, x + row * d, normed, chosen, weight);
        assert_same("norm", t.normed + row * d, normed, d);
        assert_memory_equal(t.chosen + row * n_active, chosen, n_active * sizeof *chosen);
        assert_same("weights", t.weight + row * n_active, weight, n_active);
        if (gate_up != DTYPE_TILE_BF16)
            assert_rounded(&t, row, normed);
    }
    assert_sorted(&t);
    free(router), free(gain), free(bias), free(x), free(normed), free(t.normed), free(t.q), free(t.scale);
    free(t.chosen), free(t.place), free(t.slot_of), free(t.weight), free(t.expert_first), free(t.active);
}

static void experts_are_chosen_and_sorted_as_defined(void **state)
{
    (void)state;
    static const int rows[] = {1, 3, 8, 9, 70};
    for (int i = 0; i < 5; i++) {
        route(32, 4, 1056, rows[i], DTYPE_TILE_MXFP4, TROUBLE_NONE, false);
        route(7, 3, 96, rows[i], DTYPE_TILE_Q8, TROUBLE_NONE, false);
        route(128, 4, 512, rows[i], DTYPE_TILE_BF16, TROUBLE_NONE, false);
        route(40, 40, 64, rows[i], DTYPE_TILE_MXFP4, TROUBLE_NONE, false);
    }
    route(1, 1, 32, 2, DTYPE_TILE_MXFP4, TROUBLE_NONE, false);
    route(16, 2, 2080, 5, DTYPE_TILE_MXFP4, TROUBLE_NONE, true); /* normed by a kernel of its own */
}

static void equal_logits_choose_the_lower_expert_and_nans_choose_as_the_cpu_does(void **state)
{
    (void)state;
    for (int n = 1; n < 100; n += 9) {
        route(n, 1 + below(n < 64 ? n : 64), 32, 1 + below(20), DTYPE_TILE_MXFP4, TROUBLE_TIES, false);
        route(n, 1 + below(n < 64 ? n : 64), 32, 1 + below(20), DTYPE_TILE_MXFP4, TROUBLE_NAN, false);
    }
}

/* ---- the others ---- */

static void embeddings_and_angles_have_the_bits_of_the_cpu(void **state)
{
    (void)state;
    enum { ROWS = 9, VOCAB = 50, D = 96, BYTES = VOCAB * D * 2 };
    static uint8_t table[BYTES];
    static float x[ROWS * D], cosine[ROWS * 32], sine[ROWS * 32], want_cosine[32], want_sine[32];
    int32_t token[ROWS], position[ROWS];
    for (int type = 0; type < 2; type++) {
        struct model model = {.config = {.n_layer = 1,
                                         .d_model = D,
                                         .n_vocab = VOCAB,
                                         .head_dim = 64,
                                         .yarn = true,
                                         .rope_theta = 150000.0,
                                         .yarn_factor = 32.0,
                                         .yarn_beta_fast = 32.0,
                                         .yarn_beta_slow = 1.0,
                                         .yarn_context = 4096},
                              .embedding = table,
                              .embedding_type = type ? DTYPE_BF16 : DTYPE_Q8_0};
        for (int i = 0; i < BYTES; i++)
            table[i] = (uint8_t)word();
        for (int i = 0; i < ROWS; i++) {
            token[i] = i ? below(VOCAB) : VOCAB - 1;
            position[i] = i < 2 ? i : below(i % 2 ? 5000 : 131072);
        }
        stages_embed(&model, ROWS, token, position, x, cosine, sine);
        struct rope rope;
        rope_init(&rope, &model.config);
        for (int row = 0; row < ROWS; row++) {
            rope_table(&rope, position[row], want_cosine, want_sine);
            assert_same("cosines", cosine + row * 32, want_cosine, 32);
            assert_same("sines", sine + row * 32, want_sine, 32);
            for (int i = 0; i < D; i++) {
                const uint8_t *block = table + (token[row] * (D / 32) + i / 32) * 34,
                              *two = table + (token[row] * D + i) * 2;
                uint16_t half;
                memcpy(&half, type ? two : block, sizeof half);
                float want = type ? bf16_to_f32(half) : f16_to_f32(half) * (float)(int8_t)block[2 + i % 32];
                assert_same("embedding", &x[row * D + i], &want, 1);
            }
        }
    }
}

static void slots_are_summed_in_order(void **state)
{
    (void)state;
    for (int round = 0; round < 12; round++) {
        struct model_config c = {.n_layer = 1, .d_model = 32 * (1 + below(40)), .n_active = 1 + below(6)};
        int n_row = 1 + below(12), slots = n_row * c.n_active;
        size_t d = c.d_model;
        float *x = numbers(n_row * d, 1.0f), *want = malloc(n_row * d * sizeof *want), *out = numbers(slots * d, 2.0f);
        float *weight = numbers(slots, 1.0f);
        int32_t *place = malloc((size_t)slots * sizeof *place);
        memcpy(want, x, n_row * d * sizeof *want);
        for (int i = 0; i < slots; i++) /* a shuffle */
            place[i] = i;
        for (int i = slots - 1; i > 0; i--) {
            int j = below(i + 1);
            int32_t p = place[i];
            place[i] = place[j];
            place[j] = p;
        }
        for (int row = 0; row < n_row; row++) {
            const float *slot[8];
            for (int s = 0; s < c.n_active; s++)
                slot[s] = out + place[row * c.n_active + s] * d;
            scalar_kernels.combine(want + row * d, slot, weight + row * c.n_active, c.n_active, (int)d);
        }
        emulated_order(round % 2);
        stages_combine(&c, n_row, x, out, place, weight);
        assert_same("sums", x, want, n_row * d);
        free(x), free(want), free(out), free(weight), free(place);
    }
}

static void hidden_values_have_the_bits_of_the_definition(void **state)
{
    (void)state;
    static const float special[] = {-0.0f,     7.0f, -7.0f, FLT_MAX, -FLT_MAX, INFINITY,
                                    -INFINITY, NAN,  51.3f, -51.4f,  0x1p-149f};
    enum { N = sizeof special / sizeof *special };
    for (int i = 0; i < 2000; i++) {
        float sum[2 * LANES] = {0}, bias[2 * LANES] = {0}, want[LANES], limit = i % 3 ? 7.0f : FLT_MAX;
        sum[0] = i < N * N ? special[i % N] : uniform() * 30.0f;
        sum[LANES] = i < N * N ? special[i / N] : uniform() * 30.0f;
        scalar_kernels.swiglu(sum, bias, 1, limit, want);
        float got = stages_swiglu(sum[0] + bias[0], sum[LANES] + bias[LANES], limit);
        assert_same("hidden", &got, want, 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(experts_are_chosen_and_sorted_as_defined),
        cmocka_unit_test(equal_logits_choose_the_lower_expert_and_nans_choose_as_the_cpu_does),
        cmocka_unit_test(embeddings_and_angles_have_the_bits_of_the_cpu),
        cmocka_unit_test(slots_are_summed_in_order),
        cmocka_unit_test(hidden_values_have_the_bits_of_the_definition),
    };
    return cmocka_run_group_tests_name("cuda.stages", tests, NULL, NULL);
}
