/* Single stages of src/cuda on the emulated GPU, for tests in C. All arrays are the test's; what comes out is marked.
 */
#ifndef EMULATED_STAGES_H
#define EMULATED_STAGES_H

#include "model/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One sequence of a step. kv [first_position + n_row][n_kv_head][2 head_dim]: the keys (turned) and values before the
 * rows go into the cache; `kept`, of the same shape, gets what the cache holds afterwards, on a sliding layer from
 * `oldest` on. */
struct stages_sequence {
    int n_row, first_position;
    const uint16_t *kv;
    uint16_t *kept; /* out */
    int oldest;     /* out */
};

/* From the raw products to attention's output, on one layer. config: n_head, n_kv_head, head_dim, window, d_model. */
struct stages_attention {
    const struct model_config *config;
    bool sliding;
    struct stages_sequence *sequence; /* [n_sequence] */
    int n_sequence;
    const float *qkv;           /* [rows][n_head + 2 n_kv_head][head_dim], bias added */
    const float *cosine, *sine; /* [rows][head_dim / 2] */
    const float *sinks;         /* [n_head] */
    float *query, *attended;    /* out: [rows][n_head][head_dim] */
};
void stages_attend(const struct stages_attention *attention);

/* The choice of experts. config: d_model, n_expert, n_active, rms_eps. `gate_up`: the type of the experts. With
 * little_shared the GPU has too little shared memory to norm few rows beside the router. */
struct stages_route {
    const struct model_config *config;
    struct matrix router;
    const float *gain, *bias;
    enum dtype gate_up;
    bool little_shared;
    int n_row;
    const float *x; /* [n_row][d_model] */
    /* out */
    float *normed;                     /* [n_row][d_model] */
    int8_t *q;                         /* [n_row][d_model] in the order of the experts' weights, .. */
    float *scale;                      /* [n_row][d_model / 32] */
    int32_t *chosen, *place, *slot_of; /* [n_row][n_active] */
    float *weight;                     /* [n_row][n_active] */
    int32_t *expert_first /* [n_expert + 1] */, *active /* [n_expert], of few rows */;
};
void stages_route(const struct stages_route *route);

/* Embedding, cosines and sines of n_row rows. */
void stages_embed(const struct model *model, int n_row, const int32_t *token, const int32_t *position, float *x,
                  float *cosine, float *sine);

/* x [n_row][d_model] += the slots of each row: out [place][d_model]. */
void stages_combine(const struct model_config *config, int n_row, float *x, const float *out, const int32_t *place,
                    const float *weight);

/* drawn [n_row]: the ids drawn from logits [n_row][n_vocab], or -1. `cut` if any draw has top-k or top-p. */
void stages_sample(int n_vocab, int n_row, const float *logits, const struct batch_draw *draw, bool cut,
                   int32_t *drawn);

float stages_swiglu(float gate, float up, float limit);

#ifdef __cplusplus
}
#endif

#endif
