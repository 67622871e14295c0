/* The body of POST /v1/responses. */
#include <stdio.h>
#include <string.h>

#include "api/base64.h"
#include "api/compact.h"
#include "api/held.h"
#include "api/json_out.h"
#include "api/read.h"
#include "api/responses.h"

enum { LEAST_OUTPUT_TOKENS = 1, MOST_OUTPUT_TOKENS = 1 << 24 };

static const char *const text_types[] = {"input_text",   "output_text",    "text", "refusal",
                                         "summary_text", "reasoning_text", NULL};

/* ---- items ---- */

/* The texts of an array of {"text"} joined, for reasoning. */
static const char *joined_text(struct reader *reader, const struct json_node *array, size_t *size)
{
    struct fields *f = &reader->fields;
    size_t n;
    const struct part *part = read_parts(reader, array, text_types, &n);
    *size = 0;
    for (size_t i = 0; i < n; i++)
        *size += part[i].text_size;
    char *text = fields_alloc(f, *size + 1, 1);
    size_t used = 0;
    for (size_t i = 0; text && i < n; i++) {
        memcpy(text + used, part[i].text, part[i].text_size);
        used += part[i].text_size;
    }
    return text;
}

/* content if it is there, else what encrypted_content of ours seals, else the summary (pitfall R1). */
static void read_reasoning(struct reader *reader, const struct json_node *item)
{
    const struct json_node *sealed = field(item, "encrypted_content");
    size_t size = 0;
    const char *text = joined_text(reader, field_array(&reader->fields, item, "content"), &size);
    if (size == 0 && json_tree_is(sealed, JSON_TREE_STRING))
        text = base64_unseal(reader->fields.arena, sealed->text, sealed->size, &size);
    if (size == 0)
        text = joined_text(reader, field_array(&reader->fields, item, "summary"), &size);
    add_reasoning(reader, text, size);
}

static void read_message(struct reader *reader, const struct json_node *item)
{
    struct fields *f = &reader->fields;
    const char *name = field_required(f, item, "role");
    enum role role;
    if (!name)
        return;
    if (!role_find(name, &role) || role == ROLE_TOOL) {
        field_refuse(f, field(item, "role"), "invalid_value", "must be user, assistant, system or developer");
        return;
    }
    size_t n, size;
    if (role == ROLE_SYSTEM || role == ROLE_DEVELOPER) {
        const char *text = joined_text(reader, field(item, "content"), &size);
        add_developer(reader, text, size);
        return;
    }
    const struct part *part = read_parts(reader, field(item, "content"), text_types, &n);
    if (role == ROLE_USER)
        add_user(reader, part, n);
    else
        add_said(reader, part, n, node_says(field(item, "phase"), "commentary"));
}

static void read_call(struct reader *reader, const struct json_node *item, const char *key, bool custom)
{
    struct fields *f = &reader->fields;
    const char *name = field_required(f, item, "name"), *id = field_required(f, item, "call_id");
    const char *text = field_required(f, item, key), *space = field_string(f, item, "namespace");
    const struct json_node *node = field(item, key);
    if (!text)
        return;
    const char *arguments = custom ? custom_arguments(reader, text, node->size) : text;
    add_call(reader, id, space, name, arguments, custom && arguments ? strlen(arguments) : node->size);
}

static void read_output(struct reader *reader, const struct json_node *item)
{
    const char *id = field_required(&reader->fields, item, "call_id");
    const struct json_node *output = field(item, "output");
    size_t n;
    const struct part *part = read_parts(reader, output, text_types, &n);
    if (!output)
        field_missing(&reader->fields, item, "output");
    add_tool_answer(reader, item, id, field_string(&reader->fields, item, "name"), part, n);
}

/* Calls of tools that run elsewhere are shown to the model as calls of a function of that name with the item's own text
 * as arguments and answer. */
