#include "harmony/parse.h"

#include <stdlib.h>
#include <string.h>

#include "harmony/header.h"

/* A header longer than this is text: 96 ids hold any name of a tool with room to spare. In a model's turn, five words
 * before the first control token are enough to know that it answers without markup. */
enum { HEADER_IDS = 96, HEADER_WORDS = 5, QUEUE_LIMIT = 1 << 30 };

enum state { BETWEEN, HEADER, CONTENT };

/* A waiting event; its strings are offsets into queue_text, which may move. */
enum { STRING_NAME, STRING_RECIPIENT, STRING_CHANNEL, STRING_TYPE, STRING_TEXT, N_STRING };
struct queued {
    struct event event;
    size_t offset[N_STRING]; /* SIZE_MAX: absent */
};

struct parser {
    const struct harmony *harmony;
    bool generated; /* a role was given: this is one turn of a model */
    enum role role; /* that role */

    enum state state;
    bool closed;     /* the last message was an answer, and complete */
    size_t position; /* of the id being read */
    size_t begin;    /* the first id that no event has accounted for */

    bool role_given; /* HEADER: header.role holds the role, because no <|start|> stood before this header */
    size_t n_header; /* HEADER: ids collected */
    bool marked;     /* HEADER: a control token stood in it */
    struct buffer header_text;
    struct header header;  /* its spans point into header_text and speaker, which stay until the next header */
    struct buffer speaker; /* the name that an implied header inherits */
    bool repaired;

    struct utf8_stream characters;
    struct queued *queue; /* [n_queue], pulled up to next */
    size_t n_queue, capacity, next;
    struct buffer queue_text;
};

goss_status parser_open(struct parser **parser, const struct harmony *harmony, const enum role *role, goss_error *error)
{
    *parser = calloc(1, sizeof **parser);
    if (!*parser)
        return error_memory(error, sizeof **parser, "a parser");
    (*parser)->harmony = harmony;
    (*parser)->header.role = ROLE_ASSISTANT;
    if (role) {
        (*parser)->generated = (*parser)->role_given = true;
        (*parser)->role = (*parser)->header.role = *role;
        (*parser)->state = HEADER;
    }
    buffer_init(&(*parser)->header_text, QUEUE_LIMIT);
    buffer_init(&(*parser)->queue_text, QUEUE_LIMIT);
    buffer_init(&(*parser)->speaker, QUEUE_LIMIT);
    return GOSS_OK;
}

void parser_close(struct parser *parser)
{
    if (!parser)
        return;
    buffer_free(&parser->header_text);
    buffer_free(&parser->queue_text);
    buffer_free(&parser->speaker);
    free(parser->queue);
    free(parser);
}

/* NULL when memory is out, which *status then says. */
static struct queued *enqueue(struct parser *parser, const struct event *event, goss_status *status, goss_error *error)
{
    if (parser->n_queue == parser->capacity) {
        size_t capacity = parser->capacity ? 2 * parser->capacity : 8, n;
        struct queued *queue = __builtin_mul_overflow(capacity, sizeof *queue, &n) ? NULL : realloc(parser->queue, n);
        if (!queue) {
            *status = error_memory(error, capacity * sizeof *queue, "events");
            return NULL;
        }
        parser->queue = queue;
        parser->capacity = capacity;
    }
    struct queued *queued = &parser->queue[parser->n_queue++];
    queued->event = *event;
    for (int i = 0; i < N_STRING; i++)
        queued->offset[i] = SIZE_MAX;
    *status = GOSS_OK;
    return queued;
}

/* A string of the event, after `prefix`, with a NUL at its end. */
static goss_status attach(struct parser *parser, struct queued *queued, int string, const char *prefix,
                          struct span span, goss_error *error)
{
    struct buffer *text = &parser->queue_text;
    size_t offset = text->size;
    goss_status status = buffer_append_text(text, prefix, error);
    if (status == GOSS_OK && span.size)
        status = buffer_append(text, span.data, span.size, error);
    for (size_t i = offset; i < text->size && string != STRING_TEXT; i++)
        if (text->data[i] == 0)
            text->data[i] = '?'; /* a header's strings are C strings */
    status = status ? status : buffer_append(text, "", 1, error);
    queued->offset[string] = status ? SIZE_MAX : offset;
    return status;
}

/* n_id ids from `begin` on belong to no message. */
static goss_status emit_repair_of(struct parser *parser, const char *kind, size_t position, size_t n_id,
                                  goss_error *error)
{
    const struct event event = {
        .kind = EVENT_REPAIR, .terminator = -1, .first_id = parser->begin, .n_id = n_id, .repair = {kind, position}};
    goss_status status;
    parser->repaired = true;
    (void)enqueue(parser, &event, &status, error);
    return status;
}

