/* The text completion and its chunks. */
#include <stdio.h>
#include <string.h>

#include "api/completions.h"
#include "api/wire.h"

static const char *finish_name(const struct answer_choice *choice)
{
    return choice->finish == TURN_LENGTH ? "length" : "stop";
}

static void write_head(const struct answer *answer, struct json_out *json)
{
    char id[64];
    (void)snprintf(id, sizeof id, "cmpl-%s", answer->key);
    json_out_text(json, "id", id);
    json_out_text(json, "object", "text_completion");
    json_out_integer(json, "created", answer->created);
    json_out_text(json, "model", answer->request->settings->model);
    json_out_text(json, "system_fingerprint", "gossamer-" GOSS_VERSION);
}

static void put_utf8(const struct answer *answer, const int32_t *id, size_t n, struct buffer *text,
                     struct json_out *json)
{
    struct utf8_stream stream = {0};
    for (size_t i = 0; i < n && json->status == GOSS_OK; i++) {
        size_t size;
        const uint8_t *bytes = tokenizer_bytes(answer->tokenizer, id[i], &size);
        json->status = utf8_stream_add(&stream, bytes, size, text, json->error);
    }
    if (json->status == GOSS_OK)
        json->status = utf8_stream_flush(&stream, text, json->error);
}

/* With echo, what the prompt says. */
static void put_prompt(const struct answer *answer, int choice, struct buffer *text, struct json_out *json)
{
    const struct api_request *request = answer->request;
    const struct api_prompt *prompt = &request->prompt[choice / request->n];
    if (!request->echo)
        return;
    if (!prompt->text)
        put_utf8(answer, prompt->id, prompt->n_id, text, json);
    else if (json->status == GOSS_OK && prompt->size > 0)
        json->status = buffer_append(text, prompt->text, prompt->size, json->error);
}

/* The old form of logprobs: parallel arrays. An alternative that spells like an earlier one is left out, since the
 * names of members are the spellings. */
static void write_top(const struct answer *answer, const struct sampled *sampled, struct json_out *json)
{
    struct buffer name[SAMPLER_MAX_LOGPROBS];
    json_out_open(json, NULL, '{');
    for (int i = 0; i < sampled->n_top; i++) {
        buffer_init(&name[i], 1 << 16);
        put_utf8(answer, &sampled->top[i].id, 1, &name[i], json);
        bool twice = name[i].size == 0;
        for (int j = 0; j < i && !twice; j++)
            twice = name[j].size == name[i].size && memcmp(name[j].data, name[i].data, name[i].size) == 0;
        if (!twice && !memchr(name[i].data, 0, name[i].size))
            json_out_number(json, (const char *)name[i].data, sampled->top[i].logprob);
    }
    for (int i = 0; i < sampled->n_top; i++)
        buffer_free(&name[i]);
    json_out_close(json, '}');
}

static void write_logprobs(const struct answer *answer, const struct answer_choice *choice, size_t first, size_t n,
                           struct json_out *json)
{
    if (answer->request->top_logprobs < 0) {
        json_out_null(json, "logprobs");
        return;
    }
    size_t offset = 0, size;
    for (size_t i = 0; i < first; i++) {
        (void)tokenizer_bytes(answer->tokenizer, choice->token[i].id, &size);
        offset += size;
    }
    json_out_open(json, "logprobs", '{');
    json_out_open(json, "tokens", '[');
    for (size_t i = first; i < first + n; i++) {
        struct buffer text;
        buffer_init(&text, 1 << 16);
        put_utf8(answer, &choice->token[i].id, 1, &text, json);
        json_out_bytes(json, NULL, text.data ? (const char *)text.data : "", text.size);
        buffer_free(&text);
    }
    json_out_close(json, ']');
    json_out_open(json, "token_logprobs", '[');
    for (size_t i = first; i < first + n; i++)
        json_out_number(json, NULL, choice->token[i].logprob);
    json_out_close(json, ']');
    json_out_open(json, "top_logprobs", '[');
    for (size_t i = first; i < first + n; i++)
        write_top(answer, &choice->token[i], json);
    json_out_close(json, ']');
    json_out_open(json, "text_offset", '[');
    for (size_t i = first; i < first + n; i++) {
        json_out_integer(json, NULL, (long long)offset);
        (void)tokenizer_bytes(answer->tokenizer, choice->token[i].id, &size);
        offset += size;
    }
    json_out_close(json, ']');
    json_out_close(json, '}');
}

