/* Turns over a model that says exactly what the test tells it to. */
#include <stdlib.h>
#include <string.h>

#include "agent/turn.h"
#include "base/buffer.h"
#include "support/fake_backend.h"
#include "support/harmony.h"
#include "support/test.h"

struct fixture {
    struct fake_counts counts;
    struct fake_model fake;
    struct engine *engine;
    struct conversation conversation;
    struct turn_options options;
    struct token_list script;
    struct turn *turn;
    struct buffer log; /* the events as text */
    struct turn_event done;
};

static void fixture_open(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    f->fake = fake_model(&f->counts, FAKE_WINDOW, 4096);
    f->fake.model.config.n_vocab = tokenizer_size(support_harmony.tokenizer);
    f->fake.model.config.n_stop = 1;
    f->fake.model.config.stop[0] = support_harmony.end; /* a wrong config: must not matter */
    f->options = turn_options_default();
    buffer_init(&f->log, 1 << 20);
    struct engine_options options = {.context = 2048, .max_sequences = 2};
    assert_int_equal(engine_open(&f->engine, &f->fake.model, &fake_backend, &options, NULL), GOSS_OK);
    assert_int_equal(conversation_add_system(&f->conversation, EFFORT_LOW, "2025-08-05", NULL), GOSS_OK);
    assert_int_equal(conversation_add_text(&f->conversation, ROLE_USER, NULL, "Hello?", 6, NULL), GOSS_OK);
}

static void fixture_close(struct fixture *f)
{
    turn_close(f->turn);
    assert_int_equal(engine_stats(f->engine).running + engine_stats(f->engine).waiting, 0);
    engine_close(f->engine);
    conversation_free(&f->conversation);
    token_list_free(&f->script);
    buffer_free(&f->log);
    assert_int_equal(f->counts.faults, 0);
}

/* Opens a turn in which the model says `text`, control tokens by their literals. */
static void begin(struct fixture *f, const char *text)
{
    goss_error error;
    turn_close(f->turn);
    f->turn = NULL;
    f->script.size = 0;
    support_encode(text, &f->script);
    if (turn_open(&f->turn, f->engine, &support_harmony, &f->conversation, &f->options, &error))
        fail_msg("%s", error.text);
    size_t n;
    (void)turn_prompt(f->turn, &n);
    f->fake.script = f->script.id;
    f->fake.n_script = (int)f->script.size;
    f->fake.script_first = (int)n;
    buffer_clear(&f->log);
}

static void log_event(struct fixture *f, const struct turn_event *e)
{
    static const char *const part[] = {"reasoning", "preamble", "final", "call"};
    static const char *const finish[] = {"stop", "tool_call", "length", "stop_string", "cancelled", "failed"};
    switch (e->kind) {
    case TURN_BEGIN:
        (void)buffer_append_format(&f->log, NULL, "<%s%s%s", part[e->part], e->recipient ? " to " : "",
                                   e->recipient ? e->recipient : "");
        break;
    case TURN_TEXT:
        assert_int_equal(strlen(e->text), e->text_size);
        (void)buffer_append_format(&f->log, NULL, "|%s", e->text);
        break;
    case TURN_END:
        (void)buffer_append_format(&f->log, NULL, "=%s%s>", e->text, e->truncated ? " truncated" : "");
        break;
    case TURN_REPAIR: (void)buffer_append_format(&f->log, NULL, "!%s", e->repair.kind); break;
    case TURN_DONE:
        (void)buffer_append_format(&f->log, NULL, ".%s", finish[e->finish]);
        f->done = *e;
        break;
    default: fail_msg("event %d", e->kind);
    }
}

static void finish(struct fixture *f)
{
    struct turn_event event = {0};
    while (event.kind != TURN_DONE) {
        turn_next(f->turn, &event);
        log_event(f, &event);
    }
}

static void says(struct fixture *f, const char *text, const char *events)
{
    begin(f, text);
    finish(f);
    assert_string_equal((char *)f->log.data, events);
}

static const struct message *last_message(const struct fixture *f)
{
    return &f->conversation.message[f->conversation.n_message - 1];
}

