#include "api/read.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

void read_begin(struct reader *reader, struct api_request *request, enum api_wire wire,
                const struct api_settings *settings, const void *body, size_t size, struct api_error *error)
{
    *request = (struct api_request){.wire = wire,
                                    .settings = settings,
                                    .turn = turn_options_default(),
                                    .effort = settings->effort ? settings->effort : EFFORT_MEDIUM,
                                    .n = 1,
                                    .top_logprobs = -1,
                                    .parallel = true,
                                    .reasoning_shown = true};
    *error = (struct api_error){0};
    *reader = (struct reader){.fields = {.arena = &request->arena, .error = error}, .request = request};
    request->turn.owner = settings->owner;
    request->tool = fields_alloc(&reader->fields, API_MAX_TOOLS, sizeof *request->tool);
    request->body = reader->body = fields_body(&reader->fields, body, size);
}

/* The namespace of the tools that the model may call. */
static size_t shown_tools(struct reader *reader, struct tool_namespace *space)
{
    const struct api_request *request = reader->request;
    struct tool *tool = fields_alloc(&reader->fields, request->n_tool, sizeof *tool);
    size_t n = 0;
    for (size_t i = 0; tool && i < request->n_tool; i++)
        if (request->tool[i].allowed && request->turn.tools != TOOLS_NONE)
            tool[n++] = (struct tool){.name = request->tool[i].identifier,
                                      .description = request->tool[i].description,
                                      .schema = request->tool[i].schema};
    *space = (struct tool_namespace){.name = "functions", .tool = tool, .n_tool = n};
    return n;
}

static goss_status write_setup(struct reader *reader, const char *instructions)
{
    struct api_request *request = reader->request;
    struct tool_namespace space;
    size_t n_tool = shown_tools(reader, &space);
    if (request->effort == EFFORT_NONE && n_tool > 0)
        request->effort = EFFORT_LOW; /* an answer that was forced into its final channel could never call */
    const struct answer_schema *schema = &request->turn.schema;
    struct response_format format = {
        .name = schema->name ? schema->name : "response", .description = schema->description, .schema = schema->json};
    struct part part = {.kind = PART_DEVELOPER,
                        .text = instructions,
                        .text_size = instructions ? strlen(instructions) : 0,
                        .tools = &space,
                        .n_tools = n_tool > 0,
                        .format = &format,
                        .n_format = schema->json != NULL};
    struct message message = {.role = ROLE_DEVELOPER, .part = &part, .n_part = 1};
    goss_error *error = &reader->fields.error->base;
    goss_status status = reader->fields.status;
    status = status ? status
                    : conversation_add_system(&request->setup, request->effort, reader->request->settings->date, error);
    if (status == GOSS_OK && (instructions || n_tool > 0 || schema->json))
        status = conversation_add(&request->setup, &message, error);
    return status;
}

/* Recipients whose arguments are bound to their schema. */
static void bind_tools(struct reader *reader)
{
    struct api_request *request = reader->request;
    const char **strict = fields_alloc(&reader->fields, request->n_tool, sizeof *strict);
    for (size_t i = 0; strict && i < request->n_tool; i++)
        if (request->tool[i].strict && request->tool[i].schema && request->tool[i].allowed &&
            request->turn.tools != TOOLS_NONE)
            strict[request->turn.n_strict++] =
                fields_format(&reader->fields, "functions.%s", request->tool[i].identifier);
    request->turn.strict = strict;
    request->turn.declared_only = true;
    request->turn.one_call = !request->parallel;
}

goss_status read_end(struct reader *reader, const char *instructions)
{
    struct api_request *request = reader->request;
    request->instructions = instructions;
    bind_tools(reader);
    goss_status status = reader->fields.status;
    if (status == GOSS_OK && request->wire != API_COMPLETIONS)
        status = write_setup(reader, instructions);
    if (status) {
        api_error_settle(reader->fields.error);
        api_request_close(request);
    }
    return status;
}

/* ---- sampling ---- */

