#include "support/harmony.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "harmony/json.h"

struct harmony support_harmony;
static struct tokenizer *tokenizer;

int support_open(void **state)
{
    (void)state;
    goss_error error;
    if (tokenizer_open_o200k(&tokenizer, &error) || harmony_open(&support_harmony, tokenizer, &error)) {
        print_error("%s\n", error.text);
        return -1;
    }
    return 0;
}

int support_close(void **state)
{
    (void)state;
    tokenizer_close(tokenizer);
    return 0;
}

void vectors_open(struct vectors *vectors, const char *name)
{
    goss_error error;
    size_t size;
    char *path = file_join(TEST_DATA, name);
    *vectors = (struct vectors){0};
    if (file_read(path, 1 << 26, &vectors->text, &size, &error) ||
        json_tree_read(&vectors->arena, (const char *)vectors->text, size, name, &vectors->root, &error))
        fail_msg("%s", error.text);
    free(path);
}

void vectors_close(struct vectors *vectors)
{
    arena_free(&vectors->arena);
    free(vectors->text);
}

void support_encode(const char *text, struct token_list *ids)
{
    assert_int_equal(tokenizer_encode(tokenizer, text, strlen(text), true, ids, NULL), GOSS_OK);
}

void support_ids(const struct json_node *array, struct token_list *ids)
{
    assert_true(json_tree_is(array, JSON_TREE_ARRAY));
    for (const struct json_node *node = array->child; node; node = node->next) {
        int64_t value;
        if (!json_tree_integer(node, INT32_MIN, INT32_MAX, &value))
            value = -1; /* beyond 32 bits: as unknown as any other */
        assert_int_equal(token_list_append(ids, &(int32_t){(int32_t)value}, 1, NULL), GOSS_OK);
    }
}

static const char *shown(const char *text)
{
    return text ? text : "-";
}

static void log_event(const struct event *event, size_t *covered, struct buffer *log)
{
    if (event->kind == EVENT_TEXT) {
        assert_int_equal(buffer_append_text(log, "text ", NULL), GOSS_OK);
        assert_int_equal(json_write_string(log, event->text, event->text_size, NULL), GOSS_OK);
        assert_int_equal(buffer_append_text(log, "\n", NULL), GOSS_OK);
        return;
    }
    if (event->n_id) {
        assert_int_equal(event->first_id, *covered);
        *covered += event->n_id;
    }
    goss_status status;
    if (event->kind == EVENT_REPAIR)
        status = buffer_append_format(log, NULL, "repair %s %zu +%zu\n", event->repair.kind, event->repair.position,
                                      event->n_id);
    else
        status = buffer_append_format(log, NULL, "%s %s %s %s %s %s %d %d %zu\n",
                                      event->kind == EVENT_MESSAGE_BEGIN ? "begin" : "end", role_name(event->role),
                                      shown(event->name), shown(event->recipient), shown(event->channel),
                                      shown(event->content_type), event->terminator, event->truncated, event->n_id);
    assert_int_equal(status, GOSS_OK);
}

void support_read(const enum role *role, const int32_t *id, size_t n, struct buffer *log)
{
    struct parser *parser;
    struct event event;
    size_t covered = 0;
    assert_int_equal(parser_open(&parser, &support_harmony, role, NULL), GOSS_OK);
    for (size_t i = 0; i <= n; i++) {
        assert_int_equal(i < n ? parser_feed(parser, id[i], NULL) : parser_finish(parser, NULL), GOSS_OK);
        for (parser_next(parser, &event); event.kind != EVENT_NONE; parser_next(parser, &event))
            log_event(&event, &covered, log);
    }
    assert_int_equal(covered, n);
    parser_close(parser);
}

void support_parse(const char *role, const char *text, struct buffer *out)
{
    struct token_list ids = {0};
    struct buffer input;
    buffer_init(&input, 1 << 24);
    support_encode(text, &ids);
    assert_int_equal(
        buffer_append_format(&input, NULL, role ? "{\"role\":\"%s\",\"ids\":[" : "{\"ids\":[%s", role ? role : ""),
        GOSS_OK);
    for (size_t i = 0; i < ids.size; i++)
        assert_int_equal(buffer_append_format(&input, NULL, "%s%d", i ? "," : "", ids.id[i]), GOSS_OK);
    assert_int_equal(buffer_append_text(&input, "]}", NULL), GOSS_OK);
    assert_int_equal(harmony_parse_json(&support_harmony, (const char *)input.data, input.size, out, NULL), GOSS_OK);
    buffer_free(&input);
    token_list_free(&ids);
}