static void reasoning_and_answer_are_handed_out_and_kept(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    says(&f,
         "<|channel|>analysis<|message|>Greet.<|end|><|start|>assistant<|channel|>final<|message|>Hi there!<|return|>",
         "<reasoning|G|reet|.=Greet.><final|Hi| there|!=Hi there!>.stop");
    size_t n;
    const struct sampled *answer = turn_answer(f.turn, &n);
    assert_int_equal(n, f.script.size);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(answer[i].id, f.script.id[i]);
    assert_int_equal(f.done.usage.answer_tokens, n);
    assert_int_equal(f.conversation.n_message, 4);
    assert_string_equal(last_message(&f)->channel, "final");
    assert_string_equal(last_message(&f)->part[0].text, "Hi there!");
    struct token_list expected = {0};
    support_encode("<|channel|>final<|message|>Hi there!", &expected);
    assert_int_equal(last_message(&f)->n_sampled, expected.size);
    assert_memory_equal(last_message(&f)->sampled, expected.id, expected.size * sizeof *expected.id);
    token_list_free(&expected);
    fixture_close(&f);
}

/* The prompt of the next turn is what was computed already, id for id, and is not computed again. */
static void a_tool_loop_continues_the_very_ids(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    says(&f,
         "<|channel|>analysis<|message|>Look.<|end|><|start|>assistant<|channel|>commentary to=functions.w "
         "<|constrain|>json<|message|>{\"a\":1}<|call|>",
         "<reasoning|Look|.=Look.><call to functions.w|{\"|a|\":|1|}={\"a\":1}>.tool_call");
    size_t n_prompt, n_answer, n_next;
    const int32_t *prompt = turn_prompt(f.turn, &n_prompt);
    (void)turn_answer(f.turn, &n_answer);
    struct token_list computed = {0};
    assert_int_equal(token_list_append(&computed, prompt, n_prompt, NULL), GOSS_OK);
    assert_int_equal(token_list_append(&computed, f.script.id, f.script.size, NULL), GOSS_OK);
    struct part part = {.kind = PART_TEXT, .text = "sunny", .text_size = 5};
    struct message tool = {.role = ROLE_TOOL,
                           .name = "functions.w",
                           .recipient = "assistant",
                           .channel = "commentary",
                           .part = &part,
                           .n_part = 1};
    assert_int_equal(conversation_add(&f.conversation, &tool, NULL), GOSS_OK);
    says(&f, "<|channel|>final<|message|>Sun<|return|>", "<final|Sun=Sun>.stop");
    const int32_t *next = turn_prompt(f.turn, &n_next);
    assert_true(n_next > computed.size);
    assert_memory_equal(next, computed.id, computed.size * sizeof *next);
    assert_int_equal(f.done.usage.cached_tokens, computed.size - 1); /* the last id was never computed */
    token_list_free(&computed);
    fixture_close(&f);
}

static void a_second_question_continues_before_the_dropped_reasoning(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    says(&f, "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes<|return|>",
         "<reasoning|Hm|.=Hm.><final|Yes=Yes>.stop");
    size_t n_first, n_second;
    (void)turn_prompt(f.turn, &n_first);
    assert_int_equal(conversation_add_text(&f.conversation, ROLE_USER, NULL, "Why?", 4, NULL), GOSS_OK);
    says(&f, "<|channel|>final<|message|>So<|return|>", "<final|So=So>.stop");
    (void)turn_prompt(f.turn, &n_second);
    assert_int_equal(f.done.usage.cached_tokens, n_first - 2); /* all but <|start|>assistant */
    fixture_close(&f);
}

static void a_call_goes_by_its_recipient_whatever_the_channel_or_offer(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    says(&f, "<|channel|>analysis to=browser.search code<|message|>{}<|call|>",
         "<call to browser.search|{}={}>.tool_call");
    says(&f, " to=functions.x<|channel|>final<|message|>1<|call|>", "<call to functions.x|1=1>.tool_call");
    fixture_close(&f);
}

static void several_calls_in_one_turn_are_accepted(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    says(&f,
         "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant<|channel|>commentary "
         "to=functions.a<|message|>1<|end|><|start|>assistant<|channel|>commentary to=functions.b<|message|>2<|call|>",
         "<preamble|I| look|.=I look.><call to functions.a|1=1><call to functions.b|2=2>.tool_call");
    assert_int_equal(f.conversation.n_message, 5);
    fixture_close(&f);
}

static void nothing_after_a_complete_answer_counts(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    says(&f, "<|channel|>final<|message|>A<|end|><|start|>assistant<|channel|>final<|message|>B<|return|>",
         "<final|A=A>.stop");
    size_t n;
    (void)turn_answer(f.turn, &n);
    assert_int_equal(n, 5);
    fixture_close(&f);
}

