#include "net/socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <wslay/wslay.h>

#include "net/internal.h"

enum {
    READ_AT_ONCE = 1 << 16, /* bytes of one client before the next one's turn */
    CLOSE_MS = 1000,        /* for the client's answer to a close */
    KEY_TEXT = 24,          /* base64 of 16 bytes */
    GOING_AWAY = 1001,
    NO_TEXT = 1003,
    TOO_SLOW = 1008,
    TOO_LARGE = 1009,
    NO_MEMORY = 1011,
    NO_ROOM = 1013,
};

/* A complete message that waits for the handler. */
struct letter {
    struct letter *next;
    struct buffer text;
};

struct net_socket {
    struct MHD_UpgradeResponseHandle *upgrade; /* NULL until the 101 is out */
    int fd;
    wslay_event_context_ptr frames;
    uint8_t *early; /* [n_early] what the client sent right behind its request */
    size_t n_early, early_taken;
    struct buffer message, current; /* the one that comes in; the handler's */
    struct letter *first, **end;
    size_t budget;                /* bytes that may be read before others have their turn */
    int64_t opened, heard;        /* when it was opened; when the last byte came */
    int64_t began;                /* when the message that comes in began; 0: none does */
    int64_t closing;              /* when its end began; 0: not yet */
    bool control;                 /* the frame that comes in is no part of a message */
    bool asked, expired, hung_up; /* hung_up: nothing more can come */
    bool done;                    /* there is nothing left to send or to wait for */
};

/* ---- the handshake ---- */

/* Whether a comma-separated header holds a word. */
static bool has_word(const char *list, const char *word)
{
    size_t n = strlen(word);
    while (list && *list) {
        list += strspn(list, " \t,");
        size_t length = strcspn(list, " \t,");
        if (length == n && strncasecmp(list, word, n) == 0)
            return true;
        list += length;
    }
    return false;
}

static bool is_key(const char *key)
{
    unsigned char bytes[KEY_TEXT];
    return key && strlen(key) == KEY_TEXT && strcmp(key + KEY_TEXT - 2, "==") == 0 && key[KEY_TEXT - 3] != '=' &&
           EVP_DecodeBlock(bytes, (const unsigned char *)key, KEY_TEXT) == 18;
}

/* Answers a request that cannot become a WebSocket; false if it can. */
static bool refused(struct net_exchange *e)
{
    const char *version = net_header(e, "sec-websocket-version");
    if (!has_word(net_header(e, "upgrade"), "websocket") || !version || strcmp(version, "13") != 0) {
        net_reply_header(e, "Upgrade", "websocket");
        net_reply_header(e, "Sec-WebSocket-Version", "13");
        net_reply_error(e, 426, "upgrade_required", "GET of this path opens a WebSocket, version 13; else use POST");
        return true;
    }
    if (!has_word(net_header(e, "connection"), "upgrade") || !is_key(net_header(e, "sec-websocket-key")) ||
        e->body.size > 0) {
        net_reply_error(e, 400, "bad_handshake", "this is not how a WebSocket is opened (RFC 6455, section 4.1)");
        return true;
    }
    return false;
}