static void read_stop(struct reader *reader, const char *key)
{
    const struct json_node *node = field(reader->body, key);
    bool list = json_tree_is(node, JSON_TREE_ARRAY);
    size_t n = list ? node->n_child : node != NULL;
    if (n > TURN_MAX_STOPS) {
        field_refuse(&reader->fields, node, "invalid_value", "has %zu strings; at most %d are allowed", n,
                     TURN_MAX_STOPS);
        return;
    }
    const char **stop = fields_alloc(&reader->fields, n, sizeof *stop);
    const struct json_node *text = list ? node->child : node;
    for (size_t i = 0; stop && i < n; i++, text = text->next) {
        if (text->kind != JSON_TREE_STRING || text->size == 0 || text->size > TURN_MAX_STOP_BYTES)
            field_refuse(&reader->fields, text, "invalid_value", "must be a string of 1..%d bytes",
                         TURN_MAX_STOP_BYTES);
        stop[i] = text->text;
    }
    reader->request->turn.stop = stop;
    reader->request->turn.n_stop = stop ? (int)n : 0;
}

static void read_bias(struct reader *reader)
{
    struct sampling *sampling = &reader->request->turn.sampling;
    const struct json_node *map = field_object(&reader->fields, reader->body, "logit_bias");
    if (!map || map->n_child == 0)
        return;
    if (map->n_child > SAMPLER_MAX_BIAS) {
        field_refuse(&reader->fields, map, "invalid_value", "has more than %d members", SAMPLER_MAX_BIAS);
        return;
    }
    struct logit_bias *bias = fields_alloc(&reader->fields, map->n_child, sizeof *bias);
    for (const struct json_node *node = map->child; node && bias; node = node->next) {
        char *end;
        long id = strtol(node->key, &end, 10);
        if (*end || end == node->key || id < 0 || id >= reader->request->settings->n_vocab)
            field_refuse(&reader->fields, node, "invalid_value", "is not named by a token id of this model");
        double value = field_number(&reader->fields, map, node->key, -100, 100, 0);
        bias[sampling->n_bias++] = (struct logit_bias){.id = (int32_t)id, .bias = (float)value};
    }
    sampling->bias = bias;
}

void read_sampling(struct reader *reader, const char *stop_key)
{
    struct fields *f = &reader->fields;
    const struct json_node *body = reader->body;
    struct sampling *s = &reader->request->turn.sampling;
    s->temperature = field_number(f, body, "temperature", 0, 2, s->temperature);
    s->top_p = field_number(f, body, "top_p", 0, 1, s->top_p);
    s->min_p = field_number(f, body, "min_p", 0, 1, s->min_p);
    int64_t top_k = field_integer(f, body, "top_k", -1, INT32_MAX, s->top_k);
    s->top_k = top_k > 0 ? (int)top_k : 0;
    s->presence_penalty = field_number(f, body, "presence_penalty", -2, 2, s->presence_penalty);
    s->frequency_penalty = field_number(f, body, "frequency_penalty", -2, 2, s->frequency_penalty);
    s->repetition_penalty = field_number(f, body, "repetition_penalty", 0.01, 100, s->repetition_penalty);
    bool given = field(body, "seed") != NULL;
    int64_t seed = field_integer(f, body, "seed", INT64_MIN, INT64_MAX, 0);
    s->seed = given ? (uint64_t)seed : reader->request->settings->seed;
    read_stop(reader, stop_key);
    read_bias(reader);
}

/* ---- effort ---- */

static const struct {
    const char *name;
    enum effort effort;
} efforts[] = {
    {"none", EFFORT_NONE},   {"off", EFFORT_NONE},   {"disabled", EFFORT_NONE},
    {"minimal", EFFORT_LOW}, {"low", EFFORT_LOW},    {"medium", EFFORT_MEDIUM},
    {"high", EFFORT_HIGH},   {"xhigh", EFFORT_HIGH}, {"max", EFFORT_HIGH},
};

static void set_effort(struct reader *reader, const struct json_node *node)
{
    if (!node || reader->fields.status)
        return;
    if (node->kind == JSON_TREE_FALSE) {
        reader->request->effort = EFFORT_NONE;
        return;
    }
    if (node->kind == JSON_TREE_TRUE)
        return;
    for (size_t i = 0; i < sizeof efforts / sizeof *efforts; i++)
        if (node->kind == JSON_TREE_STRING && strcasecmp(node->text, efforts[i].name) == 0) {
            reader->request->effort = efforts[i].effort;
            return;
        }
    field_refuse(&reader->fields, node, "invalid_value", "must be none, minimal, low, medium, high, xhigh or max");
}

