/* The Responses API over a WebSocket: every message begins a response, one after the other, and gets its events. */
#include "net/socket.h"

#include "serve.h"

void serve_socket(struct serve *serve, struct net_exchange *exchange, const char *id)
{
    struct api_held held;
    struct api_error error = {0};
    const void *text;
    size_t size;
    enum net_socket_event event;
    (void)id;
    if (!net_socket_begin(exchange))
        return;
    held_open(&held);
    while ((event = net_socket_next(exchange, &text, &size)) == SOCKET_MESSAGE)
        serve_answer_message(serve, exchange, &held, text, size);
    if (event == SOCKET_EXPIRED) {
        (void)api_refuse(&error, 400, "websocket_connection_limit_reached", NULL,
                         "this WebSocket has been open for as long as it may; open another one");
        serve_refuse_message(exchange, &error);
    }
    held_close(&held);
}
