#include "agent/turn.h"

#include <stdlib.h>
#include <string.h>

#include "agent/guide.h"
#include "agent/stop_string.h"
#include "base/buffer.h"

enum { MOST_TEXT = 1 << 30, /* bytes of one message */ MOST_STOPS = MODEL_MAX_STOPS + 3, MOST_BOUNDARIES = 3 };

enum stage {
    STAGE_SAMPLE, /* tokens are pulled and fed to the parser */
    STAGE_CLOSE,  /* no more tokens: the parser closes what is open */
    STAGE_DONE,   /* the last event is due */
};

struct turn {
    struct engine *engine;
    const struct harmony *harmony;
    struct conversation *conversation;
    struct sequence *sequence;
    struct parser *parser;
    struct turn_guide *guide; /* NULL if nothing is bound */
    struct stop_strings stops;
    uint64_t seed;
    struct token_list prompt, fed; /* fed: the ids that the parser has read; the first may end the prompt */
    struct sequence_request request;
    int32_t stop[MOST_STOPS], boundary[MOST_BOUNDARIES]; /* of the request */
    struct sampled *answer;                              /* [n_answer] */
    size_t n_answer, capacity;

    enum stage stage;
    bool deaf;                     /* the turn is over, whatever else the parser has to say */
    bool raw;                      /* there is no parser: everything is one final message, begun or not */
    struct utf8_stream characters; /* of a raw turn: whole ones */
    bool begun;
    bool called;
    enum turn_finish finish;
    goss_error error;

    /* The message under way. */
    bool open, closing; /* closing: the parser has ended it, text may still be held back */
    enum turn_part part;
    char *recipient, *channel, *content_type; /* owned; NULL when absent */
    struct buffer text, delta;
    size_t shown;     /* bytes of text that were handed out */
    bool cut;         /* text ends before a stop string */
    struct event end; /* its strings are gone, the numbers count */
};

struct turn_options turn_options_default(void)
{
    return (struct turn_options){.sampling = sampling_default(), .drop = DROP_TURN, .call = CALL_CHANNEL};
}

/* ---- opening ---- */

static struct part *system_part_of(const struct message *message, size_t n, struct part *part)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < message[i].n_part; j++)
            if (message[i].part[j].kind == PART_SYSTEM) {
                *part = message[i].part[j];
                return part;
            }
    return NULL;
}

/* Renders with the first system message saying another effort; the conversation itself stays as it is. */
static goss_status render_with_effort(struct turn *t, enum effort effort, const struct render_options *options,
                                      goss_error *error)
{
    struct conversation view = *t->conversation;
    size_t n = view.n_message, at = 0;
    struct part part;
    while (at < n && !system_part_of(&view.message[at], 1, &part))
        at++;
    if (at == n)
        return error_set(error, GOSS_E_ARGUMENT, "the conversation has no system message that could state the effort");
    view.message = malloc(n * sizeof *view.message);
    struct part *parts = malloc(t->conversation->message[at].n_part * sizeof *parts);
    goss_status status = GOSS_OK;
    if (view.message && parts) {
        memcpy(view.message, t->conversation->message, n * sizeof *view.message);
        struct message *message = &view.message[at];
        for (size_t i = 0; i < message->n_part; i++) {
            parts[i] = message->part[i];
            parts[i].effort = effort;
        }
        message->part = parts;
        status = render(t->harmony, &view, options, &t->prompt, error);
    } else {
        status = error_memory(error, n * sizeof *view.message, "a conversation");
    }
    free(view.message);
    free(parts);
    return status;
}

static goss_status render_prompt(struct turn *t, const struct turn_options *o, goss_error *error)
{
    if (o->raw)
        return token_list_append(&t->prompt, o->raw, o->n_raw, error);
    struct part part;
    enum effort stated = EFFORT_UNSET;
    if (system_part_of(t->conversation->message, t->conversation->n_message, &part))
        stated = part.effort;
    enum effort effort = o->effort == EFFORT_UNSET ? stated : o->effort;
    struct render_options options = {.mode = RENDER_COMPLETION,
                                     .next_role = ROLE_ASSISTANT,
                                     .drop = o->drop,
                                     .call = o->call,
                                     .no_reasoning = effort == EFFORT_NONE};
    goss_status status = o->effort == EFFORT_UNSET || o->effort == stated
                             ? render(t->harmony, t->conversation, &options, &t->prompt, error)
                             : render_with_effort(t, o->effort, &options, error);
    if (status == GOSS_OK && options.no_reasoning)
        status = render_open_final(t->harmony, &t->fed, error);
    return status;
}

