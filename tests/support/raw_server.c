#include "support/raw_server.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "net/listen.h"
#include "net/socket.h"
#include "support/test.h"

enum { ANSWER_BYTES = 1 << 25 };

struct raw_server raw;

static void note(int *count)
{
    pthread_mutex_lock(&raw.lock);
    ++*count;
    pthread_cond_broadcast(&raw.changed);
    pthread_mutex_unlock(&raw.lock);
}

bool reaches(const int *count, int least)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    pthread_mutex_lock(&raw.lock);
    while (*count < least && !pthread_cond_timedwait(&raw.changed, &raw.lock, &until))
        ;
    bool reached = *count >= least;
    pthread_mutex_unlock(&raw.lock);
    return reached;
}

static void gone(void *argument)
{
    (void)argument;
    note(&raw.gone);
}

static void stream(struct net_exchange *exchange)
{
    const char *count = net_query(exchange, "n"), *wait = net_query(exchange, "forever");
    net_stream_begin(exchange, "text/event-stream", ": still here\n\n");
    char block[4096];
    memset(block, 'x', sizeof block);
    goss_status status = GOSS_OK;
    for (long i = 0; !status && (wait || i < atol(count)); i++)
        status = net_stream_write(exchange, block, sizeof block, NULL);
    if (status)
        note(&raw.stream_failed);
}

/* Sends every message back. Some are orders instead. */
static void echo(struct net_exchange *exchange)
{
    const void *text;
    size_t size;
    enum net_socket_event event = SOCKET_GONE;
    if (!net_socket_begin(exchange))
        return;
    while ((event = net_socket_next(exchange, &text, &size)) == SOCKET_MESSAGE) {
        goss_status status = GOSS_OK;
        if (strcmp(text, "forever") == 0) {
            static const char block[4096] = {0};
            while (!status)
                status = net_socket_send(exchange, block, sizeof block, NULL);
            note(&raw.stream_failed);
        } else if (strcmp(text, "work") == 0) {
            net_on_gone(exchange, gone, NULL);
            note(&raw.working);
            while (!net_gone(exchange))
                (void)usleep(1000);
        } else {
            (void)net_socket_send(exchange, text, size, NULL);
        }
    }
    if (event == SOCKET_EXPIRED)
        (void)net_socket_send(exchange, "expired", 7, NULL);
}

static void handle(void *argument, struct net_exchange *exchange)
{
    const struct net_request *request = net_request(exchange);
    (void)argument;
    pthread_mutex_lock(&raw.lock);
    (void)snprintf(raw.path, sizeof raw.path, "%s", request->path);
    pthread_mutex_unlock(&raw.lock);
    note(&raw.handled);
    if (strcmp(request->path, "/echo") == 0) {
        net_reply(exchange, 200, "application/octet-stream", request->body, request->body_size);
    } else if (strcmp(request->path, "/who") == 0) {
        net_reply(exchange, 200, "text/plain", request->caller.name, strlen(request->caller.name));
    } else if (strcmp(request->path, "/requests") == 0) {
        char text[16];
        int n = snprintf(text, sizeof text, "%d", net_server_counts(raw.server).requests);
        net_reply(exchange, 200, "text/plain", text, (size_t)n);
    } else if (strcmp(request->path, "/stream") == 0) {
        stream(exchange);
    } else if (strcmp(request->path, "/quiet") == 0) { /* a stream that says nothing until its client leaves */
        net_stream_begin(exchange, "text/event-stream", ": still here\n\n");
        net_on_gone(exchange, gone, NULL);
        while (!net_gone(exchange))
            (void)usleep(1000);
    } else if (strcmp(request->path, "/socket") == 0) {
        echo(exchange);
    } else if (strcmp(request->path, "/wait") == 0) {
        net_on_gone(exchange, gone, NULL);
        while (!net_gone(exchange))
            (void)usleep(1000);
        net_reply(exchange, 200, "text/plain", "late", 4);
    } else if (strcmp(request->path, "/mute") != 0) {
        net_reply_error(exchange, 404, "not_found", "there is no \"%s\" here", "such thing");
    }
}

static void log_access(void *argument, const struct net_access *access)
{
    (void)argument;
    pthread_mutex_lock(&raw.lock);
    raw.last_status = access->status;
    pthread_mutex_unlock(&raw.lock);
    note(&raw.logged);
}

void raw_listen(void)
{
    goss_error error;
    raw.port = 0;
    raw.gone = raw.stream_failed = raw.handled = raw.logged = raw.working = 0;
    raw.options.handle = handle;
    raw.options.log = log_access;
    assert_int_equal(net_listen("127.0.0.1", &raw.port, &raw.options.socket, &error), GOSS_OK);
}

void raw_open(void)
{
    goss_error error;
    if (net_server_open(&raw.server, &raw.options, &error))
        fail_msg("%s", error.text);
}

void raw_begin(void)
{
    raw_listen();
    raw_open();
}

int raw_setup(void **state)
{
    (void)state;
    memset(&raw, 0, sizeof raw);
    (void)pthread_mutex_init(&raw.lock, NULL);
    (void)pthread_cond_init(&raw.changed, NULL);
    raw.options.limits = net_limits_default();
    return 0;
}

int raw_teardown(void **state)
{
    (void)state;
    net_server_close(raw.server);
    return 0;
}

int dial(void)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)raw.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

void put(int fd, const char *text, size_t n)
{
    while (n > 0) {
        ssize_t sent = send(fd, text, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        text += sent;
        n -= (size_t)sent;
    }
}

void say(int fd, const char *text)
{
    put(fd, text, strlen(text));
}

char *get(int fd, int quiet_ms)
{
    char *bytes = malloc(ANSWER_BYTES);
    size_t size = 0;
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    assert_non_null(bytes);
    while (size < ANSWER_BYTES - 1 && poll(&wait, 1, quiet_ms) == 1) {
        ssize_t n = recv(fd, bytes + size, ANSWER_BYTES - 1 - size, 0);
        if (n <= 0)
            break;
        size += (size_t)n;
    }
    bytes[size] = 0;
    return bytes;
}

int status_of(const char *answer)
{
    return strncmp(answer, "HTTP/1.1 ", 9) == 0 ? atoi(answer + 9) : 0;
}

int ask_bytes(const char *bytes, size_t n)
{
    int fd = dial();
    put(fd, bytes, n);
    char *answer = get(fd, 3 * SECOND);
    int status = status_of(answer);
    free(answer);
    (void)close(fd);
    return status;
}

int ask(const char *text)
{
    return ask_bytes(text, strlen(text));
}

void expect(int status, const char *text)
{
    int found = ask(text);
    if (found != status)
        fail_msg("status %d, not %d, for: %.200s", found, status, text);
}
