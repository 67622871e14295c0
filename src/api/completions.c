#include "api/completions.h"

#include "api/read.h"

static void read_ids(struct reader *reader, const struct json_node *array, struct api_prompt *prompt)
{
    int32_t *id = fields_alloc(&reader->fields, array->n_child, sizeof *id);
    size_t n = 0;
    for (const struct json_node *node = array->child; id && node && !reader->fields.status; node = node->next) {
        int64_t value;
        if (!json_tree_integer(node, 0, (int64_t)reader->request->settings->n_vocab - 1, &value)) {
            field_refuse(&reader->fields, node, "invalid_value", "must be a token id in 0..%d",
                         reader->request->settings->n_vocab - 1);
            return;
        }
        id[n++] = (int32_t)value;
    }
    *prompt = (struct api_prompt){.id = id, .n_id = n};
}

static void read_one(struct reader *reader, const struct json_node *node, struct api_prompt *prompt)
{
    if (node->kind == JSON_TREE_STRING && node->size > 0)
        *prompt = (struct api_prompt){.text = node->text, .size = node->size};
    else if (node->kind == JSON_TREE_ARRAY && node->n_child > 0)
        read_ids(reader, node, prompt);
    else
        field_refuse(&reader->fields, node, "invalid_type", "must be a string or an array of token ids, and not empty");
}

/* A string, an array of ids, or an array of either. */
static void read_prompts(struct reader *reader)
{
    struct api_request *request = reader->request;
    const struct json_node *node = field(reader->body, "prompt");
    if (!node) {
        field_missing(&reader->fields, reader->body, "prompt");
        return;
    }
    bool many = node->kind == JSON_TREE_ARRAY && node->n_child > 0 && node->child->kind != JSON_TREE_NUMBER;
    size_t n = many ? node->n_child : 1;
    if (n > API_MAX_PROMPTS) {
        field_refuse(&reader->fields, node, "invalid_value", "has %zu prompts; at most %d are allowed", n,
                     API_MAX_PROMPTS);
        return;
    }
    request->prompt = fields_alloc(&reader->fields, n, sizeof *request->prompt);
    const struct json_node *one = many ? node->child : node;
    for (; one && request->prompt && request->n_prompt < n; one = one->next)
        read_one(reader, one, &request->prompt[request->n_prompt++]);
}

goss_status completions_read(struct api_request *request, const struct api_settings *settings, const void *body,
                             size_t size, struct api_error *error)
{
    struct reader reader;
    struct fields *f = &reader.fields;
    read_begin(&reader, request, API_COMPLETIONS, settings, body, size, error);
    if (f->status == GOSS_OK) {
        const struct json_node *root = reader.body;
        request->turn.max_tokens = (int)field_integer(f, root, "max_tokens", 1, 1 << 24, 16);
        request->n = (int)field_integer(f, root, "n", 1, API_MAX_CHOICES, 1);
        (void)field_integer(f, root, "best_of", 1, request->n, request->n);
        request->top_logprobs = (int)field_integer(f, root, "logprobs", 0, SAMPLER_MAX_LOGPROBS, -1);
        request->turn.sampling.logprobs = request->top_logprobs;
        request->stream = field_bool(f, root, "stream", false);
        request->usage_in_stream = field_bool(f, field_object(f, root, "stream_options"), "include_usage", false);
        request->echo = field_bool(f, root, "echo", false);
        request->suffix = field_string(f, root, "suffix");
        if (request->suffix && *request->suffix)
            field_refuse(f, field(root, "suffix"), "unsupported_parameter", "is not supported by this model");
        (void)field_string(f, root, "model");
        read_sampling(&reader, "stop");
        read_prompts(&reader);
    }
    return read_end(&reader, NULL);
}

goss_status completions_prompt(const struct api_request *request, const struct tokenizer *tokenizer, int choice,
                               struct token_list *ids, goss_error *error)
{
    const struct api_prompt *prompt = &request->prompt[choice / request->n];
    return prompt->text ? tokenizer_encode(tokenizer, prompt->text, prompt->size, false, ids, error)
                        : token_list_append(ids, prompt->id, prompt->n_id, error);
}