static void the_model_may_not_speak_for_others(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    says(&f, "<|channel|>analysis<|message|>A<|end|><|start|>user<|message|>B<|return|>", "<reasoning|A=A>.stop");
    assert_int_equal(f.conversation.n_message, 3);
    says(&f, "<|channel|>commentary to=functions.a<|message|>1<|end|><|start|>functions.a to=assistant<|message|>2",
         "<call to functions.a|1=1>.tool_call");
    fixture_close(&f);
}

static void a_bare_answer_is_an_answer(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    begin(&f, "Just this.<|return|>");
    finish(&f);
    assert_non_null(strstr((char *)f.log.data, "=Just this.>.stop"));
    assert_string_equal(last_message(&f)->channel, "final");
    assert_null(last_message(&f)->sampled); /* history is rendered in the proper form */
    fixture_close(&f);
}

static void max_tokens_break_a_message_off(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    f.options.max_tokens = 5;
    says(&f, "<|channel|>final<|message|>one two three four<|return|>",
         "<final|one| two!truncated=one two truncated>.length");
    assert_string_equal(last_message(&f)->part[0].text, "one two");
    size_t n = f.conversation.n_message;
    f.options.max_tokens = 10;
    begin(&f, "<|channel|>commentary to=functions.a<|message|>{\"x\":[1,2,3,4,5,6]}<|call|>");
    finish(&f);
    assert_non_null(strstr((char *)f.log.data, "<call to functions.a|"));
    assert_non_null(strstr((char *)f.log.data, "truncated>.length"));
    assert_int_equal(f.conversation.n_message, n); /* a broken-off call is not history */
    fixture_close(&f);
}

static void a_stop_string_ends_the_answer_before_it(void **state)
{
    (void)state;
    static const char *const stop[] = {" three", "e four", "zzz"};
    struct fixture f;
    fixture_open(&f);
    f.options.stop = stop;
    f.options.n_stop = 3;
    says(&f,
         "<|channel|>analysis<|message|> three<|end|><|start|>assistant<|channel|>final<|message|>one two three four",
         "<reasoning| three= three><final|on|e two=one two>.stop_string");
    assert_string_equal(last_message(&f)->part[0].text, "one two");
    assert_null(last_message(&f)->sampled);
    says(&f, "<|channel|>final<|message|>zz top the<|return|>", "<final|zz top| th|e=zz top the>.stop");
    goss_error error;
    struct turn *turn;
    static const char *const empty[] = {"fine", ""};
    f.options.stop = empty;
    f.options.n_stop = 2;
    assert_int_equal(turn_open(&turn, f.engine, &support_harmony, &f.conversation, &f.options, &error),
                     GOSS_E_ARGUMENT);
    f.options.n_stop = TURN_MAX_STOPS + 1;
    assert_int_equal(turn_open(&turn, f.engine, &support_harmony, &f.conversation, &f.options, &error),
                     GOSS_E_ARGUMENT);
    fixture_close(&f);
}

static void a_cancelled_turn_keeps_what_was_said(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    begin(&f, "<|channel|>final<|message|>one two three<|return|>");
    struct turn_event event;
    for (int i = 0; i < 3; i++) {
        turn_next(f.turn, &event);
        log_event(&f, &event);
    }
    turn_cancel(f.turn);
    turn_cancel(f.turn);
    assert_int_equal(engine_stats(f.engine).running, 0);
    finish(&f);
    assert_string_equal((char *)f.log.data, "<final|one| two!truncated=one two truncated>.cancelled");
    assert_string_equal(last_message(&f)->part[0].text, "one two");
    fixture_close(&f);
}

static void effort_can_be_replaced_for_one_turn(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    const enum effort effort[] = {EFFORT_UNSET, EFFORT_HIGH, EFFORT_NONE};
    const char *line[] = {"Reasoning: low", "Reasoning: high", "Reasoning: low"};
    for (int i = 0; i < 3; i++) {
        f.options.effort = effort[i];
        begin(&f, i < 2 ? "<|channel|>final<|message|>Hi<|return|>" : "Hi<|return|>");
        size_t n;
        const int32_t *prompt = turn_prompt(f.turn, &n);
        struct buffer text;
        buffer_init(&text, 1 << 20);
        for (size_t j = 0; j < n; j++) {
            size_t size;
            const uint8_t *bytes = tokenizer_bytes(support_harmony.tokenizer, prompt[j], &size);
            assert_int_equal(buffer_append(&text, bytes, size, NULL), GOSS_OK);
        }
        assert_non_null(strstr((char *)text.data, line[i]));
        buffer_free(&text);
        finish(&f);
        assert_string_equal((char *)f.log.data, "<final|Hi=Hi>.stop");
        assert_int_equal(f.conversation.message[0].part[0].effort, EFFORT_LOW);
        assert_string_equal(last_message(&f)->part[0].text, "Hi");
        assert_int_equal(last_message(&f)->n_sampled, 4); /* channel, final, message, Hi: also what the prompt began */
    }
    fixture_close(&f);
}

