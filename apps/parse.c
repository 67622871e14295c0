/* Token ids to Harmony messages. */
#include <stdio.h>

#include "command.h"
#include "harmony/message_json.h"
#include "harmony/parse.h"
#include "input.h"
#include "session.h"

enum { TEXT_LIMIT = 1 << 28 };

/* What the events add up to. */
struct reading {
    struct conversation conversation;
    struct buffer text; /* of the message under way */
    struct buffer repairs;
};

static goss_status reading_add(struct reading *reading, const struct event *event, goss_error *error)
{
    switch (event->kind) {
    case EVENT_NONE: break;
    case EVENT_MESSAGE_BEGIN: buffer_clear(&reading->text); break;
    case EVENT_TEXT: return buffer_append(&reading->text, event->text, event->text_size, error);
    case EVENT_REPAIR:
        return buffer_append_format(&reading->repairs, error, "%s{\"kind\":\"%s\",\"position\":%zu}",
                                    reading->repairs.size ? "," : "", event->repair.kind, event->repair.position);
    case EVENT_MESSAGE_END: {
        const char *text = reading->text.size ? (const char *)reading->text.data : "";
        struct part part = {.kind = PART_TEXT, .text = text, .text_size = reading->text.size};
        struct message message = {.role = event->role,
                                  .name = event->name,
                                  .recipient = event->recipient,
                                  .channel = event->channel,
                                  .content_type = event->content_type,
                                  .part = &part,
                                  .n_part = 1};
        return conversation_add(&reading->conversation, &message, error);
    }
    }
    return GOSS_OK;
}

static goss_status reading_pull(struct reading *reading, struct parser *parser, goss_error *error)
{
    struct event event;
    goss_status status = GOSS_OK;
    for (parser_next(parser, &event); !status && event.kind != EVENT_NONE; parser_next(parser, &event))
        status = reading_add(reading, &event, error);
    return status;
}

static goss_status read_ids(struct reading *reading, const struct harmony *harmony, const enum role *role,
                            const struct token_list *ids, goss_error *error)
{
    struct parser *parser;
    goss_status status = parser_open(&parser, harmony, role, error);
    for (size_t i = 0; !status && i < ids->size; i++) {
        status = parser_feed(parser, ids->id[i], error);
        if (!status)
            status = reading_pull(reading, parser, error);
    }
    if (!status)
        status = parser_finish(parser, error);
    if (!status)
        status = reading_pull(reading, parser, error);
    parser_close(parser);
    return status;
}

static goss_status reading_print(const struct reading *reading, goss_error *error)
{
    struct buffer json;
    buffer_init(&json, (size_t)4 * TEXT_LIMIT);
    goss_status status = buffer_append_text(&json, "{\"messages\":", error);
    if (!status)
        status = conversation_to_json(&reading->conversation, &json, error);
    if (!status)
        status = buffer_append_format(&json, error, ",\"repairs\":[%s]}\n",
                                      reading->repairs.size ? (const char *)reading->repairs.data : "");
    if (!status)
        (void)fwrite(json.data, 1, json.size, stdout);
    buffer_free(&json);
    return status;
}

/* {"ids": [...], "role": "assistant" or null}; *given tells whether there is a role. */
static goss_status request_read(const json_t *request, struct token_list *ids, enum role *role, bool *given,
                                goss_error *error)
{
    const json_t *name = json_object_get(request, "role");
    if (!json_is_object(request))
        return error_set(error, GOSS_E_FORMAT, "standard input: not an object with 'ids'");
    *given = name && !json_is_null(name);
    if (*given && (!json_is_string(name) || !role_find(json_string_value(name), role)))
        return error_set(error, GOSS_E_FORMAT, "standard input: role: neither null nor a role");
    return ids_from_json(json_object_get(request, "ids"), "standard input: ids", ids, error);
}

goss_status command_parse(const struct arguments *arguments, goss_error *error)
{
    struct session session = {0};
    struct token_list ids = {0};
    struct reading reading = {0};
    struct harmony harmony;
    enum role role = ROLE_ASSISTANT;
    bool given = false;
    json_t *request = NULL;
    buffer_init(&reading.text, TEXT_LIMIT);
    buffer_init(&reading.repairs, TEXT_LIMIT);
    goss_status status = input_json(&request, error);
    if (!status)
        status = request_read(request, &ids, &role, &given, error);
    if (!status)
        status = session_tokenizer(&session, arguments, error);
    if (!status)
        status = harmony_open(&harmony, session.tokenizer, error);
    if (!status)
        status = read_ids(&reading, &harmony, given ? &role : NULL, &ids, error);
    if (!status)
        status = reading_print(&reading, error);
    conversation_free(&reading.conversation);
    buffer_free(&reading.text);
    buffer_free(&reading.repairs);
    token_list_free(&ids);
    json_decref(request);
    session_close(&session);
    return status;
}
