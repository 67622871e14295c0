#include <immintrin.h>

#include "cpu/peak.h"

enum {
    CHAINS = 12 /* enough to hide the latency */,
    REPEATS = 64,
    STREAMS = 4,
    LINE = 64,
    AHEAD = 4096 /* bytes: the hardware stops at the end of a page */
};

static int64_t avx512_multiply(int64_t rounds)
{
    __m512i sum[CHAINS], a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(5);
#pragma GCC unroll 12
    for (int i = 0; i < CHAINS; i++)
        sum[i] = _mm512_setzero_si512();
    for (int64_t r = 0; r < rounds * REPEATS; r++) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++) /* written out, because a compiler would find a shorter way */
            __asm__ volatile("vpdpbusd %2, %1, %0" : "+v"(sum[i]) : "v"(a), "v"(b));
    }
    return rounds * REPEATS * CHAINS * LINE;
}

uint64_t peak_read_avx512(const void *memory, size_t bytes)
{
    const uint8_t *p = memory;
    __m512i sum[STREAMS];
#pragma GCC unroll 4
    for (int k = 0; k < STREAMS; k++)
        sum[k] = _mm512_setzero_si512();
    for (size_t i = 0; i < bytes; i += STREAMS * LINE) {
#pragma GCC unroll 4
        for (int k = 0; k < STREAMS; k++) {
            _mm_prefetch(p + i + (size_t)k * LINE + AHEAD, _MM_HINT_T0);
            sum[k] = _mm512_add_epi64(sum[k], _mm512_load_si512(p + i + (size_t)k * LINE));
        }
    }
    sum[0] = _mm512_add_epi64(_mm512_add_epi64(sum[0], sum[1]), _mm512_add_epi64(sum[2], sum[3]));
    uint64_t word[LINE / 8], total = 0; /* the sum of the intrinsics is a signed one, which may not overflow */
    _mm512_storeu_si512(word, sum[0]);
    for (int k = 0; k < LINE / 8; k++)
        total += word[k];
    return total;
}

const struct peak avx512_peak = {.name = "avx512", .multiply = avx512_multiply, .read = peak_read_avx512};
