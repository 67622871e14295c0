/* A request as it comes in: its head is checked, its body collected, then a thread of its own handles it. */
#include <stdlib.h>
#include <string.h>

#include "net/internal.h"
#include "net/url.h"

static struct link *link_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

void *request_target(void *argument, const char *uri, struct MHD_Connection *connection)
{
    struct net_server *server = argument;
    struct link *link = link_of(connection);
    struct net_exchange *e = link ? exchange_open(server, connection) : NULL;
    if (!e)
        return NULL;
    e->line_bytes = strlen(uri) + strlen("  HTTP/1.1");
    e->request.path = "-";
    e->target = arena_copy(&e->arena, uri, strlen(uri));
    pthread_mutex_lock(&server->lock);
    e->link = link;
    link->exchange = e;
    e->request.peer = link->peer;
    server->exchanges++;
    pthread_mutex_unlock(&server->lock);
    return e;
}

/* ---- the head ---- */

struct fault {
    int status;
    const char *code, *text;
};

struct head {
    struct net_exchange *e;
    struct pair **tail;
    size_t bytes;
    int n, hosts, lengths, origins, encodings;
    bool too_long, memory;
};

static enum MHD_Result read_header(void *argument, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct head *head = argument;
    const struct net_limits *limits = &head->e->server->options.limits;
    (void)kind;
    value = value ? value : "";
    size_t bytes = strlen(name) + strlen(value) + 4; /* ": " and the end of the line */
    head->n++;
    head->bytes += bytes;
    head->too_long |= bytes > (size_t)limits->header_bytes;
    head->hosts += strcasecmp(name, "host") == 0;
    head->lengths += strcasecmp(name, "content-length") == 0;
    head->origins += strcasecmp(name, "origin") == 0;
    head->encodings += strcasecmp(name, "transfer-encoding") == 0;
    struct pair *pair = arena_alloc(&head->e->arena, sizeof *pair);
    if (pair) {
        pair->name = arena_copy(&head->e->arena, name, strlen(name));
        pair->value = arena_copy(&head->e->arena, value, strlen(value));
    }
    if (!pair || !pair->name || !pair->value) {
        head->memory = true;
        return MHD_NO;
    }
    *head->tail = pair;
    head->tail = &pair->next;
    return MHD_YES;
}

static bool read_target(struct net_exchange *e)
{
    char *rest, *name, *value;
    struct pair **tail = &e->query;
    bool valid = true;
    if (!url_split(e->target, &rest))
        return false;
    e->request.path = e->target;
    while (url_next(&rest, &name, &value, &valid)) {
        struct pair *pair = arena_alloc(&e->arena, sizeof *pair);
        if (!pair)
            return false;
        *pair = (struct pair){name, value, NULL};
        *tail = pair;
        tail = &pair->next;
    }
    return valid;
}

static const struct fault none = {0};
static const struct fault busy = {503, "overloaded", "the server has as many requests as it can take"};
static const struct fault too_large = {413, "request_too_large", "the body is larger than this server takes"};

/* What the lines of the head say about themselves. */
static struct fault check_form(struct net_exchange *e, const char *method, const char *version)
{
    const struct net_limits *limits = &e->server->options.limits;
    struct head head = {.e = e, .tail = &e->headers};
    (void)MHD_get_connection_values(e->connection, MHD_HEADER_KIND, read_header, &head);
    e->request.method = arena_copy(&e->arena, method, strlen(method));
    if (!e->request.method || !e->target || head.memory)
        return busy;
    if (e->line_bytes + strlen(method) > (size_t)limits->line_bytes)
        return (struct fault){414, "uri_too_long", "the request line is longer than this server takes"};
    if (head.n > limits->headers || head.too_long || head.bytes > (size_t)limits->headers_bytes)
        return (struct fault){431, "headers_too_large", "the headers are more than this server takes"};
    if (!read_target(e))
        return (struct fault){400, "bad_url", "the path or the query is not well-formed"};
    if (strcmp(version, MHD_HTTP_VERSION_1_1) != 0 && strcmp(version, MHD_HTTP_VERSION_1_0) != 0)
        return (struct fault){505, "bad_version", "HTTP/1.1 is spoken here"};
    if (head.hosts > 1 || head.lengths > 1 || head.origins > 1 || head.encodings > 1)
        return (struct fault){400, "repeated_header", "a header that may stand once stands more often"};
    const char *encoding = net_header(e, "transfer-encoding");
    if (encoding && (head.lengths || strcasecmp(encoding, "chunked") != 0))
        return (struct fault){400, "bad_framing", "the length of the body is not clear"};
    return none;
}

