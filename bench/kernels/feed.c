/* How much of the rate of vpdpbusd is left when its operands come from the first cache. For 12 of them, 6 columns of 2
 * groups, a product needs two lines of weights and six broadcasts; for 96, the scales of a block: 12 conversions,
 * products and additions. One thread, medians.
 *
 *     bench_feed                                                                                                   */
#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cpu/peak.h"
#include "median.h"

#define UNROLL _Pragma("GCC unroll 16")
#define INLINE static inline __attribute__((always_inline))

enum {
    COLUMNS = 6,
    GROUPS = 2,
    STEPS = 8, /* in a block: lines of weights of a group */
    MULTIPLIES = COLUMNS * GROUPS * STEPS,
    BLOCKS = 16, /* of a segment */
    ROUNDS = 4000,
    TRIES = 15,
};

static struct {
    __m512i line[BLOCKS][STEPS][GROUPS];
    int32_t q[BLOCKS][STEPS][COLUMNS];
    __m512 scale[BLOCKS][GROUPS];
    float scale_of[BLOCKS][COLUMNS];
} data;

INLINE __m512i load(const __m512i *line)
{
    __m512i x;
    __asm__ volatile("vmovdqa64 %1, %0" : "=v"(x) : "m"(*line));
    return x;
}

INLINE __m512i broadcast(const int32_t *q)
{
    __m512i x;
    __asm__ volatile("vpbroadcastd %1, %0" : "=v"(x) : "m"(*q));
    return x;
}

INLINE __m512i multiply(__m512i sum, __m512i a, __m512i b)
{
    __asm__ volatile("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
}

/* Multiplications per second. */
INLINE double measure_fed(const bool scales)
{
    __m512i dot[COLUMNS][GROUPS], a, w[GROUPS];
    __m512 sum[COLUMNS][GROUPS];
    UNROLL for (int t = 0; t < COLUMNS; t++) UNROLL for (int i = 0; i < GROUPS; i++) sum[t][i] = _mm512_setzero_ps();
    UNROLL for (int t = 0; t < COLUMNS; t++) UNROLL for (int i = 0; i < GROUPS; i++) dot[t][i] = _mm512_setzero_si512();
    double start = clock_seconds();
    for (int r = 0; r < ROUNDS; r++)
        for (int b = 0; b < BLOCKS; b++) {
            UNROLL for (int j = 0; j < STEPS; j++)
            {
                UNROLL for (int i = 0; i < GROUPS; i++) w[i] = load(&data.line[b][j][i]);
                UNROLL for (int t = 0; t < COLUMNS; t++)
                {
                    a = broadcast(&data.q[b][j][t]);
                    UNROLL for (int i = 0; i < GROUPS; i++) dot[t][i] = multiply(dot[t][i], w[i], a);
                }
            }
            UNROLL for (int t = 0; scales && t < COLUMNS; t++) UNROLL for (int i = 0; i < GROUPS; i++)
            {
                __m512 scale = _mm512_mul_ps(data.scale[b][i], _mm512_set1_ps(data.scale_of[b][t]));
                sum[t][i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[t][i]), scale, sum[t][i]);
            }
        }
    double seconds = clock_seconds() - start;
    UNROLL for (int t = 0; t < COLUMNS; t++) UNROLL for (int i = 0; i < GROUPS; i++) __asm__ volatile(
        "" ::"v"(dot[t][i]), "v"(sum[t][i])); /* so that no compiler leaves the work out */
    return (double)ROUNDS * BLOCKS * MULTIPLIES / seconds;
}

static double measure_registers(void)
{
    double start = clock_seconds();
    int64_t products = avx512_peak.multiply(ROUNDS);
    return (double)products / sizeof(__m512i) / (clock_seconds() - start);
}

int main(void)
{
    double registers[TRIES], fed[TRIES], scaled[TRIES];
    if (!__builtin_cpu_supports("avx512vnni")) {
        fputs("this processor has no AVX-512 VNNI\n", stderr);
        return 1;
    }
    memset(&data, 1, sizeof data);
    for (int b = 0; b < BLOCKS; b++) {
        for (int i = 0; i < GROUPS; i++)
            data.scale[b][i] = _mm512_set1_ps(0.5f);
        for (int t = 0; t < COLUMNS; t++)
            data.scale_of[b][t] = 0.25f;
    }
    for (int i = 0; i < TRIES; i++) {
        registers[i] = measure_registers();
        fed[i] = measure_fed(false);
        scaled[i] = measure_fed(true);
    }
    double all = median(registers, TRIES), cache = median(fed, TRIES), whole = median(scaled, TRIES);
    printf("vpdpbusd from registers: %.2f G/s\n", all * 1e-9);
    printf("with its operands from the first cache: %.2f G/s, %.0f %%\n", cache * 1e-9, 100.0 * cache / all);
    printf("and with the scales of every block: %.2f G/s, %.0f %%\n", whole * 1e-9, 100.0 * whole / all);
    return 0;
}
