/* Any text to `gossamer render`. What comes out has exactly the structure that the messages have: no text becomes a
 * control token. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harmony/json.h"
#include "text/json_tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct harmony harmony;

static void require(bool holds, const char *promise)
{
    if (!holds) {
        (void)fprintf(stderr, "%s\n", promise);
        abort();
    }
}

static void prepare(void)
{
    struct tokenizer *tokenizer;
    require(tokenizer_open_o200k(&tokenizer, NULL) == GOSS_OK, "no tokenizer");
    require(harmony_open(&harmony, tokenizer, NULL) == GOSS_OK, "no control tokens");
}

/* Every message has one <|start|>, one <|message|> and one terminator; a completion ends with one more <|start|>. */
static void check_structure(const struct json_node *ids, bool completion)
{
    size_t start = 0, message = 0, terminator = 0, other = 0;
    for (const struct json_node *node = ids->child; node; node = node->next) {
        int64_t value = -1;
        require(json_tree_integer(node, 0, INT32_MAX, &value), "an id is no id");
        int32_t id = (int32_t)value;
        start += id == harmony.start;
        message += id == harmony.message;
        terminator += id == harmony.end || id == harmony.call || id == harmony.ret;
        other += tokenizer_is_control(harmony.tokenizer, id) && id != harmony.channel && id != harmony.constrain;
    }
    require(other == start + message + terminator, "a control token that render never writes");
    require(start == message + completion && message == terminator, "structure that no message has");
}

/* Ids that a caller gives as sampled, and the opened answer, are structure of their own. */
static bool has_own_ids(const struct json_node *input)
{
    for (const struct json_node *node = json_tree_get(input, "messages")->child; node; node = node->next)
        if (json_tree_get(node, "sampled"))
            return true;
    return json_tree_get(input, "no_reasoning") != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buffer out;
    goss_error error;
    if (!harmony.tokenizer)
        prepare();
    buffer_init(&out, 1 << 26);
    if (harmony_render_json(&harmony, (const char *)data, size, &out, &error) == GOSS_OK) {
        struct arena arena = {0};
        struct json_node *input, *output;
        require(json_tree_read(&arena, (const char *)data, size, "input", &input, NULL) == GOSS_OK, "input changed");
        require(json_tree_read(&arena, (const char *)out.data, out.size, "output", &output, NULL) == GOSS_OK,
                "the output is no JSON");
        const struct json_node *mode = json_tree_get(input, "mode");
        bool completion = !json_tree_is(mode, JSON_TREE_STRING) || strcmp(mode->text, "completion") == 0;
        if (!has_own_ids(input))
            check_structure(json_tree_get(output, "ids"), completion);
        arena_free(&arena);
    } else {
        require(error.text[0] != 0, "a failure without a message");
    }
    buffer_free(&out);
    buffer_init(&out, 1 << 26);
    (void)harmony_parse_json(&harmony, (const char *)data, size, &out, &error);
    buffer_free(&out);
    return 0;
}
