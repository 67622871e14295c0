/* Reading ids: equal to openai-harmony's strict parser on what it accepts, and a best reading of everything else. Tests
 * named p1_, p2_, .. are the faults of real models and engines that the tables of docs/harmony.md answer. */
#include "harmony/parse.h"

#include <string.h>

#include "harmony/json.h"
#include "harmony/names.h"
#include "support/harmony.h"

/* Cases of openai-harmony's that parse and that we read otherwise on purpose, each with a test below. */
static const char *const deviations[] = {
    "two bare words",                 /* p12 */
    "two channels",                   /* p2 */
    "other role in assistant header", /* p12 */
    "channel with less-than",         /* p12 */
    "special token inside content",   /* control tokens never show */
    "missing everything",             /* p5: an answer without markup is on channel final */
    "endoftext in content",           /* endoftext ends sampling */
    "id 201087 in content",           /* an id that no tokenizer file names is unknown */
};
/* The library holds a character back for one step after an ill-formed one, and gives no delta for text without
 * <|message|>; we do neither. */
static const char *const late_deltas[] = {"invalid utf8 token then end", "invalid utf8 then text",
                                          "invalid then worked", "invalid token id in content",
                                          "missing message with channel"};

static bool listed(const char *name, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(name, list[i]) == 0)
            return true;
    return false;
}
#define LISTED(name, list) listed(name, list, sizeof(list) / sizeof((list)[0]))

static void assert_same_messages(const struct json_node *node, const char *name)
{
    struct buffer out, expected, got;
    struct arena arena = {0};
    struct json_node *result;
    buffer_init(&out, 1 << 24);
    buffer_init(&expected, 1 << 24);
    buffer_init(&got, 1 << 24);
    assert_int_equal(harmony_parse_json(&support_harmony, node->source, node->source_size, &out, NULL), GOSS_OK);
    assert_int_equal(json_tree_read(&arena, (const char *)out.data, out.size, name, &result, NULL), GOSS_OK);
    assert_int_equal(json_tree_write(json_tree_get(node, "messages"), &expected, NULL), GOSS_OK);
    assert_int_equal(json_tree_write(json_tree_get(result, "messages"), &got, NULL), GOSS_OK);
    assert_string_equal((char *)got.data, (char *)expected.data);
    buffer_free(&out);
    buffer_free(&expected);
    buffer_free(&got);
    arena_free(&arena);
}

/* The text that each id made visible, beside the library's last_content_delta. */
static void assert_same_deltas(const struct json_node *node)
{
    struct token_list ids = {0};
    struct parser *parser;
    struct event event;
    enum role role = ROLE_ASSISTANT;
    support_ids(json_tree_get(node, "ids"), &ids);
    bool given = json_tree_is(json_tree_get(node, "role"), JSON_TREE_STRING);
    assert_int_equal(parser_open(&parser, &support_harmony, given ? &role : NULL, NULL), GOSS_OK);
    const struct json_node *delta = json_tree_get(node, "deltas")->child;
    for (size_t i = 0; i < ids.size; i++, delta = delta->next) {
        struct buffer text;
        buffer_init(&text, 1 << 20);
        assert_int_equal(parser_feed(parser, ids.id[i], NULL), GOSS_OK);
        for (parser_next(parser, &event); event.kind != EVENT_NONE; parser_next(parser, &event))
            if (event.kind == EVENT_TEXT)
                assert_int_equal(buffer_append(&text, event.text, event.text_size, NULL), GOSS_OK);
        assert_int_equal(text.size, delta->size);
        if (text.size)
            assert_memory_equal(text.data, delta->text, text.size);
        buffer_free(&text);
    }
    parser_close(parser);
    token_list_free(&ids);
}

static void what_openai_harmony_parses_reads_the_same_with_the_same_deltas(void **state)
{
    (void)state;
    struct vectors vectors;
    int same = 0;
    vectors_open(&vectors, "harmony/vectors/harmony_parse.json");
    for (const struct json_node *node = json_tree_get(vectors.root, "cases")->child; node; node = node->next) {
        const char *name = json_tree_get(node, "name")->text;
        if (json_tree_get(node, "error") || LISTED(name, deviations))
            continue;
        assert_same_messages(node, name);
        if (!LISTED(name, late_deltas) && !json_tree_is(json_tree_get(node, "role"), JSON_TREE_NULL))
            assert_same_deltas(node);
        same++;
    }
    assert_true(same >= 30);
    vectors_close(&vectors);
}

