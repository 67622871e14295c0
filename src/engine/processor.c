#include "engine/processor.h"

#include "cuda/load.h"

goss_status processor_gpu(struct cuda_device *device, goss_error *error)
{
    const struct cuda_library *library;
    goss_status status = cuda_load(&library, error);
    return status ? status : library->probe(device, error);
}

static goss_status choose_cuda(const struct model *model, const struct backend_table **table, goss_error *error)
{
    const struct cuda_library *library;
    struct cuda_device device;
    goss_status status = cuda_load(&library, error);
    if (!status)
        status = library->probe(&device, error);
    if (status)
        return status;
    uint64_t weights = library->weights_bytes(model);
    if (weights > device.memory_free_bytes)
        return error_set(error, GOSS_E_MEMORY, "%s: the weights need %llu MB, %llu of %llu MB are free", device.name,
                         (unsigned long long)weights >> 20, (unsigned long long)device.memory_free_bytes >> 20,
                         (unsigned long long)device.memory_bytes >> 20);
    *table = library->table;
    return GOSS_OK;
}

goss_status processor_choose(enum processor processor, const struct model *model, const struct backend_table **table,
                             goss_error *error)
{
    *table = &cpu_backend;
    if (processor == PROCESSOR_CPU)
        return GOSS_OK;
    goss_status status = choose_cuda(model, table, processor == PROCESSOR_CUDA ? error : NULL);
    return processor == PROCESSOR_CUDA ? status : GOSS_OK;
}