static goss_status emit_repair(struct parser *parser, const char *kind, size_t position, goss_error *error)
{
    return emit_repair_of(parser, kind, position, 0, error);
}

/* How a message ended says nothing against its ids: rendered again they get the right terminator. */
static goss_status emit_ending(struct parser *parser, const char *kind, goss_error *error)
{
    bool repaired = parser->repaired;
    goss_status status = emit_repair(parser, kind, parser->position, error);
    parser->repaired = repaired;
    return status;
}

/* The ids from `begin` up to but without `end` belong to no message. */
static goss_status emit_skipped(struct parser *parser, const char *kind, size_t end, goss_error *error)
{
    goss_status status = emit_repair_of(parser, kind, parser->begin, end - parser->begin, error);
    parser->begin = end;
    parser->repaired = false;
    return status;
}

static goss_status emit_text(struct parser *parser, const char *text, size_t n, goss_error *error)
{
    const struct event event = {.kind = EVENT_TEXT, .text_size = n, .terminator = -1};
    goss_status status = GOSS_OK;
    struct queued *queued = n ? enqueue(parser, &event, &status, error) : NULL;
    return queued ? attach(parser, queued, STRING_TEXT, "", (struct span){text, n}, error) : status;
}

static goss_status emit_message(struct parser *parser, const struct event *event, goss_error *error)
{
    const struct header *header = &parser->header;
    const struct span span[] = {header->name, header->recipient, header->channel, header->content_type};
    goss_status status;
    struct queued *queued = enqueue(parser, event, &status, error);
    if (!queued)
        return status;
    queued->event.role = header->role;
    for (int i = 0; i <= STRING_TYPE && status == GOSS_OK; i++)
        if (span[i].data)
            status = attach(parser, queued, i, i == STRING_TYPE && header->constrained ? "<|constrain|>" : "", span[i],
                            error);
    return status;
}

static goss_status begin_message(struct parser *parser, goss_error *error)
{
    goss_status status = GOSS_OK;
    for (size_t i = 0; i < parser->header.n_repair && status == GOSS_OK; i++)
        status = emit_repair(parser, parser->header.repair[i], parser->begin, error);
    parser->state = CONTENT;
    return status ? status
                  : emit_message(parser, &(struct event){.kind = EVENT_MESSAGE_BEGIN, .terminator = -1}, error);
}

/* Characters that have become whole go out as one event. */
static goss_status add_text(struct parser *parser, const uint8_t *bytes, size_t n, bool flush, goss_error *error)
{
    struct buffer text;
    buffer_init(&text, QUEUE_LIMIT);
    goss_status status = flush ? utf8_stream_flush(&parser->characters, &text, error)
                               : utf8_stream_add(&parser->characters, bytes, n, &text, error);
    if (status == GOSS_OK)
        status = emit_text(parser, (const char *)text.data, text.size, error);
    buffer_free(&text);
    return status;
}

static bool header_is_answer(const struct header *header)
{
    bool answer = !header->channel.data ||
                  (header->channel.size == strlen("final") && memcmp(header->channel.data, "final", 5) == 0);
    return header->role == ROLE_ASSISTANT && !header->recipient.data && answer;
}

/* The message's ids are those from `begin` up to but without `end`. */
static goss_status end_message(struct parser *parser, int32_t terminator, bool truncated, size_t end, goss_error *error)
{
    goss_status status = add_text(parser, NULL, 0, true, error);
    const struct event event = {.kind = EVENT_MESSAGE_END,
                                .terminator = terminator,
                                .truncated = truncated,
                                .repaired = parser->repaired,
                                .first_id = parser->begin,
                                .n_id = end - parser->begin};
    status = status ? status : emit_message(parser, &event, error);
    parser->closed = header_is_answer(&parser->header);
    parser->begin = end;
    parser->state = BETWEEN;
    parser->repaired = false;
    return status;
}

/* Without <|start|> (implied) the speaker is the one who spoke last, so that the text of a user or a tool stays theirs;
 * in a model's turn it is the model. */
