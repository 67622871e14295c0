/* Compaction: a conversation goes in, the user's latest words and a summary come out and are read again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/harmony.h"
#include "support/wire.h"
#include "text/json_tree.h"

static const char summary[] = "<|channel|>analysis<|message|>Short.<|end|><|start|>assistant<|channel|>final<|message|>"
                              "They \"launch\" on Tuesday.<|return|>";
#define PAST                                                                                                           \
    "{\"role\":\"user\",\"content\":\"Launch on Tuesday.\"},{\"role\":\"assistant\",\"content\":\"Noted.\"},"          \
    "{\"type\":\"function_call\",\"name\":\"tell\",\"call_id\":\"c\",\"arguments\":\"{}\"},"                           \
    "{\"type\":\"function_call_output\",\"call_id\":\"c\",\"output\":\"told\"},"                                       \
    "{\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"Tell "                                        \
    "\"},{\"type\":\"input_text\",\"text\":\"support.\"}]}"

static struct wire_run ask(bool compact, const char *body, const char *script, struct store *store, const char *key)
{
    struct wire_run run = wire_response(store, key, body, script);
    run.compact = compact;
    wire_open(&run);
    return run;
}

static struct wire_run compacted(const char *body)
{
    return ask(true, body, summary, NULL, "k");
}

/* {"model":"m","input":[ the output of a compaction, more ]}; the caller frees it. */
static char *sent_back(const struct wire_run *run, const char *more)
{
    struct arena arena = {0};
    struct json_node *root;
    assert_int_equal(json_tree_read(&arena, (char *)run->object.data, run->object.size, "an answer", &root, NULL),
                     GOSS_OK);
    const struct json_node *output = json_tree_get(root, "output");
    struct buffer body;
    buffer_init(&body, 1 << 24);
    assert_int_equal(buffer_append_format(&body, NULL, "{\"model\":\"m\",\"input\":%.*s,%s]}",
                                          (int)output->source_size - 1, output->source, more),
                     GOSS_OK);
    arena_free(&arena);
    return (char *)body.data;
}

static void a_compaction_keeps_the_users_words_and_seals_a_summary(void **state)
{
    (void)state;
    struct wire_run run = compacted("{\"model\":\"m\",\"instructions\":\"Be kind.\",\"input\":[" PAST "]}");
    assert_int_equal(run.http, 200);
    wire_has(&run.prompt, "Be kind.");
    wire_has(&run.prompt, "Reasoning: low");
    wire_has(&run.prompt, "Tell support.<|end|><|start|>user<|message|>Write a summary");
    wire_has(&run.object, "{\"id\":\"resp_k\",\"object\":\"response.compaction\",\"created_at\":");
    wire_has(&run.object,
             "\"type\":\"message\",\"status\":\"completed\",\"role\":\"user\",\"content\":[{\"type\":\"input_text\","
             "\"text\":\"Launch on Tuesday.\"}]}");
    wire_has(&run.object,
             "[{\"type\":\"input_text\",\"text\":\"Tell \"},{\"type\":\"input_text\",\"text\":\"support.\"}]}");
    wire_has(&run.object, "{\"id\":\"cmp_k\",\"type\":\"compaction\",\"encrypted_content\":\"gossamer1:");
    wire_has(&run.object, "\"output_tokens_details\":{\"reasoning_tokens\":");
    wire_lacks(&run.object, "Noted.");
    wire_lacks(&run.object, "told");
    wire_lacks(&run.object, "Write a summary");
    wire_close(&run);
}

static void a_compaction_comes_back_as_its_summary(void **state)
{
    (void)state;
    struct wire_run run = compacted("{\"model\":\"m\",\"input\":[" PAST "]}");
    char *body = sent_back(&run, "{\"role\":\"user\",\"content\":\"Go on.\"}");
    struct wire_run next = ask(false, body, summary, NULL, "k2");
    assert_int_equal(next.http, 200);
    wire_has(&next.prompt,
             "<|start|>user<|message|>Launch on Tuesday.<|end|><|start|>user<|message|>Tell support.<|end|>"
             "<|start|>user<|message|>[A summary of the conversation so far, in place of its messages:]\n\n"
             "They \"launch\" on Tuesday.<|end|><|start|>user<|message|>Go on.<|end|>");
    wire_has(&next.input_items, "\"type\":\"compaction\"");
    struct wire_run again = ask(true, body, summary, NULL, "k3");
    assert_int_equal(again.http, 200);
    wire_lacks(&again.object, "A summary of the conversation"); /* it went into the new one */
    wire_has(&again.object, "Go on.");
    free(body);
    wire_close(&run);
    wire_close(&next);
    wire_close(&again);
}

