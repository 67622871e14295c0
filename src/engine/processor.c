#include "engine/processor.h"

#include <stdatomic.h>

#include "cuda/load.h"
#include "engine/same_bits.h"

goss_status processor_gpu(struct cuda_device *device, goss_error *error)
{
    const struct cuda_library *library;
    goss_status status = cuda_load(&library, error);
    return status ? status : library->probe(device, error);
}

goss_status processor_check_gpu(const char **differs, goss_error *error)
{
    const struct cuda_library *library;
    *differs = NULL;
    goss_status status = cuda_load(&library, error);
    return status ? status : same_bits(library->table, differs, error);
}

/* The same, once a process. */
static goss_status require_same_bits(const struct cuda_device *device, goss_error *error)
{
    static atomic_bool same;
    const char *differs = NULL;
    if (atomic_load(&same))
        return GOSS_OK;
    goss_status status = processor_check_gpu(&differs, error);
    if (!status && differs)
        status =
            error_set(error, GOSS_E_UNSUPPORTED, "%s: does not give the CPU's bits (in %s)", device->name, differs);
    atomic_store(&same, !status);
    return status;
}

/* Whether the device computes the right bits, and has room for all weights but the experts. */
static goss_status choose_cuda(const struct model *model, uint64_t gpu_bytes, const struct backend_table **table,
                               goss_error *error)
{
    const struct cuda_library *library;
    struct cuda_device device;
    goss_status status = cuda_load(&library, error);
    if (!status)
        status = library->probe(&device, error);
    if (status)
        return status;
    uint64_t weights = library->weights_bytes(model, 0);
    uint64_t most = gpu_bytes && gpu_bytes < device.memory_free_bytes ? gpu_bytes : device.memory_free_bytes;
    if (weights > most)
        return error_set(error, GOSS_E_MEMORY,
                         "%s: the weights without experts need %llu MiB; %llu can be used, %llu of %llu are free",
                         device.name, (unsigned long long)((weights + (1 << 20) - 1) >> 20),
                         (unsigned long long)most >> 20, (unsigned long long)device.memory_free_bytes >> 20,
                         (unsigned long long)device.memory_bytes >> 20);
    status = require_same_bits(&device, error);
    if (!status)
        *table = library->table;
    return status;
}

goss_status processor_choose(enum processor processor, const struct model *model, uint64_t gpu_bytes,
                             const struct backend_table **table, goss_error *error)
{
    *table = &cpu_backend;
    if (processor == PROCESSOR_CPU)
        return GOSS_OK;
    goss_status status = choose_cuda(model, gpu_bytes, table, processor == PROCESSOR_CUDA ? error : NULL);
    return processor == PROCESSOR_CUDA ? status : GOSS_OK;
}

goss_status processor_open(struct engine **engine, enum processor processor, const struct model *model,
                           const struct backend_table *table, const struct engine_options *options, goss_error *error)
{
    goss_status status = engine_open(engine, model, table, options, error);
    bool too_small = status == GOSS_E_MEMORY || status == GOSS_E_LIMIT;
    if (too_small && processor == PROCESSOR_AUTO && table != &cpu_backend)
        status = engine_open(engine, model, &cpu_backend, options, error);
    return status;
}
