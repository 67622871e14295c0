/* Anthropic's message and its stream. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/messages.h"
#include "api/wire.h"

static bool is_shown(const struct answer *answer, const struct answer_item *item)
{
    return item->part != TURN_REASONING || answer->request->reasoning_shown;
}

static size_t index_of(const struct answer *answer, size_t item)
{
    size_t n = 0;
    for (size_t i = 0; i < item; i++)
        n += is_shown(answer, &answer->choice[0].item[i]);
    return n;
}

static const char *stop_reason(const struct answer_choice *choice)
{
    switch (choice->finish) {
    case TURN_TOOL_CALL: return "tool_use";
    case TURN_LENGTH: return "max_tokens";
    case TURN_STOP_STRING: return "stop_sequence";
    default: return "end_turn";
    }
}

/* Which stop string it was is not known once it has been cut off; with one, it is that one. */
static const char *stop_sequence(const struct answer *answer)
{
    const struct turn_options *turn = &answer->request->turn;
    return answer->choice[0].finish == TURN_STOP_STRING && turn->n_stop == 1 ? turn->stop[0] : NULL;
}

/* The input of a call is an object on this wire: what the model wrote if it is one, else {"input": text}. */
static void write_input(const struct answer_item *item, struct json_out *json)
{
    size_t size;
    char *owned;
    const char *text = call_text(item, &size, &owned);
    struct arena arena = {0};
    struct json_node *root = NULL;
    if (json_tree_read(&arena, text, size, "a call", &root, NULL) == GOSS_OK && root->kind == JSON_TREE_OBJECT) {
        json_out_raw(json, "input", root->source, root->source_size);
    } else {
        json_out_open(json, "input", '{');
        json_out_bytes(json, "input", text, size);
        json_out_close(json, '}');
    }
    arena_free(&arena);
    free(owned);
}

/* Whether the text is such an object on one line, and may be streamed as it is. */
static void write_block(const struct answer *answer, size_t index, bool whole, const char *key, struct json_out *json)
{
    const struct answer_item *item = &answer->choice[0].item[index];
    const char *text = item->text.data ? (const char *)item->text.data : "";
    size_t size = whole ? item->text.size : 0;
    char id[ANSWER_ID_SIZE];
    json_out_open(json, key, '{');
    if (item->part == TURN_REASONING) {
        json_out_text(json, "type", "thinking");
        json_out_bytes(json, "thinking", text, size);
        json_out_text(json, "signature", whole ? "gossamer" : "");
    } else if (item->part != TURN_CALL) {
        json_out_text(json, "type", "text");
        json_out_bytes(json, "text", text, size);
        json_out_null(json, "citations");
    } else {
        call_id(answer, 0, index, id);
        json_out_text(json, "type", "tool_use");
        json_out_text(json, "id", id);
        json_out_text(json, "name", item->name);
        if (whole)
            write_input(item, json);
        else
            json_out_raw(json, "input", "{}", 2);
    }
    json_out_close(json, '}');
}

static void write_usage(const struct answer *answer, struct json_out *json)
{
    int reasoning;
    struct usage usage = answer_usage(answer, &reasoning);
    if (!answer->choice[0].done) /* what is cached shows when the turn has begun */
        usage.prompt_tokens = (int)answer->n_prompt;
    json_out_open(json, "usage", '{');
    json_out_integer(json, "input_tokens", usage.prompt_tokens - usage.cached_tokens);
    json_out_integer(json, "cache_creation_input_tokens", 0);
    json_out_integer(json, "cache_read_input_tokens", usage.cached_tokens);
    json_out_integer(json, "output_tokens", usage.answer_tokens);
    json_out_close(json, '}');
}

static void write_message(const struct answer *answer, const char *key, struct json_out *json)
{
    const struct answer_choice *choice = &answer->choice[0];
    char id[64];
    (void)snprintf(id, sizeof id, "msg_%s", answer->key);
    json_out_open(json, key, '{');
    json_out_text(json, "id", id);
    json_out_text(json, "type", "message");
    json_out_text(json, "role", "assistant");
    json_out_text(json, "model", answer->request->settings->model);
    json_out_open(json, "content", '[');
    for (size_t i = 0; i < choice->n_item; i++)
        if (is_shown(answer, &choice->item[i]))
            write_block(answer, i, true, NULL, json);
    json_out_close(json, ']');
    json_out_text(json, "stop_reason", choice->done ? stop_reason(choice) : NULL);
    json_out_text(json, "stop_sequence", choice->done ? stop_sequence(answer) : NULL);
    write_usage(answer, json);
    json_out_close(json, '}');
}

