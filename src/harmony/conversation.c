#include "harmony/conversation.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

void conversation_free(struct conversation *conversation)
{
    arena_free(&conversation->arena);
    free(conversation->message);
    *conversation = (struct conversation){0};
}

/* Copying into the arena. A failure is remembered, and every later copy does nothing, so that a message is copied in
 * one go and asked once at the end. */
struct copier {
    struct arena *arena;
    bool failed;
};

static void *copy_bytes(struct copier *copier, const void *bytes, size_t count, size_t each)
{
    size_t n;
    if (!bytes || copier->failed)
        return NULL;
    void *copy = __builtin_mul_overflow(count, each, &n) ? NULL : arena_copy(copier->arena, bytes, n);
    copier->failed = !copy;
    return copy;
}

static const char *copy_string(struct copier *copier, const char *text)
{
    return copy_bytes(copier, text, text ? strlen(text) : 0, 1);
}

static const struct tool_namespace *copy_tools(struct copier *copier, const struct tool_namespace *tools, size_t n)
{
    struct tool_namespace *copy = copy_bytes(copier, tools, n, sizeof *tools);
    for (size_t i = 0; copy && i < n; i++) {
        struct tool *tool = copy_bytes(copier, tools[i].tool, tools[i].n_tool, sizeof *tool);
        for (size_t j = 0; tool && j < tools[i].n_tool; j++)
            tool[j] = (struct tool){.name = copy_string(copier, tool[j].name),
                                    .description = copy_string(copier, tool[j].description),
                                    .schema = copy_string(copier, tool[j].schema)};
        copy[i] = (struct tool_namespace){.key = copy_string(copier, tools[i].key),
                                          .name = copy_string(copier, tools[i].name),
                                          .description = copy_string(copier, tools[i].description),
                                          .tool = tool,
                                          .n_tool = tools[i].n_tool};
    }
    return copy;
}

static const struct response_format *copy_formats(struct copier *copier, const struct response_format *format, size_t n)
{
    struct response_format *copy = copy_bytes(copier, format, n, sizeof *format);
    for (size_t i = 0; copy && i < n; i++)
        copy[i] = (struct response_format){.name = copy_string(copier, format[i].name),
                                           .description = copy_string(copier, format[i].description),
                                           .schema = copy_string(copier, format[i].schema)};
    return copy;
}

static const struct part *copy_parts(struct copier *copier, const struct part *part, size_t n)
{
    struct part *copy = copy_bytes(copier, part, n, sizeof *part);
    for (size_t i = 0; copy && i < n; i++) {
        const char **channel = copy_bytes(copier, (const void *)part[i].channel, part[i].n_channel, sizeof *channel);
        for (size_t j = 0; channel && j < part[i].n_channel; j++)
            channel[j] = copy_string(copier, channel[j]);
        copy[i].text = copy_bytes(copier, part[i].text, part[i].text_size, 1);
        copy[i].identity = copy_string(copier, part[i].identity);
        copy[i].cutoff = copy_string(copier, part[i].cutoff);
        copy[i].date = copy_string(copier, part[i].date);
        copy[i].channel = channel;
        copy[i].tools = copy_tools(copier, part[i].tools, part[i].n_tools);
        copy[i].format = copy_formats(copier, part[i].format, part[i].n_format);
    }
    return copy;
}

static goss_status make_room(struct conversation *conversation, goss_error *error)
{
    if (conversation->n_message < conversation->capacity)
        return GOSS_OK;
    size_t capacity = conversation->capacity ? 2 * conversation->capacity : 16, n;
    struct message *message =
        __builtin_mul_overflow(capacity, sizeof *message, &n) ? NULL : realloc(conversation->message, n);
    if (!message)
        return error_memory(error, capacity * sizeof *message, "messages");
    conversation->message = message;
    conversation->capacity = capacity;
    return GOSS_OK;
}

goss_status conversation_add(struct conversation *conversation, const struct message *message, goss_error *error)
{
    goss_status status = make_room(conversation, error);
    if (status)
        return status;
    struct copier copier = {&conversation->arena, false};
    struct message copy = *message;
    copy.name = copy_string(&copier, message->name);
    copy.recipient = copy_string(&copier, message->recipient);
    copy.channel = copy_string(&copier, message->channel);
    copy.content_type = copy_string(&copier, message->content_type);
    copy.part = copy_parts(&copier, message->part, message->n_part);
    copy.sampled = copy_bytes(&copier, message->sampled, message->n_sampled, sizeof *message->sampled);
    if (copier.failed)
        return error_memory(error, sizeof copy, "a message");
    conversation->message[conversation->n_message++] = copy;
    return GOSS_OK;
}

goss_status conversation_add_text(struct conversation *conversation, enum role role, const char *channel,
                                  const char *text, size_t n, goss_error *error)
{
    struct part part = {.kind = PART_TEXT, .text = text, .text_size = n};
    struct message message = {.role = role, .channel = channel, .part = &part, .n_part = 1};
    return conversation_add(conversation, &message, error);
}

struct part system_part(enum effort effort, const char *date)
{
    static const char *const channels[] = {"analysis", "commentary", "final"};
    return (struct part){.kind = PART_SYSTEM,
                         .identity = "You are ChatGPT, a large language model trained by OpenAI.",
                         .cutoff = "2024-06",
                         .date = date,
                         .effort = effort,
                         .channel = channels,
                         .n_channel = 3,
                         .channel_required = true};
}

goss_status conversation_add_system(struct conversation *conversation, enum effort effort, const char *date,
                                    goss_error *error)
{
    struct part part = system_part(effort, date);
    struct message message = {.role = ROLE_SYSTEM, .part = &part, .n_part = 1};
    return conversation_add(conversation, &message, error);
}

static const char *const role_names[] = {"system", "developer", "user", "assistant", "tool"};
static const char *const effort_names[] = {NULL, "none", "low", "medium", "high"};

const char *role_name(enum role role)
{
    return role_names[role];
}

const char *effort_name(enum effort effort)
{
    return effort_names[effort];
}

bool role_find(const char *name, enum role *role)
{
    for (enum role r = ROLE_SYSTEM; r <= ROLE_TOOL; r++)
        if (strcasecmp(name, role_names[r]) == 0) {
            *role = r;
            return true;
        }
    return false;
}

bool effort_find(const char *name, enum effort *effort)
{
    for (enum effort e = EFFORT_NONE; e <= EFFORT_HIGH; e++)
        if (strcasecmp(name, effort_names[e]) == 0) {
            *effort = e;
            return true;
        }
    return false;
}

enum purpose message_purpose(enum role role, const char *recipient, const char *channel)
{
    if (role == ROLE_TOOL)
        return PURPOSE_TOOL_ANSWER;
    if (role != ROLE_ASSISTANT)
        return PURPOSE_PROMPT;
    if (recipient && strcmp(recipient, "all") != 0 && strcmp(recipient, "assistant") != 0)
        return PURPOSE_CALL;
    if (!channel || strcmp(channel, "final") == 0)
        return PURPOSE_FINAL;
    return strcmp(channel, "commentary") == 0 ? PURPOSE_PREAMBLE : PURPOSE_REASONING;
}
