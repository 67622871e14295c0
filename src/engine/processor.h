/* Which processor computes: the one place where a backend is chosen. */
#ifndef ENGINE_PROCESSOR_H
#define ENGINE_PROCESSOR_H

#include "model/backend.h"

enum processor {
    PROCESSOR_AUTO, /* CUDA if its library and a GPU are there and the model's weights fit, else the CPU */
    PROCESSOR_CPU,
    PROCESSOR_CUDA
};

/* GOSS_E_UNSUPPORTED or GOSS_E_MEMORY, with the reason, if CUDA is asked for and cannot be had. */
goss_status processor_choose(enum processor processor, const struct model *model, const struct backend_table **table,
                             goss_error *error);

/* The GPU that would be used; the error says why there is none. */
struct cuda_device;
goss_status processor_gpu(struct cuda_device *device, goss_error *error);

#endif
