#include "harmony/message_json.h"

#include <string.h>

enum { MOST_RECIPIENT = 1 << 20 };

/* One message being read. What it is built of lies in the scratch arena and in the tree; conversation_add copies it. A
 * failure is remembered, and every later step does nothing. */
struct form {
    struct arena scratch;
    struct name_map *names; /* or NULL */
    const char *where;
    size_t index; /* of the message */
    goss_error *error;
    goss_status status;
};

static void refuse(struct form *form, const char *field, const char *what)
{
    if (form->status == GOSS_OK)
        form->status =
            error_set(form->error, GOSS_E_FORMAT, "%s: message %zu: '%s' %s", form->where, form->index, field, what);
}

static void *allocate(struct form *form, size_t count, size_t each)
{
    size_t n;
    void *p = __builtin_mul_overflow(count, each, &n) || form->status ? NULL : arena_alloc(&form->scratch, n);
    if (!p && form->status == GOSS_OK)
        form->status = error_memory(form->error, count, "a message");
    return p;
}

/* A member, or NULL if it is absent or null. */
static const struct json_node *given(const struct json_node *object, const char *field)
{
    const struct json_node *node = json_tree_get(object, field);
    return json_tree_is(node, JSON_TREE_NULL) ? NULL : node;
}

/* A member of one kind, or NULL; any other kind is refused. */
static const struct json_node *given_as(struct form *form, const struct json_node *object, const char *field,
                                        enum json_kind kind, const char *what)
{
    const struct json_node *node = given(object, field);
    if (!node || node->kind == kind)
        return node;
    refuse(form, field, what);
    return NULL;
}

static const char *string_of(struct form *form, const struct json_node *node, const char *field)
{
    if (!json_tree_is(node, JSON_TREE_STRING))
        refuse(form, field, "must be a string");
    else if (memchr(node->text, 0, node->size))
        refuse(form, field, "holds a NUL character");
    else
        return node->text;
    return NULL;
}

static const char *optional_string(struct form *form, const struct json_node *object, const char *field)
{
    const struct json_node *node = given(object, field);
    return node ? string_of(form, node, field) : NULL;
}

static const char *required_string(struct form *form, const struct json_node *object, const char *field)
{
    const char *text = optional_string(form, object, field);
    if (!text)
        refuse(form, field, "is missing");
    return text;
}

/* A schema keeps its own text. */
static const char *schema_text(struct form *form, const struct json_node *schema)
{
    const char *text =
        schema && form->status == GOSS_OK ? arena_copy(&form->scratch, schema->source, schema->source_size) : NULL;
    if (schema && !text && form->status == GOSS_OK)
        form->status = error_memory(form->error, schema->source_size, "a schema");
    return text;
}

/* The identifier of a function's name, or the name itself if names are kept. */
static const char *identifier_of(struct form *form, const char *name)
{
    const char *identifier = name;
    if (name && form->names && form->status == GOSS_OK)
        form->status = name_map_add(form->names, name, &identifier, form->error);
    return identifier;
}

/* The same for "functions.NAME". */
static const char *recipient_of(struct form *form, const char *recipient)
{
    struct buffer text;
    const char *copy = recipient;
    if (!recipient || !form->names || form->status)
        return recipient;
    buffer_init(&text, MOST_RECIPIENT);
    form->status = name_map_add_recipient(form->names, recipient, &text, form->error);
    if (form->status == GOSS_OK && !(copy = arena_copy(&form->scratch, text.data, text.size)))
        form->status = error_memory(form->error, text.size, "a recipient");
    buffer_free(&text);
    return copy;
}

static void read_namespace(struct form *form, const struct json_node *object, struct tool_namespace *space)
{
    const struct json_node *tools = given_as(form, object, "tools", JSON_TREE_ARRAY, "must be an array");
    size_t n = tools ? tools->n_child : 0;
    struct tool *tool = allocate(form, n, sizeof *tool);
    space->name = required_string(form, object, "name");
    space->description = optional_string(form, object, "description");
    space->tool = tool;
    space->n_tool = n;
    const struct json_node *node = tools ? tools->child : NULL;
    for (size_t i = 0; i < n && tool; i++, node = node->next) {
        tool[i].name = identifier_of(form, required_string(form, node, "name"));
        tool[i].description = optional_string(form, node, "description");
        tool[i].schema = schema_text(form, given(node, "parameters"));
    }
}

