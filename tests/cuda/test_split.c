/* A GPU that is too small for all experts: those of some layers are computed by the CPU backend, and no bit differs. */
#include <string.h>

#include "base/random.h"
#include "cuda/emulated/bridge.h"
#include "cuda/emulated/control.h"
#include "cuda/library.h"
#include "model/synthetic.h"
#include "support/steps.h"
#include "support/test.h"

enum { LENGTH = 40, PAGES = 3, SEQUENCES = 3 };

static int32_t tokens[LENGTH];

static struct backend_options options_of(uint64_t gpu_bytes)
{
    return (struct backend_options){.threads = 2,
                                    .max_rows = LENGTH,
                                    .max_outputs = LENGTH,
                                    .max_sequences = SEQUENCES,
                                    .pages = PAGES,
                                    .rings = SEQUENCES,
                                    .gpu_bytes = gpu_bytes,
                                    .host = &cpu_backend};
}

static goss_status try_open(const struct model *model, const struct backend_options *options, goss_error *error)
{
    struct backend *backend;
    goss_status status = gossamer_cuda.table->open(&backend, model, options, error);
    gossamer_cuda.table->close(backend);
    return status;
}

/* The least memory in which the model can be opened: nothing of it is left for experts. */
static uint64_t least_memory(const struct model *model)
{
    uint64_t too_little = 1, enough = 1 << 26;
    while (enough - too_little > 1) {
        uint64_t middle = (enough + too_little) / 2;
        struct backend_options options = options_of(middle);
        goss_error error;
        if (try_open(model, &options, &error))
            too_little = middle;
        else
            enough = middle;
    }
    return enough;
}

/* What the experts of so many layers need beside that. */
static uint64_t expert_memory(const struct model *model, int layers)
{
    return gossamer_cuda.weights_bytes(model, layers) - gossamer_cuda.weights_bytes(model, 0);
}

/* With the experts of so many layers on the GPU. */
static void open_split(struct steps *steps, const struct model *model, uint64_t least, int layers)
{
    struct backend_options options = options_of(least + expert_memory(model, layers));
    steps_open_on(steps, gossamer_cuda.table, model, &options);
    assert_int_equal(steps->table->expert_layers(steps->backend), layers);
}

static struct steps_sequence *run_cpu(const struct model *model, int n)
{
    struct steps steps;
    struct steps_sequence *s = steps_sequence_open(model, tokens, n, 0, 0);
    steps_open(&steps, model, NULL, 1, n, 1, 1);
    steps_run(&steps, s, 0, n);
    steps_close(&steps);
    return s;
}

/* One sequence after the other in a backend, in steps of few and of many rows. */
static void assert_split_same(const struct model *model, const struct steps_sequence *want, uint64_t least, int layers)
{
    struct steps steps;
    open_split(&steps, model, least, layers);
    bridge_guard(steps.backend);
    for (const int *chunk = (const int[]){1, 7, LENGTH, 0}; *chunk; chunk++) {
        struct steps_sequence *s = steps_sequence_open(model, tokens, want->n, 0, 0);
        emulated_order(*chunk == 7);
        steps_run(&steps, s, 0, *chunk);
        steps_assert_same(model, want, s);
        steps_sequence_close(s);
    }
    emulated_order(false);
    emulated_guard(NULL, 0);
    steps_close(&steps);
}

static void assert_shape_same(const struct synthetic_shape *shape, int n)
{
    struct model *model = synthetic_open(shape);
    struct steps_sequence *want = run_cpu(model, n);
    uint64_t least = least_memory(model);
    for (int layers = 0; layers < shape->n_layer; layers++)
        assert_split_same(model, want, least, layers);
    steps_sequence_close(want);
    synthetic_close(model);
}

static void any_number_of_layers_on_the_cpu_gives_its_logits(void **state)
{
    (void)state;
    struct synthetic_shape shape = synthetic_small();
    assert_shape_same(&shape, LENGTH);
}

static void q8_and_bf16_experts_on_the_cpu_give_its_logits(void **state)
{
    (void)state;
    struct synthetic_shape shape = synthetic_small();
    shape.n_layer = 2;
    shape.experts = DTYPE_TILE_Q8;
    assert_shape_same(&shape, 20);
    shape.last_experts = DTYPE_TILE_BF16;
    assert_shape_same(&shape, 20);
    shape.dense = DTYPE_TILE_BF16;
    assert_shape_same(&shape, 20);
}