static void a_prompt_that_is_too_long_is_refused_with_counts(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    f.options.max_tokens = 2000;
    goss_error error;
    struct turn *turn;
    assert_int_equal(turn_open(&turn, f.engine, &support_harmony, &f.conversation, &f.options, &error), GOSS_E_LIMIT);
    assert_null(turn);
    assert_non_null(strstr(error.text, "2000"));
    assert_non_null(strstr(error.text, "2048"));
    fixture_close(&f);
}

static void a_failed_sequence_fails_its_turn(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    begin(&f, "<|channel|>final<|message|>one two three<|return|>");
    f.fake.script = NULL;
    size_t n;
    f.fake.nan_id = turn_prompt(f.turn, &n)[n - 1];
    finish(&f);
    assert_string_equal((char *)f.log.data, ".failed");
    assert_int_equal(f.done.error->status, GOSS_E_FORMAT);
    fixture_close(&f);
}

static void two_turns_share_an_engine_by_polling(void **state)
{
    (void)state;
    struct fixture f, g;
    fixture_open(&f);
    fixture_open(&g);
    begin(&f, "<|channel|>final<|message|>one two three<|return|>");
    struct turn *other;
    assert_int_equal(turn_open(&other, f.engine, &support_harmony, &g.conversation, &f.options, NULL), GOSS_OK);
    struct turn *turn[2] = {f.turn, other};
    bool done[2] = {false, false};
    while (!done[0] || !done[1]) {
        for (int i = 0; i < 2; i++)
            for (struct turn_event event = {.kind = TURN_BEGIN}; !done[i] && event.kind != TURN_WAIT;) {
                turn_poll(turn[i], &event);
                done[i] = event.kind == TURN_DONE;
            }
        (void)engine_step(f.engine);
    }
    for (int i = 0; i < 2; i++)
        assert_string_equal((i ? &g : &f)->conversation.message[2].part[0].text, "one two three");
    turn_close(other);
    fixture_close(&f);
    fixture_close(&g);
}

static void a_raw_prompt_is_continued_as_plain_text(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    const int32_t prompt[] = {1, 2, 3};
    f.options.raw = prompt;
    f.options.n_raw = 3;
    says(&f, "once <|channel|>upon é<|end|> a time<|return|>",
         "<final|once| |upon| é| a| time=once upon é a time>.stop");
    assert_int_equal(f.conversation.n_message, 2);
    assert_int_equal(f.done.usage.prompt_tokens, 3);
    f.options.stop = (const char *const[]){"upon"};
    f.options.n_stop = 1;
    says(&f, "once upon a time<|return|>", "<final|once| =once >.stop_string");
    f.options.n_stop = 0;
    f.options.max_tokens = 1;
    says(&f, "once upon<|return|>", "<final|once=once truncated>.length");
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reasoning_and_answer_are_handed_out_and_kept),
        cmocka_unit_test(a_tool_loop_continues_the_very_ids),
        cmocka_unit_test(a_second_question_continues_before_the_dropped_reasoning),
        cmocka_unit_test(a_call_goes_by_its_recipient_whatever_the_channel_or_offer),
        cmocka_unit_test(several_calls_in_one_turn_are_accepted),
        cmocka_unit_test(nothing_after_a_complete_answer_counts),
        cmocka_unit_test(the_model_may_not_speak_for_others),
        cmocka_unit_test(a_bare_answer_is_an_answer),
        cmocka_unit_test(max_tokens_break_a_message_off),
        cmocka_unit_test(a_stop_string_ends_the_answer_before_it),
        cmocka_unit_test(a_cancelled_turn_keeps_what_was_said),
        cmocka_unit_test(effort_can_be_replaced_for_one_turn),
        cmocka_unit_test(a_prompt_that_is_too_long_is_refused_with_counts),
        cmocka_unit_test(a_failed_sequence_fails_its_turn),
        cmocka_unit_test(two_turns_share_an_engine_by_polling),
        cmocka_unit_test(a_raw_prompt_is_continued_as_plain_text),
    };
    return cmocka_run_group_tests(tests, support_open, support_close);
}
