/* Schemas made to cost much: each is refused with an error that names the limit it met, or compiles; either way within
 * bounded steps and memory. And texts that cost much to follow. */
#include <string.h>
#include <time.h>

#include "base/buffer.h"
#include "support/grammar.h"

enum { MOST_SECONDS = 20 /* a bound for slow machines and sanitizers; typical is below 1 */ };

/* Appends `text` n times, with every "%" the number of the time. */
static void repeat(struct buffer *out, const char *text, int n)
{
    for (int i = 0; i < n; i++)
        for (const char *c = text; *c; c++)
            assert_int_equal(*c == '%' ? buffer_append_format(out, NULL, "%d", i) : buffer_append(out, c, 1, NULL), 0);
}

struct schema {
    const char *before, *repeated, *behind;
    int n;
    const char *words; /* in the error; NULL: it may compile */
};

static void build(const struct schema *schema, struct buffer *out)
{
    buffer_init(out, 1 << 24);
    repeat(out, schema->before, 1);
    repeat(out, schema->repeated, schema->n);
    repeat(out, schema->behind, 1);
}

static void try_schema(const struct schema *schema)
{
    struct buffer text;
    goss_error error = {0};
    struct grammar *grammar;
    build(schema, &text);
    clock_t begin = clock();
    goss_status status = grammar_from_schema(&grammar, (const char *)text.data, text.size, false, &error);
    double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
    assert_true(seconds < MOST_SECONDS);
    if (schema->words && !status)
        fail_msg("%d times %s: compiles", schema->n, schema->repeated);
    if (schema->words && !strstr(error.text, schema->words))
        fail_msg("%d times %s: %s", schema->n, schema->repeated, error.text);
    grammar_close(grammar);
    buffer_free(&text);
}

static void what_is_too_large_is_refused_by_its_limit(void **state)
{
    (void)state;
    static const struct schema schemas[] = {
        {"[", " ", "]", GRAMMAR_SCHEMA_BYTES, "262144"},
        {"", "{\"items\":", "", 200, "127"},
        {"{\"enum\":[", "\"v%\",", "0]}", GRAMMAR_VALUES + 1, "more than 10000 values"},
        {"{\"properties\":{", "\"p%\":{},", "\"q\":{}}}", GRAMMAR_PROPERTIES + 1, "more than 4096 properties"},
        {"{\"prefixItems\":[", "{},", "{}]}", GRAMMAR_VALUES, "more than 10000 schemas"},
        {"{\"oneOf\":[", "{\"const\":%},", "{\"const\":-1}]}", GRAMMAR_ONE_OF, "more than 64 schemas"},
        {"{\"allOf\":[", "{\"maxLength\":%},", "{\"minLength\":1}]}", 100, "more than 64 schemas apply at once"},
        {"{\"pattern\":\"", "(", "a\"}", 65, "nested deeper than 64"},
        {"{\"pattern\":\"a{5001}", "", "\"}", 0, "more than 5000 times"},
        {"{\"pattern\":\"", "(a{1000}){1000}", "\"}", 1, "more than 400000 states"},
        {"{\"pattern\":\"(a|b)*a", "(a|b)", "\"}", 24, "an automaton may have 60000 states"},
        {"{\"pattern\":\"", "[^a]{1000}.{500}", "\"}", 1, "200 million steps"},
    };
    for (size_t i = 0; i < sizeof schemas / sizeof schemas[0]; i++)
        try_schema(&schemas[i]);
}

