#include "agent/guide.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "grammar/grammar.h"
#include "harmony/header.h"

enum { HEADER_BYTES = 1 << 10, HEADERS_BYTES = 1 << 22 };

/* A declared tool that may be called. */
struct callee {
    const char *recipient; /* functions.get_weather, or python */
    const char *schema;    /* NULL: it takes anything */
    struct grammar *bound; /* of its arguments; NULL: they are free */
};

enum place {
    IN_HEADER, /* led by `matcher` over the headers; control tokens are the bytes of harmony/header.h */
    IN_FREE,   /* any text */
    IN_BOUND,  /* led by `matcher` over an answer's or a call's grammar */
    BETWEEN,   /* behind a message: the next one begins */
};

struct turn_guide {
    const struct harmony *harmony;
    const struct vocabulary *vocabulary;
    struct arena arena; /* owns the callees' names */
    struct callee *callee;
    size_t n_callee;
    struct grammar *headers, *answer; /* answer NULL: it is free */
    bool one_call;
    bool owes_answer, owes_call; /* the turn must not end before: an answer or a call; a call */

    enum place place;
    enum purpose purpose;    /* of the message under way, behind its header */
    struct matcher *matcher; /* IN_HEADER and IN_BOUND */
    struct buffer header;    /* its bytes so far */
    uint64_t *mask;          /* what `allow` hands out */
};

/* ---- what may be called ---- */

static goss_status add_callee(struct turn_guide *g, const char *space, const char *name, const char *schema,
                              goss_error *error)
{
    struct buffer text;
    buffer_init(&text, HEADER_BYTES);
    goss_status status = buffer_append_format(&text, error, "%s%s%s", space, name ? "." : "", name ? name : "");
    char *recipient = status ? NULL : arena_copy(&g->arena, text.data, text.size);
    buffer_free(&text);
    if (!status && !recipient)
        status = error_memory(error, 0, "a tool's name");
    if (status)
        return status;
    g->callee[g->n_callee++] = (struct callee){.recipient = recipient, .schema = schema};
    return GOSS_OK;
}

static goss_status add_space(struct turn_guide *g, const struct tool_namespace *space, goss_error *error)
{
    if (space->n_tool == 0)
        return add_callee(g, space->name, NULL, NULL, error);
    goss_status status = GOSS_OK;
    for (size_t i = 0; i < space->n_tool && !status; i++)
        status = add_callee(g, space->name, space->tool[i].name, space->tool[i].schema, error);
    return status;
}

/* All tools that the conversation's system and developer messages declare. */
static goss_status gather_callees(struct turn_guide *g, const struct conversation *c, goss_error *error)
{
    size_t n = 0;
    goss_status status = GOSS_OK;
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1 && !(g->callee = calloc(n + 1, sizeof *g->callee)))
            return error_memory(error, n * sizeof *g->callee, "tools");
        for (size_t i = 0; i < c->n_message; i++)
            for (size_t j = 0; j < c->message[i].n_part; j++)
                for (size_t k = 0; k < c->message[i].part[j].n_tools && !status; k++) {
                    const struct tool_namespace *space = &c->message[i].part[j].tools[k];
                    n += space->n_tool + 1;
                    status = pass == 1 ? add_space(g, space, error) : GOSS_OK;
                }
    }
    return status;
}

static struct callee *find_callee(const struct turn_guide *g, const char *recipient, size_t size)
{
    for (size_t i = 0; i < g->n_callee; i++)
        if (strlen(g->callee[i].recipient) == size && memcmp(g->callee[i].recipient, recipient, size) == 0)
            return &g->callee[i];
    return NULL;
}

/* Leaves the callees that tool_choice leaves. */
static goss_status choose_callees(struct turn_guide *g, const struct turn_options *o, goss_error *error)
{
    if (o->tools == TOOLS_NONE)
        g->n_callee = 0;
    if (o->tools == TOOLS_REQUIRED && g->n_callee == 0)
        return error_set(error, GOSS_E_ARGUMENT, "a call is required, but no tool is declared");
    if (o->tools == TOOLS_NAMED) {
        const struct callee *named = o->named ? find_callee(g, o->named, strlen(o->named)) : NULL;
        if (!named)
            return error_set(error, GOSS_E_ARGUMENT, "a call of %s is required, which is not declared",
                             o->named ? o->named : "nothing");
        g->callee[0] = *named;
        g->n_callee = 1;
    }
    return GOSS_OK;
}

