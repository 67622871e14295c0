#include "api/answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/compact.h"
#include "api/wire.h"
#include "harmony/message_json.h"

enum { MOST_TEXT = 1 << 30 };

goss_status answer_open(struct answer *answer, const struct api_request *request, const struct tokenizer *tokenizer,
                        const struct answer_identity *identity, goss_error *error)
{
    size_t n = strlen(identity->key);
    *answer = (struct answer){.request = request, .tokenizer = tokenizer, .created = identity->created};
    if (n == 0 || n >= sizeof answer->key)
        return error_set(error, GOSS_E_ARGUMENT, "an answer's key has %zu characters; 1..48 are allowed", n);
    memcpy(answer->key, identity->key, n + 1);
    answer->n_choice = request->n * (int)(request->wire == API_COMPLETIONS ? request->n_prompt : 1);
    return GOSS_OK;
}

void answer_close(struct answer *answer)
{
    for (int i = 0; i < answer->n_choice; i++) {
        for (size_t j = 0; j < answer->choice[i].n_item; j++)
            buffer_free(&answer->choice[i].item[j].text);
        free(answer->choice[i].item);
        free(answer->choice[i].token);
    }
    arena_free(&answer->arena);
    *answer = (struct answer){0};
}

void answer_id(const struct answer *answer, char id[64])
{
    (void)snprintf(id, 64, "resp_%s", answer->key);
}

/* ---- the stream ---- */

static goss_status emit(struct answer *answer, const struct answer_change *change, struct buffer *stream,
                        goss_error *error)
{
    static void (*const write[])(struct answer *, const struct answer_change *, struct json_out *) = {
        [API_RESPONSES] = responses_stream,
        [API_CHAT] = chat_stream,
        [API_COMPLETIONS] = completions_stream,
        [API_MESSAGES] = messages_stream,
    };
    struct json_out json = {.out = stream, .error = error};
    if (stream)
        write[answer->request->wire](answer, change, &json);
    return json.status;
}

goss_status answer_start(struct answer *answer, size_t n_prompt, struct buffer *stream, goss_error *error)
{
    if (answer->started)
        return GOSS_OK;
    answer->started = true;
    answer->n_prompt = n_prompt;
    answer->status = ANSWER_RUNNING;
    return emit(answer, &(struct answer_change){.moment = ANSWER_BEGINS}, stream, error);
}

/* ---- items ---- */

static const char *name_of(struct answer *answer, const char *recipient, const struct api_tool *tool)
{
    static const char prefix[] = "functions.";
    if (tool)
        return tool->name;
    if (strncmp(recipient, prefix, sizeof prefix - 1) == 0)
        recipient += sizeof prefix - 1;
    recipient = name_map_find(&answer->request->names, recipient);
    return arena_copy(&answer->arena, recipient, strlen(recipient));
}

static goss_status begin_item(struct answer *answer, struct answer_choice *choice, const struct turn_event *event,
                              goss_error *error)
{
    if (choice->n_item == choice->capacity) {
        size_t capacity = choice->capacity ? 2 * choice->capacity : 8;
        struct answer_item *item = realloc(choice->item, capacity * sizeof *item);
        if (!item)
            return error_memory(error, capacity * sizeof *item, "an answer");
        choice->item = item;
        choice->capacity = capacity;
    }
    struct answer_item *item = &choice->item[choice->n_item++];
    *item = (struct answer_item){.part = event->part, .token = choice->n_token};
    buffer_init(&item->text, MOST_TEXT);
    choice->shown = choice->n_token;
    if (event->part != TURN_CALL || !event->recipient)
        return GOSS_OK;
    item->tool = api_request_tool(answer->request, event->recipient);
    item->recipient = arena_copy(&answer->arena, event->recipient, strlen(event->recipient));
    item->name = name_of(answer, event->recipient, item->tool);
    return item->name && item->recipient ? GOSS_OK : error_memory(error, 0, "an answer");
}

static bool has_open_item(const struct answer_choice *choice)
{
    return choice->n_item > 0 && !choice->item[choice->n_item - 1].done;
}

