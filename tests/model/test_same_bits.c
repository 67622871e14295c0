/* The same prompt gives the same logits, to the bit, whatever else happens. */
#include <stdlib.h>
#include <string.h>

#include "base/fmath.h"
#include "base/random.h"
#include "cpu/kernels.h"
#include "cpu/state.h"
#include "model/synthetic.h"
#include "support/steps.h"
#include "support/test.h"

enum { LENGTH = 300, FAR_LENGTH = 24 };

static int32_t tokens[LENGTH];

/* Runs the first n tokens from `position` on and returns the logits. `prepare` may fill the cache before. */
static struct steps_sequence *run(const struct model *model, const char *isa, int threads, int chunk, int n,
                                  int position, void (*prepare)(struct steps *, struct steps_sequence *))
{
    struct steps steps;
    struct steps_sequence *s = steps_sequence_open(model, tokens, n, position, 0);
    steps_open(&steps, model, isa, threads, chunk, 4, 1);
    if (prepare)
        prepare(&steps, s);
    steps_run(&steps, s, 0, chunk);
    steps_close(&steps);
    return s;
}

static void assert_run_same(const struct model *model, const struct steps_sequence *want, const char *isa, int threads,
                            int chunk, void (*prepare)(struct steps *, struct steps_sequence *))
{
    struct steps_sequence *got = run(model, isa, threads, chunk, want->n, want->position, prepare);
    steps_assert_same(model, want, got);
    steps_sequence_close(got);
}

static struct model *open_default(int *n)
{
    struct synthetic_shape shape = synthetic_small();
    *n = LENGTH;
    return synthetic_open(&shape);
}

static void threads_do_not_change_a_bit(void **state)
{
    (void)state;
    int n;
    struct model *model = open_default(&n);
    struct steps_sequence *want = run(model, NULL, 1, 64, n, 0, NULL);
    for (const int *t = (const int[]){2, 3, 5, 8, 0}; *t; t++)
        assert_run_same(model, want, NULL, *t, 64, NULL);
    steps_sequence_close(want);
    synthetic_close(model);
}

static void prefill_chunks_do_not_change_a_bit(void **state)
{
    (void)state;
    int n;
    struct model *model = open_default(&n);
    struct steps_sequence *want = run(model, NULL, 2, n, n, 0, NULL);
    for (const int *chunk = (const int[]){1, 7, 16, 17, 64, 128, 0}; *chunk; chunk++)
        assert_run_same(model, want, NULL, 2, *chunk, NULL);
    steps_sequence_close(want);
    synthetic_close(model);
}

static void every_instruction_set_returns_the_bits_of_the_scalar_code(void **state)
{
    (void)state;
    enum { N = 5 };
    struct synthetic_shape shapes[N];
    for (int i = 0; i < N; i++)
        shapes[i] = synthetic_small();
    shapes[1].dense = shapes[1].experts = DTYPE_TILE_BF16;
    shapes[1].n_expert = shapes[1].n_active = 1;
    shapes[2].head_dim = 64, shapes[2].n_head = 16, shapes[2].d_model = 576, shapes[2].experts = DTYPE_TILE_Q8;
    shapes[2].window = 128, shapes[2].n_layer = 2;
    shapes[3].head_dim = 96, shapes[3].n_head = shapes[3].n_kv_head = 2, shapes[3].dense = DTYPE_TILE_BF16;
    shapes[4].last_experts = DTYPE_TILE_BF16;
    for (int i = 0; i < N; i++) {
        struct model *model = synthetic_open(&shapes[i]);
        int n = i == 2 ? 140 : LENGTH;
        struct steps_sequence *want = run(model, "scalar", 2, 40, n, 0, NULL);
        for (int k = 0; kernels_at(k); k++)
            assert_run_same(model, want, kernels_at(k)->name, 2, 37, NULL);
        steps_sequence_close(want);
        synthetic_close(model);
    }
}