static void what_openai_harmony_refuses_still_has_a_reading(void **state)
{
    (void)state;
    struct vectors vectors;
    vectors_open(&vectors, "harmony/vectors/harmony_parse.json");
    for (const struct json_node *node = json_tree_get(vectors.root, "cases")->child; node; node = node->next) {
        struct buffer out;
        buffer_init(&out, 1 << 20);
        assert_int_equal(harmony_parse_json(&support_harmony, node->source, node->source_size, &out, NULL), GOSS_OK);
        if (json_tree_get(node, "error") && !strstr(json_tree_get(node, "name")->text, "tool role no recipient") &&
            !strstr(json_tree_get(node, "name")->text, "constrain with space"))
            assert_non_null(strstr((char *)out.data, "\"repairs\":[{"));
        buffer_free(&out);
    }
    vectors_close(&vectors);
}

/* Reads a model's turn and compares the whole result. */
static void assert_reads(const char *text, const char *expected)
{
    struct buffer out;
    buffer_init(&out, 1 << 20);
    support_parse("assistant", text, &out);
    assert_string_equal((char *)out.data, expected);
    buffer_free(&out);
}
#define REPAIR(kind, position, message) "{\"kind\":\"" kind "\",\"position\":" #position ",\"message\":" #message "}"

static void p1_leftover_words_in_a_header_never_fail_the_turn(void **state)
{
    (void)state;
    assert_reads(
        "<|channel|>commentary lorem to=functions.f ipsum json<|message|>{}<|call|>",
        "{\"messages\":[{\"role\":\"assistant\",\"recipient\":\"functions.f\",\"content\":\"{}\","
        "\"channel\":\"commentary\",\"content_type\":\"json\"}],\"repairs\":[" REPAIR("extra_words", 0, 0) "]}");
    assert_reads(
        "assistant<|channel|>analysis––commentary<|message|>x<|end|>",
        "{\"messages\":[{\"role\":\"assistant\",\"content\":\"x\",\"channel\":\"analysis\"}],\"repairs\":[" REPAIR(
            "duplicate_role", 0, 0) "," REPAIR("garbled_channel", 0, 0) "]}");
    assert_reads("<|channel|>––commentary to=functions.f<|message|>{}<|call|>",
                 "{\"messages\":[{\"role\":\"assistant\",\"recipient\":\"functions.f\",\"content\":\"{}\","
                 "\"channel\":\"commentary\"}],\"repairs\":[" REPAIR("garbled_channel", 0, 0) "]}");
}

static void p2_a_recipient_ends_at_the_first_control_token(void **state)
{
    (void)state;
    assert_reads(
        "<|channel|>commentary to=functions.f<|channel|>commentary json<|message|>{}<|call|>",
        "{\"messages\":[{\"role\":\"assistant\",\"recipient\":\"functions.f\",\"content\":\"{}\","
        "\"channel\":\"commentary\",\"content_type\":\"json\"}],\"repairs\":[" REPAIR("duplicate_channel", 0, 0) "]}");
    assert_reads("<|channel|>commentary to=assistant<|channel|>analysis<|message|>x<|end|>",
                 "{\"messages\":[{\"role\":\"assistant\",\"recipient\":\"assistant\",\"content\":\"x\","
                 "\"channel\":\"analysis\"}],\"repairs\":[" REPAIR("duplicate_channel", 0, 0) "]}");
}

static void p3_a_call_on_analysis_is_a_call(void **state)
{
    (void)state;
    assert_reads("<|channel|>analysis to=functions.f code<|message|>{}<|call|>",
                 "{\"messages\":[{\"role\":\"assistant\",\"recipient\":\"functions.f\",\"content\":\"{}\","
                 "\"channel\":\"analysis\",\"content_type\":\"code\"}],\"repairs\":[]}");
    assert_int_equal(message_purpose(ROLE_ASSISTANT, "functions.f", "analysis"), PURPOSE_CALL);
    assert_int_equal(message_purpose(ROLE_ASSISTANT, "functions.f", "final"), PURPOSE_CALL);
    assert_int_equal(message_purpose(ROLE_ASSISTANT, NULL, "analysis"), PURPOSE_REASONING);
    assert_int_equal(message_purpose(ROLE_ASSISTANT, NULL, "commentary"), PURPOSE_PREAMBLE);
}