/* What proves to the client that its request was understood as a WebSocket's. */
static bool accept_key(struct net_exchange *e)
{
    static const char salt[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char text[KEY_TEXT + sizeof salt];
    unsigned char digest[EVP_MAX_MD_SIZE], accept[2 * EVP_MAX_MD_SIZE];
    unsigned size = 0;
    int n = snprintf(text, sizeof text, "%s%s", net_header(e, "sec-websocket-key"), salt);
    if (!EVP_Digest(text, (size_t)n, digest, &size, EVP_sha1(), NULL))
        return false;
    (void)EVP_EncodeBlock(accept, digest, (int)size);
    net_reply_header(e, "Upgrade", "websocket");
    net_reply_header(e, "Sec-WebSocket-Accept", (const char *)accept);
    return true;
}

/* ---- frames; the lock is held ---- */

/* The bytes of messages are counted with those of bodies. */
static void drop(struct net_exchange *e, struct buffer *text)
{
    e->server->bodies_bytes -= text->size;
    buffer_free(text);
}

/* Nobody hears the handler any more; what is left to send is still sent. */
static void begin_close(struct net_exchange *e, int status)
{
    struct net_socket *s = e->socket;
    if (!s->closing)
        s->closing = clock_ms();
    if (status) {
        (void)wslay_event_queue_close(s->frames, (uint16_t)status, NULL, 0);
        (void)wslay_event_shutdown_read(s->frames);
    }
    drop(e, &s->message);
    s->began = 0;
    exchange_gone(e);
}

static ssize_t take_bytes(wslay_event_context_ptr frames, uint8_t *to, size_t most, int flags, void *argument)
{
    struct net_exchange *e = argument;
    struct net_socket *s = e->socket;
    ssize_t n = -1;
    (void)flags;
    most = most < s->budget ? most : s->budget;
    errno = EAGAIN;
    if (s->first || most == 0) {
        n = -1; /* later */
    } else if (s->early_taken < s->n_early) {
        most = most < s->n_early - s->early_taken ? most : s->n_early - s->early_taken;
        memcpy(to, s->early + s->early_taken, most);
        s->early_taken += most;
        n = (ssize_t)most;
    } else {
        n = recv(s->fd, to, most, MSG_DONTWAIT);
    }
    if (n > 0) {
        s->budget -= (size_t)n;
        s->heard = clock_ms();
        s->asked = false;
        e->received += (size_t)n;
        return n;
    }
    s->hung_up = s->hung_up || n == 0 || (errno != EAGAIN && errno != EINTR);
    wslay_event_set_error(frames, s->hung_up ? WSLAY_ERR_CALLBACK_FAILURE : WSLAY_ERR_WOULDBLOCK);
    return -1;
}

static ssize_t give_bytes(wslay_event_context_ptr frames, const uint8_t *bytes, size_t n, int flags, void *argument)
{
    struct net_exchange *e = argument;
    ssize_t sent = send(e->socket->fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)flags;
    if (sent >= 0) {
        e->sent_all += (size_t)sent;
        e->taken_at = clock_ms();
        return sent;
    }
    bool later = errno == EAGAIN || errno == EINTR;
    e->socket->hung_up |= !later;
    wslay_event_set_error(frames, later ? WSLAY_ERR_WOULDBLOCK : WSLAY_ERR_CALLBACK_FAILURE);
    return -1;
}

static void frame_begins(wslay_event_context_ptr frames, const struct wslay_event_on_frame_recv_start_arg *frame,
                         void *argument)
{
    struct net_exchange *e = argument;
    struct net_socket *s = e->socket;
    (void)frames;
    s->control = wslay_is_ctrl_frame(frame->opcode);
    if (s->control)
        return;
    if (!s->began)
        s->began = clock_ms();
    if (frame->opcode == WSLAY_BINARY_FRAME)
        begin_close(e, NO_TEXT);
    else if (frame->payload_length > e->server->options.limits.body_bytes - s->message.size)
        begin_close(e, TOO_LARGE);
}

static void frame_grows(wslay_event_context_ptr frames, const struct wslay_event_on_frame_recv_chunk_arg *chunk,
                        void *argument)
{
    struct net_exchange *e = argument;
    struct net_socket *s = e->socket;
    struct net_server *server = e->server;
    (void)frames;
    if (s->control || s->closing || chunk->data_length == 0)
        return;
    if (server->bodies_bytes + chunk->data_length > server->options.limits.bodies_bytes)
        begin_close(e, NO_ROOM);
    else if (buffer_append(&s->message, chunk->data, chunk->data_length, NULL))
        begin_close(e, NO_MEMORY);
    else
        server->bodies_bytes += chunk->data_length;
}

static void message_ends(wslay_event_context_ptr frames, const struct wslay_event_on_msg_recv_arg *message,
                         void *argument)
{
    struct net_exchange *e = argument;
    struct net_socket *s = e->socket;
    (void)frames;
    if (message->opcode != WSLAY_TEXT_FRAME || s->closing)
        return;
    struct letter *letter = malloc(sizeof *letter);
    if (!letter || buffer_append(&s->message, "", 0, NULL)) {
        free(letter);
        begin_close(e, NO_MEMORY);
        return;
    }
    *letter = (struct letter){NULL, s->message};
    buffer_init(&s->message, e->server->options.limits.body_bytes + 1);
    s->began = 0;
    *s->end = letter;
    s->end = &letter->next;
    (void)pthread_cond_broadcast(&e->changed);
}

/* After the frames have ended what still comes is taken off, so that closing does not reset the connection before the
 * client has read why. */
static void discard(struct net_exchange *e)
{
    uint8_t nothing[4096];
    ssize_t n = 1;
    while (n > 0 && e->socket->budget > sizeof nothing) {
        n = recv(e->socket->fd, nothing, sizeof nothing, MSG_DONTWAIT);
        e->socket->budget -= n > 0 ? (size_t)n : 0;
    }
    e->socket->hung_up |= n == 0;
}

/* Waits for what can be done next, once. */
static void arm(struct net_exchange *e)
{
    struct net_socket *s = e->socket;
    uint32_t events = EPOLLONESHOT | EPOLLRDHUP;
    if (!s->first)
        events |= EPOLLIN;
    if (wslay_event_want_write(s->frames))
        events |= EPOLLOUT;
    if (!s->done)
        watch_fd(e->link, s->fd, events);
}

/* Reads and writes what can be without waiting. */
static void move(struct net_exchange *e)
{
    struct net_socket *s = e->socket;
    s->budget = READ_AT_ONCE;
    if (wslay_event_get_read_enabled(s->frames) && wslay_event_recv(s->frames))
        begin_close(e, 0); /* the close is queued */
    s->hung_up |= wslay_event_send(s->frames) != 0;
    if (!wslay_event_get_read_enabled(s->frames)) {
        begin_close(e, 0);
        discard(e);
    }
    bool closed = wslay_event_get_close_sent(s->frames) && wslay_event_get_close_received(s->frames);
    if (s->hung_up || closed) {
        begin_close(e, 0);
        s->done = true;
    }
    (void)pthread_cond_broadcast(&e->changed);
    arm(e);
}

void socket_ready(struct net_exchange *e, bool hung_up)
{
    move(e);
    if (hung_up && e->socket->budget > 0 && !e->socket->done) {
        begin_close(e, 0);
        e->socket->done = true;
        (void)pthread_cond_broadcast(&e->changed);
    }
}

/* ---- clocks ---- */

static void cut(struct net_exchange *e)
{
    begin_close(e, 0);
    e->socket->done = true;
    (void)shutdown(e->link->fd, SHUT_RDWR);
    (void)pthread_cond_broadcast(&e->changed);
}

void socket_tick(struct net_exchange *e, int64_t now)
{
    const struct net_limits *limits = &e->server->options.limits;
    struct net_socket *s = e->socket;
    if (s->done)
        return;
    if (now - s->opened > limits->socket_ms && !s->expired) {
        s->expired = true;
        (void)pthread_cond_broadcast(&e->changed);
    }
    size_t unsent = wslay_event_get_queued_msg_length(s->frames);
    bool deaf = !s->first && now - s->heard > limits->idle_ms;
    if ((unsent > 0 && now - e->taken_at > limits->stall_ms) || (s->closing && now - s->closing > CLOSE_MS) || deaf) {
        e->stalled = unsent > 0;
        cut(e);
    } else if (s->began && now - s->began > limits->body_ms) {
        begin_close(e, TOO_SLOW);
        move(e);
    } else if (!s->first && !s->asked && !s->closing && now - s->heard > limits->heartbeat_ms) {
        const struct wslay_event_msg ping = {.opcode = WSLAY_PING};
        s->asked = true;
        (void)wslay_event_queue_msg(s->frames, &ping);
        move(e);
    }
}

/* ---- the handler's side ---- */

/* libmicrohttpd has sent the 101. From here on the handler ends the request, not libmicrohttpd: its notice of the end
 * comes under a lock of its own, below which ours must not be taken. */
void socket_upgraded(void *argument, struct MHD_Connection *connection, void *state, const char *early, size_t n,
                     MHD_socket fd, struct MHD_UpgradeResponseHandle *upgrade)
{
    struct net_exchange *e = argument;
    struct net_socket *s = e->socket;
    const int yes = 1;
    (void)connection, (void)state;
    pthread_mutex_lock(&e->server->lock);
    *e->state = NULL;
    e->connection = NULL;
    (void)setsockopt(e->link->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    s->upgrade = upgrade;
    s->fd = fd;
    s->opened = s->heard = clock_ms();
    s->early = n > 0 ? malloc(n) : NULL;
    if (s->early)
        memcpy(s->early, early, n);
    s->n_early = s->early ? n : 0;
    e->phase = PHASE_SOCKET;
    if (n > 0 && !s->early)
        begin_close(e, NO_MEMORY);
    move(e);
    pthread_mutex_unlock(&e->server->lock);
}

static struct net_socket *open_socket(struct net_exchange *e)
{
    static const struct wslay_event_callbacks callbacks = {.recv_callback = take_bytes,
                                                           .send_callback = give_bytes,
                                                           .on_frame_recv_start_callback = frame_begins,
                                                           .on_frame_recv_chunk_callback = frame_grows,
                                                           .on_msg_recv_callback = message_ends};
    struct net_socket *s = calloc(1, sizeof *s);
    if (!s || wslay_event_context_server_init(&s->frames, &callbacks, e)) {
        free(s);
        return NULL;
    }
    wslay_event_config_set_no_buffering(s->frames, 1); /* many small fragments would cost many times their size */
    s->fd = -1;
    s->end = &s->first;
    buffer_init(&s->message, e->server->options.limits.body_bytes + 1);
    buffer_init(&s->current, 0);
    return s;
}

bool net_socket_begin(struct net_exchange *e)
{
    struct net_server *server = e->server;
    if (refused(e))
        return false;
    struct net_socket *s = accept_key(e) ? open_socket(e) : NULL;
    pthread_mutex_lock(&server->lock);
    bool room = s && server->sockets < server->options.limits.sockets;
    e->socket = s;
    server->sockets += s != NULL;
    if (room) {
        e->status = 101;
        e->type = NULL;
        e->phase = PHASE_UPGRADE;
        exchange_wake(e);
        while (e->phase != PHASE_SOCKET && e->link)
            pthread_cond_wait(&e->changed, &server->lock);
    }
    bool open = e->phase == PHASE_SOCKET;
    pthread_mutex_unlock(&server->lock);
    if (!room) {
        e->n_header = 0; /* of the handshake */
        net_reply_header(e, "Retry-After", "1");
        net_reply_error(e, 503, "overloaded", "the server has as many WebSockets as it can take");
    }
    return open;
}

enum net_socket_event net_socket_next(struct net_exchange *e, const void **text, size_t *size)
{
    struct net_socket *s = e->socket;
    enum net_socket_event event = SOCKET_GONE;
    *text = NULL;
    *size = 0;
    pthread_mutex_lock(&e->server->lock);
    drop(e, &s->current);
    while (!s->first && !e->gone && !s->expired && !e->server->draining)
        pthread_cond_wait(&e->changed, &e->server->lock);
    struct letter *letter = e->gone ? NULL : s->first;
    if (!e->gone && e->server->draining) {
        event = SOCKET_ENDING;
    } else if (!e->gone && s->expired) {
        event = SOCKET_EXPIRED;
    } else if (letter) {
        event = SOCKET_MESSAGE;
        s->current = letter->text;
        *text = s->current.data;
        *size = s->current.size;
        s->first = letter->next;
        free(letter);
        if (!s->first) {
            s->end = &s->first;
            move(e); /* goes on reading */
        }
    }
    pthread_mutex_unlock(&e->server->lock);
    return event;
}

goss_status net_socket_send(struct net_exchange *e, const void *text, size_t size, goss_error *error)
{
    struct net_socket *s = e->socket;
    size_t limit = e->server->options.limits.unsent_bytes, unsent;
    const struct wslay_event_msg message = {.opcode = WSLAY_TEXT_FRAME, .msg = text, .msg_length = size};
    goss_status status = GOSS_OK;
    pthread_mutex_lock(&e->server->lock);
    while (!e->gone && (unsent = wslay_event_get_queued_msg_length(s->frames)) > 0 && unsent + size > limit)
        pthread_cond_wait(&e->changed, &e->server->lock);
    if (e->gone) {
        status = error_set(error, GOSS_E_CANCELLED, "the client is gone");
    } else {
        if (wslay_event_get_queued_msg_length(s->frames) == 0)
            e->taken_at = clock_ms(); /* nothing waited: the reader is not slow */
        if (wslay_event_queue_msg(s->frames, &message))
            status = error_memory(error, size, "a message");
        move(e);
    }
    pthread_mutex_unlock(&e->server->lock);
    return status;
}

/* The close, the client's answer to it, and the end of the request. The lock is held. */
static void end_socket(struct net_exchange *e)
{
    struct net_socket *s = e->socket;
    if (!s->closing) {
        s->closing = clock_ms();
        (void)wslay_event_queue_close(s->frames, e->server->draining ? GOING_AWAY : WSLAY_CODE_NORMAL_CLOSURE, NULL, 0);
    }
    move(e);
    while (!s->done && !e->server->closing)
        pthread_cond_wait(&e->changed, &e->server->lock);
    watch_fd(e->link, s->fd, 0);
    e->complete = wslay_event_get_close_sent(s->frames) && wslay_event_get_close_received(s->frames);
}

void socket_close(struct net_exchange *e)
{
    struct net_socket *s = e->socket;
    pthread_mutex_lock(&e->server->lock);
    drop(e, &s->current);
    for (struct letter *letter = s->first, *next; letter; letter = next) {
        next = letter->next;
        drop(e, &letter->text);
        free(letter);
    }
    s->first = NULL;
    s->end = &s->first;
    if (s->upgrade)
        end_socket(e);
    drop(e, &s->message);
    e->server->sockets--;
    e->socket = NULL;
    pthread_mutex_unlock(&e->server->lock);
    if (s->upgrade) {
        exchange_end(e);
        (void)MHD_upgrade_action(s->upgrade, MHD_UPGRADE_ACTION_CLOSE);
    }
    wslay_event_context_free(s->frames);
    free(s->early);
    free(s);
}
