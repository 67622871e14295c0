/* What holds for every stream of ids: stream_check's promises on prefixes of real streams and on random ones. */
#include <string.h>

#include "base/random.h"
#include "harmony/json.h"
#include "support/harmony.h"
#include "support/stream_check.h"

static void assert_keeps_promises(const enum role *role, const int32_t *id, size_t n)
{
    const char *problem = stream_check(&support_harmony, role, id, n);
    if (!problem)
        return;
    for (size_t i = 0; i < n; i++)
        print_error("%d ", id[i]);
    fail_msg("%s", problem);
}

static void every_prefix_of_every_vector_keeps_the_promises(void **state)
{
    (void)state;
    struct vectors vectors;
    enum role role = ROLE_ASSISTANT;
    vectors_open(&vectors, "harmony/vectors/harmony_parse.json");
    for (const struct json_node *node = json_tree_get(vectors.root, "cases")->child; node; node = node->next) {
        struct token_list ids = {0};
        support_ids(json_tree_get(node, "ids"), &ids);
        for (size_t n = 0; n <= ids.size; n++)
            for (size_t first = 0; first <= n && first < 4; first++) { /* and streams that begin in the middle */
                assert_keeps_promises(&role, ids.id + first, n - first);
                assert_keeps_promises(NULL, ids.id + first, n - first);
            }
        token_list_free(&ids);
    }
    vectors_close(&vectors);
}

/* Ids of all classes: control tokens often, the words of headers, pieces of characters, any id, ids out of range. */
static int32_t random_id(uint32_t word, const struct token_list *pieces)
{
    const struct harmony *h = &support_harmony;
    const int32_t controls[] = {h->start, h->end, h->message, h->channel, h->constrain, h->call, h->ret, h->endoftext};
    uint32_t value = word >> 8;
    if (word % 16 < 7)
        return controls[value % 8];
    if (word % 16 < 13)
        return pieces->id[value % pieces->size];
    if (word % 16 < 15)
        return (int32_t)(value % 201088);
    return (int32_t)(value % 3000) + (value & 1 ? 200990 : -2000);
}

static void a_hundred_thousand_random_streams_keep_the_promises(void **state)
{
    (void)state;
    struct token_list pieces = {0};
    enum role role = ROLE_ASSISTANT;
    support_encode(
        "assistant user system tool analysis commentary final to=functions.f json code to= python\n\xC2\xA0 日本 "
        "🙂 hello, world {\"a\": 1} ––",
        &pieces);
    for (uint64_t stream = 0; stream < 100000; stream++) {
        uint32_t words[4];
        int32_t ids[24];
        random_words(20250805, stream, 0, words);
        size_t n = words[0] % 25;
        for (size_t i = 0; i < n; i++) {
            random_words(20250805, stream, 1 + i, words);
            ids[i] = random_id(words[0], &pieces);
        }
        assert_keeps_promises(stream % 3 ? &role : NULL, ids, n);
    }
    token_list_free(&pieces);
}

/* A header may not hold more than a bounded number of ids, so that text without markup streams. */
static void text_without_markup_shows_before_the_stream_ends(void **state)
{
    (void)state;
    struct token_list ids = {0};
    struct parser *parser;
    struct event event;
    enum role role = ROLE_ASSISTANT;
    size_t shown = 0;
    for (int i = 0; i < 200; i++)
        support_encode("x", &ids);
    assert_int_equal(parser_open(&parser, &support_harmony, &role, NULL), GOSS_OK);
    for (size_t i = 0; i < ids.size; i++) {
        assert_int_equal(parser_feed(parser, ids.id[i], NULL), GOSS_OK);
        for (parser_next(parser, &event); event.kind != EVENT_NONE; parser_next(parser, &event))
            shown += event.text_size;
        assert_int_equal(shown, i < 95 ? 0 : i + 1);
    }
    parser_close(parser);
    token_list_free(&ids);
}

/* Texts of a rendered conversation come back whole, message by message, whatever they say. */
static void what_is_rendered_reads_back_message_by_message(void **state)
{
    (void)state;
    struct vectors vectors;
    size_t compared = 0;
    vectors_open(&vectors, "harmony/vectors/generated.json");
    for (const struct json_node *node = json_tree_get(vectors.root, "cases")->child; node; node = node->next) {
        const struct json_node *mode = json_tree_get(node, "mode"), *drop = json_tree_get(node, "drop");
        if (strcmp(mode->text, "conversation") != 0 || strcmp(drop->text, "none") != 0 || json_tree_get(node, "error"))
            continue;
        struct buffer ids, out;
        struct arena arena = {0};
        struct json_node *result;
        buffer_init(&ids, 1 << 24);
        buffer_init(&out, 1 << 24);
        assert_int_equal(harmony_render_json(&support_harmony, node->source, node->source_size, &ids, NULL), GOSS_OK);
        assert_int_equal(harmony_parse_json(&support_harmony, (char *)ids.data, ids.size, &out, NULL), GOSS_OK);
        assert_int_equal(json_tree_read(&arena, (char *)out.data, out.size, "parsed", &result, NULL), GOSS_OK);
        const struct json_node *said = json_tree_get(node, "messages")->child;
        const struct json_node *heard = json_tree_get(result, "messages")->child;
        for (; said && heard; said = said->next, heard = heard->next) {
            const struct json_node *content = json_tree_get(said, "content"), *read = json_tree_get(heard, "content");
            if (content->kind != JSON_TREE_STRING)
                continue;
            assert_int_equal(read->size, content->size);
            assert_memory_equal(read->text, content->text, read->size);
            compared++;
        }
        assert_true(!said && !heard);
        buffer_free(&ids);
        buffer_free(&out);
        arena_free(&arena);
    }
    assert_true(compared > 100);
    vectors_close(&vectors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_prefix_of_every_vector_keeps_the_promises),
        cmocka_unit_test(a_hundred_thousand_random_streams_keep_the_promises),
        cmocka_unit_test(text_without_markup_shows_before_the_stream_ends),
        cmocka_unit_test(what_is_rendered_reads_back_message_by_message),
    };
    return cmocka_run_group_tests(tests, support_open, support_close);
}
