/* The model answers: a request of any wire becomes turns of the service, and their events the wire's bytes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "api/chat.h"
#include "api/compact.h"
#include "api/completions.h"
#include "api/messages.h"
#include "api/responses.h"
#include "net/socket.h"
#include "serve.h"

enum { OUT_LIMIT = 1 << 28, MOST_TURNS = API_MAX_CHOICES * API_MAX_PROMPTS, KEY_BYTES = 16 };
static const char heartbeat[] = ": still here\n\n";

/* An answer that is being made. */
struct job {
    struct serve *serve;
    struct net_exchange *exchange;
    const void *body;
    size_t body_size;
    char key[2 * KEY_BYTES + 1];
    bool compact;
    bool attached; /* the client still waits; a background job goes on without it */
    struct api_settings settings;
    struct api_request request;
    struct answer answer;
    char id[64];
    struct ticket *ticket[MOST_TURNS];
    struct conversation copy[API_MAX_CHOICES]; /* of all choices but the first */
    struct token_list prompt[MOST_TURNS];      /* API_COMPLETIONS: the ids that each continues */
    int n_ticket;
    struct buffer out;
    struct job *next, *before;
};

void serve_refuse(struct net_exchange *exchange, enum api_wire wire, struct api_error *error)
{
    struct buffer out;
    buffer_init(&out, OUT_LIMIT);
    if (api_error_write(error, wire, &out, NULL))
        net_reply_error(exchange, 500, "out_of_memory", "out of memory");
    else
        net_reply(exchange, error->http, "application/json", out.data, out.size);
    buffer_free(&out);
}

void serve_refuse_message(struct net_exchange *exchange, struct api_error *error)
{
    struct buffer out;
    buffer_init(&out, OUT_LIMIT);
    if (responses_write_fault(error, &out, NULL) == GOSS_OK)
        (void)net_socket_send(exchange, out.data, out.size, NULL);
    buffer_free(&out);
}

struct api_settings serve_settings(const struct serve *serve, const struct net_exchange *exchange)
{
    struct api_settings settings = serve->settings;
    uint32_t seed = 0;
    (void)getrandom(&seed, sizeof seed, 0);
    settings.seed = seed;
    settings.owner = net_request(exchange)->caller.owner;
    settings.open_responses = net_header(exchange, "openresponses-version") != NULL;
    return settings;
}

/* ---- from a body to turns ---- */

static goss_status read_request(struct job *job, enum api_wire wire, struct api_error *error)
{
    struct api_request *request = &job->request;
    const struct api_settings *settings = &job->settings;
    switch (wire) {
    case API_RESPONSES:
        return job->compact ? compact_read(request, settings, job->body, job->body_size, error)
                            : responses_read(request, settings, job->key, job->body, job->body_size, error);
    case API_COMPLETIONS: return completions_read(request, settings, job->body, job->body_size, error);
    case API_CHAT: return chat_read(request, settings, job->body, job->body_size, error);
    default: return messages_read(request, settings, false, job->body, job->body_size, error);
    }
}

static goss_status assemble(struct job *job, struct api_error *error)
{
    struct serve *serve = job->serve;
    pthread_mutex_lock(&serve->lock);
    goss_status status = api_request_assemble(&job->request, serve->store, serve->recall, error);
    pthread_mutex_unlock(&serve->lock);
    return status;
}

static struct conversation *conversation_of(struct job *job, int choice)
{
    return choice ? &job->copy[choice] : &job->request.conversation;
}

static void refuse_place(struct job *job, enum service_place place, struct api_error *error)
{
    char seconds[16];
    if (place == PLACE_TAKEN)
        return;
    (void)snprintf(seconds, sizeof seconds, "%d", service_retry_after(job->serve->service));
    if (!job->settings.held)
        net_reply_header(job->exchange, "Retry-After", seconds);
    error->http = place == PLACE_OWNER_FULL ? 429 : 503;
    error->code = place == PLACE_OWNER_FULL ? "rate_limit_exceeded" : "overloaded";
}

static goss_status submit_turn(struct job *job, int choice, enum service_place *place, goss_error *error)
{
    const struct api_request *request = &job->request;
    struct turn_options options = request->turn;
    struct token_list *ids = &job->prompt[choice];
    struct conversation *conversation = NULL;
    goss_status status = GOSS_OK;
    options.sampling.seed += (uint64_t)(choice % request->n);
    options.vocabulary = job->serve->session.vocabulary;
    if (request->wire == API_COMPLETIONS) {
        status = completions_prompt(request, job->serve->session.tokenizer, choice, ids, error);
        options.raw = ids->id;
        options.n_raw = ids->size;
    } else {
        conversation = conversation_of(job, choice);
    }
    if (!status)
        status = service_submit(job->serve->service, conversation, &options, &job->ticket[choice], place, error);
    return status;
}