static void read_tools(struct form *form, const struct json_node *content, struct part *part)
{
    const struct json_node *map = given_as(form, content, "tools", JSON_TREE_OBJECT, "must be an object");
    size_t n = map ? map->n_child : 0;
    struct tool_namespace *tools = allocate(form, n, sizeof *tools);
    const struct json_node *node = map ? map->child : NULL;
    for (size_t i = 0; i < n && tools; i++, node = node->next) {
        read_namespace(form, node, &tools[i]);
        tools[i].key = node->key;
        if (memchr(node->key, 0, node->key_size))
            refuse(form, "tools", "has a name with a NUL character");
    }
    part->tools = tools;
    part->n_tools = n;
}

static void read_channels(struct form *form, const struct json_node *content, struct part *part)
{
    const struct json_node *config = given_as(form, content, "channel_config", JSON_TREE_OBJECT, "must be an object");
    const struct json_node *valid = given_as(form, config, "valid_channels", JSON_TREE_ARRAY, "must be an array");
    size_t n = valid ? valid->n_child : 0;
    const char **channel = allocate(form, n, sizeof *channel);
    const struct json_node *node = valid ? valid->child : NULL;
    for (size_t i = 0; i < n && channel; i++, node = node->next)
        channel[i] = string_of(form, node, "valid_channels");
    part->channel = channel;
    part->n_channel = n;
    part->channel_required = json_tree_is(json_tree_get(config, "channel_required"), JSON_TREE_TRUE);
}

static void read_system(struct form *form, const struct json_node *content, struct part *part)
{
    const char *effort = optional_string(form, content, "reasoning_effort");
    part->kind = PART_SYSTEM;
    part->identity = optional_string(form, content, "model_identity");
    part->cutoff = optional_string(form, content, "knowledge_cutoff");
    part->date = optional_string(form, content, "conversation_start_date");
    if (effort && !effort_find(effort, &part->effort))
        refuse(form, "reasoning_effort", "must be None, Low, Medium or High");
    read_channels(form, content, part);
    read_tools(form, content, part);
}

static void read_formats(struct form *form, const struct json_node *content, struct part *part)
{
    const struct json_node *formats = given_as(form, content, "response_formats", JSON_TREE_ARRAY, "must be an array");
    size_t n = formats ? formats->n_child : 0;
    struct response_format *format = allocate(form, n, sizeof *format);
    const struct json_node *node = formats ? formats->child : NULL;
    for (size_t i = 0; i < n && format; i++, node = node->next) {
        format[i].name = required_string(form, node, "name");
        format[i].description = optional_string(form, node, "description");
        format[i].schema = schema_text(form, given(node, "schema"));
        if (!format[i].schema)
            refuse(form, "schema", "is missing");
    }
    part->format = format;
    part->n_format = n;
}

static void read_text(struct form *form, const struct json_node *node, const char *field, struct part *part)
{
    if (!json_tree_is(node, JSON_TREE_STRING)) {
        refuse(form, field, node ? "must be a string" : "is missing");
        return;
    }
    part->text = node->text;
    part->text_size = node->size;
}

static void read_part(struct form *form, const struct json_node *content, struct part *part)
{
    const char *type = required_string(form, content, "type");
    if (!type)
        return;
    if (strcmp(type, "text") == 0) {
        read_text(form, json_tree_get(content, "text"), "text", part);
    } else if (strcmp(type, "system_content") == 0) {
        read_system(form, content, part);
    } else if (strcmp(type, "developer_content") == 0) {
        const struct json_node *instructions = given(content, "instructions");
        part->kind = PART_DEVELOPER;
        if (instructions)
            read_text(form, instructions, "instructions", part);
        read_tools(form, content, part);
        read_formats(form, content, part);
    } else {
        refuse(form, "type", "must be text, system_content or developer_content");
    }
}

