/* Responses over a WebSocket: what it remembers of answers that are not stored, and what a message may say. */
#include <stdlib.h>
#include <string.h>

#include "api/held.h"
#include "api/responses.h"
#include "support/harmony.h"
#include "support/wire.h"

static const char answer_script[] = "<|channel|>final<|message|>It is sunny.<|return|>";
static const char call_script[] =
    "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{}<|call|>";
#define CREATE "{\"type\":\"response.create\",\"store\":false,"
#define TOOLS "\"tools\":[{\"type\":\"function\",\"name\":\"get_weather\",\"parameters\":{\"type\":\"object\"}}],"

/* A socket with what it remembers. */
struct socket {
    struct api_held held;
    struct store *store;
};

static struct wire_run say(struct socket *socket, const char *key, const char *body, const char *script)
{
    struct wire_run run = wire_response(socket->store, key, body, script);
    run.settings.held = &socket->held;
    wire_open(&run);
    return run;
}

static void expect(struct wire_run *run, int http, const struct buffer *where, const char *text)
{
    const char *found = where->size ? (const char *)where->data : "";
    if (run->http != http || !strstr(found, text))
        fail_msg("%d, and no '%s' in:\n%s\n%s", run->http, text, found,
                 run->object.data ? (char *)run->object.data : "");
    wire_close(run);
}

static void answered(struct wire_run run, const char *prompt)
{
    expect(&run, 200, &run.prompt, prompt);
}

static void refused(struct wire_run run, const char *code)
{
    expect(&run, 400, &run.object, code);
}

static struct socket opened(void)
{
    struct socket socket = {0};
    held_open(&socket.held);
    return socket;
}

static void an_answer_that_is_not_stored_is_continued_on_its_socket(void **state)
{
    (void)state;
    struct socket socket = opened(), other = opened();
    answered(say(&socket, "a1", CREATE TOOLS "\"input\":\"Weather?\"}", call_script), "Weather?");
    answered(
        say(&socket, "a2",
            CREATE TOOLS "\"previous_response_id\":\"resp_a1\",\"input\":[{\"type\":\"function_call_output\","
                         "\"call_id\":\"call_a1_0\",\"output\":\"sun\"}]}",
            answer_script),
        "Weather?<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"
        "{}<|call|><|start|>functions.get_weather to=assistant<|channel|>commentary<|message|>sun<|end|>");
    answered(
        say(&socket, "a3", CREATE "\"previous_response_id\":\"resp_a2\",\"input\":\"And then?\"}", answer_script),
        "sun<|end|><|start|>assistant<|channel|>final<|message|>It is sunny.<|end|><|start|>user<|message|>And then?");
    refused(say(&socket, "a4", CREATE "\"previous_response_id\":\"resp_a2\",\"input\":\"x\"}", answer_script),
            "previous_response_not_found"); /* only the latest is remembered */
    refused(say(&other, "a5", CREATE "\"previous_response_id\":\"resp_a3\",\"input\":\"x\"}", answer_script),
            "previous_response_not_found");
    answered(say(&socket, "a6", CREATE "\"previous_response_id\":\"resp_a3\",\"input\":\"Still?\"}", answer_script),
             "And then?");
    held_close(&socket.held);
    held_close(&other.held);
}

static void a_continuation_that_fails_takes_with_it_what_it_continued(void **state)
{
    (void)state;
    static const char *const failing[] = {
        CREATE "\"previous_response_id\":\"resp_a1\",\"input\":[{\"type\":\"function_call_output\",\"call_id\":\"c\","
               "\"output\":"
               "\"x\"}]}",
        CREATE "\"previous_response_id\":\"resp_a1\",\"input\":\"x\",\"temperature\":9}",
        CREATE "\"previous_response_id\":\"resp_a1\",\"input\":\"x\",\"stream\":false}",
    };
    for (size_t i = 0; i < sizeof failing / sizeof *failing; i++) {
        struct socket socket = opened();
        answered(say(&socket, "a1", CREATE "\"input\":\"x\"}", answer_script), "x");
        refused(say(&socket, "a2", CREATE "\"input\":\"x\",\"temperature\":9}", answer_script), "temperature");
        assert_true(held_is(&socket.held, "resp_a1")); /* it was no continuation */
        refused(say(&socket, "a3", failing[i], answer_script), "\"error\"");
        refused(say(&socket, "a4", CREATE "\"previous_response_id\":\"resp_a1\",\"input\":\"x\"}", answer_script),
                "previous_response_not_found");
        held_close(&socket.held);
    }
}

