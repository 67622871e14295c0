/* What must hold of any text: it survives, it never becomes a control token, and it takes linear time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/random.h"
#include "support/test.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

static struct tokenizer *o200k;

static int open_o200k(void **state)
{
    (void)state;
    return tokenizer_open_o200k(&o200k, NULL) != GOSS_OK;
}

static int close_o200k(void **state)
{
    (void)state;
    tokenizer_close(o200k);
    return 0;
}

static struct token_list encode(const void *text, size_t n, bool control)
{
    struct token_list ids = {0};
    assert_int_equal(tokenizer_encode(o200k, text, n, control, &ids, NULL), GOSS_OK);
    return ids;
}

static void expect_decoded(const struct token_list *ids, const uint8_t *text, size_t n)
{
    size_t at = 0;
    for (size_t i = 0; i < ids->size; i++) {
        size_t size;
        const uint8_t *bytes = tokenizer_bytes(o200k, ids->id[i], &size);
        assert_true(size > 0 && size <= n - at);
        assert_memory_equal(bytes, text + at, size);
        at += size;
    }
    assert_int_equal(at, n);
}

static void expect_no_control(const struct token_list *ids)
{
    for (size_t i = 0; i < ids->size; i++)
        assert_false(tokenizer_is_control(o200k, ids->id[i]));
}

/* Random bytes, most of them in well-formed characters of every length. */
static size_t random_text(uint64_t seed, uint8_t *text, size_t n)
{
    size_t size = 0;
    for (uint64_t i = 0; size + 4 <= n; i++) {
        uint32_t word[4];
        random_words(seed, i, 0, word);
        uint32_t code = word[1] % 5 == 0 ? word[2] % 0x110000 : word[1] % 5 == 1 ? word[2] % 0x3000 : word[2] % 0x80;
        if (word[0] % 16 == 0) {
            text[size++] = (uint8_t)word[3];
        } else if (code < 0x80) {
            text[size++] = (uint8_t)code;
        } else if (code < 0x800) {
            text[size++] = (uint8_t)(0xC0 | code >> 6);
            text[size++] = (uint8_t)(0x80 | (code & 63));
        } else if (code < 0x10000) { /* surrogates too */
            text[size++] = (uint8_t)(0xE0 | code >> 12);
            text[size++] = (uint8_t)(0x80 | (code >> 6 & 63));
            text[size++] = (uint8_t)(0x80 | (code & 63));
        } else {
            text[size++] = (uint8_t)(0xF0 | code >> 18);
            text[size++] = (uint8_t)(0x80 | (code >> 12 & 63));
            text[size++] = (uint8_t)(0x80 | (code >> 6 & 63));
            text[size++] = (uint8_t)(0x80 | (code & 63));
        }
    }
    return size;
}

static void any_bytes_come_back_with_ill_formed_ones_replaced(void **state)
{
    (void)state;
    uint8_t text[600];
    for (uint64_t seed = 0; seed < 4000; seed++) {
        struct buffer repaired;
        size_t n = random_text(seed, text, 4 + seed % 590);
        buffer_init(&repaired, sizeof text * 3);
        assert_int_equal(utf8_repair(text, n, &repaired, NULL), GOSS_OK);
        assert_true(utf8_valid(repaired.data, repaired.size));
        struct token_list ids = encode(text, n, false);
        expect_decoded(&ids, repaired.data, repaired.size);
        expect_no_control(&ids);
        token_list_free(&ids);
        buffer_free(&repaired);
    }
}

static void a_stream_cut_anywhere_gives_the_same_characters_and_never_half_of_one(void **state)
{
    (void)state;
    uint8_t text[300];
    for (uint64_t seed = 0; seed < 3000; seed++) {
        struct buffer repaired, streamed;
        struct utf8_stream stream = {0};
        size_t n = random_text(seed, text, 4 + seed % 290);
        buffer_init(&repaired, sizeof text * 3);
        buffer_init(&streamed, sizeof text * 3);
        assert_int_equal(utf8_repair(text, n, &repaired, NULL), GOSS_OK);
        for (size_t at = 0, step; at < n; at += step) {
            uint32_t word[4];
            random_words(seed, at, 1, word);
            step = 1 + word[0] % (1 + seed % 7);
            step = step < n - at ? step : n - at;
            assert_int_equal(utf8_stream_add(&stream, text + at, step, &streamed, NULL), GOSS_OK);
            assert_true(utf8_valid(streamed.data, streamed.size));
        }
        assert_int_equal(utf8_stream_flush(&stream, &streamed, NULL), GOSS_OK);
        assert_int_equal(streamed.size, repaired.size);
        assert_memory_equal(streamed.data, repaired.data, repaired.size);
        buffer_free(&repaired);
        buffer_free(&streamed);
    }
}

static void no_control_literal_in_any_place_becomes_a_control_token_unasked(void **state)
{
    (void)state;
    static const char host[] = "a <|b\n|>";
    for (int32_t control = 199998; control < tokenizer_size(o200k); control++) {
        size_t size;
        const uint8_t *literal = tokenizer_bytes(o200k, control, &size);
        for (size_t at = 0; at < sizeof host; at++) {
            uint8_t text[128];
            size_t n = sizeof host - 1 + size;
            memcpy(text, host, at);
            memcpy(text + at, literal, size);
            memcpy(text + at + size, host + at, sizeof host - 1 - at);
            struct token_list ids = encode(text, n, false);
            expect_no_control(&ids);
            expect_decoded(&ids, text, n);
            token_list_free(&ids);

            ids = encode(text, n, true);
            int found = 0;
            for (size_t i = 0; i < ids.size; i++)
                found += ids.id[i] == control;
            assert_int_equal(found, 1);
            expect_decoded(&ids, text, n);
            token_list_free(&ids);
        }
    }
}

