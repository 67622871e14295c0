/* The logits of a toy checkpoint are those of Hugging Face transformers in float32, up to the rounding that
 * docs/arithmetic.md chooses. With every matrix in bf16 that is the f16 of the KV cache alone, and with any mechanism
 * of the model wrong the same measure passes its bound many times over.
 *
 * vectors/closeness.f32 holds transformers' logits and is made by tests/oracle/make_closeness.py, for which this
 * program, called with the name of a folder, writes the checkpoint and the prompt. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/random.h"
#include "model/model.h"
#include "support/steps.h"
#include "support/test.h"
#include "support/toy_checkpoint.h"

enum {
    N_VOCAB = 64,
    N_LAYER = 4,
    LENGTH = 5120,     /* tokens of the prompt */
    NEAR = 400,        /* rows from the beginning that are compared .. */
    FAR = 48,          /* .. and rows at the end */
    ROWS = NEAR + FAR, /* rows of vectors/closeness.f32 */
    CHUNK = 256,       /* rows a step */
    PAGES = LENGTH / KV_PAGE,
};

/* Median KL(transformers || gossamer), in nats, of the rows near the beginning and of those far from it. The median,
 * because a random router has near ties: where rounding flips a choice of experts a row moves far. */
struct distance {
    double near, far;
};

/* The same weights in three forms, and how far each may be. */
enum { ALL_BF16, EXPERTS_MXFP4, DENSE_Q8, FORMS };
static const double bound[FORMS] = {1e-5, 0.007, 0.04};
static const double broken = 100.0; /* a wrong model is at least so many times further off than the bound */

static float reference[ROWS][N_VOCAB];
static char *folder[2]; /* experts in bf16, in MXFP4 */
static struct model *models[FORMS];

static struct toy closeness_toy(void)
{
    struct toy toy = toy_default();
    toy.n_layer = N_LAYER;
    toy.n_head = 4;
    toy.n_kv_head = 2;
    toy.head_dim = 64;
    toy.n_vocab = N_VOCAB;
    toy.window = 16;
    toy.tokenizer = false;
    toy.swiglu_limit = 1.5f; /* so that it binds often */
    return toy;
}

static void prompt_tokens(int32_t token[LENGTH])
{
    uint32_t word[4];
    for (int i = 0; i < LENGTH; i++) {
        random_words(1, (uint64_t)i, 0, word);
        token[i] = (int32_t)(word[0] % N_VOCAB);
    }
}

static double log_sum_exp(const float *x)
{
    double max = -INFINITY, sum = 0;
    for (int i = 0; i < N_VOCAB; i++)
        max = fmax(max, (double)x[i]);
    for (int i = 0; i < N_VOCAB; i++)
        sum += exp((double)x[i] - max);
    return max + log(sum);
}

static double divergence(const float *want, const float *got)
{
    double a = log_sum_exp(want), b = log_sum_exp(got), kl = 0;
    for (int i = 0; i < N_VOCAB; i++)
        kl += exp((double)want[i] - a) * ((double)want[i] - a - ((double)got[i] - b));
    return kl;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, compare_doubles);
    return x[n / 2];
}

/* Runs the first n tokens; far is measured only for all of them. */
static struct distance measure(const struct model *model, int n)
{
    static int32_t token[LENGTH];
    struct distance distance;
    double near[NEAR], far[FAR] = {0};
    struct steps steps;
    struct steps_sequence sequence = {.token = token, .n = n};
    prompt_tokens(token);
    sequence.logits = calloc((size_t)n * N_VOCAB, sizeof *sequence.logits);
    steps_pages(&sequence, 0);
    steps_open(&steps, model, NULL, 2, CHUNK, PAGES, 1);
    steps_run(&steps, &sequence, 0, CHUNK);
    steps_close(&steps);
    for (int i = 0; i < NEAR; i++)
        near[i] = divergence(reference[i], sequence.logits + (size_t)i * N_VOCAB);
    for (int i = 0; i < FAR && n == LENGTH; i++)
        far[i] = divergence(reference[NEAR + i], sequence.logits + (size_t)(LENGTH - FAR + i) * N_VOCAB);
    distance = (struct distance){median(near, NEAR), median(far, FAR)};
    free(sequence.logits);
    return distance;
}

static void assert_close(int form)
{
    struct distance d = measure(models[form], LENGTH);
    print_message("median KL %.2e near, %.2e far, bound %.2e\n", d.near, d.far, bound[form]);
    if (!(d.near < bound[form]) || !(d.far < bound[form]))
        fail_msg("median KL %.2e near and %.2e far are not below %.2e", d.near, d.far, bound[form]);
}

static void assert_broken(double got)
{
    print_message("median KL %.2e, bound %.2e\n", got, bound[ALL_BF16]);
    if (!(got > broken * bound[ALL_BF16]))
        fail_msg("median KL %.2e is too near to the bound %.2e", got, bound[ALL_BF16]);
}

static void matrices_in_bf16_give_the_logits_of_transformers(void **state)
{
    (void)state;
    assert_close(ALL_BF16);
}

static void experts_in_mxfp4_are_close_to_transformers(void **state)
{
    (void)state;
    assert_close(EXPERTS_MXFP4);
}

static void dense_matrices_in_q8_are_close_to_transformers(void **state)
{
    (void)state;
    assert_close(DENSE_Q8);
}

static void rounded_yarn_limits_would_be_noticed(void **state)
{
    (void)state;
    struct model wrong = *models[ALL_BF16];
    wrong.config.yarn_truncate = true;
    assert_broken(measure(&wrong, LENGTH).far);
}

