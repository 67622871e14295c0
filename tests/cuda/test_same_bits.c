/* The kernels of src/cuda, run by the emulated GPU, give the logits of the CPU backend, to the bit. */
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "cuda/emulated/bridge.h"
#include "cuda/emulated/control.h"
#include "cuda/library.h"
#include "model/synthetic.h"
#include "support/steps.h"
#include "support/test.h"

enum { LENGTH = 300 };

static int32_t tokens[LENGTH];

static void open_cuda(struct steps *steps, const struct model *model, int max_rows, int pages, int rings)
{
    struct backend_options options = {
        .max_rows = max_rows, .max_outputs = max_rows, .max_sequences = rings, .pages = pages, .rings = rings};
    steps_open_on(steps, gossamer_cuda.table, model, &options);
}

/* The first n tokens on the CPU. */
static struct steps_sequence *run_cpu(const struct model *model, int n)
{
    struct steps steps;
    struct steps_sequence *s = steps_sequence_open(model, tokens, n, 0, 0);
    steps_open(&steps, model, NULL, 1, n, 4, 1);
    steps_run(&steps, s, 0, n);
    steps_close(&steps);
    return s;
}

static void assert_cuda_same(const struct model *model, const struct steps_sequence *want, int chunk, bool backward)
{
    struct steps steps;
    struct steps_sequence *s = steps_sequence_open(model, tokens, want->n, 0, 0);
    emulated_order(backward);
    open_cuda(&steps, model, chunk, 4, 1);
    bridge_guard(steps.backend);
    steps_run(&steps, s, 0, chunk);
    emulated_guard(NULL, 0);
    steps_close(&steps);
    emulated_order(false);
    steps_assert_same(model, want, s);
    steps_sequence_close(s);
}

static void assert_shape_same(const struct synthetic_shape *shape, int n)
{
    struct model *model = synthetic_open(shape);
    struct steps_sequence *want = run_cpu(model, n);
    const int chunk[] = {5, 8, 23};
    for (size_t i = 0; i < sizeof chunk / sizeof *chunk; i++)
        assert_cuda_same(model, want, chunk[i], i % 2);
    assert_cuda_same(model, want, n, false);
    steps_sequence_close(want);
    synthetic_close(model);
}

static void mxfp4_experts_and_q8_dense_give_the_cpus_logits(void **state)
{
    (void)state;
    struct synthetic_shape shape = synthetic_small();
    struct model *model = synthetic_open(&shape);
    struct steps_sequence *want = run_cpu(model, LENGTH);
    for (const int *chunk = (const int[]){8, 150, LENGTH, 0}; *chunk; chunk++)
        assert_cuda_same(model, want, *chunk, *chunk == LENGTH);
    steps_sequence_close(want);
    synthetic_close(model);
}

static void the_order_of_threads_does_not_matter(void **state)
{
    (void)state;
    struct synthetic_shape shape = synthetic_small();
    shape.n_layer = 2;
    struct model *model = synthetic_open(&shape);
    struct steps_sequence *want = run_cpu(model, 40);
    for (const int *chunk = (const int[]){1, 3, 40, 0}; *chunk; chunk++)
        for (int backward = 0; backward < 2; backward++)
            assert_cuda_same(model, want, *chunk, backward);
    steps_sequence_close(want);
    synthetic_close(model);
}

static void bf16_weights_give_the_cpus_logits(void **state)
{
    (void)state;
    struct synthetic_shape shape = synthetic_small();
    shape.dense = shape.experts = DTYPE_TILE_BF16;
    shape.n_layer = 2;
    assert_shape_same(&shape, 30);
    shape.experts = DTYPE_TILE_MXFP4;
    assert_shape_same(&shape, 40);
}

static void several_segments_of_q8_experts_give_the_cpus_logits(void **state)
{
    (void)state;
    struct synthetic_shape shape = synthetic_small();
    shape.head_dim = 64, shape.n_head = 16, shape.d_model = 576, shape.experts = DTYPE_TILE_Q8;
    shape.window = 128, shape.n_layer = 2;
    assert_shape_same(&shape, 30);
}

static void several_segments_of_mxfp4_give_the_cpus_logits(void **state)
{
    (void)state;
    struct synthetic_shape shape = synthetic_small();
    shape.d_model = 1120, shape.d_ff = 544, shape.n_layer = 1;
    assert_shape_same(&shape, 30);
}

static void heads_of_three_pairs_of_groups_give_the_cpus_logits(void **state)
{
    (void)state;
    struct synthetic_shape shape = synthetic_small();
    shape.n_layer = 2;
    shape.head_dim = 96, shape.n_head = shape.n_kv_head = 2;
    assert_shape_same(&shape, 40);
}

static void experts_of_two_types_give_the_cpus_logits(void **state)
{
    (void)state;
    struct synthetic_shape shape = synthetic_small();
    shape.n_layer = 2;
    shape.last_experts = DTYPE_TILE_BF16;
    assert_shape_same(&shape, 40);
    shape.n_expert = shape.n_active = 1;
    assert_shape_same(&shape, 20);
}

