/* A server on a loopback port, spoken to with raw bytes: every limit at its edge, broken requests, clients that stall
 * or vanish. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "net/listen.h"
#include "net/server.h"
#include "support/test.h"

enum { SECOND = 1000, ANSWER_BYTES = 1 << 25 };

struct fixture {
    struct net_server *server;
    struct net_options options;
    int port;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int gone, stream_failed, handled, logged; /* counts */
    int last_status;
    char path[64]; /* of the last request */
};

static struct fixture f;

static void note(int *count)
{
    pthread_mutex_lock(&f.lock);
    ++*count;
    pthread_cond_broadcast(&f.changed);
    pthread_mutex_unlock(&f.lock);
}

/* Waits up to ten seconds for a count. */
static bool reaches(const int *count, int least)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    pthread_mutex_lock(&f.lock);
    while (*count < least && !pthread_cond_timedwait(&f.changed, &f.lock, &until))
        ;
    bool reached = *count >= least;
    pthread_mutex_unlock(&f.lock);
    return reached;
}

static void gone(void *argument)
{
    (void)argument;
    note(&f.gone);
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
        note(&f.stream_failed);
}

static void handle(void *argument, struct net_exchange *exchange)
{
    const struct net_request *request = net_request(exchange);
    (void)argument;
    pthread_mutex_lock(&f.lock);
    (void)snprintf(f.path, sizeof f.path, "%s", request->path);
    pthread_mutex_unlock(&f.lock);
    note(&f.handled);
    if (strcmp(request->path, "/echo") == 0) {
        net_reply(exchange, 200, "application/octet-stream", request->body, request->body_size);
    } else if (strcmp(request->path, "/who") == 0) {
        net_reply(exchange, 200, "text/plain", request->caller.name, strlen(request->caller.name));
    } else if (strcmp(request->path, "/stream") == 0) {
        stream(exchange);
    } else if (strcmp(request->path, "/quiet") == 0) { /* a stream that says nothing until its client leaves */
        net_stream_begin(exchange, "text/event-stream", ": still here\n\n");
        net_on_gone(exchange, gone, NULL);
        while (!net_gone(exchange))
            (void)usleep(1000);
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
    pthread_mutex_lock(&f.lock);
    f.last_status = access->status;
    pthread_mutex_unlock(&f.lock);
    note(&f.logged);
}

static void begin(void)
{
    goss_error error;
    f.port = 0;
    f.gone = f.stream_failed = f.handled = f.logged = 0;
    f.options.handle = handle;
    f.options.log = log_access;
    assert_int_equal(net_listen("127.0.0.1", &f.port, &f.options.socket, &error), GOSS_OK);
    if (net_server_open(&f.server, &f.options, &error))
        fail_msg("%s", error.text);
}

static int setup(void **state)
{
    (void)state;
    memset(&f, 0, sizeof f);
    (void)pthread_mutex_init(&f.lock, NULL);
    (void)pthread_cond_init(&f.changed, NULL);
    f.options.limits = net_limits_default();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    net_server_close(f.server);
    return 0;
}

/* ---- a client that sends exactly the bytes it is told ---- */

static int dial(void)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)f.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* Stops silently when the server does not want more. */
static void put(int fd, const char *text, size_t n)
{
    while (n > 0) {
        ssize_t sent = send(fd, text, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        text += sent;
        n -= (size_t)sent;
    }
}

static void say(int fd, const char *text)
{
    put(fd, text, strlen(text));
}

/* All bytes until the server closes, or nothing came for so long. The caller frees them. */
static char *get(int fd, int quiet_ms)
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

static int status_of(const char *answer)
{
    return strncmp(answer, "HTTP/1.1 ", 9) == 0 ? atoi(answer + 9) : 0;
}

/* One connection, these bytes, the status of the answer; 0 if there is none. */
static int ask_bytes(const char *bytes, size_t n)
{
    int fd = dial();
    put(fd, bytes, n);
    char *answer = get(fd, 3 * SECOND);
    int status = status_of(answer);
    free(answer);
    (void)close(fd);
    return status;
}

static int ask(const char *text)
{
    return ask_bytes(text, strlen(text));
}

static void expect(int status, const char *text)
{
    int found = ask(text);
    if (found != status)
        fail_msg("status %d, not %d, for: %.200s", found, status, text);
}

#define HEAD "Host: localhost\r\nConnection: close\r\n"

/* ---- tests ---- */

static void a_request_gets_its_answer(void **state)
{
    (void)state;
    begin();
    int fd = dial();
    const char text[] =
        "POST /echo HTTP/1.1\r\nHost: 127.0.0.1:1\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhe\0lo";
    put(fd, text, sizeof text - 1);
    char *answer = get(fd, 5 * SECOND);
    assert_int_equal(status_of(answer), 200);
    assert_non_null(strstr(answer, "\r\nx-request-id: req_"));
    assert_non_null(strstr(answer, "\r\nX-Content-Type-Options: nosniff"));
    assert_null(strstr(answer, "Access-Control"));
    assert_memory_equal(strstr(answer, "\r\n\r\n") + 4, "he\0lo", 5);
    free(answer);
    (void)close(fd);
    expect(404, "GET /nothing HTTP/1.1\r\n" HEAD "\r\n");
    expect(500, "GET /mute HTTP/1.1\r\n" HEAD "\r\n");
    expect(200, "GET /echo HTTP/1.0\r\nHost: localhost\r\n\r\n");
}

static void faults_are_json_that_both_kinds_of_clients_read(void **state)
{
    (void)state;
    begin();
    int fd = dial();
    say(fd, "GET /nothing HTTP/1.1\r\n" HEAD "\r\n");
    char *answer = get(fd, 5 * SECOND);
    assert_string_equal(strstr(answer, "\r\n\r\n") + 4,
                        "{\"type\":\"error\",\"error\":{\"message\":\"there is no \\\"such thing\\\" here\",\"type\":"
                        "\"not_found_error\",\"param\":null,\"code\":\"not_found\"}}");
    free(answer);
    (void)close(fd);
}

static void broken_requests_are_refused(void **state)
{
    (void)state;
    begin();
    expect(403, "GET /echo HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
    expect(400, "GET /echo HTTP/1.1\r\nConnection: close\r\n\r\n");
    expect(403, "GET /echo HTTP/1.0\r\n\r\n");
    expect(400, "GET /echo HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\nConnection: close\r\n\r\n");
    expect(403, "GET /echo HTTP/1.1\r\n" HEAD "Origin: http://evil.example\r\n\r\n");
    expect(403, "GET /echo HTTP/1.1\r\n" HEAD "Sec-Fetch-Site: cross-site\r\n\r\n");
    expect(200, "GET /echo HTTP/1.1\r\n" HEAD "Origin: http://localhost\r\n\r\n");
    expect(400, "GET /%zz HTTP/1.1\r\n" HEAD "\r\n");
    expect(400, "GET /a%00b HTTP/1.1\r\n" HEAD "\r\n");
    expect(400, "GET /echo?a=%f HTTP/1.1\r\n" HEAD "\r\n");
    expect(400, "POST /echo HTTP/1.1\r\n" HEAD "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    expect(400, "POST /echo HTTP/1.1\r\n" HEAD "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab");
    expect(400, "POST /echo HTTP/1.1\r\n" HEAD "Content-Length: -1\r\n\r\n");
    expect(400, "POST /echo HTTP/1.1\r\n" HEAD "Content-Length: 1x\r\n\r\na");
    expect(400, "POST /echo HTTP/1.1\r\n" HEAD "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n");
    static const char *const size[] = {"-2", "+2", "0x2", "zz", " ", "10000000000000000"};
    for (size_t i = 0; i < sizeof size / sizeof *size; i++) {
        char text[256];
        (void)snprintf(text, sizeof text,
                       "POST /echo HTTP/1.1\r\n" HEAD "Transfer-Encoding: chunked\r\n\r\n%s\r\nab\r\n0\r\n\r\n",
                       size[i]);
        int status = ask(text);
        if (status != 400 && status != 413)
            fail_msg("chunk size '%s' was answered %d", size[i], status);
    }
    expect(200, "POST /echo HTTP/1.1\r\n" HEAD "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n");
    assert_int_equal(ask("\x16\x03\x01 not HTTP at all\r\n\r\n") / 100, 4);
    expect(200, "GET /echo HTTP/1.1\r\n" HEAD "\r\n");
}

/* A request whose head is as told: `extra` headers of `size` bytes each, target of `target` bytes. */
static int ask_head(int target, int extra, int size)
{
    char *text = malloc((size_t)target + (size_t)extra * (size_t)(size + 1) + 256), *at = text;
    assert_non_null(text);
    at += sprintf(at, "GET /echo?");
    for (int i = 6; i < target; i++)
        *at++ = 'a';
    at += sprintf(at, " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    for (int i = 0; i < extra; i++) {
        int used = sprintf(at, "x: ");
        memset(at + used, 'v', (size_t)(size - used - 2));
        at += size - 2;
        at += sprintf(at, "\r\n");
    }
    at += sprintf(at, "\r\n");
    int status = ask_bytes(text, (size_t)(at - text));
    free(text);
    return status;
}

static void each_limit_of_the_head_holds_at_its_edge(void **state)
{
    (void)state;
    begin();
    const int line = 8192 - (int)strlen("GET  HTTP/1.1");
    const int ours = (int)strlen("Host: localhost\r\nConnection: close\r\n");
    assert_int_equal(ask_head(line, 0, 0), 200);
    assert_int_equal(ask_head(line + 1, 0, 0), 414);
    assert_int_equal(ask_head(6, 98, 8), 200);
    assert_int_equal(ask_head(6, 99, 8), 431);
    assert_int_equal(ask_head(6, 1, 8192), 200);
    assert_int_equal(ask_head(6, 1, 8193), 431);
    int each = (32768 - ours) / 8, rest = (32768 - ours) % 8;
    assert_int_equal(rest, 32768 - ours - 8 * each);
    assert_int_equal(ask_head(6, 8, each), 200);
    assert_int_equal(ask_head(6, 8, each + 1), 431);
    assert_int_equal(ask_head(6, 2000, 100), 431);
    assert_int_equal(ask_head(200000, 0, 0), 414);
    assert_int_equal(ask_head(6, 1, 200000), 431);
}

static int ask_body(size_t size, bool chunked)
{
    char head[256], *body = malloc(size + 1);
    assert_non_null(body);
    memset(body, 'b', size);
    int fd = dial();
    if (chunked)
        (void)snprintf(head, sizeof head, "POST /echo HTTP/1.1\r\n" HEAD "Transfer-Encoding: chunked\r\n\r\n%zx\r\n",
                       size);
    else
        (void)snprintf(head, sizeof head, "POST /echo HTTP/1.1\r\n" HEAD "Content-Length: %zu\r\n\r\n", size);
    say(fd, head);
    put(fd, body, size);
    put(fd, "\r\n0\r\n\r\n", chunked ? 7 : 0);
    char *answer = get(fd, 3 * SECOND);
    int status = status_of(answer);
    free(answer);
    free(body);
    (void)close(fd);
    return status;
}

static void a_body_may_be_as_large_as_the_limit(void **state)
{
    (void)state;
    f.options.limits.body_bytes = 100000;
    begin();
    assert_int_equal(ask_body(100000, false), 200);
    assert_int_equal(ask_body(100000, true), 200);
    int handled = f.handled;
    assert_int_equal(ask_body(100001, false), 413);
    /* The answer to a body that was cut off may be lost to a reset, as TCP has it. */
    int status = ask_body(100001, true);
    assert_true(status == 413 || status == 0);
    assert_int_equal(f.handled, handled);
    expect(413, "POST /echo HTTP/1.1\r\n" HEAD "Content-Length: 18446744073709551615\r\n\r\n");
    expect(413, "POST /echo HTTP/1.1\r\n" HEAD "Content-Length: 99999999999999999999999\r\n\r\n");
    assert_int_equal(ask_body(100000, true), 200);
}

static void all_bodies_together_are_bounded(void **state)
{
    (void)state;
    f.options.limits.bodies_bytes = 1000;
    begin();
    int fd = dial();
    say(fd, "POST /echo HTTP/1.1\r\n" HEAD "Content-Length: 1001\r\n\r\n");
    char half[1000] = {0};
    put(fd, half, sizeof half);
    for (int tries = 0; ask("POST /echo HTTP/1.1\r\n" HEAD "Content-Length: 1\r\n\r\nx") != 503; tries++)
        assert_true(tries < 100);
    expect(200, "GET /echo HTTP/1.1\r\n" HEAD "\r\n");
    (void)close(fd);
    for (int tries = 0; ask("POST /echo HTTP/1.1\r\n" HEAD "Content-Length: 1\r\n\r\nx") != 200; tries++)
        assert_true(tries < 100);
}

static void more_connections_than_the_limit_are_told_so(void **state)
{
    (void)state;
    f.options.limits.connections = 3;
    begin();
    int fd[3];
    for (int i = 0; i < 3; i++) {
        fd[i] = dial();
        say(fd[i], "GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n");
        char *answer = get(fd[i], 200);
        assert_int_equal(status_of(answer), 200);
        free(answer);
    }
    expect(503, "GET /echo HTTP/1.1\r\n" HEAD "\r\n");
    (void)close(fd[0]);
    for (int tries = 0; ask("GET /echo HTTP/1.1\r\n" HEAD "\r\n") != 200; tries++)
        assert_true(tries < 100);
    (void)close(fd[1]);
    (void)close(fd[2]);
}

static void more_requests_at_once_than_the_limit_are_told_so(void **state)
{
    (void)state;
    f.options.limits.requests = 2;
    begin();
    int a = dial(), b = dial();
    say(a, "GET /wait HTTP/1.1\r\n" HEAD "\r\n");
    say(b, "GET /wait HTTP/1.1\r\n" HEAD "\r\n");
    assert_true(reaches(&f.handled, 2));
    expect(503, "GET /echo HTTP/1.1\r\n" HEAD "\r\n");
    (void)close(a);
    assert_true(reaches(&f.gone, 1));
    for (int tries = 0; ask("GET /echo HTTP/1.1\r\n" HEAD "\r\n") != 200; tries++)
        assert_true(tries < 100);
    (void)close(b);
}

static double seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Sends a byte of `text` every `pause` milliseconds until the server answers or closes; the status, and how long it
 * took. */
static int trickle(int fd, const char *text, int pause, double *took)
{
    double start = seconds();
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    for (size_t i = 0; text[i] && poll(&wait, 1, pause) == 0; i++)
        put(fd, text + i, 1);
    char *answer = get(fd, 2 * SECOND);
    int status = status_of(answer);
    *took = seconds() - start;
    free(answer);
    (void)close(fd);
    return status;
}

static void slow_heads_and_bodies_are_cut_off_in_time(void **state)
{
    double took;
    static const char head[] = "GET /echo HTTP/1.1\r\nHost: localhost\r\nx: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    static const char body[] =
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    (void)state;
    f.options.limits.header_ms = 400;
    f.options.limits.body_idle_ms = 300;
    f.options.limits.body_ms = 1500;
    f.options.limits.idle_ms = 600;
    begin();
    assert_int_equal(trickle(dial(), head, 40, &took), 408);
    assert_true(took < 1.5);
    int fd = dial(); /* says nothing at all */
    assert_int_equal(trickle(fd, "", 40, &took), 408);

    static const char post[] = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\n";
    fd = dial();
    say(fd, post); /* then a pause */
    assert_int_equal(trickle(fd, "", 40, &took), 408);
    assert_true(took < 1.5);
    fd = dial();
    say(fd, post); /* 25 bytes a second is too little */
    assert_int_equal(trickle(fd, body, 40, &took), 408);
    assert_true(took > 0.2 && took < 1.2);
    fd = dial(); /* kept alive, then idle: closed without a word */
    say(fd, "GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n");
    char *answer = get(fd, 2 * SECOND);
    assert_int_equal(status_of(answer), 200);
    assert_null(strstr(answer + 9, "HTTP/1.1"));
    free(answer);
    (void)close(fd);
    expect(200, "GET /echo HTTP/1.1\r\n" HEAD "\r\n");
}

static void a_body_that_keeps_up_its_rate_still_ends_in_time(void **state)
{
    double took;
    char body[2000];
    (void)state;
    f.options.limits.body_ms = 500;
    f.options.limits.body_rate = 10;
    begin();
    memset(body, 'a', sizeof body - 1);
    body[sizeof body - 1] = 0;
    int fd = dial();
    static const char post[] = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\n";
    say(fd, post);
    assert_int_equal(trickle(fd, body, 1, &took), 408);
    assert_true(took > 0.3 && took < 2);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    (void)state;
    begin();
    int fd = dial();
    static const char text[] =
        "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\noneGET /nothing HTTP/1.1\r\n"
        "Host: localhost\r\n\r\nPOST /echo HTTP/1.1\r\n" HEAD "Content-Length: 5\r\n\r\nthree";
    say(fd, text);
    char *answer = get(fd, 3 * SECOND);
    char *one = strstr(answer, "\r\n\r\none"), *two = one ? strstr(one, "404 Not Found") : NULL;
    assert_non_null(two);
    assert_non_null(strstr(two, "\r\n\r\nthree"));
    free(answer);
    (void)close(fd);
}

static void a_stream_arrives_whole_and_a_slow_reader_only_slows_itself(void **state)
{
    (void)state;
    begin();
    int fd = dial();
    static const char text[] = "GET /stream?n=4000 HTTP/1.1\r\n" HEAD "\r\n"; /* 16 MB, more than buffers hold */
    say(fd, text);
    (void)usleep(300000);
    expect(200, "GET /echo HTTP/1.1\r\n" HEAD "\r\n");
    char *answer = get(fd, 3 * SECOND);
    size_t x = 0;
    for (const char *c = strstr(answer, "\r\n\r\n"); *c; c++)
        x += *c == 'x';
    assert_int_equal(x, 4000 * 4096);
    assert_non_null(strstr(answer, "Transfer-Encoding: chunked"));
    assert_string_equal(answer + strlen(answer) - 5, "0\r\n\r\n");
    free(answer);
    (void)close(fd);
    assert_int_equal(f.stream_failed, 0);
}

static void a_reader_that_stalls_is_cut_off(void **state)
{
    (void)state;
    f.options.limits.stall_ms = 300;
    begin();
    int fd = dial();
    static const char text[] = "GET /stream?forever=1 HTTP/1.1\r\n" HEAD "\r\n";
    say(fd, text);
    assert_true(reaches(&f.stream_failed, 1));
    (void)close(fd);
}

static void a_silent_stream_sends_heartbeats(void **state)
{
    (void)state;
    f.options.limits.heartbeat_ms = 100;
    begin();
    int fd = dial();
    static const char text[] = "GET /quiet HTTP/1.1\r\n" HEAD "\r\n";
    say(fd, text);
    (void)usleep(700000);
    char bytes[4096] = {0};
    assert_true(recv(fd, bytes, sizeof bytes - 1, MSG_DONTWAIT) > 0);
    const char *first = strstr(bytes, ": still here\n\n");
    assert_non_null(first);
    assert_non_null(strstr(first + 1, ": still here\n\n"));
    (void)close(fd);
    assert_true(reaches(&f.gone, 1));
}

static void a_client_that_leaves_is_noticed_in_every_phase(void **state)
{
    static const char *const text[] = {"GET /wait HTTP/1.1\r\n" HEAD "\r\n", "GET /quiet HTTP/1.1\r\n" HEAD "\r\n"};
    (void)state;
    begin();
    for (int i = 0; i < 2; i++)
        for (int half = 0; half < 2; half++) {
            int fd = dial(), before = f.gone;
            say(fd, text[i]);
            assert_true(reaches(&f.handled, 2 * i + half + 1));
            double start = seconds();
            if (half)
                (void)shutdown(fd, SHUT_WR);
            else
                (void)close(fd);
            assert_true(reaches(&f.gone, before + 1));
            assert_true(seconds() - start < 0.5);
            if (half)
                (void)close(fd);
        }
    assert_true(reaches(&f.logged, 4));
    for (int tries = 0; net_server_counts(f.server).requests > 0; tries++) {
        assert_true(tries < 1000);
        (void)usleep(1000);
    }
}

static void keys_guard_every_path_but_the_open_one(void **state)
{
    char path[] = "/tmp/keysXXXXXX";
    struct net_keys *keys;
    (void)state;
    int file = mkstemp(path);
    assert_int_equal(write(file, "alice sk-0123456789abcdefghijkl\n", 32), 32);
    (void)close(file);
    assert_int_equal(net_keys_open(&keys, path, NULL), GOSS_OK);
    (void)unlink(path);
    f.options.keys = keys;
    f.options.open_path = "/echo";
    begin();
    expect(401, "GET /who HTTP/1.1\r\n" HEAD "\r\n");
    expect(401, "GET /nothing HTTP/1.1\r\n" HEAD "\r\n");
    expect(401, "OPTIONS /who HTTP/1.1\r\n" HEAD "\r\n");
    expect(401, "GET /who HTTP/1.1\r\n" HEAD "Authorization: Bearer sk-0123456789abcdefghijkm\r\n\r\n");
    expect(401, "GET /who HTTP/1.1\r\n" HEAD "Authorization: Basic sk-0123456789abcdefghijkl\r\n\r\n");
    expect(401, "GET /who?key=sk-0123456789abcdefghijkl HTTP/1.1\r\n" HEAD "\r\n");
    expect(401, "GET /echo/ HTTP/1.1\r\n" HEAD "\r\n");
    expect(200, "GET /who HTTP/1.1\r\n" HEAD "Authorization: Bearer sk-0123456789abcdefghijkl\r\n\r\n");
    expect(200, "GET /who HTTP/1.1\r\n" HEAD "X-Api-Key: sk-0123456789abcdefghijkl\r\n\r\n");
    expect(200, "GET /echo HTTP/1.1\r\n" HEAD "\r\n");
    expect(200, "GET /%65cho HTTP/1.1\r\n" HEAD "\r\n");
    net_server_close(f.server);
    f.server = NULL;
    net_keys_close(keys);
}

static void pages_of_a_named_origin_are_let_in(void **state)
{
    static const char *const origin[] = {"https://chat.example"};
    (void)state;
    f.options.origins = (struct name_list){origin, 1};
    begin();
    expect(204, "OPTIONS /echo HTTP/1.1\r\n" HEAD
                "Origin: https://chat.example\r\nAccess-Control-Request-Method: POST\r\n\r\n");
    expect(403,
           "OPTIONS /echo HTTP/1.1\r\n" HEAD "Origin: https://evil\r\nAccess-Control-Request-Method: POST\r\n\r\n");
    int fd = dial();
    static const char text[] = "GET /echo HTTP/1.1\r\n" HEAD "Origin: https://chat.example\r\n\r\n";
    say(fd, text);
    char *answer = get(fd, 3 * SECOND);
    assert_non_null(strstr(answer, "Access-Control-Allow-Origin: https://chat.example\r\n"));
    free(answer);
    (void)close(fd);
}

static void a_drain_lets_answers_finish_and_takes_no_more(void **state)
{
    (void)state;
    begin();
    int slow = dial(), idle = dial();
    static const char text[] = "GET /stream?n=4000 HTTP/1.1\r\n" HEAD "\r\n";
    say(slow, text);
    assert_true(reaches(&f.handled, 1));
    assert_false(net_server_drain(f.server, 200));
    say(idle, "GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n");
    char *answer = get(idle, 3 * SECOND);
    assert_int_equal(status_of(answer), 503);
    free(answer);
    answer = get(slow, 3 * SECOND);
    assert_string_equal(answer + strlen(answer) - 5, "0\r\n\r\n");
    free(answer);
    assert_true(net_server_drain(f.server, 3000));
    (void)close(slow);
    (void)close(idle);
}

static void closing_cuts_off_whoever_is_left(void **state)
{
    (void)state;
    begin();
    int a = dial(), b = dial();
    say(a, "GET /wait HTTP/1.1\r\n" HEAD "\r\n");
    say(b, "GET /quiet HTTP/1.1\r\n" HEAD "\r\n");
    assert_true(reaches(&f.handled, 2));
    net_server_close(f.server);
    f.server = NULL;
    assert_int_equal(f.gone, 2);
    (void)close(a);
    (void)close(b);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_request_gets_its_answer),
        TEST(faults_are_json_that_both_kinds_of_clients_read),
        TEST(broken_requests_are_refused),
        TEST(each_limit_of_the_head_holds_at_its_edge),
        TEST(a_body_may_be_as_large_as_the_limit),
        TEST(all_bodies_together_are_bounded),
        TEST(more_connections_than_the_limit_are_told_so),
        TEST(more_requests_at_once_than_the_limit_are_told_so),
        TEST(slow_heads_and_bodies_are_cut_off_in_time),
        TEST(a_body_that_keeps_up_its_rate_still_ends_in_time),
        TEST(pipelined_requests_are_answered_in_order),
        TEST(a_stream_arrives_whole_and_a_slow_reader_only_slows_itself),
        TEST(a_reader_that_stalls_is_cut_off),
        TEST(a_silent_stream_sends_heartbeats),
        TEST(a_client_that_leaves_is_noticed_in_every_phase),
        TEST(keys_guard_every_path_but_the_open_one),
        TEST(pages_of_a_named_origin_are_let_in),
        TEST(a_drain_lets_answers_finish_and_takes_no_more),
        TEST(closing_cuts_off_whoever_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
