#include <arm_neon.h>

#include "cpu/peak.h"

enum { CHAINS = 12 /* enough to hide the latency */, REPEATS = 64, PRODUCTS = 32 };

static int64_t i8mm_multiply(int64_t rounds)
{
    int32x4_t sum[CHAINS];
    int8x16_t a = vdupq_n_s8(3), b = vdupq_n_s8(5);
    for (int i = 0; i < CHAINS; i++)
        sum[i] = vdupq_n_s32(0);
    for (int64_t r = 0; r < rounds * REPEATS; r++) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++) /* written out, because a compiler would find a shorter way */
            __asm__ volatile("smmla %0.4s, %1.16b, %2.16b" : "+w"(sum[i]) : "w"(a), "w"(b));
    }
    return rounds * REPEATS * CHAINS * PRODUCTS;
}

const struct peak i8mm_peak = {.name = "i8mm", .multiply = i8mm_multiply, .read = peak_read_neon};
