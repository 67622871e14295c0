/* Which processor computes: the one place where a backend is chosen. */
#ifndef ENGINE_PROCESSOR_H
#define ENGINE_PROCESSOR_H

#include "engine/engine.h"

enum processor {
    PROCESSOR_AUTO, /* CUDA if its library and a GPU are there and the model fits without its experts, else the CPU */
    PROCESSOR_CPU,
    PROCESSOR_CUDA
};

/* gpu_bytes: as in struct engine_options. GOSS_E_UNSUPPORTED or GOSS_E_MEMORY, with the reason, if CUDA is asked for
 * and cannot be had; a GPU that does not give the CPU's bits (same_bits.h; once they were right in a process, they are
 * not looked at again) cannot. */
goss_status processor_choose(enum processor processor, const struct model *model, uint64_t gpu_bytes,
                             const struct backend_table **table, goss_error *error);

/* Opens an engine on the chosen table. Only now is it known what keys, values and activations need: if the GPU has too
 * little memory for those, PROCESSOR_AUTO goes on with the CPU. */
goss_status processor_open(struct engine **engine, enum processor processor, const struct model *model,
                           const struct backend_table *table, const struct engine_options *options, goss_error *error);

/* The GPU that would be used; the error says why there is none. */
struct cuda_device;
goss_status processor_gpu(struct cuda_device *device, goss_error *error);
/* Looks at its bits: *differs as same_bits has it. */
goss_status processor_check_gpu(const char **differs, goss_error *error);

#endif
