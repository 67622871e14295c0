/* What tests ask of the emulated GPU. Plain C. */
#ifndef EMULATED_CONTROL_H
#define EMULATED_CONTROL_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How the next kernels run. `backward`: threads, warps and CTAs in falling order, asynchronous copies done when they
 * are asked for (else as late as their wait allows). */
void emulated_order(bool backward);

/* Memory that kernels write: reading or writing it before wait_for_previous ends the program. NULL: none. The memory
 * must consist of whole pages. */
void emulated_guard(void *memory, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
