/* Turns whose answers and calls are bound. The model says what the test tells it to, beyond any doubt, unless the guide
 * forbids it. */
#include <stdlib.h>
#include <string.h>

#include "agent/turn.h"
#include "base/buffer.h"
#include "support/fake_backend.h"
#include "support/harmony.h"
#include "support/test.h"

#define SCHEMA                                                                                                         \
    "{\"type\":\"object\",\"properties\":{\"n\":{\"type\":\"integer\"}},\"required\":[\"n\"],"                         \
    "\"additionalProperties\":false}"

static struct vocabulary *vocabulary;

struct fixture {
    struct fake_counts counts;
    struct fake_model fake;
    struct engine *engine;
    struct conversation conversation;
    struct turn_options options;
    struct token_list script;
    char answer[4096]; /* what was said, control tokens by their literals */
    enum turn_finish finish;
    int repairs;
};

static void fixture_open(struct fixture *f, bool tools)
{
    memset(f, 0, sizeof *f);
    f->fake = fake_model(&f->counts, FAKE_WINDOW, 4096);
    f->fake.model.config.n_vocab = tokenizer_size(support_harmony.tokenizer);
    f->fake.model.config.n_stop = 0;
    struct engine_options options = {.context = 2048, .max_sequences = 2};
    assert_int_equal(engine_open(&f->engine, &f->fake.model, &fake_backend, &options, NULL), GOSS_OK);
    static const struct tool tool[] = {{.name = "get", .schema = SCHEMA}, {.name = "put", .schema = SCHEMA}};
    static const struct tool_namespace space = {.name = "functions", .tool = tool, .n_tool = 2};
    const struct part part = {.kind = PART_DEVELOPER, .tools = &space, .n_tools = 1};
    const struct message developer = {.role = ROLE_DEVELOPER, .part = &part, .n_part = 1};
    assert_int_equal(conversation_add_system(&f->conversation, EFFORT_LOW, NULL, NULL), GOSS_OK);
    if (tools)
        assert_int_equal(conversation_add(&f->conversation, &developer, NULL), GOSS_OK);
    assert_int_equal(conversation_add_text(&f->conversation, ROLE_USER, NULL, "Hello?", 6, NULL), GOSS_OK);
    f->options = turn_options_default();
    f->options.vocabulary = vocabulary;
    f->options.max_tokens = 120;
}

static void fixture_close(struct fixture *f)
{
    engine_close(f->engine);
    conversation_free(&f->conversation);
    token_list_free(&f->script);
    assert_int_equal(f->counts.faults, 0);
}

static void append(struct fixture *f, int32_t id)
{
    size_t size, at = strlen(f->answer);
    const uint8_t *bytes = tokenizer_bytes(support_harmony.tokenizer, id, &size);
    assert_true(at + size < sizeof f->answer);
    memcpy(f->answer + at, bytes, size);
    f->answer[at + size] = 0;
}

/* A turn in which the model would like to say the script; what it said is in f->answer. */
static void say_script(struct fixture *f)
{
    struct turn *turn;
    struct turn_event event = {0};
    goss_error error;
    size_t n;
    f->repairs = 0;
    if (turn_open(&turn, f->engine, &support_harmony, &f->conversation, &f->options, &error))
        fail_msg("%s", error.text);
    (void)turn_prompt(turn, &n);
    f->fake.script = f->script.id;
    f->fake.n_script = (int)f->script.size;
    f->fake.script_first = (int)n;
    while (event.kind != TURN_DONE) {
        turn_next(turn, &event);
        f->repairs += event.kind == TURN_REPAIR;
    }
    f->finish = event.finish;
    if (event.finish == TURN_FAILED)
        fail_msg("%s", event.error->text);
    const struct sampled *answer = turn_answer(turn, &n);
    f->answer[0] = 0;
    for (size_t i = 0; i < n; i++)
        append(f, answer[i].id);
    turn_close(turn);
}

static void say(struct fixture *f, const char *text)
{
    f->script.size = 0;
    support_encode(text, &f->script);
    say_script(f);
}

/* What the model says, the guide lets it say. */
static void may_say(struct fixture *f, const char *text)
{
    say(f, text);
    assert_string_equal(f->answer, text);
    assert_int_equal(f->repairs, 0);
}

/* The guide lets through no more than `prefix` of it. */
static void may_only_begin(struct fixture *f, const char *text, const char *prefix)
{
    say(f, text);
    if (strncmp(f->answer, prefix, strlen(prefix)) != 0)
        fail_msg("said %s", f->answer);
    size_t same = strlen(prefix);
    if (text[same] && f->answer[same] == text[same])
        fail_msg("said %s", f->answer);
}

static void without_a_bond_nothing_changes(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, true);
    f.options.vocabulary = NULL;
    say(&f, "<|channel|>final hm<|message|>Hi<|return|>");
    assert_string_equal(f.answer, "<|channel|>final hm<|message|>Hi<|return|>");
    fixture_close(&f);
}

#define THINK "<|channel|>analysis<|message|>Not {\"n\": at all.<|end|><|start|>assistant"

