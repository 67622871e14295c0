#include "cpu/peak.h"

#include <string.h>

#include "cpu/kernels.h"

enum { PRODUCT = 256, REPEATS = 64, WORDS = 64 };

/* A plain dot product of bytes; what it is compiled to is the compiler's choice. */
static int64_t scalar_multiply(int64_t rounds)
{
    int8_t a[PRODUCT], b[PRODUCT];
    int32_t sum = 0;
    memset(a, 3, sizeof a);
    memset(b, 5, sizeof b);
    for (int64_t r = 0; r < rounds * REPEATS; r++) {
        __asm__ volatile("" : : "r"(a), "r"(b) : "memory"); /* so that no product is known beforehand */
        for (int i = 0; i < PRODUCT; i++)
            sum += a[i] * b[i];
    }
    __asm__ volatile("" : : "r"(sum));
    return rounds * REPEATS * PRODUCT;
}

static uint64_t scalar_read(const void *memory, size_t bytes)
{
    const uint64_t *word = memory;
    uint64_t sum[WORDS] = {0}, total = 0;
    for (size_t i = 0; i < bytes / sizeof *word; i += WORDS)
        for (int k = 0; k < WORDS; k++)
            sum[k] += word[i + (size_t)k];
    for (int k = 0; k < WORDS; k++)
        total += sum[k];
    return total;
}

const struct peak scalar_peak = {.name = "scalar", .multiply = scalar_multiply, .read = scalar_read};

const struct peak *peak_of(const struct kernels *kernels)
{
    static const struct peak *const peak[] = {
#if defined(__x86_64__)
        &amx_peak,
        &avx512_peak,
        &avxvnni_peak,
        &avx2_peak,
#elif defined(__aarch64__)
        &i8mm_peak,
        &neon_peak,
#endif
    };
    for (size_t i = 0; i < sizeof peak / sizeof *peak; i++)
        if (strcmp(peak[i]->name, kernels->name) == 0)
            return peak[i];
    return &scalar_peak;
}
