#include <arm_neon.h>

#include "cpu/peak.h"

enum { CHAINS = 12 /* enough to hide the latency */, REPEATS = 64, STREAMS = 8, LANE = 16 };

static int64_t neon_multiply(int64_t rounds)
{
    int32x4_t sum[CHAINS];
    int8x16_t a = vdupq_n_s8(3), b = vdupq_n_s8(5);
    for (int i = 0; i < CHAINS; i++)
        sum[i] = vdupq_n_s32(0);
    for (int64_t r = 0; r < rounds * REPEATS; r++) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++) /* written out, because a compiler would find a shorter way */
            __asm__ volatile("sdot %0.4s, %1.16b, %2.16b" : "+w"(sum[i]) : "w"(a), "w"(b));
    }
    return rounds * REPEATS * CHAINS * LANE;
}

uint64_t peak_read_neon(const void *memory, size_t bytes)
{
    const uint64_t *word = memory;
    uint64x2_t sum[STREAMS];
    for (int k = 0; k < STREAMS; k++)
        sum[k] = vdupq_n_u64(0);
    for (size_t i = 0; i < bytes / 8; i += STREAMS * 2) {
#pragma GCC unroll 8
        for (int k = 0; k < STREAMS; k++)
            sum[k] = vaddq_u64(sum[k], vld1q_u64(word + i + (size_t)k * 2));
    }
    uint64_t total = 0;
    for (int k = 0; k < STREAMS; k++)
        total += vaddvq_u64(sum[k]);
    return total;
}

const struct peak neon_peak = {.name = "neon", .multiply = neon_multiply, .read = peak_read_neon};
