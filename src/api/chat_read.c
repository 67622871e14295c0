/* The body of POST /v1/chat/completions. */
#include <string.h>

#include "api/chat.h"
#include "api/read.h"

static const char *const text_types[] = {"text", "input_text", "output_text", "refusal", "thinking", NULL};

/* ---- messages ---- */

/* Reasoning under every name that clients send it back under (pitfalls R1, R3). */
static void read_reasoning(struct reader *reader, const struct json_node *message)
{
    static const char *const names[] = {"reasoning_content", "reasoning", "thinking"};
    struct fields *f = &reader->fields;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct json_node *node = field(message, names[i]);
        if (json_tree_is(node, JSON_TREE_STRING) && node->size > 0) {
            add_reasoning(reader, node->text, node->size);
            return;
        }
    }
    const struct json_node *details = field_array(f, message, "reasoning_details");
    for (const struct json_node *node = details ? details->child : NULL; node; node = node->next)
        if (json_tree_is(field(node, "text"), JSON_TREE_STRING))
            add_reasoning(reader, field(node, "text")->text, field(node, "text")->size);
}

/* One element of tool_calls, or function_call of old. Arguments are kept as they are; some clients send the object
 * itself, and then its text is. */
static void read_call(struct reader *reader, const struct json_node *call, const struct json_node *function)
{
    struct fields *f = &reader->fields;
    const char *id = field_string(f, call, "id"), *name = field_required(f, function, "name");
    const struct json_node *arguments = field(function, "arguments"), *input = field(function, "input");
    if (!name)
        return;
    if (json_tree_is(input, JSON_TREE_STRING)) {
        const char *text = custom_arguments(reader, input->text, input->size);
        add_call(reader, id, NULL, name, text, text ? strlen(text) : 0);
    } else if (json_tree_is(arguments, JSON_TREE_STRING)) {
        add_call(reader, id, NULL, name, arguments->text, arguments->size);
    } else {
        add_call(reader, id, NULL, name, arguments ? arguments->source : "{}", arguments ? arguments->source_size : 2);
    }
}

static void read_assistant(struct reader *reader, const struct json_node *message)
{
    struct fields *f = &reader->fields;
    const struct json_node *calls = field_array(f, message, "tool_calls");
    const struct json_node *old = field_object(f, message, "function_call");
    size_t n;
    read_reasoning(reader, message);
    const struct part *part = read_parts(reader, field(message, "content"), text_types, &n);
    add_said(reader, part, n, (calls && calls->n_child > 0) || old);
    for (const struct json_node *call = calls ? calls->child : NULL; call && !f->status; call = call->next) {
        const struct json_node *function = field_object(f, call, "function");
        function = function ? function : field_object(f, call, "custom");
        if (!function)
            field_missing(f, call, "function");
        read_call(reader, call, function);
    }
    if (old)
        read_call(reader, NULL, old);
}

static void read_developer(struct reader *reader, const struct json_node *content)
{
    size_t n, size = 0, used = 0;
    const struct part *part = read_parts(reader, content, text_types, &n);
    for (size_t i = 0; i < n; i++)
        size += part[i].text_size;
    char *text = fields_alloc(&reader->fields, size + 1, 1);
    for (size_t i = 0; text && i < n; i++) {
        memcpy(text + used, part[i].text, part[i].text_size);
        used += part[i].text_size;
    }
    if (text)
        add_developer(reader, text, size);
}

static void read_message(struct reader *reader, const struct json_node *message)
{
    struct fields *f = &reader->fields;
    const char *name = field_required(f, message, "role");
    const struct json_node *content = field(message, "content");
    bool function = name && strcmp(name, "function") == 0;
    enum role role = ROLE_TOOL;
    size_t n;
    if (!name)
        return;
    if (!function && !role_find(name, &role)) {
        field_refuse(f, field(message, "role"), "invalid_value", "must be system, developer, user, assistant or tool");
        return;
    }
    if (role == ROLE_SYSTEM || role == ROLE_DEVELOPER) {
        read_developer(reader, content);
    } else if (role == ROLE_USER) {
        const struct part *part = read_parts(reader, content, text_types, &n);
        add_user(reader, part, n);
    } else if (role == ROLE_ASSISTANT) {
        read_assistant(reader, message);
    } else {
        const struct part *part = read_parts(reader, content, text_types, &n);
        add_tool_answer(reader, message, field_string(f, message, "tool_call_id"), field_string(f, message, "name"),
                        part, n);
    }
}

/* System and developer messages that open the conversation are its instructions, joined by a blank line. */
static const char *read_messages(struct reader *reader)
{
    struct fields *f = &reader->fields;
    const struct json_node *messages = field_array(f, reader->body, "messages");
    if (!messages || messages->n_child == 0) {
        field_missing(f, reader->body, "messages");
        return NULL;
    }
    for (const struct json_node *message = messages->child; message && !f->status; message = message->next) {
        if (message->kind != JSON_TREE_OBJECT)
            field_refuse(f, message, "invalid_type", "must be an object");
        else
            read_message(reader, message);
    }
    struct conversation *input = &reader->request->input;
    const char *instructions = NULL;
    size_t n = 0;
    for (; n < input->n_message && input->message[n].role == ROLE_DEVELOPER && !f->status; n++)
        instructions = instructions ? fields_format(f, "%s\n\n%s", instructions, input->message[n].part[0].text)
                                    : input->message[n].part[0].text;
    if (n > 0 && !f->status) {
        memmove(input->message, input->message + n, (input->n_message - n) * sizeof *input->message);
        input->n_message -= n;
        for (size_t i = 0; i < reader->request->n_pending; i++)
            reader->request->pending[i].message -= n;
    }
    return instructions;
}

