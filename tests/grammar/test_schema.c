/* Each keyword, on texts read byte by byte: what satisfies the schema is read, what does not is not. */
#include <string.h>

#include "support/grammar.h"

static void types_are_told_apart(void **state)
{
    (void)state;
    check_schema("{}", ACCEPT("null", "true", "-1.5e3", "\"x\"", "[1,{}]", "{\"a\":[]}"),
                 REJECT("", "nul", "tru", "x"));
    check_schema("{\"type\":\"null\"}", ACCEPT("null"), REJECT("true", "0", "\"null\"", "nulll"));
    check_schema("{\"type\":\"boolean\"}", ACCEPT("true", "false"), REJECT("True", "null", "1"));
    check_schema("{\"type\":[\"string\",\"null\"]}", ACCEPT("\"\"", "null"), REJECT("0", "[]"));
    check_schema("{\"type\":\"array\"}", ACCEPT("[]", "[[]]", "[1,\"a\",null]"), REJECT("{}", "[", "[1,]", "[,1]"));
    check_schema("{\"type\":\"object\"}", ACCEPT("{}", "{\"\":1}"), REJECT("[]", "{\"a\"}", "{\"a\":1,}", "{a:1}"));
    check_schema("true", ACCEPT("1"), NOTHING);
}

static void numbers_have_no_needless_parts(void **state)
{
    (void)state;
    check_schema("{\"type\":\"number\"}", ACCEPT("0", "-0.5", "10", "1e5", "1.25E-7", "-0"),
                 REJECT("01", "+1", ".5", "1.", "1e", "--1", "1e999", "NaN", "0x1"));
    check_schema("{\"type\":\"integer\"}", ACCEPT("0", "-7", "123456789012345678901234567890"),
                 REJECT("-0", "1.0", "1e2", "00", "-"));
}

static void bounds_hold_at_their_edges(void **state)
{
    (void)state;
    check_schema("{\"type\":\"integer\",\"minimum\":-12,\"maximum\":103}", ACCEPT("-12", "-9", "0", "99", "100", "103"),
                 REJECT("-13", "-20", "-100", "104", "110", "200", "1000"));
    check_schema("{\"type\":\"number\",\"exclusiveMinimum\":0,\"exclusiveMaximum\":1.5}",
                 ACCEPT("0.0001", "1", "1.49999", "0.5", "1.0"),
                 REJECT("0", "-0", "0.000", "1.5", "1.50", "2", "-0.1"));
    check_schema("{\"type\":\"number\",\"minimum\":2.25,\"maximum\":2.250}", ACCEPT("2.25", "2.250"),
                 REJECT("2.2", "2.249", "2.251", "2.26", "2", "3"));
    check_schema("{\"type\":\"number\",\"minimum\":1e2}", ACCEPT("100", "100.0", "1000"),
                 REJECT("99", "99.999", "1e3"));
    check_schema("{\"type\":\"integer\",\"multipleOf\":7}", ACCEPT("0", "7", "-49", "7000"), REJECT("1", "8", "-50"));
    check_schema("{\"type\":\"number\",\"multipleOf\":0.25}", ACCEPT("0.25", "1", "3.5", "2.750"),
                 REJECT("0.3", "1.125"));
    check_refused("{\"type\":\"integer\",\"minimum\":3,\"maximum\":2}", GOSS_E_FORMAT, "nothing satisfies");
    check_refused("{\"type\":\"number\",\"multipleOf\":0}", GOSS_E_FORMAT, "greater than 0");
    check_refused("{\"type\":\"number\",\"minimum\":1e90}", GOSS_E_UNSUPPORTED, "too many digits");
}

static void strings_are_well_formed_json(void **state)
{
    (void)state;
    check_schema("{\"type\":\"string\"}",
                 ACCEPT("\"\"", "\"a b\"", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\u00fc\\uD83D\\ude00\"",
                        "\"\xC3\xBC\"", "\"\xF0\x9F\x98\x80\"", "\"\x7F\""),
                 REJECT("\"", "\"a", "\"\n\"", "\"\x01\"", "\"\\x\"", "\"\\u12g4\"", "\"\xC3\"", "\"\x80\"",
                        "\"\xC0\x80\"", "\"\xED\xA0\x80\"", "\"\xF4\x90\x80\x80\"", "\"\\ud83d\"", "\"\\ude00\"",
                        "\"\"\""));
}

