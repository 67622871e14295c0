/* Finds the CUDA backend at run time: libgossamer_cuda.so beside the program or in ../lib/gossamer from there. The
 * program itself needs neither CUDA nor a GPU. */
#ifndef CUDA_LOAD_H
#define CUDA_LOAD_H

#include "cuda/library.h"

/* The library stays loaded once it is. GOSS_E_UNSUPPORTED, with the reason, if there is none, if it cannot be loaded or
 * if it was built from another source. */
goss_status cuda_load(const struct cuda_library **library, goss_error *error);

#endif