static goss_status begin_header(struct parser *parser, bool implied, goss_error *error)
{
    struct header *header = &parser->header;
    struct span name = implied && !parser->generated ? header->name : (struct span){0};
    goss_status status = GOSS_OK;
    if (name.data && name.data != (const char *)parser->speaker.data) { /* header_text is about to be used again */
        buffer_clear(&parser->speaker);
        status = buffer_append(&parser->speaker, name.data, name.size, error);
        name.data = (const char *)parser->speaker.data;
    }
    *header = (struct header){.role = parser->generated ? parser->role : header->role, .name = name};
    parser->state = HEADER;
    parser->closed = false;
    parser->role_given = implied;
    parser->n_header = 0;
    parser->marked = false;
    buffer_clear(&parser->header_text);
    return status;
}

static goss_status add_header_text(struct parser *parser, const uint8_t *bytes, size_t n, bool flush, goss_error *error)
{
    return flush ? utf8_stream_flush(&parser->characters, &parser->header_text, error)
                 : utf8_stream_add(&parser->characters, bytes, n, &parser->header_text, error);
}

/* Text that stood in the header, without its marks. */
static goss_status emit_header_text(struct parser *parser, goss_error *error)
{
    struct span rest = parser->header.text;
    goss_status status = GOSS_OK;
    size_t begin = 0;
    for (size_t i = 0; i <= rest.size && status == GOSS_OK; i++) {
        unsigned char c = i < rest.size ? (unsigned char)rest.data[i] : MARK_CHANNEL;
        if (c != MARK_CHANNEL && c != MARK_CONSTRAIN)
            continue;
        status = emit_text(parser, rest.data + begin, i - begin, error);
        begin = i + 1;
    }
    return status;
}

static goss_status read_header(struct parser *parser, enum header_end end, goss_error *error)
{
    goss_status status = add_header_text(parser, NULL, 0, true, error);
    if (status == GOSS_OK)
        header_read(&parser->header, parser->header_text.data ? (const char *)parser->header_text.data : "",
                    parser->header_text.size, end, parser->role_given, parser->generated);
    return status;
}

/* The header ended without <|message|> and without going on: it is a message if anything was said in it. */
static goss_status end_header(struct parser *parser, int32_t terminator, enum header_end how, size_t end,
                              goss_error *error)
{
    goss_status status = read_header(parser, how, error);
    if (status)
        return status;
    if (header_is_empty(&parser->header)) {
        parser->state = BETWEEN;
        return end > parser->begin ? emit_skipped(parser, "empty_header", end, error) : GOSS_OK;
    }
    status = begin_message(parser, error);
    status = status ? status : emit_header_text(parser, error);
    return status ? status : end_message(parser, terminator, how == HEADER_CUT, end, error);
}

/* The header has grown too long to be one. */
static goss_status give_up_header(struct parser *parser, goss_error *error)
{
    goss_status status = read_header(parser, HEADER_STOP, error);
    status = status ? status : begin_message(parser, error);
    return status ? status : emit_header_text(parser, error);
}

static bool is_terminator(const struct harmony *harmony, int32_t id)
{
    return id == harmony->end || id == harmony->call || id == harmony->ret || id == harmony->endoftext;
}

static goss_status feed_header_text(struct parser *parser, int32_t id, goss_error *error)
{
    size_t n;
    const uint8_t *bytes = tokenizer_bytes(parser->harmony->tokenizer, id, &n);
    if (tokenizer_is_control(parser->harmony->tokenizer, id))
        return emit_repair(parser, "stray_control", parser->position, error);
    if (n == 0)
        return emit_repair(parser, "unknown_id", parser->position, error);
    return add_header_text(parser, bytes, n, false, error);
}

static goss_status feed_header_mark(struct parser *parser, uint8_t mark, goss_error *error)
{
    parser->marked = true;
    goss_status status = add_header_text(parser, NULL, 0, true, error);
    return status ? status : buffer_append(&parser->header_text, &mark, 1, error);
}

static goss_status feed_header_start(struct parser *parser, goss_error *error)
{
    struct header probe = parser->header;
    goss_status status = add_header_text(parser, NULL, 0, true, error);
    if (status)
        return status;
    header_read(&probe, parser->header_text.data ? (const char *)parser->header_text.data : "",
                parser->header_text.size, HEADER_STOP, parser->role_given, parser->generated);
    if (!header_is_empty(&probe)) {
        status = end_header(parser, -1, HEADER_STOP, parser->position, error);
    } else if (parser->position > parser->begin) {
        status = emit_skipped(parser, parser->role_given ? "text_between" : "repeated_start", parser->position, error);
    } else {
        status = emit_repair(parser, "repeated_start", parser->position, error); /* the prompt had written it */
    }
    return status ? status : begin_header(parser, false, error);
}