static void missing_yarn_would_be_noticed(void **state)
{
    (void)state;
    struct model wrong = *models[ALL_BF16];
    wrong.config.yarn = false;
    assert_broken(measure(&wrong, NEAR).near);
}

static void a_window_off_by_one_would_be_noticed(void **state)
{
    (void)state;
    for (int change = -1; change <= 1; change += 2) {
        struct model wrong = *models[ALL_BF16];
        wrong.config.window += change;
        assert_broken(measure(&wrong, NEAR).near);
    }
}

static void sliding_the_wrong_layers_would_be_noticed(void **state)
{
    (void)state;
    struct model wrong = *models[ALL_BF16];
    for (int l = 0; l < N_LAYER; l++)
        wrong.config.sliding[l] = !wrong.config.sliding[l];
    assert_broken(measure(&wrong, NEAR).near);
}

static void missing_sinks_would_be_noticed(void **state)
{
    (void)state;
    float none[16];
    struct layer layers[N_LAYER];
    struct model wrong = *models[ALL_BF16];
    for (int i = 0; i < 16; i++)
        none[i] = -FLT_MAX;
    memcpy(layers, wrong.layers, sizeof layers);
    for (int l = 0; l < N_LAYER; l++)
        layers[l].sinks = none;
    wrong.layers = layers;
    assert_broken(measure(&wrong, NEAR).near);
}

static void a_missing_clamp_would_be_noticed(void **state)
{
    (void)state;
    struct model wrong = *models[ALL_BF16];
    wrong.config.swiglu_limit = 1000.0f;
    assert_broken(measure(&wrong, NEAR).near);
}

static void a_missing_expert_would_be_noticed(void **state)
{
    (void)state;
    struct model wrong = *models[ALL_BF16];
    wrong.config.n_active--;
    assert_broken(measure(&wrong, NEAR).near);
}

static void read_reference(const char *checkpoint_file)
{
    goss_error error;
    uint8_t *data = NULL, digest[SHA256_BYTES];
    char text[SHA256_TEXT];
    size_t size;
    if (file_read(TEST_DATA "/model/vectors/closeness.f32", sizeof reference, &data, &size, &error))
        fail_msg("%s", error.text);
    assert_int_equal(size, sizeof reference);
    memcpy(reference, data, sizeof reference);
    free(data);
    if (file_read(checkpoint_file, 1 << 26, &data, &size, &error))
        fail_msg("%s", error.text);
    assert_int_equal(sha256_of(data, size, digest, &error), GOSS_OK);
    free(data);
    sha256_text(digest, text);
    if (file_read(TEST_DATA "/model/vectors/closeness.sha256", SHA256_TEXT, &data, &size, &error))
        fail_msg("%s", error.text);
    if (size < SHA256_TEXT - 1 || memcmp(data, text, SHA256_TEXT - 1) != 0)
        fail_msg("the toy checkpoint has changed: run tests/oracle/make_closeness.py");
    free(data);
}

static int open_models(void **state)
{
    (void)state;
    goss_error error;
    struct toy toy = closeness_toy();
    char path[4096];
    for (int i = 0; i < 2; i++) {
        folder[i] = toy_folder();
        toy_write(&toy, i ? TOY_HF : TOY_HF_BF16, folder[i]);
    }
    (void)snprintf(path, sizeof path, "%s/model.safetensors", folder[1]);
    read_reference(path);
    (void)snprintf(path, sizeof path, "%s/cache", folder[0]);
    for (int i = 0; i < FORMS; i++) {
        struct model_options options = {.cache = path,
                                        .pack = {.dense = i == DENSE_Q8 ? PACK_Q8 : PACK_BF16, .threads = 1}};
        if (model_open(&models[i], folder[i != ALL_BF16], &options, &error))
            fail_msg("%s", error.text);
    }
    return 0;
}

static int close_models(void **state)
{
    (void)state;
    for (int i = 0; i < FORMS; i++)
        model_close(models[i]);
    toy_remove(folder[0]);
    toy_remove(folder[1]);
    return 0;
}

/* What make_closeness.py needs: the checkpoint, the prompt, and which rows to keep. */
static int write_checkpoint(const char *path)
{
    static int32_t token[LENGTH];
    struct toy toy = closeness_toy();
    toy_write(&toy, TOY_HF, path);
    prompt_tokens(token);
    (void)printf("{\"first\":%d,\"last\":%d,\"ids\":[", NEAR, FAR);
    for (int i = 0; i < LENGTH; i++)
        (void)printf("%s%d", i ? "," : "", token[i]);
    (void)printf("]}\n");
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2)
        return write_checkpoint(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matrices_in_bf16_give_the_logits_of_transformers),
        cmocka_unit_test(experts_in_mxfp4_are_close_to_transformers),
        cmocka_unit_test(dense_matrices_in_q8_are_close_to_transformers),
        cmocka_unit_test(rounded_yarn_limits_would_be_noticed),
        cmocka_unit_test(missing_yarn_would_be_noticed),
        cmocka_unit_test(a_window_off_by_one_would_be_noticed),
        cmocka_unit_test(sliding_the_wrong_layers_would_be_noticed),
        cmocka_unit_test(missing_sinks_would_be_noticed),
        cmocka_unit_test(a_missing_clamp_would_be_noticed),
        cmocka_unit_test(a_missing_expert_would_be_noticed),
    };
    return cmocka_run_group_tests(tests, open_models, close_models);
}
