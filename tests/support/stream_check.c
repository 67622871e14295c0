#include "support/stream_check.h"

#include <string.h>

#include "base/buffer.h"
#include "text/utf8.h"

/* What is known while events arrive. */
struct watch {
    const char *problem;
    size_t covered; /* ids accounted for so far */
    bool open;      /* inside a message */
    bool plain;     /* no ordinary id of the stream spells a '<', so nothing visible may hold a control literal */
    struct buffer log;
};

static void expect(struct watch *watch, bool holds, const char *promise)
{
    if (!holds && !watch->problem)
        watch->problem = promise;
}

static void watch_string(struct watch *watch, const char *text, size_t n, const char *kind)
{
    expect(watch, utf8_valid((const uint8_t *)text, n), "a string is not UTF-8");
    bool literal = memmem(text, n, "<|", 2) != NULL && strncmp(text, "<|constrain|>", 13) != 0;
    expect(watch, !watch->plain || !literal, "a control token shows");
    expect(watch,
           buffer_append_format(&watch->log, NULL, "%s %zu ", kind, n) == GOSS_OK &&
               buffer_append(&watch->log, text, n, NULL) == GOSS_OK &&
               buffer_append(&watch->log, "\n", 1, NULL) == GOSS_OK,
           "memory");
}

static void watch_header(struct watch *watch, const struct event *event)
{
    const char *strings[] = {event->name, event->recipient, event->channel, event->content_type};
    static const char *const kinds[] = {"name", "recipient", "channel", "type"};
    for (int i = 0; i < 4; i++)
        if (strings[i])
            watch_string(watch, strings[i], strlen(strings[i]), kinds[i]);
}

static void watch_event(struct watch *watch, const struct event *event)
{
    size_t n_id = event->kind == EVENT_MESSAGE_END || event->kind == EVENT_REPAIR ? event->n_id : 0;
    if (n_id)
        expect(watch, event->first_id == watch->covered, "ids are skipped or counted twice");
    watch->covered += n_id;
    expect(watch,
           buffer_append_format(&watch->log, NULL, "%d %d %d %d %zu\n", (int)event->kind, (int)event->role,
                                event->terminator, event->truncated, n_id) == GOSS_OK,
           "memory");
    switch (event->kind) {
    case EVENT_MESSAGE_BEGIN:
        expect(watch, !watch->open, "a message begins inside another");
        watch->open = true;
        watch_header(watch, event);
        break;
    case EVENT_TEXT:
        expect(watch, watch->open && event->text_size > 0, "text outside a message, or empty");
        watch_string(watch, event->text, event->text_size, "text");
        break;
    case EVENT_MESSAGE_END:
        expect(watch, watch->open && n_id > 0, "an end without a beginning");
        watch->open = false;
        watch_header(watch, event);
        break;
    case EVENT_REPAIR: watch_string(watch, event->repair.kind, strlen(event->repair.kind), "repair"); break;
    case EVENT_NONE: break;
    }
}

static bool is_plain(const struct harmony *harmony, const int32_t *id, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t size;
        const uint8_t *bytes = tokenizer_bytes(harmony->tokenizer, id[i], &size);
        if (!tokenizer_is_control(harmony->tokenizer, id[i]) && size && memchr(bytes, '<', size))
            return false;
    }
    return true;
}

/* Pulls after every `every` ids. */
static void watch_stream(struct watch *watch, const struct harmony *harmony, const enum role *role, const int32_t *id,
                         size_t n, size_t every)
{
    struct parser *parser;
    struct event event;
    *watch = (struct watch){.plain = is_plain(harmony, id, n)};
    buffer_init(&watch->log, 1 << 28);
    expect(watch, parser_open(&parser, harmony, role, NULL) == GOSS_OK, "memory");
    for (size_t i = 0; i < n + 2 && !watch->problem; i++) { /* the last step: finishing again changes nothing */
        expect(watch, (i < n ? parser_feed(parser, id[i], NULL) : parser_finish(parser, NULL)) == GOSS_OK, "memory");
        if (i % every != every - 1 && i < n)
            continue;
        parser_next(parser, &event);
        expect(watch, i <= n || event.kind == EVENT_NONE, "finishing twice is not idempotent");
        for (; event.kind != EVENT_NONE; parser_next(parser, &event))
            watch_event(watch, &event);
    }
    expect(watch, watch->covered == n, "not every id is accounted for");
    expect(watch, !watch->open, "the last message does not end");
    parser_close(parser);
}

const char *stream_check(const struct harmony *harmony, const enum role *role, const int32_t *id, size_t n)
{
    struct watch each, seldom;
    watch_stream(&each, harmony, role, id, n, 1);
    watch_stream(&seldom, harmony, role, id, n, 7);
    const char *problem = each.problem ? each.problem : seldom.problem;
    if (!problem && n > 0 &&
        (each.log.size != seldom.log.size || memcmp(each.log.data, seldom.log.data, each.log.size) != 0))
        problem = "the reading depends on when events are pulled";
    buffer_free(&each.log);
    buffer_free(&seldom.log);
    return problem;
}
