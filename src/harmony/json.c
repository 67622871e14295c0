#include "harmony/json.h"

#include <string.h>

#include "harmony/collect.h"
#include "harmony/message_json.h"
#include "harmony/render.h"

/* One of a few names, at its index; absent or null leaves *index alone. */
static goss_status read_choice(const struct json_node *root, const char *field, const char *const *names, int *index,
                               goss_error *error)
{
    const struct json_node *node = json_tree_get(root, field);
    if (!node || node->kind == JSON_TREE_NULL)
        return GOSS_OK;
    for (int i = 0; names[i]; i++)
        if (node->kind == JSON_TREE_STRING && node->size == strlen(names[i]) && strcmp(node->text, names[i]) == 0) {
            *index = i;
            return GOSS_OK;
        }
    return error_set(error, GOSS_E_FORMAT, "standard input: '%s' is %.*s; it must be one of %s, %s, ..", field,
                     (int)(node->source_size < 60 ? node->source_size : 60), node->source, names[0], names[1]);
}

static const char *const role_choices[] = {"system", "developer", "user", "assistant", "tool", NULL};

static goss_status read_options(const struct json_node *root, struct render_options *options, goss_error *error)
{
    static const char *const modes[] = {"completion", "conversation", "training", NULL};
    static const char *const drops[] = {"turn", "harmony", "none", NULL};
    static const char *const calls[] = {"role", "channel", NULL};
    int mode = RENDER_COMPLETION, role = ROLE_ASSISTANT, call = CALL_ROLE, drop = DROP_TURN;
    const struct json_node *old = json_tree_get(root, "auto_drop");
    if (old && json_tree_get(root, "drop"))
        return error_set(error, GOSS_E_FORMAT, "standard input: 'drop' and 'auto_drop' exclude each other");
    if (json_tree_is(old, JSON_TREE_TRUE))
        drop = DROP_HARMONY;
    else if (json_tree_is(old, JSON_TREE_FALSE))
        drop = DROP_NONE;
    goss_status status = read_choice(root, "mode", modes, &mode, error);
    status = status ? status : read_choice(root, "next_role", role_choices, &role, error);
    status = status ? status : read_choice(root, "drop", drops, &drop, error);
    status = status ? status : read_choice(root, "call", calls, &call, error);
    *options =
        (struct render_options){.mode = (enum render_mode)mode,
                                .next_role = (enum role)role,
                                .drop = (enum render_drop)drop,
                                .call = (enum render_call)call,
                                .no_reasoning = json_tree_is(json_tree_get(root, "no_reasoning"), JSON_TREE_TRUE)};
    return status;
}

static goss_status write_ids(const struct harmony *harmony, const struct token_list *ids, struct buffer *out,
                             goss_error *error)
{
    struct buffer text;
    struct utf8_stream stream = {0};
    goss_status status = GOSS_OK;
    buffer_init(&text, out->limit);
    for (size_t i = 0; i < ids->size && status == GOSS_OK; i++) {
        size_t n;
        const uint8_t *token = tokenizer_bytes(harmony->tokenizer, ids->id[i], &n);
        status = utf8_stream_add(&stream, token, n, &text, error);
    }
    status = status ? status : utf8_stream_flush(&stream, &text, error);
    status = status ? status : buffer_append_text(out, "{\"text\":", error);
    status = status ? status : json_write_string(out, (const char *)text.data, text.size, error);
    status = status ? status : buffer_append_text(out, ",\"ids\":[", error);
    for (size_t i = 0; i < ids->size && status == GOSS_OK; i++)
        status = buffer_append_format(out, error, "%s%d", i ? "," : "", ids->id[i]);
    buffer_free(&text);
    return status ? status : buffer_append_text(out, "]}", error);
}

