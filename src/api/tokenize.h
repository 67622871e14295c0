/* POST /v1/tokenize {"text" or "prompt": "..", "special": false} -> {"tokens":[..],"count":n,"max_model_len":m}, and
 * POST /v1/detokenize {"tokens":[..]} -> {"text" and "prompt": ".."}. A body with "messages" is read as a chat request
 * and counts the rendered prompt. */
#ifndef API_TOKENIZE_H
#define API_TOKENIZE_H

#include "api/request.h"
#include "harmony/control.h"

goss_status tokenize_text(const struct harmony *harmony, const struct api_settings *settings, int context,
                          const void *body, size_t size, struct buffer *out, struct api_error *error);
goss_status tokenize_back(const struct harmony *harmony, const void *body, size_t size, struct buffer *out,
                          struct api_error *error);

#endif
