#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "net/internal.h"

enum { REPLY_LIMIT = 1 << 28, BLOCK = 1 << 14, MESSAGE_BYTES = 512 };

static const char fault_format[] = "application/json";

struct net_exchange *exchange_open(struct net_server *server, struct MHD_Connection *connection)
{
    uint8_t random[ID_BYTES];
    struct net_exchange *e = calloc(1, sizeof *e);
    if (!e || getrandom(random, sizeof random, 0) != sizeof random || pthread_cond_init(&e->changed, NULL)) {
        free(e);
        return NULL;
    }
    (void)snprintf(e->id, sizeof e->id, "req_");
    for (int i = 0; i < ID_BYTES; i++)
        (void)snprintf(e->id + 4 + 2 * i, 3, "%02x", random[i]);
    e->server = server;
    e->connection = connection;
    e->owners = 1;
    e->request.id = e->id;
    e->began = e->taken_at = clock_ms();
    buffer_init(&e->body, server->options.limits.body_bytes + 1);
    buffer_init(&e->out, REPLY_LIMIT);
    return e;
}

void exchange_let_go(struct net_exchange *e)
{
    if (--e->owners > 0)
        return;
    e->server->bodies_bytes -= e->body.size;
    (void)pthread_cond_destroy(&e->changed);
    arena_free(&e->arena);
    buffer_free(&e->body);
    buffer_free(&e->out);
    free(e);
}

void exchange_wake(struct net_exchange *e)
{
    if (e->suspended && e->connection) {
        e->suspended = false;
        MHD_resume_connection(e->connection);
    }
}

void exchange_gone(struct net_exchange *e)
{
    if (e->gone)
        return;
    e->gone = true;
    if (e->on_gone)
        e->on_gone(e->gone_argument);
    e->on_gone = NULL;
    (void)pthread_cond_broadcast(&e->changed);
    if (e->streamed)
        exchange_wake(e); /* for the reader below to end it; before an answer the handler is waited for */
}

/* ---- whole answers ---- */

static const char *fault_type(int status)
{
    switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 429: return "rate_limit_error";
    case 503: return "overloaded_error";
    default: return status < 500 ? "invalid_request_error" : "api_error";
    }
}

void exchange_fault(struct net_exchange *e, int status, const char *code, const char *text)
{
    json_t *json = json_pack("{s:s, s:{s:s, s:s, s:n, s:s}}", "type", "error", "error", "message", text, "type",
                             fault_type(status), "param", "code", code);
    char *body = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    e->status = status;
    e->type = fault_format;
    e->phase = PHASE_ANSWER;
    buffer_clear(&e->out);
    if (buffer_append_text(&e->out, body ? body : "{}", NULL))
        e->out.size = 0;
    free(body);
}

const struct net_request *net_request(const struct net_exchange *e)
{
    return &e->request;
}

static const char *find(const struct pair *pair, const char *name, int (*compare)(const char *, const char *))
{
    for (; pair; pair = pair->next)
        if (compare(pair->name, name) == 0)
            return pair->value;
    return NULL;
}

const char *net_header(const struct net_exchange *e, const char *name)
{
    return find(e->headers, name, strcasecmp);
}

const char *net_query(const struct net_exchange *e, const char *name)
{
    return find(e->query, name, strcmp);
}

void net_reply_header(struct net_exchange *e, const char *name, const char *value)
{
    const char *kept = arena_copy(&e->arena, value, strlen(value));
    if (kept && e->n_header < NET_REPLY_HEADERS) {
        e->header[e->n_header].name = name;
        e->header[e->n_header++].value = kept;
    }
}

void net_reply(struct net_exchange *e, int status, const char *type, const void *bytes, size_t size)
{
    buffer_clear(&e->out);
    bool fits = !buffer_append(&e->out, bytes, size, NULL);
    pthread_mutex_lock(&e->server->lock);
    e->status = status;
    e->type = type;
    if (fits)
        e->phase = PHASE_ANSWER;
    else
        exchange_fault(e, 500, "out_of_memory", "the answer does not fit in memory");
    exchange_wake(e);
    pthread_mutex_unlock(&e->server->lock);
}

