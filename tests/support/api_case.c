#include "support/api_case.h"

#include <stdlib.h>
#include <string.h>

#include "api/json_out.h"
#include "support/harmony.h"
#include "support/wire.h"

static enum api_wire wire_of(const struct json_node *node)
{
    static const char *const names[] = {"responses", "chat", "completions", "messages"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(node->text, names[i]) == 0)
            return (enum api_wire)i;
    fail_msg("no wire '%s'", node->text);
    return API_CHAT;
}

static char *copy(const char *text, size_t size)
{
    char *c = malloc(size + 1);
    assert_non_null(c);
    memcpy(c, text, size);
    c[size] = 0;
    return c;
}

static int number_of(const struct json_node *node)
{
    int64_t value = 0;
    if (node)
        assert_true(json_tree_integer(node, 0, 1000, &value));
    return (int)value;
}

static void write_run(const struct wire_run *run, struct buffer *out)
{
    struct json_out json = {.out = out};
    json_out_open(&json, NULL, '{');
    json_out_integer(&json, "http", run->http);
    json_out_bytes(&json, "prompt", run->prompt.size ? (const char *)run->prompt.data : "", run->prompt.size);
    json_out_bytes(&json, "stream", run->stream.size ? (const char *)run->stream.data : "", run->stream.size);
    json_out_raw(&json, "object", (const char *)run->object.data, run->object.size);
    if (run->input_items.size > 0)
        json_out_raw(&json, "input_items", (const char *)run->input_items.data, run->input_items.size);
    json_out_close(&json, '}');
    assert_int_equal(json.status, GOSS_OK);
}

void api_case_answer(const char *text, size_t size, struct buffer *out)
{
    struct arena arena = {0};
    struct json_node *root;
    goss_error error;
    if (json_tree_read(&arena, text, size, "a case", &root, &error))
        fail_msg("%s", error.text);
    const struct json_node *body = json_tree_get(root, "body"), *list = json_tree_get(root, "script");
    const struct json_node *key = json_tree_get(root, "key");
    bool plain = body->kind == JSON_TREE_STRING;
    char *copied = copy(plain ? body->text : body->source, plain ? body->size : body->source_size);
    struct wire_run run = {.wire = wire_of(json_tree_get(root, "wire")),
                           .body = copied,
                           .script = {""},
                           .key = key ? key->text : NULL,
                           .settings = wire_settings(),
                           .cancel_after = number_of(json_tree_get(root, "cancel_after")),
                           .fail_after = number_of(json_tree_get(root, "fail_after"))};
    size_t n = 0;
    for (const struct json_node *node = list ? list->child : NULL; node && n < WIRE_SCRIPTS; node = node->next)
        run.script[n++] = node->text;
    run.settings.open_responses = json_tree_is(json_tree_get(root, "open_responses"), JSON_TREE_TRUE);
    wire_open(&run);
    write_run(&run, out);
    wire_close(&run);
    free(copied);
    arena_free(&arena);
}
