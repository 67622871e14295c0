/* What a grammar costs with the whole vocabulary of o200k_harmony: compiling a schema, and one mask per token of a
 * text.
 *
 *     bench_grammar > bench/results/grammar.csv
 *
 * Each text is read twice by one grammar: `first` counts what has to be walked for the first time, `again` is a second
 * text of the same grammar. Times of a mask in microseconds, for each token the best of ROUNDS with a new grammar. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "grammar/grammar.h"
#include "text/tokenizer.h"

enum { N_ID = 201088, MOST_TOKENS = 4096, ROUNDS = 9 };

static const struct {
    const char *name, *schema, *text;
} cases[] = {
    {"any object", "{\"type\":\"object\"}",
     "{\"title\": \"The quick brown fox\", \"pages\": [1, 22, 333], \"inner\": {\"is\": true, \"none\": null}}"},
    {"weather call",
     "{\"type\":\"object\",\"properties\":{\"location\":{\"type\":\"string\"},\"unit\":{\"enum\":[\"celsius\","
     "\"fahrenheit\"]},"
     "\"days\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":14}},\"required\":[\"location\",\"unit\",\"days\"],"
     "\"additionalProperties\":false}",
     "{\"location\": \"San Francisco, California, somewhere near the harbour\", \"unit\": \"celsius\", \"days\": 12}"},
    {"invoice",
     "{\"type\":\"object\",\"properties\":{\"number\":{\"type\":\"string\",\"pattern\":\"^INV-[0-9]{4,8}$\"},"
     "\"date\":{\"type\":\"string\",\"format\":\"date\"},\"lines\":{\"type\":\"array\",\"minItems\":1,\"items\":{"
     "\"type\":\"object\","
     "\"properties\":{\"what\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":200},\"count\":{\"type\":\"integer\","
     "\"minimum\":1},"
     "\"price\":{\"type\":\"number\",\"minimum\":0}},\"required\":[\"what\",\"count\",\"price\"],"
     "\"additionalProperties\":false}},"
     "\"note\":{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"null\"}]}},"
     "\"required\":[\"number\",\"date\",\"lines\",\"note\"],\"additionalProperties\":false}",
     "{\n  \"number\": \"INV-20261\",\n  \"date\": \"2026-11-21\",\n  \"lines\": [\n    {\n      \"what\": \"twelve "
     "red bicycles with "
     "bells\",\n      \"count\": 12,\n      \"price\": 149.95\n    },\n    {\n      \"what\": \"delivery to the "
     "door\",\n      \"count\": 1,"
     "\n      \"price\": 20\n    }\n  ],\n  \"note\": \"paid in full, thank you very much\"\n}"},
    {"tree",
     "{\"$ref\":\"#/$defs/"
     "node\",\"$defs\":{\"node\":{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},"
     "\"children\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/node\"}}},\"required\":[\"name\",\"children\"],"
     "\"additionalProperties\":false}}}",
     "{\"name\": \"root of it\", \"children\": [{\"name\": \"left\", \"children\": []}, {\"name\": \"right\", "
     "\"children\": "
     "[{\"name\": \"deep down\", \"children\": []}]}]}"},
    {"many shapes",
     "{\"anyOf\":[{\"type\":\"object\",\"properties\":{\"kind\":{\"const\":\"circle\"},\"radius\":{\"type\":\"number\"}"
     ",\"label\":"
     "{\"type\":\"string\",\"maxLength\":40}},\"required\":[\"kind\",\"radius\",\"label\"]},{\"type\":\"object\","
     "\"properties\":{\"kind\":"
     "{\"const\":\"square\"},\"side\":{\"type\":\"number\"},\"label\":{\"type\":\"string\",\"pattern\":\"^[A-Z].*$\"}},"
     "\"required\":"
     "[\"kind\",\"side\",\"label\"]},{\"type\":\"object\",\"properties\":{\"label\":{\"type\":\"string\",\"maxLength\":"
     "60}}}]}",
     "{\"label\": \"Something round and red\", \"kind\": \"circle\", \"radius\": 2.75}"},
    {"counted string", "{\"type\":\"string\",\"minLength\":40,\"maxLength\":120}",
     "\"it was the best of times, it was the worst of times, it was the age of wisdom\""},
    {"pattern", "{\"type\":\"string\",\"pattern\":\"^[a-z ,.]{10,400}$\"}",
     "\"it was the best of times, it was the worst of times, it was the age of wisdom\""},
    {"loose pattern", "{\"type\":\"string\",\"pattern\":\"[0-9]+.*[a-z]{3}\"}",
     "\"in 1859 it was the best of times, it was the worst of times, it was the age of wisdom\""},
};

static double now(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return 1e6 * (double)time.tv_sec + 1e-3 * (double)time.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void check(goss_status status, const goss_error *error)
{
    if (status == GOSS_OK)
        return;
    (void)fprintf(stderr, "%s\n", error->text);
    exit(1);
}

/* Reads the text; the microseconds of each mask. */
static void read_text(struct grammar *grammar, const struct vocabulary *vocabulary, const struct token_list *ids,
                      double *micros)
{
    static uint64_t mask[(N_ID + 63) / 64];
    struct matcher *matcher;
    goss_error error;
    check(matcher_open(&matcher, grammar, vocabulary, &error), &error);
    for (size_t i = 0; i < ids->size; i++) {
        double begin = now();
        check(matcher_mask(matcher, mask, &error), &error);
        double time = now() - begin;
        micros[i] = time < micros[i] ? time : micros[i];
        int32_t id = ids->id[i];
        if (!(mask[id / 64] >> (id % 64) & 1) || !matcher_token(matcher, id)) {
            (void)fprintf(stderr, "token %zu of the text may not come\n", i);
            exit(1);
        }
    }
    if (!matcher_can_end(matcher))
        exit(1);
    matcher_close(matcher);
}