/* Whether the sender may speak to this server at all. */
static struct fault check_sender(struct net_exchange *e)
{
    const struct net_options *o = &e->server->options;
    const char *host = net_header(e, "host"), *origin = net_header(e, "origin");
    if (!guard_host(host, &o->hosts))
        return (struct fault){403, "bad_host", "the Host header does not name this server"};
    switch (guard_origin(origin, net_header(e, "sec-fetch-site"), host, o->certificate != NULL, &o->origins)) {
    case ORIGIN_FOREIGN: return (struct fault){403, "bad_origin", "pages of other origins may not use this server"};
    case ORIGIN_ALLOWED: e->cors = origin; break;
    default: break;
    }
    return none;
}

static bool is_preflight(const struct net_exchange *e)
{
    return e->cors && strcmp(e->request.method, "OPTIONS") == 0 && net_header(e, "access-control-request-method");
}

/* Authorization: Bearer KEY, as OpenAI's clients send it, or else x-api-key: KEY, as Anthropic's do. */
static struct fault check_key(struct net_exchange *e)
{
    const struct net_options *o = &e->server->options;
    static const struct fault refused = {401, "invalid_api_key", "no valid API key was given"};
    const char *bearer = net_header(e, "authorization"), *key = net_header(e, "x-api-key");
    strcpy(e->request.caller.name, "-");
    if (!o->keys || (o->open_path && strcmp(e->request.path, o->open_path) == 0))
        return none;
    if (bearer)
        key = strncasecmp(bearer, "bearer ", 7) == 0 ? bearer + 7 + strspn(bearer + 7, " ") : NULL;
    return key && net_keys_find(o->keys, key, &e->request.caller) ? none : refused;
}

static struct fault check_load(struct net_exchange *e)
{
    struct net_server *server = e->server;
    const char *length = net_header(e, "content-length");
    pthread_mutex_lock(&server->lock);
    int refuse = server->draining ? 503 : e->link->refuse;
    bool full = server->bodies_bytes >= server->options.limits.bodies_bytes;
    pthread_mutex_unlock(&server->lock);
    if (refuse == 429)
        return (struct fault){429, "too_many_connections", "this address has too many connections"};
    if (refuse)
        return busy;
    bool chunked = net_header(e, "transfer-encoding") != NULL;
    unsigned long long size = length ? strtoull(length, NULL, 10) : 0;
    if (!chunked && size > server->options.limits.body_bytes)
        return too_large;
    return (chunked || size > 0) && full ? busy : none;
}

static enum MHD_Result answer_fault(struct net_exchange *e, const struct fault *fault)
{
    if (fault->status == 429 || fault->status == 503)
        net_reply_header(e, "Retry-After", "1");
    if (fault->status == 401)
        net_reply_header(e, "WWW-Authenticate", "Bearer");
    pthread_mutex_lock(&e->server->lock); /* the watcher looks at the phase */
    exchange_fault(e, fault->status, fault->code, fault->text);
    pthread_mutex_unlock(&e->server->lock);
    return exchange_queue(e);
}