static void lengths_count_characters(void **state)
{
    (void)state;
    check_schema("{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}",
                 ACCEPT("\"ab\"", "\"\xC3\xBC\xE2\x82\xAC\"", "\"\\n\\u00e9\xF0\x9F\x98\x80\"", "\"\\ud83d\\ude00.\""),
                 REJECT("\"\"", "\"a\"", "\"\\ud83d\\ude00\"", "\"abcd\"", "\"\\n\\n\\n\\n\""));
    check_schema("{\"type\":\"string\",\"maxLength\":0}", ACCEPT("\"\""), REJECT("\"a\"", "\"\\n\""));
    check_schema("{\"type\":\"string\",\"pattern\":\"^[ab]*$\",\"minLength\":1,\"maxLength\":2}",
                 ACCEPT("\"a\"", "\"bb\""), REJECT("\"\"", "\"aba\"", "\"c\""));
    check_refused("{\"type\":\"string\",\"minLength\":2,\"maxLength\":1}", GOSS_E_FORMAT, "nothing satisfies");
    check_refused("{\"type\":\"string\",\"minLength\":-1}", GOSS_E_FORMAT, "/minLength");
}

static void patterns_match_anywhere_unless_anchored(void **state)
{
    (void)state;
    check_schema("{\"type\":\"string\",\"pattern\":\"b+\"}",
                 ACCEPT("\"b\"", "\"abbc\"",
                        "\"\\n\xC3\xBC"
                        "b\""),
                 REJECT("\"\"", "\"ac\""));
    check_schema("{\"type\":\"string\",\"pattern\":\"^(?:a|bc){2,3}$\"}", ACCEPT("\"aa\"", "\"abc\"", "\"bcbcbc\""),
                 REJECT("\"a\"", "\"aaaa\"", "\"ab\""));
    check_schema("{\"type\":\"string\",\"pattern\":\"^[^\\\\d\\\\s\\\"]\\\\.\\\\u{1F600}?$\"}",
                 ACCEPT("\"x.\"", "\"\xC3\xBC.\xF0\x9F\x98\x80\""), REJECT("\"1.\"", "\" .\"", "\"\\\".\"", "\"x\""));
    check_schema("{\"type\":\"string\",\"pattern\":\"^\\\"$\"}", ACCEPT("\"\\\"\""), REJECT("\"\"", "\"\"\""));
    check_schema("{\"type\":\"string\",\"pattern\":\"^a|b$\"}", ACCEPT("\"ax\"", "\"xb\""), REJECT("\"xa\"", "\"bx\""));
    check_schema("{\"type\":\"string\",\"pattern\":\"^a*?(?<n>b)$\"}", ACCEPT("\"aab\"", "\"b\""), REJECT("\"a\""));
    check_refused("{\"pattern\":\"(?=a)\"}", GOSS_E_UNSUPPORTED, "look-ahead");
    check_refused("{\"pattern\":\"(a)\\\\1\"}", GOSS_E_UNSUPPORTED, "back references");
    check_refused("{\"pattern\":\"\\\\bword\"}", GOSS_E_UNSUPPORTED, "word boundaries");
    check_refused("{\"pattern\":\"a{\"}", GOSS_E_FORMAT, "/pattern");
    check_refused("{\"pattern\":\"(a\"}", GOSS_E_FORMAT, "without its ')'");
    check_refused("{\"pattern\":\"[b-a]\"}", GOSS_E_FORMAT, "out of order");
}

static void formats_are_enforced(void **state)
{
    (void)state;
    check_schema("{\"type\":\"string\",\"format\":\"date\"}", ACCEPT("\"2024-02-29\"", "\"1999-12-31\""),
                 REJECT("\"2023-02-29\"", "\"1900-02-29\"", "\"2024-13-01\"", "\"2024-1-1\""));
    check_schema("{\"type\":\"string\",\"format\":\"uuid\"}", ACCEPT("\"123e4567-e89b-12d3-a456-426614174000\""),
                 REJECT("\"123e4567e89b12d3a456426614174000\"", "\"\""));
    check_refused("{\"type\":\"string\",\"format\":\"phone\"}", GOSS_E_UNSUPPORTED, "/format");
}

