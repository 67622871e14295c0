/* The thread that watches what libmicrohttpd does not: clients that leave while their answer is being made (a
 * suspended connection is not looked at), heads and bodies that come too slowly byte by byte, readers that do not read.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/internal.h"

enum { TICK_MS = 100, LEFT_MS = 1000, EVENTS = 64 };
static const uint64_t WAKE_SERIAL = 0; /* of no link */

void link_refuse(struct link *link, int status)
{
    const char *reason = status == 408   ? "Request Timeout"
                         : status == 413 ? "Content Too Large"
                                         : "Service Unavailable";
    char line[128];
    int n =
        snprintf(line, sizeof line, "HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", status, reason);
    if (status && !link->server->options.certificate)
        (void)send(link->fd, line, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)shutdown(link->fd, SHUT_RDWR);
    link->server->counts.refused += status != 0;
}

void watch_link(struct net_server *server, struct link *link)
{
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLONESHOT, .data.u64 = link->serial};
    (void)epoll_ctl(server->epoll, EPOLL_CTL_ADD, link->fd, &event);
    if (!server->links->next) /* the first: the watcher sleeps without a clock */
        (void)eventfd_write(server->wake, 1);
}

void watch_fd(struct link *link, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u64 = link->serial};
    int epoll = link->server->epoll;
    if (!events && fd != link->fd)
        (void)epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
    else if (epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event) && errno == ENOENT)
        (void)epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

/* Something has happened to a connection: its client has left, or a WebSocket can be read or written. */
static void stirred(struct net_server *server, const struct epoll_event *event)
{
    const uint32_t over = EPOLLRDHUP | EPOLLHUP | EPOLLERR;
    for (struct link *link = server->links; link; link = link->next) {
        struct net_exchange *e = link->exchange;
        if (link->serial != event->data.u64)
            continue;
        if (event->events & over)
            link->left = clock_ms();
        if (e && e->phase == PHASE_SOCKET && e->socket)
            socket_ready(e, event->events & over);
        else if (e && e->phase >= PHASE_HANDLE && link->left)
            exchange_gone(e);
        return;
    }
}

/* The body keeps up the least rate after the first seconds, never pauses for long, and ends in time. */
static bool body_is_slow(const struct link *link, const struct net_limits *limits, int64_t now)
{
    int64_t took = now - link->since;
    int64_t least = took * limits->body_rate / 1000;
    return now - link->moved > limits->body_idle_ms || took > limits->body_ms ||
           (took > limits->body_idle_ms && (int64_t)link->exchange->body.size < least);
}

static void check_stream(struct net_exchange *e, const struct net_limits *limits, int64_t now)
{
    size_t unsent = e->out.size - e->sent;
    if (!e->streamed || e->gone)
        return;
    if (unsent > 0 && now - e->taken_at > limits->stall_ms) {
        e->stalled = true;
        (void)shutdown(e->link->fd, SHUT_RDWR);
        exchange_gone(e);
    } else if (unsent == 0 && e->phase == PHASE_STREAM && e->heartbeat && now - e->taken_at > limits->heartbeat_ms) {
        buffer_clear(&e->out);
        e->sent = 0;
        e->taken_at = now;
        if (!buffer_append_text(&e->out, e->heartbeat, NULL))
            exchange_wake(e);
    }
}

static void check_clocks(struct net_server *server, int64_t now)
{
    const struct net_limits *limits = &server->options.limits;
    for (struct link *link = server->links; link; link = link->next) {
        struct net_exchange *e = link->exchange;
        bool first = link->since >= 0 && link->moved < 0; /* nothing was answered on it yet */
        if (e && e->phase == PHASE_SOCKET && e->socket) {
            socket_tick(e, now);
        } else if (e && e->phase >= PHASE_HANDLE) {
            check_stream(e, limits, now);
        } else if (link->left && now - link->left > LEFT_MS) {
            link_refuse(link, 0); /* in the middle of a head libmicrohttpd does not always see that nothing follows */
            link->left = link->since = now;
        } else if (e && e->phase == PHASE_BODY) {
            if (body_is_slow(link, limits, now)) {
                e->status = 408;
                link_refuse(link, 408);
                link->since = link->moved = now; /* once */
            }
        } else if (now - link->since > (first ? limits->header_ms : limits->idle_ms)) {
            link_refuse(link, e || first ? 408 : 0);
            link->since = now;
        }
    }
}

static void *run(void *argument)
{
    struct net_server *server = argument;
    struct epoll_event event[EVENTS];
    pthread_mutex_lock(&server->lock);
    while (!server->closing) {
        int timeout = server->links ? TICK_MS : -1;
        pthread_mutex_unlock(&server->lock);
        int n = epoll_wait(server->epoll, event, EVENTS, timeout);
        pthread_mutex_lock(&server->lock);
        for (int i = 0; i < n; i++) {
            eventfd_t count;
            if (event[i].data.u64 == WAKE_SERIAL)
                (void)eventfd_read(server->wake, &count);
            else
                stirred(server, &event[i]);
        }
        check_clocks(server, clock_ms());
    }
    pthread_mutex_unlock(&server->lock);
    return NULL;
}

goss_status watch_open(struct net_server *server, goss_error *error)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = WAKE_SERIAL};
    server->epoll = epoll_create1(EPOLL_CLOEXEC);
    server->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (server->epoll < 0 || server->wake < 0 || epoll_ctl(server->epoll, EPOLL_CTL_ADD, server->wake, &event))
        return error_errno(error, "the server", "cannot watch its connections");
    if (pthread_create(&server->watcher, NULL, run, server))
        return error_set(error, GOSS_E_IO, "cannot start a thread");
    server->watching = true;
    return GOSS_OK;
}

void watch_close(struct net_server *server)
{
    if (server->watching) {
        (void)eventfd_write(server->wake, 1);
        (void)pthread_join(server->watcher, NULL);
    }
    if (server->epoll >= 0)
        (void)close(server->epoll);
    if (server->wake >= 0)
        (void)close(server->wake);
}
