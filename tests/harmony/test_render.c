/* Rendering against openai-harmony 0.0.8, and where we leave it on purpose. */
#include "harmony/render.h"

#include <string.h>

#include "harmony/json.h"
#include "support/harmony.h"

/* Renders a case's own text and compares the ids. Returns false and says so when they differ. */
static bool case_agrees(const struct json_node *node, const char *name)
{
    goss_error error = {0};
    struct arena arena = {0};
    struct buffer out;
    struct token_list expected = {0}, got = {0};
    buffer_init(&out, 1 << 26);
    goss_status status = harmony_render_json(&support_harmony, node->source, node->source_size, &out, &error);
    bool fails = json_tree_get(node, "error") != NULL, agrees = fails == (status != GOSS_OK);
    if (agrees && !fails) {
        struct json_node *result;
        assert_int_equal(json_tree_read(&arena, (const char *)out.data, out.size, "output", &result, &error), GOSS_OK);
        const struct json_node *text = json_tree_get(result, "text"), *wanted = json_tree_get(node, "text");
        support_ids(json_tree_get(node, "ids"), &expected);
        support_ids(json_tree_get(result, "ids"), &got);
        agrees = expected.size == got.size && memcmp(expected.id, got.id, got.size * sizeof *got.id) == 0 &&
                 text->size == wanted->size && memcmp(text->text, wanted->text, text->size) == 0;
        if (!agrees)
            print_error("%s:\nexpected %s\ngot      %s\n", name, wanted->text, text->text);
    } else if (!agrees) {
        print_error("%s: %s\n", name, status ? error.text : "should have failed");
    }
    token_list_free(&expected);
    token_list_free(&got);
    buffer_free(&out);
    arena_free(&arena);
    return agrees;
}

static void rendering_equals_openai_harmony_on_its_published_cases(void **state)
{
    (void)state;
    struct vectors vectors;
    int wrong = 0, n = 0;
    vectors_open(&vectors, "harmony/vectors/harmony_render.json");
    for (const struct json_node *node = json_tree_get(vectors.root, "cases")->child; node; node = node->next, n++)
        wrong += !case_agrees(node, json_tree_get(node, "name")->text);
    assert_true(n >= 81);
    assert_int_equal(wrong, 0);
    vectors_close(&vectors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rendering_equals_openai_harmony_on_its_published_cases),
    };
    return cmocka_run_group_tests(tests, support_open, support_close);
}
