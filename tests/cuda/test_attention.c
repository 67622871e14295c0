/* Attention on the emulated GPU: whatever the shapes, the positions and the batch, the bits are those of the
 * definition, and the cache holds what the CPU's would. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fmath.h"
#include "base/random.h"
#include "cpu/kernels.h"
#include "cuda/emulated/control.h"
#include "cuda/emulated/stages.h"
#include "support/test.h"

enum { SEQUENCES = 6 };

static uint64_t drawn;

static uint32_t word(void)
{
    uint32_t w[4];
    random_words(11, drawn++, 0, w);
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

/* Seldom so large that halves saturate, since one such key makes all other exponentials vanish, or infinite. */
static float peak;

/* Ordinary numbers, some that are zero or subnormal as floats or halves, and some that are large. */
static float number(void)
{
    switch (below(40)) {
    case 0: return 0.0f;
    case 1: return -0.0f;
    case 2: return uniform() * 0x1p-20f;
    case 3: return uniform() * 0x1p-130f;
    case 4: return uniform() * peak;
    default: return uniform() * 2.0f;
    }
}

static float *numbers(size_t n, float (*next)(void))
{
    float *x = malloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = next();
    return x;
}

static void assert_same(const char *what, const float *got, const float *want, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&got[i], &want[i], sizeof *got) != 0 && !(isnan(got[i]) && isnan(want[i])))
            fail_msg("%s, value %zu: %a is not %a", what, i, (double)got[i], (double)want[i]);
}

/* ---- the definition ---- */

/* The tiles of the chunk that begins at `begin`; what lies outside of keys [lo, hi) is no number. */
static void fill_tiles(uint16_t *tiles, const uint16_t *kv, size_t stride, int d, int begin, int lo, int hi,
                       const uint16_t *key[KEY_TILES], const uint16_t *value[KEY_TILES])
{
    memset(tiles, 0xFF, (size_t)2 * KEY_CHUNK * d * sizeof *tiles);
    for (int t = 0; t < KEY_TILES; t++) {
        key[t] = tiles + (size_t)t * 2 * KEY_TILE * d;
        value[t] = key[t] + (size_t)KEY_TILE * d;
    }
    for (int k = lo; k < hi; k++) {
        const uint16_t *from = kv + (size_t)(begin + k) * stride;
        uint16_t *tile = tiles + (size_t)(k / KEY_TILE) * 2 * KEY_TILE * d;
        for (int i = 0; i < d; i++) {
            tile[i * KEY_TILE + k % KEY_TILE] = from[i];
            tile[(KEY_TILE + k % KEY_TILE) * d + i] = from[d + i];
        }
    }
}

/* One query vector over positions first .. last, whose keys and values are `stride` halves apart. */
static void define_attention(const float *query, const uint16_t *kv, size_t stride, int d, int first, int last,
                             float sink, float *out)
{
    uint16_t *tiles = malloc((size_t)2 * KEY_CHUNK * d * sizeof *tiles);
    const uint16_t *key[KEY_TILES], *value[KEY_TILES];
    float *chunk = malloc((size_t)d * sizeof *chunk), score[KEY_CHUNK], max = sink, total = 1.0f;
    memset(out, 0, (size_t)d * sizeof *out);
    for (int c = first / KEY_CHUNK; c <= last / KEY_CHUNK; c++) {
        int lo = first > c * KEY_CHUNK ? first - c * KEY_CHUNK : 0;
        int hi = last < (c + 1) * KEY_CHUNK ? last + 1 - c * KEY_CHUNK : KEY_CHUNK;
        float chunk_max, chunk_total;
        fill_tiles(tiles, kv, stride, d, c * KEY_CHUNK, lo, hi, key, value);
        scalar_kernels.scores(query, 1, d, key, lo / KEY_TILE, (hi + KEY_TILE - 1) / KEY_TILE, 1.0f / sqrtf((float)d),
                              NULL, score);
        scalar_kernels.softmax(score, lo, hi, &chunk_max, &chunk_total);
        scalar_kernels.values(score, 1, value, lo, hi, d, NULL, chunk);
        float m = chunk_max > max ? chunk_max : max, keep = exp_f32(max - m), take = exp_f32(chunk_max - m);
        total = fmaf(total, keep, chunk_total * take);
        scalar_kernels.merge(out, chunk, keep, take, d);
        max = m;
    }
    scalar_kernels.divide(out, total, d, out);
    free(tiles);
    free(chunk);
}

