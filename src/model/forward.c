#include "model/forward.h"

struct step {
    const struct backend_table *table;
    struct backend *backend;
    const struct model_config *config;
    const struct batch *batch;
};

static void stages(void *argument, int worker)
{
    const struct step *step = argument;
    const struct backend_table *table = step->table;
    struct backend *backend = step->backend;
    const struct batch *batch = step->batch;
    table->embed(backend, worker, batch);
    for (int layer = 0; layer < step->config->n_layer; layer++) {
        table->attn_in(backend, worker, batch, layer);
        table->attend(backend, worker, batch, layer);
        table->attn_out(backend, worker, batch, layer);
        table->route(backend, worker, batch, layer);
        table->experts(backend, worker, batch, layer);
    }
    table->unembed(backend, worker, batch);
}

void forward(const struct backend_table *table, struct backend *backend, const struct model_config *config,
             const struct batch *batch)
{
    table->run(backend, stages, &(struct step){table, backend, config, batch});
}