static void p4_an_unknown_channel_is_reasoning_until_a_valid_header_follows(void **state)
{
    (void)state;
    assert_reads("<|channel|>anaxlysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>4<|return|>",
                 "{\"messages\":[{\"role\":\"assistant\",\"content\":\"hm\",\"channel\":\"anaxlysis\"},"
                 "{\"role\":\"assistant\",\"content\":\"4\",\"channel\":\"final\"}],\"repairs\":[" REPAIR(
                     "unknown_channel", 0, 0) "]}");
    assert_int_equal(message_purpose(ROLE_ASSISTANT, NULL, "anaxlysis"), PURPOSE_REASONING);
}

static void p5_bare_content_without_markup_is_the_answer(void **state)
{
    (void)state;
    assert_reads("{\"a\": 1}<|return|>", "{\"messages\":[{\"role\":\"assistant\",\"content\":\"{\\\"a\\\": 1}\","
                                         "\"channel\":\"final\"}],\"repairs\":[" REPAIR("bare_text", 0, 0) "]}");
    assert_reads("It is two plus two, and so it is four.",
                 "{\"messages\":[{\"role\":\"assistant\",\"content\":\"It is two plus two, and so it is four.\","
                 "\"channel\":\"final\"}],\"repairs\":[" REPAIR("bare_text", 0, 0) "," REPAIR("truncated", 12, 0) "]}");
    assert_reads("<|channel|>analysis<|message|>hm<|end|>four<|return|>",
                 "{\"messages\":[{\"role\":\"assistant\",\"content\":\"hm\",\"channel\":\"analysis\"},"
                 "{\"role\":\"assistant\",\"content\":\"four\",\"channel\":\"final\"}],\"repairs\":[" REPAIR(
                     "missing_start", 5, 1) "," REPAIR("bare_text", 5, 1) "]}");
}

static void p6_the_tail_after_a_finished_answer_is_ignored_and_reported(void **state)
{
    (void)state;
    assert_reads(
        "<|channel|>final<|message|>4<|end|><|return|>",
        "{\"messages\":[{\"role\":\"assistant\",\"content\":\"4\",\"channel\":\"final\"}],\"repairs\":[{\"kind\":"
        "\"ignored_tail\",\"position\":5,\"message\":1,\"ids\":1}]}");
    assert_reads(
        "<|channel|>final<|message|>4<|return|> and five",
        "{\"messages\":[{\"role\":\"assistant\",\"content\":\"4\",\"channel\":\"final\"}],\"repairs\":[{\"kind\":"
        "\"ignored_tail\",\"position\":5,\"message\":1,\"ids\":2}]}");
}

static void p7_a_stream_that_ends_inside_a_header_keeps_its_text(void **state)
{
    (void)state;
    assert_reads(
        "<|channel|>final Four",
        "{\"messages\":[{\"role\":\"assistant\",\"content\":\"Four\",\"channel\":\"final\"}],\"repairs\":[" REPAIR(
            "missing_message", 0, 0) "," REPAIR("truncated_header", 0, 0) "]}");
    assert_reads("Four", "{\"messages\":[{\"role\":\"assistant\",\"content\":\"Four\",\"channel\":\"final\"}],"
                         "\"repairs\":[" REPAIR("bare_text", 0, 0) "," REPAIR("truncated_header", 0, 0) "]}");
    assert_reads(
        "<|channel|>comment",
        "{\"messages\":[{\"role\":\"assistant\",\"content\":\"\",\"channel\":\"commentary\"}],\"repairs\":[" REPAIR(
            "missing_message", 0, 0) "," REPAIR("truncated_header", 0, 0) "]}");
    assert_reads("", "{\"messages\":[],\"repairs\":[]}");
}

