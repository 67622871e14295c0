/* What a model asks of a machine: the bytes and the multiplications of a token, to hold its speed against the rates of
 * rates.h. Norms, biases, RoPE and sampling are left out: together they are less than a hundredth. */
#ifndef APPS_WORK_H
#define APPS_WORK_H

#include "model/model.h"

/* Bytes of weights that decoding one token reads: every matrix once, n_active experts a layer. */
uint64_t work_weight_bytes(const struct model *model);

/* Bytes of keys and values that decoding the token at position `depth` reads. */
uint64_t work_kv_bytes(const struct model *model, int depth);

/* Multiplications and additions of a prompt of n tokens with the logits of its last one: the products of weights, and
 * of attention those of keys that are not masked. */
double work_prompt_ops(const struct model *model, int n);

#endif
