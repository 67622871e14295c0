/* What the files of the server share. One lock guards every field of links and exchanges that two threads touch. */
#ifndef NET_INTERNAL_H
#define NET_INTERNAL_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "base/clock.h"
#include "net/server.h"

enum { ID_BYTES = 16, ID_TEXT = 2 * ID_BYTES + 5, PEER_BYTES = 64 };

/* A connection. */
struct link {
    struct net_server *server;
    struct link *next, *before;
    uint64_t serial; /* never used twice, unlike pointers and descriptors */
    int fd;
    char peer[PEER_BYTES];
    bool local;                    /* the peer is this machine */
    int refuse;                    /* status for every request on it: there are too many connections; else 0 */
    int64_t left;                  /* milliseconds: when the client closed; 0: it has not */
    int64_t since, moved;          /* milliseconds: when the present phase began; when a byte of the body came last */
    struct net_exchange *exchange; /* NULL between two requests */
};

enum phase {
    PHASE_HEAD,    /* the target is known, the headers are not */
    PHASE_BODY,    /* bytes of the body come in */
    PHASE_HANDLE,  /* the handler runs and has not answered */
    PHASE_ANSWER,  /* a whole answer, or all of a stream that will come, is in `out` */
    PHASE_STREAM,  /* more of it may come */
    PHASE_UPGRADE, /* 101 is on its way */
    PHASE_SOCKET,  /* a WebSocket: net/socket.c moves its frames */
};

/* A request and its answer. Owned together by its connection and its handler: the last of them frees it. */
struct net_exchange {
    struct net_server *server;
    struct link *link;                 /* NULL once the connection has let go of it */
    struct MHD_Connection *connection; /* likewise */
    void **state;                      /* libmicrohttpd's place for a pointer to this */
    int owners;
    enum phase phase;
    bool suspended; /* the connection waits for MHD_resume_connection */
    bool streamed, gone, stalled, complete;
    pthread_cond_t changed;
    void (*on_gone)(void *argument);
    void *gone_argument;

    struct arena arena; /* of the strings of the request and of the answer's headers */
    struct net_request request;
    char id[ID_TEXT];
    char *target;      /* as sent, then split into path and query */
    size_t line_bytes; /* of the request line without its method */
    struct pair *headers, *query;
    struct buffer body;
    int64_t began;

    int status;
    const char *type, *heartbeat, *cors;
    struct {
        const char *name, *value;
    } header[NET_REPLY_HEADERS];
    int n_header;
    struct buffer out;
    size_t sent;               /* bytes of `out` that were taken */
    size_t sent_all;           /* .. of the answer so far */
    size_t received;           /* bytes of a WebSocket */
    struct net_socket *socket; /* NULL: it is none */
    int64_t taken_at;          /* when the last were */
};

struct pair {
    const char *name, *value;
    struct pair *next;
};

struct net_server {
    struct net_options options;
    struct MHD_Daemon *daemon;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* requests, handlers or exchanges became fewer */
    pthread_t watcher;
    bool watching, closing;
    atomic_bool draining;
    int epoll, wake; /* the watcher's */
    struct link *links;
    uint64_t serials;
    int handlers;        /* threads in options.handle */
    int exchanges;       /* answers not yet out */
    int sockets;         /* WebSockets */
    size_t bodies_bytes; /* held now */
    struct net_counts counts;
};

/* request.c: callbacks of libmicrohttpd. */
void *request_target(void *server, const char *uri, struct MHD_Connection *connection);
enum MHD_Result request_step(void *server, struct MHD_Connection *connection, const char *url, const char *method,
                             const char *version, const char *upload, size_t *upload_size, void **state);

/* exchange.c */
struct net_exchange *exchange_open(struct net_server *server, struct MHD_Connection *connection);
void exchange_let_go(struct net_exchange *exchange); /* one owner fewer; the lock is held */
/* Fills in a whole answer that names a fault. The lock is held. */
void exchange_fault(struct net_exchange *exchange, int status, const char *code, const char *text);
/* Hands the answer to libmicrohttpd; called by its thread. */
enum MHD_Result exchange_queue(struct net_exchange *exchange);
/* The client is gone or given up: tells the handler and wakes whoever waits. The lock is held. */
void exchange_gone(struct net_exchange *exchange);
void exchange_wake(struct net_exchange *exchange); /* lets libmicrohttpd go on with it; the lock is held */

/* server.c: the answer is out or never will be: logs it and lets go of it. */
void exchange_end(struct net_exchange *exchange);

/* socket.c. The lock is held but for socket_upgraded, a callback of libmicrohttpd, and socket_close, which ends what
 * the handler has left. */
void socket_upgraded(void *exchange, struct MHD_Connection *connection, void *state, const char *early, size_t n,
                     MHD_socket fd, struct MHD_UpgradeResponseHandle *upgrade);
void socket_ready(struct net_exchange *exchange, bool hung_up); /* it can be read or written, or the client left */
void socket_tick(struct net_exchange *exchange, int64_t now);
void socket_close(struct net_exchange *exchange);

/* watch.c */
goss_status watch_open(struct net_server *server, goss_error *error);
void watch_close(struct net_server *server);
void watch_link(struct net_server *server, struct link *link); /* a new connection; the lock is held */
/* Calls socket_ready once when any of the events of epoll comes; 0: no more. fd is the link's, or under TLS another one
 * that stands for it. */
void watch_fd(struct link *link, int fd, uint32_t events);
/* Sends a last status line on a connection that libmicrohttpd will not answer any more, and cuts it off. */
void link_refuse(struct link *link, int status);

#endif
