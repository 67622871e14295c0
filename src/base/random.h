/* Reproducible random numbers: a counter-based generator, so a number depends on (seed, position, index) alone and
 * never on how many were drawn before. Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
 * SC11). */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stdint.h>

/* Four independent 32-bit words for the counter (position, index) under the key seed. */
void random_words(uint64_t seed, uint64_t position, uint64_t index, uint32_t words[4]);

/* Uniform in [0, 1) with 53 bits, from the first two words. */
double random_uniform(uint64_t seed, uint64_t position, uint64_t index);

#endif
