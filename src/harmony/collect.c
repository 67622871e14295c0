#include "harmony/collect.h"

#include <string.h>

enum { TEXT_LIMIT = 1 << 30 };

/* Cuts <|start|>assistant off the head of a message's ids; false if they begin otherwise. A model's first message
 * begins after it, since the prompt wrote it. */
static goss_status cut_opening(const struct harmony *harmony, const int32_t **ids, size_t *n, bool *cut,
                               goss_error *error)
{
    *cut = *n == 0 || **ids != harmony->start;
    if (*cut)
        return GOSS_OK;
    struct token_list role = {0};
    const char *name = role_name(ROLE_ASSISTANT);
    goss_status status = tokenizer_encode(harmony->tokenizer, name, strlen(name), false, &role, error);
    size_t size = role.size * sizeof *role.id;
    if (status == GOSS_OK && *n > role.size && memcmp(*ids + 1, role.id, size) == 0) {
        *ids += 1 + role.size;
        *n -= 1 + role.size;
        *cut = true;
    }
    token_list_free(&role);
    return status;
}

static goss_status add_message(struct collector *collector, const struct harmony *harmony, const struct event *event,
                               const int32_t *ids, goss_error *error)
{
    const char *text = collector->text.data ? (const char *)collector->text.data : "";
    struct part part = {.kind = PART_TEXT, .text = text, .text_size = collector->text.size};
    struct message message = {.role = event->role,
                              .name = event->name,
                              .recipient = event->recipient,
                              .channel = event->channel,
                              .content_type = event->content_type,
                              .part = &part,
                              .n_part = 1};
    if (ids && event->role == ROLE_ASSISTANT && !event->repaired) {
        bool cut;
        const int32_t *sampled = ids + event->first_id;
        size_t n = event->n_id - (event->terminator >= 0);
        goss_status status = cut_opening(harmony, &sampled, &n, &cut, error);
        if (status)
            return status;
        message.sampled = cut ? sampled : NULL;
        message.n_sampled = cut ? n : 0;
    }
    return conversation_add(collector->conversation, &message, error);
}

goss_status collector_add(struct collector *collector, const struct harmony *harmony, const struct event *event,
                          const int32_t *ids, goss_error *error)
{
    collector->text.limit = TEXT_LIMIT;
    if (event->kind == EVENT_TEXT)
        return buffer_append(&collector->text, event->text, event->text_size, error);
    if (event->kind == EVENT_MESSAGE_BEGIN)
        buffer_clear(&collector->text);
    return event->kind == EVENT_MESSAGE_END ? add_message(collector, harmony, event, ids, error) : GOSS_OK;
}

void collector_free(struct collector *collector)
{
    buffer_free(&collector->text);
}