static void read_foreign(struct reader *reader, const struct json_node *item, const char *type)
{
    static const char suffix[] = "_call_output";
    struct fields *f = &reader->fields;
    size_t n = strlen(type);
    const char *id = field_string(f, item, "call_id");
    if (n > sizeof suffix && strcmp(type + n - (sizeof suffix - 1), suffix) == 0) {
        struct part part = {.kind = PART_TEXT, .text = item->source, .text_size = item->source_size};
        add_tool_answer(reader, item, id ? id : field_string(f, item, "id"), NULL, &part, 1);
        return;
    }
    add_call(reader, id ? id : field_string(f, item, "id"), NULL, type, item->source, item->source_size);
}

static void read_reference(struct reader *reader, const struct json_node *item)
{
    struct api_request *request = reader->request;
    char path[API_PARAM_SIZE];
    const char *id = field_required(&reader->fields, item, "id");
    struct api_reference *reference = fields_alloc(&reader->fields, request->n_reference + 1, sizeof *reference);
    if (!reference)
        return;
    node_path(item, path);
    if (request->n_reference)
        memcpy(reference, request->reference, request->n_reference * sizeof *reference);
    reference[request->n_reference++] =
        (struct api_reference){request->input.n_message, id, fields_format(&reader->fields, "%s", path)};
    request->reference = reference;
}

/* Items that say nothing to a model that only reads text, or that only a hosted service needs. */
static bool is_silent(const char *type)
{
    static const char *const silent[] = {"mcp_list_tools",     "mcp_approval_request", "mcp_approval_response",
                                         "compaction_trigger", "additional_tools",     "tool_search_call",
                                         "tool_search_output", "configuration_update", "program",
                                         "program_output",     "web_search_call",      "image_generation_call"};
    for (size_t i = 0; i < sizeof silent / sizeof *silent; i++)
        if (strcmp(type, silent[i]) == 0)
            return true;
    return false;
}

static void read_item(struct reader *reader, const struct json_node *item)
{
    struct fields *f = &reader->fields;
    if (item->kind != JSON_TREE_OBJECT) {
        field_refuse(f, item, "invalid_type", "must be an object");
        return;
    }
    const char *type = field_string(f, item, "type");
    if (!type)
        type = field(item, "role") ? "message" : "item_reference";
    if (strcmp(type, "message") == 0)
        read_message(reader, item);
    else if (strcmp(type, "reasoning") == 0)
        read_reasoning(reader, item);
    else if (strcmp(type, "function_call") == 0)
        read_call(reader, item, "arguments", false);
    else if (strcmp(type, "custom_tool_call") == 0)
        read_call(reader, item, "input", true);
    else if (strcmp(type, "function_call_output") == 0 || strcmp(type, "custom_tool_call_output") == 0)
        read_output(reader, item);
    else if (strcmp(type, "compaction") == 0)
        compact_read_item(reader, item);
    else if (strcmp(type, "item_reference") == 0)
        read_reference(reader, item);
    else if (strstr(type, "_call"))
        is_silent(type) ? (void)0 : read_foreign(reader, item, type);
    else if (!is_silent(type))
        field_refuse(f, field(item, "type"), "unsupported_value", "is no kind of item that this server reads");
}

void read_items(struct reader *reader)
{
    const struct json_node *input = field(reader->body, "input");
    if (json_tree_is(input, JSON_TREE_STRING)) {
        struct part part = {.kind = PART_TEXT, .text = input->text, .text_size = input->size};
        add_user(reader, &part, 1);
        return;
    }
    if (input && input->kind != JSON_TREE_ARRAY)
        field_refuse(&reader->fields, input, "invalid_type", "must be a string or an array of items");
    if (!input && !reader->request->previous)
        field_missing(&reader->fields, reader->body, "input");
    for (const struct json_node *item = input ? input->child : NULL; item && !reader->fields.status; item = item->next)
        read_item(reader, item);
}

/* ---- what GET input_items returns ---- */

