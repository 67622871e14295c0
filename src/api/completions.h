/* Raw text: POST /v1/completions. The prompt is not a conversation; the service samples after it and hands each token's
 * text to the answer as events of TURN_FINAL. Text is encoded with control tokens disabled; who needs them sends ids.
 */
#ifndef API_COMPLETIONS_H
#define API_COMPLETIONS_H

#include "api/answer.h"

/* On failure the request is closed. */
goss_status completions_read(struct api_request *request, const struct api_settings *settings, const void *body,
                             size_t size, struct api_error *error);

/* Appends the ids of the prompt that a choice continues. */
goss_status completions_prompt(const struct api_request *request, const struct tokenizer *tokenizer, int choice,
                               struct token_list *ids, goss_error *error);

#endif
