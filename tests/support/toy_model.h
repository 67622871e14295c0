/* A small gpt-oss-shaped model with random weights, made in memory without any file. */
#ifndef SUPPORT_TOY_MODEL_H
#define SUPPORT_TOY_MODEL_H

#include "model/model.h"

struct toy_shape {
    int n_layer, d_model, n_head, n_kv_head, head_dim, d_ff, n_expert, n_active, n_vocab, window;
    enum dtype dense, experts; /* tile types */
    enum dtype last_experts;   /* type of the last layer's experts; DTYPE_NONE: as the others */
    uint64_t seed;
};

/* Every mechanism in little: two kinds of layers, grouped heads, sinks, window, YaRN, more experts than are chosen,
 * a width that is no multiple of a segment. */
struct toy_shape toy_shape_default(void);

struct model *toy_model_open(const struct toy_shape *shape);
void toy_model_close(struct model *model);

#endif