static void p8_arguments_are_delivered_as_they_were_written(void **state)
{
    (void)state;
    assert_reads("<|channel|>commentary to=functions.sh <|constrain|>json<|message|>ls  -l |head {<|call|>",
                 "{\"messages\":[{\"role\":\"assistant\",\"recipient\":\"functions.sh\",\"content\":\"ls  -l |head {\","
                 "\"channel\":\"commentary\",\"content_type\":\"<|constrain|>json\"}],\"repairs\":[]}");
}

static void p9_a_call_without_its_terminator_ends_with_the_stream(void **state)
{
    (void)state;
    assert_reads("<|channel|>commentary to=functions.f<|message|>{\"a\":",
                 "{\"messages\":[{\"role\":\"assistant\",\"recipient\":\"functions.f\",\"content\":\"{\\\"a\\\":\","
                 "\"channel\":\"commentary\"}],\"repairs\":[" REPAIR("truncated", 11, 0) "]}");
}

static void p10_a_call_to_an_undeclared_tool_is_passed_on(void **state)
{
    (void)state;
    assert_reads("<|channel|>analysis to=browser.search code<|message|>{\"query\":\"x\"}<|call|>",
                 "{\"messages\":[{\"role\":\"assistant\",\"recipient\":\"browser.search\",\"content\":"
                 "\"{\\\"query\\\":\\\"x\\\"}\",\"channel\":\"analysis\",\"content_type\":\"code\"}],\"repairs\":[]}");
}

static void p11_several_calls_are_read_when_they_are_emitted(void **state)
{
    (void)state;
    assert_reads("<|channel|>commentary to=functions.f<|message|>1<|call|><|start|>assistant to=functions.g<|channel|>"
                 "commentary<|message|>2<|call|>",
                 "{\"messages\":[{\"role\":\"assistant\",\"recipient\":\"functions.f\",\"content\":\"1\",\"channel\":"
                 "\"commentary\"},{\"role\":\"assistant\",\"recipient\":\"functions.g\",\"content\":\"2\",\"channel\":"
                 "\"commentary\"}],\"repairs\":[]}");
}

static void p12_only_to_makes_a_recipient(void **state)
{
    (void)state;
    assert_reads("<|channel|>final <|constrain|>json<|message|>{}<|return|>",
                 "{\"messages\":[{\"role\":\"assistant\",\"content\":\"{}\",\"channel\":\"final\",\"content_type\":"
                 "\"<|constrain|>json\"}],\"repairs\":[]}");
    assert_reads(
        "<|channel|>commentary functions.f json<|message|>{}<|call|>",
        "{\"messages\":[{\"role\":\"assistant\",\"content\":\"{}\",\"channel\":\"commentary\",\"content_type\":"
        "\"json\"}],\"repairs\":[" REPAIR("extra_words", 0, 0) "]}");
    assert_reads(
        "user<|channel|>final<|message|>x<|return|>",
        "{\"messages\":[{\"role\":\"assistant\",\"content\":\"x\",\"channel\":\"final\"}],\"repairs\":[" REPAIR(
            "extra_words", 0, 0) "]}");
    assert_reads(
        "<|channel|>analysis<x<|message|>y<|end|>",
        "{\"messages\":[{\"role\":\"assistant\",\"content\":\"y\",\"channel\":\"analysis\"}],\"repairs\":[" REPAIR(
            "extra_words", 0, 0) "]}");
}

