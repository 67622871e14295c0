/* HTTP as such, on libmicrohttpd: connections, limits, keys, and answers that are whole or grow as a stream. It knows
 * nothing of models.
 *
 *     net_listen -> net_server_open -> { handle(exchange) .. } -> net_server_drain -> net_server_close
 *
 * One thread moves the bytes of all connections, one watches clocks and clients that leave, and every complete request
 * runs `handle` in a thread of its own, which may block. So a thousand idle connections cost no thread, and one slow
 * request delays nobody.
 *
 * Every request passes the same gate before `handle` sees it, whatever its path: limits, Host, Origin, key. Faults are
 * answered here as {"type":"error","error":{"message","type","param","code"}}, which clients of both OpenAI's and
 * Anthropic's interfaces read. No message repeats bytes of the request.
 *
 * Thread safety: functions on an exchange are called by its handler's thread, net_gone by any. */
#ifndef NET_SERVER_H
#define NET_SERVER_H

#include "base/buffer.h"
#include "net/guard.h"
#include "net/keys.h"

/* reliability: each limit is tested at its edge (tests/net/test_server.c). */
struct net_limits {
    int connections;     /* at once; requests on more are answered 503 */
    int per_address;     /* .. of one peer that is not this machine: 429 */
    int requests;        /* that run at once: 503 */
    int sockets;         /* WebSockets at once: 503 */
    int line_bytes;      /* method, target and version: 414 */
    int header_bytes;    /* one header: 431 */
    int headers_bytes;   /* all of them: 431 */
    int headers;         /* their number: 431 */
    size_t body_bytes;   /* 413; of a message of a WebSocket: 1009 */
    size_t bodies_bytes; /* of all requests together: 503 */
    size_t unsent_bytes; /* of one stream: its writer waits */
    int header_ms;       /* from connecting to the first complete head: 408 */
    int idle_ms;         /* between an answer and the next complete head: closed */
    int body_idle_ms;    /* without a byte of the body: 408 */
    int body_ms;         /* for the whole body: 408; for a message of a WebSocket: 1008 */
    int body_rate;       /* bytes a second that a body must keep up after body_idle_ms: 408 */
    int stall_ms;        /* a reader that takes nothing of a full stream: cut off */
    int heartbeat_ms;    /* after so long without a byte, a stream gets a heartbeat and a WebSocket a ping */
    int socket_ms;       /* that a WebSocket stays open */
};
struct net_limits net_limits_default(void);

struct net_exchange;

/* What the access log gets for each request when it is over. Never a byte of its content. */
struct net_access {
    const char *id, *peer, *caller, *method, *path; /* path without its query */
    int status;
    bool complete; /* the whole answer went out */
    size_t body_bytes, answer_bytes;
    double seconds;
};

struct net_options {
    int socket; /* a listening one; the server closes it */
    struct net_limits limits;
    const struct net_keys *keys;       /* NULL: no key is asked for; else must outlive the server */
    const char *open_path;             /* the one path that needs no key, such as "/health"; NULL: none */
    struct name_list hosts;            /* see guard_host */
    struct name_list origins;          /* see guard_origin */
    const char *certificate, *tls_key; /* PEM texts; NULL: no TLS */
    void (*handle)(void *argument, struct net_exchange *exchange);
    void (*log)(void *argument, const struct net_access *access); /* may be NULL; called by the server's threads */
    void *argument;
};

struct net_server;
goss_status net_server_open(struct net_server **server, const struct net_options *options, goss_error *error);
/* Takes no more connections and answers new requests with 503; waits until every answer is out, at most so long. True
 * if that was so. */
bool net_server_drain(struct net_server *server, int milliseconds);
/* Cuts off whoever is left, waits for their handlers, frees everything. NULL is fine. */
void net_server_close(struct net_server *server);

struct net_counts {
    int connections, requests; /* now */
    uint64_t accepted, refused, answered, aborted;
    uint64_t by_class[6]; /* answers by the first digit of their status */
};
struct net_counts net_server_counts(struct net_server *server);

/* The request, valid until the handler returns. Text is UTF-8 without control characters, except for the body, which
 * may hold anything. */
struct net_request {
    const char *method, *path, *peer;
    const char *id; /* unguessable; also in the answer's x-request-id */
    const uint8_t *body;
    size_t body_size; /* a NUL stands behind it */
    struct net_caller caller;
};
const struct net_request *net_request(const struct net_exchange *exchange);
const char *net_header(const struct net_exchange *exchange, const char *name); /* NULL if absent */
const char *net_query(const struct net_exchange *exchange, const char *name);  /* NULL if absent */

/* A header of the answer, before net_reply or net_stream_begin. At most NET_REPLY_HEADERS. */
enum { NET_REPLY_HEADERS = 8 };
void net_reply_header(struct net_exchange *exchange, const char *name, const char *value);

/* The whole answer at once. A handler that returns without any answer has answered 500. */
void net_reply(struct net_exchange *exchange, int status, const char *type, const void *bytes, size_t size);
void net_reply_error(struct net_exchange *exchange, int status, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* An answer of status 200 that grows. heartbeat is sent when nothing else was for a while, between two writes; NULL for
 * none. */
void net_stream_begin(struct net_exchange *exchange, const char *type, const char *heartbeat);
/* Waits while the reader is slow. GOSS_E_CANCELLED when the client is gone or takes nothing any more. */
goss_status net_stream_write(struct net_exchange *exchange, const void *bytes, size_t size, goss_error *error);
void net_stream_end(struct net_exchange *exchange);

/* Whether the client has closed its connection, or its sending side, which counts as the same. */
bool net_gone(struct net_exchange *exchange);
/* `gone` is called once when that happens, at once if it already has; by a thread of the server that must not be held
 * up, and it must not call this floor. After net_on_gone(exchange, NULL, NULL) it will never be called. */
void net_on_gone(struct net_exchange *exchange, void (*gone)(void *argument), void *argument);

#endif
