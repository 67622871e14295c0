#include <immintrin.h>

#include "cpu/peak.h"

enum { CHAINS = 10 /* enough to hide the latency */, REPEATS = 64, STREAMS = 8, LANE = 32, AHEAD = 4096 };

/* Products of bytes become pairs of 16 bits, whose sums must at least be added. */
static int64_t avx2_multiply(int64_t rounds)
{
    __m256i sum[CHAINS], a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(5), pairs;
#pragma GCC unroll 10
    for (int i = 0; i < CHAINS; i++)
        sum[i] = _mm256_setzero_si256();
    for (int64_t r = 0; r < rounds * REPEATS; r++) {
#pragma GCC unroll 10
        for (int i = 0; i < CHAINS; i++) /* written out, because a compiler would find a shorter way */
            __asm__ volatile("vpmaddubsw %3, %2, %1\n\tvpaddw %1, %0, %0"
                             : "+x"(sum[i]), "=&x"(pairs)
                             : "x"(a), "x"(b));
    }
    return rounds * REPEATS * CHAINS * LANE;
}

static int64_t avxvnni_multiply(int64_t rounds)
{
    __m256i sum[CHAINS], a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(5);
#pragma GCC unroll 10
    for (int i = 0; i < CHAINS; i++)
        sum[i] = _mm256_setzero_si256();
    for (int64_t r = 0; r < rounds * REPEATS; r++) {
#pragma GCC unroll 10
        for (int i = 0; i < CHAINS; i++)
            __asm__ volatile("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum[i]) : "x"(a), "x"(b));
    }
    return rounds * REPEATS * CHAINS * LANE;
}

static uint64_t avx2_read(const void *memory, size_t bytes)
{
    const uint8_t *p = memory;
    __m256i sum[STREAMS];
#pragma GCC unroll 8
    for (int k = 0; k < STREAMS; k++)
        sum[k] = _mm256_setzero_si256();
    for (size_t i = 0; i < bytes; i += STREAMS * LANE) {
#pragma GCC unroll 8
        for (int k = 0; k < STREAMS; k++) {
            const uint8_t *lane = p + i + (size_t)k * LANE;
            _mm_prefetch((const char *)lane + AHEAD, _MM_HINT_T0);
            sum[k] = _mm256_add_epi64(sum[k], _mm256_load_si256((const __m256i *)(const void *)lane));
        }
    }
    uint64_t word[LANE / 8], total = 0;
    for (int k = 1; k < STREAMS; k++)
        sum[0] = _mm256_add_epi64(sum[0], sum[k]);
    _mm256_storeu_si256((__m256i *)(void *)word, sum[0]);
    for (int k = 0; k < LANE / 8; k++)
        total += word[k];
    return total;
}

const struct peak avx2_peak = {.name = "avx2", .multiply = avx2_multiply, .read = avx2_read};
const struct peak avxvnni_peak = {.name = "avxvnni", .multiply = avxvnni_multiply, .read = avx2_read};