/* A turn that is under way adds to its conversation, on the engine's thread: so all copies are made before the first
 * begins. */
static goss_status copy_conversations(struct job *job, goss_error *error)
{
    goss_status status = GOSS_OK;
    for (int i = 1; i < job->answer.n_choice && job->request.wire != API_COMPLETIONS && !status; i++)
        status = api_request_copy(&job->request, &job->copy[i], error);
    return status;
}

static goss_status submit(struct job *job, struct api_error *error)
{
    enum service_place place = PLACE_TAKEN;
    goss_status status = copy_conversations(job, &error->base);
    while (!status && !job->request.silent && job->n_ticket < job->answer.n_choice) {
        status = submit_turn(job, job->n_ticket, &place, &error->base);
        job->n_ticket += !status;
    }
    refuse_place(job, place, error);
    if (status)
        api_request_blame(&job->request, error);
    return status;
}

/* ---- jobs under way ---- */

static void cancel_turns(void *argument)
{
    struct job *job = argument;
    for (int i = 0; i < job->n_ticket; i++)
        ticket_cancel(job->ticket[i]);
}

static void list_job(struct job *job)
{
    struct serve *serve = job->serve;
    answer_id(&job->answer, job->id);
    pthread_mutex_lock(&serve->lock);
    job->next = serve->jobs;
    if (job->next)
        job->next->before = job;
    serve->jobs = job;
    pthread_mutex_unlock(&serve->lock);
}

static void unlist_job(struct job *job)
{
    struct serve *serve = job->serve;
    pthread_mutex_lock(&serve->lock);
    if (job->before || serve->jobs == job) {
        *(job->before ? &job->before->next : &serve->jobs) = job->next;
        if (job->next)
            job->next->before = job->before;
    }
    pthread_mutex_unlock(&serve->lock);
}

void serve_cancel_job(struct serve *serve, uint64_t owner, const char *id)
{
    for (struct job *job = serve->jobs; job; job = job->next)
        if (job->settings.owner == owner && strcmp(job->id, id) == 0)
            cancel_turns(job);
}

/* ---- what is kept of an answer ---- */

static struct store_text text_of(const struct buffer *buffer)
{
    return (struct store_text){buffer->size ? buffer->data : NULL, buffer->size};
}

static goss_status put(struct job *job, enum store_state state, goss_error *error)
{
    struct serve *serve = job->serve;
    struct buffer object, messages;
    const char *input = job->request.input_items;
    buffer_init(&object, OUT_LIMIT);
    buffer_init(&messages, OUT_LIMIT);
    goss_status status = answer_write(&job->answer, &object, error);
    if (!status && state == STORE_DONE)
        status = answer_keep(&job->answer, &job->request.conversation, &messages, error);
    struct store_response row = {.id = job->id,
                                 .previous = job->request.previous,
                                 .owner = job->settings.owner,
                                 .created = job->answer.created,
                                 .state = state,
                                 .object = text_of(&object),
                                 .input = {input, input ? strlen(input) : 0},
                                 .messages = text_of(&messages)};
    pthread_mutex_lock(&serve->lock);
    if (!status)
        status = store_put(serve->store, &row, error);
    pthread_mutex_unlock(&serve->lock);
    buffer_free(&object);
    buffer_free(&messages);
    return status;
}

static bool is_stored(const struct job *job)
{
    return job->request.wire == API_RESPONSES && job->request.store && job->serve->store;
}

/* A WebSocket remembers what is not stored. A continuation that failed takes with it what it was to continue; if memory
 * runs out the same, for the client sends everything when it hears that nothing is there. */
static void hold(struct job *job)
{
    struct api_held *held = job->settings.held;
    bool complete = job->answer.status == ANSWER_COMPLETED || job->answer.status == ANSWER_INCOMPLETE;
    if (complete && !is_stored(job))
        (void)held_put(held, &job->answer, &job->request.conversation, NULL);
    else if (!complete && held_is(held, job->request.previous))
        held_forget(held);
}

/* Before the client hears that the answer is complete, since it may continue it at once. */
static void keep(struct job *job)
{
    struct serve *serve = job->serve;
    goss_error error;
    pthread_mutex_lock(&serve->lock);
    for (int i = 0; i < job->n_ticket && job->request.wire != API_COMPLETIONS; i++)
        recall_keep(serve->recall, job->settings.owner, conversation_of(job, i));
    pthread_mutex_unlock(&serve->lock);
    enum store_state state = job->answer.status == ANSWER_CANCELLED ? STORE_CANCELLED : STORE_DONE;
    if (is_stored(job) && put(job, state, &error))
        (void)fprintf(stderr, "gossamer serve: %s was not stored: %s\n", job->id, error.text);
    if (job->settings.held)
        hold(job);
}