void read_effort(struct reader *reader)
{
    struct fields *f = &reader->fields;
    const struct json_node *body = reader->body, *node = field(body, "reasoning");
    const struct json_node *template = field_object(f, body, "chat_template_kwargs");
    const struct json_node *thinking = field(body, "thinking"), *enabled = field(node, "enabled");
    if (json_tree_is(enabled, JSON_TREE_FALSE) || node_says(field(thinking, "type"), "disabled"))
        reader->request->effort = EFFORT_NONE;
    set_effort(reader, field(template, "enable_thinking"));
    set_effort(reader, field(body, "think"));
    set_effort(reader, field(template, "reasoning_effort"));
    set_effort(reader, field(field(body, "output_config"), "effort"));
    set_effort(reader, field(body, "reasoning_effort"));
    set_effort(reader, field(node, "effort"));
}

/* ---- the form of the answer ---- */

/* Objects and lists inside each other, the root with them. */
static size_t depth_of(const struct json_node *root)
{
    size_t depth = 0, most = 0; /* depth: above node */
    for (const struct json_node *node = root;;) {
        bool holds = node->kind == JSON_TREE_OBJECT || node->kind == JSON_TREE_ARRAY;
        most = holds && depth + 1 > most ? depth + 1 : most;
        if (node->child) {
            node = node->child;
            depth++;
            continue;
        }
        for (; node != root && !node->next; node = node->parent)
            depth--;
        if (node == root)
            return most;
        node = node->next;
    }
}

/* Refuses a schema that is not an object, too large or too deep; NULL then. */
static const char *schema_source(struct reader *reader, const struct json_node *schema)
{
    if (!schema)
        return NULL;
    if (schema->kind != JSON_TREE_OBJECT && schema->kind != JSON_TREE_TRUE && schema->kind != JSON_TREE_FALSE)
        field_refuse(&reader->fields, schema, "invalid_type", "must be a JSON schema, an object");
    else if (schema->source_size > API_SCHEMA_BYTES)
        field_refuse(&reader->fields, schema, "invalid_value", "has %zu bytes; at most %d are allowed",
                     schema->source_size, API_SCHEMA_BYTES);
    else if (depth_of(schema) > API_SCHEMA_DEPTH)
        field_refuse(&reader->fields, schema, "invalid_value", "is nested more than %d deep", API_SCHEMA_DEPTH);
    return reader->fields.status ? NULL : node_source(&reader->fields, schema);
}

static const char *path_of(struct reader *reader, const struct json_node *node)
{
    char path[API_PARAM_SIZE];
    if (!node)
        return NULL;
    node_path(node, path);
    return fields_copy(&reader->fields, path, strlen(path));
}

void read_schema(struct reader *reader, const struct json_node *node)
{
    struct api_request *request = reader->request;
    const struct json_node *schema = field(node, "schema");
    if (!schema)
        field_missing(&reader->fields, node, "schema");
    request->schema_strict = field_bool(&reader->fields, node, "strict", false);
    request->turn.form = ANSWER_SCHEMA;
    request->turn.schema = (struct answer_schema){.json = schema_source(reader, schema),
                                                  .size = schema ? schema->source_size : 0,
                                                  .name = field_string(&reader->fields, node, "name"),
                                                  .description = field_string(&reader->fields, node, "description"),
                                                  .in_order = request->schema_strict};
    request->schema_path = path_of(reader, schema);
}

void read_format(struct reader *reader, const struct json_node *format, const char *inner)
{
    if (!format)
        return;
    const struct json_node *type = field(format, "type");
    if (node_says(type, "text"))
        return;
    if (node_says(type, "json_object")) {
        static const char any[] = "{\"type\":\"object\"}";
        reader->request->turn.form = ANSWER_OBJECT;
        reader->request->turn.schema = (struct answer_schema){.name = "json", .json = any, .size = sizeof any - 1};
    } else if (node_says(type, "json_schema")) {
        const struct json_node *object = inner ? field_object(&reader->fields, format, inner) : format;
        if (!object)
            field_missing(&reader->fields, format, inner);
        read_schema(reader, object);
    } else {
        field_refuse(&reader->fields, type ? type : format, "invalid_value",
                     "must have the type text, json_object or json_schema");
    }
}

