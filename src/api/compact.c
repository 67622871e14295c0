#include "api/compact.h"

#include <stdio.h>
#include <string.h>

#include "api/base64.h"

static const char task[] =
    "Write a summary of this conversation for somebody who will go on with it and sees nothing of it but your summary. "
    "Say what the user wants and how, what has been done and found out, which names, paths, numbers and pieces of code "
    "matter (to the letter), what was decided and why, and what is left to do. Write the summary alone.";
static const char heading[] = "[A summary of the conversation so far, in place of its messages:]\n\n";

/* ---- reading ---- */

goss_status compact_read(struct api_request *request, const struct api_settings *settings, const void *body,
                         size_t size, struct api_error *error)
{
    struct reader reader;
    struct part part = {.kind = PART_TEXT, .text = task, .text_size = sizeof task - 1};
    read_begin(&reader, request, API_RESPONSES, settings, body, size, error);
    struct fields *f = &reader.fields;
    if (f->status == GOSS_OK) {
        (void)field_required(f, reader.body, "model");
        (void)field_string(f, reader.body, "prompt_cache_key");
        request->compact = true;
        request->previous = field_string(f, reader.body, "previous_response_id");
        request->turn.tools = TOOLS_NONE;
        request->effort = EFFORT_LOW;
        read_items(&reader);
        add_user(&reader, &part, 1);
    }
    return read_end(&reader, field_string(f, reader.body, "instructions"));
}

void compact_read_item(struct reader *reader, const struct json_node *item)
{
    struct fields *f = &reader->fields;
    size_t size = 0;
    const char *sealed = field_required(f, item, "encrypted_content");
    const char *summary =
        sealed ? base64_unseal(f->arena, sealed, field(item, "encrypted_content")->size, &size) : NULL;
    if (!summary) {
        field_refuse(f, field(item, "encrypted_content"), "invalid_value", "was not written by this server");
        return;
    }
    struct part part[] = {{.kind = PART_TEXT, .text = heading, .text_size = sizeof heading - 1},
                          {.kind = PART_TEXT, .text = summary, .text_size = size}};
    add_user(reader, part, 2);
}

/* ---- writing ---- */

/* The user's own message, not a summary of earlier ones. */
static bool is_own(const struct message *message)
{
    const struct part *part = message->part;
    return message->role == ROLE_USER && !(message->n_part == 2 && part->text_size == sizeof heading - 1 &&
                                           memcmp(part->text, heading, sizeof heading - 1) == 0);
}

static size_t bytes_of(const struct message *message)
{
    size_t size = 0;
    for (size_t i = 0; i < message->n_part; i++)
        size += message->part[i].text_size;
    return size;
}

static void write_user(const struct answer *answer, size_t index, struct json_out *json)
{
    const struct message *message = &answer->request->conversation.message[index];
    char id[ANSWER_ID_SIZE];
    (void)snprintf(id, sizeof id, "msg_%s_in_%zu", answer->key, index);
    json_out_open(json, NULL, '{');
    json_out_text(json, "id", id);
    json_out_text(json, "type", "message");
    json_out_text(json, "status", "completed");
    json_out_text(json, "role", "user");
    json_out_open(json, "content", '[');
    for (size_t i = 0; i < message->n_part; i++) {
        json_out_open(json, NULL, '{');
        json_out_text(json, "type", "input_text");
        json_out_bytes(json, "text", message->part[i].text, message->part[i].text_size);
        json_out_close(json, '}');
    }
    json_out_close(json, ']');
    json_out_close(json, '}');
}

/* The latest that fit, in their order. */
static void write_users(const struct answer *answer, struct json_out *json)
{
    const struct api_request *request = answer->request;
    const struct message *message = request->conversation.message;
    size_t end = request->answer_at - 1; /* where the task is */
    size_t begin = end, bytes = 0;
    while (begin > request->setup.n_message && bytes <= COMPACT_KEPT_BYTES) {
        begin--;
        bytes += is_own(&message[begin]) ? bytes_of(&message[begin]) : 0;
    }
    if (bytes > COMPACT_KEPT_BYTES)
        begin++;
    for (size_t i = begin; i < end; i++)
        if (is_own(&message[i]))
            write_user(answer, i, json);
}

static const struct answer_item *summary_of(const struct answer *answer)
{
    const struct answer_choice *choice = &answer->choice[0];
    for (size_t i = choice->n_item; i > 0; i--)
        if (choice->item[i - 1].part == TURN_FINAL && choice->item[i - 1].text.size > 0)
            return &choice->item[i - 1];
    return NULL;
}

bool compact_is_done(const struct answer *answer)
{
    return answer->status == ANSWER_COMPLETED && summary_of(answer);
}

void compact_object(const struct answer *answer, struct json_out *json)
{
    const struct answer_item *summary = summary_of(answer);
    char id[64];
    answer_id(answer, id);
    json_out_open(json, NULL, '{');
    json_out_text(json, "id", id);
    json_out_text(json, "object", "response.compaction");
    json_out_integer(json, "created_at", answer->created);
    json_out_text(json, "model", answer->request->settings->model);
    json_out_open(json, "output", '[');
    write_users(answer, json);
    (void)snprintf(id, sizeof id, "cmp_%s", answer->key);
    json_out_open(json, NULL, '{');
    json_out_text(json, "id", id);
    json_out_text(json, "type", "compaction");
    sealed_write(summary, json);
    json_out_close(json, '}');
    json_out_close(json, ']');
    responses_usage(answer, json);
    json_out_close(json, '}');
}
