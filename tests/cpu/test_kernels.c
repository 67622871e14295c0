/* Every kernel of every instruction set of this machine against the scalar code, to the bit, on random, extreme and odd
 * inputs. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fmath.h"
#include "base/random.h"
#include "cpu/kernels.h"
#include "support/test.h"
#include "weights/tile.h"

static uint64_t drawn;

static uint32_t word(void)
{
    uint32_t w[4];
    random_words(3, drawn++, 0, w);
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

/* Ordinary numbers, now and then zeros, tiny and huge ones. */
static float number(void)
{
    switch (below(24)) {
    case 0: return 0.0f;
    case 1: return -0.0f;
    case 2: return uniform() * 0x1p-130f;
    case 3: return uniform() * 0x1p+60f;
    case 4: return uniform() * 0x1p-30f;
    default: return uniform();
    }
}

static float *numbers(size_t n, float (*next)(void))
{
    float *x = malloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = next();
    return x;
}

static void assert_same_floats(const char *what, const struct kernels *k, const float *got, const float *want, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&got[i], &want[i], sizeof *got) != 0 && !(isnan(got[i]) && isnan(want[i])))
            fail_msg("%s of %s, value %zu: %a is not %a", what, k->name, i, (double)got[i], (double)want[i]);
}

#define EACH_ISA(k) for (const struct kernels *k = kernels_at(0); k != &scalar_kernels; k = next_isa(k))

static const struct kernels *next_isa(const struct kernels *kernels)
{
    for (int i = 0;; i++)
        if (kernels_at(i) == kernels)
            return kernels_at(i + 1);
}

static struct panel panel_open(int n, int cols)
{
    size_t blocks = (size_t)cols / BLOCK * n;
    return (struct panel){.n = n,
                          .cols = cols,
                          .q = calloc(blocks, BLOCK),
                          .scale = calloc(blocks, sizeof(float)),
                          .offset = calloc(blocks, sizeof(int32_t)),
                          .x = calloc((size_t)n * cols, sizeof(float))};
}

static void panel_close(struct panel *panel)
{
    free(panel->q);
    free(panel->scale);
    free(panel->offset);
    free(panel->x);
}

static void assert_same_panels(const struct kernels *k, const struct panel *got, const struct panel *want)
{
    size_t blocks = (size_t)got->cols / BLOCK * got->n;
    assert_memory_equal(got->q, want->q, blocks * BLOCK);
    assert_memory_equal(got->offset, want->offset, blocks * sizeof(int32_t));
    assert_same_floats("quantise", k, got->scale, want->scale, blocks);
}

static void activations_quantise_to_the_same_bits(void **state)
{
    (void)state;
    EACH_ISA(k)
    {
        for (int round = 0; round < 200; round++) {
            int blocks = 1 + below(9), n = 1 + below(5), column = below(n);
            float *x = numbers((size_t)blocks * BLOCK, number);
            if (round % 5 == 0) /* exact halves: ties */
                for (int i = 0; i < BLOCK; i++)
                    x[i] = i ? (float)(below(255) - 127) - 0.5f : 127.0f;
            if (round % 7 == 0)
                x[below(BLOCK)] = (const float[]){NAN, INFINITY, -INFINITY, -NAN}[below(4)];
            if (round % 11 == 0)
                for (int i = 0; i < BLOCK; i++)
                    x[i] = uniform() * (const float[]){0x1p-118f, 0x1p-121f, FLT_MAX, 0x1p-149f}[below(4)];
            struct panel got = panel_open(n, blocks * BLOCK), want = panel_open(n, blocks * BLOCK);
            k->quantise(x, blocks, &got, 0, column);
            scalar_kernels.quantise(x, blocks, &want, 0, column);
            assert_same_panels(k, &got, &want);
            panel_close(&got);
            panel_close(&want);
            free(x);
        }
    }
}

