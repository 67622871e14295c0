/* The body of POST /v1/messages. */
#include <string.h>

#include "api/base64.h"
#include "api/messages.h"
#include "api/read.h"

static const char *const text_types[] = {"text", NULL};

/* A string, or an array of text blocks, joined by blank lines. */
static const char *joined(struct reader *reader, const struct json_node *content)
{
    size_t n;
    const struct part *part = read_parts(reader, content, text_types, &n);
    const char *text = n ? part[0].text : NULL;
    for (size_t i = 1; i < n && text; i++)
        text = fields_format(&reader->fields, "%s\n\n%s", text, part[i].text);
    return text;
}

/* ---- messages ---- */

static void read_thinking(struct reader *reader, const struct json_node *block)
{
    const struct json_node *thinking = field(block, "thinking"), *data = field(block, "data");
    size_t size = 0;
    if (json_tree_is(thinking, JSON_TREE_STRING)) {
        add_reasoning(reader, thinking->text, thinking->size);
    } else if (json_tree_is(data, JSON_TREE_STRING)) {
        const char *text = base64_unseal(reader->fields.arena, data->text, data->size, &size);
        add_reasoning(reader, text, size);
    }
}

static bool is_call(const struct json_node *block)
{
    return node_says(field(block, "type"), "tool_use") || node_says(field(block, "type"), "server_tool_use");
}

static void read_assistant_block(struct reader *reader, const struct json_node *block)
{
    struct fields *f = &reader->fields;
    const struct json_node *type = field(block, "type"), *input = field(block, "input"), *text = field(block, "text");
    if (node_says(type, "thinking") || node_says(type, "redacted_thinking")) {
        read_thinking(reader, block);
    } else if (is_call(block)) {
        add_call(reader, field_string(f, block, "id"), NULL, field_required(f, block, "name"),
                 input ? input->source : "{}", input ? input->source_size : 2);
    } else if (node_says(type, "text") && json_tree_is(text, JSON_TREE_STRING)) {
        struct part part = {.kind = PART_TEXT, .text = text->text, .text_size = text->size};
        add_said(reader, &part, 1, false);
    } else if (!type || !strstr(type->text, "_tool_result")) {
        field_refuse(f, type ? type : block, "unsupported_value", "is no kind of content that this model reads");
    }
}

/* A user's content in its order: answers of tools are messages of their own. */
static void read_user_blocks(struct reader *reader, const struct json_node *content)
{
    struct fields *f = &reader->fields;
    for (const struct json_node *block = content->child; block && !f->status; block = block->next) {
        size_t n;
        if (node_says(field(block, "type"), "tool_result")) {
            const struct part *part = read_parts(reader, field(block, "content"), text_types, &n);
            add_tool_answer(reader, block, field_required(f, block, "tool_use_id"), NULL, part, n);
            continue;
        }
        size_t count = 0;
        const struct json_node *end = block;
        for (; end && !node_says(field(end, "type"), "tool_result"); end = end->next)
            count++;
        struct json_node run = *content;
        run.child = (struct json_node *)block;
        run.n_child = count;
        const struct part *part = read_parts(reader, &run, text_types, &n);
        add_user(reader, part, n);
        for (; count > 1; count--)
            block = block->next;
    }
}

static void read_message(struct reader *reader, const struct json_node *message)
{
    struct fields *f = &reader->fields;
    const char *role = field_required(f, message, "role");
    const struct json_node *content = field(message, "content");
    size_t n;
    if (!role)
        return;
    if (!content || (content->kind != JSON_TREE_STRING && content->kind != JSON_TREE_ARRAY)) {
        field_refuse(f, content ? content : message, "invalid_type", "needs content, a string or an array");
    } else if (strcmp(role, "user") == 0 && content->kind == JSON_TREE_ARRAY) {
        read_user_blocks(reader, content);
    } else if (strcmp(role, "user") == 0) {
        const struct part *part = read_parts(reader, content, text_types, &n);
        add_user(reader, part, n);
    } else if (strcmp(role, "system") == 0) {
        const char *text = joined(reader, content);
        add_developer(reader, text ? text : "", text ? strlen(text) : 0);
    } else if (strcmp(role, "assistant") != 0) {
        field_refuse(f, field(message, "role"), "invalid_value", "must be user or assistant");
    } else if (content->kind == JSON_TREE_STRING) {
        const struct part *part = read_parts(reader, content, text_types, &n);
        add_said(reader, part, n, false);
    } else {
        for (const struct json_node *block = content->child; block && !f->status; block = block->next)
            read_assistant_block(reader, block);
    }
}

/* ---- tools ---- */

static void read_tools(struct reader *reader)
{
    struct fields *f = &reader->fields;
    const struct json_node *tools = field_array(f, reader->body, "tools");
    for (const struct json_node *node = tools ? tools->child : NULL; node && !f->status; node = node->next) {
        const struct json_node *type = field(node, "type");
        if (type && !node_says(type, "custom"))
            continue; /* a tool that only Anthropic's servers run */
        struct api_tool *tool = read_tool(reader, node, NULL, field_required(f, node, "name"),
                                          field_string(f, node, "description"), field_object(f, node, "input_schema"));
        if (tool)
            tool->strict = field_bool(f, node, "strict", false);
    }
    const struct json_node *choice = field_object(f, reader->body, "tool_choice");
    if (!choice)
        return;
    reader->request->parallel = !field_bool(f, choice, "disable_parallel_tool_use", false);
    if (node_says(field(choice, "type"), "tool"))
        choose_tool(reader, choice, field_required(f, choice, "name"), true);
    else
        choose_mode(reader, field(choice, "type"));
}

/* ---- options ---- */

static void read_options(struct reader *reader, bool count)
{
    struct fields *f = &reader->fields;
    struct api_request *request = reader->request;
    const struct json_node *body = reader->body, *thinking = field_object(f, body, "thinking");
    request->turn.max_tokens = (int)field_integer(f, body, "max_tokens", 1, 1 << 24, 0);
    if (!request->turn.max_tokens && !count)
        field_missing(f, body, "max_tokens");
    (void)field_string(f, body, "model");
    request->stream = field_bool(f, body, "stream", false);
    request->reasoning_shown = thinking && !node_says(field(thinking, "type"), "disabled");
    read_sampling(reader, "stop_sequences");
    read_effort(reader);
    const struct json_node *format = field_object(f, field_object(f, body, "output_config"), "format");
    read_format(reader, format ? format : field_object(f, body, "output_format"), NULL);
}

goss_status messages_read(struct api_request *request, const struct api_settings *settings, bool count,
                          const void *body, size_t size, struct api_error *error)
{
    struct reader reader;
    struct fields *f = &reader.fields;
    const char *system = NULL;
    read_begin(&reader, request, API_MESSAGES, settings, body, size, error);
    if (f->status == GOSS_OK)
        read_options(&reader, count);
    if (f->status == GOSS_OK)
        read_tools(&reader);
    if (f->status == GOSS_OK) {
        const struct json_node *messages = field_array(f, reader.body, "messages");
        system = joined(&reader, field(reader.body, "system"));
        if (!messages || messages->n_child == 0)
            field_missing(f, reader.body, "messages");
        for (const struct json_node *node = messages ? messages->child : NULL; node && !f->status; node = node->next) {
            if (node->kind != JSON_TREE_OBJECT)
                field_refuse(f, node, "invalid_type", "must be an object");
            else
                read_message(&reader, node);
        }
    }
    return read_end(&reader, system);
}
