/* The reasoning that a client keeps for us without reading it: "gossamer1:" and base64 of the text. It is sealed in the
 * sense of a closed envelope, not encrypted; whoever can read the answer may read it. It carries text and never token
 * ids, so that nobody can write control tokens with it. */
#ifndef API_BASE64_H
#define API_BASE64_H

#include "base/arena.h"
#include "base/buffer.h"

goss_status base64_seal(const void *text, size_t size, struct buffer *out, goss_error *error);
/* The text, NUL-terminated; NULL and *size 0 if it is not of this form or not well-formed UTF-8. */
const char *base64_unseal(struct arena *arena, const char *sealed, size_t n, size_t *size);

#endif
