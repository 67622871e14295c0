/* Defects of other engines' APIs, each as a test that names its row (docs of the project: pitfalls R, D and S):
 * reasoning and history, effort and defaults, structured output. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/turn.h"
#include "api/responses.h"
#include "support/harmony.h"
#include "support/weather.h"
#include "support/wire.h"

#define STRICT_TOOL                                                                                                    \
    "{\"type\":\"function\",\"name\":\"get_time\",\"strict\":true,\"parameters\":{\"type\":\"object\",\"properties\":" \
    "{}}}"

/* ---- R: reasoning and history ---- */

static void R1_reasoning_of_the_turn_under_way_reaches_the_model_under_every_name(void **state)
{
    (void)state;
    const char *const names[] = {"\"reasoning_content\":\"I wonder.\"", "\"reasoning\":\"I wonder.\"",
                                 "\"thinking\":\"I wonder.\"", "\"reasoning_details\":[{\"text\":\"I wonder.\"}]"};
    char body[1024];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        (void)snprintf(
            body, sizeof body,
            "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",%s,\"content\":null,"
            "\"tool_calls\":[{\"id\":\"c\",\"type\":\"function\",\"function\":{\"name\":\"get_weather\","
            "\"arguments\":\"{}\"}}]},{\"role\":\"tool\",\"tool_call_id\":\"c\",\"content\":\"sun\"}]}",
            names[i]);
        struct wire_run run = wire_answered(API_CHAT, body, answer_script);
        wire_succeeded(&run);
        wire_has(&run.prompt, "<|channel|>analysis<|message|>I wonder.<|end|><|start|>assistant<|channel|>commentary "
                              "to=functions.get_weather");
        wire_close(&run);
    }
}

static void R1_sealed_reasoning_comes_back_when_a_client_drops_the_text(void **state)
{
    (void)state;
    struct wire_run run = wire_answered(
        API_RESPONSES, "{\"input\":\"x\",\"store\":false,\"include\":[\"reasoning.encrypted_content\"]}", call_script);
    wire_has(&run.object, "\"encrypted_content\":\"gossamer1:SSBuZWVkIHRoZSB3ZWF0aGVyLg==\"");
    wire_close(&run);
    run = wire_answered(
        API_RESPONSES,
        "{\"input\":[{\"role\":\"user\",\"content\":\"q\"},{\"type\":\"reasoning\",\"summary\":[],"
        "\"encrypted_content\":\"gossamer1:SSBuZWVkIHRoZSB3ZWF0aGVyLg==\"},{\"type\":\"reasoning\",\"summary\":[],"
        "\"encrypted_content\":\"gAAAA-of-another-service\"}]}",
        answer_script);
    wire_has(&run.prompt, "<|channel|>analysis<|message|>I need the weather.<|end|><|start|>assistant");
    wire_lacks(&run.prompt, "gAAAA");
    wire_close(&run);
}

static void R2_reasoning_before_the_last_answer_is_left_out(void **state)
{
    (void)state;
    struct wire_run run =
        wire_answered(API_CHAT,
                      "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\","
                      "\"reasoning\":\"Stale.\",\"content\":\"b\"},{\"role\":\"user\",\"content\":\"c\"}]}",
                      answer_script);
    wire_lacks(&run.prompt, "Stale.");
    wire_has(&run.prompt, "<|start|>assistant<|channel|>final<|message|>b<|end|>");
    wire_close(&run);
}

static void R3_reasoning_is_returned_under_both_names(void **state)
{
    (void)state;
    struct wire_run run = wire_answered(
        API_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"stream\":true}", answer_script);
    wire_has(&run.object, "\"reasoning_content\":\"Think.\",\"reasoning\":\"Think.\"");
    wire_has(&run.stream, "\"reasoning_content\":\"Think\",\"reasoning\":\"Think\"");
    wire_lacks(&run.stream, "\"content\":\"Think");
    wire_close(&run);
}

