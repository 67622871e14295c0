/* A conversation to a Harmony prompt. */
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "harmony/json_tree.h"
#include "harmony/message_json.h"
#include "harmony/render.h"
#include "input.h"
#include "session.h"

enum { TEXT_LIMIT = 1 << 28 };
static const char where[] = "standard input";

/* The member's word, which must be one of `words`; absent, it is words[0]. */
static goss_status word_read(const struct json_node *request, const char *key, const char *const *words, int *index,
                             goss_error *error)
{
    const struct json_node *node = json_tree_get(request, key);
    *index = 0;
    if (!node)
        return GOSS_OK;
    for (; words[*index]; ++*index)
        if (json_tree_is(node, JSON_TREE_STRING) && strlen(words[*index]) == node->size &&
            memcmp(words[*index], node->text, node->size) == 0)
            return GOSS_OK;
    return error_set(error, GOSS_E_FORMAT, "%s: %s: %.*s is not known", where, key,
                     node->source_size < 60 ? (int)node->source_size : 60, node->source);
}

/* "auto_drop": true is openai-harmony's rule, false drops nothing; "drop" names the rule. */
static goss_status drop_read(const struct json_node *request, enum render_drop *drop, goss_error *error)
{
    static const char *const words[] = {"turn", "harmony", "none", NULL};
    const struct json_node *automatic = json_tree_get(request, "auto_drop");
    int index;
    goss_status status = word_read(request, "drop", words, &index, error);
    *drop = (enum render_drop)index;
    if (status || !automatic)
        return status;
    if (!json_tree_is(automatic, JSON_TREE_TRUE) && !json_tree_is(automatic, JSON_TREE_FALSE))
        return error_set(error, GOSS_E_FORMAT, "%s: auto_drop: neither true nor false", where);
    if (json_tree_get(request, "drop"))
        return error_set(error, GOSS_E_FORMAT, "%s: drop and auto_drop exclude each other", where);
    *drop = json_tree_is(automatic, JSON_TREE_TRUE) ? DROP_HARMONY : DROP_NONE;
    return GOSS_OK;
}

static goss_status options_read(const struct json_node *request, struct render_options *options, goss_error *error)
{
    static const char *const modes[] = {"completion", "conversation", "training", NULL};
    const struct json_node *next = json_tree_get(request, "next_role");
    int mode;
    *options = (struct render_options){.next_role = ROLE_ASSISTANT};
    goss_status status = word_read(request, "mode", modes, &mode, error);
    options->mode = (enum render_mode)mode;
    if (!status)
        status = drop_read(request, &options->drop, error);
    if (!status && next && !json_tree_is(next, JSON_TREE_NULL) &&
        (!json_tree_is(next, JSON_TREE_STRING) || !role_find(next->text, &options->next_role)))
        status = error_set(error, GOSS_E_FORMAT, "%s: next_role: not a role", where);
    return status;
}

static goss_status render_text(const struct buffer *input, const struct harmony *harmony, struct token_list *ids,
                               goss_error *error)
{
    struct arena arena = {0};
    struct json_node *request;
    struct render_options options;
    struct conversation conversation = {0};
    goss_status status = json_tree_read(&arena, (const char *)input->data, input->size, where, &request, error);
    if (!status && !json_tree_is(json_tree_get(request, "messages"), JSON_TREE_ARRAY))
        status = error_set(error, GOSS_E_FORMAT, "%s: no array 'messages'", where);
    if (!status)
        status = options_read(request, &options, error);
    if (!status)
        status = conversation_from_json(&conversation, json_tree_get(request, "messages"), where, error);
    if (!status)
        status = render(harmony, &conversation, &options, ids, error);
    conversation_free(&conversation);
    arena_free(&arena);
    return status;
}

/* {"text", "ids"}; the text is what the ids stand for. */
static goss_status print_ids_and_text(const struct tokenizer *tokenizer, const struct token_list *ids,
                                      goss_error *error)
{
    struct buffer text, json;
    goss_status status = GOSS_OK;
    buffer_init(&text, TEXT_LIMIT);
    buffer_init(&json, (size_t)4 * TEXT_LIMIT);
    for (size_t i = 0; !status && i < ids->size; i++) {
        size_t size;
        const uint8_t *bytes = tokenizer_bytes(tokenizer, ids->id[i], &size);
        status = buffer_append(&text, bytes, size, error);
    }
    if (!status)
        status = buffer_append_text(&json, "{\"text\":", error);
    if (!status)
        status = json_write_string(&json, (const char *)text.data, text.size, error);
    if (!status)
        status = buffer_append_text(&json, ",\"ids\":[", error);
    for (size_t i = 0; !status && i < ids->size; i++)
        status = buffer_append_format(&json, error, "%s%d", i ? "," : "", ids->id[i]);
    if (!status)
        status = buffer_append_text(&json, "]}\n", error);
    if (!status)
        (void)fwrite(json.data, 1, json.size, stdout);
    buffer_free(&text);
    buffer_free(&json);
    return status;
}

goss_status command_render(const struct arguments *arguments, goss_error *error)
{
    struct session session = {0};
    struct token_list ids = {0};
    struct buffer input = {0};
    struct harmony harmony;
    goss_status status = input_read(&input, error);
    if (!status)
        status = session_tokenizer(&session, arguments, error);
    if (!status)
        status = harmony_open(&harmony, session.tokenizer, error);
    if (!status)
        status = render_text(&input, &harmony, &ids, error);
    if (!status)
        status = print_ids_and_text(session.tokenizer, &ids, error);
    token_list_free(&ids);
    buffer_free(&input);
    session_close(&session);
    return status;
}