void messages_object(const struct answer *answer, struct json_out *json)
{
    write_message(answer, NULL, json);
}

goss_status messages_write_count(size_t n, struct buffer *out, goss_error *error)
{
    struct json_out json = {.out = out, .error = error};
    json_out_open(&json, NULL, '{');
    json_out_integer(&json, "input_tokens", (long long)n);
    json_out_close(&json, '}');
    return json.status;
}

/* ---- the stream ---- */

static void begin_event(const char *type, struct json_out *json)
{
    sse_begin(json, type);
    json_out_open(json, NULL, '{');
    json_out_text(json, "type", type);
}

static void end_event(struct json_out *json)
{
    json_out_close(json, '}');
    sse_end(json);
}

static void delta_event(const struct answer *answer, size_t item, const char *type, const char *key, const char *text,
                        size_t size, struct json_out *json)
{
    begin_event("content_block_delta", json);
    json_out_integer(json, "index", (long long)index_of(answer, item));
    json_out_open(json, "delta", '{');
    json_out_text(json, "type", type);
    json_out_bytes(json, key, text, size);
    json_out_close(json, '}');
    end_event(json);
}

/* What a client joins must be one JSON object, so a call's input comes as one delta when it is complete. */
static void input_event(const struct answer *answer, const struct answer_change *change, struct json_out *json)
{
    struct buffer text;
    buffer_init(&text, 1UL << 31);
    struct json_out input = {.out = &text, .error = json->error};
    json_out_open(&input, NULL, '{');
    write_input(&answer->choice[0].item[change->item], &input);
    if (json->status == GOSS_OK)
        json->status = input.status;
    if (json->status == GOSS_OK) { /* without {"input": around it */
        size_t head = sizeof "{\"input\":" - 1;
        delta_event(answer, change->item, "input_json_delta", "partial_json", (const char *)text.data + head,
                    text.size - head, json);
    }
    buffer_free(&text);
}

static void item_ends(const struct answer *answer, const struct answer_change *change, struct json_out *json)
{
    const struct answer_item *item = &answer->choice[0].item[change->item];
    if (item->part == TURN_CALL)
        input_event(answer, change, json);
    if (item->part == TURN_REASONING)
        delta_event(answer, change->item, "signature_delta", "signature", "gossamer", sizeof "gossamer" - 1, json);
    begin_event("content_block_stop", json);
    json_out_integer(json, "index", (long long)index_of(answer, change->item));
    end_event(json);
}

static void item_grows(const struct answer *answer, const struct answer_change *change, struct json_out *json)
{
    const struct answer_item *item = &answer->choice[0].item[change->item];
    bool reasoning = item->part == TURN_REASONING;
    if (item->part != TURN_CALL)
        delta_event(answer, change->item, reasoning ? "thinking_delta" : "text_delta", reasoning ? "thinking" : "text",
                    change->text, change->size, json);
}

static void answer_ends(const struct answer *answer, struct json_out *json)
{
    const struct answer_choice *choice = &answer->choice[0];
    if (choice->finish == TURN_FAILED) {
        struct api_error failure = {.base = choice->error, .http = 500};
        sse_begin(json, "error");
        if (json->status == GOSS_OK)
            json->status = api_error_write(&failure, API_MESSAGES, json->out, json->error);
        sse_end(json);
        return;
    }
    begin_event("message_delta", json);
    json_out_open(json, "delta", '{');
    json_out_text(json, "stop_reason", stop_reason(choice));
    json_out_text(json, "stop_sequence", stop_sequence(answer));
    json_out_close(json, '}');
    write_usage(answer, json);
    end_event(json);
    begin_event("message_stop", json);
    end_event(json);
}

void messages_stream(struct answer *answer, const struct answer_change *change, struct json_out *json)
{
    const struct answer_item *item =
        change->item < answer->choice[0].n_item ? &answer->choice[0].item[change->item] : NULL;
    bool about_item = change->moment >= ITEM_BEGINS && change->moment <= ITEM_ENDS;
    if (about_item && (!item || !is_shown(answer, item)))
        return;
    switch (change->moment) {
    case ANSWER_BEGINS:
        begin_event("message_start", json);
        write_message(answer, "message", json);
        end_event(json);
        break;
    case ITEM_BEGINS:
        begin_event("content_block_start", json);
        json_out_integer(json, "index", (long long)index_of(answer, change->item));
        write_block(answer, change->item, false, "content_block", json);
        end_event(json);
        break;
    case ITEM_GROWS: item_grows(answer, change, json); break;
    case ITEM_ENDS: item_ends(answer, change, json); break;
    case CHOICE_ENDS: break;
    case ANSWER_ENDS: answer_ends(answer, json); break;
    }
}
