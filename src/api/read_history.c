/* The messages of the past and of now, as every wire brings them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/read.h"

/* ---- texts ---- */

static const char *const unseen[][2] = {
    {"input_image", "an image"},         {"image_url", "an image"}, {"image", "an image"},
    {"input_audio", "a recording"},      {"audio", "a recording"},  {"input_video", "a video"},
    {"computer_screenshot", "an image"},
};

static bool is_one_of(const struct json_node *type, const char *const *types)
{
    for (; *types; types++)
        if (node_says(type, *types))
            return true;
    return false;
}

static void read_part(struct reader *reader, const struct json_node *node, const char *const *types, struct part *part)
{
    struct fields *f = &reader->fields;
    part->kind = PART_TEXT;
    if (node->kind == JSON_TREE_STRING) {
        part->text = node->text;
        part->text_size = node->size;
        return;
    }
    const struct json_node *type = field(node, "type"), *text = field(node, "text");
    if (node_says(type, "refusal"))
        text = field(node, "refusal");
    for (size_t i = 0; i < sizeof unseen / sizeof *unseen; i++)
        if (node_says(type, unseen[i][0])) {
            part->text = fields_format(f, "[Attached here: %s, which you cannot perceive, since you read text only.]",
                                       unseen[i][1]);
            part->text_size = part->text ? strlen(part->text) : 0;
            return;
        }
    if (node->kind != JSON_TREE_OBJECT || (type && !is_one_of(type, types)))
        field_refuse(f, type ? type : node, "unsupported_value", "is no kind of content that this model reads");
    else if (!json_tree_is(text, JSON_TREE_STRING))
        field_refuse(f, text ? text : node, "invalid_type", "must hold a string");
    else {
        part->text = text->text;
        part->text_size = text->size;
    }
}

const struct part *read_parts(struct reader *reader, const struct json_node *content, const char *const *types,
                              size_t *n)
{
    bool list = json_tree_is(content, JSON_TREE_ARRAY);
    *n = 0;
    if (!content || reader->fields.status)
        return NULL;
    if (!list && content->kind != JSON_TREE_STRING) {
        field_refuse(&reader->fields, content, "invalid_type", "must be a string or an array");
        return NULL;
    }
    size_t count = list ? content->n_child : 1;
    struct part *part = fields_alloc(&reader->fields, count, sizeof *part);
    const struct json_node *node = list ? content->child : content;
    for (size_t i = 0; part && i < count; i++, node = node->next)
        read_part(reader, node, types, &part[i]);
    *n = part ? count : 0;
    return part;
}

/* ---- messages ---- */

static struct message *add(struct reader *reader, const struct message *message)
{
    struct conversation *input = &reader->request->input;
    if (reader->fields.status == GOSS_OK)
        reader->fields.status = conversation_add(input, message, &reader->fields.error->base);
    if (reader->fields.status)
        return NULL;
    if (message->role != ROLE_ASSISTANT)
        reader->run = input->n_message;
    return &input->message[input->n_message - 1];
}

void add_user(struct reader *reader, const struct part *part, size_t n)
{
    add(reader, &(struct message){.role = ROLE_USER, .part = part, .n_part = n});
}

void add_developer(struct reader *reader, const char *text, size_t size)
{
    struct part part = {.kind = PART_DEVELOPER, .text = text, .text_size = size};
    add(reader, &(struct message){.role = ROLE_DEVELOPER, .part = &part, .n_part = 1});
}

void add_reasoning(struct reader *reader, const char *text, size_t size)
{
    struct part part = {.kind = PART_TEXT, .text = text, .text_size = size};
    if (text && size > 0)
        add(reader, &(struct message){.role = ROLE_ASSISTANT, .channel = "analysis", .part = &part, .n_part = 1});
}

static bool is_empty(const struct part *part, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (part[i].text_size > 0)
            return false;
    return true;
}

void add_said(struct reader *reader, const struct part *part, size_t n, bool preamble)
{
    const char *channel = preamble ? "commentary" : "final";
    if (!is_empty(part, n))
        add(reader, &(struct message){.role = ROLE_ASSISTANT, .channel = channel, .part = part, .n_part = n});
}

