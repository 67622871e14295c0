/* Grammars against the JSON Schema Test Suite (tests/oracle/schema_suite.py). A schema is enforced or refused, and what
 * is enforced is never wrong: no text that a schema forbids is read. The few texts that satisfy a schema and are
 * nevertheless not read are spelled in ways that grammars never generate, and are counted. */
#include <string.h>

#include "support/grammar.h"
#include "support/harmony.h"

/* What became of the groups of one file of the suite: enforced or refused; of the enforced ones so many do not read all
 * texts that satisfy them, and these are the texts. docs/structured-output.md shows the same table. */
struct count {
    int enforced, refused, narrower, unread;
};

static const struct {
    const char *file;
    struct count count;
} expected[] = {
    {"additionalProperties", {7, 2, 0, 0}},
    {"allOf", {10, 2, 0, 0}},
    {"anchor", {1, 3, 0, 0}},
    {"anyOf", {7, 1, 0, 0}},
    {"boolean_schema", {1, 1, 0, 0}},
    {"const", {15, 0, 3, 3}},
    {"contains", {0, 7, 0, 0}},
    {"content", {4, 0, 0, 0}},
    {"default", {3, 0, 0, 0}},
    {"defs", {0, 1, 0, 0}},
    {"dependentRequired", {0, 4, 0, 0}},
    {"dependentSchemas", {0, 4, 0, 0}},
    {"dynamicRef", {0, 20, 0, 0}},
    {"enum", {14, 0, 4, 4}},
    {"exclusiveMaximum", {1, 0, 0, 0}},
    {"exclusiveMinimum", {1, 0, 0, 0}},
    {"if-then-else", {0, 10, 0, 0}},
    {"infinite-loop-detection", {1, 0, 0, 0}},
    {"items", {10, 0, 0, 0}},
    {"maxContains", {0, 4, 0, 0}},
    {"maxItems", {1, 1, 0, 0}},
    {"maxLength", {1, 1, 0, 0}},
    {"maxProperties", {2, 1, 0, 0}},
    {"maximum", {2, 0, 0, 0}},
    {"minContains", {0, 8, 0, 0}},
    {"minItems", {1, 1, 0, 0}},
    {"minLength", {1, 1, 0, 0}},
    {"minProperties", {1, 1, 0, 0}},
    {"minimum", {2, 0, 0, 0}},
    {"multipleOf", {3, 2, 0, 0}},
    {"not", {2, 7, 0, 0}},
    {"oneOf", {2, 9, 0, 0}},
    {"pattern", {2, 0, 0, 0}},
    {"patternProperties", {5, 0, 0, 0}},
    {"prefixItems", {4, 0, 0, 0}},
    {"properties", {6, 0, 0, 0}},
    {"propertyNames", {2, 1, 0, 0}},
    {"ref", {19, 16, 0, 0}},
    {"refRemote", {0, 15, 0, 0}},
    {"required", {5, 0, 0, 0}},
    {"type", {11, 0, 1, 1}},
    {"unevaluatedItems", {0, 27, 0, 0}},
    {"unevaluatedProperties", {0, 40, 0, 0}},
    {"uniqueItems", {3, 3, 0, 0}},
    {"bignum", {7, 0, 2, 4}},
    {"ecmascript-regex", {16, 5, 0, 0}},
    {"non-bmp-regex", {2, 0, 0, 0}},
    {"float-overflow", {1, 0, 1, 1}},
    {"date", {1, 0, 0, 0}},
    {"time", {1, 0, 1, 6}},
    {"date-time", {1, 0, 1, 2}},
    {"duration", {1, 0, 0, 0}},
    {"email", {1, 0, 1, 5}},
    {"hostname", {1, 0, 0, 0}},
    {"ipv4", {1, 0, 0, 0}},
    {"ipv6", {1, 0, 1, 4}},
    {"uri", {1, 0, 1, 6}},
    {"uuid", {1, 0, 0, 0}},
};

static int count_read(struct grammar *grammar, const struct json_node *texts)
{
    int n = 0;
    for (const struct json_node *text = texts->child; text; text = text->next)
        n += grammar_reads(grammar, text->text, text->size);
    return n;
}

static void try_group(const struct json_node *group, struct count *count)
{
    const struct json_node *schema = json_tree_get(group, "schema"), *accept = json_tree_get(group, "accept");
    struct grammar *grammar;
    goss_error error = {0};
    goss_status status = grammar_from_schema(&grammar, schema->source, schema->source_size, false, &error);
    if (status) {
        assert_true(status == GOSS_E_UNSUPPORTED || status == GOSS_E_FORMAT);
        assert_non_null(strstr(error.text, "schema: "));
        count->refused++;
        return;
    }
    if (count_read(grammar, json_tree_get(group, "reject")) > 0)
        fail_msg("%s: a text is read that the schema forbids", json_tree_get(group, "name")->text);
    int unread = (int)accept->n_child - count_read(grammar, accept);
    count->enforced++;
    count->narrower += unread > 0;
    count->unread += unread;
    grammar_close(grammar);
}

static void nothing_that_a_schema_forbids_is_read(void **state)
{
    (void)state;
    struct vectors vectors;
    vectors_open(&vectors, "grammar/vectors/schema_suite.json");
    size_t n = 0;
    for (const struct json_node *file = vectors.root->child; file; file = file->next, n++) {
        struct count count = {0};
        for (const struct json_node *group = file->child; group; group = group->next)
            try_group(group, &count);
        assert_string_equal(file->key, expected[n].file);
        if (memcmp(&count, &expected[n].count, sizeof count) != 0)
            fail_msg("{\"%s\", {%d, %d, %d, %d}}", file->key, count.enforced, count.refused, count.narrower,
                     count.unread);
    }
    assert_int_equal(n, sizeof expected / sizeof expected[0]);
    vectors_close(&vectors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_that_a_schema_forbids_is_read),
    };
    return cmocka_run_group_tests(tests, toy_open, toy_close);
}
