/* Opening the CUDA backend, and its table of stages. */
#include <stdio.h>
#include <stdlib.h>

#include "cuda/state.h"

extern "C" {
#include "cuda/library.h"
}

enum { LEAST_MAJOR = 8 };

/* ---- the device ---- */

/* The first device, if it can run these kernels. */
static goss_status find_device(struct cudaDeviceProp *device, goss_error *error)
{
    int count = 0, driver = 0;
    if (cudaDriverGetVersion(&driver) == cudaSuccess && driver == 0)
        return error_set(error, GOSS_E_UNSUPPORTED, "CUDA: no NVIDIA driver is installed");
    cudaError_t code = cudaGetDeviceCount(&count);
    if (code != cudaSuccess || count == 0)
        return error_set(error, GOSS_E_UNSUPPORTED, "CUDA: no GPU can be used: %s",
                         code ? cudaGetErrorString(code) : "there is none");
    goss_status status = CUDA_STATUS(cudaGetDeviceProperties(device, 0), error);
    if (!status && device->major < LEAST_MAJOR)
        return error_set(error, GOSS_E_UNSUPPORTED, "CUDA: %s has compute capability %d.%d, 8.0 is the least",
                         device->name, device->major, device->minor);
    return status;
}

static goss_status open_device(struct backend *b, const struct backend_options *options, goss_error *error)
{
    struct cudaDeviceProp device;
    goss_status status = find_device(&device, error);
    if (status)
        return status;
    (void)snprintf(b->name, sizeof b->name, "%.100s (sm_%d%d)", device.name, device.major, device.minor);
    b->multiprocessors = device.multiProcessorCount;
    b->shared_limit = (int)device.sharedMemPerBlockOptin;
    b->overlap = device.major >= 9;
    status = CUDA_STATUS(cudaSetDevice(0), error);
    if (!status)
        status = CUDA_STATUS(cudaStreamCreateWithFlags(&b->stream, cudaStreamNonBlocking), error);
    if (!status)
        status = attend_open(b, options, error);
    return status ? status : memory_plan(b, options, error);
}

static void cuda_close(struct backend *b)
{
    if (!b)
        return;
    host_close(b);
    step_close(b);
    attend_close(b);
    kv_close(b);
    weights_free(b);
    (void)cudaFree(b->memory);
    if (b->stream)
        (void)cudaStreamDestroy(b->stream);
    free(b);
}

static goss_status cuda_open(struct backend **out, const struct model *model, const struct backend_options *options,
                             goss_error *error)
{
    *out = NULL;
    goss_status status = backend_check(&model->config, options, error);
    if (status)
        return status;
    struct backend *b = (struct backend *)calloc(1, sizeof *b);
    if (!b)
        return error_memory(error, sizeof *b, "the CUDA backend");
    b->model = model;
    b->max_rows = options->max_rows;
    b->max_outputs = options->max_outputs;
    b->max_sequences = options->max_sequences;
    rope_init(&b->rope, &model->config);
    status = open_device(b, options, error);
    if (!status)
        status = weights_upload(b, error);
    if (!status)
        status = activations_open(b, error);
    if (!status)
        status = step_open(b, error);
    if (!status)
        status = kv_open(b, options->pages, options->rings, error);
    if (!status)
        status = host_open(b, options, error);
    if (!status)
        status = CUDA_STATUS(cudaStreamSynchronize(b->stream), error);
    if (status) {
        cuda_close(b);
        return status;
    }
    *out = b;
    return GOSS_OK;
}

/* ---- stages ---- */

static void cuda_run(struct backend *b, void (*stages)(void *argument, int worker), void *argument)
{
    stages(argument, 0);
    step_end(b);
}

static bool enqueues(const struct backend *b)
{
    return b->step != STEP_REPLAY;
}

static void cuda_embed(struct backend *b, int, const struct batch *batch)
{
    step_begin(b, batch);
    if (enqueues(b))
        embed_stage(b);
}

static void cuda_attn_in(struct backend *b, int, const struct batch *, int layer)
{
    if (enqueues(b))
        qkv_stage(b, layer);
}

static void cuda_attend(struct backend *b, int, const struct batch *, int layer)
{
    if (enqueues(b))
        attend_stage(b, layer);
}

static void cuda_attn_out(struct backend *b, int, const struct batch *, int layer)
{
    if (enqueues(b))
        attn_out_stage(b, layer);
}

static void cuda_route(struct backend *b, int, const struct batch *, int layer)
{
    if (enqueues(b) && layer < b->expert_layers)
        route_stage(b, layer);
}

static void cuda_experts(struct backend *b, int, const struct batch *, int layer)
{
    if (layer >= b->expert_layers)
        host_stage(b, layer);
    else if (enqueues(b))
        experts_stage(b, layer);
}

static void cuda_unembed(struct backend *b, int, const struct batch *)
{
    if (!enqueues(b))
        return;
    unembed_stage(b);
    sample_stage(b);
}

/* Where not all weights fit, the experts have to make room. */
static uint64_t cuda_memory(const struct model *model, uint64_t gpu_bytes)
{
    uint64_t available = memory_available(gpu_bytes), weights = weights_bytes(model, model->config.n_layer);
    if (weights >= available)
        weights = weights_bytes(model, 0);
    return available > weights ? available - weights : 0;
}

static int cuda_expert_layers(const struct backend *b)
{
    return b->expert_layers;
}

static const char *cuda_isa(const struct backend *b)
{
    return b->name;
}

static const struct backend_table table = {
    .name = "cuda",
    .open = cuda_open,
    .close = cuda_close,
    .isa = cuda_isa,
    .kv_bytes = kv_bytes,
    .memory = cuda_memory,
    .expert_layers = cuda_expert_layers,
    .run = cuda_run,
    .embed = cuda_embed,
    .attn_in = cuda_attn_in,
    .attend = cuda_attend,
    .attn_out = cuda_attn_out,
    .route = cuda_route,
    .experts = cuda_experts,
    .unembed = cuda_unembed,
    .copy_page = kv_copy_page,
    .snapshot_bytes = kv_snapshot_bytes,
    .save_ring = kv_save_ring,
    .load_ring = kv_load_ring,
};

/* ---- what the library shows ---- */

static goss_status probe(struct cuda_device *device, goss_error *error)
{
    struct cudaDeviceProp properties;
    size_t free_bytes = 0, total = 0;
    *device = {};
    goss_status status = find_device(&properties, error);
    if (!status)
        status = CUDA_STATUS(cudaSetDevice(0), error);
    if (!status)
        status = CUDA_STATUS(cudaMemGetInfo(&free_bytes, &total), error);
    if (status)
        return status;
    (void)snprintf(device->name, sizeof device->name, "%.100s (sm_%d%d)", properties.name, properties.major,
                   properties.minor);
    device->memory_bytes = total;
    device->memory_free_bytes = free_bytes;
    return GOSS_OK;
}

const struct cuda_library gossamer_cuda = {
    .abi = CUDA_LIBRARY_ABI,
    .table = &table,
    .probe = probe,
    .weights_bytes = weights_bytes,
};
