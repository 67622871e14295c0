#include "harmony/content.h"

#include <stdlib.h>
#include <string.h>

#include "harmony/schema.h"

/* Blocks are joined by a blank line: each but the first begins with one. */
static void begin_block(bool *first, struct buffer *out, goss_status *status, goss_error *error)
{
    if (*status == GOSS_OK && !*first)
        *status = buffer_append_text(out, "\n\n", error);
    *first = false;
}

/* The description line by line, each between `before` and `after`. Lines end at "\n" or "\r\n"; a last empty one does
 * not count. */
static goss_status write_lines(const char *text, const char *before, const char *after, struct buffer *out,
                               goss_error *error)
{
    goss_status status = GOSS_OK;
    while (*text && status == GOSS_OK) {
        const char *end = strchr(text, '\n');
        size_t n = end ? (size_t)(end - text) : strlen(text);
        size_t shown = end && n > 0 && text[n - 1] == '\r' ? n - 1 : n;
        status = buffer_append_text(out, before, error);
        status = status ? status : buffer_append(out, text, shown, error);
        status = status ? status : buffer_append_text(out, after, error);
        text += end ? n + 1 : n;
    }
    return status;
}

static goss_status write_comment(const char *text, struct buffer *out, goss_error *error)
{
    return write_lines(text, "// ", "\n", out, error);
}

/* A schema on one line. */
static goss_status write_compact(const char *schema, const char *name, struct buffer *out, goss_error *error)
{
    struct arena arena = {0};
    struct json_node *root;
    goss_status status = json_tree_read(&arena, schema, strlen(schema), name, &root, error);
    if (status == GOSS_OK)
        status = json_tree_write(root, out, error);
    arena_free(&arena);
    return status;
}

static goss_status write_parameters(const struct tool *tool, struct buffer *out, goss_error *error)
{
    struct arena arena = {0};
    struct json_node *schema;
    goss_status status = json_tree_read(&arena, tool->schema, strlen(tool->schema), tool->name, &schema, error);
    if (status == GOSS_OK)
        status = schema_write(schema, out, error);
    arena_free(&arena);
    return status;
}

static goss_status write_tool(const struct tool *tool, struct buffer *out, goss_error *error)
{
    goss_status status = write_comment(tool->description ? tool->description : "", out, error);
    status = status ? status : buffer_append_text(out, "type ", error);
    status = status ? status : buffer_append_text(out, tool->name, error);
    if (status || !tool->schema)
        return status ? status : buffer_append_text(out, " = () => any;\n\n", error);
    status = buffer_append_text(out, " = (_: ", error);
    status = status ? status : write_parameters(tool, out, error);
    return status ? status : buffer_append_text(out, ") => any;\n\n", error);
}

static goss_status write_namespace(const struct tool_namespace *space, struct buffer *out, goss_error *error)
{
    const char *description = space->description ? space->description : "";
    goss_status status = buffer_append_format(out, error, "\n\n## %s\n", space->name);
    if (space->n_tool == 0)
        return status ? status : write_lines(description, "\n", "", out, error);
    status = status ? status : buffer_append_text(out, "\n", error);
    status = status ? status : write_comment(description, out, error);
    status = status ? status : buffer_append_format(out, error, "namespace %s {\n\n", space->name);
    for (size_t i = 0; i < space->n_tool && status == GOSS_OK; i++)
        status = write_tool(&space->tool[i], out, error);
    return status ? status : buffer_append_format(out, error, "} // namespace %s", space->name);
}

static const char *key_of(const struct tool_namespace *space)
{
    return space->key ? space->key : space->name;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(key_of(a), key_of(b));
}

static goss_status write_tools(const struct part *part, struct buffer *out, goss_error *error)
{
    struct tool_namespace *sorted = calloc(part->n_tools, sizeof *sorted);
    if (!sorted)
        return error_memory(error, part->n_tools * sizeof *sorted, "namespaces of tools");
    memcpy(sorted, part->tools, part->n_tools * sizeof *sorted);
    qsort(sorted, part->n_tools, sizeof *sorted, by_key);
    goss_status status = buffer_append_text(out, "# Tools", error);
    for (size_t i = 0; i < part->n_tools && status == GOSS_OK; i++)
        status = write_namespace(&sorted[i], out, error);
    free(sorted);
    return status;
}

