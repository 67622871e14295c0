/* The numbers that make one gpt-oss-shaped model. Nothing in gossamer hard-codes the two published sizes. */
#ifndef MODEL_CONFIG_H
#define MODEL_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct checkpoint; /* weights/checkpoint.h */
struct json_t;     /* of jansson */

enum { MODEL_MAX_LAYERS = 512, MODEL_MAX_STOPS = 8, MODEL_MAX_ACTIVE = 64 };

struct model_config {
    int n_layer, d_model, n_head, n_kv_head, head_dim;
    int d_ff;               /* intermediate size of one expert */
    int n_expert, n_active; /* experts per layer, experts per token */
    int n_vocab;            /* rows of the embedding and of the head */
    int window;             /* keys seen on a sliding layer, the token itself included; at least 1 */
    bool sliding[MODEL_MAX_LAYERS];
    int max_context;
    float rms_eps, swiglu_limit;
    /* RoPE; yarn is false for plain RoPE, and then only theta counts */
    bool yarn, yarn_truncate;
    double rope_theta, yarn_factor, yarn_beta_fast, yarn_beta_slow;
    int yarn_context;                  /* original_max_position_embeddings */
    int n_stop, stop[MODEL_MAX_STOPS]; /* ids that end sampling */
};

/* Checks every field against the limits that the code relies on (positive, head_dim a multiple of 16 and at most 256,
 * n_head a multiple of n_kv_head, d_model, n_head*head_dim and d_ff multiples of 32, n_active <= n_expert ..).
 * `file` is named in the message. */
goss_status model_config_check(const struct model_config *config, const char *file, goss_error *error);

/* The limits of one integer field, given by its address in *config; 0 and 0 if it is none that has limits. */
void model_config_limits(const struct model_config *config, const int *field, int *least, int *most);

/* Reads the configuration of a checkpoint of any format and checks it. The architecture is compiled in: a field can
 * only select numbers, and a value that asks for anything else is refused by the field's name.
 *   config.json   the field names of transformers, its defaults where a field is missing (YaRN's truncate: true)
 *   original/     every field is needed and no other is known
 *   GGUF          layers slide by sliding_window_pattern (default: the even ones); YaRN's limits are never truncated;
 *                 swiglu_limit is 7
 * The stop ids are those the checkpoint names; with the vocabulary of o200k_harmony (201088 rows) return, endoftext
 * and call are among them whatever it says, since several published files name only one. */
goss_status model_config_read(struct model_config *config, const struct checkpoint *checkpoint, goss_error *error);

/* The form kept in the packed file. The caller owns *json. */
goss_status model_config_save(const struct model_config *config, struct json_t **json, goss_error *error);
goss_status model_config_load(struct model_config *config, const struct json_t *json, const char *file,
                              goss_error *error);

#endif
