/* A model of the shape of gpt-oss with random weights by seed, in memory and without any file: MXFP4 experts, Q8 for
 * the rest. All layers share the weights of one, so that the largest is made in seconds; a GPU gets a copy for each. */
#ifndef BENCH_CUDA_SYNTHETIC_H
#define BENCH_CUDA_SYNTHETIC_H

#include "model/layers.h"

#ifdef __cplusplus
extern "C" {
#endif

/* "20b", "120b" or "tiny"; NULL if the name is another one or memory is out. */
struct model *synthetic_open(const char *name);
/* The same weights in fewer layers. */
struct model synthetic_part(const struct model *model, int n_layer);
void synthetic_close(struct model *model);

#ifdef __cplusplus
}
#endif

#endif
