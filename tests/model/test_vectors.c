/* Published numbers: the mathematics of gpt-oss (vectors/model_math.json) and a tiny checkpoint with the logits, hidden
 * states and expert choices of OpenAI's reference code in float32 (vectors/tiny_model.json). */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fmath.h"
#include "cpu/state.h"
#include "model/model.h"
#include "model/rope.h"
#include "support/steps.h"
#include "support/test.h"
#include "support/toy_checkpoint.h"
#include "weights/tile.h"

static json_t *load(const char *name)
{
    json_error_t error;
    char path[512];
    snprintf(path, sizeof path, "%s/model/vectors/%s", TEST_DATA, name);
    json_t *json = json_load_file(path, 0, &error);
    if (!json)
        fail_msg("%s: %s", path, error.text);
    return json;
}

static double number_at(const json_t *array, size_t i)
{
    assert_true(json_is_array(array) && i < json_array_size(array));
    return json_number_value(json_array_get(array, i));
}

static struct model_config published_config(void)
{
    return (struct model_config){.head_dim = 64,
                                 .yarn = true,
                                 .rope_theta = 150000.0,
                                 .yarn_factor = 32.0,
                                 .yarn_beta_fast = 32.0,
                                 .yarn_beta_slow = 1.0,
                                 .yarn_context = 4096};
}

static void rope_frequencies_are_those_of_yarn_with_limits_not_rounded(void **state)
{
    (void)state;
    json_t *json = load("model_math.json"), *yarn = json_object_get(json, "yarn");
    struct model_config config = published_config();
    struct rope rope;
    rope_init(&rope, &config);
    for (size_t i = 0; i < 32; i++) {
        double exact = number_at(json_object_get(yarn, "inv_freq_f64"), i);
        double reference = number_at(json_object_get(yarn, "inv_freq_f32_reference"), i);
        assert_true((float)exact == rope.inv[i]); /* the nearest float */
        assert_true(fabs((double)rope.inv[i] - reference) <= 3 * 0x1p-24 * reference);
    }
    config.yarn_truncate = true;
    rope_init(&rope, &config);
    for (size_t i = 0; i < 32; i++)
        assert_true((float)number_at(json_object_get(yarn, "inv_freq_if_wrongly_truncated_f64"), i) == rope.inv[i]);
    config.yarn = false;
    rope_init(&rope, &config);
    assert_true(rope.concentration == 1.0f && rope.inv[0] == 1.0f);
    assert_true(fabs((double)rope.inv[16] - pow(150000.0, -0.5)) < 1e-9);
    json_decref(json);
}

/* The angle is a float product of the position, so its own rounding grows with it: half an ulp of the angle, and what
 * the inverse frequency lacks. */
static void rope_tables_are_the_reference_s_at_all_positions(void **state)
{
    (void)state;
    json_t *json = load("model_math.json"), *tables = json_object_get(json, "yarn"), *table;
    tables = json_object_get(tables, "cos_sin_times_concentration");
    struct model_config config = published_config();
    struct rope rope;
    const char *key;
    rope_init(&rope, &config);
    json_object_foreach(tables, key, table)
    {
        int position = atoi(key);
        float cosine[32], sine[32];
        rope_table(&rope, position, cosine, sine);
        for (size_t i = 0; i < 32; i++) {
            double angle = position * (double)rope.inv[i], bound = 1.35 * (3 * 0x1p-24 * angle + 0x1p-23);
            assert_true(fabs((double)cosine[i] - number_at(json_object_get(table, "cos_f64"), i)) <= bound);
            assert_true(fabs((double)sine[i] - number_at(json_object_get(table, "sin_f64"), i)) <= bound);
            bound *= 2; /* the reference is as far off on its side */
            assert_true(fabs((double)cosine[i] - number_at(json_object_get(table, "cos_f32"), i)) <= bound);
            assert_true(fabs((double)sine[i] - number_at(json_object_get(table, "sin_f32"), i)) <= bound);
        }
    }
    json_decref(json);
}

static void swiglu_has_the_published_values(void **state)
{
    (void)state;
    json_t *json = load("model_math.json"), *rows = json_object_get(json_object_get(json, "swiglu"), "rows"), *row;
    size_t i;
    json_array_foreach(rows, i, row)
    {
        float sum[2 * LANES], bias[2 * LANES] = {0}, y[LANES];
        for (int k = 0; k < LANES; k++) {
            sum[k] = (float)number_at(row, 0);
            sum[LANES + k] = (float)number_at(row, 1);
        }
        scalar_kernels.swiglu(sum, bias, 1, 7.0f, y);
        double want = number_at(row, 2);
        /* exp's argument 1.702 g is rounded to a float: relative 1.702 |g| ulps */
        assert_true(fabs((double)y[0] - want) <= (8 + 2 * fabs(number_at(row, 0))) * 0x1p-24 * fabs(want) + 1e-30);
    }
    json_decref(json);
}