static goss_status write_channels(const struct part *part, bool functions, struct buffer *out, goss_error *error)
{
    goss_status status = buffer_append_text(out, "# Valid channels: ", error);
    for (size_t i = 0; i < part->n_channel && status == GOSS_OK; i++)
        status = buffer_append_format(out, error, "%s%s", i ? ", " : "", part->channel[i]);
    status = status ? status : buffer_append_text(out, ".", error);
    if (status == GOSS_OK && part->channel_required)
        status = buffer_append_text(out, " Channel must be included for every message.", error);
    if (status == GOSS_OK && functions)
        status =
            buffer_append_text(out, "\nCalls to these tools must go to the commentary channel: 'functions'.", error);
    return status;
}

/* The lines of the first block, each absent or not. An empty identity is a line too. */
static goss_status write_identity(const struct part *part, struct buffer *out, goss_error *error)
{
    const char *lines[][2] = {
        {"", part->identity}, {"Knowledge cutoff: ", part->cutoff}, {"Current date: ", part->date}};
    bool first = true;
    goss_status status = GOSS_OK;
    for (size_t i = 0; i < 3 && status == GOSS_OK; i++) {
        if (!lines[i][1])
            continue;
        status = buffer_append_format(out, error, "%s%s%s", first ? "" : "\n", lines[i][0], lines[i][1]);
        first = false;
    }
    return status;
}

goss_status content_write_system(const struct part *part, bool functions, struct buffer *out, goss_error *error)
{
    bool first = true;
    goss_status status = GOSS_OK;
    if (part->identity || part->cutoff || part->date) {
        begin_block(&first, out, &status, error);
        status = status ? status : write_identity(part, out, error);
    }
    if (part->effort != EFFORT_UNSET) {
        /* No model was trained on "none": reasoning is switched off by what render writes after the prompt, and this
         * line says the nearest thing that they know. */
        const char *effort = effort_name(part->effort == EFFORT_NONE ? EFFORT_LOW : part->effort);
        begin_block(&first, out, &status, error);
        status = status ? status : buffer_append_format(out, error, "Reasoning: %s", effort);
    }
    if (part->n_tools > 0) {
        begin_block(&first, out, &status, error);
        status = status ? status : write_tools(part, out, error);
    }
    if (part->n_channel > 0) {
        begin_block(&first, out, &status, error);
        status = status ? status : write_channels(part, functions, out, error);
    }
    return status;
}

static goss_status write_formats(const struct part *part, struct buffer *out, goss_error *error)
{
    goss_status status = buffer_append_text(out, "# Response Formats", error);
    for (size_t i = 0; i < part->n_format && status == GOSS_OK; i++) {
        const struct response_format *format = &part->format[i];
        status = buffer_append_format(out, error, "\n\n## %s\n\n", format->name);
        if (status == GOSS_OK && format->description)
            status = write_comment(format->description, out, error);
        status = status ? status : write_compact(format->schema, format->name, out, error);
    }
    return status;
}

goss_status content_write_developer(const struct part *part, struct buffer *out, goss_error *error)
{
    bool first = true;
    goss_status status = GOSS_OK;
    if (part->text) {
        begin_block(&first, out, &status, error);
        status = status ? status : buffer_append_text(out, "# Instructions\n\n", error);
        status = status ? status : buffer_append(out, part->text, part->text_size, error);
    }
    if (part->n_tools > 0) {
        begin_block(&first, out, &status, error);
        status = status ? status : write_tools(part, out, error);
    }
    if (part->n_format > 0) {
        begin_block(&first, out, &status, error);
        status = status ? status : write_formats(part, out, error);
    }
    return status;
}

bool conversation_has_functions(const struct conversation *conversation)
{
    for (size_t i = 0; i < conversation->n_message; i++) {
        const struct message *message = &conversation->message[i];
        for (size_t j = 0; j < message->n_part && message->role == ROLE_DEVELOPER; j++)
            for (size_t k = 0; k < message->part[j].n_tools; k++) {
                const struct tool_namespace *space = &message->part[j].tools[k];
                if (space->n_tool > 0 && strcmp(key_of(space), "functions") == 0)
                    return true;
            }
    }
    return false;
}

bool conversation_has_tools(const struct conversation *conversation)
{
    for (size_t i = 0; i < conversation->n_message; i++)
        for (size_t j = 0; j < conversation->message[i].n_part; j++)
            if (conversation->message[i].part[j].n_tools > 0)
                return true;
    return false;
}
