/* The library as a stranger uses it: include/gossamer.h alone, over a toy checkpoint on disk. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gossamer.h"
#include "support/test.h"
#include "support/toy_checkpoint.h"

struct fixture {
    char *folder;
    char path[300], cache[300];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct toy toy = toy_default();
    toy.tokenizer = true;
    f->folder = toy_folder();
    (void)snprintf(f->path, sizeof f->path, "%s/toy.gguf", f->folder);
    (void)snprintf(f->cache, sizeof f->cache, "%s/cache", f->folder);
    toy_write(&toy, TOY_GGUF_Q8, f->path);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    toy_remove(f->folder);
    free(f);
    return 0;
}

static goss_model *open_model(const struct fixture *f, int threads)
{
    goss_model *model;
    goss_error error;
    goss_model_options options = goss_model_options_default();
    options.cache = f->cache;
    options.threads = threads;
    options.context = 2000;
    options.max_turns = 2;
    if (goss_model_open(&model, f->path, &options, &error))
        fail_msg("%s", error.text);
    assert_int_equal(goss_model_context(model), 2000);
    assert_non_null(goss_model_isa(model));
    return model;
}

static goss_conversation *open_conversation(void)
{
    goss_conversation *c;
    assert_int_equal(goss_conversation_open(&c, NULL), GOSS_OK);
    assert_int_equal(goss_conversation_add_system(c, GOSS_EFFORT_LOW, "2025-08-05", NULL), GOSS_OK);
    assert_int_equal(goss_conversation_add_instructions(c, "Be brief.", 9, NULL), GOSS_OK);
    assert_int_equal(goss_conversation_add_user(c, "Hello <|end|>", 13, NULL), GOSS_OK);
    return c;
}

/* All events of a turn as text, which the caller frees. */
static char *answer(goss_model *model, goss_conversation *c, uint64_t seed)
{
    goss_turn *turn;
    goss_error error;
    goss_event event = {.kind = GOSS_EVENT_WAIT};
    goss_turn_options options = goss_turn_options_default();
    options.seed = seed;
    options.max_tokens = 40;
    if (goss_turn_open(&turn, model, c, &options, &error))
        fail_msg("%s", error.text);
    char *log = calloc(1, 100000);
    while (event.kind != GOSS_EVENT_DONE) {
        goss_turn_next(turn, &event);
        assert_int_not_equal(event.kind, GOSS_EVENT_WAIT);
        size_t n = strlen(log);
        (void)snprintf(log + n, 100000 - n, "%d %d %s\n", (int)event.kind, (int)event.part,
                       event.text ? event.text : "");
    }
    assert_int_not_equal(event.finish, GOSS_FINISH_FAILED);
    assert_true(event.prompt_tokens > 50 && event.answer_tokens > 0 && event.answer_tokens <= 40);
    goss_turn_next(turn, &event);
    assert_int_equal(event.kind, GOSS_EVENT_DONE);
    goss_turn_close(turn);
    return log;
}

static void an_answer_is_the_same_from_any_number_of_threads(void **state)
{
    char *log[3];
    for (int threads = 1; threads <= 3; threads++) {
        goss_model *model = open_model(*state, threads);
        goss_conversation *c = open_conversation();
        log[threads - 1] = answer(model, c, 5);
        goss_conversation_close(c);
        goss_model_close(model);
    }
    assert_string_equal(log[0], log[1]);
    assert_string_equal(log[0], log[2]);
    for (int i = 0; i < 3; i++)
        free(log[i]);
}

static void another_seed_gives_another_answer(void **state)
{
    goss_model *model = open_model(*state, 1);
    goss_conversation *a = open_conversation(), *b = open_conversation();
    char *first = answer(model, a, 1), *second = answer(model, b, 2);
    assert_string_not_equal(first, second);
    free(first);
    free(second);
    goss_conversation_close(a);
    goss_conversation_close(b);
    goss_model_close(model);
}

static void two_turns_are_polled_side_by_side(void **state)
{
    goss_model *model = open_model(*state, 1);
    goss_conversation *c[2] = {open_conversation(), open_conversation()};
    goss_turn *turn[2];
    goss_turn_options options = goss_turn_options_default();
    options.max_tokens = 10;
    bool done[2] = {false, false};
    for (int i = 0; i < 2; i++)
        assert_int_equal(goss_turn_open(&turn[i], model, c[i], &options, NULL), GOSS_OK);
    while (!done[0] || !done[1]) {
        for (int i = 0; i < 2; i++)
            for (goss_event event = {.kind = GOSS_EVENT_TEXT}; !done[i] && event.kind != GOSS_EVENT_WAIT;) {
                goss_turn_poll(turn[i], &event);
                done[i] = event.kind == GOSS_EVENT_DONE;
            }
        (void)goss_model_step(model);
    }
    for (int i = 0; i < 2; i++) {
        goss_turn_close(turn[i]);
        goss_conversation_close(c[i]);
    }
    goss_model_close(model);
}