static void several_sequences_share_the_steps_that_the_cpu_takes_part_in(void **state)
{
    (void)state;
    struct synthetic_shape shape = synthetic_small();
    struct model *model = synthetic_open(&shape);
    const int length[SEQUENCES] = {23, 9, 4}, take[SEQUENCES] = {10, 1, 2}, ring[SEQUENCES] = {1, 2, 0};
    struct steps_sequence *alone[SEQUENCES], *mates[SEQUENCES];
    struct steps steps;
    for (int i = 0; i < SEQUENCES; i++) {
        alone[i] = run_cpu(model, length[i]);
        mates[i] = steps_sequence_open(model, tokens, length[i], 0, i);
    }
    open_split(&steps, model, least_memory(model), 1);
    for (int i = 0; i < 9; i++)
        steps_step(&steps, mates, ring, take, SEQUENCES);
    steps_close(&steps);
    for (int i = 0; i < SEQUENCES; i++) {
        steps_assert_same(model, alone[i], mates[i]);
        steps_sequence_close(alone[i]);
        steps_sequence_close(mates[i]);
    }
    synthetic_close(model);
}

static void as_many_layers_as_fit_are_on_the_gpu(void **state)
{
    (void)state;
    struct synthetic_shape shape = synthetic_small();
    struct model *model = synthetic_open(&shape);
    uint64_t least = least_memory(model);
    for (int layers = 0; layers <= shape.n_layer; layers++)
        for (int less = 0; less < 2 && layers >= less; less++) {
            struct backend_options options = options_of(least + expert_memory(model, layers) - less);
            struct steps steps;
            steps_open_on(&steps, gossamer_cuda.table, model, &options);
            assert_int_equal(steps.table->expert_layers(steps.backend), layers - less);
            bool named = strstr(steps.table->isa(steps.backend), "; experts of ");
            assert_int_equal(named, layers - less < shape.n_layer);
            steps_close(&steps);
        }
    synthetic_close(model);
}

static void too_little_memory_is_refused_with_what_is_needed_and_what_is_free(void **state)
{
    (void)state;
    struct synthetic_shape shape = synthetic_small();
    struct model *model = synthetic_open(&shape);
    uint64_t least = least_memory(model);
    struct backend_options options = options_of(least - 1);
    goss_error error;
    assert_int_equal(try_open(model, &options, &error), GOSS_E_MEMORY);
    assert_non_null(strstr(error.text, "(weights without experts 1, keys and values 1, "));
    assert_non_null(strstr(error.text, "8192 of the GPU's 8192 MiB are free, the limit is "));
    options = options_of(least + expert_memory(model, shape.n_layer) - 1);
    options.host = NULL;
    assert_int_equal(try_open(model, &options, &error), GOSS_E_MEMORY);
    assert_non_null(strstr(error.text, "(weights 1, "));
    synthetic_close(model);
}

static void the_experts_make_room_for_keys_and_values_only_where_they_do_not_fit(void **state)
{
    (void)state;
    struct synthetic_shape shape = synthetic_small();
    struct model *model = synthetic_open(&shape);
    const struct backend_table *table = gossamer_cuda.table;
    uint64_t all = gossamer_cuda.weights_bytes(model, shape.n_layer), rest = gossamer_cuda.weights_bytes(model, 0);
    assert_true(rest < all);
    assert_int_equal(table->memory(model, all + 1000), 1000);
    assert_int_equal(table->memory(model, all - 1), all - 1 - rest);
    assert_int_equal(table->memory(model, rest - 1), 0);
    synthetic_close(model);
}

int main(void)
{
    for (int i = 0; i < LENGTH; i++) {
        uint32_t word[4];
        random_words(6, (uint64_t)i, 0, word);
        tokens[i] = (int32_t)(word[0] % 90);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_of_layers_on_the_cpu_gives_its_logits),
        cmocka_unit_test(q8_and_bf16_experts_on_the_cpu_give_its_logits),
        cmocka_unit_test(several_sequences_share_the_steps_that_the_cpu_takes_part_in),
        cmocka_unit_test(as_many_layers_as_fit_are_on_the_gpu),
        cmocka_unit_test(too_little_memory_is_refused_with_what_is_needed_and_what_is_free),
        cmocka_unit_test(the_experts_make_room_for_keys_and_values_only_where_they_do_not_fit),
    };
    return cmocka_run_group_tests_name("cuda.split", tests, NULL, NULL);
}