static void p13_the_reading_does_not_depend_on_when_events_are_pulled(void **state)
{
    (void)state;
    const char *text =
        "<|channel|>analysis<|message|>hm 日本<|end|><|start|>assistantassistant to=functions.f<|channel|>"
        "commentary json<|message|>{\"a\":1}<|call|>junk<|start|>x<|end|>";
    struct token_list ids = {0};
    struct buffer each, late;
    struct event event;
    enum role role = ROLE_ASSISTANT;
    support_encode(text, &ids);
    buffer_init(&each, 1 << 20);
    support_read(&role, ids.id, ids.size, &each);
    for (size_t chunk = 1; chunk <= ids.size; chunk++) { /* pulled every `chunk` ids: the same events */
        struct parser *parser;
        size_t n = 0, expected = 0;
        buffer_init(&late, 1 << 20);
        for (const uint8_t *p = each.data; p < each.data + each.size; p++)
            expected += *p == '\n';
        assert_int_equal(parser_open(&parser, &support_harmony, &role, NULL), GOSS_OK);
        for (size_t i = 0; i <= ids.size; i++) {
            assert_int_equal(i < ids.size ? parser_feed(parser, ids.id[i], NULL) : parser_finish(parser, NULL),
                             GOSS_OK);
            if (i % chunk != chunk - 1 && i < ids.size)
                continue;
            for (parser_next(parser, &event); event.kind != EVENT_NONE; parser_next(parser, &event), n++)
                if (event.kind == EVENT_TEXT)
                    assert_int_equal(buffer_append(&late, event.text, event.text_size, NULL), GOSS_OK);
        }
        assert_int_equal(n, expected);
        assert_string_equal((char *)late.data, "hm 日本{\"a\":1}junkx");
        buffer_free(&late);
        parser_close(parser);
    }
    buffer_free(&each);
    token_list_free(&ids);
}

static void p14_a_name_with_odd_characters_passes_through(void **state)
{
    (void)state;
    assert_reads("<|channel|>commentary to=functions.get-wéather/v2 json<|message|>{}<|call|>",
                 "{\"messages\":[{\"role\":\"assistant\",\"recipient\":\"functions.get-wéather/v2\",\"content\":\"{}\","
                 "\"channel\":\"commentary\",\"content_type\":\"json\"}],\"repairs\":[]}");
}

static void p14_names_map_to_identifiers_and_back(void **state)
{
    (void)state;
    static const char *const cases[][2] = {{"get weather", "get_weather"},
                                           {"get-weather", "get_weather_2"},
                                           {"get_weather", "get_weather_3"},
                                           {"2fa", "_2fa"},
                                           {"", "_"},
                                           {"日", "___"},
                                           {"$ok", "$ok"},
                                           {"get weather", "get_weather"}};
    struct name_map map = {0};
    const char *identifier;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(name_map_add(&map, cases[i][0], &identifier, NULL), GOSS_OK);
        assert_string_equal(identifier, cases[i][1]);
        assert_string_equal(name_map_find(&map, identifier), cases[i][0]);
    }
    assert_string_equal(name_map_find(&map, "never declared"), "never declared");
    static const char *const recipients[][2] = {{"functions.get weather", "functions.get_weather"},
                                                {"functions.a.b", "functions.a_b"},
                                                {"python", "python"},
                                                {"odd name", "odd name"},
                                                {"browser.search", "browser.search"}};
    struct buffer there, back;
    buffer_init(&there, 100);
    buffer_init(&back, 100);
    for (size_t i = 0; i < sizeof recipients / sizeof recipients[0]; i++) {
        assert_int_equal(name_map_add_recipient(&map, recipients[i][0], &there, NULL), GOSS_OK);
        assert_string_equal(there.data, recipients[i][1]);
        assert_int_equal(name_map_find_recipient(&map, (const char *)there.data, &back, NULL), GOSS_OK);
        assert_string_equal(back.data, recipients[i][0]);
    }
    buffer_free(&there);
    buffer_free(&back);
    name_map_free(&map);
}

static void control_tokens_inside_content_never_show(void **state)
{
    (void)state;
    assert_reads(
        "<|channel|>final<|message|>a<|message|>b<|constrain|>c<|startoftext|>d<|return|>",
        "{\"messages\":[{\"role\":\"assistant\",\"content\":\"abcd\",\"channel\":\"final\"}],\"repairs\":[" REPAIR(
            "stray_control", 4, 0) "," REPAIR("stray_control", 6, 0) "," REPAIR("stray_control", 8, 0) "]}");
    assert_reads("<|channel|>analysis<|message|>hm<|channel|>final<|message|>4<|return|>",
                 "{\"messages\":[{\"role\":\"assistant\",\"content\":\"hm\",\"channel\":\"analysis\"},"
                 "{\"role\":\"assistant\",\"content\":\"4\",\"channel\":\"final\"}],\"repairs\":[" REPAIR("missing_end",
                                                                                                          4, 0) "]}");
    assert_reads(
        "<|channel|>final<|message|>a<|endoftext|>",
        "{\"messages\":[{\"role\":\"assistant\",\"content\":\"a\",\"channel\":\"final\"}],\"repairs\":[" REPAIR(
            "endoftext", 4, 0) "]}");
}

