/* Memory that runs out anywhere: a clean error, nothing lost, and what is left still works. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gossamer.h"
#include "harmony/message_json.h"
#include "harmony/parse.h"
#include "support/test.h"
#include "support/torture.h"
#include "support/toy_checkpoint.h"
#include "text/tokenizer.h"

struct fixture {
    char *folder;
    char path[300], cache[300]; /* a checkpoint, and where it is packed */
    char *answer;               /* what every untroubled turn says */
};

static void open_fixture(struct fixture *f, enum toy_form form, const char *name)
{
    struct toy toy = toy_default();
    *f = (struct fixture){.folder = toy_folder()};
    toy.tokenizer = true;
    toy.n_layer = 2;
    (void)snprintf(f->path, sizeof f->path, "%s/%s", f->folder, name);
    (void)snprintf(f->cache, sizeof f->cache, "%s/cache", f->folder);
    toy_write(&toy, form, f->path);
}

static goss_status open_model(const struct fixture *f, goss_model **model, goss_error *error)
{
    goss_model_options options = goss_model_options_default();
    options.cache = f->cache;
    options.threads = 2;
    options.context = 600;
    options.max_turns = 2;
    return goss_model_open(model, f->path, &options, error);
}

static goss_status open_and_close(void *argument, goss_error *error)
{
    goss_model *model;
    goss_status status = open_model(argument, &model, error);
    goss_model_close(model);
    return status;
}

static goss_status pack_open_and_close(void *argument, goss_error *error)
{
    const struct fixture *f = argument;
    toy_remove_tree(f->cache);
    return open_and_close(argument, error);
}

static void packing_a_checkpoint_survives_every_failed_allocation(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, TOY_HF, "hf");
    torture(pack_open_and_close, &f);
    toy_remove(f.folder);
    open_fixture(&f, TOY_GGUF_Q8, "toy.gguf");
    torture(pack_open_and_close, &f);
    toy_remove(f.folder);
}

static void opening_a_packed_model_survives_every_failed_allocation(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, TOY_GGUF_Q8, "toy.gguf");
    torture(open_and_close, &f);
    toy_remove(f.folder);
}

static const char messages[] =
    "[{\"role\":\"developer\",\"content\":[{\"type\":\"developer_content\",\"instructions\":\"Be brief.\",\"tools\":"
    "{\"functions\":{\"name\":\"functions\",\"tools\":[{\"name\":\"get weather\",\"description\":\"d\",\"parameters\":"
    "{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"}}}}]}}}]},"
    "{\"role\":\"user\",\"content\":\"Hello <|end|>\"}]";

static goss_status converse(goss_model *model, goss_conversation *c, goss_turn **turn, char **json, goss_error *error)
{
    goss_turn_options options = goss_turn_options_default();
    goss_event event = {.kind = GOSS_EVENT_WAIT};
    size_t n;
    options.max_tokens = 24;
    options.stop = (const char *const[]){"never said"};
    options.n_stop = 1;
    goss_status status = goss_conversation_add_system(c, GOSS_EFFORT_LOW, "2025-08-05", error);
    status = status ? status : goss_conversation_add_json(c, messages, strlen(messages), error);
    status = status ? status : goss_turn_open(turn, model, c, &options, error);
    while (!status && event.kind != GOSS_EVENT_DONE)
        goss_turn_next(*turn, &event);
    if (!status && event.finish == GOSS_FINISH_FAILED) {
        *error = *event.error;
        return event.error->status;
    }
    return status ? status : goss_conversation_json(c, json, &n, error);
}

static goss_status answer_once(struct fixture *f, goss_model *model, goss_error *error)
{
    goss_conversation *c;
    goss_turn *turn = NULL;
    char *json = NULL;
    goss_status status = goss_conversation_open(&c, error);
    status = status ? status : converse(model, c, &turn, &json, error);
    goss_turn_close(turn);
    goss_conversation_close(c);
    if (!status && !f->answer)
        f->answer = strdup(json);
    if (!status)
        assert_string_equal(json, f->answer);
    goss_free(json);
    return status;
}

/* A turn that fails for want of memory leaves a model that answers the next one. */
static goss_status answer(void *argument, goss_error *error)
{
    struct fixture *f = argument;
    goss_model *model;
    goss_error again;
    goss_status status = open_model(f, &model, error);
    if (!status && (status = answer_once(f, model, error)) && answer_once(f, model, &again))
        assert_int_equal(again.status, GOSS_E_MEMORY);
    goss_model_close(model);
    return status;
}

static void a_turn_survives_every_failed_allocation(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, TOY_GGUF_Q8, "toy.gguf");
    torture(answer, &f);
    free(f.answer);
    toy_remove(f.folder);
}

