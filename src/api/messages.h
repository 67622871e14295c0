/* Anthropic's Messages API: POST /v1/messages and /v1/messages/count_tokens. */
#ifndef API_MESSAGES_H
#define API_MESSAGES_H

#include "api/answer.h"

/* On failure the request is closed. `count` reads the body of count_tokens, which needs no max_tokens. */
goss_status messages_read(struct api_request *request, const struct api_settings *settings, bool count,
                          const void *body, size_t size, struct api_error *error);
/* {"input_tokens": n} */
goss_status messages_write_count(size_t n, struct buffer *out, goss_error *error);

#endif