static void slips_around_the_role_are_read_through(void **state)
{
    (void)state;
    const char *answer =
        "{\"messages\":[{\"role\":\"assistant\",\"content\":\"4\",\"channel\":\"final\"}],\"repairs\":[%s]}";
    const char *cases[][2] = {
        {"assistant<|channel|>final<|message|>4<|return|>", REPAIR("duplicate_role", 0, 0)},
        {"<|start|>assistant<|channel|>final<|message|>4<|return|>", REPAIR("repeated_start", 0, 0)},
        {"<|start|>assistantassistant<|channel|>final<|message|>4<|return|>",
         REPAIR("repeated_start", 0, 0) "," REPAIR("duplicate_role", 0, 0)},
        {"<|start|>assist<|channel|>final<|message|>4<|return|>",
         REPAIR("repeated_start", 0, 0) "," REPAIR("unknown_role", 0, 0)},
        {"final<|message|>4<|return|>", REPAIR("missing_channel_token", 0, 0)},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buffer expected;
        buffer_init(&expected, 1 << 16);
        assert_int_equal(buffer_append_text(&expected, answer, NULL), GOSS_OK);
        expected.size -= strlen("%s]}");
        assert_int_equal(buffer_append_text(&expected, cases[i][1], NULL), GOSS_OK);
        assert_int_equal(buffer_append_text(&expected, "]}", NULL), GOSS_OK);
        assert_reads(cases[i][0], (char *)expected.data);
        buffer_free(&expected);
    }
}

static void ids_out_of_range_are_one_replacement_character(void **state)
{
    (void)state;
    const char *input =
        "{\"role\":\"assistant\",\"ids\":[200005,17196,200008,-1,2147483647,99999999999,201500,200002]}";
    struct buffer out;
    buffer_init(&out, 1 << 16);
    assert_int_equal(harmony_parse_json(&support_harmony, input, strlen(input), &out, NULL), GOSS_OK);
    assert_non_null(strstr((char *)out.data, "\"content\":\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""));
    assert_non_null(strstr((char *)out.data, REPAIR("unknown_id", 5, 0)));
    buffer_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_openai_harmony_parses_reads_the_same_with_the_same_deltas),
        cmocka_unit_test(what_openai_harmony_refuses_still_has_a_reading),
        cmocka_unit_test(p1_leftover_words_in_a_header_never_fail_the_turn),
        cmocka_unit_test(p2_a_recipient_ends_at_the_first_control_token),
        cmocka_unit_test(p3_a_call_on_analysis_is_a_call),
        cmocka_unit_test(p4_an_unknown_channel_is_reasoning_until_a_valid_header_follows),
        cmocka_unit_test(p5_bare_content_without_markup_is_the_answer),
        cmocka_unit_test(p6_the_tail_after_a_finished_answer_is_ignored_and_reported),
        cmocka_unit_test(p7_a_stream_that_ends_inside_a_header_keeps_its_text),
        cmocka_unit_test(p8_arguments_are_delivered_as_they_were_written),
        cmocka_unit_test(p9_a_call_without_its_terminator_ends_with_the_stream),
        cmocka_unit_test(p10_a_call_to_an_undeclared_tool_is_passed_on),
        cmocka_unit_test(p11_several_calls_are_read_when_they_are_emitted),
        cmocka_unit_test(p12_only_to_makes_a_recipient),
        cmocka_unit_test(p13_the_reading_does_not_depend_on_when_events_are_pulled),
        cmocka_unit_test(p14_a_name_with_odd_characters_passes_through),
        cmocka_unit_test(p14_names_map_to_identifiers_and_back),
        cmocka_unit_test(control_tokens_inside_content_never_show),
        cmocka_unit_test(slips_around_the_role_are_read_through),
        cmocka_unit_test(ids_out_of_range_are_one_replacement_character),
    };
    return cmocka_run_group_tests(tests, support_open, support_close);
}
