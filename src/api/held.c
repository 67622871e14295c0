#include "api/held.h"

#include <string.h>

void held_open(struct api_held *held)
{
    *held = (struct api_held){0};
    buffer_init(&held->chain, HELD_BYTES);
}

void held_close(struct api_held *held)
{
    buffer_free(&held->chain);
    held->id[0] = 0;
}

bool held_is(const struct api_held *held, const char *id)
{
    return id && *held->id && strcmp(held->id, id) == 0;
}

void held_forget(struct api_held *held)
{
    held_close(held);
}

/* The past is an array, or nothing: one more element is written where it ends. */
goss_status held_put(struct api_held *held, const struct answer *answer, const struct conversation *conversation,
                     goss_error *error)
{
    const struct api_request *request = answer->request;
    struct buffer chain;
    buffer_init(&chain, HELD_BYTES);
    goss_status status = request->n_past > 1 ? buffer_append(&chain, request->past, request->n_past - 1, error)
                                             : buffer_append_text(&chain, "[", error);
    if (!status && chain.size > 1)
        status = buffer_append_text(&chain, ",", error);
    if (!status)
        status = answer_keep(answer, conversation, &chain, error);
    if (!status)
        status = buffer_append_text(&chain, "]", error);
    held_forget(held);
    if (status) {
        buffer_free(&chain);
        return status;
    }
    held->chain = chain;
    answer_id(answer, held->id);
    return GOSS_OK;
}
