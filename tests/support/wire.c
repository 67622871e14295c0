#include "support/wire.h"

#include <stdlib.h>
#include <string.h>

#include "agent/turn.h"
#include "api/chat.h"
#include "api/compact.h"
#include "api/completions.h"
#include "api/held.h"
#include "api/messages.h"
#include "api/responses.h"
#include "base/file.h"
#include "support/fake_backend.h"
#include "support/harmony.h"
#include "support/toy_checkpoint.h"

static const int64_t created = 1700000000, completed = 1700000002;

struct api_settings wire_settings(void)
{
    return (struct api_settings){.model = "gpt-oss-20b",
                                 .date = "2026-11-21",
                                 .seed = 7,
                                 .n_vocab = tokenizer_size(support_harmony.tokenizer),
                                 .owner = 1};
}

static goss_status read_body(struct wire_run *run, struct api_request *request)
{
    size_t n = strlen(run->body);
    if (run->compact)
        return compact_read(request, &run->settings, run->body, n, &run->error);
    switch (run->wire) {
    case API_RESPONSES: return responses_read(request, &run->settings, run->key, run->body, n, &run->error);
    case API_CHAT: return chat_read(request, &run->settings, run->body, n, &run->error);
    case API_COMPLETIONS: return completions_read(request, &run->settings, run->body, n, &run->error);
    case API_MESSAGES: return messages_read(request, &run->settings, false, run->body, n, &run->error);
    }
    return GOSS_E_INTERNAL;
}

/* A model with a script, the engine over it, and one turn. */
struct stage {
    struct fake_counts counts;
    struct fake_model fake;
    struct engine *engine;
    struct token_list script, raw;
    struct turn *turn;
    struct conversation *conversation; /* of the first choice the request's own, of the others a copy */
    struct conversation copy;
};

static void keep_prompt(struct wire_run *run, const struct turn *turn)
{
    size_t n, size;
    const int32_t *id = turn_prompt(turn, &n);
    if (run->prompt.size > 0)
        return;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *bytes = tokenizer_bytes(support_harmony.tokenizer, id[i], &size);
        assert_int_equal(buffer_append(&run->prompt, bytes, size, NULL), GOSS_OK);
    }
}

static void open_stage(struct stage *stage, struct wire_run *run, struct api_request *request, int choice)
{
    goss_error error;
    *stage = (struct stage){0};
    stage->fake = fake_model(&stage->counts, FAKE_WINDOW, 1 << 16);
    stage->fake.model.config.n_vocab = tokenizer_size(support_harmony.tokenizer);
    stage->fake.model.config.n_stop = 1;
    stage->fake.model.config.stop[0] = support_harmony.ret;
    int last = 0;
    while (last < choice && last + 1 < WIRE_SCRIPTS && run->script[last + 1])
        last++;
    support_encode(run->script[last], &stage->script);
    struct engine_options options = {.context = 4096, .max_sequences = 1};
    assert_int_equal(engine_open(&stage->engine, &stage->fake.model, &fake_backend, &options, NULL), GOSS_OK);
    stage->conversation = choice ? &stage->copy : &request->conversation;
    if (choice > 0)
        assert_int_equal(api_request_copy(request, &stage->copy, NULL), GOSS_OK);
    struct turn_options turn = request->turn;
    turn.sampling.seed += (uint64_t)choice;
    turn.sampling.temperature = 0; /* the same ids sooner */
    turn.form = ANSWER_FREE;       /* the script is what the model says, bound or not */
    turn.tools = TOOLS_AUTO;
    turn.n_strict = 0;
    turn.declared_only = false;
    if (request->wire == API_COMPLETIONS) {
        assert_int_equal(completions_prompt(request, support_harmony.tokenizer, choice, &stage->raw, NULL), GOSS_OK);
        turn.raw = stage->raw.id;
        turn.n_raw = stage->raw.size;
    }
    if (turn_open(&stage->turn, stage->engine, &support_harmony, stage->conversation, &turn, &error))
        fail_msg("%s", error.text);
    size_t n;
    (void)turn_prompt(stage->turn, &n);
    stage->fake.script = stage->script.id;
    stage->fake.n_script = (int)stage->script.size;
    stage->fake.script_first = (int)n;
}

static void close_stage(struct stage *stage)
{
    turn_close(stage->turn);
    engine_close(stage->engine);
    conversation_free(&stage->copy);
    token_list_free(&stage->script);
    token_list_free(&stage->raw);
}

static void run_turn(struct wire_run *run, struct stage *stage, struct answer *answer, int choice)
{
    struct turn_event event;
    int events = 0;
    do {
        size_t n;
        turn_next(stage->turn, &event);
        const struct sampled *sampled = turn_answer(stage->turn, &n);
        assert_int_equal(answer_add(answer, choice, &event, sampled, n, completed, &run->stream, NULL), GOSS_OK);
        events++;
        if (events == run->cancel_after)
            turn_cancel(stage->turn);
        if (events == run->fail_after) {
            goss_error reason = {.status = GOSS_E_INTERNAL, .text = "the logits are not finite"};
            assert_int_equal(answer_fail(answer, &reason, completed, &run->stream, NULL), GOSS_OK);
        }
    } while (event.kind != TURN_DONE);
}

