/* Masks against brute force: a token is in the mask if and only if its bytes can be read, after any beginning of a
 * text. Beginnings are random walks along the masks themselves, so that they come to rare places, too. */
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "support/grammar.h"
#include "support/harmony.h"

/* Something of everything, and what is nasty: names that begin alike, counted strings, deep recursion, many places. */
static const char *const schemas[] = {
    "{}",
    "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},\"names\":{\"type\":\"array\",\"items\":"
    "{\"type\":\"integer\",\"minimum\":-12,\"maximum\":120}},\"n\":{\"type\":[\"number\",\"null\"]}},"
    "\"required\":[\"name\",\"names\",\"n\"],\"additionalProperties\":false}",
    "{\"type\":\"array\",\"items\":{\"type\":\"string\",\"minLength\":2,\"maxLength\":5},\"minItems\":2}",
    "{\"enum\":[\"abc\",\"ab\",\"\xC3\xBC\",\"\xE2\x82\xAC\\\"\",12,12.5,[\"a\",{\"name\":null}]]}",
    "{\"type\":\"string\",\"pattern\":\"^[a-f0-9]{2,4}(-\\\\w+)*$\"}",
    "{\"type\":\"object\",\"patternProperties\":{\"^a\":{\"type\":\"null\"},\"b$\":{\"type\":\"null\"}},"
    "\"properties\":{\"name\":{\"$ref\":\"#\"}},\"additionalProperties\":{\"const\":true},\"maxProperties\":3}",
    "{\"anyOf\":[{\"type\":\"object\",\"properties\":{\"a\":{\"const\":1},\"b\":{\"type\":\"string\"}},\"required\":["
    "\"a\",\"b\"]},"
    "{\"type\":\"object\",\"properties\":{\"a\":{\"const\":12},\"b\":{\"type\":\"number\"}},\"required\":[\"a\",\"b\"]}"
    "]}",
    "{\"type\":\"string\",\"format\":\"date-time\"}",
    "{\"$ref\":\"#/$defs/t\",\"$defs\":{\"t\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/t\"}}}}",
    "{\"type\":\"number\",\"multipleOf\":0.5,\"exclusiveMaximum\":12}",
    "{\"type\":\"string\",\"minLength\":3,\"maxLength\":60}",
    "{\"type\":\"array\",\"items\":{\"type\":\"string\",\"maxLength\":1}}",
};
enum { N_SCHEMA = sizeof schemas / sizeof schemas[0], MOST_BYTES = 4096 };

/* A text under way, which can be begun again. */
struct text {
    struct grammar *grammar;
    const struct vocabulary *vocabulary;
    const struct tokenizer *tokenizer;
    struct matcher *matcher;
    uint8_t bytes[MOST_BYTES];
    size_t size;
};

static void begin_again(struct text *text)
{
    matcher_close(text->matcher);
    assert_int_equal(matcher_open(&text->matcher, text->grammar, text->vocabulary, NULL), GOSS_OK);
    assert_true(text->size == 0 || matcher_bytes(text->matcher, text->bytes, text->size));
}

static bool has(const uint64_t *mask, int32_t id)
{
    return mask[id / 64] >> (id % 64) & 1;
}

/* Every id; returns how many may come. */
static int32_t check_mask(struct text *text, const uint64_t *mask)
{
    int32_t n = 0;
    for (int32_t id = 0; id < vocabulary_size(text->vocabulary); id++) {
        bool reads = matcher_token(text->matcher, id);
        if (reads)
            begin_again(text);
        if (reads != has(mask, id)) {
            size_t size;
            const uint8_t *bytes = tokenizer_bytes(text->tokenizer, id, &size);
            fail_msg("after %.*s the token %.*s %s", (int)text->size, (const char *)text->bytes, (int)size,
                     (const char *)bytes, reads ? "is missing in the mask" : "is in the mask");
        }
        n += reads;
    }
    return n;
}