static void the_quantised_block_is_the_nearest_one(void **state)
{
    (void)state;
    struct panel p = panel_open(1, BLOCK);
    float x[BLOCK] = {1.0f, -2.0f, 0.5f / 127.0f * 2.0f, 1.5f / 127.0f * 2.0f};
    scalar_kernels.quantise(x, 1, &p, 0, 0);
    assert_true(p.scale[0] == 2.0f / 127.0f);
    assert_int_equal(p.q[0], 64); /* 63.5, a tie, to even */
    assert_int_equal(p.q[1], -127);
    assert_int_equal(p.q[2], 0);
    assert_int_equal(p.q[3], 2);
    assert_int_equal(p.offset[0], -128 * (64 - 127 + 0 + 2));
    for (int i = 0; i < BLOCK; i++)
        x[i] = 0x1p-121f;
    scalar_kernels.quantise(x, 1, &p, 0, 0);
    assert_true(p.scale[0] == 0.0f && p.q[0] == 0 && p.offset[0] == 0);
    x[5] = INFINITY;
    scalar_kernels.quantise(x, 1, &p, 0, 0);
    assert_true(isnan(p.scale[0]) && p.q[0] == 0);
    panel_close(&p);
}

/* Weights of any bits. `extreme` of 1 and 2 picks the values that make sums greatest; 3 and 4 only scales whose
 * products with others are normal numbers, but for the activations' of 4. */
static void fill_weights(uint8_t *quants, size_t n, uint8_t *scales, size_t n_scale, enum dtype type, int extreme)
{
    for (size_t i = 0; i < n; i++)
        quants[i] = (uint8_t)(extreme == 1 ? (type == DTYPE_TILE_Q8 ? 0x80 : 0xFF) : extreme == 2 ? 0x77 : word());
    for (size_t i = 0; i < n_scale; i++) {
        uint16_t half = f32_to_f16(below(9) ? uniform() : uniform() * 0x1p-20f);
        if (type == DTYPE_TILE_MXFP4)
            scales[i] = (uint8_t)(extreme > 2 ? 64 + below(129)
                                  : extreme   ? below(254)
                                  : below(5)  ? 110 + below(20)
                                              : below(3));
        else if (i % 2 == 0)
            memcpy(scales + i, &half, sizeof half);
    }
    for (size_t i = 0; type == DTYPE_TILE_F32 && i < n; i += 4) {
        float w = number();
        memcpy(quants + i, &w, sizeof w);
    }
    for (size_t i = 0; type == DTYPE_TILE_BF16 && i < n; i += 2) {
        uint16_t w = f32_to_bf16(number());
        memcpy(quants + i, &w, sizeof w);
    }
}

static product_fn *product_of(const struct kernels *k, enum dtype type)
{
    return type == DTYPE_TILE_MXFP4  ? k->product_mxfp4
           : type == DTYPE_TILE_Q8   ? k->product_q8
           : type == DTYPE_TILE_BF16 ? k->product_bf16
                                     : k->product_f32;
}

static void check_product(enum dtype type, int groups, int cols, int n, int extreme)
{
    size_t nq = tile_quant_bytes(type, (uint64_t)groups * LANES, cols), count = (size_t)n * groups * LANES;
    size_t ns = tile_scale_bytes(type, (uint64_t)groups * LANES, cols);
    uint8_t *weights = malloc(nq + ns);
    fill_weights(weights, nq, weights + nq, ns, type, extreme);
    struct slab slab = {.quants = weights, .scales = ns ? weights + nq : NULL, .groups = groups, .cols = cols};
    struct panel panel = panel_open(n, cols);
    for (int t = 0; t < n; t++) {
        float *x = panel.x + (size_t)t * cols;
        for (int i = 0; i < cols; i++)
            x[i] = extreme == 1 || extreme == 2 ? (extreme == 1 || i % 2 ? 1.0f : -1.0f) : number();
        for (int i = 0; extreme == 4 && t == n - 1 && i < BLOCK; i++)
            x[cols - 1 - i] *= 0x1p+66f;
        scalar_kernels.quantise(x, cols / BLOCK, &panel, 0, t);
    }
    float *got = malloc(count * sizeof *got), *want = malloc(count * sizeof *want);
    product_of(&scalar_kernels, type)(&slab, &panel, want);
    EACH_ISA(k)
    {
        memset(got, 0xFF, count * sizeof *got);
        product_of(k, type)(&slab, &panel, got);
        assert_same_floats("product", k, got, want, count);
    }
    free(got);
    free(want);
    free(weights);
    panel_close(&panel);
}