/* The model's own slips in spelling come back as they were sampled, not as we would spell them. */
static void R4_a_resent_conversation_continues_the_sampled_ids(void **state)
{
    (void)state;
    struct recall *recall;
    assert_int_equal(recall_open(&recall, 1 << 20, NULL), GOSS_OK);
    struct wire_run run = {.wire = API_CHAT,
                           .body = "{\"messages\":[{\"role\":\"user\",\"content\":\"w\"}],\"tools\":[" CHAT_TOOL "]}",
                           .script = {"<|channel|>analysis<|message|>Let me see.<|end|><|start|>assistant "
                                      "to=functions.get_weather<|channel|>analysis json<|message|>{\"city\":"
                                      "\"Paris\"}<|call|>"},
                           .recall = recall,
                           .settings = wire_settings()};
    wire_open(&run);
    struct wire_run next = run, other = run;
    next.body =
        "{\"tools\":[" CHAT_TOOL "],\"messages\":[{\"role\":\"user\",\"content\":\"w\"},{\"role\":\"assistant\","
        "\"content\":null,\"tool_calls\":[{\"id\":\"any\",\"type\":\"function\",\"function\":{\"name\":"
        "\"get_weather\",\"arguments\":\"{ \\\"city\\\": \\\"Paris\\\" }\"}}]},{\"role\":\"tool\",\"tool_call_id\":"
        "\"any\",\"content\":\"sun\"}]}";
    wire_open(&next);
    wire_has(&next.prompt,
             "w<|end|><|start|>assistant<|channel|>analysis<|message|>Let me see.<|end|><|start|>assistant "
             "to=functions.get_weather<|channel|>analysis json<|message|>{\"city\":\"Paris\"}<|call|>"
             "<|start|>functions.get_weather to=assistant");
    other.body = next.body;
    other.settings.owner = 2; /* nothing crosses owners */
    wire_open(&other);
    wire_lacks(&other.prompt, "Let me see.");
    wire_has(&other.prompt, "to=functions.get_weather <|constrain|>json<|message|>{ \"city\": \"Paris\" }<|call|>");
    wire_close(&run);
    wire_close(&next);
    wire_close(&other);
    recall_close(recall);
}

static void R5_the_setup_is_these_very_tokens(void **state)
{
    (void)state;
    struct wire_run run =
        wire_answered(API_RESPONSES,
                      "{\"input\":\"q\",\"instructions\":\"Be brief.\",\"reasoning\":{\"effort\":\"high\"},"
                      "\"tools\":[" TOOL "]}",
                      answer_script);
    assert_string_equal(
        wire_text(&run.prompt),
        "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\nKnowledge cutoff: "
        "2024-06\nCurrent date: 2026-11-21\n\nReasoning: high\n\n# Valid channels: analysis, commentary, final. "
        "Channel "
        "must be included for every message.\nCalls to these tools must go to the commentary channel: "
        "'functions'.<|end|><|start|>developer<|message|># Instructions\n\nBe brief.\n\n# Tools\n\n## "
        "functions\n\nnamespace functions {\n\ntype get_weather = (_: {\n}) => any;\n\n} // namespace "
        "functions<|end|><|start|>user<|message|>q<|end|><|start|>assistant");
    wire_close(&run);
}

static void R6_arguments_are_kept_to_the_letter(void **state)
{
    (void)state;
    struct wire_run run = wire_answered(API_RESPONSES, "{\"input\":\"x\",\"tools\":[" TOOL "]}", call_script);
    wire_has(&run.object, "\"arguments\":\"{\\\"city\\\":  \\\"Paris\\\", \\\"b\\\": 1, \\\"a\\\": 2}\"");
    wire_close(&run);
    run = wire_answered(
        API_CHAT,
        "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"tool_calls\":[{\"id\":"
        "\"c\",\"function\":{\"name\":\"f\",\"arguments\":\"{ \\\"z\\\":1.0,\\\"a\\\" :2e0 }\"}}]},{\"role\":"
        "\"tool\",\"tool_call_id\":\"c\",\"content\":\"r\"}]}",
        answer_script);
    wire_has(&run.prompt, "<|message|>{ \"z\":1.0,\"a\" :2e0 }<|call|>");
    wire_close(&run);
}

/* ---- D: effort, defaults, limits ---- */