/* A token of the mask, of n: the short ones far more often, or texts would never leave their first string. */
static int32_t pick(const struct text *text, const uint64_t *mask, uint64_t seed)
{
    int32_t best = -1;
    uint32_t least = UINT32_MAX;
    for (int32_t id = 0; id < tokenizer_size(text->tokenizer); id++) {
        uint32_t random[4];
        size_t size;
        if (!has(mask, id))
            continue;
        random_words(seed, text->size, (uint32_t)id, random);
        const uint8_t *bytes = tokenizer_bytes(text->tokenizer, id, &size);
        bool structural = strchr("\"{}[],: \n", bytes[0]) != NULL;
        uint32_t rank = structural ? random[0] / 8 : random[0];
        if (best < 0 || rank < least) {
            best = id;
            least = rank;
        }
    }
    return best;
}

static void walk(struct text *text, uint64_t seed, int tokens, int check_every)
{
    int32_t n_id = vocabulary_size(text->vocabulary);
    uint64_t *mask = calloc((size_t)(n_id + 63) / 64, sizeof *mask);
    assert_non_null(mask);
    text->size = 0;
    begin_again(text);
    for (int i = 0; i < tokens; i++) {
        assert_int_equal(matcher_mask(text->matcher, mask, NULL), GOSS_OK);
        if (i % check_every == 0)
            (void)check_mask(text, mask);
        int32_t id = pick(text, mask, seed);
        if (id < 0) { /* whatever was let through can be completed */
            assert_true(matcher_can_end(text->matcher));
            break;
        }
        size_t size;
        const uint8_t *bytes = tokenizer_bytes(text->tokenizer, id, &size);
        assert_true(matcher_token(text->matcher, id));
        assert_true(text->size + size <= MOST_BYTES);
        memcpy(text->bytes + text->size, bytes, size);
        text->size += size;
    }
    free(mask);
}

static void a_mask_is_the_tokens_that_can_be_read(void **state)
{
    (void)state;
    for (int i = 0; i < N_SCHEMA; i++) {
        struct text text = {
            .grammar = schema_open(schemas[i]), .vocabulary = toy_vocabulary, .tokenizer = toy_tokenizer};
        for (uint64_t seed = 0; seed < 12; seed++)
            walk(&text, seed, 60, 1);
        matcher_close(text.matcher);
        grammar_close(text.grammar);
    }
}

static void a_mask_of_o200k_is_the_tokens_that_can_be_read(void **state)
{
    (void)state;
    assert_int_equal(support_open(NULL), 0);
    const struct tokenizer *tokenizer = support_harmony.tokenizer;
    struct vocabulary *vocabulary;
    assert_int_equal(vocabulary_open(&vocabulary, tokenizer, 201088, NULL), GOSS_OK);
    for (int i = 0; i < N_SCHEMA; i++) {
        struct text text = {.grammar = schema_open(schemas[i]), .vocabulary = vocabulary, .tokenizer = tokenizer};
        walk(&text, 1 + (uint64_t)i, 12, 6);
        matcher_close(text.matcher);
        grammar_close(text.grammar);
    }
    vocabulary_close(vocabulary);
    support_close(NULL);
}

static void a_choice_has_masks_too(void **state)
{
    (void)state;
    static const char *const choice[] = {"ab", "abc", "true", "12\xC3\xBC"};
    struct text text = {.vocabulary = toy_vocabulary, .tokenizer = toy_tokenizer};
    assert_int_equal(grammar_from_choice(&text.grammar, choice, 4, NULL), GOSS_OK);
    for (uint64_t seed = 0; seed < 12; seed++)
        walk(&text, seed, 9, 1);
    matcher_close(text.matcher);
    grammar_close(text.grammar);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mask_is_the_tokens_that_can_be_read),
        cmocka_unit_test(a_mask_of_o200k_is_the_tokens_that_can_be_read),
        cmocka_unit_test(a_choice_has_masks_too),
    };
    return cmocka_run_group_tests(tests, toy_open, toy_close);
}