/* Goes on with the body, or answers at once and lets libmicrohttpd close a connection whose body was not read. */
static enum MHD_Result take_head(struct net_exchange *e, const char *method, const char *version)
{
    struct fault fault = check_form(e, method, version);
    if (!fault.status)
        fault = check_sender(e);
    if (!fault.status && is_preflight(e)) {
        pthread_mutex_lock(&e->server->lock);
        e->status = 204;
        e->type = "text/plain";
        e->phase = PHASE_ANSWER;
        pthread_mutex_unlock(&e->server->lock);
        return exchange_queue(e);
    }
    if (!fault.status)
        fault = check_key(e);
    if (!fault.status)
        fault = check_load(e);
    if (fault.status)
        return answer_fault(e, &fault);
    pthread_mutex_lock(&e->server->lock);
    e->phase = PHASE_BODY;
    e->link->since = e->link->moved = clock_ms();
    pthread_mutex_unlock(&e->server->lock);
    return MHD_YES;
}

/* ---- the body ---- */

static enum MHD_Result take_body(struct net_exchange *e, const char *bytes, size_t *size)
{
    struct net_server *server = e->server;
    const struct net_limits *limits = &server->options.limits;
    int refuse = 0;
    pthread_mutex_lock(&server->lock);
    if (*size > limits->body_bytes - e->body.size)
        refuse = 413;
    else if (server->bodies_bytes + *size > limits->bodies_bytes || buffer_append(&e->body, bytes, *size, NULL))
        refuse = 503;
    else
        server->bodies_bytes += *size;
    e->link->moved = clock_ms();
    if (refuse) {
        e->status = refuse;
        link_refuse(e->link, refuse); /* in the middle of a body libmicrohttpd takes no answer */
    }
    pthread_mutex_unlock(&server->lock);
    *size = 0;
    return refuse ? MHD_NO : MHD_YES;
}

static void *handle(void *argument)
{
    struct net_exchange *e = argument;
    struct net_server *server = e->server;
    pthread_mutex_lock(&server->lock); /* until its connection is suspended */
    pthread_mutex_unlock(&server->lock);
    server->options.handle(server->options.argument, e);
    if (e->phase == PHASE_HANDLE)
        net_reply_error(e, 500, "no_answer", "the server did not answer; this is a defect of it");
    if (e->phase == PHASE_STREAM)
        net_stream_end(e);
    if (e->socket)
        socket_close(e);
    pthread_mutex_lock(&server->lock);
    e->on_gone = NULL;
    server->handlers--;
    (void)pthread_cond_broadcast(&server->changed);
    exchange_let_go(e);
    pthread_mutex_unlock(&server->lock);
    return NULL;
}

static enum MHD_Result begin_handler(struct net_exchange *e)
{
    struct net_server *server = e->server;
    pthread_attr_t detached;
    pthread_t thread;
    static const uint8_t nothing[1];
    e->request.body = e->body.data ? e->body.data : nothing;
    e->request.body_size = e->body.size;
    if (pthread_attr_init(&detached))
        return answer_fault(e, &busy);
    (void)pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    pthread_mutex_lock(&server->lock);
    bool begun = !server->closing && server->handlers < server->options.limits.requests &&
                 !pthread_create(&thread, &detached, handle, e);
    if (begun) {
        server->handlers++;
        e->owners++;
        e->phase = PHASE_HANDLE;
        e->suspended = true;
        MHD_suspend_connection(e->connection);
        if (e->link->left)
            exchange_gone(e);
    }
    pthread_mutex_unlock(&server->lock);
    (void)pthread_attr_destroy(&detached);
    return begun ? MHD_YES : answer_fault(e, &busy);
}

enum MHD_Result request_step(void *argument, struct MHD_Connection *connection, const char *url, const char *method,
                             const char *version, const char *upload, size_t *upload_size, void **state)
{
    struct net_exchange *e = *state;
    (void)argument, (void)connection, (void)url;
    if (!e)
        return MHD_NO;
    pthread_mutex_lock(&e->server->lock);
    e->state = state;
    enum phase phase = e->phase;
    pthread_mutex_unlock(&e->server->lock);
    switch (phase) {
    case PHASE_HEAD: return take_head(e, method, version);
    case PHASE_BODY: return *upload_size ? take_body(e, upload, upload_size) : begin_handler(e);
    case PHASE_HANDLE: return MHD_YES;
    default: return exchange_queue(e);
    }
}
