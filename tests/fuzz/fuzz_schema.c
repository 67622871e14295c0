/* A schema, a NUL and what to say: the schema is refused with a message, or a text is made along its masks, each byte
 * of the input choosing one of the tokens that may come. Whatever was said can be completed, and a mask is never wrong
 * about a token that is tried. */
#include <stdlib.h>
#include <string.h>

#include "support/grammar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST_IDS = 512 };

static bool has(const uint64_t *mask, int32_t id)
{
    return mask[id / 64] >> (id % 64) & 1;
}

/* The first allowed id from `from` on, round about; -1 if there is none. */
static int32_t choose(const uint64_t *mask, int32_t n_id, int32_t from)
{
    for (int32_t i = 0; i < n_id; i++)
        if (has(mask, (from + i) % n_id))
            return (from + i) % n_id;
    return -1;
}

static void say(struct matcher *matcher, const uint8_t *choice, size_t n)
{
    uint64_t mask[MOST_IDS / 64];
    int32_t n_id = vocabulary_size(toy_vocabulary);
    for (size_t i = 0; i < n && i < 200; i++) {
        if (matcher_mask(matcher, mask, NULL))
            return;
        int32_t id = choose(mask, n_id, choice[i]), other = choice[i] * 7 % n_id;
        if (id < 0 && !matcher_can_end(matcher))
            abort();
        if (!has(mask, other) && matcher_token(matcher, other))
            abort();
        if (id < 0)
            return;
        if (!matcher_token(matcher, id))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!toy_vocabulary && (toy_open(NULL) || vocabulary_size(toy_vocabulary) > MOST_IDS))
        abort();
    const uint8_t *end = memchr(data, 0, size);
    size_t schema_size = end ? (size_t)(end - data) : size;
    struct grammar *grammar;
    struct matcher *matcher;
    goss_error error = {0};
    if (grammar_from_schema(&grammar, (const char *)data, schema_size, size % 2, &error))
        return error.text[0] ? 0 : (abort(), 0);
    if (matcher_open(&matcher, grammar, toy_vocabulary, &error) == GOSS_OK) {
        if (end)
            say(matcher, end + 1, size - schema_size - 1);
        matcher_close(matcher);
    }
    grammar_close(grammar);
    return 0;
}
