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

static goss_model *open_model(const struct fixture *f, int threads, bool copy_weights)
{
    goss_model *model;
    goss_error error;
    goss_model_options options = goss_model_options_default();
    options.cache = f->cache;
    options.threads = threads;
    options.copy_weights = copy_weights;
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
    assert_true(event.prompt_tokens > 20 && event.answer_tokens > 0 && event.answer_tokens <= 40);
    goss_turn_next(turn, &event);
    assert_int_equal(event.kind, GOSS_EVENT_DONE);
    goss_turn_close(turn);
    return log;
}

static void an_answer_is_the_same_from_any_number_of_threads_and_from_copied_weights(void **state)
{
    char *log[3];
    for (int threads = 1; threads <= 3; threads++) {
        goss_model *model = open_model(*state, threads, threads == 3);
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
    goss_model *model = open_model(*state, 1, false);
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
    goss_model *model = open_model(*state, 1, false);
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
    goss_model *model = open_model(*state, 1, false);
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
    goss_model *model = open_model(*state, 1, false);
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

static goss_conversation *from_json(const char *json)
{
    goss_conversation *c;
    goss_error error;
    assert_int_equal(goss_conversation_open(&c, NULL), GOSS_OK);
    if (goss_conversation_add_json(c, json, strlen(json), &error))
        fail_msg("%s", error.text);
    return c;
}

static void an_answer_that_was_saved_is_prompted_with_the_ids_that_were_sampled(void **state)
{
    static const char sampled[] = "<|channel|>final<|message|>t<|constrain|>he"; /* no tokenizer would write it so */
    goss_model *model = open_model(*state, 1, false);
    static const char plain[] = "[{\"role\":\"assistant\",\"content\":\"the\",\"channel\":\"final\"}]";
    char json[2000], *saved;
    int32_t *ids;
    size_t n, size, at = sizeof plain - 1 - strlen("}]");
    assert_int_equal(goss_tokenize(model, sampled, sizeof sampled - 1, true, &ids, &n, NULL), GOSS_OK);
    memcpy(json, plain, at);
    for (size_t i = 0; i < n; i++)
        at += (size_t)snprintf(json + at, sizeof json - at, "%s%d", i ? "," : ",\"sampled\":[", ids[i]);
    (void)snprintf(json + at, sizeof json - at, "]}]");
    goss_conversation *a = from_json(json), *b, *c = from_json(plain);
    assert_int_equal(goss_conversation_json(a, &saved, &size, NULL), GOSS_OK);
    assert_string_equal(saved, json);
    b = from_json(saved);
    char *kept, *loaded, *rendered;
    assert_int_equal(goss_conversation_add_user(a, "go on", 5, NULL), GOSS_OK);
    assert_int_equal(goss_conversation_add_user(b, "go on", 5, NULL), GOSS_OK);
    assert_int_equal(goss_conversation_add_user(c, "go on", 5, NULL), GOSS_OK);
    kept = answer(model, a, 8), loaded = answer(model, b, 8), rendered = answer(model, c, 8);
    assert_string_equal(kept, loaded);
    assert_string_not_equal(kept, rendered); /* the same text without its ids is another prompt */
    free(kept);
    free(loaded);
    free(rendered);
    goss_free(ids);
    goss_free(saved);
    goss_conversation_close(a);
    goss_conversation_close(b);
    goss_conversation_close(c);
    goss_model_close(model);
}

/* P14. Declares two functions, calls the first and answers; %s are their names. */
static goss_conversation *with_functions(const char *first, const char *second)
{
    static const char form[] =
        "[{\"role\":\"developer\",\"content\":[{\"type\":\"developer_content\",\"instructions\":null,"
        "\"tools\":{\"functions\":{\"name\":\"functions\",\"description\":null,\"tools\":["
        "{\"name\":\"%s\",\"description\":\"\",\"parameters\":null},"
        "{\"name\":\"%s\",\"description\":\"\",\"parameters\":null}]}}}]},"
        "{\"role\":\"user\",\"name\":\"Ann.Other One\",\"content\":\"Is it wet?\"},"
        "{\"role\":\"assistant\",\"recipient\":\"functions.%s\",\"content\":\"{}\",\"channel\":\"commentary\"}]";
    char json[1000];
    (void)snprintf(json, sizeof json, form, first, second, first);
    goss_conversation *c = from_json(json);
    char *back, name[100];
    size_t size;
    assert_int_equal(goss_conversation_json(c, &back, &size, NULL), GOSS_OK);
    assert_string_equal(back, json); /* whatever the names are, the caller's stay */
    goss_free(back);
    (void)snprintf(name, sizeof name, "functions.%s", first);
    assert_int_equal(goss_conversation_add_tool(c, name, "no", 2, NULL), GOSS_OK);
    return c;
}

static void names_of_functions_that_are_no_identifiers_become_ones_for_the_model_alone(void **state)
{
    goss_model *model = open_model(*state, 1, false);
    goss_conversation *a = with_functions("get weather", "get_weather"),
                      *b = with_functions("get_weather", "get_weather_2"), *c = with_functions("getweather", "x");
    char *mapped = answer(model, a, 3), *plain = answer(model, b, 3), *other = answer(model, c, 3);
    assert_string_equal(mapped, plain); /* the same prompt */
    assert_string_not_equal(mapped, other);
    free(mapped);
    free(plain);
    free(other);
    goss_conversation_close(a);
    goss_conversation_close(b);
    goss_conversation_close(c);
    goss_model_close(model);
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
    model = open_model(f, 1, false);
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
        cmocka_unit_test(an_answer_is_the_same_from_any_number_of_threads_and_from_copied_weights),
        cmocka_unit_test(another_seed_gives_another_answer),
        cmocka_unit_test(two_turns_are_polled_side_by_side),
        cmocka_unit_test(a_cancelled_turn_says_so),
        cmocka_unit_test(text_goes_to_ids_and_back),
        cmocka_unit_test(a_conversation_goes_to_json_and_back),
        cmocka_unit_test(an_answer_that_was_saved_is_prompted_with_the_ids_that_were_sampled),
        cmocka_unit_test(names_of_functions_that_are_no_identifiers_become_ones_for_the_model_alone),
        cmocka_unit_test(wrong_arguments_are_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
