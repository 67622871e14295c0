/* The Chat Completions API: POST /v1/chat/completions. */
#ifndef API_CHAT_H
#define API_CHAT_H

#include "api/answer.h"

/* On failure the request is closed. */
goss_status chat_read(struct api_request *request, const struct api_settings *settings, const void *body, size_t size,
                      struct api_error *error);

#endif
