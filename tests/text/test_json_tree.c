/* The JSON reader that keeps spelling, and the writer that spells as serde_json. */
#include "text/json_tree.h"

#include <string.h>

#include "support/test.h"

/* Reads and writes again. */
static void assert_writes(const char *text, const char *expected)
{
    struct arena arena = {0};
    struct buffer out;
    struct json_node *root;
    goss_error error;
    buffer_init(&out, 1 << 20);
    if (json_tree_read(&arena, text, strlen(text), "text", &root, &error) || json_tree_write(root, &out, &error))
        fail_msg("%s", error.text);
    assert_string_equal((char *)out.data, expected);
    buffer_free(&out);
    arena_free(&arena);
}

static void numbers_are_spelled_as_serde_json_spells_them(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"0", "0"},
        {"-0", "-0.0"},
        {"1.0", "1.0"},
        {"1.50", "1.5"},
        {"1e-7", "1e-7"},
        {"0.0000001", "1e-7"},
        {"0.00001", "0.00001"},
        {"1E5", "100000.0"},
        {"1e15", "1000000000000000.0"},
        {"1e16", "1e16"},
        {"123456789012345680.0", "1.2345678901234568e17"},
        {"18446744073709551615", "18446744073709551615"},
        {"18446744073709551616", "1.8446744073709552e19"},
        {"-9223372036854775808", "-9223372036854775808"},
        {"-9223372036854775809", "-9.223372036854776e18"},
        {"0.1", "0.1"},
        {"0.30000000000000004", "0.30000000000000004"},
        {"5e-324", "5e-324"},
        {"1e-400", "0.0"},
        {"1.7976931348623157e308", "1.7976931348623157e308"},
        {"9007199254740993.0", "9007199254740992.0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_writes(cases[i][0], cases[i][1]);
}

static void order_strings_and_nesting_survive(void **state)
{
    (void)state;
    assert_writes(" { \"z\" : [ 1 , { } , [ ] , null ] , \"a\" : { \"b\" : true } } ",
                  "{\"z\":[1,{},[],null],\"a\":{\"b\":true}}");
    assert_writes("\"\\u00e9\\/\\ud83d\\ude42\\n\\u0001\"", "\"é/🙂\\n\\u0001\"");
    assert_writes("\"\\ud83d x \\ude42\\ud83d\\u0041\"", "\"\xEF\xBF\xBD x \xEF\xBF\xBD\xEF\xBF\xBD"
                                                         "A\"");
}

static void assert_refused(const char *text, size_t size, goss_status expected)
{
    struct arena arena = {0};
    struct json_node *root;
    goss_error error = {0};
    assert_int_equal(json_tree_read(&arena, text, size, "text", &root, &error), expected);
    assert_null(root);
    assert_non_null(strstr(error.text, "text: "));
    arena_free(&arena);
}

static void what_is_no_json_is_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",      "{",        "[1,]",    "{\"a\":1,}", "{\"a\":1,\"a\":2}",  "01",       "1.",
        "-",     "+1",       "tru",     "\"\\x\"",    "\"\\u12g4\"",        "\"a\nb\"", "[1}",
        "{a:1}", "1 2",      "\"abc",   "\"a\\",      "[\"\\ud83d\\u12\"]", "nul",      ".5",
        "1e",    "\xC3\x28", "{\"a\"}", "[1 2]",      "\"\xED\xA0\x80\""};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_refused(cases[i], strlen(cases[i]), GOSS_E_FORMAT);
    assert_refused("1\0", 2, GOSS_E_FORMAT);
    char deep[400], digits[1100];
    memset(deep, '[', sizeof deep);
    memset(digits, '7', sizeof digits);
    assert_refused(deep, sizeof deep, GOSS_E_LIMIT);
    assert_refused(digits, sizeof digits, GOSS_E_LIMIT);
}

static void members_are_found_by_name(void **state)
{
    (void)state;
    const char *text = "{\"b\":1,\"a\":-42,\"\":3,\"ab\":2.5,\"c\":9223372036854775808}";
    struct arena arena = {0};
    struct json_node *root;
    int64_t value = 0;
    assert_int_equal(json_tree_read(&arena, text, strlen(text), "text", &root, NULL), GOSS_OK);
    assert_true(json_tree_integer(json_tree_get(root, "a"), -100, 100, &value));
    assert_int_equal(value, -42);
    assert_true(json_tree_integer(json_tree_get(root, ""), 3, 3, &value));
    assert_false(json_tree_integer(json_tree_get(root, "b"), 2, 3, &value));
    assert_false(json_tree_integer(json_tree_get(root, "ab"), 0, 9, &value));
    assert_false(json_tree_integer(json_tree_get(root, "c"), INT64_MIN, INT64_MAX, &value));
    assert_null(json_tree_get(root, "d"));
    assert_null(json_tree_get(NULL, "d"));
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_spelled_as_serde_json_spells_them),
        cmocka_unit_test(order_strings_and_nesting_survive),
        cmocka_unit_test(what_is_no_json_is_refused),
        cmocka_unit_test(members_are_found_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