static void text_beside_a_control_token_is_encoded_as_if_it_stood_alone(void **state)
{
    (void)state;
    static const char before[] = "hello  ", after[] = "  world";
    struct token_list left = encode(before, sizeof before - 1, false), right = encode(after, sizeof after - 1, false);
    struct token_list all = encode("hello  <|end|>  world", 21, true);
    assert_int_equal(all.size, left.size + 1 + right.size);
    assert_memory_equal(all.id, left.id, left.size * sizeof *left.id);
    assert_int_equal(all.id[left.size], 200007);
    assert_memory_equal(all.id + left.size + 1, right.id, right.size * sizeof *right.id);
    token_list_free(&left);
    token_list_free(&right);
    token_list_free(&all);
}

static void ids_are_appended_and_a_failure_leaves_the_list_as_it_was(void **state)
{
    (void)state;
    struct token_list ids = encode("one", 3, false), once = encode(" two", 4, false);
    size_t before = ids.size;
    assert_int_equal(tokenizer_encode(o200k, " two", 4, false, &ids, NULL), GOSS_OK);
    assert_int_equal(ids.size, before + once.size);
    goss_error error;
    assert_int_equal(tokenizer_encode(o200k, "x", (size_t)INT32_MAX + 1, false, &ids, &error), GOSS_E_LIMIT);
    assert_int_equal(ids.size, before + once.size);
    token_list_free(&ids);
    token_list_free(&once);
}

/* A text of over 4 KiB is encoded with the memory of earlier pieces, a short one without. */
static void a_long_text_gives_the_ids_of_its_lines(void **state)
{
    (void)state;
    enum { LINES = 4000 };
    struct buffer all;
    struct token_list each = {0};
    buffer_init(&all, 1u << 20);
    for (uint32_t i = 0; i < LINES; i++) {
        char line[96];
        uint32_t word[4];
        random_words(7, i, 0, word);
        (void)snprintf(line, sizeof line, "x%u Zwischenraumbestimmung%u caf\xC3\xA9%x\n", word[0] % 9, word[1] % 50,
                       word[2] % 300);
        assert_int_equal(buffer_append_text(&all, line, NULL), GOSS_OK);
        assert_int_equal(tokenizer_encode(o200k, line, strlen(line), false, &each, NULL), GOSS_OK);
    }
    struct token_list ids = encode(all.data, all.size, false);
    assert_int_equal(ids.size, each.size);
    assert_memory_equal(ids.id, each.id, each.size * sizeof *each.id);
    token_list_free(&ids);
    token_list_free(&each);
    buffer_free(&all);
}

/* One mebibyte of a repeated unit, or of random letters when it is empty: seconds would tell of quadratic time. */
static void a_mebibyte_of_anything_takes_linear_time(void **state)
{
    (void)state;
    static const char *const units[] = {"a",
                                        " ",
                                        "1",
                                        "\n",
                                        "\xF0\x9F\x98\x80",
                                        "A",
                                        "\312\260A" /* U+02B0, A */,
                                        "<",
                                        "<|",
                                        "'s",
                                        "\t",
                                        "/",
                                        "<|reserved_20",
                                        "\xCC\x81",
                                        "\xFF",
                                        ""};
    enum { SIZE = 1 << 20, SECONDS = 8 /* of a sanitizer's slow code; a tenth of one otherwise */ };
    uint8_t *text = malloc(SIZE);
    assert_non_null(text);
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        size_t length = strlen(units[u]);
        for (size_t i = 0; i < SIZE; i++) {
            uint32_t word[4] = {0};
            if (!length)
                random_words(5, i, 0, word);
            text[i] = length ? (uint8_t)units[u][i % length] : (uint8_t)('a' + word[0] % 26);
        }
        size_t n = length ? SIZE - SIZE % length : SIZE;
        for (int control = 0; control < 2; control++) {
            clock_t begin = clock();
            struct token_list ids = encode(text, n, control);
            double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
            if (seconds > SECONDS)
                fail_msg("a mebibyte of '%s' took %.1f s", units[u], seconds);
            if (text[0] != 0xFF)
                expect_decoded(&ids, text, n);
            token_list_free(&ids);
        }
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_bytes_come_back_with_ill_formed_ones_replaced),
        cmocka_unit_test(a_stream_cut_anywhere_gives_the_same_characters_and_never_half_of_one),
        cmocka_unit_test(no_control_literal_in_any_place_becomes_a_control_token_unasked),
        cmocka_unit_test(text_beside_a_control_token_is_encoded_as_if_it_stood_alone),
        cmocka_unit_test(ids_are_appended_and_a_failure_leaves_the_list_as_it_was),
        cmocka_unit_test(a_long_text_gives_the_ids_of_its_lines),
        cmocka_unit_test(a_mebibyte_of_anything_takes_linear_time),
    };
    return cmocka_run_group_tests(tests, open_o200k, close_o200k);
}
