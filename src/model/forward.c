#include "model/forward.h"

void forward(const struct backend_table *table, struct backend *backend, const struct model_config *config,
             const struct batch *batch)
{
    table->embed(backend, batch);
    for (int layer = 0; layer < config->n_layer; layer++) {
        table->attn_in(backend, batch, layer);
        table->attend(backend, batch, layer);
        table->attn_out(backend, batch, layer);
        table->route(backend, batch, layer);
        table->experts(backend, batch, layer);
    }
    table->unembed(backend, batch);
}