static void D1_effort_is_read_under_every_name_and_echoed(void **state)
{
    (void)state;
    static const char *const fields[][3] = {
        {"\"reasoning\":{\"effort\":\"high\"}", "high", "high"},
        {"\"reasoning_effort\":\"low\"", "low", "low"},
        {"\"chat_template_kwargs\":{\"reasoning_effort\":\"high\"}", "high", "high"},
        {"\"think\":\"low\"", "low", "low"},
        {"\"reasoning_effort\":\"minimal\"", "low", "low"},
        {"\"reasoning_effort\":\"xhigh\"", "high", "high"},
        {"\"reasoning\":{\"effort\":\"HIGH\"},\"reasoning_effort\":\"low\"", "high", "high"},
        {"\"user\":\"u\"", "medium", "medium"},
    };
    char body[512], line[64], echo[64];
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        for (int wire = API_RESPONSES; wire <= API_CHAT; wire++) {
            (void)snprintf(body, sizeof body,
                           "{\"input\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],%s}", fields[i][0]);
            (void)snprintf(line, sizeof line, "Reasoning: %s\n", fields[i][1]);
            (void)snprintf(echo, sizeof echo, wire == API_CHAT ? "\"reasoning_effort\":\"%s\"" : "\"effort\":\"%s\"",
                           fields[i][2]);
            struct wire_run run = wire_answered((enum api_wire)wire, body, answer_script);
            wire_has(&run.prompt, line);
            wire_has(&run.object, echo);
            wire_close(&run);
        }
    struct wire_run run =
        wire_answered(API_RESPONSES, "{\"input\":\"x\",\"reasoning\":{\"effort\":\"huge\"}}", answer_script);
    assert_int_equal(run.http, 400);
    wire_has(&run.object, "\"param\":\"reasoning.effort\"");
    wire_close(&run);
}

static void D2_effort_none_opens_the_answer_at_once_but_never_with_tools(void **state)
{
    (void)state;
    struct wire_run run =
        wire_answered(API_RESPONSES, "{\"input\":\"x\",\"reasoning\":{\"effort\":\"none\"}}", "Hello.<|return|>");
    wire_has(&run.prompt, "<|start|>assistant<|channel|>final<|message|>");
    wire_has(&run.object, "\"effort\":\"none\"");
    wire_has(&run.object, "\"text\":\"Hello.\"");
    wire_close(&run);
    run = wire_answered(API_RESPONSES, "{\"input\":\"x\",\"reasoning\":{\"effort\":\"none\"},\"tools\":[" TOOL "]}",
                        call_script);
    wire_has(&run.object, "\"effort\":\"low\"");
    wire_has(&run.prompt, "Reasoning: low");
    wire_close(&run);
}

static void D3_the_samplers_in_force_are_shown(void **state)
{
    (void)state;
    struct wire_run run = wire_answered(API_RESPONSES, "{\"input\":\"x\"}", answer_script);
    wire_has(&run.object, "\"temperature\":1,\"top_p\":1,\"presence_penalty\":0,\"frequency_penalty\":0,");
    wire_close(&run);
    run = wire_answered(API_CHAT,
                        "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"temperature\":0.25,\"seed\":-3}",
                        answer_script);
    wire_has(&run.object, "\"seed\":-3,\"temperature\":0.25,\"top_p\":1");
    wire_close(&run);
}

static void D4_truncation_is_never_in_force(void **state)
{
    (void)state;
    struct wire_run run = wire_answered(API_RESPONSES, "{\"input\":\"x\",\"truncation\":\"auto\"}", answer_script);
    wire_has(&run.object, "\"truncation\":\"disabled\"");
    wire_close(&run);
    struct api_error error = {.base = {.status = GOSS_E_LIMIT, .text = "the prompt has 9 tokens; the context has 8"}};
    struct buffer out;
    buffer_init(&out, 4096);
    assert_int_equal(api_error_write(&error, API_CHAT, &out, NULL), GOSS_OK);
    assert_int_equal(error.http, 400);
    wire_has(&out, "\"code\":\"context_length_exceeded\"");
    buffer_free(&out);
}

/* ---- S: structured output ---- */