static void the_softmax_with_a_sink_has_the_published_weights(void **state)
{
    (void)state;
    json_t *json = load("model_math.json"), *cases = json_object_get(json, "sink_softmax"), *one;
    size_t index;
    json_array_foreach(cases, index, one)
    {
        json_t *logits = json_object_get(one, "logits"), *weights = json_object_get(one, "weights");
        size_t n = json_array_size(logits);
        float score[KEY_CHUNK], max, total, sink = (float)json_number_value(json_object_get(one, "sink"));
        for (size_t i = 0; i < n; i++)
            score[i] = (float)number_at(logits, i);
        scalar_kernels.softmax(score, 0, (int)n, &max, &total);
        double m = fmax((double)max, (double)sink);
        double sum = exp((double)sink - m) + (double)total * exp((double)max - m);
        for (size_t i = 0; i < n; i++)
            assert_true(fabs((double)score[i] * exp((double)max - m) / sum - number_at(weights, i)) < 1e-7);
    }
    json_decref(json);
}

/* Decodes the checkpoint, writes it as an original/ folder and opens it. */
static struct model *open_tiny(json_t *json, enum pack_type dense, char *folder)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *text = json_string_value(json_object_get(json, "file_base64"));
    char path[512];
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    uint32_t bits = 0;
    int held = 0;
    for (; *text && *text != '='; text++) {
        bits = bits << 6 | (uint32_t)(strchr(digits, *text) - digits);
        held += 6;
        if (held >= 8) {
            held -= 8;
            assert_true(fputc((int)(bits >> held & 0xFFu), file) != EOF);
        }
    }
    assert_int_equal(fclose(file), 0);
    snprintf(path, sizeof path, "%s/config.json", folder);
    assert_int_equal(json_dump_file(json_object_get(json, "config"), path, 0), 0);
    struct model *model;
    struct model_options options = {.cache = folder, .pack = {.dense = dense}};
    goss_error error;
    if (model_open(&model, folder, &options, &error))
        fail_msg("%s", error.text);
    return model;
}

static double far_apart(const float *got, const json_t *want, size_t n)
{
    double worst = 0.0;
    for (size_t i = 0; i < n; i++)
        worst = fmax(worst, fabs((double)got[i] - number_at(want, i)));
    return worst;
}

struct distances {
    double logit, typical,
        hidden;  /* greatest absolute difference: of all logits, of the median row, of hidden states */
    int choices; /* tokens and layers whose experts differ, as sets */
};

static void check_hidden(struct backend *b, const struct batch *batch, const json_t *json, int layer, const char *what,
                         struct distances *far)
{
    char name[32];
    int d = b->model->config.d_model;
    snprintf(name, sizeof name, "%s.%d", what, layer);
    far->hidden = fmax(far->hidden, far_apart(b->x + (size_t)(batch->n_row - 1) * d,
                                              json_object_get(json_object_get(json, "hidden"), name), (size_t)d));
}

