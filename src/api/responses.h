/* The Responses API: POST /v1/responses and what belongs to stored responses. */
#ifndef API_RESPONSES_H
#define API_RESPONSES_H

#include "api/answer.h"

/* Reads the body of POST /v1/responses, or with settings->held a message that begins a response. On failure the request
 * is closed. key is the answer's, from which ids are derived for items that came without one. */
goss_status responses_read(struct api_request *request, const struct api_settings *settings, const char *key,
                           const void *body, size_t size, struct api_error *error);

/* Why a message of a WebSocket is refused, as the event that answers it. Settles the error first. */
goss_status responses_write_fault(struct api_error *error, struct buffer *out, goss_error *fault);

/* GET /v1/responses/ID/input_items: a page of the stored array. limit 1 .. 100, 0: 20; after: an item's id or NULL; the
 * newest first unless `ascending`. 400 for an id that is not there. */
goss_status responses_write_input_items(const char *items, size_t size, int limit, const char *after, bool ascending,
                                        struct buffer *out, struct api_error *error);
/* POST /v1/responses/input_tokens. */
goss_status responses_write_count(size_t n, struct buffer *out, goss_error *error);
/* DELETE /v1/responses/ID. */
goss_status responses_write_deleted(const char *id, struct buffer *out, goss_error *error);

#endif
