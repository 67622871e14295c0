/* The chat completion and its chunks. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/chat.h"
#include "api/wire.h"

static const char *finish_name(enum turn_finish finish)
{
    switch (finish) {
    case TURN_TOOL_CALL: return "tool_calls";
    case TURN_LENGTH: return "length";
    default: return "stop";
    }
}

static bool is_spoken(const struct answer_item *item)
{
    return item->part == TURN_FINAL || item->part == TURN_PREAMBLE;
}

/* The number of items of a kind before this one: of calls for their index, of others to know whether a blank line must
 * part them. */
static size_t earlier(const struct answer_choice *choice, size_t item, bool calls)
{
    size_t n = 0;
    for (size_t i = 0; i < item; i++)
        n += calls ? choice->item[i].part == TURN_CALL
                   : choice->item[i].text.size > 0 && is_spoken(&choice->item[i]) == is_spoken(&choice->item[item]) &&
                         choice->item[i].part != TURN_CALL;
    return n;
}

static const char separator[] = "\n\n";

/* Texts of one kind joined by blank lines; null if there are none. */
static void write_joined(const struct answer_choice *choice, bool spoken, const char *key, struct json_out *json)
{
    struct buffer text;
    buffer_init(&text, 1UL << 31);
    goss_status status = GOSS_OK;
    bool any = false;
    for (size_t i = 0; i < choice->n_item && !status; i++) {
        const struct answer_item *item = &choice->item[i];
        if (item->part == TURN_CALL || is_spoken(item) != spoken)
            continue;
        any = any || spoken || item->text.size > 0;
        if (text.size > 0 && item->text.size > 0)
            status = buffer_append_text(&text, separator, json->error);
        if (status == GOSS_OK && item->text.size > 0)
            status = buffer_append(&text, item->text.data, item->text.size, json->error);
    }
    if (json->status == GOSS_OK)
        json->status = status;
    if (any)
        json_out_bytes(json, key, text.data ? (const char *)text.data : "", text.size);
    else
        json_out_null(json, key);
    buffer_free(&text);
}

static void open_call(const struct answer *answer, const struct answer_change *at, bool index, struct json_out *json)
{
    const struct answer_choice *choice = &answer->choice[at->choice];
    const struct answer_item *item = &choice->item[at->item];
    char id[ANSWER_ID_SIZE];
    bool custom = item->tool && item->tool->custom;
    call_id(answer, at->choice, at->item, id);
    json_out_open(json, NULL, '{');
    if (index)
        json_out_integer(json, "index", (long long)earlier(choice, at->item, true));
    json_out_text(json, "id", id);
    json_out_text(json, "type", custom ? "custom" : "function");
    json_out_open(json, custom ? "custom" : "function", '{');
    json_out_text(json, "name", item->name);
}

static void write_calls(const struct answer *answer, int index, struct json_out *json)
{
    const struct answer_choice *choice = &answer->choice[index];
    bool any = false;
    for (size_t i = 0; i < choice->n_item; i++) {
        const struct answer_item *item = &choice->item[i];
        if (item->part != TURN_CALL)
            continue;
        if (!any)
            json_out_open(json, "tool_calls", '[');
        any = true;
        size_t size;
        char *owned;
        const char *text = call_text(item, &size, &owned);
        open_call(answer, &(struct answer_change){.choice = index, .item = i}, false, json);
        json_out_bytes(json, item->tool && item->tool->custom ? "input" : "arguments", text, size);
        json_out_close(json, '}');
        json_out_close(json, '}');
        free(owned);
    }
    if (any)
        json_out_close(json, ']');
}

static void write_logprobs(const struct answer *answer, const struct answer_choice *choice, size_t token, size_t n,
                           struct json_out *json)
{
    if (answer->request->top_logprobs < 0) {
        json_out_null(json, "logprobs");
        return;
    }
    json_out_open(json, "logprobs", '{');
    json_out_open(json, "content", '[');
    for (size_t i = 0; i < n; i++)
        logprob_write(answer, &choice->token[token + i], json);
    json_out_close(json, ']');
    json_out_null(json, "refusal");
    json_out_close(json, '}');
}

