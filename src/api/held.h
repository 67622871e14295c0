/* What a WebSocket remembers of its latest response if that is not stored: what a next message needs to continue it by
 * previous_response_id (Open Responses, "WebSocket Continuation"). It is gone with the connection, and with a
 * continuation that fails.
 *
 * Thread safety: none; it belongs to the connection's handler. */
#ifndef API_HELD_H
#define API_HELD_H

#include "api/answer.h"

enum { HELD_BYTES = 8 << 20 }; /* more is not remembered */

struct api_held {
    char id[64];         /* of the response; "" for none */
    struct buffer chain; /* what store_chain would give for it */
};

void held_open(struct api_held *held);
void held_close(struct api_held *held);
bool held_is(const struct api_held *held, const char *id); /* id NULL: no */
void held_forget(struct api_held *held);
/* Remembers the answer, whose turn is over and has appended to `conversation`, instead of what was before. */
goss_status held_put(struct api_held *held, const struct answer *answer, const struct conversation *conversation,
                     goss_error *error);

#endif
