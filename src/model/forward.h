/* The forward pass of gpt-oss, written once. */
#ifndef MODEL_FORWARD_H
#define MODEL_FORWARD_H

#include "model/backend.h"

void forward(const struct backend_table *table, struct backend *backend, const struct model_config *config,
             const struct batch *batch);

#endif
