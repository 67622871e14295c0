#include "net/server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "net/internal.h"

enum {
    POOL_MARGIN = 1 << 15, /* of a connection's memory, beside the headers: their records and the answer's head */
    HARD_MARGIN = 64       /* connections above the limit that are still told so */
};

struct net_limits net_limits_default(void)
{
    return (struct net_limits){.connections = 1024,
                               .per_address = 64,
                               .requests = 256,
                               .sockets = 128, /* more than one other address may have connections */
                               .line_bytes = 8 << 10,
                               .header_bytes = 8 << 10,
                               .headers_bytes = 32 << 10,
                               .headers = 100,
                               .body_bytes = 16 << 20,
                               .bodies_bytes = 256 << 20,
                               .unsent_bytes = 256 << 10,
                               .header_ms = 10000,
                               .idle_ms = 60000,
                               .body_idle_ms = 10000,
                               .body_ms = 120000,
                               .body_rate = 1024,
                               .stall_ms = 30000,
                               .heartbeat_ms = 15000,
                               .socket_ms = 3600000};
}

/* ---- connections ---- */

/* A socket of both protocols shows 127.0.0.1 as ::ffff:127.0.0.1, which is the same machine. */
static void describe_peer(struct link *link, const struct sockaddr *address)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
    struct in_addr number = {0};
    bool is_v4 = address && address->sa_family == AF_INET, is_v6 = address && address->sa_family == AF_INET6;
    (void)snprintf(link->peer, sizeof link->peer, "?");
    if (is_v4) {
        number = v4->sin_addr;
    } else if (is_v6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
        memcpy(&number, &v6->sin6_addr.s6_addr[12], sizeof number);
        is_v4 = true;
    }
    if (is_v4) {
        (void)inet_ntop(AF_INET, &number, link->peer, sizeof link->peer);
        link->local = ntohl(number.s_addr) >> 24 == IN_LOOPBACKNET;
    } else if (is_v6) {
        (void)inet_ntop(AF_INET6, &v6->sin6_addr, link->peer, sizeof link->peer);
        link->local = IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
    }
}

/* 0, or the status that answers every request on a connection too many. */
static int too_many(const struct net_server *server, const struct link *link)
{
    int same = 1;
    for (const struct link *l = server->links; l; l = l->next)
        same += strcmp(l->peer, link->peer) == 0;
    if (!link->local && same > server->options.limits.per_address)
        return 429;
    return server->counts.connections >= server->options.limits.connections ? 503 : 0;
}

static void begin_link(struct net_server *server, struct MHD_Connection *connection, void **context)
{
    const union MHD_ConnectionInfo *fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    const union MHD_ConnectionInfo *peer = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    struct link *link = calloc(1, sizeof *link);
    *context = link;
    if (!link)
        return; /* its requests will not be answered */
    link->server = server;
    link->fd = fd->connect_fd;
    link->since = clock_ms();
    link->moved = -1;
    describe_peer(link, peer->client_addr);
    pthread_mutex_lock(&server->lock);
    link->serial = ++server->serials;
    link->refuse = too_many(server, link);
    link->next = server->links;
    if (link->next)
        link->next->before = link;
    server->links = link;
    server->counts.connections++;
    server->counts.accepted++;
    watch_link(server, link);
    pthread_mutex_unlock(&server->lock);
}

static void end_link(struct net_server *server, struct link *link)
{
    if (!link)
        return;
    pthread_mutex_lock(&server->lock); /* the descriptor is still open; from here on nobody uses it */
    if (link->next)
        link->next->before = link->before;
    *(link->before ? &link->before->next : &server->links) = link->next;
    server->counts.connections--;
    pthread_mutex_unlock(&server->lock);
    free(link);
}

static void connection_changed(void *argument, struct MHD_Connection *connection, void **context,
                               enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        begin_link(argument, connection, context);
    else
        end_link(argument, *context);
}

/* ---- requests ---- */

static void count(struct net_server *server, const struct net_exchange *e)
{
    int class = e->status / 100;
    server->counts.answered += e->complete;
    server->counts.aborted += !e->complete;
    if (class >= 1 && class <= 5)
        server->counts.by_class[class]++;
}

void exchange_end(struct net_exchange *e)
{
    struct net_server *server = e->server;
    pthread_mutex_lock(&server->lock);
    struct net_access access = {.id = e->id,
                                .peer = e->link->peer,
                                .caller = e->request.caller.name,
                                .method = e->request.method ? e->request.method : "-",
                                .path = e->request.path,
                                .status = e->status,
                                .complete = e->complete,
                                .body_bytes = e->body.size + e->received,
                                .answer_bytes = e->sent_all,
                                .seconds = (double)(clock_ms() - e->began) / 1000};
    count(server, e);
    pthread_mutex_unlock(&server->lock);
    if (server->options.log)
        server->options.log(server->options.argument, &access);
    pthread_mutex_lock(&server->lock);
    e->link->exchange = NULL;
    e->link->since = clock_ms();
    e->link->moved = 0;
    e->link = NULL;
    e->connection = NULL;
    e->suspended = false;
    exchange_gone(e); /* nobody hears the handler any more */
    server->exchanges--;
    (void)pthread_cond_broadcast(&server->changed);
    (void)pthread_cond_broadcast(&e->changed);
    exchange_let_go(e);
    pthread_mutex_unlock(&server->lock);
}