/* ---- tools ---- */

static void read_tools(struct reader *reader)
{
    struct fields *f = &reader->fields;
    const struct json_node *tools = field_array(f, reader->body, "tools");
    const struct json_node *functions = field_array(f, reader->body, "functions");
    for (const struct json_node *node = tools ? tools->child : NULL; node && !f->status; node = node->next) {
        const struct json_node *function = field_object(f, node, "function");
        if (node_says(field(node, "type"), "custom")) {
            read_custom_tool(reader, field_object(f, node, "custom"), NULL);
            continue;
        }
        if (!node_says(field(node, "type"), "function"))
            continue; /* a tool of a hosted service (pitfall A1) */
        if (!function)
            field_missing(f, node, "function");
        struct api_tool *tool =
            read_tool(reader, function, NULL, field_required(f, function, "name"),
                      field_string(f, function, "description"), field_object(f, function, "parameters"));
        if (tool)
            tool->strict = field_bool(f, function, "strict", false);
    }
    for (const struct json_node *node = functions ? functions->child : NULL; node && !f->status; node = node->next)
        (void)read_tool(reader, node, NULL, field_required(f, node, "name"), field_string(f, node, "description"),
                        field_object(f, node, "parameters"));
}

static void read_tool_choice(struct reader *reader)
{
    struct fields *f = &reader->fields;
    const struct json_node *choice = field(reader->body, "tool_choice");
    choice = choice ? choice : field(reader->body, "function_call");
    if (!choice || choice->kind == JSON_TREE_STRING) {
        choose_mode(reader, choice);
        return;
    }
    const struct json_node *allowed = field_object(f, choice, "allowed_tools");
    if (allowed) {
        const struct json_node *tools = field_array(f, allowed, "tools");
        choose_mode(reader, field(allowed, "mode"));
        for (size_t i = 0; i < reader->request->n_tool; i++)
            reader->request->tool[i].allowed = false;
        for (const struct json_node *tool = tools ? tools->child : NULL; tool && !f->status; tool = tool->next)
            choose_tool(reader, tool, field_required(f, field_object(f, tool, "function"), "name"), false);
        return;
    }
    const struct json_node *named = field_object(f, choice, "function");
    named = named ? named : field_object(f, choice, "custom");
    choose_tool(reader, choice, field_required(f, named ? named : choice, "name"), true);
}

/* ---- options ---- */

static void read_options(struct reader *reader)
{
    struct fields *f = &reader->fields;
    struct api_request *request = reader->request;
    const struct json_node *body = reader->body, *options = field_object(f, body, "stream_options");
    int64_t most = field_integer(f, body, "max_tokens", 1, 1 << 24, 0);
    request->turn.max_tokens = (int)field_integer(f, body, "max_completion_tokens", 1, 1 << 24, most);
    (void)field_string(f, body, "model");
    request->n = (int)field_integer(f, body, "n", 1, API_MAX_CHOICES, 1);
    request->stream = field_bool(f, body, "stream", false);
    request->usage_in_stream = field_bool(f, options, "include_usage", false);
    request->parallel = field_bool(f, body, "parallel_tool_calls", true);
    bool logprobs = field_bool(f, body, "logprobs", false);
    int64_t top = field_integer(f, body, "top_logprobs", 0, SAMPLER_MAX_LOGPROBS, 0);
    request->top_logprobs = logprobs ? (int)top : -1;
    request->turn.sampling.logprobs = request->top_logprobs;
    if (!logprobs && field(body, "top_logprobs") && top > 0)
        field_refuse(f, field(body, "top_logprobs"), "invalid_value", "needs 'logprobs' to be true");
    request->reasoning_shown =
        field_bool(f, body, "include_reasoning", true) && !field_bool(f, field(body, "reasoning"), "exclude", false);
    read_sampling(reader, "stop");
    read_effort(reader);
    read_format(reader, field_object(f, body, "response_format"), "json_schema");
}

goss_status chat_read(struct api_request *request, const struct api_settings *settings, const void *body, size_t size,
                      struct api_error *error)
{
    struct reader reader;
    const char *instructions = NULL;
    read_begin(&reader, request, API_CHAT, settings, body, size, error);
    if (reader.fields.status == GOSS_OK)
        read_options(&reader);
    if (reader.fields.status == GOSS_OK)
        read_tools(&reader);
    if (reader.fields.status == GOSS_OK)
        read_tool_choice(&reader);
    if (reader.fields.status == GOSS_OK)
        instructions = read_messages(&reader);
    return read_end(&reader, instructions);
}