static const char *id_prefix(const struct json_node *item)
{
    const struct json_node *type = field(item, "type");
    return !type || node_says(type, "message")   ? "msg"
           : node_says(type, "reasoning")        ? "rs"
           : node_says(type, "custom_tool_call") ? "ctc"
           : node_says(type, "compaction")       ? "cmp"
           : strstr(type->text, "_output")       ? "fco"
                                                 : "fc";
}

/* item is a message, or the string that stands for a user's. */
static void write_message_item(struct json_out *json, const struct json_node *item, const char *id)
{
    const struct json_node *content = item->kind == JSON_TREE_STRING ? item : field(item, "content");
    const struct json_node *role = field(item, "role");
    bool assistant = node_says(role, "assistant");
    json_out_open(json, NULL, '{');
    json_out_text(json, "id", id);
    json_out_text(json, "type", "message");
    json_out_text(json, "status", "completed");
    json_out_text(json, "role", role ? role->text : "user");
    if (json_tree_is(content, JSON_TREE_ARRAY)) {
        json_out_raw(json, "content", content->source, content->source_size);
    } else {
        json_out_open(json, "content", '[');
        json_out_open(json, NULL, '{');
        json_out_text(json, "type", assistant ? "output_text" : "input_text");
        json_out_bytes(json, "text", content ? content->text : "", content ? content->size : 0);
        if (assistant) {
            json_out_open(json, "annotations", '[');
            json_out_close(json, ']');
        }
        json_out_close(json, '}');
        json_out_close(json, ']');
    }
    json_out_close(json, '}');
}

static void write_other_item(struct json_out *json, const struct json_node *item, const char *id)
{
    json_out_open(json, NULL, '{');
    json_out_text(json, "id", id);
    bool status = false;
    for (const struct json_node *member = item->child; member; member = member->next) {
        if (strcmp(member->key, "id") == 0)
            continue;
        status = status || strcmp(member->key, "status") == 0;
        json_out_raw(json, member->key, member->source, member->source_size);
    }
    if (!status && !node_says(field(item, "type"), "item_reference"))
        json_out_text(json, "status", "completed");
    json_out_close(json, '}');
}

static goss_status write_items(struct reader *reader, const char *key, struct buffer *out)
{
    const struct json_node *input = field(reader->body, "input");
    struct json_out json = {.out = out, .error = &reader->fields.error->base};
    size_t index = 0;
    char made[80];
    json_out_open(&json, NULL, '[');
    if (json_tree_is(input, JSON_TREE_STRING)) {
        (void)snprintf(made, sizeof made, "msg_%s_in_0", key);
        write_message_item(&json, input, made);
    } else {
        for (const struct json_node *item = input ? input->child : NULL; item; item = item->next, index++) {
            const char *id = field_string(&reader->fields, item, "id");
            (void)snprintf(made, sizeof made, "%s_%s_in_%zu", id_prefix(item), key, index);
            bool message = node_says(field(item, "type"), "message") || (!field(item, "type") && field(item, "role"));
            (message ? write_message_item : write_other_item)(&json, item, id ? id : made);
        }
    }
    json_out_close(&json, ']');
    return json.status;
}

static void keep_items(struct reader *reader, const char *key)
{
    struct buffer out;
    if (reader->fields.status)
        return;
    buffer_init(&out, 4 * (size_t)API_BODY_BYTES);
    goss_status status = write_items(reader, key, &out);
    if (reader->fields.status == GOSS_OK)
        reader->fields.status = status;
    reader->request->input_items = fields_copy(&reader->fields, (const char *)out.data, out.size);
    buffer_free(&out);
}

/* ---- tools ---- */

/* Schemas are only bound to when the client says so: most agents say nothing, and theirs are often outside the strict
 * subset. */
static void read_function(struct reader *reader, const struct json_node *node, const char *space)
{
    struct fields *f = &reader->fields;
    struct api_tool *tool = read_tool(reader, node, space, field_required(f, node, "name"),
                                      field_string(f, node, "description"), field_object(f, node, "parameters"));
    if (tool)
        tool->strict = field_bool(f, node, "strict", false);
}