/* ---- tools ---- */

static const char *identifier_of(struct reader *reader, const char *space, const char *name)
{
    const char *identifier = NULL, *full = space ? fields_format(&reader->fields, "%s.%s", space, name) : name;
    if (reader->fields.status == GOSS_OK)
        reader->fields.status = name_map_add(&reader->request->names, full, &identifier, &reader->fields.error->base);
    return identifier;
}

struct api_tool *read_tool(struct reader *reader, const struct json_node *node, const char *space, const char *name,
                           const char *description, const struct json_node *parameters)
{
    struct api_request *request = reader->request;
    struct fields *f = &reader->fields;
    if (f->status || !name)
        return NULL;
    if (!*name || strlen(name) > API_MAX_NAME)
        field_refuse(f, node, "invalid_value", "needs a name of 1..%d bytes", API_MAX_NAME);
    else if (request->n_tool == API_MAX_TOOLS)
        field_refuse(f, node, "invalid_value", "is one too many: at most %d tools are allowed", API_MAX_TOOLS);
    for (size_t i = 0; i < request->n_tool && !f->status; i++)
        if (strcmp(request->tool[i].name, name) == 0 &&
            strcmp(request->tool[i].space ? request->tool[i].space : "", space ? space : "") == 0)
            field_refuse(f, node, "invalid_value", "has the name of an earlier tool");
    const char *schema = schema_source(reader, parameters), *identifier = identifier_of(reader, space, name);
    if (f->status)
        return NULL;
    struct api_tool *tool = &request->tool[request->n_tool++];
    *tool = (struct api_tool){.name = name,
                              .space = space,
                              .identifier = identifier,
                              .description = description,
                              .schema = schema,
                              .schema_path = path_of(reader, parameters),
                              .allowed = true};
    return tool;
}

void read_custom_tool(struct reader *reader, const struct json_node *node, const char *space)
{
    struct fields *f = &reader->fields;
    const char *name = field_required(f, node, "name"), *description = field_string(f, node, "description");
    const struct json_node *format = field_object(f, node, "format");
    const char *definition = field_string(f, format, "definition"), *syntax = field_string(f, format, "syntax");
    if (definition)
        description = fields_format(f, "%s%sThe input follows this grammar (%s):\n%s", description ? description : "",
                                    description ? "\n\n" : "", syntax ? syntax : "lark", definition);
    struct api_tool *tool = read_tool(reader, node, space, name, description, NULL);
    if (!tool)
        return;
    tool->custom = true;
    tool->schema = "{\"type\":\"object\",\"properties\":{\"input\":{\"type\":\"string\"}},\"required\":[\"input\"],"
                   "\"additionalProperties\":false}";
}

void choose_tool(struct reader *reader, const struct json_node *node, const char *name, bool only)
{
    struct api_request *request = reader->request;
    for (size_t i = 0; name && i < request->n_tool; i++) {
        if (strcmp(request->tool[i].name, name) != 0)
            continue;
        request->tool[i].allowed = true;
        if (only) {
            request->turn.tools = TOOLS_NAMED;
            request->turn.named = fields_format(&reader->fields, "functions.%s", request->tool[i].identifier);
        }
        return;
    }
    if (name)
        field_refuse(&reader->fields, node, "invalid_value", "names a tool that was not declared");
}

void choose_mode(struct reader *reader, const struct json_node *node)
{
    struct api_request *request = reader->request;
    if (!node || node_says(node, "auto"))
        return;
    if (node_says(node, "none"))
        request->turn.tools = TOOLS_NONE;
    else if (node_says(node, "required") || node_says(node, "any"))
        request->turn.tools = TOOLS_REQUIRED;
    else
        field_refuse(&reader->fields, node, "invalid_value", "must be auto, none or required");
    if (request->turn.tools == TOOLS_REQUIRED && request->n_tool == 0)
        field_refuse(&reader->fields, node, "invalid_value", "asks for a call, but no callable tool is declared");
}