static void listed_values_are_the_only_ones(void **state)
{
    (void)state;
    check_schema("{\"enum\":[\"a\",1,null,[1,{\"x\":true}],{\"k\":\"v\"}]}",
                 ACCEPT("\"a\"", "1", "null", "[1,{\"x\":true}]", "{\"k\":\"v\"}", "[ 1, { \"x\": true } ]"),
                 REJECT("\"b\"", "2", "[1]", "[1,{}]", "{\"k\":\"v\",\"l\":1}", "{}"));
    check_schema("{\"const\":\"\xC3\xBC\\n\\\"\"}", ACCEPT("\"\xC3\xBC\\n\\\"\"", "\"\\u00fc\\n\\\"\""),
                 REJECT("\"u\""));
    check_schema("{\"type\":\"string\",\"enum\":[\"a\",1,\"bb\"],\"maxLength\":1}", ACCEPT("\"a\""),
                 REJECT("1", "\"bb\""));
    check_schema("{\"allOf\":[{\"enum\":[1,2,3]},{\"enum\":[2.0,3,4]},{\"maximum\":2}]}", ACCEPT("2"),
                 REJECT("1", "3"));
    check_refused("{\"enum\":[]}", GOSS_E_FORMAT, "nothing satisfies");
    check_refused("{\"enum\":1}", GOSS_E_FORMAT, "/enum");
}

static void arrays_hold_their_items(void **state)
{
    (void)state;
    check_schema("{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":1,\"maxItems\":3}",
                 ACCEPT("[1]", "[1,2,3]", "[ 1,\n  2 ]"), REJECT("[]", "[1,2,3,4]", "[\"a\"]", "[1 2]"));
    check_schema("{\"type\":\"array\",\"prefixItems\":[{\"const\":1},{\"const\":2}],\"items\":{\"const\":3}}",
                 ACCEPT("[]", "[1]", "[1,2]", "[1,2,3,3]"), REJECT("[2]", "[1,3]", "[1,2,2]"));
    check_schema("{\"type\":\"array\",\"prefixItems\":[{\"const\":1}],\"items\":false,\"minItems\":1}", ACCEPT("[1]"),
                 REJECT("[]", "[1,1]"));
    check_schema("{\"type\":\"array\",\"items\":false}", ACCEPT("[]"), REJECT("[1]"));
    check_refused("{\"type\":\"array\",\"items\":false,\"minItems\":1}", GOSS_E_FORMAT, "nothing satisfies");
    check_refused("{\"uniqueItems\":true}", GOSS_E_UNSUPPORTED, "/uniqueItems");
}

static void objects_hold_their_properties(void **state)
{
    (void)state;
    const char *strict =
        "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"string\"}},"
        "\"required\":[\"a\",\"b\"],\"additionalProperties\":false}";
    check_schema(strict, ACCEPT("{\"a\":1,\"b\":\"x\"}", "{\"b\":\"x\",\"a\":1}", "{ \"a\" : 1 , \"b\" : \"\" }"),
                 REJECT("{}", "{\"a\":1}", "{\"a\":1,\"a\":2,\"b\":\"\"}", "{\"a\":1,\"b\":\"x\",\"c\":1}",
                        "{\"a\":\"x\",\"b\":\"x\"}"));
    check_schema("{\"type\":\"object\",\"properties\":{\"ab\":{\"const\":1},\"abc\":{\"const\":2}},"
                 "\"additionalProperties\":{\"const\":3}}",
                 ACCEPT("{\"ab\":1,\"abc\":2,\"a\":3,\"\":3}", "{\"abcd\":3}"),
                 REJECT("{\"ab\":2}", "{\"abc\":3}", "{\"x\":1}"));
    check_schema("{\"type\":\"object\",\"patternProperties\":{\"^n\":{\"type\":\"number\"},\"x$\":{\"const\":1}},"
                 "\"additionalProperties\":false}",
                 ACCEPT("{\"n\":2}", "{\"nx\":1,\"x\":1}"), REJECT("{\"nx\":2}", "{\"y\":1}"));
    check_schema(
        "{\"type\":\"object\",\"propertyNames\":{\"pattern\":\"^[ab]$\"},\"minProperties\":1,\"maxProperties\":2}",
        ACCEPT("{\"a\":0}", "{\"a\":0,\"b\":1}"), REJECT("{}", "{\"c\":0}", "{\"a\":0,\"b\":0,\"a\":0}"));
    check_schema("{\"type\":\"object\",\"required\":[\"z\"]}", ACCEPT("{\"z\":[]}", "{\"q\":1,\"z\":0}"),
                 REJECT("{}", "{\"q\":1}"));
    check_schema("{\"type\":\"object\",\"properties\":{\"a\\\"\\n\":{\"const\":1}},\"additionalProperties\":false}",
                 ACCEPT("{\"a\\\"\\n\":1}", "{}"), REJECT("{\"a\":1}"));
    check_refused("{\"type\":\"object\",\"required\":[\"a\"],\"additionalProperties\":false}", GOSS_E_FORMAT,
                  "nothing satisfies");
}