static goss_status feed_header(struct parser *parser, int32_t id, goss_error *error)
{
    const struct harmony *harmony = parser->harmony;
    if (id == harmony->start)
        return feed_header_start(parser, error);
    if (is_terminator(harmony, id))
        return end_header(parser, id, HEADER_STOP, parser->position + 1, error);
    if (id == harmony->message) {
        goss_status status = read_header(parser, HEADER_MESSAGE, error);
        return status ? status : begin_message(parser, error);
    }
    goss_status status = id == harmony->channel     ? feed_header_mark(parser, MARK_CHANNEL, error)
                         : id == harmony->constrain ? feed_header_mark(parser, MARK_CONSTRAIN, error)
                                                    : feed_header_text(parser, id, error);
    const char *text = parser->header_text.data ? (const char *)parser->header_text.data : "";
    bool wordy = parser->generated && !parser->marked &&
                 header_words(text, parser->header_text.size, HEADER_WORDS) == HEADER_WORDS;
    if (status == GOSS_OK && (++parser->n_header == HEADER_IDS || wordy))
        status = give_up_header(parser, error);
    return status;
}

static goss_status feed_content(struct parser *parser, int32_t id, goss_error *error)
{
    const struct harmony *harmony = parser->harmony;
    if (is_terminator(harmony, id)) {
        goss_status status = id == harmony->endoftext ? emit_ending(parser, "endoftext", error) : GOSS_OK;
        return status ? status : end_message(parser, id, false, parser->position + 1, error);
    }
    if (id == harmony->start || id == harmony->channel) {
        goss_status status = emit_ending(parser, "missing_end", error);
        status = status ? status : end_message(parser, -1, false, parser->position, error);
        status = status ? status : begin_header(parser, id == harmony->channel, error);
        return status || id == harmony->start ? status : feed_header(parser, id, error);
    }
    size_t n;
    const uint8_t *bytes = tokenizer_bytes(harmony->tokenizer, id, &n);
    if (tokenizer_is_control(harmony->tokenizer, id))
        return emit_repair(parser, "stray_control", parser->position, error);
    if (n > 0)
        return add_text(parser, bytes, n, false, error);
    goss_status status = emit_repair(parser, "unknown_id", parser->position, error);
    return status ? status : add_text(parser, (const uint8_t *)"\xEF\xBF\xBD", 3, false, error);
}

static goss_status feed_between(struct parser *parser, int32_t id, goss_error *error)
{
    if (id == parser->harmony->start) {
        goss_status status =
            parser->position > parser->begin ? emit_skipped(parser, "ignored_tail", parser->position, error) : GOSS_OK;
        return status ? status : begin_header(parser, false, error);
    }
    if (parser->closed)
        return GOSS_OK; /* a tail: reported when it ends */
    if (is_terminator(parser->harmony, id))
        return emit_skipped(parser, "stray_terminator", parser->position + 1, error);
    goss_status status = emit_repair(parser, "missing_start", parser->position, error);
    status = status ? status : begin_header(parser, true, error);
    return status ? status : feed_header(parser, id, error);
}

/* Events that were pulled make room. */
static void drop_pulled(struct parser *parser)
{
    if (parser->next < parser->n_queue)
        return;
    parser->next = parser->n_queue = 0;
    buffer_clear(&parser->queue_text);
}

goss_status parser_feed(struct parser *parser, int32_t id, goss_error *error)
{
    drop_pulled(parser);
    goss_status status = parser->state == HEADER    ? feed_header(parser, id, error)
                         : parser->state == CONTENT ? feed_content(parser, id, error)
                                                    : feed_between(parser, id, error);
    parser->position++;
    return status;
}

goss_status parser_finish(struct parser *parser, goss_error *error)
{
    drop_pulled(parser);
    goss_status status = GOSS_OK;
    if (parser->state == HEADER)
        return end_header(parser, -1, HEADER_CUT, parser->position, error);
    if (parser->state == CONTENT) {
        status = emit_ending(parser, "truncated", error);
        return status ? status : end_message(parser, -1, true, parser->position, error);
    }
    if (parser->position > parser->begin)
        status = emit_skipped(parser, "ignored_tail", parser->position, error);
    return status;
}

void parser_next(struct parser *parser, struct event *event)
{
    *event = (struct event){.kind = EVENT_NONE, .terminator = -1};
    if (parser->next == parser->n_queue)
        return;
    const struct queued *queued = &parser->queue[parser->next++];
    *event = queued->event;
    const char **string[] = {&event->name, &event->recipient, &event->channel, &event->content_type, &event->text};
    for (int i = 0; i < N_STRING; i++)
        if (queued->offset[i] != SIZE_MAX)
            *string[i] = (const char *)parser->queue_text.data + queued->offset[i];
}
