/* The control tokens of Harmony, found in a tokenizer by their literals. The only place that spells them. */
#ifndef HARMONY_CONTROL_H
#define HARMONY_CONTROL_H

#include "text/tokenizer.h"

struct harmony {
    const struct tokenizer *tokenizer;
    int32_t start, end, message, channel, constrain, call, ret, endoftext;
};

/* GOSS_E_UNSUPPORTED, naming the literal, if the tokenizer lacks one. */
goss_status harmony_open(struct harmony *harmony, const struct tokenizer *tokenizer, goss_error *error);

#endif
