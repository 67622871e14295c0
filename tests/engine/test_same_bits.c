/* A backend that is a little wrong is found out. */
#include "engine/same_bits.h"

#include <string.h>

#include "support/test.h"

/* The CPU's, but for one bit: of the first logit of every step of so many rows and sequences. */
static struct {
    int rows, sequences;
} wrong;

static void unembed_wrong(struct backend *b, int worker, const struct batch *batch)
{
    cpu_backend.unembed(b, worker, batch);
    uint32_t bits;
    if (batch->n_row != wrong.rows || batch->n_sequence != wrong.sequences)
        return;
    memcpy(&bits, batch->logits, sizeof bits);
    bits ^= 1;
    memcpy(batch->logits, &bits, sizeof bits);
}

static const char *difference_of(const struct backend_table *table)
{
    goss_error error;
    const char *differs;
    assert_int_equal(same_bits(table, &differs, &error), GOSS_OK);
    return differs;
}

static void the_cpu_is_like_itself(void **state)
{
    (void)state;
    assert_null(difference_of(&cpu_backend));
}

static void one_bit_is_found_wherever_it_is(void **state)
{
    (void)state;
    struct backend_table table = cpu_backend;
    table.unembed = unembed_wrong;
    wrong.rows = 10, wrong.sequences = 1;
    assert_string_equal(difference_of(&table), "a prompt");
    wrong.rows = 1;
    assert_string_equal(difference_of(&table), "a single row");
    wrong.rows = 10, wrong.sequences = 2;
    assert_string_equal(difference_of(&table), "five rows of both sequences");
    wrong.rows = 5;
    assert_null(difference_of(&table));
}

/* The CPU's, which says of the first row of such steps that id `id` was drawn. */
static int32_t id;

static void unembed_drawing(struct backend *b, int worker, const struct batch *batch)
{
    cpu_backend.unembed(b, worker, batch);
    if (batch->draw && batch->draw[0].greedy)
        batch->drawn[0] = id;
}

static void an_id_that_was_drawn_is_compared(void **state)
{
    (void)state;
    struct backend_table table = cpu_backend;
    table.unembed = unembed_drawing;
    int right = 0;
    for (id = 0; id < 90; id++) {
        const char *differs = difference_of(&table);
        right += !differs;
        if (differs)
            assert_string_equal(differs, "the likeliest id");
    }
    assert_int_equal(right, 1);
}

static goss_status no_memory(struct backend **b, const struct model *model, const struct backend_options *options,
                             goss_error *error)
{
    (void)b, (void)model, (void)options;
    return error_memory(error, 7, "nothing");
}

static void a_backend_that_does_not_open_is_an_error(void **state)
{
    (void)state;
    goss_error error;
    const char *differs;
    struct backend_table table = cpu_backend;
    table.open = no_memory;
    assert_int_equal(same_bits(&table, &differs, &error), GOSS_E_MEMORY);
    assert_null(differs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cpu_is_like_itself),
        cmocka_unit_test(one_bit_is_found_wherever_it_is),
        cmocka_unit_test(an_id_that_was_drawn_is_compared),
        cmocka_unit_test(a_backend_that_does_not_open_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
