/* WebSocket (RFC 6455): texts both ways over a connection that began as a GET.
 *
 *     net_socket_begin -> { net_socket_next -> net_socket_send .. } -> the handler returns, which closes it
 *
 * The handler of the GET keeps its thread until it returns. Meanwhile the server's watcher moves the frames, so that
 * pings are answered while the handler is at work; it asks clients that are quiet whether they are still there. The
 * next message waits in the system's buffers until the handler asks for it. net_gone and net_on_gone tell when the
 * client leaves or breaks the protocol. The frames themselves are libwslay's.
 *
 * A client is cut off with the status that RFC 6455 has for it: 1002 or none for frames without a mask, with reserved
 * bits or out of order, 1003 for binary messages, 1007 for what is no UTF-8, 1008 for a message that takes too long,
 * 1009 for one that is too large, 1013 when the server has no room for it.
 *
 * Thread safety: called by the handler's thread. */
#ifndef NET_SOCKET_H
#define NET_SOCKET_H

#include "net/server.h"

/* Answers 101 and returns true; else the request has its answer (426 if it asks for no WebSocket) or its client is
 * gone. */
bool net_socket_begin(struct net_exchange *exchange);

enum net_socket_event {
    SOCKET_MESSAGE,
    SOCKET_GONE,    /* the client has closed it or was cut off */
    SOCKET_EXPIRED, /* it has been open for limits.socket_ms */
    SOCKET_ENDING,  /* the server drains */
};
/* Waits for the next message, whose text stays valid until the next call; a NUL stands behind it. */
enum net_socket_event net_socket_next(struct net_exchange *exchange, const void **text, size_t *size);

/* Waits while the reader is slow. GOSS_E_CANCELLED when the client is gone or takes nothing any more. */
goss_status net_socket_send(struct net_exchange *exchange, const void *text, size_t size, goss_error *error);

#endif