static void products_have_the_same_bits_for_every_type_and_shape(void **state)
{
    (void)state;
    static const enum dtype types[] = {DTYPE_TILE_MXFP4, DTYPE_TILE_Q8, DTYPE_TILE_BF16, DTYPE_TILE_F32};
    for (int type = 0; type < 4; type++) {
        for (int n = 1; n <= 33; n++)
            check_product(types[type], 1 + n % 4, BLOCK * (1 + n % 5), n, 0);
        for (int blocks = 1; blocks < 40; blocks += 3) /* across segment ends */
            check_product(types[type], 1 + blocks % 3, BLOCK * blocks, 1 + blocks % 7, 0);
        for (int n = 13; n < 100; n += n < 60 ? 1 : 7) {
            check_product(types[type], 1 + n % 4, BLOCK * (1 + n % 37), n, 3);
            check_product(types[type], 2, BLOCK * 3, n, 4);
        }
        check_product(types[type], 2, SEGMENT * 4, 1, 0);
        check_product(types[type], 2, SEGMENT * 5 + BLOCK, 1, 0);
        for (int n = 1; n < 50; n += n < 8 ? 1 : 13)
            for (int extreme = 1; extreme < 3; extreme++)
                check_product(types[type], 2, 3 * BLOCK, n, extreme);
    }
}

static void an_mxfp4_product_has_the_value_of_its_definition(void **state)
{
    (void)state;
    enum { CELLS = 16 };
    static const double values[CELLS] = {0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6};
    for (int round = 0; round < 20; round++) {
        uint8_t quants[TILE_MXFP4_BLOCK], scales[TILE_ROWS];
        fill_weights(quants, sizeof quants, scales, sizeof scales, DTYPE_TILE_MXFP4, 0);
        float x[BLOCK], sum[LANES];
        for (int i = 0; i < BLOCK; i++)
            x[i] = i ? (float)(below(255) - 127) : 127.0f; /* quantises to itself */
        struct panel panel = panel_open(1, BLOCK);
        struct slab slab = {quants, scales, 1, BLOCK};
        scalar_kernels.quantise(x, 1, &panel, 0, 0);
        scalar_kernels.product_mxfp4(&slab, &panel, sum);
        for (int r = 0; r < LANES; r++) {
            double want = 0.0;
            for (int i = 0; i < BLOCK; i++) {
                uint8_t byte = quants[64 * (i / 8) + 4 * r + i % 4];
                want += values[i % 8 < 4 ? byte & 15 : byte >> 4] * (double)x[i];
            }
            assert_true((double)sum[r] == (double)(float)ldexp(want, scales[r] - 127));
        }
        panel_close(&panel);
    }
}