static void check_choices(const struct backend *b, const json_t *json, int layer, int n, struct distances *far)
{
    const json_t *rows = json_array_get(json_array_get(json_object_get(json, "router_choice"), (size_t)layer), 1);
    for (int row = 0; row < n; row++) {
        const json_t *pair = json_array_get(rows, (size_t)row);
        const int *chosen = b->chosen + (size_t)row * 2;
        int first = (int)number_at(pair, 0), second = (int)number_at(pair, 1);
        far->choices += !((chosen[0] == first && chosen[1] == second) || (chosen[0] == second && chosen[1] == first));
    }
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void check_logits(const json_t *want, const float *logits, int n, int n_vocab, struct distances *far)
{
    double row[64];
    for (int i = 0; i < n; i++) {
        row[i] = far_apart(logits + (size_t)i * n_vocab, json_array_get(want, (size_t)i), (size_t)n_vocab);
        far->logit = fmax(far->logit, row[i]);
    }
    qsort(row, (size_t)n, sizeof *row, ascending);
    far->typical = row[n / 2];
}

struct observed {
    struct backend *backend;
    const struct batch *batch;
    const json_t *json;
    struct distances *far;
};

/* As model/forward.c does, and one worker looks at the hidden states on the way: nobody changes them before it has come
 * to the end of the next stage. */
static void run_stages(void *argument, int worker)
{
    const struct observed *o = argument;
    struct backend *b = o->backend;
    cpu_backend.embed(b, worker, o->batch);
    for (int l = 0; l < b->model->config.n_layer; l++) {
        cpu_backend.attn_in(b, worker, o->batch, l);
        cpu_backend.attend(b, worker, o->batch, l);
        cpu_backend.attn_out(b, worker, o->batch, l);
        if (worker == 0)
            check_hidden(b, o->batch, o->json, l, "after_attn", o->far);
        cpu_backend.route(b, worker, o->batch, l);
        if (worker == 0)
            check_choices(b, o->json, l, o->batch->n_row, o->far);
        cpu_backend.experts(b, worker, o->batch, l);
        if (worker == 0)
            check_hidden(b, o->batch, o->json, l, "after_block", o->far);
    }
    cpu_backend.unembed(b, worker, o->batch);
}

/* Runs all ids in one step. */
static struct distances run_tiny(json_t *json, const struct model *model)
{
    struct distances far = {0};
    struct steps steps;
    json_t *ids = json_object_get(json, "ids");
    int n = (int)json_array_size(ids), n_vocab = model->config.n_vocab;
    int32_t token[64], position[64], page = 0;
    float *logits = calloc((size_t)n * n_vocab, sizeof *logits);
    for (int i = 0; i < n; i++) {
        token[i] = (int32_t)number_at(ids, (size_t)i);
        position[i] = i;
    }
    steps_open(&steps, model, NULL, 2, n, 1, 1);
    struct backend *b = steps.backend;
    struct batch_sequence sequence = {.n_row = n, .page = &page};
    struct batch batch = {.n_row = n,
                          .token = token,
                          .position = position,
                          .n_sequence = 1,
                          .sequence = &sequence,
                          .n_output = n,
                          .output_row = position,
                          .logits = logits};
    cpu_backend.run(b, run_stages, &(struct observed){b, &batch, json, &far});
    check_logits(json_object_get(json, "logits_f32"), logits, n, n_vocab, &far);
    steps_close(&steps);
    free(logits);
    return far;
}

/* The same weights in bf16, which holds every MXFP4 value exactly. The caller frees quants. */
static struct matrix expanded(const struct matrix *m)
{
    static const float e2m1[16] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, 0, -0.5f, -1, -1.5f, -2, -3, -4, -6};
    struct matrix out = *m;
    int blocks = m->cols / TILE_COLS, groups = m->rows / TILE_ROWS;
    out.type = DTYPE_TILE_BF16;
    out.stride = tile_bytes(out.type, m->rows, m->cols);
    uint16_t *plane = malloc(out.stride * m->count);
    for (int i = 0; i < m->count * groups * blocks * TILE_COLS * TILE_ROWS; i++) {
        int r = i % TILE_ROWS, k = i / TILE_ROWS % m->cols, g = i / TILE_ROWS / m->cols % groups;
        int expert = i / TILE_ROWS / m->cols / groups;
        size_t block = (size_t)g * blocks + k / TILE_COLS;
        const uint8_t *quants = m->quants + expert * m->stride + block * TILE_MXFP4_BLOCK;
        uint8_t byte = quants[k % 32 / 8 * 64 + 4 * r + k % 4];
        uint8_t scale = m->scales[expert * m->stride + block * TILE_ROWS + r];
        plane[i] = f32_to_bf16(ldexpf(e2m1[k % 8 < 4 ? byte & 15 : byte >> 4], scale - 127));
    }
    out.quants = (uint8_t *)plane;
    out.scales = NULL;
    return out;
}

static void the_tiny_model_without_rounding_has_the_logits_of_the_reference(void **state)
{
    (void)state;
    json_t *json = load("tiny_model.json");
    char *folder = toy_folder();
    struct model *model = open_tiny(json, PACK_BF16, folder), plain = *model;
    struct layer layers[2];
    for (int l = 0; l < 2; l++) {
        layers[l] = model->layers[l];
        layers[l].gate_up = expanded(&model->layers[l].gate_up);
        layers[l].down = expanded(&model->layers[l].down);
    }
    plain.layers = layers;
    /* What is left is the cache in f16, and the order of sums. */
    struct distances far = run_tiny(json, &plain);
    assert_true(far.logit < 0.006 && far.typical < 0.0015); /* logits reach 4.4, the residual stream 39 */
    assert_true(far.hidden < 0.02);
    assert_int_equal(far.choices, 0);
    for (int l = 0; l < 2; l++) {
        free((void *)layers[l].gate_up.quants);
        free((void *)layers[l].down.quants);
    }
    model_close(model);
    toy_remove(folder);
    json_decref(json);
}

static void the_tiny_model_with_quantised_activations_is_near_the_reference(void **state)
{
    (void)state;
    json_t *json = load("tiny_model.json");
    for (int form = 0; form < 2; form++) {
        char *folder = toy_folder();
        struct model *model = open_tiny(json, form ? PACK_BF16 : PACK_Q8, folder);
        struct distances far = run_tiny(json, model);
        /* A choice of experts between router logits less than 0.001 apart may flip, and its row then moves far. */
        assert_true(far.typical < (form ? 0.12 : 0.18));
        assert_true(far.logit < 1.5 && far.hidden < 1.5);
        assert_in_range(far.choices, 0, 3);
        model_close(model);
        toy_remove(folder);
    }
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rope_frequencies_are_those_of_yarn_with_limits_not_rounded),
        cmocka_unit_test(rope_tables_are_the_reference_s_at_all_positions),
        cmocka_unit_test(swiglu_has_the_published_values),
        cmocka_unit_test(the_softmax_with_a_sink_has_the_published_weights),
        cmocka_unit_test(the_tiny_model_without_rounding_has_the_logits_of_the_reference),
        cmocka_unit_test(the_tiny_model_with_quantised_activations_is_near_the_reference),
    };
    return cmocka_run_group_tests_name("model.vectors", tests, NULL, NULL);
}