/* Functions and custom tools are the model's to call; a namespace is opened; every tool that only a hosted service can
 * run (web_search, file_search, code_interpreter, mcp, local_shell, ..) is left out, and so it is of the echo, which
 * shows a client what is in force (pitfall A1). */
static void read_tools(struct reader *reader)
{
    struct fields *f = &reader->fields;
    const struct json_node *tools = field_array(f, reader->body, "tools");
    for (const struct json_node *node = tools ? tools->child : NULL; node && !f->status; node = node->next) {
        const char *type = field_required(f, node, "type");
        if (!type)
            return;
        if (strcmp(type, "function") == 0)
            read_function(reader, node, NULL);
        else if (strcmp(type, "custom") == 0)
            read_custom_tool(reader, node, NULL);
        if (strcmp(type, "namespace") != 0)
            continue;
        const char *space = field_required(f, node, "name");
        const struct json_node *inner = field_array(f, node, "tools");
        for (const struct json_node *tool = inner ? inner->child : NULL; tool && !f->status; tool = tool->next) {
            if (node_says(field(tool, "type"), "custom"))
                read_custom_tool(reader, tool, space);
            else if (node_says(field(tool, "type"), "function"))
                read_function(reader, tool, space);
        }
    }
}

static void read_tool_choice(struct reader *reader)
{
    struct fields *f = &reader->fields;
    const struct json_node *choice = field(reader->body, "tool_choice");
    if (!choice || choice->kind == JSON_TREE_STRING) {
        choose_mode(reader, choice);
        return;
    }
    const struct json_node *type = field(choice, "type");
    if (node_says(type, "allowed_tools")) {
        const struct json_node *tools = field_array(f, choice, "tools");
        choose_mode(reader, field(choice, "mode"));
        for (size_t i = 0; i < reader->request->n_tool; i++)
            reader->request->tool[i].allowed = false;
        for (const struct json_node *tool = tools ? tools->child : NULL; tool && !f->status; tool = tool->next)
            if (field(tool, "name"))
                choose_tool(reader, tool, field_string(f, tool, "name"), false);
    } else if (node_says(type, "function") || node_says(type, "custom")) {
        choose_tool(reader, choice, field_required(f, choice, "name"), true);
    } else {
        field_refuse(f, choice, "unsupported_value", "must be auto, none, required or name a declared function");
    }
}

/* ---- options ---- */

static void read_include(struct reader *reader)
{
    const struct json_node *include = field_array(&reader->fields, reader->body, "include");
    bool logprobs = false;
    for (const struct json_node *node = include ? include->child : NULL; node; node = node->next) {
        logprobs = logprobs || node_says(node, "message.output_text.logprobs");
        if (node_says(node, "reasoning.encrypted_content"))
            reader->request->reasoning_sealed = true;
    }
    int64_t top = field_integer(&reader->fields, reader->body, "top_logprobs", 0, SAMPLER_MAX_LOGPROBS, 0);
    reader->request->top_logprobs = logprobs || top > 0 ? (int)top : -1;
    reader->request->turn.sampling.logprobs = reader->request->top_logprobs;
}

static void read_metadata(struct reader *reader)
{
    struct fields *f = &reader->fields;
    const struct json_node *map = field_object(f, reader->body, "metadata");
    if (map && map->n_child > API_MAX_METADATA)
        field_refuse(f, map, "invalid_value", "has more than %d members", API_MAX_METADATA);
    for (const struct json_node *node = map ? map->child : NULL; node; node = node->next)
        if (node->kind != JSON_TREE_STRING || node->size > 512 || node->key_size > 64)
            field_refuse(f, node, "invalid_value", "must be a string of at most 512 bytes under a key of at most 64");
}