static void read_content(struct form *form, const struct json_node *content, struct message *message)
{
    bool list = json_tree_is(content, JSON_TREE_ARRAY);
    size_t n = list ? content->n_child : 1;
    struct part *part = allocate(form, n, sizeof *part);
    message->part = part;
    message->n_part = n;
    if (!part)
        return;
    if (!list) {
        read_text(form, content, "content", part);
        return;
    }
    const struct json_node *node = content->child;
    for (size_t i = 0; i < n; i++, node = node->next)
        read_part(form, node, &part[i]);
}

/* The ids that a model sampled for this message. */
static void read_sampled(struct form *form, const struct json_node *object, struct message *message)
{
    const struct json_node *list = given_as(form, object, "sampled", JSON_TREE_ARRAY, "must be an array of ids");
    if (!list)
        return;
    int32_t *id = allocate(form, list->n_child, sizeof *id);
    const struct json_node *node = list->child;
    for (size_t i = 0; i < list->n_child && id; i++, node = node->next) {
        int64_t value = 0;
        if (!json_tree_integer(node, 0, INT32_MAX, &value))
            refuse(form, "sampled", "must be an array of ids");
        id[i] = (int32_t)value;
    }
    message->sampled = id;
    message->n_sampled = list->n_child;
}

static void read_message(struct form *form, const struct json_node *object, struct message *message)
{
    const char *role = required_string(form, object, "role");
    if (role && !role_find(role, &message->role))
        refuse(form, "role", "must be system, developer, user, assistant or tool");
    message->name = optional_string(form, object, "name");
    if (message->role == ROLE_TOOL)
        message->name = recipient_of(form, message->name);
    message->recipient = recipient_of(form, optional_string(form, object, "recipient"));
    message->channel = optional_string(form, object, "channel");
    message->content_type = optional_string(form, object, "content_type");
    read_content(form, json_tree_get(object, "content"), message);
    read_sampled(form, object, message);
}

goss_status conversation_from_json(struct conversation *conversation, const struct json_node *messages,
                                   const char *where, struct name_map *names, goss_error *error)
{
    if (!json_tree_is(messages, JSON_TREE_ARRAY))
        return error_set(error, GOSS_E_FORMAT, "%s: 'messages' must be an array", where);
    size_t index = 0;
    for (const struct json_node *node = messages->child; node; node = node->next) {
        struct form form = {.names = names, .where = where, .index = index++, .error = error};
        struct message message = {.role = ROLE_USER};
        read_message(&form, node, &message);
        if (form.status == GOSS_OK)
            form.status = conversation_add(conversation, &message, error);
        arena_free(&form.scratch);
        if (form.status)
            return form.status;
    }
    return GOSS_OK;
}

/* Writing. A failure stops every later write. */
struct output {
    const struct name_map *names; /* or NULL */
    struct buffer *out;
    goss_error *error;
    goss_status status;
};

static void put(struct output *output, const char *text)
{
    if (output->status == GOSS_OK)
        output->status = buffer_append_text(output->out, text, output->error);
}

static void put_string(struct output *output, const char *text, size_t n)
{
    if (output->status == GOSS_OK)
        output->status = json_write_string(output->out, text, n, output->error);
}

/* `before` is the punctuation and the key: ,"channel": */
static void put_field(struct output *output, const char *before, const char *value)
{
    put(output, before);
    if (value)
        put_string(output, value, strlen(value));
    else
        put(output, "null");
}

static void put_optional(struct output *output, const char *before, const char *value)
{
    if (value)
        put_field(output, before, value);
}

/* A function by its name again. */
static void put_function(struct output *output, const char *before, const char *identifier)
{
    put_field(output, before, output->names ? name_map_find(output->names, identifier) : identifier);
}

/* The same for "functions.IDENTIFIER", if there is a recipient. */
static void put_recipient(struct output *output, const char *before, const char *recipient)
{
    struct buffer text;
    if (!recipient || !output->names || output->status) {
        put_optional(output, before, recipient);
        return;
    }
    buffer_init(&text, MOST_RECIPIENT);
    output->status = name_map_find_recipient(output->names, recipient, &text, output->error);
    put_optional(output, before, (const char *)text.data);
    buffer_free(&text);
}