/* To the callers of a turn a limit is one of tokens, so a schema beyond some limit counts as not supported. */
static goss_status compile(struct grammar **grammar, const char *json, size_t size, bool in_order, goss_error *error)
{
    goss_error inner;
    goss_status status = grammar_from_schema(grammar, json, size, in_order, &inner);
    return status ? error_set(error, status == GOSS_E_LIMIT ? GOSS_E_UNSUPPORTED : status, "%s", inner.text) : GOSS_OK;
}

static goss_status bind_callees(struct turn_guide *g, const struct turn_options *o, goss_error *error)
{
    goss_status status = GOSS_OK;
    for (int i = 0; i < o->n_strict && !status; i++) {
        struct callee *callee = find_callee(g, o->strict[i], strlen(o->strict[i]));
        if (callee && callee->schema && !callee->bound)
            status = compile(&callee->bound, callee->schema, strlen(callee->schema), false, error);
        if (status) {
            goss_error inner = *error;
            return error_set(error, status, "%s: %s", callee->recipient, inner.text);
        }
    }
    return status;
}

/* ---- headers ---- */

enum { CALL_KINDS = 5, CALL_CHANNELS = 2 };

/* Appends one text of a header, NUL included; %c is a control token. */
static goss_status add_header(struct buffer *texts, int *n, goss_error *error, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static goss_status add_header(struct buffer *texts, int *n, goss_error *error, const char *format, ...)
{
    char text[HEADER_BYTES];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (size < 0 || (size_t)size >= sizeof text)
        return error_set(error, GOSS_E_LIMIT, "a tool's name is too long: headers have at most %d bytes", HEADER_BYTES);
    ++*n;
    return buffer_append(texts, text, (size_t)size + 1, error);
}

/* The headers of calls: the recipient behind the channel, as the models mostly write it, or before it, as they see it
 * in histories of others; on either channel; with the content type in the ways that were seen. */
static goss_status add_call_headers(struct buffer *texts, int *n, const char *recipient, goss_error *error)
{
    static const char *const channel[CALL_CHANNELS] = {"commentary", "analysis"};
    static const struct {
        const char *before; /* the content type */
        bool constrain;
        const char *type;
    } kind[CALL_KINDS] = {
        {" ", true, "json"}, {"", true, "json"}, {" ", false, "json"}, {" ", false, "code"}, {"", false, ""}};
    static const char mark[] = {(char)MARK_CONSTRAIN, 0};
    goss_status status = GOSS_OK;
    for (int i = 0; i < CALL_CHANNELS; i++)
        for (int j = 0; j < CALL_KINDS && !status; j++) {
            const char *constrain = kind[j].constrain ? mark : "";
            status = add_header(texts, n, error, "assistant%c%s to=%s%s%s%s", MARK_CHANNEL, channel[i], recipient,
                                kind[j].before, constrain, kind[j].type);
            if (!status)
                status = add_header(texts, n, error, "assistant to=%s%c%s%s%s%s", recipient, MARK_CHANNEL, channel[i],
                                    kind[j].before, constrain, kind[j].type);
        }
    return status;
}

static goss_status add_headers(struct turn_guide *g, struct buffer *texts, int *n, goss_error *error)
{
    goss_status status = add_header(texts, n, error, "assistant%canalysis", MARK_CHANNEL);
    status = status ? status : add_header(texts, n, error, "assistant%ccommentary", MARK_CHANNEL);
    for (size_t i = 0; i < g->n_callee && !status; i++)
        status = add_call_headers(texts, n, g->callee[i].recipient, error);
    if (status || g->owes_call)
        return status;
    status = add_header(texts, n, error, "assistant%cfinal", MARK_CHANNEL);
    status = status ? status : add_header(texts, n, error, "assistant%cfinal %cjson", MARK_CHANNEL, MARK_CONSTRAIN);
    status = status ? status : add_header(texts, n, error, "assistant%cfinal%cjson", MARK_CHANNEL, MARK_CONSTRAIN);
    return status ? status : add_header(texts, n, error, "assistant%cfinal json", MARK_CHANNEL);
}

static goss_status build_headers(struct turn_guide *g, goss_error *error)
{
    struct buffer texts;
    int n = 0;
    buffer_init(&texts, HEADERS_BYTES);
    goss_status status = add_headers(g, &texts, &n, error);
    const char **text = status ? NULL : calloc((size_t)n, sizeof *text);
    if (!status && !text)
        status = error_memory(error, (size_t)n * sizeof *text, "headers");
    const char *at = (const char *)texts.data;
    for (int i = 0; !status && i < n; at += strlen(at) + 1)
        text[i++] = at;
    status = status ? status : grammar_from_choice(&g->headers, text, n, error);
    free(text);
    buffer_free(&texts);
    return status;
}

/* ---- messages ---- */

static goss_status lead(struct turn_guide *g, struct grammar *grammar, enum place place, goss_error *error)
{
    matcher_close(g->matcher);
    g->place = place;
    return matcher_open(&g->matcher, grammar, g->vocabulary, error);
}

/* Behind <|start|>; the prompt has said "assistant" already. */
static goss_status begin_header(struct turn_guide *g, bool said, goss_error *error)
{
    const char *role = role_name(ROLE_ASSISTANT);
    goss_status status = lead(g, g->headers, IN_HEADER, error);
    buffer_clear(&g->header);
    if (status || !said)
        return status;
    (void)matcher_bytes(g->matcher, (const uint8_t *)role, strlen(role));
    return buffer_append_text(&g->header, role, error);
}

/* Behind <|message|>. */
static goss_status begin_body(struct turn_guide *g, goss_error *error)
{
    size_t skip = strlen(role_name(ROLE_ASSISTANT));
    struct header header = {.role = ROLE_ASSISTANT};
    header_read(&header, (const char *)g->header.data + skip, g->header.size - skip, HEADER_MESSAGE, true, true);
    struct span to = header.recipient;
    const struct callee *callee = to.data ? find_callee(g, to.data, to.size) : NULL;
    struct grammar *bound = callee ? callee->bound : NULL;
    if (callee) {
        g->purpose = PURPOSE_CALL;
    } else {
        char channel[16] = "";
        memcpy(channel, header.channel.data, header.channel.size < sizeof channel ? header.channel.size : 0);
        g->purpose = message_purpose(ROLE_ASSISTANT, NULL, channel);
        bound = g->purpose == PURPOSE_FINAL ? g->answer : NULL;
    }
    g->place = IN_FREE;
    return bound ? lead(g, bound, IN_BOUND, error) : GOSS_OK;
}

static void end_message(struct turn_guide *g)
{
    g->place = BETWEEN;
    if (g->purpose == PURPOSE_CALL)
        g->owes_call = g->owes_answer = false;
}

static goss_status take(void *self, int32_t id, goss_error *error)
{
    struct turn_guide *g = self;
    const struct harmony *h = g->harmony;
    if (id == h->start)
        return begin_header(g, false, error);
    if (id == h->message)
        return begin_body(g, error);
    if (id == h->end || id == h->call || id == h->ret) {
        end_message(g);
        return GOSS_OK;
    }
    if (g->place == IN_BOUND) {
        (void)matcher_token(g->matcher, id);
        return GOSS_OK;
    }
    if (g->place != IN_HEADER)
        return GOSS_OK;
    static const uint8_t marks[] = {MARK_CHANNEL, MARK_CONSTRAIN};
    size_t size = 1;
    const uint8_t *bytes = id == h->channel     ? &marks[0]
                           : id == h->constrain ? &marks[1]
                                                : tokenizer_bytes(h->tokenizer, id, &size);
    (void)matcher_bytes(g->matcher, bytes, size);
    return buffer_append(&g->header, bytes, size, error);
}

/* ---- what may come ---- */

static void permit(struct turn_guide *g, int32_t id, bool may)
{
    if (may)
        g->mask[id / 64] |= UINT64_C(1) << (id % 64);
}

/* How the message under way may end. */
static void permit_ends(struct turn_guide *g)
{
    const struct harmony *h = g->harmony;
    bool call = g->purpose == PURPOSE_CALL, final = g->purpose == PURPOSE_FINAL;
    permit(g, h->call, call);
    permit(g, h->ret, final || (!call && !g->owes_answer && !g->owes_call));
    permit(g, h->end, !call || !g->one_call);
}

static goss_status allow(void *self, const uint64_t **allowed, goss_error *error)
{
    struct turn_guide *g = self;
    const struct harmony *h = g->harmony;
    size_t bytes = ((size_t)vocabulary_size(g->vocabulary) + 63) / 64 * sizeof *g->mask;
    goss_status status = GOSS_OK;
    *allowed = g->mask;
    if (g->place == BETWEEN) {
        memset(g->mask, 0, bytes);
        permit(g, h->start, true);
    } else if (g->place == IN_FREE) {
        memcpy(g->mask, vocabulary_text(g->vocabulary), bytes);
        permit_ends(g);
    } else {
        status = matcher_mask(g->matcher, g->mask, error);
        if (g->place == IN_HEADER) {
            permit(g, h->channel, matcher_may(g->matcher, MARK_CHANNEL));
            permit(g, h->constrain, matcher_may(g->matcher, MARK_CONSTRAIN));
            permit(g, h->message, matcher_can_end(g->matcher));
        } else if (matcher_can_end(g->matcher)) {
            permit_ends(g);
        }
    }
    return status;
}

struct guide turn_guide_face(struct turn_guide *guide)
{
    return guide ? (struct guide){.self = guide, .allow = allow, .take = take} : (struct guide){0};
}

/* ---- opening ---- */

static goss_status bind_answer(struct turn_guide *g, const struct turn_options *o, goss_error *error)
{
    if (o->form == ANSWER_OBJECT)
        return grammar_of_object(&g->answer, error);
    if (o->form == ANSWER_SCHEMA)
        return compile(&g->answer, o->schema.json, o->schema.size, o->schema.in_order, error);
    return GOSS_OK;
}

static goss_status open_guide(struct turn_guide *g, const struct conversation *conversation,
                              const struct turn_options *o, bool in_final, goss_error *error)
{
    g->mask = calloc(((size_t)vocabulary_size(g->vocabulary) + 63) / 64, sizeof *g->mask);
    if (!g->mask)
        return error_memory(error, (size_t)vocabulary_size(g->vocabulary) / 8, "a mask");
    goss_status status = gather_callees(g, conversation, error);
    status = status ? status : choose_callees(g, o, error);
    status = status ? status : bind_callees(g, o, error);
    status = status ? status : bind_answer(g, o, error);
    status = status ? status : build_headers(g, error);
    if (status || !in_final)
        return status ? status : begin_header(g, true, error);
    g->purpose = PURPOSE_FINAL;
    g->place = IN_FREE;
    return g->answer ? lead(g, g->answer, IN_BOUND, error) : GOSS_OK;
}

goss_status turn_guide_open(struct turn_guide **guide, const struct harmony *harmony,
                            const struct conversation *conversation, const struct turn_options *o, bool in_final,
                            goss_error *error)
{
    *guide = NULL;
    bool owes_call = o->tools == TOOLS_REQUIRED || o->tools == TOOLS_NAMED;
    if (!o->form && !o->tools && o->n_strict == 0 && !o->declared_only && !o->one_call)
        return GOSS_OK;
    if (!o->vocabulary)
        return error_set(error, GOSS_E_UNSUPPORTED, "answers and calls are bound by a vocabulary, which is missing");
    if (owes_call && in_final)
        return error_set(error, GOSS_E_ARGUMENT, "a call is required, but without reasoning there are no calls");
    struct turn_guide *g = calloc(1, sizeof *g);
    if (!g)
        return error_memory(error, sizeof *g, "a turn");
    g->harmony = harmony;
    g->vocabulary = o->vocabulary;
    g->one_call = o->one_call;
    g->owes_call = owes_call;
    g->owes_answer = o->form != ANSWER_FREE;
    buffer_init(&g->header, HEADER_BYTES);
    goss_status status = open_guide(g, conversation, o, in_final, error);
    if (status) {
        turn_guide_close(g);
        return status;
    }
    *guide = g;
    return GOSS_OK;
}

void turn_guide_close(struct turn_guide *g)
{
    if (!g)
        return;
    matcher_close(g->matcher);
    grammar_close(g->headers);
    grammar_close(g->answer);
    for (size_t i = 0; i < g->n_callee; i++)
        grammar_close(g->callee[i].bound);
    free(g->callee);
    arena_free(&g->arena);
    buffer_free(&g->header);
    free(g->mask);
    free(g);
}
