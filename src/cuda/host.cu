/* Layers whose experts do not fit on the device. Their second half, from norm to residual, is computed by a backend of
 * the host's, which reads its weights where the packed file is mapped: the rows go over, and come back changed. The
 * bits of both backends are the same, so nobody can tell which layers these are. */
#include <stdio.h>

#include "cuda/state.h"

goss_status host_open(struct backend *b, const struct backend_options *options, goss_error *error)
{
    const struct model_config *c = &b->model->config;
    if (b->expert_layers == c->n_layer)
        return GOSS_OK;
    struct backend_options o = *options;
    o.max_outputs = o.max_sequences = 1; /* it has no attention and no head to compute */
    o.pages = o.rings = 0;
    b->host = options->host;
    goss_status status = b->host->open(&b->host_backend, b->model, &o, error);
    if (!status)
        status = CUDA_STATUS(
            cudaMallocHost((void **)&b->host_rows, (size_t)b->max_rows * c->d_model * sizeof *b->host_rows), error);
    if (status)
        return status;
    size_t used = strlen(b->name);
    (void)snprintf(b->name + used, sizeof b->name - used, "; experts of %d of %d layers: CPU (%s)",
                   c->n_layer - b->expert_layers, c->n_layer, b->host->isa(b->host_backend));
    return GOSS_OK;
}

void host_close(struct backend *b)
{
    if (b->host_backend)
        b->host->close(b->host_backend);
    (void)cudaFreeHost(b->host_rows);
}

void host_stage(struct backend *b, int layer)
{
    size_t bytes = (size_t)b->batch.n_row * b->model->config.d_model * sizeof *b->host_rows;
    keep_first(b, cudaMemcpyAsync(b->host_rows, b->a.x, bytes, cudaMemcpyDeviceToHost, b->stream));
    keep_first(b, cudaStreamSynchronize(b->stream));
    if (b->failed)
        return;
    b->host->mlp(b->host_backend, layer, b->batch.n_row, b->host_rows);
    keep_first(b, cudaMemcpyAsync(b->a.x, b->host_rows, bytes, cudaMemcpyHostToDevice, b->stream));
}
