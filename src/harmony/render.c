#include "harmony/render.h"

#include <string.h>

#include "harmony/content.h"

enum { CONTENT_LIMIT = 1 << 28 }; /* bytes of one system or developer text */

/* The ids being written. A failure stops every later write and is returned in the end. */
struct writer {
    const struct harmony *harmony;
    struct token_list *ids;
    goss_error *error;
    goss_status status;
};

static void put_id(struct writer *writer, int32_t id)
{
    if (writer->status == GOSS_OK)
        writer->status = token_list_append(writer->ids, &id, 1, writer->error);
}

static void put_bytes(struct writer *writer, const void *text, size_t n)
{
    if (writer->status == GOSS_OK && n > 0)
        writer->status = tokenizer_encode(writer->harmony->tokenizer, text, n, false, writer->ids, writer->error);
}

static void put_text(struct writer *writer, const char *text)
{
    put_bytes(writer, text, strlen(text));
}

/* Two strings tokenised as one. */
static void put_joined(struct writer *writer, const char *a, const char *b)
{
    struct buffer text;
    buffer_init(&text, CONTENT_LIMIT);
    if (writer->status == GOSS_OK)
        writer->status = buffer_append_text(&text, a, writer->error);
    if (writer->status == GOSS_OK)
        writer->status = buffer_append_text(&text, b, writer->error);
    if (writer->status == GOSS_OK)
        put_bytes(writer, text.data, text.size);
    buffer_free(&text);
}

static void put_recipient(struct writer *writer, const struct message *message)
{
    if (message->recipient && strcmp(message->recipient, "all") != 0)
        put_joined(writer, " to=", message->recipient);
}

/* " json" is text; "<|constrain|>json" is a blank, the control token, and text. */
static void put_content_type(struct writer *writer, const char *type)
{
    static const char constrain[] = "<|constrain|>";
    size_t n = sizeof constrain - 1;
    if (strncmp(type, constrain, n) != 0) {
        put_joined(writer, " ", type);
        return;
    }
    put_text(writer, " ");
    put_id(writer, writer->harmony->constrain);
    put_text(writer, type + n);
}

static void put_header(struct writer *writer, const struct message *message, enum render_call call)
{
    bool tool = message->role == ROLE_TOOL;
    bool channel_first = call == CALL_CHANNEL && message->role == ROLE_ASSISTANT && message->channel;
    if (tool && !message->name) {
        writer->status = error_set(writer->error, GOSS_E_FORMAT, "a tool message without the tool's name");
        return;
    }
    put_text(writer, tool ? message->name : role_name(message->role));
    if (!tool && message->name)
        put_joined(writer, ":", message->name);
    if (!channel_first)
        put_recipient(writer, message);
    if (message->channel) {
        put_id(writer, writer->harmony->channel);
        put_text(writer, message->channel);
    }
    if (channel_first)
        put_recipient(writer, message);
    if (message->content_type)
        put_content_type(writer, message->content_type);
    put_id(writer, writer->harmony->message);
}

static void put_part(struct writer *writer, const struct message *message, const struct part *part, bool functions)
{
    if (part->kind == PART_TEXT) {
        put_bytes(writer, part->text, part->text_size);
        return;
    }
    bool system = part->kind == PART_SYSTEM;
    if (message->role != (system ? ROLE_SYSTEM : ROLE_DEVELOPER)) {
        writer->status = error_set(writer->error, GOSS_E_FORMAT, "%s content inside a %s message",
                                   system ? "system" : "developer", role_name(message->role));
        return;
    }
    struct buffer text;
    buffer_init(&text, CONTENT_LIMIT);
    writer->status = system ? content_write_system(part, functions, &text, writer->error)
                            : content_write_developer(part, &text, writer->error);
    if (writer->status == GOSS_OK)
        put_bytes(writer, text.data, text.size);
    buffer_free(&text);
}

/* The ids as the model wrote them; only ids of this tokenizer, since they may come from a store. */
static void put_sampled(struct writer *writer, const struct message *message)
{
    int32_t size = tokenizer_size(writer->harmony->tokenizer);
    for (size_t i = 0; i < message->n_sampled; i++)
        if (message->sampled[i] < 0 || message->sampled[i] >= size) {
            writer->status =
                error_set(writer->error, GOSS_E_FORMAT, "sampled id %d is not in 0..%d", message->sampled[i], size - 1);
            return;
        }
    writer->status = token_list_append(writer->ids, message->sampled, message->n_sampled, writer->error);
}