static void store_answer(struct wire_run *run, const struct api_request *request, const struct answer *answer,
                         const struct conversation *conversation)
{
    struct buffer kept;
    goss_error error;
    char id[64];
    buffer_init(&kept, 1 << 26);
    assert_int_equal(answer_keep(answer, conversation, &kept, NULL), GOSS_OK);
    answer_id(answer, id);
    struct store_response row = {.id = id,
                                 .previous = request->previous,
                                 .owner = run->settings.owner,
                                 .created = created,
                                 .state = STORE_DONE,
                                 .object = {run->object.data, run->object.size},
                                 .input = {request->input_items, strlen(request->input_items)},
                                 .messages = {kept.data, kept.size}};
    if (store_put(run->store, &row, &error))
        fail_msg("%s", error.text);
    run->stored = true;
    buffer_free(&kept);
}

static void answer_request(struct wire_run *run, struct api_request *request)
{
    struct answer answer;
    struct answer_identity identity = {.key = run->key, .created = created};
    assert_int_equal(answer_open(&answer, request, support_harmony.tokenizer, &identity, NULL), GOSS_OK);
    for (int i = 0; i < answer.n_choice; i++) {
        struct stage stage;
        open_stage(&stage, run, request, i);
        keep_prompt(run, stage.turn);
        size_t n_prompt;
        (void)turn_prompt(stage.turn, &n_prompt);
        assert_int_equal(answer_start(&answer, n_prompt, &run->stream, NULL), GOSS_OK);
        run_turn(run, &stage, &answer, i);
        if (i == answer.n_choice - 1) {
            assert_int_equal(answer_write(&answer, &run->object, NULL), GOSS_OK);
            if (run->recall)
                recall_keep(run->recall, run->settings.owner, stage.conversation);
            if (run->store && run->wire == API_RESPONSES && request->store)
                store_answer(run, request, &answer, stage.conversation);
            else if (run->settings.held)
                assert_int_equal(held_put(run->settings.held, &answer, stage.conversation, NULL), GOSS_OK);
        }
        close_stage(&stage);
    }
    run->http = answer_is_error(&answer) ? 500 : 200;
    answer_close(&answer);
}

void wire_open(struct wire_run *run)
{
    struct api_request request;
    buffer_init(&run->prompt, 1 << 26);
    buffer_init(&run->stream, 1 << 26);
    buffer_init(&run->object, 1 << 26);
    buffer_init(&run->input_items, 1 << 26);
    run->key = run->key ? run->key : "abcdefghijklmnopqrstuvwx";
    run->stored = false;
    goss_status status = read_body(run, &request);
    if (status == GOSS_OK) {
        status = api_request_assemble(&request, run->store, run->recall, &run->error);
        if (status == GOSS_OK) {
            if (request.input_items)
                assert_int_equal(buffer_append_text(&run->input_items, request.input_items, NULL), GOSS_OK);
            answer_request(run, &request);
        }
        api_request_close(&request);
    }
    if (status) {
        assert_int_equal(api_error_write(&run->error, run->wire, &run->object, NULL), GOSS_OK);
        run->http = run->error.http;
    }
}

void wire_close(struct wire_run *run)
{
    buffer_free(&run->prompt);
    buffer_free(&run->stream);
    buffer_free(&run->object);
    buffer_free(&run->input_items);
}

void wire_data(const struct buffer *stream, struct buffer *lines)
{
    const char *at = stream->data ? (const char *)stream->data : "";
    while ((at = strstr(at, "data: "))) {
        const char *end = strchr(at, '\n');
        at += 6;
        if (strncmp(at, "[DONE]", 6) != 0)
            assert_int_equal(buffer_append(lines, at, (size_t)(end - at + 1), NULL), GOSS_OK);
        at = end;
    }
}

/* ---- what a run said ---- */

struct wire_run wire_answered(enum api_wire wire, const char *body, const char *script)
{
    struct wire_run run = {.wire = wire, .body = body, .script = {script}, .settings = wire_settings()};
    wire_open(&run);
    return run;
}

struct wire_run wire_response(struct store *store, const char *key, const char *body, const char *script)
{
    return (struct wire_run){.wire = API_RESPONSES,
                             .body = body,
                             .script = {script},
                             .key = key,
                             .store = store,
                             .settings = wire_settings()};
}

const char *wire_text(const struct buffer *buffer)
{
    return buffer->size ? (const char *)buffer->data : "";
}

void wire_has(const struct buffer *buffer, const char *text)
{
    if (!strstr(wire_text(buffer), text))
        fail_msg("no '%s' in:\n%s", text, wire_text(buffer));
}

void wire_lacks(const struct buffer *buffer, const char *text)
{
    if (strstr(wire_text(buffer), text))
        fail_msg("there is '%s' in:\n%s", text, wire_text(buffer));
}

void wire_succeeded(struct wire_run *run)
{
    if (run->http != 200)
        fail_msg("%d: %s", run->http, wire_text(&run->object));
}

size_t wire_count(const struct buffer *buffer, const char *text)
{
    size_t n = 0;
    for (const char *at = wire_text(buffer); (at = strstr(at, text)); at++)
        n++;
    return n;
}

/* ---- a store of its own ---- */

struct wire_store wire_store_open(void)
{
    struct wire_store kept = {.folder = toy_folder()};
    char *path = file_join(kept.folder, "responses.sqlite");
    assert_non_null(path);
    assert_int_equal(store_open(&kept.store, path, 0, NULL), GOSS_OK);
    free(path);
    return kept;
}

void wire_store_close(struct wire_store *kept)
{
    store_close(kept->store);
    toy_remove(kept->folder);
}
