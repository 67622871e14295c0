/* A model of the shape of gpt-oss with random weights by seed, in memory and without any file: to compare backends, and
 * to measure them at any size. */
#ifndef MODEL_SYNTHETIC_H
#define MODEL_SYNTHETIC_H

#include "model/layers.h"

struct synthetic_shape {
    int n_layer, d_model, n_head, n_kv_head, head_dim, d_ff, n_expert, n_active, n_vocab, window;
    enum dtype dense, experts; /* tile types */
    enum dtype last_experts;   /* type of the last layer's experts; DTYPE_NONE: as the others */
    bool repeat;               /* all layers share the weights of the first, so that a large model is made soon */
    uint64_t seed;
};

/* Every mechanism in little: two kinds of layers, grouped heads, sinks, window, YaRN, more experts than are chosen,
 * a width that is no multiple of a segment. */
struct synthetic_shape synthetic_small(void);
/* The published models. */
struct synthetic_shape synthetic_20b(void);
struct synthetic_shape synthetic_120b(void);

struct model_config synthetic_config(const struct synthetic_shape *shape);

/* NULL when memory is out. Not for model_close. */
struct model *synthetic_open(const struct synthetic_shape *shape);
void synthetic_close(struct model *model); /* NULL is fine */

#endif
