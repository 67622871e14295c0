#include "cpu/check.h"
#include "support/test.h"

static void every_table_of_this_machine_agrees_with_scalar(void **state)
{
    const struct kernels *kernels;
    const char *differs;
    goss_error error;
    (void)state;
    for (int i = 0; (kernels = kernels_at(i)); i++)
        for (uint64_t seed = 0; seed < 5; seed++) {
            assert_int_equal(kernels_check(kernels, seed, &differs, &error), GOSS_OK);
            assert_null(differs);
        }
}

static void wrong_merge(float *out, const float *chunk, float a, float b, int n)
{
    scalar_kernels.merge(out, chunk, a, b, n);
    out[n - 1] += 1e-6f;
}

static void a_kernel_that_is_off_in_one_bit_is_named(void **state)
{
    struct kernels broken = scalar_kernels;
    const char *differs;
    goss_error error;
    (void)state;
    broken.merge = wrong_merge;
    assert_int_equal(kernels_check(&broken, 0, &differs, &error), GOSS_OK);
    assert_string_equal(differs, "merge");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_table_of_this_machine_agrees_with_scalar),
        cmocka_unit_test(a_kernel_that_is_off_in_one_bit_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