static void a_stored_conversation_is_compacted_by_its_id(void **state)
{
    (void)state;
    struct wire_store kept = wire_store_open();
    struct store *store = kept.store;
    struct wire_run first = ask(false, "{\"input\":\"Launch on Tuesday.\"}", summary, store, "a1");
    struct wire_run run = ask(true, "{\"model\":\"m\",\"previous_response_id\":\"resp_a1\"}", summary, store, "a2");
    assert_int_equal(run.http, 200);
    assert_false(run.stored);
    wire_has(&run.object, "\"text\":\"Launch on Tuesday.\"");
    struct wire_run missing =
        ask(true, "{\"model\":\"m\",\"previous_response_id\":\"resp_none\"}", summary, store, "a3");
    assert_int_equal(missing.http, 400);
    wire_has(&missing.object, "previous_response_not_found");
    wire_close(&first);
    wire_close(&run);
    wire_close(&missing);
    wire_store_close(&kept);
}

static void only_the_latest_of_much_is_kept_to_the_letter(void **state)
{
    (void)state;
    enum { EACH = 3000 }; /* bytes, few tokens: the model of this test reads 4096 */
    char *body = malloc(16 * EACH), *at = body;
    assert_non_null(body);
    at += sprintf(at, "{\"model\":\"m\",\"input\":[");
    for (int i = 0; i < 14; i++) {
        at += sprintf(at, "%s{\"role\":\"user\",\"content\":\"number %d", i ? "," : "", i);
        memset(at, ' ', EACH);
        at += sprintf(at + EACH, ".\"}") + EACH;
    }
    (void)sprintf(at, "]}");
    struct wire_run run = compacted(body);
    assert_int_equal(run.http, 200);
    wire_lacks(&run.object, "number 3");
    wire_has(&run.object, "\"text\":\"number 4"); /* ten times EACH is less than 32 KiB */
    wire_has(&run.object, "\"text\":\"number 13");
    free(body);
    wire_close(&run);
}

static void refused(const char *body, const char *text)
{
    struct wire_run run = compacted(body);
    assert_int_equal(run.http, 400);
    wire_has(&run.object, text);
    wire_close(&run);
}

static void what_cannot_be_compacted_is_refused(void **state)
{
    (void)state;
    refused("{\"input\":\"x\"}", "\"param\":\"model\"");
    refused("{\"model\":\"m\"}", "\"code\":\"missing_required_parameter\"");
    refused("{\"model\":\"m\",\"input\":5}", "\"param\":\"input\"");
    refused("{\"model\":\"m\",\"input\":[{\"type\":\"compaction\"}]}", "encrypted_content");
    refused("{\"model\":\"m\",\"input\":[{\"type\":\"compaction\",\"encrypted_content\":\"gAAAAAB\"}]}",
            "\"param\":\"input[0].encrypted_content\"");
}

static void a_summary_that_breaks_off_is_an_error(void **state)
{
    (void)state;
    struct wire_run run =
        ask(true, "{\"model\":\"m\",\"input\":\"x\"}", "<|channel|>analysis<|message|>Thinking.<|return|>", NULL, "k");
    assert_int_equal(run.http, 500);
    wire_has(&run.object, "\"message\":\"the model wrote no complete summary\"");
    wire_close(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_compaction_keeps_the_users_words_and_seals_a_summary),
        cmocka_unit_test(a_compaction_comes_back_as_its_summary),
        cmocka_unit_test(a_stored_conversation_is_compacted_by_its_id),
        cmocka_unit_test(only_the_latest_of_much_is_kept_to_the_letter),
        cmocka_unit_test(what_cannot_be_compacted_is_refused),
        cmocka_unit_test(a_summary_that_breaks_off_is_an_error),
    };
    return cmocka_run_group_tests(tests, support_open, support_close);
}
