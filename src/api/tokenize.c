#include "api/tokenize.h"

#include "api/chat.h"
#include "api/fields.h"
#include "api/json_out.h"
#include "harmony/render.h"

/* The ids of the prompt that a chat request with these messages is answered from. */
static goss_status encode_messages(const struct harmony *harmony, const struct api_settings *settings, const void *body,
                                   size_t size, struct token_list *ids, struct api_error *error)
{
    struct api_request request;
    goss_status status = chat_read(&request, settings, body, size, error);
    if (status)
        return status;
    struct render_options options = {.mode = RENDER_COMPLETION,
                                     .next_role = ROLE_ASSISTANT,
                                     .drop = request.turn.drop,
                                     .call = request.turn.call,
                                     .no_reasoning = request.effort == EFFORT_NONE};
    status = api_request_assemble(&request, NULL, NULL, error);
    status = status ? status : render(harmony, &request.conversation, &options, ids, &error->base);
    api_request_close(&request);
    return status;
}

static goss_status write_ids(const struct token_list *ids, int context, struct buffer *out, goss_error *error)
{
    struct json_out json = {.out = out, .error = error};
    json_out_open(&json, NULL, '{');
    json_out_integer(&json, "count", (long long)ids->size);
    json_out_integer(&json, "max_model_len", context);
    json_out_open(&json, "tokens", '[');
    for (size_t i = 0; i < ids->size; i++)
        json_out_integer(&json, NULL, ids->id[i]);
    json_out_close(&json, ']');
    json_out_close(&json, '}');
    return json.status;
}

goss_status tokenize_text(const struct harmony *harmony, const struct api_settings *settings, int context,
                          const void *body, size_t size, struct buffer *out, struct api_error *error)
{
    struct arena arena = {0};
    struct fields fields = {.arena = &arena, .error = error};
    struct token_list ids = {0};
    *error = (struct api_error){0};
    const struct json_node *root = fields_body(&fields, body, size);
    goss_status status = fields.status;
    if (status == GOSS_OK && field(root, "messages")) {
        status = encode_messages(harmony, settings, body, size, &ids, error);
    } else if (status == GOSS_OK) {
        static const char *const names[] = {"text", "prompt", "content"};
        const struct json_node *text = NULL;
        for (size_t i = 0; i < 3 && !text; i++)
            text = field(root, names[i]);
        if (!json_tree_is(text, JSON_TREE_STRING))
            field_refuse(&fields, text ? text : root, "missing_required_parameter", "needs the string 'text'");
        bool special = field_bool(&fields, root, "special", false);
        status = fields.status;
        if (status == GOSS_OK && text)
            status = tokenizer_encode(harmony->tokenizer, text->text, text->size, special, &ids, &error->base);
    }
    status = status ? status : write_ids(&ids, context, out, &error->base);
    token_list_free(&ids);
    arena_free(&arena);
    if (status)
        api_error_settle(error);
    return status;
}

static goss_status decode(const struct harmony *harmony, struct fields *fields, const struct json_node *tokens,
                          struct buffer *text)
{
    struct utf8_stream stream = {0};
    goss_error *error = &fields->error->base;
    goss_status status = GOSS_OK;
    int32_t most = tokenizer_size(harmony->tokenizer) - 1;
    for (const struct json_node *node = tokens->child; node && !status; node = node->next) {
        int64_t id;
        size_t n;
        if (!json_tree_integer(node, 0, most, &id)) {
            field_refuse(fields, node, "invalid_value", "must be a token id in 0..%d", most);
            return fields->status;
        }
        const uint8_t *bytes = tokenizer_bytes(harmony->tokenizer, (int32_t)id, &n);
        status = utf8_stream_add(&stream, bytes, n, text, error);
    }
    return status ? status : utf8_stream_flush(&stream, text, error);
}

goss_status tokenize_back(const struct harmony *harmony, const void *body, size_t size, struct buffer *out,
                          struct api_error *error)
{
    struct arena arena = {0};
    struct fields fields = {.arena = &arena, .error = error};
    struct buffer text;
    buffer_init(&text, 1UL << 30);
    *error = (struct api_error){0};
    const struct json_node *root = fields_body(&fields, body, size);
    const struct json_node *tokens = field_array(&fields, root, "tokens");
    if (!fields.status && !tokens)
        field_refuse(&fields, root, "missing_required_parameter", "needs the array 'tokens'");
    goss_status status = fields.status || !tokens ? fields.status : decode(harmony, &fields, tokens, &text);
    if (status == GOSS_OK) {
        struct json_out json = {.out = out, .error = &error->base};
        json_out_open(&json, NULL, '{');
        json_out_bytes(&json, "text", text.data ? (const char *)text.data : "", text.size);
        json_out_bytes(&json, "prompt", text.data ? (const char *)text.data : "", text.size);
        json_out_close(&json, '}');
        status = json.status;
    }
    buffer_free(&text);
    arena_free(&arena);
    if (status)
        api_error_settle(error);
    return status;
}