static void open_for_mates(struct steps *steps, const struct model *model)
{
    steps_open(steps, model, NULL, 2, 80, 4 * STEPS_MATES, STEPS_MATES);
}

static void batch_mates_do_not_change_a_bit(void **state)
{
    (void)state;
    struct synthetic_shape shape = synthetic_small();
    struct model *model = synthetic_open(&shape);
    const int length[STEPS_MATES] = {90, 33, 70, 1};
    struct steps_sequence *alone[STEPS_MATES];
    for (int i = 0; i < STEPS_MATES; i++)
        alone[i] = run(model, NULL, 1, 16, length[i], 0, NULL);
    steps_assert_mates_same(model, alone, open_for_mates);
    for (int i = 0; i < STEPS_MATES; i++)
        steps_sequence_close(alone[i]);
    synthetic_close(model);
}

/* Random keys and values for all positions before the sequence's: the old pages share two, the pages that the sequence
 * writes are its own. */
static void fill_cache(struct steps *steps, struct steps_sequence *s)
{
    struct kv *kv = &steps->backend->kv;
    uint32_t word[4];
    for (size_t i = 0; i < 4 * kv->page + kv->ring; i++) {
        random_words(9, i, 0, word);
        uint16_t half = f32_to_f16((float)((int32_t)word[0] >> 16) * 0x1p-14f);
        *(i < 4 * kv->page ? kv->pages + i : kv->rings + i - 4 * kv->page) = half;
    }
    int own = s->position / KV_PAGE;
    for (int p = 0; p < STEPS_PAGES; p++)
        s->page[p] = p < own ? p % 2 : 2 + (p - own) % 2;
}

static void far_positions_give_the_same_bits_too(void **state)
{
    (void)state;
    struct synthetic_shape shape = synthetic_small();
    shape.n_layer = 2;
    shape.n_head = 4;
    struct model *model = synthetic_open(&shape);
    for (const int *p = (const int[]){240, 4084, 131072 - FAR_LENGTH, 0}; *p; p++) {
        struct steps_sequence *want = run(model, "scalar", 2, FAR_LENGTH, FAR_LENGTH, *p, fill_cache);
        for (int k = 0; kernels_at(k + 1); k++)
            for (const int *chunk = (const int[]){1, 5, FAR_LENGTH, 0}; *chunk; chunk++)
                assert_run_same(model, want, kernels_at(k)->name, 1 + *chunk % 3, *chunk, fill_cache);
        assert_run_same(model, want, "scalar", 3, 7, fill_cache);
        steps_sequence_close(want);
    }
    synthetic_close(model);
}

static void copied_pages_and_restored_rings_continue_with_the_same_bits(void **state)
{
    (void)state;
    struct synthetic_shape shape = synthetic_small();
    struct model *model = synthetic_open(&shape);
    for (const int *cut = (const int[]){1, 13, 19, 20, 21, 64, 256, 280, 0}; *cut; cut++) {
        struct steps steps;
        struct steps_sequence *want = run(model, NULL, 1, 64, LENGTH, 0, NULL);
        struct steps_sequence *first = steps_sequence_open(model, tokens, LENGTH, 0, 0),
                              *second = steps_sequence_open(model, tokens, LENGTH, 0, 4);
        steps_open(&steps, model, NULL, 2, 64, 8, 2);
        void *snapshot = malloc(cpu_backend.snapshot_bytes(&model->config));
        while (first->done < *cut) {
            int take = *cut - first->done < 50 ? *cut - first->done : 50, ring = 0;
            steps_step(&steps, &first, &ring, &take, 1);
        }
        if (*cut >= 64) { /* a snapshot may be taken up to `window` rows later */
            int late = shape.window - *cut % 3, ring = 0;
            steps_step(&steps, &first, &ring, &late, 1);
        }
        cpu_backend.save_ring(steps.backend, 0, *cut, snapshot);
        cpu_backend.copy_page(steps.backend, 0, 4);
        cpu_backend.copy_page(steps.backend, 1, 5);
        steps_run(&steps, first, 0, 40); /* the original goes on and must not be seen by the copy */
        cpu_backend.load_ring(steps.backend, 1, *cut, snapshot);
        memcpy(second->logits, first->logits, (size_t)*cut * model->config.n_vocab * sizeof(float));
        second->done = *cut;
        steps_run(&steps, second, 1, 29);
        steps_assert_same(model, want, first);
        steps_assert_same(model, want, second);
        free(snapshot);
        steps_close(&steps);
        steps_sequence_close(want);
        steps_sequence_close(first);
        steps_sequence_close(second);
    }
    synthetic_close(model);
}