/* The same identifier for a name as its declaration got, if there is one. */
static const char *recipient_of(struct reader *reader, const char *space, const char *name)
{
    const char *identifier = NULL, *full = space ? fields_format(&reader->fields, "%s.%s", space, name) : name;
    if (reader->fields.status == GOSS_OK)
        reader->fields.status = name_map_add(&reader->request->names, full, &identifier, &reader->fields.error->base);
    return identifier ? fields_format(&reader->fields, "functions.%s", identifier) : NULL;
}

/* Room for one more element of an array that doubles in the arena. */
static void *grown(struct reader *reader, void *array, size_t n, size_t each)
{
    if (n > 0 && (n & (n - 1)) != 0)
        return array;
    void *copy = fields_alloc(&reader->fields, n ? 2 * n : 1, each);
    if (copy && n > 0)
        memcpy(copy, array, n * each);
    return copy;
}

static void remember_call(struct reader *reader, const char *id, const char *recipient)
{
    struct api_request *request = reader->request;
    struct api_call *call = grown(reader, request->call, request->n_call, sizeof *call);
    if (!call)
        return;
    call[request->n_call++] = (struct api_call){id, recipient};
    request->call = call;
}

void add_call(struct reader *reader, const char *id, const char *space, const char *name, const char *arguments,
              size_t size)
{
    if (reader->fields.status || !name)
        return;
    struct conversation *input = &reader->request->input;
    for (size_t i = reader->run; i < input->n_message; i++)
        if (input->message[i].role == ROLE_ASSISTANT && input->message[i].channel &&
            strcmp(input->message[i].channel, "final") == 0)
            input->message[i].channel = "commentary";
    const char *recipient = recipient_of(reader, space, name);
    struct part part = {.kind = PART_TEXT, .text = arguments, .text_size = size};
    add(reader, &(struct message){.role = ROLE_ASSISTANT,
                                  .recipient = recipient,
                                  .channel = "commentary",
                                  .content_type = "<|constrain|>json",
                                  .part = &part,
                                  .n_part = 1});
    if (id && recipient)
        remember_call(reader, id, recipient);
}

static const char *called(const struct api_request *request, const char *id)
{
    for (size_t i = request->n_call; id && i > 0; i--)
        if (strcmp(request->call[i - 1].id, id) == 0)
            return request->call[i - 1].recipient;
    return NULL;
}

static void await_name(struct reader *reader, const struct json_node *node, const char *id)
{
    struct api_request *request = reader->request;
    struct api_pending *pending = grown(reader, request->pending, request->n_pending, sizeof *pending);
    char path[API_PARAM_SIZE];
    node_path(node, path);
    if (!pending)
        return;
    pending[request->n_pending++] =
        (struct api_pending){request->input.n_message, id, fields_format(&reader->fields, "%s", path)};
    request->pending = pending;
}

void add_tool_answer(struct reader *reader, const struct json_node *node, const char *id, const char *name,
                     const struct part *part, size_t n)
{
    if (reader->fields.status)
        return;
    const char *recipient = called(reader->request, id);
    if (!recipient && name)
        recipient = recipient_of(reader, NULL, name);
    if (!recipient)
        await_name(reader, node, id);
    struct part none = {.kind = PART_TEXT, .text = "", .text_size = 0};
    add(reader, &(struct message){.role = ROLE_TOOL,
                                  .name = recipient,
                                  .recipient = "assistant",
                                  .channel = "commentary",
                                  .part = n ? part : &none,
                                  .n_part = n ? n : 1});
}

const char *custom_arguments(struct reader *reader, const char *text, size_t size)
{
    struct buffer out;
    buffer_init(&out, API_BODY_BYTES * 7UL);
    goss_error *error = &reader->fields.error->base;
    goss_status status = buffer_append_text(&out, "{\"input\":", error);
    status = status ? status : json_write_string(&out, text, size, error);
    status = status ? status : buffer_append_text(&out, "}", error);
    if (reader->fields.status == GOSS_OK)
        reader->fields.status = status;
    const char *copy = fields_copy(&reader->fields, (const char *)out.data, out.size);
    buffer_free(&out);
    return copy;
}
