/* Token ids to bytes. */
#include <stdio.h>

#include "command.h"
#include "input.h"
#include "session.h"
#include "terminal.h"

/* All bytes first, so that bad input prints nothing. */
static goss_status decode(const struct tokenizer *tokenizer, const struct token_list *ids, bool special,
                          struct buffer *bytes, goss_error *error)
{
    for (size_t i = 0; i < ids->size; i++) {
        size_t size = 0;
        int32_t id = ids->id[i];
        const uint8_t *piece = id < tokenizer_size(tokenizer) ? tokenizer_bytes(tokenizer, id, &size) : NULL;
        if (!size)
            return error_set(error, GOSS_E_FORMAT, "standard input[%zu]: the tokenizer has no token %d", i, id);
        if (!special && tokenizer_is_control(tokenizer, id))
            return error_set(error, GOSS_E_FORMAT,
                             "standard input[%zu]: %d is the control token %.*s; --special allows it", i, id, (int)size,
                             (const char *)piece);
        goss_status status = buffer_append(bytes, piece, size, error);
        if (status)
            return status;
    }
    return GOSS_OK;
}

goss_status command_detokenize(const struct arguments *arguments, goss_error *error)
{
    struct session session = {0};
    struct token_list ids = {0};
    struct terminal terminal;
    struct buffer bytes;
    json_t *json = NULL;
    buffer_init(&bytes, (size_t)1 << 32);
    terminal_open(&terminal, stdout, COLOR_AUTO);
    goss_status status = session_tokenizer(&session, arguments, error);
    if (!status)
        status = input_json(&json, error);
    if (!status)
        status = ids_from_json(json, "standard input", &ids, error);
    if (!status)
        status = decode(session.tokenizer, &ids, arguments->value[OPTION_SPECIAL].given, &bytes, error);
    if (!status)
        terminal_text(&terminal, (const char *)bytes.data, bytes.size);
    json_decref(json);
    buffer_free(&bytes);
    token_list_free(&ids);
    session_close(&session);
    return status;
}