static void an_answer_satisfies_its_schema_and_reasoning_is_free(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, true);
    f.options.form = ANSWER_SCHEMA;
    f.options.schema = (struct answer_schema){.json = SCHEMA, .size = sizeof SCHEMA - 1};
    may_say(&f, THINK "<|channel|>final<|message|>{\"n\": -12}<|return|>");
    may_say(&f, THINK "<|channel|>final <|constrain|>json<|message|>{\n  \"n\": 5\n}<|return|>");
    assert_int_equal(f.finish, TURN_STOP);
    may_only_begin(&f, THINK "<|channel|>final<|message|>Sure! {\"n\": 5}<|return|>",
                   THINK "<|channel|>final<|message|>");
    may_only_begin(&f, THINK "<|channel|>final<|message|>{\"n\": 5, \"m\": 6}<|return|>",
                   THINK "<|channel|>final<|message|>{\"n\": 5");
    may_only_begin(&f, THINK "<|channel|>final<|message|>{\"n\": 5<|return|>",
                   THINK "<|channel|>final<|message|>{\"n\": 5");
    may_only_begin(&f, "<|channel|>analysis<|message|>Done.<|return|>", "<|channel|>analysis<|message|>Done.");
    may_only_begin(&f, "{\"n\": 5}<|return|>", "");
    fixture_close(&f);
}

static void any_object_is_one_object(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, true);
    f.options.form = ANSWER_OBJECT;
    may_say(&f, "<|channel|>final<|message|>{\"a\": [1, {\"b\": null}]}<|return|>");
    may_only_begin(&f, "<|channel|>final<|message|>[1]<|return|>", "<|channel|>final<|message|>");
    fixture_close(&f);
}

/* Without reasoning the prompt itself opens the answer. */
static void an_answer_without_reasoning_is_bound_at_once(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, false);
    f.options.form = ANSWER_OBJECT;
    f.options.effort = EFFORT_NONE;
    may_say(&f, "{\"n\": 1}<|return|>");
    may_only_begin(&f, "Hi<|return|>", "");
    f.options.tools = TOOLS_REQUIRED;
    struct turn *turn;
    goss_error error;
    assert_int_equal(turn_open(&turn, f.engine, &support_harmony, &f.conversation, &f.options, &error),
                     GOSS_E_ARGUMENT);
    fixture_close(&f);
}

#define GET "<|channel|>commentary to=functions.get <|constrain|>json<|message|>"

static void calls_go_to_declared_tools_by_every_header_the_models_write(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, true);
    f.options.declared_only = true;
    may_say(&f, GET "{anything}<|call|>");
    assert_int_equal(f.finish, TURN_TOOL_CALL);
    may_say(&f, "<|channel|>commentary to=functions.put<|constrain|>json<|message|>{}<|call|>");
    may_say(&f, "<|channel|>analysis to=functions.get code<|message|>{}<|call|>");
    may_say(&f, " to=functions.get<|channel|>commentary <|constrain|>json<|message|>{}<|call|>");
    may_say(&f, "<|channel|>commentary<|message|>I will look.<|end|><|start|>assistant" GET "{}<|call|>");
    may_say(&f, "<|channel|>analysis<|message|>I am done.<|return|>");
    may_say(&f, "<|channel|>final<|message|>Hello there<|return|>");
    may_only_begin(&f, "<|channel|>commentary to=functions.getter<|message|>{}<|call|>",
                   "<|channel|>commentary to=functions.get");
    may_only_begin(&f, "<|channel|>analysis to=python code<|message|>1<|call|>", "<|channel|>analysis to=");
    may_only_begin(&f, "<|channel|>final<|message|>Hi<|start|>user<|message|>", "<|channel|>final<|message|>Hi");
    may_only_begin(&f, "<|channel|>comment<|message|>Hi", "<|channel|>comment");
    fixture_close(&f);
}

static void a_choice_of_tools_is_kept_to(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, true);
    f.options.tools = TOOLS_NONE;
    may_say(&f, "<|channel|>final<|message|>No.<|return|>");
    may_only_begin(&f, GET "{}<|call|>", "<|channel|>commentary");
    f.options.tools = TOOLS_REQUIRED;
    may_say(&f, THINK GET "{}<|call|>");
    may_only_begin(&f, THINK "<|channel|>final<|message|>No.<|return|>", THINK "<|channel|>");
    may_only_begin(&f, "<|channel|>commentary<|message|>No.<|return|>", "<|channel|>commentary<|message|>No.");
    f.options.tools = TOOLS_NAMED;
    f.options.named = "functions.get";
    may_say(&f, GET "{}<|call|>");
    may_only_begin(&f, "<|channel|>commentary to=functions.put<|message|>{}<|call|>",
                   "<|channel|>commentary to=functions.");
    f.options.named = "functions.nothing";
    struct turn *turn;
    goss_error error;
    assert_int_equal(turn_open(&turn, f.engine, &support_harmony, &f.conversation, &f.options, &error),
                     GOSS_E_ARGUMENT);
    assert_non_null(strstr(error.text, "functions.nothing"));
    fixture_close(&f);
}

