/* A library of a GPU that computes nothing: every logit is 0. tests/cuda/test_backend.sh puts it beside the program, which
 * must notice. */
#include <stdlib.h>
#include <string.h>

#include "cuda/library.h"
#include "model/backend.h"

struct backend {
    int n_vocab;
};

static goss_status wrong_open(struct backend **b, const struct model *model, const struct backend_options *options,
                              goss_error *error)
{
    (void)options, (void)error;
    *b = calloc(1, sizeof **b);
    if (!*b)
        abort();
    (*b)->n_vocab = model->config.n_vocab;
    return GOSS_OK;
}

static void wrong_close(struct backend *b)
{
    free(b);
}

static const char *wrong_isa(const struct backend *b)
{
    (void)b;
    return "a wrong GPU";
}

static void wrong_run(struct backend *b, void (*stages)(void *, int), void *argument)
{
    (void)b;
    stages(argument, 0);
}

static void ends(struct backend *b, int worker, const struct batch *batch)
{
    (void)worker;
    memset(batch->logits, 0, (size_t)batch->n_output * (size_t)b->n_vocab * sizeof *batch->logits);
}

static void nothing(struct backend *b, int worker, const struct batch *batch, int layer)
{
    (void)b, (void)worker, (void)batch, (void)layer;
}

static const struct backend_table wrong_backend = {.name = "cuda",
                                                   .open = wrong_open,
                                                   .close = wrong_close,
                                                   .isa = wrong_isa,
                                                   .run = wrong_run,
                                                   .embed = ends,
                                                   .attn_in = nothing,
                                                   .attend = nothing,
                                                   .attn_out = nothing,
                                                   .route = nothing,
                                                   .experts = nothing,
                                                   .unembed = ends};

static goss_status wrong_probe(struct cuda_device *device, goss_error *error)
{
    (void)error;
    *device = (struct cuda_device){.name = "wrong GPU", .memory_bytes = 1 << 30, .memory_free_bytes = 1 << 30};
    return GOSS_OK;
}

static uint64_t wrong_weights(const struct model *model, int expert_layers)
{
    (void)model, (void)expert_layers;
    return 1;
}

const struct cuda_library gossamer_cuda = {
    .abi = CUDA_LIBRARY_ABI, .table = &wrong_backend, .probe = wrong_probe, .weights_bytes = wrong_weights};