static void keys_come_in_order_where_that_is_asked(void **state)
{
    (void)state;
    goss_error error;
    struct grammar *grammar = schema_try(
        "{\"type\":\"object\",\"properties\":{\"a\":{},\"b\":{},\"c\":{}},\"required\":[\"b\"]}", true, &error);
    static const char *const good[] = {"{\"a\":1,\"b\":2,\"c\":3}", "{\"b\":2}", "{\"b\":2,\"x\":1}",
                                       "{\"a\":1,\"b\":1}"};
    static const char *const bad[] = {"{\"b\":2,\"a\":1}", "{\"a\":1,\"c\":3,\"b\":2}", "{\"x\":1,\"b\":2}",
                                      "{\"c\":1}"};
    for (int i = 0; i < 4; i++) {
        assert_true(grammar_reads(grammar, good[i], strlen(good[i])));
        assert_false(grammar_reads(grammar, bad[i], strlen(bad[i])));
    }
    grammar_close(grammar);
}

static void schemas_combine(void **state)
{
    (void)state;
    check_schema("{\"anyOf\":[{\"type\":\"integer\"},{\"type\":\"string\",\"maxLength\":1},{\"type\":\"array\"}]}",
                 ACCEPT("1", "\"a\"", "[]"), REJECT("\"ab\"", "{}", "1.5"));
    check_schema("{\"anyOf\":[{\"properties\":{\"k\":{\"const\":1}}},{\"properties\":{\"k\":{\"const\":2},\"l\":{"
                 "\"const\":3}}}],"
                 "\"type\":\"object\",\"required\":[\"k\",\"l\"]}",
                 ACCEPT("{\"k\":1,\"l\":9}", "{\"k\":2,\"l\":3}", "{\"l\":3,\"k\":2}"),
                 REJECT("{\"k\":2,\"l\":9}", "{\"l\":9,\"k\":2}", "{\"k\":3,\"l\":3}"));
    check_schema("{\"allOf\":[{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"}}},"
                 "{\"properties\":{\"a\":{\"minimum\":5}},\"required\":[\"a\"]}]}",
                 ACCEPT("{\"a\":5}"), REJECT("{}", "{\"a\":4}", "{\"a\":\"5\"}"));
    check_schema("{\"oneOf\":[{\"properties\":{\"t\":{\"const\":\"x\"}},\"required\":[\"t\"],\"type\":\"object\"},"
                 "{\"properties\":{\"t\":{\"const\":\"y\"},\"n\":{\"type\":\"integer\"}},\"required\":[\"t\",\"n\"],"
                 "\"type\":\"object\"}]}",
                 ACCEPT("{\"t\":\"x\"}", "{\"t\":\"y\",\"n\":1}", "{\"t\":\"x\",\"n\":\"z\"}"),
                 REJECT("{\"t\":\"y\"}", "{\"n\":1}"));
    check_schema("{\"oneOf\":[{\"const\":1},{\"const\":2.50},{\"type\":\"null\"}]}", ACCEPT("1", "2.5", "null"),
                 REJECT("2"));
    check_refused("{\"oneOf\":[{\"const\":1},{\"const\":1.0}]}", GOSS_E_UNSUPPORTED, "use anyOf");
    check_schema("{\"not\":{\"type\":[\"object\",\"array\"]}}", ACCEPT("1", "null"), REJECT("[]", "{}"));
    check_refused("{\"oneOf\":[{\"minimum\":1},{\"maximum\":5}]}", GOSS_E_UNSUPPORTED, "use anyOf");
    check_refused("{\"not\":{\"const\":1}}", GOSS_E_UNSUPPORTED, "/not");
}

static void references_may_go_in_circles(void **state)
{
    (void)state;
    check_schema(
        "{\"$ref\":\"#/$defs/n\",\"$defs\":{\"n\":{\"type\":\"object\",\"properties\":{\"v\":{\"type\":\"integer\"},"
        "\"next\":{\"anyOf\":[{\"$ref\":\"#/$defs/n\"},{\"type\":\"null\"}]}},\"required\":[\"v\",\"next\"],"
        "\"additionalProperties\":false}}}",
        ACCEPT("{\"v\":1,\"next\":null}", "{\"v\":1,\"next\":{\"v\":2,\"next\":null}}"),
        REJECT("{\"v\":1}", "{\"v\":1,\"next\":{}}", "{\"v\":1,\"next\":1}"));
    check_schema("{\"anyOf\":[{\"const\":1},{\"type\":\"array\",\"items\":{\"$ref\":\"#\"}}]}",
                 ACCEPT("1", "[[1],[[],1]]"), REJECT("2", "[2]"));
    check_schema(
        "{\"$defs\":{\"a~/b%\":{\"$anchor\":\"here\",\"const\":1}},\"prefixItems\":[{\"$ref\":\"#/$defs/a~0~1b%25\"},"
        "{\"$ref\":\"#here\"}]}",
        ACCEPT("[1,1]"), REJECT("[2]", "[1,2]"));
    check_refused("{\"$ref\":\"#/$defs/a\",\"$defs\":{\"a\":{\"$ref\":\"#/$defs/b\"},\"b\":{\"$ref\":\"#/$defs/c\"}}}",
                  GOSS_E_FORMAT, "leads nowhere");
    check_refused("{\"$ref\":\"http://example.com/s\"}", GOSS_E_UNSUPPORTED, "/$ref");
    check_refused("{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#\"}},\"required\":[\"a\"]}", GOSS_E_FORMAT,
                  "nothing satisfies");
}