/* libmicrohttpd is done with a request, however it ended. */
static void request_completed(void *argument, struct MHD_Connection *connection, void **state,
                              enum MHD_RequestTerminationCode how)
{
    struct net_exchange *e = *state;
    (void)argument, (void)connection;
    if (!e)
        return;
    *state = NULL;
    e->complete = how == MHD_REQUEST_TERMINATED_COMPLETED_OK;
    exchange_end(e);
}

/* ---- the server ---- */

/* Escapes are read by net/url.c, strictly. */
static size_t keep_escapes(void *argument, struct MHD_Connection *connection, char *text)
{
    (void)argument, (void)connection;
    return strlen(text);
}

static void __attribute__((format(printf, 2, 0))) no_log(void *argument, const char *format, va_list args)
{
    (void)argument, (void)format, (void)args; /* its messages quote what strangers send */
}

static goss_status start(struct net_server *server, goss_error *error)
{
    const struct net_options *o = &server->options;
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_ALLOW_UPGRADE | MHD_USE_ERROR_LOG;
    struct MHD_OptionItem tls[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)o->certificate},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)o->tls_key},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"},
        {MHD_OPTION_END, 0, NULL},
    };
    if (o->certificate)
        flags |= MHD_USE_TLS;
    else
        tls[0].option = MHD_OPTION_END;
    size_t pool = (size_t)o->limits.line_bytes + (size_t)o->limits.headers_bytes + POOL_MARGIN;
    unsigned timeout = (unsigned)(o->limits.idle_ms + 999) / 1000 + 1;
    server->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, request_step, server, MHD_OPTION_EXTERNAL_LOGGER, no_log, NULL, MHD_OPTION_LISTEN_SOCKET,
        o->socket, MHD_OPTION_CONNECTION_LIMIT, (unsigned)(o->limits.connections + HARD_MARGIN),
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, pool, MHD_OPTION_CONNECTION_TIMEOUT, timeout, MHD_OPTION_STRICT_FOR_CLIENT,
        1, MHD_OPTION_URI_LOG_CALLBACK, request_target, server, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL,
        MHD_OPTION_NOTIFY_COMPLETED, request_completed, server, MHD_OPTION_NOTIFY_CONNECTION, connection_changed,
        server, MHD_OPTION_ARRAY, tls, MHD_OPTION_END);
    if (!server->daemon)
        return error_set(error, GOSS_E_IO,
                         o->certificate ? "the HTTP server did not start; do certificate and key fit together?"
                                        : "the HTTP server did not start");
    return GOSS_OK;
}

goss_status net_server_open(struct net_server **out, const struct net_options *options, goss_error *error)
{
    *out = NULL;
    struct net_server *server = calloc(1, sizeof *server);
    if (!server) {
        (void)close(options->socket);
        return error_memory(error, sizeof *server, "a server");
    }
    server->options = *options;
    server->epoll = server->wake = -1;
    (void)pthread_mutex_init(&server->lock, NULL);
    pthread_condattr_t clock;
    (void)pthread_condattr_init(&clock);
    (void)pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&server->changed, &clock);
    (void)pthread_condattr_destroy(&clock);
    goss_status status = watch_open(server, error);
    *out = server; /* before the first request, whose handler may ask for it */
    if (!status)
        status = start(server, error);
    if (status) {
        *out = NULL;
        net_server_close(server);
    }
    return status;
}

/* Those that wait for their client see what has become of the server. */
static void wake_handlers(struct net_server *server)
{
    for (struct link *link = server->links; link; link = link->next)
        if (link->exchange)
            (void)pthread_cond_broadcast(&link->exchange->changed);
}

bool net_server_drain(struct net_server *server, int milliseconds)
{
    int64_t until = clock_ms() + milliseconds;
    struct timespec end = {.tv_sec = until / 1000, .tv_nsec = until % 1000 * 1000000};
    pthread_mutex_lock(&server->lock);
    bool first = !server->draining;
    server->draining = true;
    wake_handlers(server);
    pthread_mutex_unlock(&server->lock);
    if (first && MHD_quiesce_daemon(server->daemon) >= 0)
        (void)shutdown(server->options.socket, SHUT_RDWR); /* who connects now is refused, not left waiting */
    pthread_mutex_lock(&server->lock);
    while (server->exchanges > 0 && clock_ms() < until)
        (void)pthread_cond_timedwait(&server->changed, &server->lock, &end);
    bool done = server->exchanges == 0;
    pthread_mutex_unlock(&server->lock);
    return done;
}

void net_server_close(struct net_server *server)
{
    if (!server)
        return;
    if (server->daemon)
        (void)MHD_quiesce_daemon(server->daemon);
    pthread_mutex_lock(&server->lock);
    server->closing = true;
    for (struct link *link = server->links; link; link = link->next)
        if (link->exchange)
            exchange_gone(link->exchange);
    wake_handlers(server);
    while (server->handlers > 0)
        pthread_cond_wait(&server->changed, &server->lock);
    for (struct link *link = server->links; link; link = link->next)
        if (link->exchange)
            exchange_wake(link->exchange); /* libmicrohttpd may not stop with anything suspended */
    pthread_mutex_unlock(&server->lock);
    watch_close(server);
    if (server->daemon)
        MHD_stop_daemon(server->daemon);
    (void)close(server->options.socket);
    (void)pthread_cond_destroy(&server->changed);
    (void)pthread_mutex_destroy(&server->lock);
    free(server);
}

struct net_counts net_server_counts(struct net_server *server)
{
    pthread_mutex_lock(&server->lock);
    struct net_counts counts = server->counts;
    counts.requests = server->handlers;
    pthread_mutex_unlock(&server->lock);
    return counts;
}
