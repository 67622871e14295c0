/* The machine that runs kernels on a processor, one CTA after the other. It is there to find mistakes, so it does
 * whatever the rules allow and a GPU might do: threads run one after the other, forward or backward, until they have to
 * wait; asynchronous copies arrive at once or at the last moment; shared memory begins as NaNs; a stream's work is done
 * when somebody waits for it. */
#ifndef EMULATED_H
#define EMULATED_H

#include "control.h"
#include "cuda_runtime.h"

/* ---- for device_emulated.h alone ---- */

struct emulated_lane {
    uint32_t word[6];
};

void *emulated_shared(void);
int emulated_lane_index(void);
void emulated_barrier(void);
void emulated_warp_barrier(void);
struct emulated_lane *emulated_exchange(void); /* [32] of the warp, for one collective */
void emulated_mma_s8(int32_t d[4], const uint32_t a[4], const uint32_t b[2], const int32_t c[4]);
void emulated_copy_async(void *shared, const void *global);
void emulated_copy_commit(void);
void emulated_copy_wait(int newest);
void emulated_wait_for_previous(void);
void *emulated_aligned(const void *p, size_t alignment); /* ends the program if it is not */

#endif
