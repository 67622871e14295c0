/* Parts of src/cuda for tests in C: its own headers are C++. */
#ifndef EMULATED_BRIDGE_H
#define EMULATED_BRIDGE_H

#include "model/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Guards the activations of a CUDA backend: see control.h. */
void bridge_guard(struct backend *backend);

enum bridge_matrix { BRIDGE_QKV, BRIDGE_GATE_UP, BRIDGE_DOWN, BRIDGE_HEAD };
enum bridge_kernel { BRIDGE_FEW, BRIDGE_FEW_ROUNDED, BRIDGE_MANY, BRIDGE_FLOAT };

/* One product of layer 0, or of the head, alone. The columns are the rows of x [n][cols]; of experts, expert e has the
 * columns first[e] .. first[e + 1] - 1, else first is NULL. y: [n][rows], without bias. */
void bridge_product(const struct model *model, enum bridge_matrix matrix, enum bridge_kernel kernel, const float *x,
                    int n, const int32_t *first, float *y);

#ifdef __cplusplus
}
#endif

#endif
