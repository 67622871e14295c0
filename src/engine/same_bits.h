/* Whether a backend computes what it must on this machine: the CPU's logits, to the bit, and the sampler's ids. */
#ifndef ENGINE_SAME_BITS_H
#define ENGINE_SAME_BITS_H

#include "model/backend.h"

/* Lets a small synthetic model read a prompt and go on with single rows and with several sequences, on both. *differs:
 * NULL, or in which of these a bit or an id was another one (a constant). Fails if a backend cannot be opened. */
goss_status same_bits(const struct backend_table *table, const char **differs, goss_error *error);

#endif