static void write_choice(const struct answer *answer, const struct answer_change *change, const char *finish,
                         struct json_out *json)
{
    const struct answer_choice *choice = &answer->choice[change->choice];
    json_out_open(json, NULL, '{');
    json_out_integer(json, "index", change->choice);
    json_out_bytes(json, "text", change->size ? change->text : "", change->size);
    write_logprobs(answer, choice, change->token, change->n_token, json);
    json_out_text(json, "finish_reason", finish);
    json_out_close(json, '}');
}

void completions_object(const struct answer *answer, struct json_out *json)
{
    json_out_open(json, NULL, '{');
    write_head(answer, json);
    json_out_open(json, "choices", '[');
    for (int i = 0; i < answer->n_choice; i++) {
        const struct answer_choice *choice = &answer->choice[i];
        struct buffer text;
        buffer_init(&text, 1UL << 31);
        put_prompt(answer, i, &text, json);
        for (size_t j = 0; j < choice->n_item && json->status == GOSS_OK; j++)
            if (choice->item[j].text.size > 0)
                json->status = buffer_append(&text, choice->item[j].text.data, choice->item[j].text.size, json->error);
        write_choice(answer,
                     &(struct answer_change){
                         .choice = i, .text = (const char *)text.data, .size = text.size, .n_token = choice->n_token},
                     choice->done ? finish_name(choice) : NULL, json);
        buffer_free(&text);
    }
    json_out_close(json, ']');
    completion_usage(answer, json);
    json_out_close(json, '}');
}

static void chunk(const struct answer *answer, const struct answer_change *change, const char *finish,
                  struct json_out *json)
{
    sse_begin(json, NULL);
    json_out_open(json, NULL, '{');
    write_head(answer, json);
    json_out_open(json, "choices", '[');
    write_choice(answer, change, finish, json);
    json_out_close(json, ']');
    if (answer->request->usage_in_stream)
        json_out_null(json, "usage");
    json_out_close(json, '}');
    sse_end(json);
}

static void echo_prompts(const struct answer *answer, struct json_out *json)
{
    for (int i = 0; i < answer->n_choice && answer->request->echo; i++) {
        struct buffer text;
        buffer_init(&text, 1UL << 31);
        put_prompt(answer, i, &text, json);
        chunk(answer, &(struct answer_change){.choice = i, .text = (const char *)text.data, .size = text.size}, NULL,
              json);
        buffer_free(&text);
    }
}

static void choice_ends(const struct answer *answer, const struct answer_change *change, struct json_out *json)
{
    const struct answer_choice *choice = &answer->choice[change->choice];
    if (choice->finish != TURN_FAILED) {
        chunk(answer, change, finish_name(choice), json);
        return;
    }
    struct api_error failure = {.base = choice->error, .http = 500, .code = "server_error"};
    sse_begin(json, NULL);
    if (json->status == GOSS_OK)
        json->status = api_error_write(&failure, API_COMPLETIONS, json->out, json->error);
    sse_end(json);
}

static void answer_ends(const struct answer *answer, struct json_out *json)
{
    if (answer->request->usage_in_stream && answer->status != ANSWER_FAILED) {
        sse_begin(json, NULL);
        json_out_open(json, NULL, '{');
        write_head(answer, json);
        json_out_open(json, "choices", '[');
        json_out_close(json, ']');
        completion_usage(answer, json);
        json_out_close(json, '}');
        sse_end(json);
    }
    if (json->status == GOSS_OK)
        json->status = buffer_append_text(json->out, "data: [DONE]\n\n", json->error);
}

void completions_stream(struct answer *answer, const struct answer_change *change, struct json_out *json)
{
    switch (change->moment) {
    case ANSWER_BEGINS: echo_prompts(answer, json); break;
    case ITEM_GROWS: chunk(answer, change, NULL, json); break;
    case CHOICE_ENDS: choice_ends(answer, change, json); break;
    case ANSWER_ENDS: answer_ends(answer, json); break;
    default: break;
    }
}