void completion_usage(const struct answer *answer, struct json_out *json)
{
    int reasoning;
    struct usage usage = answer_usage(answer, &reasoning);
    json_out_open(json, "usage", '{');
    json_out_integer(json, "prompt_tokens", usage.prompt_tokens);
    json_out_integer(json, "completion_tokens", usage.answer_tokens);
    json_out_integer(json, "total_tokens", (long long)usage.prompt_tokens + usage.answer_tokens);
    json_out_open(json, "prompt_tokens_details", '{');
    json_out_integer(json, "cached_tokens", usage.cached_tokens);
    json_out_close(json, '}');
    json_out_open(json, "completion_tokens_details", '{');
    json_out_integer(json, "reasoning_tokens", reasoning);
    json_out_close(json, '}');
    json_out_close(json, '}');
}

/* What both forms begin with. The effort and the seed in force are ours to add. */
static void write_head(const struct answer *answer, const char *object, struct json_out *json)
{
    char id[64];
    (void)snprintf(id, sizeof id, "chatcmpl-%s", answer->key);
    json_out_text(json, "id", id);
    json_out_text(json, "object", object);
    json_out_integer(json, "created", answer->created);
    json_out_text(json, "model", answer->request->settings->model);
    json_out_text(json, "system_fingerprint", "gossamer-" GOSS_VERSION);
    json_out_text(json, "service_tier", "default");
    json_out_text(json, "reasoning_effort", effort_name(answer->request->effort));
}

static void write_effective(const struct answer *answer, struct json_out *json)
{
    const struct sampling *s = &answer->request->turn.sampling;
    json_out_integer(json, "seed", (long long)s->seed);
    json_out_number(json, "temperature", s->temperature);
    json_out_number(json, "top_p", s->top_p);
}

void chat_object(const struct answer *answer, struct json_out *json)
{
    json_out_open(json, NULL, '{');
    write_head(answer, "chat.completion", json);
    json_out_open(json, "choices", '[');
    for (int i = 0; i < answer->n_choice; i++) {
        const struct answer_choice *choice = &answer->choice[i];
        json_out_open(json, NULL, '{');
        json_out_integer(json, "index", i);
        json_out_open(json, "message", '{');
        json_out_text(json, "role", "assistant");
        write_joined(choice, true, "content", json);
        json_out_null(json, "refusal");
        if (answer->request->reasoning_shown) {
            write_joined(choice, false, "reasoning_content", json);
            write_joined(choice, false, "reasoning", json);
        }
        write_calls(answer, i, json);
        json_out_close(json, '}');
        write_logprobs(answer, choice, 0, choice->n_token, json);
        json_out_text(json, "finish_reason", finish_name(choice->finish));
        json_out_close(json, '}');
    }
    json_out_close(json, ']');
    completion_usage(answer, json);
    write_effective(answer, json);
    json_out_close(json, '}');
}

/* ---- the stream ---- */

static void open_chunk(const struct answer *answer, struct json_out *json)
{
    sse_begin(json, NULL);
    json_out_open(json, NULL, '{');
    write_head(answer, "chat.completion.chunk", json);
    json_out_open(json, "choices", '[');
}

static void open_delta(const struct answer *answer, int choice, struct json_out *json)
{
    open_chunk(answer, json);
    json_out_open(json, NULL, '{');
    json_out_integer(json, "index", choice);
    json_out_open(json, "delta", '{');
}

static void close_chunk(const struct answer *answer, struct json_out *json)
{
    json_out_close(json, ']');
    if (answer->request->usage_in_stream)
        json_out_null(json, "usage");
    json_out_close(json, '}');
    sse_end(json);
}

/* After the delta's members. */
static void close_delta(const struct answer *answer, const struct answer_change *change, const char *finish,
                        struct json_out *json)
{
    json_out_close(json, '}');
    if (change->n_token > 0)
        write_logprobs(answer, &answer->choice[change->choice], change->token, change->n_token, json);
    else
        json_out_null(json, "logprobs");
    json_out_text(json, "finish_reason", finish);
    json_out_close(json, '}');
    close_chunk(answer, json);
}

static void text_delta(const struct answer *answer, const struct answer_change *change, const char *text, size_t size,
                       struct json_out *json)
{
    const struct answer_item *item = &answer->choice[change->choice].item[change->item];
    if (!is_spoken(item) && !answer->request->reasoning_shown)
        return;
    open_delta(answer, change->choice, json);
    if (is_spoken(item)) {
        json_out_bytes(json, "content", text, size);
    } else {
        json_out_bytes(json, "reasoning_content", text, size);
        json_out_bytes(json, "reasoning", text, size);
    }
    close_delta(answer, change, NULL, json);
}