static void put_tools(struct output *output, const struct part *part)
{
    if (part->n_tools == 0) {
        put(output, ",\"tools\":null");
        return;
    }
    for (size_t i = 0; i < part->n_tools; i++) {
        const struct tool_namespace *space = &part->tools[i];
        put_field(output, i ? "," : ",\"tools\":{", space->key ? space->key : space->name);
        put_field(output, ":{\"name\":", space->name);
        put_field(output, ",\"description\":", space->description);
        put(output, ",\"tools\":[");
        for (size_t j = 0; j < space->n_tool; j++) {
            put_function(output, j ? ",{\"name\":" : "{\"name\":", space->tool[j].name);
            put_field(output, ",\"description\":", space->tool[j].description ? space->tool[j].description : "");
            put(output, ",\"parameters\":");
            put(output, space->tool[j].schema ? space->tool[j].schema : "null");
            put(output, "}");
        }
        put(output, "]}");
    }
    put(output, "}");
}

static void put_system(struct output *output, const struct part *part)
{
    static const char *const efforts[] = {NULL, "None", "Low", "Medium", "High"};
    put_field(output, "{\"type\":\"system_content\",\"model_identity\":", part->identity);
    put_field(output, ",\"reasoning_effort\":", efforts[part->effort]);
    put_field(output, ",\"conversation_start_date\":", part->date);
    put_field(output, ",\"knowledge_cutoff\":", part->cutoff);
    put(output, ",\"channel_config\":{\"valid_channels\":[");
    for (size_t i = 0; i < part->n_channel; i++)
        put_field(output, i ? "," : "", part->channel[i]);
    put(output, part->channel_required ? "],\"channel_required\":true}" : "],\"channel_required\":false}");
    put_tools(output, part);
    put(output, "}");
}

static void put_developer(struct output *output, const struct part *part)
{
    put(output, "{\"type\":\"developer_content\",\"instructions\":");
    if (part->text)
        put_string(output, part->text, part->text_size);
    else
        put(output, "null");
    put_tools(output, part);
    for (size_t i = 0; i < part->n_format; i++) {
        put_field(output, i ? ",{\"name\":" : ",\"response_formats\":[{\"name\":", part->format[i].name);
        put_field(output, ",\"description\":", part->format[i].description);
        put(output, ",\"schema\":");
        put(output, part->format[i].schema);
        put(output, i + 1 == part->n_format ? "}]" : "}");
    }
    put(output, "}");
}

/* A message of one text part is written with a plain string. */
static void put_content(struct output *output, const struct message *message)
{
    if (message->n_part == 1 && message->part[0].kind == PART_TEXT) {
        put_string(output, message->part[0].text, message->part[0].text_size);
        return;
    }
    put(output, "[");
    for (size_t i = 0; i < message->n_part; i++) {
        const struct part *part = &message->part[i];
        put(output, i ? "," : "");
        if (part->kind == PART_SYSTEM) {
            put_system(output, part);
        } else if (part->kind == PART_DEVELOPER) {
            put_developer(output, part);
        } else {
            put(output, "{\"type\":\"text\",\"text\":");
            put_string(output, part->text, part->text_size);
            put(output, "}");
        }
    }
    put(output, "]");
}

static void put_message(struct output *output, const char *before, const struct message *message)
{
    put_field(output, before, role_name(message->role));
    if (message->role == ROLE_TOOL)
        put_recipient(output, ",\"name\":", message->name);
    else
        put_optional(output, ",\"name\":", message->name);
    put_recipient(output, ",\"recipient\":", message->recipient);
    put(output, ",\"content\":");
    put_content(output, message);
    put_optional(output, ",\"channel\":", message->channel);
    put_optional(output, ",\"content_type\":", message->content_type);
    for (size_t i = 0; i < message->n_sampled && output->status == GOSS_OK; i++)
        output->status = buffer_append_format(output->out, output->error, "%s%d%s", i ? "," : ",\"sampled\":[",
                                              message->sampled[i], i + 1 == message->n_sampled ? "]" : "");
    put(output, "}");
}

goss_status conversation_to_json(const struct conversation *conversation, const struct name_map *names,
                                 struct buffer *out, goss_error *error)
{
    struct output output = {.names = names, .out = out, .error = error};
    put(&output, "[");
    for (size_t i = 0; i < conversation->n_message && output.status == GOSS_OK; i++)
        put_message(&output, i ? ",{\"role\":" : "{\"role\":", &conversation->message[i]);
    put(&output, "]");
    return output.status;
}
