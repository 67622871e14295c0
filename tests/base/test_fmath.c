#include "base/fmath.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "support/test.h"

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static double ulps(double got, double want, double unit)
{
    return fabs(got - want) / (unit * fabs(want) + 1e-300);
}

static void exp_f32_is_within_two_ulps_and_exact_at_its_ends(void **state)
{
    (void)state;
    double worst = 0.0;
    for (int i = 0; i < 400000; i++) {
        float x = -87.33f + 176.0f * ((float)i / 400000.0f);
        double error = ulps((double)exp_f32(x), exp((double)x), 0x1p-23);
        worst = error > worst ? error : worst;
    }
    assert_true(worst < 1.0);
    assert_true(exp_f32(0.0f) == 1.0f && exp_f32(-0.0f) == 1.0f);
    assert_int_equal(bits_of(exp_f32(-87.34f)), 0);
    assert_int_equal(bits_of(exp_f32(-INFINITY)), 0);
    assert_true(exp_f32(-87.33f) >= FLT_MIN);
    assert_true(isfinite(exp_f32(88.72f)) && exp_f32(88.73f) == INFINITY && exp_f32(INFINITY) == INFINITY);
    assert_true(isnan(exp_f32(NAN)));
}

static void the_double_functions_are_within_an_ulp_or_so(void **state)
{
    (void)state;
    double worst_exp = 0.0, worst_log = 0.0, worst_sine = 0.0;
    for (int i = 0; i < 200000; i++) {
        double t = (double)i / 200000.0, x = -708.0 + 1417.0 * t, y = exp(x), angle = 131072.0 * t * t;
        double sine, cosine;
        worst_exp = fmax(worst_exp, ulps(exp_f64(x), y, 0x1p-52));
        worst_log = fmax(worst_log, ulps(log_f64(y), log(y), 0x1p-52));
        worst_log = fmax(worst_log, ulps(log_f64(0.5 + 2 * t), log(0.5 + 2 * t), 0x1p-52));
        sincos_f64(i % 2 ? angle : -angle, &sine, &cosine);
        worst_sine = fmax(worst_sine, fabs(sine - sin(i % 2 ? angle : -angle)) / 0x1p-53);
        worst_sine = fmax(worst_sine, fabs(cosine - cos(angle)) / 0x1p-53);
    }
    assert_true(worst_exp < 1.5);
    assert_true(worst_log < 1.5);
    assert_true(worst_sine < 1.5);
    assert_true(log_f64(1.0) == 0.0 && exp_f64(0.0) == 1.0 && exp_f64(-1e9) == 0.0 && exp_f64(1e9) == INFINITY);
    assert_true(ulps(log_f64(0x1p-1060), log(0x1p-1060), 0x1p-52) < 1.5);
}

static void every_half_survives_the_way_to_float_and_back(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float x = f16_to_f32((uint16_t)h);
        int exponent = (int)(h >> 10 & 31u), fraction = (int)(h & 1023u);
        if (exponent == 31) {
            assert_true(fraction ? isnan(x) : isinf(x));
            assert_int_equal(f32_to_f16(x), fraction ? (h | 0x200u) : ((h & 0x8000u) | 0x7BFFu));
            continue;
        }
        double want = exponent ? ldexp(1024.0 + fraction, exponent - 25) : ldexp((double)fraction, -24);
        assert_true((double)x == (h & 0x8000u ? -want : want));
        assert_int_equal(f32_to_f16(x), h);
    }
    for (uint32_t b = 0; b < 65536; b++)
        if (!isnan(bf16_to_f32((uint16_t)b)))
            assert_int_equal(f32_to_bf16(bf16_to_f32((uint16_t)b)), b);
    assert_true(isnan(bf16_to_f32(f32_to_bf16(NAN))));
}

static void halves_round_to_the_nearest_and_ties_to_even(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7BFF; h++) {
        float low = f16_to_f32((uint16_t)h), high = f16_to_f32((uint16_t)(h + 1)), middle = low + (high - low) / 2;
        assert_int_equal(f32_to_f16(middle), h % 2 ? h + 1 : h);
        assert_int_equal(f32_to_f16(nextafterf(middle, 0.0f)), h);
        assert_int_equal(f32_to_f16(-nextafterf(middle, 1e9f)), (h + 1) | 0x8000u);
    }
    assert_int_equal(f32_to_f16(1e-9f), 0);
    assert_int_equal(f32_to_f16(65520.0f), 0x7BFF);
    assert_int_equal(f32_to_f16(-1e30f), 0xFBFF);
    assert_int_equal(f32_to_bf16(1.00390625f), 0x3F80);
    assert_int_equal(f32_to_bf16(1.01171875f), 0x3F82);
    assert_int_equal(f32_to_bf16(FLT_MAX), 0x7F80);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp_f32_is_within_two_ulps_and_exact_at_its_ends),
        cmocka_unit_test(the_double_functions_are_within_an_ulp_or_so),
        cmocka_unit_test(every_half_survives_the_way_to_float_and_back),
        cmocka_unit_test(halves_round_to_the_nearest_and_ties_to_even),
    };
    return cmocka_run_group_tests_name("base.fmath", tests, NULL, NULL);
}
