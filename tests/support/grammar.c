#include "support/grammar.h"

#include <stdlib.h>
#include <string.h>

#include "text/build.h"

struct vocabulary *toy_vocabulary;
struct tokenizer *toy_tokenizer;

/* Tokens that end inside characters, escapes, keys and numbers, two of them the same bytes, one that is too long. */
static const char *const longer[] = {
    "\"a\"", "\":",  "\",\"", "{\"",  "}}",         "]]",      "[[",     "[\"",    "\"]",      "\"}",  "\":\"",
    ", \"",  ": ",   ":\n",   "\n  ", "   ",        "true",    "fals",   "e,",     "null",     "12",   "0.5",
    "1e",    "-1",   ",-",    "00",   "ab",         "abc",     "\xC3",   "\xBC\"", "\xE2\x82", "\xAC", "\\u",
    "\\u00", "\\\"", "\\n",   "d83d", "\"\xF0\x9F", "name\":", "\"name", "2026-",
};

int toy_open(void **state)
{
    (void)state;
    enum { N_LONGER = sizeof longer / sizeof longer[0], N = 2 + 256 + N_LONGER };
    static const char *const control[] = {"<|end|>", "<|return|>"};
    uint8_t bytes[4096], kind[N];
    uint32_t offset[N + 1], at = 0, n = 0;
    offset[0] = 0;
    for (int i = 0; i < N; i++) {
        uint8_t byte = (uint8_t)(i - 2);
        const char *text = i < 2 ? control[i] : i < 258 ? (const char *)&byte : longer[i - 258];
        size_t size = i >= 2 && i < 258 ? 1 : strlen(text);
        memcpy(bytes + at, text, size);
        kind[n++] = i < 2 ? TOKEN_CONTROL : TOKEN_NORMAL;
        offset[n] = at += (uint32_t)size;
    }
    struct byte_vocabulary listed = {.file = "toy",
                                     .pattern = SPLIT_O200K,
                                     .whole_pieces = true,
                                     .n_token = n,
                                     .offset = offset,
                                     .bytes = bytes,
                                     .kind = kind};
    goss_error error;
    if (tokenizer_build(&toy_tokenizer, &listed, &error) ||
        vocabulary_open(&toy_vocabulary, toy_tokenizer, N + 3,
                        &error)) { /* the model has more ids than the tokenizer */
        print_error("%s\n", error.text);
        return -1;
    }
    return 0;
}

int toy_close(void **state)
{
    (void)state;
    vocabulary_close(toy_vocabulary);
    tokenizer_close(toy_tokenizer);
    return 0;
}

struct grammar *schema_try(const char *schema, bool in_order, goss_error *error)
{
    struct grammar *grammar;
    goss_status status = grammar_from_schema(&grammar, schema, strlen(schema), in_order, error);
    assert_true((status == GOSS_OK) == (grammar != NULL));
    return grammar;
}

struct grammar *schema_open(const char *schema)
{
    goss_error error;
    struct grammar *grammar = schema_try(schema, false, &error);
    if (!grammar)
        fail_msg("%s: %s", schema, error.text);
    return grammar;
}

bool grammar_reads(struct grammar *grammar, const char *text, size_t size)
{
    struct matcher *matcher;
    assert_int_equal(matcher_open(&matcher, grammar, toy_vocabulary, NULL), GOSS_OK);
    bool good = true;
    for (size_t i = 0; i < size && good; i++)
        good = matcher_bytes(matcher, (const uint8_t *)text + i, 1);
    good = good && matcher_can_end(matcher);
    matcher_close(matcher);
    return good;
}

void check_schema(const char *schema, const char *const *accept, const char *const *reject)
{
    struct grammar *grammar = schema_open(schema);
    for (; *accept; accept++)
        if (!grammar_reads(grammar, *accept, strlen(*accept)))
            fail_msg("%s: does not read %s", schema, *accept);
    for (; *reject; reject++)
        if (grammar_reads(grammar, *reject, strlen(*reject)))
            fail_msg("%s: reads %s", schema, *reject);
    grammar_close(grammar);
}

void check_refused(const char *schema, goss_status status, const char *words)
{
    goss_error error;
    struct grammar *grammar = schema_try(schema, false, &error);
    if (grammar)
        fail_msg("%s: compiles", schema);
    if (error.status != status || !strstr(error.text, words))
        fail_msg("%s: status %d, %s", schema, error.status, error.text);
}