static void put_message(struct writer *writer, const struct message *message, enum render_call call, bool functions)
{
    bool assistant = message->role == ROLE_ASSISTANT;
    put_id(writer, writer->harmony->start);
    if (assistant && message->sampled) {
        put_text(writer, role_name(ROLE_ASSISTANT));
        if (writer->status == GOSS_OK)
            put_sampled(writer, message);
    } else {
        put_header(writer, message, call);
        for (size_t i = 0; i < message->n_part && writer->status == GOSS_OK; i++)
            put_part(writer, message, &message->part[i], functions);
    }
    put_id(writer, assistant && message->recipient ? writer->harmony->call : writer->harmony->end);
}

static bool is_channel(const struct message *message, const char *channel)
{
    return message->channel && strcmp(message->channel, channel) == 0;
}

static bool is_answer(const struct message *message)
{
    return message_purpose(message->role, message->recipient, message->channel) == PURPOSE_FINAL;
}

/* Analysis before this message is left out. */
static size_t drop_until(const struct conversation *conversation, enum render_drop drop)
{
    const struct message *message = conversation->message;
    size_t n = conversation->n_message, last = n, first = 0;
    if (drop == DROP_TURN) {
        while (n > 0 && !is_answer(&message[n - 1]))
            n--;
        return n;
    }
    while (last > 0 && message[last - 1].role != ROLE_ASSISTANT)
        last--;
    if (drop == DROP_NONE || last == 0 || !is_channel(&message[last - 1], "final"))
        return 0;
    while (first < n && !is_channel(&message[first], "final"))
        first++;
    return first;
}

/* An empty analysis, and the header of the answer. */
static void put_no_reasoning(struct writer *writer, const struct conversation *conversation)
{
    const struct message nothing = {.role = ROLE_ASSISTANT, .channel = "analysis"};
    if (conversation_has_tools(conversation)) {
        writer->status =
            error_set(writer->error, GOSS_E_ARGUMENT, "reasoning cannot be switched off for a conversation with tools");
        return;
    }
    put_message(writer, &nothing, CALL_ROLE, false);
    put_id(writer, writer->harmony->start);
    put_text(writer, role_name(ROLE_ASSISTANT));
    if (writer->status == GOSS_OK)
        writer->status = render_open_final(writer->harmony, writer->ids, writer->error);
}

goss_status render(const struct harmony *harmony, const struct conversation *conversation,
                   const struct render_options *options, struct token_list *ids, goss_error *error)
{
    struct writer writer = {.harmony = harmony, .ids = ids, .error = error};
    bool functions = conversation_has_functions(conversation);
    size_t until = drop_until(conversation, options->drop);
    for (size_t i = 0; i < conversation->n_message && writer.status == GOSS_OK; i++)
        if (i >= until || !is_channel(&conversation->message[i], "analysis"))
            put_message(&writer, &conversation->message[i], options->call, functions);
    if (options->mode == RENDER_COMPLETION && options->no_reasoning && options->next_role == ROLE_ASSISTANT) {
        put_no_reasoning(&writer, conversation);
    } else if (options->mode == RENDER_COMPLETION) {
        put_id(&writer, harmony->start);
        put_text(&writer, role_name(options->next_role));
    } else if (options->mode == RENDER_TRAINING && conversation->n_message > 0 && writer.status == GOSS_OK) {
        const struct message *last = &conversation->message[conversation->n_message - 1];
        if (last->role == ROLE_ASSISTANT && is_channel(last, "final"))
            ids->id[ids->size - 1] = harmony->ret;
    }
    return writer.status;
}

goss_status render_open_final(const struct harmony *harmony, struct token_list *ids, goss_error *error)
{
    struct writer writer = {.harmony = harmony, .ids = ids, .error = error};
    put_id(&writer, harmony->channel);
    put_text(&writer, "final");
    put_id(&writer, harmony->message);
    return writer.status;
}
