/* POST /v1/responses/compact: a long conversation becomes a short one that can be sent instead of it. The model writes
 * a summary, which is handed out sealed (api/base64.h) as an item of the type compaction; before it stand the user's
 * own latest messages, word for word. Nothing is stored. When such an item comes back, the model reads the summary. */
#ifndef API_COMPACT_H
#define API_COMPACT_H

#include "api/read.h"
#include "api/wire.h"

enum { COMPACT_KEPT_BYTES = 32 << 10 }; /* of the user's messages; older ones are only in the summary */

/* Reads the body; on failure the request is closed. */
goss_status compact_read(struct api_request *request, const struct api_settings *settings, const void *body,
                         size_t size, struct api_error *error);

/* An item of the type compaction, in the input of any request. */
void compact_read_item(struct reader *reader, const struct json_node *item);

/* Whether the model wrote a summary; without one there is no object. */
bool compact_is_done(const struct answer *answer);
void compact_object(const struct answer *answer, struct json_out *json);

#endif