static void a_cancelled_turn_says_so(void **state)
{
    goss_model *model = open_model(*state, 1);
    goss_conversation *c = open_conversation();
    goss_turn *turn;
    goss_event event = {.kind = GOSS_EVENT_WAIT};
    assert_int_equal(goss_turn_open(&turn, model, c, NULL, NULL), GOSS_OK);
    goss_turn_cancel(turn);
    while (event.kind != GOSS_EVENT_DONE)
        goss_turn_next(turn, &event);
    assert_int_equal(event.finish, GOSS_FINISH_CANCELLED);
    goss_turn_close(turn);
    goss_conversation_close(c);
    goss_model_close(model);
}

static void text_goes_to_ids_and_back(void **state)
{
    static const char text[] = "Grüße <|start|>\0!";
    goss_model *model = open_model(*state, 1);
    int32_t *ids;
    char *back;
    size_t n, n_control, size;
    assert_int_equal(goss_tokenize(model, text, sizeof text - 1, false, &ids, &n, NULL), GOSS_OK);
    assert_int_equal(goss_detokenize(model, ids, n, &back, &size, NULL), GOSS_OK);
    assert_int_equal(size, sizeof text - 1);
    assert_memory_equal(back, text, sizeof text);
    goss_free(ids);
    goss_free(back);
    assert_int_equal(goss_tokenize(model, text, sizeof text - 1, true, &ids, &n_control, NULL), GOSS_OK);
    assert_true(n_control < n);
    goss_free(ids);
    assert_int_equal(goss_detokenize(model, NULL, 0, &back, &size, NULL), GOSS_OK);
    assert_string_equal(back, "");
    goss_free(back);
    goss_error error;
    int32_t wrong = 1 << 30;
    assert_int_equal(goss_detokenize(model, &wrong, 1, &back, &size, &error), GOSS_E_ARGUMENT);
    assert_null(back);
    goss_model_close(model);
}

static void a_conversation_goes_to_json_and_back(void **state)
{
    (void)state;
    goss_conversation *a = open_conversation(), *b;
    char *json, *again;
    size_t size, size_again;
    assert_int_equal(goss_conversation_add_tool(a, "functions.f", "{}", 2, NULL), GOSS_OK);
    assert_int_equal(goss_conversation_json(a, &json, &size, NULL), GOSS_OK);
    assert_int_equal(goss_conversation_open(&b, NULL), GOSS_OK);
    goss_error error;
    if (goss_conversation_add_json(b, json, size, &error))
        fail_msg("%s", error.text);
    assert_int_equal(goss_conversation_json(b, &again, &size_again, NULL), GOSS_OK);
    assert_string_equal(json, again);
    static const char bad[] = "[{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"nobody\",\"content\":\"x\"}]";
    assert_int_not_equal(goss_conversation_add_json(b, bad, sizeof bad - 1, &error), GOSS_OK);
    goss_free(again);
    assert_int_equal(goss_conversation_json(b, &again, &size_again, NULL), GOSS_OK);
    assert_string_equal(json, again); /* nothing of it was added */
    goss_free(json);
    goss_free(again);
    goss_conversation_close(a);
    goss_conversation_close(b);
}

static void wrong_arguments_are_refused(void **state)
{
    struct fixture *f = *state;
    goss_error error;
    goss_model *model;
    assert_int_equal(goss_model_open(&model, NULL, NULL, &error), GOSS_E_ARGUMENT);
    assert_int_not_equal(goss_model_open(&model, f->folder, NULL, &error), GOSS_OK);
    assert_null(model);
    assert_true(strlen(error.text) > 0);
    goss_conversation *c = open_conversation();
    assert_int_equal(goss_conversation_add_system(c, (goss_effort)9, NULL, &error), GOSS_E_ARGUMENT);
    assert_int_equal(goss_conversation_add_tool(c, NULL, "x", 1, &error), GOSS_E_ARGUMENT);
    model = open_model(f, 1);
    goss_turn *turn;
    goss_turn_options options = goss_turn_options_default();
    options.top_p = 2;
    assert_int_equal(goss_turn_open(&turn, model, c, &options, &error), GOSS_E_ARGUMENT);
    assert_null(turn);
    assert_non_null(strstr(error.text, "top_p"));
    options = goss_turn_options_default();
    options.max_tokens = 2000;
    assert_int_equal(goss_turn_open(&turn, model, c, &options, &error), GOSS_E_LIMIT);
    goss_turn_close(NULL);
    goss_conversation_close(NULL);
    goss_model_close(NULL);
    goss_free(NULL);
    goss_conversation_close(c);
    goss_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_is_the_same_from_any_number_of_threads),
        cmocka_unit_test(another_seed_gives_another_answer),
        cmocka_unit_test(two_turns_are_polled_side_by_side),
        cmocka_unit_test(a_cancelled_turn_says_so),
        cmocka_unit_test(text_goes_to_ids_and_back),
        cmocka_unit_test(a_conversation_goes_to_json_and_back),
        cmocka_unit_test(wrong_arguments_are_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