goss_status harmony_render_json(const struct harmony *harmony, const char *text, size_t size, struct buffer *out,
                                goss_error *error)
{
    struct arena arena = {0};
    struct conversation conversation = {0};
    struct token_list ids = {0};
    struct render_options options;
    struct json_node *root;
    goss_status status = json_tree_read(&arena, text, size, "standard input", &root, error);
    status = status ? status : read_options(root, &options, error);
    status =
        status ? status
               : conversation_from_json(&conversation, json_tree_get(root, "messages"), "standard input", NULL, error);
    status = status ? status : render(harmony, &conversation, &options, &ids, error);
    status = status ? status : write_ids(harmony, &ids, out, error);
    token_list_free(&ids);
    conversation_free(&conversation);
    arena_free(&arena);
    return status;
}

/* {"kind":..,"position":..,"message":..}: message is the index of the message concerned, or of the next one. */
static goss_status write_repair(const struct event *event, size_t message, struct buffer *out, goss_error *error)
{
    goss_status status =
        buffer_append_format(out, error, "%s{\"kind\":\"%s\",\"position\":%zu,\"message\":%zu", out->size ? "," : "",
                             event->repair.kind, event->repair.position, message);
    if (status == GOSS_OK && event->n_id)
        status = buffer_append_format(out, error, ",\"ids\":%zu", event->n_id);
    return status ? status : buffer_append_text(out, "}", error);
}

static goss_status take_events(struct parser *parser, struct collector *collector, const struct harmony *harmony,
                               struct buffer *repairs, goss_error *error)
{
    struct event event;
    goss_status status = GOSS_OK;
    for (parser_next(parser, &event); event.kind != EVENT_NONE && status == GOSS_OK; parser_next(parser, &event)) {
        if (event.kind == EVENT_REPAIR)
            status = write_repair(&event, collector->conversation->n_message, repairs, error);
        status = status ? status : collector_add(collector, harmony, &event, NULL, error);
    }
    return status;
}

static goss_status parse_ids(const struct harmony *harmony, const struct json_node *ids, const enum role *role,
                             struct conversation *conversation, struct buffer *repairs, goss_error *error)
{
    struct collector collector = {.conversation = conversation};
    struct parser *parser;
    goss_status status = parser_open(&parser, harmony, role, error);
    for (const struct json_node *node = ids->child; node && status == GOSS_OK; node = node->next) {
        int64_t id = -1; /* what no 32-bit number can hold is an unknown id like any other */
        if (node->kind != JSON_TREE_NUMBER)
            status = error_set(error, GOSS_E_FORMAT, "standard input: 'ids' must be an array of integers");
        else if (!json_tree_integer(node, INT32_MIN, INT32_MAX, &id))
            id = -1;
        status = status ? status : parser_feed(parser, (int32_t)id, error);
        status = status ? status : take_events(parser, &collector, harmony, repairs, error);
    }
    status = status ? status : parser_finish(parser, error);
    status = status ? status : take_events(parser, &collector, harmony, repairs, error);
    parser_close(parser);
    collector_free(&collector);
    return status;
}

goss_status harmony_parse_json(const struct harmony *harmony, const char *text, size_t size, struct buffer *out,
                               goss_error *error)
{
    struct arena arena = {0};
    struct conversation conversation = {0};
    struct buffer repairs;
    struct json_node *root;
    int role = -1;
    buffer_init(&repairs, out->limit);
    goss_status status = json_tree_read(&arena, text, size, "standard input", &root, error);
    status = status ? status : read_choice(root, "role", role_choices, &role, error);
    const struct json_node *ids = status ? NULL : json_tree_get(root, "ids");
    if (status == GOSS_OK && !json_tree_is(ids, JSON_TREE_ARRAY))
        status = error_set(error, GOSS_E_FORMAT, "standard input: 'ids' must be an array");
    enum role given = (enum role)role;
    status = status ? status : parse_ids(harmony, ids, role < 0 ? NULL : &given, &conversation, &repairs, error);
    status = status ? status : buffer_append_text(out, "{\"messages\":", error);
    status = status ? status : conversation_to_json(&conversation, NULL, out, error);
    status = status ? status : buffer_append_text(out, ",\"repairs\":[", error);
    status = status ? status : buffer_append_text(out, repairs.data ? (const char *)repairs.data : "", error);
    status = status ? status : buffer_append_text(out, "]}", error);
    buffer_free(&repairs);
    conversation_free(&conversation);
    arena_free(&arena);
    return status;
}
