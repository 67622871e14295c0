/* What a processor must do to run gpt-oss: eight coarse stages over a batch. Fusion happens inside a stage and never
 * shows. src/cpu and src/cuda each provide one; model/forward.c calls them in order. Activations and the KV cache
 * live in the backend. Stages cannot fail: everything that can is done in open. */
#ifndef MODEL_BACKEND_H
#define MODEL_BACKEND_H

#include "base/error.h"
#include "model/batch.h"
#include "model/layers.h"

struct backend_options {
    int threads;       /* 0: one per core this process may use */
    const char *isa;   /* a cap, the name of a table of cpu/kernels.h; NULL: the best there is */
    int max_rows;      /* most rows in a batch */
    int max_outputs;   /* most rows with logits in a batch */
    int max_sequences; /* most sequences in a batch */
    int pages, rings;  /* size of the KV cache */
    /* Of a GPU alone: the most of its memory to use (0: what is free), and who computes the experts of the layers that
     * do not fit into it (NULL: all must fit). */
    uint64_t gpu_bytes;
    const struct backend_table *host;
};

struct backend;

/* What every backend asks of its options and its model before it opens. */
goss_status backend_check(const struct model_config *config, const struct backend_options *options, goss_error *error);

struct backend_table {
    const char *name;
    goss_status (*open)(struct backend **backend, const struct model *model, const struct backend_options *options,
                        goss_error *error);
    void (*close)(struct backend *backend);
    const char *(*isa)(const struct backend *backend); /* what it runs on, for people */
    uint64_t (*kv_bytes)(const struct model_config *config, int pages, int rings);
    /* Memory that is free for keys and values beside the model, before that is opened; gpu_bytes as in the options.
     * NULL: the machine's memory. */
    uint64_t (*memory)(const struct model *model, uint64_t gpu_bytes);
    int (*expert_layers)(const struct backend *); /* layers whose experts it computes itself. NULL: all */

    /* Calls stages(argument, worker) on every worker at the same time and returns when all have returned. The stages
     * below are called inside of it, by every worker, in the same order; a stage returns to a worker when its results
     * are there for all. */
    void (*run)(struct backend *, void (*stages)(void *argument, int worker), void *argument);

    void (*embed)(struct backend *, int worker, const struct batch *);
    void (*attn_in)(struct backend *, int worker, const struct batch *, int layer); /* norm, q k v, bias, RoPE, cache */
    void (*attend)(struct backend *, int worker, const struct batch *, int layer);  /* attention with sinks */
    void (*attn_out)(struct backend *, int worker, const struct batch *, int layer); /* projection, bias, residual */
    void (*route)(struct backend *, int worker, const struct batch *, int layer);    /* norm, router, top-k, weights */
    void (*experts)(struct backend *, int worker, const struct batch *, int layer);  /* the chosen experts, residual */
    void (*unembed)(struct backend *, int worker, const struct batch *); /* final norm, head, for the output rows */

    /* The second half of a layer, route and experts, outside of run, for rows x [n_row][d_model] of another backend; in
     * place. NULL: it does not do that. */
    void (*mlp)(struct backend *, int layer, int n_row, float *x);

    /* KV copy. A ring snapshot holds what the window layers need to continue at `position` (the last `window`
     * positions before it) and is snapshot_bytes long; 0 if no layer is sliding. save_ring may ask for any position
     * that the ring's last batch passed, up to `window` before its end, so that a prompt need not be cut where a
     * snapshot is wanted: a ring keeps at least its last 2 * window positions. */
    void (*copy_page)(struct backend *, int from, int to);
    uint64_t (*snapshot_bytes)(const struct model_config *config);
    void (*save_ring)(struct backend *, int ring, int position, void *snapshot);
    void (*load_ring)(struct backend *, int ring, int position, const void *snapshot);
};

extern const struct backend_table cpu_backend;

#endif
