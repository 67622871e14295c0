/* A model in memory: its numbers and where its tensors are. Includes nothing but plain C, since src/cuda reads it, too.
 */
#ifndef MODEL_LAYERS_H
#define MODEL_LAYERS_H

#include "model/config.h"
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

#endif