static void norms_rotations_and_conversions_have_the_same_bits(void **state)
{
    (void)state;
    EACH_ISA(k)
    {
        for (int n = 16; n <= 2880; n += n < 192 ? 16 : 1344) {
            float *x = numbers(n, number), *gain = numbers(n, uniform), *got = malloc(n * sizeof *got),
                  *want = malloc(n * sizeof *want);
            uint16_t *h = malloc(n * sizeof *h), *g = malloc(n * sizeof *g);
            k->rms_norm(x, gain, n, 1e-5f, got);
            scalar_kernels.rms_norm(x, gain, n, 1e-5f, want);
            assert_same_floats("rms_norm", k, got, want, n);
            k->divide(x, 3.7f, n, got);
            scalar_kernels.divide(x, 3.7f, n, want);
            assert_same_floats("divide", k, got, want, n);
            k->merge(got, gain, 0.3f, 0.7f, n);
            scalar_kernels.merge(want, gain, 0.3f, 0.7f, n);
            assert_same_floats("merge", k, got, want, n);
            for (int i = 0; i < n; i++)
                x[i] = i % 3 ? x[i] * 1e5f : f16_to_f32((uint16_t)(word() & 0x7BFFu)) * (1.0f + uniform() * 0x1p-10f);
            x[0] = INFINITY, x[1] = -INFINITY, x[2] = NAN, x[3] = 65520.0f, x[4] = 0x1p-25f;
            k->to_f16(x, n, h);
            scalar_kernels.to_f16(x, n, g);
            assert_memory_equal(h, g, n * sizeof *h);
            free(h), free(g), free(x), free(gain), free(got), free(want);
        }
        for (int half = 8; half <= 128; half += 8) {
            float *a = numbers(2 * half, number), *b = malloc(2 * half * sizeof *b);
            float *c = numbers(half, uniform), *s = numbers(half, uniform);
            memcpy(b, a, 2 * half * sizeof *b);
            k->rotate(a, c, s, half);
            scalar_kernels.rotate(b, c, s, half);
            assert_same_floats("rotate", k, a, b, 2 * half);
            free(a), free(b), free(c), free(s);
        }
    }
}

static float wide(void)
{
    return below(8) ? uniform() * 20.0f : uniform() * 300.0f;
}

static void activation_functions_and_sums_of_experts_have_the_same_bits(void **state)
{
    (void)state;
    EACH_ISA(k)
    {
        for (int round = 0; round < 300; round++) {
            enum { PAIRS = 2, N = 64, SLOTS = 5 };
            float *sum = numbers(2 * LANES * PAIRS, wide), *bias = numbers(2 * LANES * PAIRS, uniform);
            float got[N], want[N], limit = round % 3 ? 7.0f : FLT_MAX;
            sum[0] = -87.33f / 1.702f, sum[1] = 51.3f, sum[2] = -51.4f, sum[3] = INFINITY, sum[4] = -INFINITY;
            k->swiglu(sum, bias, PAIRS, limit, got);
            scalar_kernels.swiglu(sum, bias, PAIRS, limit, want);
            assert_same_floats("swiglu", k, got, want, LANES * PAIRS);
            float *out = numbers(SLOTS * N, number), *x = numbers(N, number), weight[SLOTS];
            const float *slot[SLOTS];
            for (int s = 0; s < SLOTS; s++) {
                slot[s] = out + s * N;
                weight[s] = uniform();
            }
            memcpy(got, x, sizeof got);
            memcpy(want, x, sizeof want);
            k->combine(got, slot, weight, 1 + round % SLOTS, N);
            scalar_kernels.combine(want, slot, weight, 1 + round % SLOTS, N);
            assert_same_floats("combine", k, got, want, N);
            free(sum), free(bias), free(out), free(x);
        }
    }
}