static void S1_a_schema_binds_the_answer_and_not_the_reasoning(void **state)
{
    (void)state;
    struct api_request request;
    struct api_error error;
    struct api_settings settings = wire_settings();
    static const char body[] =
        "{\"input\":\"x\",\"text\":{\"format\":{\"type\":\"json_schema\",\"name\":\"n\",\"strict\":"
        "true,\"schema\":{\"type\":\"object\", \"z\":1.50}}},\"tools\":[" TOOL "," STRICT_TOOL "]}";
    assert_int_equal(responses_read(&request, &settings, "k", body, sizeof body - 1, &error), GOSS_OK);
    assert_int_equal(request.turn.form, ANSWER_SCHEMA);
    assert_string_equal(request.turn.schema.json, "{\"type\":\"object\", \"z\":1.50}"); /* as it was written */
    assert_true(request.turn.schema.in_order);
    assert_int_equal(request.turn.n_strict, 1);
    assert_string_equal(request.turn.strict[0], "functions.get_time"); /* the one whose client said so */
    assert_true(request.turn.declared_only);
    api_request_close(&request);
}

static void S3_a_forced_call_is_asked_for_as_it_was_said(void **state)
{
    (void)state;
    struct api_request request;
    struct api_error error;
    struct api_settings settings = wire_settings();
    static const struct {
        const char *choice;
        enum tool_choice tools;
        const char *named;
    } cases[] = {
        {"\"auto\"", TOOLS_AUTO, NULL},
        {"\"none\"", TOOLS_NONE, NULL},
        {"\"required\"", TOOLS_REQUIRED, NULL},
        {"{\"type\":\"function\",\"name\":\"get_weather\"}", TOOLS_NAMED, "functions.get_weather"},
        {"{\"type\":\"allowed_tools\",\"mode\":\"required\",\"tools\":[{\"type\":\"function\",\"name\":\"get_weather\"}"
         "]}",
         TOOLS_REQUIRED, NULL},
    };
    char body[512];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int n =
            snprintf(body, sizeof body, "{\"input\":\"x\",\"tool_choice\":%s,\"tools\":[" TOOL "]}", cases[i].choice);
        assert_int_equal(responses_read(&request, &settings, "k", body, (size_t)n, &error), GOSS_OK);
        assert_int_equal(request.turn.tools, cases[i].tools);
        if (cases[i].named)
            assert_string_equal(request.turn.named, cases[i].named);
        api_request_close(&request);
    }
}

static void S4_the_model_is_shown_the_schema(void **state)
{
    (void)state;
    struct wire_run run =
        wire_answered(API_CHAT,
                      "{\"messages\":[{\"role\":\"system\",\"content\":\"Be.\"},{\"role\":\"user\",\"content\":"
                      "\"x\"}],\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"trip\","
                      "\"description\":\"A trip.\",\"schema\":{\"type\":\"object\"}}}}",
                      answer_script);
    wire_has(&run.prompt,
             "# Instructions\n\nBe.\n\n# Response Formats\n\n## trip\n\n// A trip.\n{\"type\":\"object\"}<|end|>");
    wire_close(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(R1_reasoning_of_the_turn_under_way_reaches_the_model_under_every_name),
        cmocka_unit_test(R1_sealed_reasoning_comes_back_when_a_client_drops_the_text),
        cmocka_unit_test(R2_reasoning_before_the_last_answer_is_left_out),
        cmocka_unit_test(R3_reasoning_is_returned_under_both_names),
        cmocka_unit_test(R4_a_resent_conversation_continues_the_sampled_ids),
        cmocka_unit_test(R5_the_setup_is_these_very_tokens),
        cmocka_unit_test(R6_arguments_are_kept_to_the_letter),
        cmocka_unit_test(D1_effort_is_read_under_every_name_and_echoed),
        cmocka_unit_test(D2_effort_none_opens_the_answer_at_once_but_never_with_tools),
        cmocka_unit_test(D3_the_samplers_in_force_are_shown),
        cmocka_unit_test(D4_truncation_is_never_in_force),
        cmocka_unit_test(S1_a_schema_binds_the_answer_and_not_the_reasoning),
        cmocka_unit_test(S3_a_forced_call_is_asked_for_as_it_was_said),
        cmocka_unit_test(S4_the_model_is_shown_the_schema),
    };
    return cmocka_run_group_tests(tests, support_open, support_close);
}