/* ---- from events to bytes ---- */

/* Each line is a message. */
static goss_status send_lines(struct net_exchange *exchange, const struct buffer *lines)
{
    const char *line = (const char *)lines->data, *end;
    goss_status status = GOSS_OK;
    for (; !status && (end = strchr(line, '\n')); line = end + 1)
        status = net_socket_send(exchange, line, (size_t)(end - line), NULL);
    return status;
}

static void send_out(struct job *job)
{
    goss_status status = GOSS_OK;
    if (job->attached && job->out.size > 0)
        status = job->settings.held ? send_lines(job->exchange, &job->out)
                                    : net_stream_write(job->exchange, job->out.data, job->out.size, NULL);
    if (status)
        cancel_turns(job); /* nobody reads it; its end is still waited for */
    buffer_clear(&job->out);
}

/* Takes the events of all choices, one choice after the other, to the end. */
static goss_status take_events(struct job *job, goss_error *error)
{
    struct buffer *stream = job->request.stream ? &job->out : NULL;
    size_t n_prompt = job->n_ticket ? ticket_prompt_size(job->ticket[0]) : 0;
    goss_status status = answer_start(&job->answer, n_prompt, stream, error);
    if (!status && job->request.silent)
        status =
            answer_add(&job->answer, 0, &(struct turn_event){.kind = TURN_DONE}, NULL, 0, time(NULL), stream, error);
    for (int i = 0; !status && i < job->n_ticket; i++) {
        struct turn_event event;
        size_t n;
        do {
            send_out(job);
            ticket_next(job->ticket[i], &event);
            const struct sampled *sampled = ticket_sampled(job->ticket[i], &n);
            status = answer_add(&job->answer, i, &event, sampled, n, time(NULL), stream, error);
        } while (!status && event.kind != TURN_DONE);
    }
    if (status) {
        goss_error reason = *error;
        cancel_turns(job);
        status = answer_fail(&job->answer, &reason, time(NULL), stream, error);
    }
    return status;
}

static void reply_object(struct job *job)
{
    bool failed = answer_is_error(&job->answer);
    goss_error error;
    buffer_clear(&job->out);
    if (answer_write(&job->answer, &job->out, &error))
        net_reply_error(job->exchange, 500, "out_of_memory", "%s", error.text);
    else
        net_reply(job->exchange, failed ? 500 : 200, "application/json", job->out.data, job->out.size);
    buffer_clear(&job->out);
}

static void tell_seed(struct job *job)
{
    char seed[24];
    (void)snprintf(seed, sizeof seed, "%llu", (unsigned long long)job->request.turn.sampling.seed);
    net_reply_header(job->exchange, "x-gossamer-seed", seed);
}

/* Models that must call a tool in every turn, with the results of earlier calls before them, never come to an answer.
 */
static void warn_of_forced_call(struct job *job)
{
    const struct conversation *conversation = &job->request.conversation;
    size_t n = conversation->n_message;
    enum tool_choice tools = job->request.turn.tools;
    if ((tools == TOOLS_REQUIRED || tools == TOOLS_NAMED) && n > 0 && conversation->message[n - 1].role == ROLE_TOOL)
        net_reply_header(job->exchange, "x-gossamer-warning",
                         "tool_choice forces another call after a result; with auto the model may answer");
}

/* Everything is accepted: answers to the end. */
static void run(struct job *job)
{
    goss_error error;
    bool background = job->request.background, socket = job->settings.held;
    if (!socket)
        tell_seed(job);
    if (background) {
        reply_object(job);
        job->attached = false;
    } else {
        net_on_gone(job->exchange, cancel_turns, job);
    }
    if (job->request.stream && job->attached && !socket)
        net_stream_begin(job->exchange, "text/event-stream", heartbeat);
    goss_status status = take_events(job, &error);
    if (!background)
        net_on_gone(job->exchange, NULL, NULL);
    keep(job);
    if (background)
        return;
    if (status && !socket)
        net_reply_error(job->exchange, 500, "out_of_memory", "%s", error.text);
    else if (job->request.stream)
        send_out(job);
    else
        reply_object(job);
}

static struct job *open_job(struct serve *serve, struct net_exchange *exchange, const void *body, size_t size)
{
    struct job *job = calloc(1, sizeof *job);
    if (!job)
        return NULL;
    job->serve = serve;
    job->exchange = exchange;
    job->body = body;
    job->body_size = size;
    job->attached = true;
    job->settings = serve_settings(serve, exchange);
    buffer_init(&job->out, OUT_LIMIT);
    return job;
}