static const char tokenizer_json[] =
    "{\"added_tokens\":[{\"id\":258,\"content\":\"<|end|>\",\"special\":true}],\"pre_tokenizer\":{\"type\":"
    "\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true},\"model\":{\"type\":\"BPE\",\"vocab\":{";

/* A tokenizer.json of 256 bytes and two merges. */
static struct buffer small_tokenizer(void)
{
    struct buffer json;
    buffer_init(&json, 1 << 16);
    assert_int_equal(buffer_append_text(&json, tokenizer_json, NULL), GOSS_OK);
    for (int b = 0, spare = 256; b < 256; b++) {
        bool plain = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        char entry[32];
        (void)snprintf(entry, sizeof entry, "\"\\u%04x\":%d,", plain ? b : spare++, b);
        assert_int_equal(buffer_append_text(&json, entry, NULL), GOSS_OK);
    }
    assert_int_equal(buffer_append_text(&json, "\"he\":256,\"hel\":257},\"merges\":[\"h e\",\"he l\"]}}", NULL),
                     GOSS_OK);
    return json;
}

static goss_status read_encode_save_and_load(void *argument, goss_error *error)
{
    const struct buffer *json = argument;
    struct tokenizer *tokenizer = NULL, *again = NULL;
    struct token_list ids = {0};
    struct buffer tables;
    buffer_init(&tables, 1 << 26);
    goss_status status = tokenizer_open_json(&tokenizer, json->data, json->size, "tokenizer.json", error);
    status = status ? status : tokenizer_save(tokenizer, &tables, error);
    status = status ? status : tokenizer_load(&again, tables.data, tables.size, "tables", error);
    status = status ? status : tokenizer_encode(again, "hello hel \xFF<|end|>", 18, true, &ids, error);
    if (!status) {
        assert_int_equal(ids.id[0], 257);
        assert_int_equal(ids.id[ids.size - 1], 258);
    }
    token_list_free(&ids);
    tokenizer_close(again);
    tokenizer_close(tokenizer);
    buffer_free(&tables);
    return status;
}

static void a_tokenizer_survives_every_failed_allocation(void **state)
{
    (void)state;
    struct buffer json = small_tokenizer();
    torture(read_encode_save_and_load, &json);
    buffer_free(&json);
}

static goss_status open_built_in(void *argument, goss_error *error)
{
    struct tokenizer *tokenizer;
    (void)argument;
    goss_status status = tokenizer_open_o200k(&tokenizer, error);
    tokenizer_close(tokenizer);
    return status;
}

static void the_built_in_tokenizer_survives_every_failed_allocation(void **state)
{
    (void)state;
    torture(open_built_in, NULL);
}

static goss_status feed(struct parser *parser, const struct token_list *ids, size_t *messages_read, goss_error *error)
{
    struct event event;
    goss_status status = GOSS_OK;
    for (size_t i = 0; i <= ids->size && !status; i++) {
        status = i < ids->size ? parser_feed(parser, ids->id[i], error) : parser_finish(parser, error);
        do {
            parser_next(parser, &event);
            *messages_read += event.kind == EVENT_MESSAGE_END;
        } while (event.kind != EVENT_NONE && !status);
    }
    return status;
}

static goss_status read_turn(void *argument, goss_error *error)
{
    static const char turn[] =
        "<|channel|>analysis<|message|>Hm \xF0\x9F\x98\x80<|start|>assistant to=functions.f<|channel|>"
        "commentary json<|message|>{\"a\":1}<|call|>tail<|start|>final<|message|>x";
    const struct tokenizer *tokenizer = argument;
    struct harmony harmony;
    struct parser *parser = NULL;
    struct token_list ids = {0};
    enum role role = ROLE_ASSISTANT;
    size_t n = 0;
    goss_status status = tokenizer_encode(tokenizer, turn, strlen(turn), true, &ids, error);
    status = status ? status : harmony_open(&harmony, tokenizer, error);
    status = status ? status : parser_open(&parser, &harmony, &role, error);
    status = status ? status : feed(parser, &ids, &n, error);
    if (!status)
        assert_int_equal(n, 4);
    parser_close(parser);
    token_list_free(&ids);
    return status;
}

static void reading_harmony_survives_every_failed_allocation(void **state)
{
    (void)state;
    struct tokenizer *tokenizer;
    assert_int_equal(tokenizer_open_o200k(&tokenizer, NULL), GOSS_OK);
    torture(read_turn, tokenizer);
    tokenizer_close(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packing_a_checkpoint_survives_every_failed_allocation),
        cmocka_unit_test(opening_a_packed_model_survives_every_failed_allocation),
        cmocka_unit_test(a_turn_survives_every_failed_allocation),
        cmocka_unit_test(a_tokenizer_survives_every_failed_allocation),
        cmocka_unit_test(the_built_in_tokenizer_survives_every_failed_allocation),
        cmocka_unit_test(reading_harmony_survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
