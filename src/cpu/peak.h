/* What this machine could do at most: the two bare loops that `gossamer bench` holds the speed of a model against. One
 * pair for every table of kernels, made of the same instructions. */
#ifndef CPU_PEAK_H
#define CPU_PEAK_H

#include <stddef.h>
#include <stdint.h>

struct kernels;

struct peak {
    const char *name; /* of the kernels */
    /* The instructions that an int8 product cannot do without, on registers alone, for about `rounds` times a few
     * hundred cycles. Returns the multiplications done, each of which comes with an addition. */
    int64_t (*multiply)(int64_t rounds);
    /* The sum of all 64-bit words, read by the widest loads. bytes is a multiple of 4096, memory aligned to 64. */
    uint64_t (*read)(const void *memory, size_t bytes);
};

extern const struct peak scalar_peak;
#if defined(__x86_64__)
extern const struct peak avx2_peak, avx512_peak, avxvnni_peak, amx_peak;
uint64_t peak_read_avx512(const void *memory, size_t bytes); /* of the last two */
#elif defined(__aarch64__)
extern const struct peak i8mm_peak, neon_peak;
uint64_t peak_read_neon(const void *memory, size_t bytes); /* of both */
#endif

/* The pair for these kernels; that of the scalar ones where there is no better. */
const struct peak *peak_of(const struct kernels *kernels);

#endif
