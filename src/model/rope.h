/* Rotary position embedding with YaRN: the inverse frequencies and the tables of cosines and sines. Our own double
 * precision functions, computed by the same scalar code for every backend, so that the tables have the same bits
 * everywhere. Formulas: the YaRN paper (Peng et al. 2023) as gpt-oss uses it, limits not rounded unless the model
 * says so. */
#ifndef MODEL_ROPE_H
#define MODEL_ROPE_H

#include "model/config.h"

enum { ROPE_MAX_HALF = 128 };

struct rope {
    int half;                 /* head_dim / 2: pairs that turn */
    float inv[ROPE_MAX_HALF]; /* radians per position */
    float concentration;      /* multiplies cosines and sines */
};

void rope_init(struct rope *rope, const struct model_config *config);

/* cosine, sine: [half]. The angle is rounded to float before its sine is taken, as the reference does. */
void rope_table(const struct rope *rope, int position, float *cosine, float *sine);

#endif