static void several_calls_may_follow_each_other_unless_one_is_wanted(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, true);
    f.options.tools = TOOLS_REQUIRED;
    may_say(&f, GET "{}<|end|><|start|>assistant" GET "{}<|call|>");
    may_say(&f, GET "{}<|end|><|start|>assistant<|channel|>analysis<|message|>That is all.<|return|>");
    f.options.one_call = true;
    may_only_begin(&f, GET "{}<|end|>", GET "{}");
    may_say(&f, GET "{}<|call|>");
    fixture_close(&f);
}

static void arguments_of_strict_functions_satisfy_their_schema(void **state)
{
    (void)state;
    static const char *const strict[] = {"functions.get"};
    struct fixture f;
    fixture_open(&f, true);
    f.options.strict = strict;
    f.options.n_strict = 1;
    may_say(&f, GET "{\"n\": 7}<|call|>");
    may_only_begin(&f, GET "{}<|call|>", GET "{");
    may_only_begin(&f, GET "{\"n\": 7}<|return|>", GET "{\"n\": 7}<|");
    may_only_begin(&f, GET "{\"n\": \"7\"}<|call|>", GET "{\"n\":");
    may_say(&f, "<|channel|>commentary to=functions.put<|message|>{}<|call|>");
    may_say(&f, "<|channel|>final<|message|>Free.<|return|>");
    fixture_close(&f);
}

/* Inside the guide a control token of a header is a byte that no text has; a token of that byte is none. */
static void no_byte_passes_for_a_control_token(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, true);
    f.options.declared_only = true;
    for (int32_t id = 0; id < 256; id++) {
        size_t size;
        const uint8_t *byte = tokenizer_bytes(support_harmony.tokenizer, id, &size);
        if (size != 1 || byte[0] < 0xF5)
            continue;
        f.script.size = 0;
        assert_int_equal(token_list_append(&f.script, &id, 1, NULL), GOSS_OK);
        say_script(&f);
        assert_true(strncmp(f.answer, "<|channel|>", 11) == 0 || f.answer[0] == ' ');
    }
    fixture_close(&f);
}

static void a_schema_that_cannot_be_compiled_is_refused_by_name(void **state)
{
    (void)state;
    struct fixture f;
    struct turn *turn;
    goss_error error;
    fixture_open(&f, true);
    f.options.form = ANSWER_SCHEMA;
    f.options.schema = (struct answer_schema){.json = "{\"uniqueItems\":true}", .size = 20};
    assert_int_equal(turn_open(&turn, f.engine, &support_harmony, &f.conversation, &f.options, &error),
                     GOSS_E_UNSUPPORTED);
    assert_non_null(strstr(error.text, "/uniqueItems"));
    f.options.vocabulary = NULL;
    f.options.form = ANSWER_OBJECT;
    assert_int_equal(turn_open(&turn, f.engine, &support_harmony, &f.conversation, &f.options, &error),
                     GOSS_E_UNSUPPORTED);
    fixture_close(&f);
}

/* Noise instead of a script: whatever is sampled, a turn that has tokens enough ends with what it owes. */
static void noise_still_ends_in_what_is_owed(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, false);
    f.options.form = ANSWER_SCHEMA;
    f.options.schema = (struct answer_schema){.json = "{\"enum\":[\"yes\",\"no\"]}", .size = 21};
    f.options.effort = EFFORT_NONE;
    for (uint64_t seed = 0; seed < 20; seed++) {
        f.options.sampling.seed = seed;
        say(&f, "");
        assert_true(strcmp(f.answer, "\"yes\"<|return|>") == 0 || strcmp(f.answer, "\"no\"<|return|>") == 0 ||
                    strcmp(f.answer, "\"yes\"<|end|>") == 0 || strcmp(f.answer, "\"no\"<|end|>") == 0 ||
                    strchr(" \n\"", f.answer[0]));
    }
    fixture_close(&f);
}

static int open_all(void **state)
{
    if (support_open(state))
        return -1;
    return vocabulary_open(&vocabulary, support_harmony.tokenizer, tokenizer_size(support_harmony.tokenizer), NULL);
}

static int close_all(void **state)
{
    vocabulary_close(vocabulary);
    return support_close(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_bond_nothing_changes),
        cmocka_unit_test(an_answer_satisfies_its_schema_and_reasoning_is_free),
        cmocka_unit_test(any_object_is_one_object),
        cmocka_unit_test(an_answer_without_reasoning_is_bound_at_once),
        cmocka_unit_test(calls_go_to_declared_tools_by_every_header_the_models_write),
        cmocka_unit_test(a_choice_of_tools_is_kept_to),
        cmocka_unit_test(several_calls_may_follow_each_other_unless_one_is_wanted),
        cmocka_unit_test(arguments_of_strict_functions_satisfy_their_schema),
        cmocka_unit_test(no_byte_passes_for_a_control_token),
        cmocka_unit_test(a_schema_that_cannot_be_compiled_is_refused_by_name),
        cmocka_unit_test(noise_still_ends_in_what_is_owed),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