void net_reply_error(struct net_exchange *e, int status, const char *code, const char *format, ...)
{
    char text[MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    pthread_mutex_lock(&e->server->lock);
    exchange_fault(e, status, code, text);
    exchange_wake(e);
    pthread_mutex_unlock(&e->server->lock);
}

/* ---- streams ---- */

/* libmicrohttpd asks for more of a stream. */
static ssize_t read_stream(void *argument, uint64_t position, char *to, size_t most)
{
    struct net_exchange *e = argument;
    ssize_t result;
    (void)position;
    pthread_mutex_lock(&e->server->lock);
    size_t n = e->out.size - e->sent;
    if (e->gone) {
        result = MHD_CONTENT_READER_END_WITH_ERROR;
    } else if (n > 0) {
        n = n < most ? n : most;
        memcpy(to, e->out.data + e->sent, n);
        e->sent += n;
        e->sent_all += n;
        e->taken_at = clock_ms();
        (void)pthread_cond_broadcast(&e->changed);
        result = (ssize_t)n;
    } else if (e->phase == PHASE_ANSWER) {
        result = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        e->suspended = true;
        MHD_suspend_connection(e->connection);
        result = 0;
    }
    pthread_mutex_unlock(&e->server->lock);
    return result;
}

void net_stream_begin(struct net_exchange *e, const char *type, const char *heartbeat)
{
    pthread_mutex_lock(&e->server->lock);
    e->status = 200;
    e->type = type;
    e->heartbeat = heartbeat;
    e->streamed = true;
    e->phase = PHASE_STREAM;
    e->taken_at = clock_ms();
    exchange_wake(e);
    pthread_mutex_unlock(&e->server->lock);
}

/* Drops what was taken, so that the buffer holds only what is unsent. */
static void compact(struct net_exchange *e)
{
    size_t left = e->out.size - e->sent;
    if (e->sent > 0 && left > 0)
        memmove(e->out.data, e->out.data + e->sent, left);
    e->out.size = left;
    e->sent = 0;
    if (left == 0)
        e->taken_at = clock_ms(); /* nothing waits: the reader is not slow */
}

goss_status net_stream_write(struct net_exchange *e, const void *bytes, size_t size, goss_error *error)
{
    goss_status status = GOSS_OK;
    size_t limit = e->server->options.limits.unsent_bytes;
    pthread_mutex_lock(&e->server->lock);
    while (!e->gone && e->out.size > e->sent && e->out.size - e->sent + size > limit)
        pthread_cond_wait(&e->changed, &e->server->lock);
    if (e->gone) {
        status = error_set(error, GOSS_E_CANCELLED, "the client is gone");
    } else {
        compact(e);
        status = buffer_append(&e->out, bytes, size, error);
        exchange_wake(e);
    }
    pthread_mutex_unlock(&e->server->lock);
    return status;
}

void net_stream_end(struct net_exchange *e)
{
    pthread_mutex_lock(&e->server->lock);
    e->phase = PHASE_ANSWER;
    exchange_wake(e);
    pthread_mutex_unlock(&e->server->lock);
}

bool net_gone(struct net_exchange *e)
{
    pthread_mutex_lock(&e->server->lock);
    bool gone = e->gone;
    pthread_mutex_unlock(&e->server->lock);
    return gone;
}

void net_on_gone(struct net_exchange *e, void (*gone)(void *argument), void *argument)
{
    pthread_mutex_lock(&e->server->lock);
    e->on_gone = e->gone ? NULL : gone;
    e->gone_argument = argument;
    if (e->gone && gone)
        gone(argument);
    pthread_mutex_unlock(&e->server->lock);
}

/* ---- to libmicrohttpd ---- */

static void add_headers(const struct net_exchange *e, struct MHD_Response *response)
{
    if (e->type)
        (void)MHD_add_response_header(response, "Content-Type", e->type);
    (void)MHD_add_response_header(response, "Cache-Control", "no-store");
    (void)MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    (void)MHD_add_response_header(response, "x-request-id", e->id);
    if (e->cors) {
        (void)MHD_add_response_header(response, "Access-Control-Allow-Origin", e->cors);
        (void)MHD_add_response_header(response, "Access-Control-Allow-Methods", "GET, POST, DELETE");
        (void)MHD_add_response_header(response, "Access-Control-Allow-Headers",
                                      "authorization, content-type, x-api-key");
        (void)MHD_add_response_header(response, "Vary", "Origin");
    }
    if (e->server->draining && e->phase != PHASE_UPGRADE)
        (void)MHD_add_response_header(response, "Connection", "close");
    for (int i = 0; i < e->n_header; i++)
        (void)MHD_add_response_header(response, e->header[i].name, e->header[i].value);
}

enum MHD_Result exchange_queue(struct net_exchange *e)
{
    struct MHD_Response *response;
    if (e->phase == PHASE_UPGRADE)
        response = MHD_create_response_for_upgrade(socket_upgraded, e);
    else if (e->streamed)
        response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, read_stream, e, NULL);
    else
        response = MHD_create_response_from_buffer(e->out.size, e->out.data, MHD_RESPMEM_PERSISTENT);
    if (!response)
        return MHD_NO;
    add_headers(e, response);
    if (!e->streamed && e->phase != PHASE_UPGRADE)
        e->sent_all = e->out.size;
    enum MHD_Result result = MHD_queue_response(e->connection, (unsigned)e->status, response);
    MHD_destroy_response(response);
    return result;
}
