/* A model in memory: a packed file, mapped, with its tensors found and its shapes checked. Read-only and shared. */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include "model/config.h"
#include "model/pack.h"
#include "weights/dtype.h"

struct packed;    /* weights/packed.h */
struct tokenizer; /* text/tokenizer.h */

/* One matrix in the layout of weights/tile.h, or a stack of `count` of them `stride` bytes apart. */
struct matrix {
    enum dtype type;
    int rows, cols, count;
    uint64_t stride;       /* bytes from one expert to the next; both planes move by it */
    const uint8_t *quants; /* 64-byte aligned for count == 1 and for every stacked matrix 16-byte aligned */
    const uint8_t *scales; /* NULL for BF16 and F32 */
};

struct layer {
    const float *attn_norm;     /* [d_model] */
    struct matrix qkv;          /* [(n_head + 2 n_kv_head) * head_dim][d_model], rows of q, then k, then v */
    const float *qkv_bias;      /* [rows of qkv] */
    const float *sinks;         /* [n_head]; -inf is stored as -FLT_MAX, which adds exactly nothing */
    struct matrix attn_out;     /* [d_model][n_head * head_dim] */
    const float *attn_out_bias; /* [d_model] */
    const float *mlp_norm;      /* [d_model] */
    struct matrix router;       /* F32 [n_expert][d_model] */
    const float *router_bias;   /* [n_expert] */
    struct matrix gate_up;      /* count n_expert, [2 d_ff][d_model], rows in the order of weights/tile.h */
    const float *gate_up_bias;  /* [n_expert][2 d_ff], in the same order */
    struct matrix down;         /* count n_expert, [d_model][d_ff] */
    const float *down_bias;     /* [n_expert][d_model] */
};

struct model {
    struct model_config config;
    const uint8_t *embedding;    /* row-major [n_vocab][d_model] */
    enum dtype embedding_type;   /* DTYPE_Q8_0 or DTYPE_BF16 */
    struct layer *layers;        /* [n_layer], owned */
    const float *final_norm;     /* [d_model] */
    struct matrix head;          /* [n_vocab][d_model] */
    struct tokenizer *tokenizer; /* owned; NULL if the checkpoint has none */
    struct packed *file;         /* owned: the mapping that all pointers above lead into */
};

/* Where and how a checkpoint that is not packed yet gets packed. Zeroed is the default. */
struct model_options {
    const char *cache; /* folder of packed files, made if missing; NULL: only a packed file can be opened */
    struct pack_options pack;
    struct pack_progress *progress; /* NULL, or watched while packing */
};

/* Opens a packed file. `path` may also be any checkpoint that weights/checkpoint.h reads: its packed file is then
 * looked for in the cache (by the source files' names, sizes and times, and the pack options) and made there if it
 * is not found. Processes and threads that want the same one wait for the first. options may be NULL. */
goss_status model_open(struct model **model, const char *path, const struct model_options *options, goss_error *error);
/* The same for a packed file only. */
goss_status model_open_packed(struct model **model, const char *path, goss_error *error);
void model_close(struct model *model); /* NULL is fine */

/* The packed file that model_open would use for `path`: path itself if it is one, else its place in the cache, whether
 * it is there or not. The caller frees *packed_path. */
goss_status model_packed_path(const char *path, const struct model_options *options, char **packed_path,
                              goss_error *error);

/* Removes from a cache the packed files that model_open would never use again, since their checkpoint is gone or has
 * changed; those that are being made are kept. Nobody knows what `unknown` ones were made from: they are kept, too. */
struct model_pruned {
    int removed, kept, unknown;
    uint64_t bytes; /* of the removed */
};
goss_status model_cache_prune(const char *cache, struct model_pruned *pruned, goss_error *error);

/* What `path` holds, for people and programs: configuration, tensors with shapes, types and (of a packed file) digests,
 * its own and those of its sources. The caller owns *json. */
goss_status model_describe(const char *path, json_t **json, goss_error *error);

#endif