/* The tokens sampled since the last event, if they belong to an answer whose logprobs are wanted. */
static goss_status take_tokens(const struct answer *answer, struct answer_choice *choice, const struct sampled *sampled,
                               size_t n, goss_error *error)
{
    bool wanted = answer->request->top_logprobs >= 0 && has_open_item(choice) &&
                  choice->item[choice->n_item - 1].part == TURN_FINAL;
    for (; choice->seen < n; choice->seen++) {
        const struct sampled *token = &sampled[choice->seen];
        if (!wanted || tokenizer_is_control(answer->tokenizer, token->id))
            continue;
        if (choice->n_token == choice->token_capacity) {
            size_t capacity = choice->token_capacity ? 2 * choice->token_capacity : 64;
            struct sampled *grown = realloc(choice->token, capacity * sizeof *grown);
            if (!grown)
                return error_memory(error, capacity * sizeof *grown, "an answer's logprobs");
            choice->token = grown;
            choice->token_capacity = capacity;
        }
        choice->token[choice->n_token++] = *token;
    }
    return GOSS_OK;
}

/* Tokens that the item's text has reached: the next one belongs to it as long as it begins before the text's end. What
 * a stop string cut off is never reached. */
static void show_tokens(const struct answer *answer, struct answer_choice *choice, struct answer_change *change)
{
    const struct answer_item *item = &choice->item[change->item];
    size_t bytes = 0, at = item->token;
    change->token = choice->shown;
    for (; at < choice->n_token && bytes < item->text.size; at++) {
        size_t n;
        (void)tokenizer_bytes(answer->tokenizer, choice->token[at].id, &n);
        bytes += n;
    }
    if (at > choice->shown)
        choice->shown = at;
    change->n_token = choice->shown - change->token;
}

static goss_status end_item(struct answer *answer, int index, bool truncated, struct buffer *stream, goss_error *error)
{
    struct answer_choice *choice = &answer->choice[index];
    struct answer_change change = {.moment = ITEM_ENDS, .choice = index, .item = choice->n_item - 1};
    struct answer_item *item = &choice->item[change.item];
    item->done = true;
    item->truncated = truncated;
    show_tokens(answer, choice, &change);
    choice->n_token = choice->shown;
    item->n_token = choice->n_token - item->token;
    if (item->part == TURN_REASONING)
        choice->reasoning_tokens += (int)(choice->seen - choice->begun);
    choice->begun = choice->seen;
    return emit(answer, &change, stream, error);
}

/* ---- the end ---- */

static enum answer_status status_of(const struct answer *answer)
{
    enum answer_status status = ANSWER_COMPLETED;
    for (int i = 0; i < answer->n_choice; i++) {
        enum turn_finish finish = answer->choice[i].finish;
        enum answer_status this = finish == TURN_FAILED      ? ANSWER_FAILED
                                  : finish == TURN_CANCELLED ? ANSWER_CANCELLED
                                  : finish == TURN_LENGTH    ? ANSWER_INCOMPLETE
                                                             : ANSWER_COMPLETED;
        status = this > status ? this : status;
    }
    return status;
}

static goss_status end_choice(struct answer *answer, int index, enum turn_finish finish, const goss_error *reason,
                              int64_t now, struct buffer *stream, goss_error *error)
{
    struct answer_choice *choice = &answer->choice[index];
    goss_status status = GOSS_OK;
    if (choice->done)
        return GOSS_OK;
    if (has_open_item(choice))
        status = end_item(answer, index, true, stream, error);
    choice->done = true;
    choice->finish = finish;
    if (reason)
        choice->error = *reason;
    if (status == GOSS_OK)
        status = emit(answer, &(struct answer_change){.moment = CHOICE_ENDS, .choice = index}, stream, error);
    if (++answer->n_done < answer->n_choice || status)
        return status;
    answer->status = status_of(answer);
    answer->completed = now;
    return emit(answer, &(struct answer_change){.moment = ANSWER_ENDS, .choice = index}, stream, error);
}

