/* Is this processor computing what the definition says? Every kernel of a table beside the scalar one, on random
 * inputs, compared bit by bit. */
#ifndef CPU_CHECK_H
#define CPU_CHECK_H

#include "cpu/kernels.h"

/* *differs is the name of the first kernel whose result differs from scalar.c's, or NULL if none does; the seed chooses
 * the inputs. Takes milliseconds. */
goss_status kernels_check(const struct kernels *kernels, uint64_t seed, const char **differs, goss_error *error);

#endif