static void close_job(struct job *job)
{
    unlist_job(job);
    for (int i = 0; i < job->n_ticket; i++)
        ticket_close(job->ticket[i]);
    for (int i = 0; i < MOST_TURNS; i++)
        token_list_free(&job->prompt[i]);
    for (int i = 1; i < API_MAX_CHOICES; i++)
        conversation_free(&job->copy[i]);
    answer_close(&job->answer);
    api_request_close(&job->request);
    buffer_free(&job->out);
    free(job);
}

/* Reads the body, answers it or says why not. */
static void do_job(struct job *job, enum api_wire wire)
{
    struct api_error error = {0};
    struct answer_identity identity = {job->key, time(NULL)};
    goss_status status = read_request(job, wire, &error);
    if (!status)
        status = assemble(job, &error);
    if (!status)
        status = answer_open(&job->answer, &job->request, job->serve->session.tokenizer, &identity, &error.base);
    if (!status && !job->settings.held)
        warn_of_forced_call(job); /* now: a turn under way adds to the conversation */
    if (!status)
        status = submit(job, &error);
    if (!status) {
        list_job(job);
        if (job->request.background && is_stored(job))
            status = put(job, STORE_RUNNING, &error.base);
    }
    if (!status)
        run(job);
    else if (job->settings.held)
        serve_refuse_message(job->exchange, &error);
    else
        serve_refuse(job->exchange, wire, &error);
}

static void answer_request(struct serve *serve, struct net_exchange *exchange, enum api_wire wire, bool compact)
{
    const struct net_request *r = net_request(exchange);
    struct job *job = open_job(serve, exchange, r->body, r->body_size);
    if (!job) {
        net_reply_error(exchange, 503, "out_of_memory", "out of memory");
        return;
    }
    (void)snprintf(job->key, sizeof job->key, "%s", r->id + strlen("req_"));
    job->compact = compact;
    do_job(job, wire);
    close_job(job);
}

void serve_answer(struct serve *serve, struct net_exchange *exchange, enum api_wire wire)
{
    answer_request(serve, exchange, wire, false);
}

void serve_compact(struct serve *serve, struct net_exchange *exchange, const char *id)
{
    (void)id;
    answer_request(serve, exchange, API_RESPONSES, true);
}

void serve_answer_message(struct serve *serve, struct net_exchange *exchange, struct api_held *held, const void *text,
                          size_t size)
{
    uint8_t key[KEY_BYTES];
    struct api_error error = {.base = {.status = GOSS_E_MEMORY, .text = "out of memory"}};
    struct job *job = open_job(serve, exchange, text, size);
    if (!job || getrandom(key, sizeof key, 0) != sizeof key) {
        serve_refuse_message(exchange, &error);
    } else {
        for (int i = 0; i < KEY_BYTES; i++)
            (void)snprintf(job->key + 2 * i, 3, "%02x", key[i]);
        job->settings.held = held;
        do_job(job, API_RESPONSES);
    }
    if (job)
        close_job(job);
}

void serve_count_tokens(struct serve *serve, struct net_exchange *exchange, enum api_wire wire)
{
    const struct net_request *r = net_request(exchange);
    struct api_settings settings = serve_settings(serve, exchange);
    struct api_request request = {0};
    struct api_error error = {0};
    struct token_list ids = {0};
    struct buffer out;
    buffer_init(&out, OUT_LIMIT);
    goss_status status = wire == API_RESPONSES
                             ? responses_read(&request, &settings, r->id, r->body, r->body_size, &error)
                             : messages_read(&request, &settings, true, r->body, r->body_size, &error);
    pthread_mutex_lock(&serve->lock);
    if (!status)
        status = api_request_assemble(&request, serve->store, serve->recall, &error);
    pthread_mutex_unlock(&serve->lock);
    struct render_options options = {
        .mode = RENDER_COMPLETION, .next_role = ROLE_ASSISTANT, .drop = request.turn.drop, .call = request.turn.call};
    if (!status)
        status = render(&serve->harmony, &request.conversation, &options, &ids, &error.base);
    if (!status)
        status = wire == API_RESPONSES ? responses_write_count(ids.size, &out, &error.base)
                                       : messages_write_count(ids.size, &out, &error.base);
    if (status)
        serve_refuse(exchange, wire, &error);
    else
        net_reply(exchange, 200, "application/json", out.data, out.size);
    token_list_free(&ids);
    buffer_free(&out);
    api_request_close(&request);
}