/* All rows: queries and keys turned, keys and values rounded and kept, attention. */
static void define(const struct stages_attention *t, uint16_t *const kv[], float *query, float *attended)
{
    const struct model_config *c = t->config;
    int d = c->head_dim, heads = c->n_head + 2 * c->n_kv_head, group = c->n_head / c->n_kv_head, row = 0;
    size_t stride = (size_t)2 * d * c->n_kv_head;
    for (int i = 0; i < t->n_sequence; i++)
        for (int r = 0; r < t->sequence[i].n_row; r++, row++) {
            int position = t->sequence[i].first_position + r;
            int first = t->sliding && position >= c->window ? position - c->window + 1 : 0;
            float *turned = malloc((size_t)heads * d * sizeof *turned);
            memcpy(turned, t->qkv + (size_t)row * heads * d, (size_t)heads * d * sizeof *turned);
            for (int head = 0; head < c->n_head + c->n_kv_head; head++)
                scalar_kernels.rotate(turned + head * d, t->cosine + row * (d / 2), t->sine + row * (d / 2), d / 2);
            memcpy(query + (size_t)row * c->n_head * d, turned, (size_t)c->n_head * d * sizeof *query);
            for (int e = 0; e < 2 * c->n_kv_head * d; e++) {
                int head = e / d % c->n_kv_head, value = e / d / c->n_kv_head;
                kv[i][(size_t)position * stride + (size_t)(head * 2 + value) * d + e % d] =
                    f32_to_f16(turned[c->n_head * d + e]);
            }
            for (int head = 0; head < c->n_head; head++)
                define_attention(turned + head * d, kv[i] + (size_t)head / group * 2 * d, stride, d, first, position,
                                 t->sinks[head], attended + ((size_t)row * c->n_head + head) * d);
            free(turned);
        }
}

/* ---- one case ---- */

struct form {
    int n_head, n_kv_head, head_dim, window;
};

static const struct form forms[] = {
    {16, 2, 64, 128}, /* grouped as in gpt-oss */
    {6, 2, 32, 20},   {4, 4, 96, 1}, {9, 1, 64, 33}, {20, 2, 32, 300},
};
enum { N_FORM = sizeof forms / sizeof *forms };

static void run(const struct form *form, const int (*rows)[2], int n, bool sliding)
{
    struct model_config c = {.n_layer = 1,
                             .d_model = 32,
                             .n_head = form->n_head,
                             .n_kv_head = form->n_kv_head,
                             .head_dim = form->head_dim,
                             .window = form->window};
    struct stages_sequence sequence[SEQUENCES];
    struct stages_attention t = {.config = &c, .sliding = sliding, .sequence = sequence, .n_sequence = n};
    uint16_t *kv[SEQUENCES];
    size_t stride = (size_t)2 * c.head_dim * c.n_kv_head, n_row = 0;
    peak = (const float[]){4.0f, 4.0f, 4.0f, 4.0f, 0x1p+18f, INFINITY}[below(6)];
    for (int i = 0; i < n; i++) {
        size_t positions = (size_t)rows[i][0] + rows[i][1];
        kv[i] = malloc(positions * stride * sizeof *kv[i]);
        for (size_t e = 0; e < positions * stride; e++)
            kv[i][e] = f32_to_f16(number() * 0.25f);
        sequence[i] = (struct stages_sequence){
            .n_row = rows[i][0], .first_position = rows[i][1], .kv = kv[i], .kept = calloc(positions * stride, 2)};
        n_row += rows[i][0];
    }
    size_t heads = n_row * c.n_head * c.head_dim, half = n_row * c.head_dim / 2;
    float *qkv = numbers(heads + n_row * stride, number), *cosine = numbers(half, uniform),
          *sine = numbers(half, uniform), *sinks = numbers(c.n_head, number);
    float *query = malloc(heads * sizeof *query), *attended = malloc(heads * sizeof *attended);
    sinks[0] = -FLT_MAX;
    t.qkv = qkv, t.cosine = cosine, t.sine = sine, t.sinks = sinks;
    t.query = malloc(heads * sizeof *query), t.attended = malloc(heads * sizeof *attended);
    stages_attend(&t);
    define(&t, kv, query, attended);
    assert_same("queries", t.query, query, heads);
    assert_same("attention", t.attended, attended, heads);
    for (int i = 0; i < n; i++) {
        size_t end = ((size_t)rows[i][0] + rows[i][1]) * stride, begin = (size_t)sequence[i].oldest * stride;
        assert_memory_equal(sequence[i].kept + begin, kv[i] + begin, (end - begin) * sizeof *kv[i]);
        free(kv[i]), free(sequence[i].kept);
    }
    free(qkv), free(cosine), free(sine), free(sinks), free(query), free(attended), free(t.query), free(t.attended);
}