/* What would change the answer and is not there is refused, never passed over. */
static void refuse_missing(struct reader *reader)
{
    struct fields *f = &reader->fields;
    static const char *const absent[] = {"conversation", "prompt"};
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++)
        if (field(reader->body, absent[i]))
            field_refuse(f, field(reader->body, absent[i]), "unsupported_parameter",
                         "is not supported: send the input, with previous_response_id if it continues something");
    const struct json_node *truncation = field(reader->body, "truncation");
    if (truncation && !node_says(truncation, "auto") && !node_says(truncation, "disabled"))
        field_refuse(f, truncation, "invalid_value", "must be auto or disabled");
}

static void read_options(struct reader *reader)
{
    struct fields *f = &reader->fields;
    struct api_request *request = reader->request;
    const struct json_node *body = reader->body, *text = field_object(f, body, "text");
    request->turn.max_tokens =
        (int)field_integer(f, body, "max_output_tokens", LEAST_OUTPUT_TOKENS, MOST_OUTPUT_TOKENS, 0);
    (void)field_integer(f, body, "max_tool_calls", 1, INT32_MAX, 1);
    (void)field_string(f, body, "model");
    request->parallel = field_bool(f, body, "parallel_tool_calls", true);
    request->stream = request->settings->held || field_bool(f, body, "stream", false);
    request->background = field_bool(f, body, "background", false);
    request->store = field_bool(f, body, "store", true);
    request->previous = field_string(f, body, "previous_response_id");
    if (request->background && !request->store)
        field_refuse(f, field(body, "store"), "invalid_value", "must not be false for a response in the background");
    read_sampling(reader, "stop");
    (void)field_object(f, body, "reasoning");
    read_effort(reader);
    read_format(reader, field_object(f, text, "format"), NULL);
    read_include(reader);
    read_metadata(reader);
    refuse_missing(reader);
}

/* A message of a WebSocket is the body of a request with a type. What says how to answer over HTTP has no place in it,
 * but clients that say there what is so anyway are understood. */
static void read_message_type(struct reader *reader)
{
    struct fields *f = &reader->fields;
    const struct json_node *type = field(reader->body, "type");
    if (!node_says(type, "response.create"))
        field_refuse(f, type ? type : reader->body, "unsupported_event", "needs the type response.create");
    if (!field_bool(f, reader->body, "stream", true))
        field_refuse(f, field(reader->body, "stream"), "invalid_value", "must not be false: a WebSocket gets events");
    if (field_bool(f, reader->body, "background", false))
        field_refuse(f, field(reader->body, "background"), "invalid_value",
                     "must not be true in a WebSocket's message");
    reader->request->silent = !field_bool(f, reader->body, "generate", true);
}

/* A continuation that fails takes with it what it was to continue. */
static void forget_held(const struct reader *reader)
{
    struct api_held *held = reader->request->settings ? reader->request->settings->held : NULL;
    const struct json_node *previous = reader->body ? field(reader->body, "previous_response_id") : NULL;
    const char *id = previous && json_tree_is(previous, JSON_TREE_STRING) ? previous->text : NULL;
    if (held && reader->fields.status && held_is(held, id))
        held_forget(held);
}

goss_status responses_read(struct api_request *request, const struct api_settings *settings, const char *key,
                           const void *body, size_t size, struct api_error *error)
{
    struct reader reader;
    read_begin(&reader, request, API_RESPONSES, settings, body, size, error);
    if (reader.fields.status == GOSS_OK && settings->held)
        read_message_type(&reader);
    if (reader.fields.status == GOSS_OK)
        read_options(&reader);
    if (reader.fields.status == GOSS_OK)
        read_tools(&reader);
    if (reader.fields.status == GOSS_OK)
        read_tool_choice(&reader);
    if (reader.fields.status == GOSS_OK)
        read_items(&reader);
    keep_items(&reader, key);
    forget_held(&reader);
    return read_end(&reader, field_string(&reader.fields, reader.body, "instructions"));
}