static void stored_and_unstored_answers_continue_each_other(void **state)
{
    (void)state;
    struct wire_store kept = wire_store_open();
    struct socket socket = opened();
    socket.store = kept.store;
    answered(say(&socket, "a1", "{\"type\":\"response.create\",\"input\":\"One\"}", answer_script), "One");
    assert_false(held_is(&socket.held, "resp_a1")); /* the store has it */
    answered(say(&socket, "a2", CREATE "\"previous_response_id\":\"resp_a1\",\"input\":\"Two\"}", answer_script),
             "One");
    struct wire_run run =
        say(&socket, "a3", "{\"type\":\"response.create\",\"previous_response_id\":\"resp_a2\",\"input\":\"Three\"}",
            answer_script);
    assert_false(run.stored); /* since what it continues is not */
    assert_non_null(strstr((char *)run.prompt.data, "One"));
    expect(&run, 200, &run.object, "\"store\":false");
    answered(say(&socket, "a4", CREATE "\"previous_response_id\":\"resp_a3\",\"input\":\"Four\"}", answer_script),
             "Two");
    held_close(&socket.held);
    wire_store_close(&kept);
}

static void a_message_begins_a_response_and_says_nothing_of_http(void **state)
{
    (void)state;
    struct socket socket = opened();
    refused(say(&socket, "a", "{\"input\":\"x\"}", answer_script), "unsupported_event");
    refused(say(&socket, "a", "{\"type\":\"response.cancel\"}", answer_script), "unsupported_event");
    refused(say(&socket, "a", CREATE "\"input\":\"x\",\"background\":true}", answer_script),
            "\"param\":\"background\"");
    refused(say(&socket, "a", CREATE "\"input\":\"x\",\"stream\":false}", answer_script), "\"param\":\"stream\"");
    answered(say(&socket, "a", CREATE "\"input\":\"x\",\"stream\":true,\"stream_options\":{},\"background\":false}",
                 answer_script),
             "x");
    refused(say(&socket, "a", "[]", answer_script), "\"error\"");
    refused(say(&socket, "a", "", answer_script), "invalid_json");
    held_close(&socket.held);
}

static void events_are_one_json_text_a_line(void **state)
{
    (void)state;
    struct socket socket = opened();
    struct wire_run run = say(&socket, "a", CREATE "\"metadata\":{\n\"a\":\n\"b\"},\"input\":\"x\"}", answer_script);
    const char *line = (const char *)run.stream.data, *end;
    size_t n = 0;
    for (; (end = strchr(line, '\n')); line = end + 1, n++) {
        assert_memory_equal(line, "{\"type\":\"response.", 18);
        assert_int_equal(end[-1], '}');
    }
    assert_int_equal(*line, 0);
    assert_true(n > 6);
    wire_close(&run);
    held_close(&socket.held);
}

static void refusals_are_events_with_a_status_and_a_code(void **state)
{
    (void)state;
    struct api_error error = {0};
    struct buffer out;
    buffer_init(&out, 4096);
    (void)api_refuse(&error, 400, "previous_response_not_found", "previous_response_id", "no \"such\" thing");
    assert_int_equal(responses_write_fault(&error, &out, NULL), GOSS_OK);
    assert_string_equal((char *)out.data,
                        "{\"type\":\"error\",\"status\":400,\"error\":{\"type\":\"invalid_request_error\",\"code\":"
                        "\"previous_response_not_found\",\"message\":\"no \\\"such\\\" thing\",\"param\":"
                        "\"previous_response_id\"}}");
    buffer_clear(&out);
    error = (struct api_error){.base = {.status = GOSS_E_FORMAT, .text = "broken"}};
    assert_int_equal(responses_write_fault(&error, &out, NULL), GOSS_OK);
    assert_non_null(strstr(
        (char *)out.data, "\"status\":400,\"error\":{\"type\":\"invalid_request_error\",\"code\":\"invalid_request\""));
    buffer_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_that_is_not_stored_is_continued_on_its_socket),
        cmocka_unit_test(a_continuation_that_fails_takes_with_it_what_it_continued),
        cmocka_unit_test(stored_and_unstored_answers_continue_each_other),
        cmocka_unit_test(a_message_begins_a_response_and_says_nothing_of_http),
        cmocka_unit_test(events_are_one_json_text_a_line),
        cmocka_unit_test(refusals_are_events_with_a_status_and_a_code),
    };
    return cmocka_run_group_tests(tests, support_open, support_close);
}
