/* The response object and its stream of events. */
#include <stdlib.h>
#include <string.h>

#include "api/base64.h"
#include "api/fields.h"
#include "api/responses.h"
#include "api/wire.h"

/* ---- what was asked, as it is in force ---- */

static void write_tool(const struct api_tool *tool, struct json_out *json)
{
    json_out_open(json, NULL, '{');
    json_out_text(json, "type", tool->custom ? "custom" : "function");
    json_out_text(json, "name", tool->name);
    json_out_text(json, "description", tool->description);
    if (!tool->custom) {
        json_out_raw(json, "parameters", tool->schema, tool->schema ? strlen(tool->schema) : 0);
        json_out_bool(json, "strict", tool->strict);
    }
    json_out_close(json, '}');
}

static bool same_space(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static void write_tools(const struct api_request *request, struct json_out *json)
{
    const char *space = NULL;
    json_out_open(json, "tools", '[');
    for (size_t i = 0; i <= request->n_tool; i++) {
        const char *next = i < request->n_tool ? request->tool[i].space : NULL;
        if (!same_space(space, next)) {
            if (space) {
                json_out_close(json, ']');
                json_out_close(json, '}');
            }
            if (next) {
                json_out_open(json, NULL, '{');
                json_out_text(json, "type", "namespace");
                json_out_text(json, "name", next);
                json_out_text(json, "description", "");
                json_out_open(json, "tools", '[');
            }
            space = next;
        }
        if (i < request->n_tool)
            write_tool(&request->tool[i], json);
    }
    json_out_close(json, ']');
}

static void write_text_config(const struct api_request *request, struct json_out *json)
{
    static const char *const forms[] = {
        [ANSWER_FREE] = "text", [ANSWER_OBJECT] = "json_object", [ANSWER_SCHEMA] = "json_schema"};
    const struct json_node *verbosity = field(field(request->body, "text"), "verbosity");
    json_out_open(json, "text", '{');
    json_out_open(json, "format", '{');
    const struct answer_schema *schema = &request->turn.schema;
    json_out_text(json, "type", forms[request->turn.form]);
    if (request->turn.form == ANSWER_SCHEMA) {
        json_out_text(json, "name", schema->name ? schema->name : "response");
        json_out_text(json, "description", schema->description);
        json_out_raw(json, "schema", schema->json, schema->size);
        json_out_bool(json, "strict", request->schema_strict);
    }
    json_out_close(json, '}');
    if (verbosity)
        json_out_raw(json, "verbosity", verbosity->source, verbosity->source_size);
    json_out_close(json, '}');
}

/* A member of the body as it came, or what stands for its absence. */
static void write_member(const struct api_request *request, const char *key, const char *absent, struct json_out *json)
{
    const struct json_node *node = field(request->body, key);
    if (node)
        json_out_raw(json, key, node->source, node->source_size);
    else
        json_out_raw(json, key, absent, strlen(absent));
}

static void write_parameters(const struct api_request *request, struct json_out *json)
{
    const struct sampling *s = &request->turn.sampling;
    json_out_text(json, "instructions", request->instructions);
    if (request->turn.max_tokens)
        json_out_integer(json, "max_output_tokens", request->turn.max_tokens);
    else
        json_out_null(json, "max_output_tokens");
    write_member(request, "max_tool_calls", "null", json);
    json_out_text(json, "previous_response_id", request->previous);
    json_out_bool(json, "parallel_tool_calls", request->parallel);
    json_out_open(json, "reasoning", '{');
    json_out_text(json, "effort", effort_name(request->effort));
    json_out_null(json, "summary");
    json_out_close(json, '}');
    json_out_bool(json, "store", request->store);
    json_out_bool(json, "background", request->background);
    json_out_number(json, "temperature", s->temperature);
    json_out_number(json, "top_p", s->top_p);
    json_out_number(json, "presence_penalty", s->presence_penalty);
    json_out_number(json, "frequency_penalty", s->frequency_penalty);
    json_out_integer(json, "top_logprobs", request->top_logprobs > 0 ? request->top_logprobs : 0);
    json_out_integer(json, "seed", (long long)s->seed);
    write_text_config(request, json);
    write_member(request, "tool_choice", "\"auto\"", json);
    write_tools(request, json);
    json_out_text(json, "truncation", "disabled");
    json_out_text(json, "service_tier", "default");
    write_member(request, "metadata", "{}", json);
    write_member(request, "safety_identifier", "null", json);
    write_member(request, "prompt_cache_key", "null", json);
    write_member(request, "user", "null", json);
}

/* ---- items ---- */

static const char *item_status(const struct answer_item *item)
{
    return !item->done ? "in_progress" : item->truncated ? "incomplete" : "completed";
}

static void write_logprobs(const struct answer *answer, const struct answer_choice *choice, size_t token, size_t n,
                           struct json_out *json)
{
    json_out_open(json, "logprobs", '[');
    for (size_t i = 0; i < n; i++)
        logprob_write(answer, &choice->token[token + i], json);
    json_out_close(json, ']');
}

/* The one content part of a text item; `whole`: with its text. */
static void write_part(const struct answer *answer, const struct answer_change *at, bool whole, const char *key,
                       struct json_out *json)
{
    const struct answer_choice *choice = &answer->choice[at->choice];
    const struct answer_item *item = &choice->item[at->item];
    json_out_open(json, key, '{');
    json_out_text(json, "type", item->part == TURN_REASONING ? "reasoning_text" : "output_text");
    json_out_bytes(json, "text", item->text.data ? (const char *)item->text.data : "", whole ? item->text.size : 0);
    if (item->part != TURN_REASONING) {
        json_out_open(json, "annotations", '[');
        json_out_close(json, ']');
        write_logprobs(answer, choice, item->token, whole ? item->n_token : 0, json);
    }
    json_out_close(json, '}');
}

void sealed_write(const struct answer_item *item, struct json_out *json)
{
    struct buffer sealed;
    buffer_init(&sealed, 2 * item->text.limit);
    if (json->status == GOSS_OK)
        json->status = base64_seal(item->text.data, item->text.size, &sealed, json->error);
    json_out_bytes(json, "encrypted_content", sealed.data ? (const char *)sealed.data : "", sealed.size);
    buffer_free(&sealed);
}

static void write_call(const struct answer *answer, const struct answer_change *at, struct json_out *json)
{
    const struct answer_item *item = &answer->choice[at->choice].item[at->item];
    char id[ANSWER_ID_SIZE], *owned = NULL;
    bool custom = item->tool && item->tool->custom;
    size_t size = 0;
    const char *text = item->done ? call_text(item, &size, &owned) : "";
    call_id(answer, at->choice, at->item, id);
    json_out_text(json, "call_id", id);
    json_out_text(json, "name", item->name);
    if (item->tool && item->tool->space)
        json_out_text(json, "namespace", item->tool->space);
    json_out_bytes(json, custom ? "input" : "arguments", text, size);
    free(owned);
}

/* The item as it stands; until it is done it shows no text, as the events that follow bring it. */
static void write_item(const struct answer *answer, const struct answer_change *at, const char *key,
                       struct json_out *json)
{
    const struct answer_item *item = &answer->choice[at->choice].item[at->item];
    char id[ANSWER_ID_SIZE];
    bool custom = item->tool && item->tool->custom;
    item_id(answer, at->choice, at->item, id);
    json_out_open(json, key, '{');
    json_out_text(json, "id", id);
    json_out_text(json, "type",
                  item->part == TURN_REASONING ? "reasoning"
                  : item->part != TURN_CALL    ? "message"
                  : custom                     ? "custom_tool_call"
                                               : "function_call");
    json_out_text(json, "status", item_status(item));
    if (item->part == TURN_CALL) {
        write_call(answer, at, json);
        json_out_close(json, '}');
        return;
    }
    if (item->part != TURN_REASONING) {
        json_out_text(json, "role", "assistant");
        json_out_text(json, "phase", item->part == TURN_PREAMBLE ? "commentary" : "final_answer");
    } else {
        json_out_open(json, "summary", '[');
        json_out_close(json, ']');
        if (answer->request->reasoning_sealed && item->done)
            sealed_write(item, json);
    }
    json_out_open(json, "content", '[');
    if (item->done)
        write_part(answer, at, true, NULL, json);
    json_out_close(json, ']');
    json_out_close(json, '}');
}

/* ---- the object ---- */

void responses_usage(const struct answer *answer, struct json_out *json)
{
    int reasoning;
    struct usage usage = answer_usage(answer, &reasoning);
    json_out_open(json, "usage", '{');
    json_out_integer(json, "input_tokens", usage.prompt_tokens);
    json_out_open(json, "input_tokens_details", '{');
    json_out_integer(json, "cached_tokens", usage.cached_tokens);
    json_out_integer(json, "cache_write_tokens", 0);
    json_out_close(json, '}');
    json_out_integer(json, "output_tokens", usage.answer_tokens);
    json_out_open(json, "output_tokens_details", '{');
    json_out_integer(json, "reasoning_tokens", reasoning);
    json_out_close(json, '}');
    json_out_integer(json, "total_tokens", (long long)usage.prompt_tokens + usage.answer_tokens);
    json_out_close(json, '}');
}

static void write_outcome(const struct answer *answer, struct json_out *json)
{
    const struct answer_choice *choice = &answer->choice[0];
    if (answer->status == ANSWER_FAILED) {
        json_out_open(json, "error", '{');
        json_out_text(json, "code", "server_error");
        json_out_text(json, "message", choice->error.text);
        json_out_close(json, '}');
    } else {
        json_out_null(json, "error");
    }
    if (answer->status == ANSWER_INCOMPLETE) {
        json_out_open(json, "incomplete_details", '{');
        json_out_text(json, "reason", "max_output_tokens");
        json_out_close(json, '}');
    } else {
        json_out_null(json, "incomplete_details");
    }
}

static void write_response(const struct answer *answer, const char *key, struct json_out *json)
{
    static const char *const statuses[] = {
        [ANSWER_QUEUED] = "queued",         [ANSWER_RUNNING] = "in_progress", [ANSWER_COMPLETED] = "completed",
        [ANSWER_INCOMPLETE] = "incomplete", [ANSWER_FAILED] = "failed",       [ANSWER_CANCELLED] = "cancelled"};
    char id[64];
    answer_id(answer, id);
    json_out_open(json, key, '{');
    json_out_text(json, "id", id);
    json_out_text(json, "object", "response");
    json_out_integer(json, "created_at", answer->created);
    json_out_text(json, "status", statuses[answer->status]);
    if (answer->status == ANSWER_COMPLETED)
        json_out_integer(json, "completed_at", answer->completed);
    else
        json_out_null(json, "completed_at");
    write_outcome(answer, json);
    json_out_text(json, "model", answer->request->settings->model);
    json_out_open(json, "output", '[');
    for (size_t i = 0; i < answer->choice[0].n_item; i++)
        if (answer->choice[0].item[i].done)
            write_item(answer, &(struct answer_change){.item = i}, NULL, json);
    json_out_close(json, ']');
    write_parameters(answer->request, json);
    if (answer->choice[0].done)
        responses_usage(answer, json);
    else
        json_out_null(json, "usage");
    json_out_close(json, '}');
}

void responses_object(const struct answer *answer, struct json_out *json)
{
    write_response(answer, NULL, json);
}

/* ---- the stream ---- */

static void begin_event(struct answer *answer, const char *type, struct json_out *json)
{
    if (answer->request->settings->held)
        line_begin(json);
    else
        sse_begin(json, type);
    json_out_open(json, NULL, '{');
    json_out_text(json, "type", type);
    json_out_integer(json, "sequence_number", (long long)answer->sequence++);
}

static void end_event(const struct answer *answer, struct json_out *json)
{
    json_out_close(json, '}');
    if (answer->request->settings->held)
        line_end(json);
    else
        sse_end(json);
}

static void response_event(struct answer *answer, const char *type, struct json_out *json)
{
    begin_event(answer, type, json);
    write_response(answer, "response", json);
    end_event(answer, json);
}

static void item_event(struct answer *answer, const struct answer_change *change, const char *type,
                       struct json_out *json)
{
    begin_event(answer, type, json);
    json_out_integer(json, "output_index", (long long)change->item);
    write_item(answer, change, "item", json);
    end_event(answer, json);
}

/* An event about the text of an item, up to its own members. */
static void begin_text_event(struct answer *answer, const struct answer_change *change, const char *type,
                             struct json_out *json)
{
    char id[ANSWER_ID_SIZE];
    begin_event(answer, type, json);
    item_id(answer, change->choice, change->item, id);
    json_out_text(json, "item_id", id);
    json_out_integer(json, "output_index", (long long)change->item);
    if (answer->choice[change->choice].item[change->item].part != TURN_CALL)
        json_out_integer(json, "content_index", 0);
}

static void part_event(struct answer *answer, const struct answer_change *change, const char *type, bool whole,
                       struct json_out *json)
{
    begin_text_event(answer, change, type, json);
    write_part(answer, change, whole, "part", json);
    end_event(answer, json);
}

static const char *text_event(const struct answer *answer, const struct answer_item *item, bool delta)
{
    bool open = answer->request->settings->open_responses;
    if (item->part == TURN_REASONING && open)
        return delta ? "response.reasoning.delta" : "response.reasoning.done";
    if (item->part == TURN_REASONING)
        return delta ? "response.reasoning_text.delta" : "response.reasoning_text.done";
    if (item->part != TURN_CALL)
        return delta ? "response.output_text.delta" : "response.output_text.done";
    if (item->tool && item->tool->custom)
        return delta ? "response.custom_tool_call_input.delta" : "response.custom_tool_call_input.done";
    return delta ? "response.function_call_arguments.delta" : "response.function_call_arguments.done";
}

static void delta_event(struct answer *answer, const struct answer_change *change, const char *text, size_t size,
                        struct json_out *json)
{
    const struct answer_choice *choice = &answer->choice[change->choice];
    const struct answer_item *item = &choice->item[change->item];
    begin_text_event(answer, change, text_event(answer, item, true), json);
    json_out_bytes(json, "delta", text, size);
    if (item->part == TURN_FINAL || item->part == TURN_PREAMBLE)
        write_logprobs(answer, choice, change->token, change->n_token, json);
    end_event(answer, json);
}

/* The string of a custom tool is only known when its call is complete: it comes as one delta. */
static void item_grows(struct answer *answer, const struct answer_change *change, struct json_out *json)
{
    const struct answer_item *item = &answer->choice[change->choice].item[change->item];
    if (!item->tool || !item->tool->custom)
        delta_event(answer, change, change->text, change->size, json);
}

static void item_ends(struct answer *answer, const struct answer_change *change, struct json_out *json)
{
    const struct answer_choice *choice = &answer->choice[change->choice];
    const struct answer_item *item = &choice->item[change->item];
    bool call = item->part == TURN_CALL, custom = item->tool && item->tool->custom;
    size_t size = item->text.size;
    char *owned = NULL;
    const char *text = call ? call_text(item, &size, &owned) : (const char *)item->text.data;
    if (custom && size > 0)
        delta_event(answer, change, text, size, json);
    begin_text_event(answer, change, text_event(answer, item, false), json);
    if (call)
        json_out_text(json, "name", item->name);
    json_out_bytes(json, custom ? "input" : call ? "arguments" : "text", size ? text : "", size);
    if (item->part == TURN_FINAL || item->part == TURN_PREAMBLE)
        write_logprobs(answer, choice, item->token, item->n_token, json);
    end_event(answer, json);
    free(owned);
    if (!call)
        part_event(answer, change, "response.content_part.done", true, json);
    item_event(answer, change, "response.output_item.done", json);
}

static void answer_ends(struct answer *answer, struct json_out *json)
{
    const char *type = answer->status == ANSWER_FAILED      ? "response.failed"
                       : answer->status == ANSWER_COMPLETED ? "response.completed"
                                                            : "response.incomplete";
    response_event(answer, type, json);
}

void responses_stream(struct answer *answer, const struct answer_change *change, struct json_out *json)
{
    switch (change->moment) {
    case ANSWER_BEGINS:
        response_event(answer, "response.created", json);
        response_event(answer, "response.in_progress", json);
        break;
    case ITEM_BEGINS:
        item_event(answer, change, "response.output_item.added", json);
        if (answer->choice[change->choice].item[change->item].part != TURN_CALL)
            part_event(answer, change, "response.content_part.added", false, json);
        break;
    case ITEM_GROWS: item_grows(answer, change, json); break;
    case ITEM_ENDS: item_ends(answer, change, json); break;
    case CHOICE_ENDS: break;
    case ANSWER_ENDS: answer_ends(answer, json); break;
    }
}

goss_status responses_write_fault(struct api_error *error, struct buffer *out, goss_error *fault)
{
    struct json_out json = {.out = out, .error = fault};
    api_error_settle(error);
    json_out_open(&json, NULL, '{');
    json_out_text(&json, "type", "error");
    json_out_integer(&json, "status", error->http);
    json_out_open(&json, "error", '{');
    json_out_text(&json, "type", error->http < 500 ? "invalid_request_error" : "server_error");
    json_out_text(&json, "code", error->code ? error->code : error->http < 500 ? "invalid_request" : "server_error");
    json_out_text(&json, "message", error->base.text);
    json_out_text(&json, "param", *error->param ? error->param : NULL);
    json_out_close(&json, '}');
    json_out_close(&json, '}');
    return json.status;
}

goss_status responses_write_count(size_t n, struct buffer *out, goss_error *error)
{
    struct json_out json = {.out = out, .error = error};
    json_out_open(&json, NULL, '{');
    json_out_text(&json, "object", "response.input_tokens");
    json_out_integer(&json, "input_tokens", (long long)n);
    json_out_close(&json, '}');
    return json.status;
}

/* ---- stored responses ---- */

goss_status responses_write_deleted(const char *id, struct buffer *out, goss_error *error)
{
    struct json_out json = {.out = out, .error = error};
    json_out_open(&json, NULL, '{');
    json_out_text(&json, "id", id);
    json_out_text(&json, "object", "response");
    json_out_bool(&json, "deleted", true);
    json_out_close(&json, '}');
    return json.status;
}

static const char *id_of(const struct json_node *item)
{
    const struct json_node *id = field(item, "id");
    return json_tree_is(id, JSON_TREE_STRING) ? id->text : "";
}

/* One page of [n] items. */
static void write_page(const struct json_node **item, size_t n, size_t begin, size_t end, struct json_out *json)
{
    json_out_open(json, NULL, '{');
    json_out_text(json, "object", "list");
    json_out_open(json, "data", '[');
    for (size_t i = begin; i < end; i++)
        json_out_raw(json, NULL, item[i]->source, item[i]->source_size);
    json_out_close(json, ']');
    json_out_text(json, "first_id", begin < end ? id_of(item[begin]) : NULL);
    json_out_text(json, "last_id", begin < end ? id_of(item[end - 1]) : NULL);
    json_out_bool(json, "has_more", end < n);
    json_out_close(json, '}');
}

goss_status responses_write_input_items(const char *items, size_t size, int limit, const char *after, bool ascending,
                                        struct buffer *out, struct api_error *error)
{
    struct arena arena = {0};
    struct json_node *root = NULL;
    struct json_out json = {.out = out, .error = &error->base};
    goss_status status = json_tree_read(&arena, items, size, "stored input items", &root, &error->base);
    size_t n = root ? root->n_child : 0, begin = 0;
    const struct json_node **item = arena_alloc(&arena, (n + 1) * sizeof *item);
    size_t i = 0;
    for (const struct json_node *node = item && root ? root->child : NULL; node; node = node->next, i++)
        item[ascending ? i : n - 1 - i] = node;
    while (after && item && begin < n && strcmp(id_of(item[begin]), after) != 0)
        begin++;
    if (status == GOSS_OK && (limit < 0 || limit > 100))
        status = api_refuse(error, 400, "invalid_value", "limit", "limit must be in 1..100");
    else if (status == GOSS_OK && after && begin == n)
        status = api_refuse(error, 400, "item_not_found", "after", "after names no item of this response");
    else if (status == GOSS_OK && !item)
        status = error_memory(&error->base, n, "input items");
    if (status == GOSS_OK && item) {
        begin += after != NULL;
        size_t most = limit ? (size_t)limit : 20;
        write_page(item, n, begin, n - begin < most ? n : begin + most, &json);
        status = json.status;
    }
    arena_free(&arena);
    return status;
}