goss_status answer_add(struct answer *answer, int index, const struct turn_event *event, const struct sampled *sampled,
                       size_t n_sampled, int64_t now, struct buffer *stream, goss_error *error)
{
    struct answer_choice *choice = &answer->choice[index];
    struct answer_change change = {.moment = ITEM_BEGINS, .choice = index};
    goss_status status = choice->done ? GOSS_OK : take_tokens(answer, choice, sampled, n_sampled, error);
    if (status || choice->done)
        return status;
    switch (event->kind) {
    case TURN_BEGIN:
        status = has_open_item(choice) ? end_item(answer, index, true, stream, error) : GOSS_OK;
        status = status ? status : begin_item(answer, choice, event, error);
        change.item = choice->n_item - 1;
        return status ? status : emit(answer, &change, stream, error);
    case TURN_TEXT:
        if (!has_open_item(choice) || event->text_size == 0)
            return GOSS_OK;
        change = (struct answer_change){.moment = ITEM_GROWS,
                                        .choice = index,
                                        .item = choice->n_item - 1,
                                        .text = event->text,
                                        .size = event->text_size};
        status = buffer_append(&choice->item[change.item].text, event->text, event->text_size, error);
        show_tokens(answer, choice, &change);
        return status ? status : emit(answer, &change, stream, error);
    case TURN_END: return has_open_item(choice) ? end_item(answer, index, event->truncated, stream, error) : GOSS_OK;
    case TURN_DONE:
        choice->usage = event->usage;
        return end_choice(answer, index, event->finish, event->error, now, stream, error);
    default: return GOSS_OK;
    }
}

goss_status answer_fail(struct answer *answer, const goss_error *reason, int64_t now, struct buffer *stream,
                        goss_error *error)
{
    goss_status status = GOSS_OK;
    for (int i = 0; i < answer->n_choice && !status; i++)
        status = end_choice(answer, i, TURN_FAILED, reason, now, stream, error);
    return status;
}

/* ---- the object ---- */

static const goss_error *first_error(const struct answer *answer)
{
    for (int i = 0; i < answer->n_choice; i++)
        if (answer->choice[i].finish == TURN_FAILED && answer->choice[i].done)
            return &answer->choice[i].error;
    return NULL;
}

bool answer_is_error(const struct answer *answer)
{
    if (answer->request->compact)
        return !compact_is_done(answer);
    return answer->status == ANSWER_FAILED && answer->request->wire != API_RESPONSES;
}

goss_status answer_write(const struct answer *answer, struct buffer *out, goss_error *error)
{
    static void (*const write[])(const struct answer *, struct json_out *) = {
        [API_RESPONSES] = responses_object,
        [API_CHAT] = chat_object,
        [API_COMPLETIONS] = completions_object,
        [API_MESSAGES] = messages_object,
    };
    enum api_wire wire = answer->request->wire;
    struct json_out json = {.out = out, .error = error};
    if (answer_is_error(answer)) {
        const goss_error *reason = first_error(answer);
        struct api_error failure = {
            .base.text = "the model wrote no complete summary", .http = 500, .code = "server_error"};
        if (reason)
            failure.base = *reason;
        return api_error_write(&failure, wire, out, error);
    }
    if (answer->request->compact)
        compact_object(answer, &json);
    else
        write[wire](answer, &json);
    return json.status;
}

/* Of the answer's items, those whose message the turn kept. */
static bool was_kept(const struct answer_item *item)
{
    return !item->truncated || (item->part != TURN_CALL && item->text.size > 0);
}

static void write_kept_ids(const struct answer *answer, const struct conversation *conversation, struct json_out *json)
{
    const struct answer_choice *choice = &answer->choice[0];
    const struct api_request *request = answer->request;
    size_t n = request->answer_at;
    char id[ANSWER_ID_SIZE];
    json_out_open(json, "items", '[');
    for (size_t i = 0; i < choice->n_item; i++)
        if (was_kept(&choice->item[i]) && n++ < conversation->n_message)
            json_out_integer(json, NULL, (long long)i);
    json_out_close(json, ']');
    json_out_open(json, "calls", '[');
    for (size_t i = 0; i < request->n_call; i++) {
        json_out_open(json, NULL, '[');
        json_out_text(json, NULL, request->call[i].id);
        json_out_text(json, NULL, request->call[i].recipient);
        json_out_close(json, ']');
    }
    for (size_t i = 0; i < choice->n_item; i++) {
        const struct answer_item *item = &choice->item[i];
        if (item->part != TURN_CALL || !was_kept(item))
            continue;
        call_id(answer, 0, i, id);
        json_out_open(json, NULL, '[');
        json_out_text(json, NULL, id);
        json_out_text(json, NULL, item->recipient);
        json_out_close(json, ']');
    }
    json_out_close(json, ']');
}