static void many_experts_with_few_rows_give_the_cpus_logits(void **state)
{
    (void)state;
    struct synthetic_shape shape = synthetic_small();
    shape.n_layer = 1, shape.n_expert = 70, shape.n_active = 4;
    assert_shape_same(&shape, 30);
}

static void open_for_mates(struct steps *steps, const struct model *model)
{
    open_cuda(steps, model, 80, 4 * STEPS_MATES, STEPS_MATES);
}

static void batch_mates_do_not_change_a_bit(void **state)
{
    (void)state;
    struct synthetic_shape shape = synthetic_small();
    struct model *model = synthetic_open(&shape);
    const int length[STEPS_MATES] = {50, 23, 40, 1};
    struct steps_sequence *alone[STEPS_MATES];
    for (int i = 0; i < STEPS_MATES; i++)
        alone[i] = run_cpu(model, length[i]);
    steps_assert_mates_same(model, alone, open_for_mates);
    for (int i = 0; i < STEPS_MATES; i++)
        steps_sequence_close(alone[i]);
    synthetic_close(model);
}

/* A sequence begins on one backend and goes on, in a copy, on another. */
static void continue_elsewhere(const struct model *model, const struct steps_sequence *want, int cut, bool from_cuda)
{
    struct steps from, to;
    struct steps_sequence *first = steps_sequence_open(model, tokens, want->n, 0, 0),
                          *second = steps_sequence_open(model, tokens, want->n, 0, 4);
    void *snapshot = malloc(cpu_backend.snapshot_bytes(&model->config));
    int ring = 0, take = cut, late = 7;
    if (from_cuda)
        open_cuda(&from, model, LENGTH, 8, 2);
    else
        steps_open(&from, model, NULL, 1, LENGTH, 8, 2);
    steps_step(&from, &first, &ring, &take, 1);
    steps_step(&from, &first, &ring, &late, 1);
    from.table->save_ring(from.backend, 0, cut, snapshot);
    open_cuda(&to, model, LENGTH, 8, 2);
    take = cut;
    second->done = 0;
    steps_pages(second, 0);
    ring = 0;
    steps_step(&to, &second, &ring, &take, 1); /* the pages of full layers, which no snapshot holds */
    to.table->copy_page(to.backend, 0, 4);
    to.table->copy_page(to.backend, 1, 5);
    steps_pages(second, 4);
    to.table->load_ring(to.backend, 1, cut, snapshot);
    steps_run(&to, second, 1, 29);
    steps_assert_same(model, want, second);
    free(snapshot);
    steps_close(&from);
    steps_close(&to);
    steps_sequence_close(first);
    steps_sequence_close(second);
}

static void snapshots_of_either_backend_continue_with_the_same_bits(void **state)
{
    (void)state;
    struct synthetic_shape shape = synthetic_small();
    shape.n_layer = 2;
    struct model *model = synthetic_open(&shape);
    struct steps_sequence *want = run_cpu(model, LENGTH);
    for (const int *cut = (const int[]){1, 64, 280, 0}; *cut; cut++) {
        continue_elsewhere(model, want, *cut, true);
        continue_elsewhere(model, want, *cut, false);
    }
    steps_sequence_close(want);
    synthetic_close(model);
}

static void what_does_not_fit_is_refused_with_the_sizes(void **state)
{
    (void)state;
    struct synthetic_shape shape = synthetic_small();
    struct model *model = synthetic_open(&shape);
    struct backend_options options = {
        .max_rows = 1, .max_outputs = 1, .max_sequences = 1, .pages = 1 << 20, .rings = 1};
    struct backend *backend;
    goss_error error;
    assert_int_equal(gossamer_cuda.table->open(&backend, model, &options, &error), GOSS_E_MEMORY);
    assert_non_null(strstr(error.text, "keys and values"));
    assert_null(backend);
    options.pages = 1;
    options.max_rows = 0;
    assert_int_equal(gossamer_cuda.table->open(&backend, model, &options, &error), GOSS_E_ARGUMENT);
    assert_non_null(strstr(error.text, "max_rows"));
    synthetic_close(model);
}

int main(void)
{
    for (int i = 0; i < LENGTH; i++) {
        uint32_t word[4];
        random_words(5, (uint64_t)i, 0, word);
        tokens[i] = (int32_t)(word[0] % 90);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mxfp4_experts_and_q8_dense_give_the_cpus_logits),
        cmocka_unit_test(the_order_of_threads_does_not_matter),
        cmocka_unit_test(bf16_weights_give_the_cpus_logits),
        cmocka_unit_test(several_segments_of_q8_experts_give_the_cpus_logits),
        cmocka_unit_test(several_segments_of_mxfp4_give_the_cpus_logits),
        cmocka_unit_test(heads_of_three_pairs_of_groups_give_the_cpus_logits),
        cmocka_unit_test(experts_of_two_types_give_the_cpus_logits),
        cmocka_unit_test(many_experts_with_few_rows_give_the_cpus_logits),
        cmocka_unit_test(batch_mates_do_not_change_a_bit),
        cmocka_unit_test(snapshots_of_either_backend_continue_with_the_same_bits),
        cmocka_unit_test(what_does_not_fit_is_refused_with_the_sizes),
    };
    return cmocka_run_group_tests_name("cuda.same_bits", tests, NULL, NULL);
}