/* Where later prompts are likely to part from this one: behind what the system and the developer say, before the last
 * message, and before the answer. */
static int find_boundaries(const struct turn *t, int32_t boundary[MOST_BOUNDARIES])
{
    size_t setup = 0, starts = 0;
    const struct conversation *c = t->conversation;
    if (t->raw)
        return 0;
    while (setup < c->n_message && c->message[setup].role <= ROLE_DEVELOPER)
        setup++;
    int32_t first = 0, last = 0, answer = 0;
    for (size_t i = 0; i < t->prompt.size; i++) {
        if (t->prompt.id[i] != t->harmony->start)
            continue;
        if (starts++ == setup)
            first = (int32_t)i;
        last = answer;
        answer = (int32_t)i;
    }
    boundary[0] = first;
    boundary[1] = last;
    boundary[2] = answer;
    return 3;
}

/* <|return|>, <|call|> and <|endoftext|> always, whatever the model's config says, and its own stop ids, but never
 * <|end|>, which only separates messages. */
static int find_stops(const struct turn *t, const struct model_config *config, int32_t stop[MOST_STOPS])
{
    int n = 0;
    stop[n++] = t->harmony->ret;
    stop[n++] = t->harmony->call;
    stop[n++] = t->harmony->endoftext;
    for (int i = 0; i < config->n_stop; i++)
        if (config->stop[i] != t->harmony->end)
            stop[n++] = config->stop[i];
    return n;
}

static goss_status make_request(struct turn *t, const struct turn_options *o, goss_error *error)
{
    const enum role role = ROLE_ASSISTANT;
    goss_status status = parser_open(&t->parser, t->harmony, &role, error);
    for (size_t i = 0; status == GOSS_OK && i < t->fed.size; i++)
        status = parser_feed(t->parser, t->fed.id[i], error);
    if (status)
        return status;
    if (t->prompt.size > INT32_MAX / 2)
        return error_set(error, GOSS_E_LIMIT, "the prompt has %zu tokens", t->prompt.size);
    t->request = (struct sequence_request){.id = t->prompt.id,
                                           .n_id = (int)t->prompt.size,
                                           .max_tokens = o->max_tokens,
                                           .sampling = o->sampling,
                                           .stop = t->stop,
                                           .n_stop = find_stops(t, engine_config(t->engine), t->stop),
                                           .owner = o->owner,
                                           .lookup = o->lookup,
                                           .guide = turn_guide_face(t->guide),
                                           .boundary = t->boundary,
                                           .n_boundary = find_boundaries(t, t->boundary)};
    status = sampling_check(&o->sampling, engine_config(t->engine)->n_vocab, error);
    return status ? status : engine_check(t->engine, &t->request, error);
}

goss_status turn_prepare(struct turn **out, const struct engine *engine, const struct harmony *harmony,
                         struct conversation *conversation, const struct turn_options *o, goss_error *error)
{
    *out = NULL;
    struct turn *t = calloc(1, sizeof *t);
    if (!t)
        return error_memory(error, sizeof *t, "a turn");
    t->engine = (struct engine *)engine; /* only read until turn_start */
    t->harmony = harmony;
    t->conversation = conversation;
    t->seed = o->sampling.seed;
    t->raw = o->raw != NULL;
    buffer_init(&t->text, MOST_TEXT);
    buffer_init(&t->delta, MOST_TEXT);
    goss_status status = stop_strings_open(&t->stops, o->stop, o->n_stop, TURN_MAX_STOPS, TURN_MAX_STOP_BYTES, error);
    status = status ? status : render_prompt(t, o, error);
    if (status == GOSS_OK && !t->raw)
        status = turn_guide_open(&t->guide, harmony, conversation, o, t->fed.size > 0, error);
    status = status ? status : make_request(t, o, error);
    if (status) {
        turn_close(t);
        return status;
    }
    *out = t;
    return GOSS_OK;
}