goss_status answer_keep(const struct answer *answer, const struct conversation *conversation, struct buffer *out,
                        goss_error *error)
{
    const struct api_request *request = answer->request;
    struct conversation kept = {0};
    goss_status status = request->opening ? conversation_add(&kept, request->opening, error) : GOSS_OK;
    for (size_t i = request->first_new; i < conversation->n_message && !status; i++)
        status = conversation_add(&kept, &conversation->message[i], error);
    struct buffer messages;
    buffer_init(&messages, MOST_TEXT);
    status = status ? status : conversation_to_json(&kept, NULL, &messages, error);
    struct json_out json = {.out = out, .error = error, .status = status};
    json_out_open(&json, NULL, '{');
    json_out_raw(&json, "messages", (const char *)messages.data, messages.size);
    write_kept_ids(answer, conversation, &json);
    json_out_close(&json, '}');
    conversation_free(&kept);
    buffer_free(&messages);
    return json.status;
}

/* ---- what writers share ---- */

void item_id(const struct answer *answer, int choice, size_t item, char id[ANSWER_ID_SIZE])
{
    const struct answer_item *it = &answer->choice[choice].item[item];
    const char *prefix = it->part == TURN_REASONING     ? "rs"
                         : it->part != TURN_CALL        ? "msg"
                         : it->tool && it->tool->custom ? "ctc"
                                                        : "fc";
    (void)snprintf(id, ANSWER_ID_SIZE, "%s_%s_%zu", prefix, answer->key, item);
}

void call_id(const struct answer *answer, int choice, size_t item, char id[ANSWER_ID_SIZE])
{
    const char *prefix = answer->request->wire == API_MESSAGES ? "toolu" : "call";
    if (choice > 0)
        (void)snprintf(id, ANSWER_ID_SIZE, "%s_%s_%d_%zu", prefix, answer->key, choice, item);
    else
        (void)snprintf(id, ANSWER_ID_SIZE, "%s_%s_%zu", prefix, answer->key, item);
}

const char *call_text(const struct answer_item *item, size_t *size, char **owned)
{
    const char *text = item->text.data ? (const char *)item->text.data : "";
    *size = item->text.size;
    *owned = NULL;
    if (!item->tool || !item->tool->custom)
        return text;
    struct arena arena = {0};
    struct json_node *root;
    if (json_tree_read(&arena, text, *size, "a call", &root, NULL) == GOSS_OK) {
        const struct json_node *input = json_tree_get(root, "input");
        if (json_tree_is(input, JSON_TREE_STRING) && (*owned = malloc(input->size + 1))) {
            memcpy(*owned, input->text, input->size + 1);
            *size = input->size;
        }
    }
    arena_free(&arena);
    return *owned ? *owned : text;
}

/* The bytes of a token and, where they are no text of their own, a readable stand-in. */
static void write_token(const struct answer *answer, int32_t id, double logprob, struct json_out *json)
{
    size_t n;
    const uint8_t *bytes = tokenizer_bytes(answer->tokenizer, id, &n);
    struct buffer text;
    buffer_init(&text, 1 << 16);
    struct utf8_stream stream = {0};
    goss_status status = utf8_stream_add(&stream, bytes, n, &text, json->error);
    status = status ? status : utf8_stream_flush(&stream, &text, json->error);
    if (json->status == GOSS_OK)
        json->status = status;
    json_out_bytes(json, "token", text.data ? (const char *)text.data : "", text.size);
    buffer_free(&text);
    json_out_number(json, "logprob", logprob);
    json_out_open(json, "bytes", '[');
    for (size_t i = 0; i < n; i++)
        json_out_integer(json, NULL, bytes[i]);
    json_out_close(json, ']');
}

void logprob_write(const struct answer *answer, const struct sampled *sampled, struct json_out *json)
{
    json_out_open(json, NULL, '{');
    write_token(answer, sampled->id, sampled->logprob, json);
    json_out_open(json, "top_logprobs", '[');
    for (int i = 0; i < sampled->n_top; i++) {
        json_out_open(json, NULL, '{');
        write_token(answer, sampled->top[i].id, sampled->top[i].logprob, json);
        json_out_close(json, '}');
    }
    json_out_close(json, ']');
    json_out_close(json, '}');
}

struct usage answer_usage(const struct answer *answer, int *reasoning)
{
    struct usage sum = {0};
    int n = answer->request->n;
    *reasoning = 0;
    for (int i = 0; i < answer->n_choice; i++) {
        const struct answer_choice *choice = &answer->choice[i];
        if (i % n == 0) {
            sum.prompt_tokens += choice->usage.prompt_tokens;
            sum.cached_tokens += choice->usage.cached_tokens;
        }
        sum.answer_tokens += choice->usage.answer_tokens;
        *reasoning += choice->reasoning_tokens;
    }
    return sum;
}