static void arguments_delta(const struct answer *answer, const struct answer_change *change, const char *text,
                            size_t size, struct json_out *json)
{
    const struct answer_choice *choice = &answer->choice[change->choice];
    bool custom = choice->item[change->item].tool && choice->item[change->item].tool->custom;
    open_delta(answer, change->choice, json);
    json_out_open(json, "tool_calls", '[');
    json_out_open(json, NULL, '{');
    json_out_integer(json, "index", (long long)earlier(choice, change->item, true));
    json_out_open(json, custom ? "custom" : "function", '{');
    json_out_bytes(json, custom ? "input" : "arguments", text, size);
    json_out_close(json, '}');
    json_out_close(json, '}');
    json_out_close(json, ']');
    close_delta(answer, change, NULL, json);
}

static void call_begins(const struct answer *answer, const struct answer_change *change, struct json_out *json)
{
    const struct answer_item *item = &answer->choice[change->choice].item[change->item];
    open_delta(answer, change->choice, json);
    json_out_open(json, "tool_calls", '[');
    open_call(answer, change, true, json);
    json_out_text(json, item->tool && item->tool->custom ? "input" : "arguments", "");
    json_out_close(json, '}');
    json_out_close(json, '}');
    json_out_close(json, ']');
    close_delta(answer, change, NULL, json);
}

/* A later text of the same kind is parted from the one before by a blank line, with its own first piece. */
static void item_grows(const struct answer *answer, const struct answer_change *change, struct json_out *json)
{
    const struct answer_choice *choice = &answer->choice[change->choice];
    const struct answer_item *item = &choice->item[change->item];
    if (item->part == TURN_CALL) {
        if (!item->tool || !item->tool->custom)
            arguments_delta(answer, change, change->text, change->size, json);
        return;
    }
    if (item->text.size == change->size && earlier(choice, change->item, false) > 0)
        text_delta(answer, &(struct answer_change){.choice = change->choice, .item = change->item}, separator,
                   sizeof separator - 1, json);
    text_delta(answer, change, change->text, change->size, json);
}

static void item_ends(const struct answer *answer, const struct answer_change *change, struct json_out *json)
{
    const struct answer_item *item = &answer->choice[change->choice].item[change->item];
    size_t size;
    char *owned;
    if (!item->tool || !item->tool->custom)
        return;
    const char *text = call_text(item, &size, &owned);
    arguments_delta(answer, change, text, size, json);
    free(owned);
}

static void choice_begins(const struct answer *answer, int choice, struct json_out *json)
{
    open_delta(answer, choice, json);
    json_out_text(json, "role", "assistant");
    json_out_text(json, "content", "");
    close_delta(answer, &(struct answer_change){.choice = choice}, NULL, json);
}

static void choice_ends(const struct answer *answer, const struct answer_change *change, struct json_out *json)
{
    const struct answer_choice *choice = &answer->choice[change->choice];
    if (choice->finish == TURN_FAILED) {
        struct api_error failure = {.base = choice->error, .http = 500, .code = "server_error"};
        sse_begin(json, NULL);
        if (json->status == GOSS_OK)
            json->status = api_error_write(&failure, API_CHAT, json->out, json->error);
        sse_end(json);
        return;
    }
    open_delta(answer, change->choice, json);
    close_delta(answer, change, finish_name(choice->finish), json);
}

static void answer_ends(const struct answer *answer, struct json_out *json)
{
    if (answer->request->usage_in_stream && answer->status != ANSWER_FAILED) {
        open_chunk(answer, json);
        json_out_close(json, ']');
        completion_usage(answer, json);
        write_effective(answer, json);
        json_out_close(json, '}');
        sse_end(json);
    }
    if (json->status == GOSS_OK)
        json->status = buffer_append_text(json->out, "data: [DONE]\n\n", json->error);
}

void chat_stream(struct answer *answer, const struct answer_change *change, struct json_out *json)
{
    const struct answer_choice *choice = &answer->choice[change->choice];
    switch (change->moment) {
    case ANSWER_BEGINS:
        for (int i = 0; i < answer->n_choice; i++)
            choice_begins(answer, i, json);
        break;
    case ITEM_BEGINS:
        if (choice->item[change->item].part == TURN_CALL)
            call_begins(answer, change, json);
        break;
    case ITEM_GROWS: item_grows(answer, change, json); break;
    case ITEM_ENDS: item_ends(answer, change, json); break;
    case CHOICE_ENDS: choice_ends(answer, change, json); break;
    case ANSWER_ENDS: answer_ends(answer, json); break;
    }
}