static void print_row(const char *name, const char *pass, double compile, double *micros, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += micros[i];
    qsort(micros, n, sizeof *micros, by_size);
    printf("%s,%s,%zu,%.2f,%.1f,%.1f,%.1f,%.1f\n", name, pass, n, compile / 1000, sum / (double)n, micros[n / 2],
           micros[n * 95 / 100], micros[n - 1]);
}

static void measure(size_t i, const struct vocabulary *vocabulary, const struct tokenizer *tokenizer)
{
    static double first[MOST_TOKENS], again[MOST_TOKENS];
    struct token_list ids = {0};
    goss_error error;
    check(tokenizer_encode(tokenizer, cases[i].text, strlen(cases[i].text), false, &ids, &error), &error);
    double compile = 1e12;
    for (size_t j = 0; j < MOST_TOKENS; j++)
        first[j] = again[j] = 1e12;
    for (int round = 0; round < ROUNDS; round++) {
        struct grammar *grammar;
        double begin = now();
        check(grammar_from_schema(&grammar, cases[i].schema, strlen(cases[i].schema), false, &error), &error);
        double time = now() - begin;
        compile = time < compile ? time : compile;
        read_text(grammar, vocabulary, &ids, first);
        read_text(grammar, vocabulary, &ids, again);
        grammar_close(grammar);
    }
    print_row(cases[i].name, "first", compile, first, ids.size);
    print_row(cases[i].name, "again", compile, again, ids.size);
    token_list_free(&ids);
}

int main(void)
{
    struct tokenizer *tokenizer;
    struct vocabulary *vocabulary;
    goss_error error;
    check(tokenizer_open_o200k(&tokenizer, &error), &error);
    double begin = now();
    check(vocabulary_open(&vocabulary, tokenizer, N_ID, &error), &error);
    printf("# vocabulary of %d ids: %.0f ms\n", N_ID, (now() - begin) / 1000);
    printf("schema,pass,tokens,compile_ms,mean_us,median_us,p95_us,most_us\n");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        measure(i, vocabulary, tokenizer);
    vocabulary_close(vocabulary);
    tokenizer_close(tokenizer);
    return 0;
}