static void run_both(const struct form *form, const int (*rows)[2], int n)
{
    for (int sliding = 0; sliding < 2; sliding++) {
        emulated_order(drawn % 2);
        run(form, rows, n, sliding);
    }
}

static void one_row_attends_with_the_bits_of_the_definition(void **state)
{
    (void)state;
    static const int positions[] = {0, 15, 16, 127, 128, 255, 256, 300, 511, 640, 1300};
    for (int f = 0; f < N_FORM; f++)
        for (size_t p = f % 2; p < sizeof positions / sizeof *positions; p += 2)
            run_both(&forms[f], (const int[][2]){{1, positions[p]}}, 1);
}

static void a_context_of_many_chunks_is_merged_in_order(void **state)
{
    (void)state;
    static const struct form form = {2, 1, 32, 64};
    for (int backward = 0; backward < 2; backward++) {
        emulated_order(backward);
        run(&form, (const int[][2]){{1, 129 * KEY_CHUNK + 7}}, 1, false);
    }
}

static void few_rows_of_several_sequences_attend_with_the_same_bits(void **state)
{
    (void)state;
    for (int round = 0; round < N_FORM; round++) {
        int rows[SEQUENCES][2], n = 1 + below(4);
        for (int i = 0; i < n; i++) {
            rows[i][0] = 1 + below(i ? 4 : 8);
            rows[i][1] = below(round % 2 ? 1200 : 300);
        }
        run_both(&forms[round], rows, n);
    }
}

static void prompts_attend_with_the_same_bits_wherever_they_begin(void **state)
{
    (void)state;
    static const int cases[][2] = {{9, 0}, {17, 3}, {70, 200}, {280, 0}, {40, 700}, {270, 250}};
    for (int i = 0; i < 6; i++)
        for (int form = i % 2; form < N_FORM; form += 2)
            if (cases[i][0] < 100 || form % 3 == 1)
                run_both(&forms[form], &cases[i], 1);
}

static void prompts_and_single_rows_share_a_batch(void **state)
{
    (void)state;
    for (int round = 0; round < N_FORM; round++) {
        int rows[SEQUENCES][2];
        for (int i = 0; i < SEQUENCES; i++) {
            rows[i][0] = below(2) ? 1 + below(8) : 9 + below(40);
            rows[i][1] = below(600);
        }
        rows[round % SEQUENCES][0] = 50;
        run_both(&forms[round], rows, SEQUENCES);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_row_attends_with_the_bits_of_the_definition),
        cmocka_unit_test(a_context_of_many_chunks_is_merged_in_order),
        cmocka_unit_test(few_rows_of_several_sequences_attend_with_the_same_bits),
        cmocka_unit_test(prompts_attend_with_the_same_bits_wherever_they_begin),
        cmocka_unit_test(prompts_and_single_rows_share_a_batch),
    };
    return cmocka_run_group_tests_name("cuda.attention", tests, NULL, NULL);
}