static void what_cannot_be_followed_is_named(void **state)
{
    (void)state;
    check_refused("{", GOSS_E_FORMAT, "schema");
    check_refused("3", GOSS_E_FORMAT, "not a schema");
    check_refused("{\"properties\":{\"a\":{\"items\":{\"if\":{}}}}}", GOSS_E_UNSUPPORTED, "/properties/a/items/if");
    check_refused("{\"type\":\"strnig\"}", GOSS_E_FORMAT, "/type");
    check_refused("{\"nulable\":true}", GOSS_E_UNSUPPORTED, "/nulable: an unknown keyword");
    check_refused("{\"properties\":{\"a\":3}}", GOSS_E_FORMAT, "/properties/a");
    check_refused("{\"anyOf\":[]}", GOSS_E_FORMAT, "/anyOf");
    check_refused("{\"required\":[1],\"type\":\"object\"}", GOSS_E_FORMAT, "/required/0");
    check_refused("{\"minItems\":\"2\"}", GOSS_E_FORMAT, "/minItems");
    check_schema("{\"title\":\"t\",\"description\":\"d\",\"default\":1,\"x-any\":[],\"type\":\"null\"}", ACCEPT("null"),
                 NOTHING);
}

static void blanks_are_limited(void **state)
{
    (void)state;
    char deep[80] = "[\n";
    memset(deep + 2, ' ', GRAMMAR_BLANKS);
    strcpy(deep + 2 + GRAMMAR_BLANKS, "1]");
    check_schema("{\"type\":\"array\"}", ACCEPT("[ 1 , 2 ]", "[\n  1,\n  2\n]", "[\n\t1]", deep),
                 REJECT("[  1]", "[ \n1]", "[\r1]", "[1] ", "[\n\n\n1]"));
    memmove(deep + 3, deep + 2, strlen(deep + 2) + 1);
    check_schema("{\"type\":\"array\"}", NOTHING, REJECT(deep));
}

static void choices_are_of_bytes(void **state)
{
    (void)state;
    static const char *const text[] = {"\xF8"
                                       "final",
                                       "\xF8"
                                       "final json",
                                       ""};
    struct grammar *grammar;
    assert_int_equal(grammar_from_choice(&grammar, text, 3, NULL), GOSS_OK);
    assert_true(grammar_reads(grammar,
                              "\xF8"
                              "final",
                              6));
    assert_true(grammar_reads(grammar,
                              "\xF8"
                              "final json",
                              11));
    assert_true(grammar_reads(grammar, "", 0));
    assert_false(grammar_reads(grammar,
                               "\xF8"
                               "fin",
                               4));
    assert_false(grammar_reads(grammar, "final", 5));
    grammar_close(grammar);
    goss_error error;
    assert_int_equal(grammar_from_choice(&grammar, text, 0, &error), GOSS_E_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_are_told_apart),
        cmocka_unit_test(numbers_have_no_needless_parts),
        cmocka_unit_test(bounds_hold_at_their_edges),
        cmocka_unit_test(strings_are_well_formed_json),
        cmocka_unit_test(lengths_count_characters),
        cmocka_unit_test(patterns_match_anywhere_unless_anchored),
        cmocka_unit_test(formats_are_enforced),
        cmocka_unit_test(listed_values_are_the_only_ones),
        cmocka_unit_test(arrays_hold_their_items),
        cmocka_unit_test(objects_hold_their_properties),
        cmocka_unit_test(keys_come_in_order_where_that_is_asked),
        cmocka_unit_test(schemas_combine),
        cmocka_unit_test(references_may_go_in_circles),
        cmocka_unit_test(what_cannot_be_followed_is_named),
        cmocka_unit_test(blanks_are_limited),
        cmocka_unit_test(choices_are_of_bytes),
    };
    return cmocka_run_group_tests(tests, toy_open, toy_close);
}