static void what_a_sequence_cannot_see_does_not_matter(void **state)
{
    (void)state;
    struct synthetic_shape shape = synthetic_small();
    struct model *model = synthetic_open(&shape);
    struct steps_sequence *clean = run(model, NULL, 1, 32, 64, 0, NULL);
    struct steps_sequence *stale = run(model, NULL, 1, 32, 64, 0, fill_cache);
    steps_assert_same(model, clean, stale);
    steps_sequence_close(clean);
    steps_sequence_close(stale);
    synthetic_close(model);
}

/* FNV-1a over the bits. */
static uint64_t digest(const float *x, size_t n)
{
    uint64_t hash = 0xCBF29CE484222325u;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        for (int byte = 0; byte < 4; byte++)
            hash = (hash ^ (bits >> 8 * byte & 0xFFu)) * 0x100000001B3u;
    }
    return hash;
}

/* The number was computed by scalar, AVX2, AVX-512, AMX and NEON code alike. It changes with the version of
 * docs/arithmetic.md or with the model that synthetic_small describes. */
static void the_logits_have_the_bits_of_every_other_machine(void **state)
{
    (void)state;
    enum { N = 40 };
    struct synthetic_shape shape = synthetic_small();
    struct model *model = synthetic_open(&shape);
    struct steps_sequence *s = run(model, NULL, 1, N, N, 0, NULL);
    uint64_t found = digest(s->logits, (size_t)N * shape.n_vocab);
    if (found != 0x2FF08A75671C5573u)
        fail_msg("the digest is %016llx", (unsigned long long)found);
    steps_sequence_close(s);
    synthetic_close(model);
}

static void bad_options_are_refused_by_name(void **state)
{
    (void)state;
    struct synthetic_shape shape = synthetic_small();
    struct model *model = synthetic_open(&shape);
    struct backend_options good = {.max_rows = 1, .max_outputs = 1, .max_sequences = 1, .pages = 1, .rings = 1};
    struct backend_options bad = good;
    struct backend *backend;
    goss_error error;
    bad.isa = "itanium";
    assert_int_equal(cpu_backend.open(&backend, model, &bad, &error), GOSS_E_ARGUMENT);
    assert_non_null(strstr(error.text, "itanium"));
    assert_null(backend);
    bad = good;
    bad.max_rows = 0;
    assert_int_equal(cpu_backend.open(&backend, model, &bad, &error), GOSS_E_ARGUMENT);
    assert_non_null(strstr(error.text, "max_rows"));
    assert_int_equal(cpu_backend.open(&backend, model, &good, &error), GOSS_OK);
    cpu_backend.close(backend);
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
        cmocka_unit_test(threads_do_not_change_a_bit),
        cmocka_unit_test(prefill_chunks_do_not_change_a_bit),
        cmocka_unit_test(every_instruction_set_returns_the_bits_of_the_scalar_code),
        cmocka_unit_test(batch_mates_do_not_change_a_bit),
        cmocka_unit_test(far_positions_give_the_same_bits_too),
        cmocka_unit_test(copied_pages_and_restored_rings_continue_with_the_same_bits),
        cmocka_unit_test(what_a_sequence_cannot_see_does_not_matter),
        cmocka_unit_test(the_logits_have_the_bits_of_every_other_machine),
        cmocka_unit_test(bad_options_are_refused_by_name),
    };
    return cmocka_run_group_tests_name("model.same_bits", tests, NULL, NULL);
}