goss_status turn_start(struct turn *t, goss_error *error)
{
    return engine_add(t->engine, &t->request, &t->sequence, error);
}

goss_status turn_open(struct turn **out, struct engine *engine, const struct harmony *harmony,
                      struct conversation *conversation, const struct turn_options *o, goss_error *error)
{
    goss_status status = turn_prepare(out, engine, harmony, conversation, o, error);
    if (status == GOSS_OK && (status = turn_start(*out, error))) {
        turn_close(*out);
        *out = NULL;
    }
    return status;
}

static void forget_strings(struct turn *t)
{
    free(t->recipient);
    free(t->channel);
    free(t->content_type);
    t->recipient = t->channel = t->content_type = NULL;
}

void turn_close(struct turn *t)
{
    if (!t)
        return;
    engine_release(t->engine, t->sequence);
    turn_guide_close(t->guide);
    parser_close(t->parser);
    stop_strings_close(&t->stops);
    token_list_free(&t->prompt);
    token_list_free(&t->fed);
    free(t->answer);
    forget_strings(t);
    buffer_free(&t->text);
    buffer_free(&t->delta);
    free(t);
}

/* ---- events ---- */

/* The turn is over: nothing more is sampled or read. */
static void end_turn(struct turn *t, enum turn_finish finish)
{
    engine_cancel(t->engine, t->sequence);
    t->finish = finish;
    t->deaf = true;
    t->stage = STAGE_DONE;
}

/* Out of memory, or the engine failed: what was open is lost. */
static void fail(struct turn *t)
{
    t->open = t->closing = false;
    end_turn(t, TURN_FAILED);
}

static bool copy_string(const char *from, char **to)
{
    *to = from ? strdup(from) : NULL;
    return !from || *to;
}

static void describe(const struct turn *t, enum turn_event_kind kind, struct turn_event *event)
{
    *event = (struct turn_event){.kind = kind,
                                 .part = t->part,
                                 .recipient = t->recipient,
                                 .channel = t->channel,
                                 .content_type = t->content_type};
}

static bool begin_message(struct turn *t, const struct event *read, struct turn_event *event)
{
    if (read->role != ROLE_ASSISTANT) { /* the model goes on to play somebody else */
        end_turn(t, TURN_STOP);
        return false;
    }
    static const enum turn_part part_of[] = {[PURPOSE_REASONING] = TURN_REASONING,
                                             [PURPOSE_PREAMBLE] = TURN_PREAMBLE,
                                             [PURPOSE_CALL] = TURN_CALL,
                                             [PURPOSE_FINAL] = TURN_FINAL};
    t->part = part_of[message_purpose(read->role, read->recipient, read->channel)];
    forget_strings(t);
    if (!copy_string(read->recipient, &t->recipient) || !copy_string(read->channel, &t->channel) ||
        !copy_string(read->content_type, &t->content_type)) {
        (void)error_memory(&t->error, 0, "a message");
        fail(t);
        return false;
    }
    buffer_clear(&t->text);
    t->shown = 0;
    t->open = true;
    t->closing = t->cut = false;
    describe(t, TURN_BEGIN, event);
    return true;
}

/* Text that can be shown now: all of it, but for a stop string and what may become one. */
static bool take_text(struct turn *t, struct turn_event *event)
{
    size_t clear = t->text.size;
    bool found = false;
    if (t->part == TURN_FINAL && t->stops.n > 0 && clear > t->shown) {
        size_t before = stop_strings_clear(&t->stops, (const char *)t->text.data, clear, t->shown, &found);
        clear = found || !t->closing ? before : clear;
    }
    if (found) {
        t->text.size = clear;
        t->text.data[clear] = 0;
        t->cut = t->closing = true;
        t->end.truncated = false;
        end_turn(t, TURN_STOP_STRING);
    }
    if (clear == t->shown)
        return false;
    buffer_clear(&t->delta);
    if (buffer_append(&t->delta, t->text.data + t->shown, clear - t->shown, &t->error)) {
        fail(t);
        return false;
    }
    t->shown = clear;
    describe(t, TURN_TEXT, event);
    event->text = (const char *)t->delta.data;
    event->text_size = t->delta.size;
    return true;
}