static void check_attention(const struct kernels *k, int m, int head_dim, int first, int last)
{
    size_t tile = (size_t)KEY_TILE * head_dim, count = (size_t)m * KEY_CHUNK;
    uint16_t *keys = malloc(2 * KEY_TILES * tile * sizeof *keys);
    const uint16_t *key[KEY_TILES], *value[KEY_TILES];
    for (size_t i = 0; i < 2 * KEY_TILES * tile; i++)
        keys[i] = f32_to_f16(below(40) ? uniform() * 4.0f : uniform() * 1e-6f);
    for (int t = 0; t < KEY_TILES; t++) {
        key[t] = keys + t * tile;
        value[t] = keys + (KEY_TILES + t) * tile;
    }
    float *q = numbers((size_t)m * head_dim, uniform), *got = calloc(count, sizeof *got),
          *want = calloc(count, sizeof *want);
    float scale = 1.0f / sqrtf((float)head_dim), max[2], total[2];
    int begin = first / KEY_TILE, end = (last + KEY_TILE - 1) / KEY_TILE;
    k->scores(q, m, head_dim, key, begin, end, scale, NULL, got);
    scalar_kernels.scores(q, m, head_dim, key, begin, end, scale, NULL, want);
    assert_same_floats("scores", k, got, want, count);
    for (int i = 0; i < m; i++) {
        if (i % 4 == 3) /* a peak, so that most exponentials vanish */
            got[i * KEY_CHUNK + first] = want[i * KEY_CHUNK + first] = 90.0f;
        k->softmax(got + (size_t)i * KEY_CHUNK, first, last, &max[0], &total[0]);
        scalar_kernels.softmax(want + (size_t)i * KEY_CHUNK, first, last, &max[1], &total[1]);
        assert_same_floats("softmax maximum", k, &max[0], &max[1], 1);
        assert_same_floats("softmax sum", k, &total[0], &total[1], 1);
        assert_same_floats("softmax", k, got + (size_t)i * KEY_CHUNK + begin * KEY_TILE,
                           want + (size_t)i * KEY_CHUNK + begin * KEY_TILE, (size_t)(end - begin) * KEY_TILE);
    }
    float *out = calloc((size_t)2 * m * head_dim, sizeof *out);
    k->values(got, m, value, first, last, head_dim, NULL, out);
    scalar_kernels.values(want, m, value, first, last, head_dim, NULL, out + (size_t)m * head_dim);
    assert_same_floats("values", k, out, out + (size_t)m * head_dim, (size_t)m * head_dim);
    free(keys), free(q), free(got), free(want), free(out);
}

static void attention_over_a_chunk_has_the_same_bits(void **state)
{
    (void)state;
    EACH_ISA(k)
    {
        for (int m = 1; m <= 19; m++)
            check_attention(k, m, 16 * (1 + m % 6), below(100), 101 + below(156));
        check_attention(k, 8, 64, 0, 256);
        check_attention(k, 32, 64, 255, 256);
        check_attention(k, 8, 64, 0, 1);
        check_attention(k, 8, 256, 127, 129);
        check_attention(k, 3, 64, 16, 32);
    }
}

static void a_cap_picks_a_table_that_is_not_above_it(void **state)
{
    (void)state;
    const struct kernels *k;
    goss_error error;
    assert_int_equal(kernels_pick(&k, NULL, &error), GOSS_OK);
    assert_ptr_equal(k, kernels_at(0));
    assert_int_equal(kernels_pick(&k, "scalar", &error), GOSS_OK);
    assert_ptr_equal(k, &scalar_kernels);
    EACH_ISA(each)
    {
        assert_int_equal(kernels_pick(&k, each->name, &error), GOSS_OK);
        assert_ptr_equal(k, each);
    }
    assert_int_equal(kernels_pick(&k, "mmx", &error), GOSS_E_ARGUMENT);
    assert_null(k);
}

static const char *expected_best;

static void the_best_table_is_the_one_that_this_processor_should_have(void **state)
{
    (void)state;
    if (!expected_best)
        skip();
    assert_string_equal(kernels_at(0)->name, expected_best);
}

/* test_kernels [BEST]: the name of the table that must be the first one here. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_best_table_is_the_one_that_this_processor_should_have),
        cmocka_unit_test(activations_quantise_to_the_same_bits),
        cmocka_unit_test(the_quantised_block_is_the_nearest_one),
        cmocka_unit_test(products_have_the_same_bits_for_every_type_and_shape),
        cmocka_unit_test(an_mxfp4_product_has_the_value_of_its_definition),
        cmocka_unit_test(norms_rotations_and_conversions_have_the_same_bits),
        cmocka_unit_test(activation_functions_and_sums_of_experts_have_the_same_bits),
        cmocka_unit_test(attention_over_a_chunk_has_the_same_bits),
        cmocka_unit_test(a_cap_picks_a_table_that_is_not_above_it),
    };
    expected_best = argc > 1 ? argv[1] : NULL;
    return cmocka_run_group_tests_name("cpu.kernels", tests, NULL, NULL);
}