static void what_multiplies_runs_out_of_steps_or_places(void **state)
{
    (void)state;
    static const struct schema schemas[] = {
        /* many patterns, each large, none too large */
        {"{\"prefixItems\":[", "{\"pattern\":\"(a|b)*a(a|b){9}%\"},", "{}]}", 3000, "steps to compile"},
        {"{\"prefixItems\":[", "{\"pattern\":\"([ab]{1,40}){30}%\"},", "{}]}", 2000, "steps to compile"},
        /* 2^20 ways to choose branches */
        {"{\"allOf\":[", "{\"anyOf\":[{\"minLength\":%},{\"maxLength\":1%}]},", "{\"type\":\"string\"}]}", 20,
         "more than 20000 different places"},
        /* a large object in each of many branches */
        {"{\"properties\":{", "\"p%\":{},", "\"q\":{}},\"$defs\":{\"a\":[]}}", 4000, NULL},
        /* every reference has to look for its anchor at the end of everything */
        {"{\"prefixItems\":[", "{\"$ref\":\"#z\"},{\"$ref\":\"#z\",\"minLength\":%},", "{\"$anchor\":\"z\"}]}", 4000,
         NULL},
        {"{\"$ref\":\"#/$defs/0\",\"$defs\":{",
         "\"%\":{\"anyOf\":[{\"$ref\":\"#/$defs/0\"},{\"$ref\":\"#/$defs/1\"}]},", "\"x\":{}}}", 3000, NULL},
        {"{\"oneOf\":[",
         "{\"type\":\"object\",\"properties\":{\"k\":{\"enum\":[%,\"%a\",\"%b\",\"%c\"]}},\"required\":[\"k\"]},",
         "{\"const\":1}]}", 63, NULL},
        {"{\"type\":\"integer\",\"minimum\":1", "0", ",\"multipleOf\":997}", 28, NULL},
        {"{\"patternProperties\":{", "\"a%.*b\":{\"const\":%},", "\"x\":{}}}", 40, NULL},
    };
    for (size_t i = 0; i < sizeof schemas / sizeof schemas[0]; i++)
        try_schema(&schemas[i]);
}

/* ["a","a",..: the time that a mask takes must not grow with the text, nor the memory beyond what the text says. */
static void texts_nest_no_deeper_than_the_limit(void **state)
{
    (void)state;
    struct grammar *grammar =
        schema_open("{\"anyOf\":[{\"type\":\"array\",\"items\":{\"$ref\":\"#\"}},{\"type\":\"null\"}]}");
    struct matcher *matcher;
    assert_int_equal(matcher_open(&matcher, grammar, toy_vocabulary, NULL), GOSS_OK);
    for (int i = 0; i < GRAMMAR_DEPTH; i++)
        assert_true(matcher_bytes(matcher, (const uint8_t *)"[", 1));
    assert_false(matcher_bytes(matcher, (const uint8_t *)"[", 1));
    assert_true(matcher_bytes(matcher, (const uint8_t *)"null", 4));
    for (int i = 0; i < GRAMMAR_DEPTH; i++)
        assert_true(matcher_bytes(matcher, (const uint8_t *)"]", 1));
    assert_true(matcher_can_end(matcher));
    matcher_close(matcher);
    grammar_close(grammar);
}

/* Alternatives that never part are followed side by side, but not more of them than there may be. */
static void alternatives_that_never_part_are_bounded(void **state)
{
    (void)state;
    const struct schema many = {"{\"anyOf\":[", "{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"maxItems\":%},",
                                "{\"type\":\"null\"}]}", 300, NULL};
    struct buffer text;
    struct grammar *grammar;
    struct matcher *matcher;
    uint64_t mask[64];
    build(&many, &text);
    assert_int_equal(grammar_from_schema(&grammar, (const char *)text.data, text.size, false, NULL), GOSS_OK);
    assert_int_equal(matcher_open(&matcher, grammar, toy_vocabulary, NULL), GOSS_OK);
    assert_true(matcher_bytes(matcher, (const uint8_t *)"[", 1));
    for (int i = 0; i < 100; i++) {
        assert_int_equal(matcher_mask(matcher, mask, NULL), GOSS_OK);
        if (!matcher_bytes(matcher, (const uint8_t *)"\"x\",", 4))
            break;
    }
    matcher_close(matcher);
    grammar_close(grammar);
    buffer_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_too_large_is_refused_by_its_limit),
        cmocka_unit_test(what_multiplies_runs_out_of_steps_or_places),
        cmocka_unit_test(texts_nest_no_deeper_than_the_limit),
        cmocka_unit_test(alternatives_that_never_part_are_bounded),
    };
    return cmocka_run_group_tests(tests, toy_open, toy_close);
}