/* The ids of the message as sampled, from after <|start|>assistant up to but without the terminator; NULL if there is
 * no such stretch, and then history is rendered from the text. */
static const int32_t *sampled_ids(struct turn *t, size_t *n)
{
    const int32_t *id = t->fed.id + t->end.first_id;
    size_t left = t->end.n_id;
    *n = 0;
    if (t->cut || left == 0)
        return NULL;
    left -= t->end.terminator >= 0;
    if (left > 0 && id[0] == t->harmony->start) {
        struct token_list role = {0};
        const char *name = role_name(ROLE_ASSISTANT);
        goss_status status = tokenizer_encode(t->harmony->tokenizer, name, strlen(name), false, &role, NULL);
        size_t skip = 1 + role.size;
        bool same = !status && left >= skip && memcmp(id + 1, role.id, role.size * sizeof *id) == 0;
        token_list_free(&role);
        if (!same)
            return NULL;
        id += skip;
        left -= skip;
    }
    for (size_t i = 0; i < left; i++)
        if (id[i] == t->harmony->message) {
            *n = left;
            return id;
        }
    return NULL;
}

/* Appends the message to the conversation, on the channel that its part belongs to. A broken-off call is not kept: it
 * must neither be executed nor stand unanswered; nor is a message that broke off before its first character. */
static goss_status keep_message(struct turn *t)
{
    if (t->raw || (t->end.truncated && (t->part == TURN_CALL || t->text.size == 0)))
        return GOSS_OK;
    static const char *const channel[] = {
        [TURN_REASONING] = "analysis", [TURN_PREAMBLE] = "commentary", [TURN_FINAL] = "final"};
    struct part part = {
        .kind = PART_TEXT, .text = t->text.data ? (const char *)t->text.data : "", .text_size = t->text.size};
    struct message message = {.role = ROLE_ASSISTANT,
                              .recipient = t->recipient,
                              .channel = t->part == TURN_CALL ? t->channel : channel[t->part],
                              .content_type = t->content_type,
                              .part = &part,
                              .n_part = 1};
    message.sampled = sampled_ids(t, &message.n_sampled);
    return conversation_add(t->conversation, &message, &t->error);
}

static bool end_message(struct turn *t, struct turn_event *event)
{
    if (keep_message(t)) {
        fail(t);
        return false;
    }
    t->open = t->closing = false;
    t->called = t->called || (t->part == TURN_CALL && !t->end.truncated);
    describe(t, TURN_END, event);
    event->text = t->text.data ? (const char *)t->text.data : "";
    event->text_size = t->text.size;
    event->truncated = t->end.truncated;
    if (t->part == TURN_FINAL && !t->end.truncated && t->stage == STAGE_SAMPLE)
        end_turn(t, TURN_STOP); /* what comes after a complete answer is not part of it */
    return true;
}

/* One event of the parser; true if it makes an event of the turn at once. */
static bool translate(struct turn *t, const struct event *read, struct turn_event *event)
{
    switch (read->kind) {
    case EVENT_MESSAGE_BEGIN: return begin_message(t, read, event);
    case EVENT_TEXT:
        if (t->open && buffer_append(&t->text, read->text, read->text_size, &t->error))
            fail(t);
        return false;
    case EVENT_MESSAGE_END:
        t->end = *read;
        t->closing = t->open;
        return false;
    case EVENT_REPAIR:
        describe(t, TURN_REPAIR, event);
        event->repair = read->repair;
        return true;
    default: return false;
    }
}

static goss_status record(struct turn *t, const struct sampled *sampled)
{
    if (t->n_answer == t->capacity) {
        size_t capacity = t->capacity ? 2 * t->capacity : 64;
        struct sampled *answer = realloc(t->answer, capacity * sizeof *answer);
        if (!answer)
            return error_memory(&t->error, capacity * sizeof *answer, "an answer");
        t->answer = answer;
        t->capacity = capacity;
    }
    t->answer[t->n_answer++] = *sampled;
    return token_list_append(&t->fed, &sampled->id, 1, &t->error);
}

/* What the parser has to say; of a raw turn, that its message begins. */
static void read_event(struct turn *t, struct event *read)
{
    if (!t->raw) {
        parser_next(t->parser, read);
        return;
    }
    *read = (struct event){.kind = t->begun ? EVENT_NONE : EVENT_MESSAGE_BEGIN, .role = ROLE_ASSISTANT};
    t->begun = true;
}

static goss_status feed(struct turn *t, int32_t id)
{
    if (!t->raw)
        return parser_feed(t->parser, id, &t->error);
    size_t n;
    const uint8_t *bytes = tokenizer_bytes(t->harmony->tokenizer, id, &n);
    n = tokenizer_is_control(t->harmony->tokenizer, id) ? 0 : n;
    return utf8_stream_add(&t->characters, bytes, n, &t->text, &t->error);
}

static goss_status end_stream(struct turn *t)
{
    if (!t->raw)
        return parser_finish(t->parser, &t->error);
    t->end = (struct event){.truncated = t->finish != TURN_STOP, .terminator = -1};
    t->closing = t->open;
    return utf8_stream_flush(&t->characters, &t->text, &t->error);
}

/* Feeds the next token, or notices that there are no more. False if the engine has to step first. */
static bool advance(struct turn *t)
{
    struct sampled sampled;
    if (sequence_next(t->sequence, &sampled)) {
        if (record(t, &sampled) || feed(t, sampled.id))
            fail(t);
        return true;
    }
    enum finish finish = sequence_finish(t->sequence);
    if (finish == FINISH_NONE)
        return false;
    if (finish == FINISH_ERROR) {
        t->error = *sequence_error(t->sequence);
        t->finish = TURN_FAILED;
    } else {
        t->finish = finish == FINISH_STOP ? TURN_STOP : finish == FINISH_LENGTH ? TURN_LENGTH : TURN_CANCELLED;
    }
    t->stage = STAGE_CLOSE;
    return true;
}

static void last_event(const struct turn *t, struct turn_event *event)
{
    enum turn_finish finish = t->finish == TURN_STOP && t->called ? TURN_TOOL_CALL : t->finish;
    *event = (struct turn_event){.kind = TURN_DONE,
                                 .finish = finish,
                                 .usage = sequence_usage(t->sequence),
                                 .error = finish == TURN_FAILED ? &t->error : NULL};
}

void turn_poll(struct turn *t, struct turn_event *event)
{
    for (;;) {
        struct event read;
        if (t->open && take_text(t, event))
            return;
        if (t->closing) {
            if (end_message(t, event))
                return;
            continue;
        }
        if (!t->deaf) {
            read_event(t, &read);
            if (read.kind != EVENT_NONE) {
                if (translate(t, &read, event))
                    return;
                continue;
            }
        }
        switch (t->stage) {
        case STAGE_SAMPLE:
            if (!advance(t)) {
                *event = (struct turn_event){.kind = TURN_WAIT};
                return;
            }
            break;
        case STAGE_CLOSE:
            t->stage = STAGE_DONE;
            if (end_stream(t))
                fail(t);
            break;
        case STAGE_DONE: last_event(t, event); return;
        }
    }
}

void turn_next(struct turn *t, struct turn_event *event)
{
    for (turn_poll(t, event); event->kind == TURN_WAIT; turn_poll(t, event))
        if (!engine_step(t->engine)) {
            (void)error_set(&t->error, GOSS_E_ARGUMENT,
                            "the turn waits for sequences of the same engine whose tokens nobody pulls");
            fail(t);
        }
}

void turn_cancel(struct turn *t)
{
    engine_cancel(t->engine, t->sequence);
}

const int32_t *turn_prompt(const struct turn *t, size_t *n)
{
    *n = t->prompt.size;
    return t->prompt.id;
}

const struct sampled *turn_answer(const struct turn *t, size_t *n)
{
    *n = t->n_answer;
    return t->answer;
}

uint64_t turn_seed(const struct turn *t)
{
    return t->seed;
}
