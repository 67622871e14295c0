/* WebSockets: the handshake, frames as they should be and as they should not, and clients that leave, stall or say
 * nothing. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/random.h"
#include "support/raw_server.h"
#include "support/test.h"

#define UPGRADE                                                                                                        \
    "Host: localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"        \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define OPENING "GET /socket HTTP/1.1\r\n" UPGRADE "\r\n"

enum { TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10, FIN = 0x80, RESERVED = 0x40, MASKED = 0x80 };

/* ---- a client ---- */

/* Reads n bytes; false if the server closes before. */
static bool get_exactly(int fd, void *to, size_t n)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    for (size_t have = 0; have < n;) {
        ssize_t got = poll(&wait, 1, 5 * SECOND) == 1 ? recv(fd, (char *)to + have, n - have, 0) : 0;
        if (got <= 0)
            return false;
        have += (size_t)got;
    }
    return true;
}

/* The head of an answer, byte by byte, so that no frame is taken with it. */
static void get_head(int fd, char head[2048])
{
    size_t n = 0;
    while (n < 2047 && (n < 4 || memcmp(head + n - 4, "\r\n\r\n", 4) != 0) && get_exactly(fd, head + n, 1))
        n++;
    head[n] = 0;
}

/* Fails the test unless that is the status of the answer; 0: there is none. */
static void expect_head(int status, const char *text)
{
    char head[2048];
    int fd = dial();
    say(fd, text);
    get_head(fd, head);
    if (status_of(head) != status)
        fail_msg("status %d, not %d, for: %.200s", status_of(head), status, text);
    (void)close(fd);
}

static int open_socket(void)
{
    char head[2048];
    int fd = dial();
    say(fd, OPENING);
    get_head(fd, head);
    assert_int_equal(status_of(head), 101);
    return fd;
}

static size_t make_frame(uint8_t *to, int first, const void *payload, size_t n)
{
    static const uint8_t mask[4] = {0x12, 0x34, 0x56, 0x78};
    size_t at = 0;
    to[at++] = (uint8_t)first;
    if (n < 126) {
        to[at++] = (uint8_t)(MASKED | n);
    } else if (n < 65536) {
        to[at++] = MASKED | 126;
        to[at++] = (uint8_t)(n >> 8);
        to[at++] = (uint8_t)n;
    } else {
        to[at++] = MASKED | 127;
        for (int i = 7; i >= 0; i--)
            to[at++] = (uint8_t)((uint64_t)n >> 8 * i);
    }
    memcpy(to + at, mask, 4);
    at += 4;
    for (size_t i = 0; i < n; i++)
        to[at++] = ((const uint8_t *)payload)[i] ^ mask[i % 4];
    return at;
}

static void put_frame(int fd, int first, const void *payload, size_t n)
{
    uint8_t *frame = malloc(n + 16);
    assert_non_null(frame);
    put(fd, (char *)frame, make_frame(frame, first, payload, n));
    free(frame);
}

static void put_text(int fd, const char *text)
{
    put_frame(fd, FIN | TEXT, text, strlen(text));
}

/* The next frame: its first byte, or -1 when the connection is over. The server must not mask. */
static int get_frame(int fd, char *payload, size_t most, size_t *n)
{
    uint8_t head[2], longer[8];
    if (!get_exactly(fd, head, 2))
        return -1;
    assert_false(head[1] & MASKED);
    *n = head[1];
    int extra = *n == 126 ? 2 : *n == 127 ? 8 : 0;
    if (extra && !get_exactly(fd, longer, (size_t)extra))
        return -1;
    for (int i = 0; i < extra; i++)
        *n = (i ? *n << 8 : 0) | longer[i];
    assert_true(*n < most);
    payload[*n] = 0;
    return *n == 0 || get_exactly(fd, payload, *n) ? head[0] : -1;
}

static void expect_text(int fd, const char *text)
{
    static char payload[1 << 17];
    size_t n;
    int first;
    while ((first = get_frame(fd, payload, sizeof payload, &n)) == (FIN | PING)) /* it was quiet for long */
        ;
    assert_int_equal(first, FIN | TEXT);
    assert_string_equal(payload, text);
}

/* The status of the close that ends what comes; 0 if the connection ends without one. */
static int close_status(int fd)
{
    char payload[4096];
    size_t n;
    int first;
    while ((first = get_frame(fd, payload, sizeof payload, &n)) >= 0)
        if (first == (FIN | CLOSE))
            return n >= 2 ? (uint8_t)payload[0] << 8 | (uint8_t)payload[1] : 1005;
    return 0;
}

static bool ends(int fd)
{
    char byte;
    return !get_exactly(fd, &byte, 1);
}

/* ---- the handshake ---- */

static void the_handshake_is_answered_as_the_standard_shows(void **state)
{
    (void)state;
    char head[2048];
    raw_begin();
    int fd = dial();
    say(fd, OPENING);
    get_head(fd, head);
    assert_int_equal(status_of(head), 101);
    assert_non_null(strstr(head, "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    assert_non_null(strstr(head, "\r\nUpgrade: websocket\r\n"));
    assert_non_null(strstr(head, "\r\nConnection: Upgrade\r\n"));
    assert_null(strstr(head, "\r\nContent-Type"));
    put_text(fd, "hello");
    expect_text(fd, "hello");
    (void)close(fd);
}

static void what_is_no_handshake_is_refused(void **state)
{
    (void)state;
    raw_begin();
    expect_head(426, "GET /socket HTTP/1.1\r\n" HEAD "\r\n");
    expect_head(426, "GET /socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n");
    expect_head(426, "GET /socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                     "Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
    static const char *const key[] = {"", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZ===",
                                      "dGhlIHNhb*BsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZSBhbmQgbW9yZQ=="};
    for (size_t i = 0; i < sizeof key / sizeof *key; i++) {
        char text[512];
        (void)snprintf(text, sizeof text,
                       "GET /socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                       "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n",
                       key[i]);
        expect_head(400, text);
    }
    expect_head(400, "GET /socket HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\nUpgrade: websocket\r\n"
                     "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
    expect_head(400, "GET /socket HTTP/1.1\r\n" UPGRADE "Content-Length: 2\r\n\r\n{}");
    expect_head(0, "GET /socket HTTP/1.0\r\n" UPGRADE "\r\n");
    int fd = open_socket();
    put_text(fd, "still here");
    expect_text(fd, "still here");
    (void)close(fd);
}

static void a_page_of_another_origin_gets_no_socket(void **state)
{
    (void)state;
    raw_begin();
    expect_head(403, "GET /socket HTTP/1.1\r\n" UPGRADE "Origin: http://evil.example\r\n\r\n");
    expect_head(403, "GET /socket HTTP/1.1\r\n" UPGRADE "Sec-Fetch-Site: cross-site\r\n\r\n");
    expect_head(403, "GET /socket HTTP/1.1\r\nHost: evil.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
}

static void more_sockets_than_allowed_find_no_room(void **state)
{
    (void)state;
    raw.options.limits.sockets = 2;
    raw_begin();
    int one = open_socket(), two = open_socket();
    expect_head(503, OPENING);
    put_frame(one, FIN | CLOSE, "\x03\xe8", 2);
    assert_int_equal(close_status(one), 1000);
    assert_true(reaches(&raw.logged, 2));
    int three = open_socket();
    put_text(three, "room");
    expect_text(three, "room");
    (void)close(one);
    (void)close(two);
    (void)close(three);
}

/* ---- messages ---- */

static void messages_come_whole_however_they_are_cut(void **state)
{
    (void)state;
    char payload[256];
    uint8_t frame[64];
    size_t n;
    raw_begin();
    int fd = open_socket();
    put_frame(fd, TEXT, "He", 2);
    put_frame(fd, FIN | PING, "are you there", 13);
    put_frame(fd, 0, "l", 1);
    put_frame(fd, 0, "", 0);
    put_frame(fd, FIN, "lo \xc3\xa9", 5);
    assert_int_equal(get_frame(fd, payload, sizeof payload, &n), FIN | PONG);
    assert_string_equal(payload, "are you there");
    expect_text(fd, "Hello \xc3\xa9");
    n = make_frame(frame, FIN | TEXT, "slowly", 6);
    for (size_t i = 0; i < n; i++) {
        put(fd, (char *)frame + i, 1);
        (void)usleep(2000);
    }
    expect_text(fd, "slowly");
    put_text(fd, "");
    expect_text(fd, "");
    (void)close(fd);
}

static void frames_right_behind_the_handshake_are_read(void **state)
{
    (void)state;
    char head[2048], bytes[1024] = OPENING;
    raw_begin();
    int fd = dial();
    size_t n = strlen(OPENING);
    n += make_frame((uint8_t *)bytes + n, FIN | TEXT, "early", 5);
    n += make_frame((uint8_t *)bytes + n, FIN | TEXT, "bird", 4);
    put(fd, bytes, n);
    get_head(fd, head);
    expect_text(fd, "early");
    expect_text(fd, "bird");
    (void)close(fd);
}

static void messages_sent_at_once_are_answered_in_order_and_their_room_comes_back(void **state)
{
    (void)state;
    enum { MANY = 400 };
    char text[600], *bytes = malloc(MANY * 700);
    size_t n = 0;
    assert_non_null(bytes);
    raw.options.limits.bodies_bytes = 64 << 10; /* a quarter of what is sent in all */
    raw_begin();
    int fd = open_socket();
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(text, sizeof text, "%0590d", i);
        n += make_frame((uint8_t *)bytes + n, FIN | TEXT, text, strlen(text));
    }
    put(fd, bytes, n);
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(text, sizeof text, "%0590d", i);
        expect_text(fd, text);
    }
    free(bytes);
    (void)close(fd);
}

static void a_message_of_very_many_fragments_is_one_message(void **state)
{
    (void)state;
    enum { MANY = 50000 };
    uint8_t *bytes = malloc(MANY * 7 + 16);
    char *text = calloc(1, MANY + 2);
    size_t n = 0;
    assert_true(bytes && text);
    memset(text, 'a', MANY + 1);
    raw_begin();
    int fd = open_socket();
    for (int i = 0; i < MANY; i++)
        n += make_frame(bytes + n, i ? 0 : TEXT, "a", 1);
    n += make_frame(bytes + n, FIN, "a", 1);
    put(fd, (char *)bytes, n);
    expect_text(fd, text);
    free(bytes);
    free(text);
    (void)close(fd);
}

static void the_limit_of_a_message_holds_at_its_edge(void **state)
{
    (void)state;
    char text[1002];
    memset(text, 'x', sizeof text);
    text[1000] = 0;
    raw.options.limits.body_bytes = 1000;
    raw_begin();
    int fd = open_socket();
    put_frame(fd, FIN | TEXT, text, 1000);
    expect_text(fd, text);
    put_frame(fd, FIN | TEXT, text, 1001);
    assert_int_equal(close_status(fd), 1009);
    (void)close(fd);
    fd = open_socket();
    put_frame(fd, TEXT, text, 1000);
    put_frame(fd, FIN, text, 1);
    assert_int_equal(close_status(fd), 1009);
    (void)close(fd);
    fd = open_socket(); /* a length that no memory holds, announced only */
    put(fd,
        "\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff"
        "abcdX",
        15);
    assert_int_equal(close_status(fd), 1009);
    (void)close(fd);
}

static void messages_without_room_are_refused(void **state)
{
    (void)state;
    char text[1000];
    memset(text, 'x', sizeof text);
    raw.options.limits.bodies_bytes = 1500;
    raw_begin();
    int one = open_socket(), two = open_socket();
    put_frame(one, TEXT, text, 1000); /* and no end */
    put_text(two, "small");
    expect_text(two, "small");
    (void)usleep(100000);
    put_frame(two, FIN | TEXT, text, 1000);
    assert_int_equal(close_status(two), 1013);
    (void)close(one);
    (void)close(two);
}

/* ---- what breaks the protocol ---- */

static void broken_frames_are_closed_with_their_status(void **state)
{
    (void)state;
    static const struct {
        int status, first;
        const char *payload;
        size_t n;
    } frame[] = {
        {1002, FIN | RESERVED | TEXT, "a", 1},
        {1002, FIN | 3, "a", 1},
        {1002, FIN | 11, "", 0},
        {1002, FIN, "a continuation of nothing", 25},
        {1005, PING, "in pieces", 9},
        {1002, FIN | CLOSE, "\x03\xed", 2}, /* 1005 is never sent */
        {1002, FIN | CLOSE, "\x00\x01", 2},
        {1007, FIN | TEXT, "\xff\xfe", 2},
        {1007, FIN | TEXT, "cut \xc3", 5},
        {1007, FIN | TEXT, "\xed\xa0\x80", 3}, /* a surrogate */
        {1003, FIN | BINARY, "a", 1},
        {1003, BINARY, "a", 1},
    };
    raw_begin();
    for (size_t i = 0; i < sizeof frame / sizeof *frame; i++) {
        int fd = open_socket();
        put_frame(fd, frame[i].first, frame[i].payload, frame[i].n);
        int status = close_status(fd);
        if (status != frame[i].status)
            fail_msg("frame %zu was closed with %d, not %d", i, status, frame[i].status);
        put_text(fd, "more"); /* is not read any more */
        (void)shutdown(fd, SHUT_WR);
        assert_true(ends(fd));
        (void)close(fd);
    }
    int fd = open_socket();
    put(fd, "\x81\x02hi", 4); /* without a mask */
    assert_int_equal(close_status(fd), 1002);
    (void)close(fd);
    fd = open_socket();
    put_frame(fd, TEXT, "a message in", 12);
    put_frame(fd, FIN | TEXT, "a message", 9);
    assert_int_equal(close_status(fd), 1002);
    (void)close(fd);
    fd = open_socket();
    put(fd,
        "\x89\xfe\x00\x7e"
        "mask",
        8); /* a ping of 126 bytes */
    assert_int_equal(close_status(fd), 1005);
    (void)close(fd);
}

static void nonsense_harms_nobody(void **state)
{
    (void)state;
    raw_begin();
    int fd = open_socket();
    for (uint64_t seed = 0; seed < 300; seed++) {
        uint32_t words[128];
        uint8_t *bytes = (uint8_t *)words;
        for (uint64_t i = 0; i < 32; i++)
            random_words(seed, i, 0, words + 4 * i);
        if (seed % 2) { /* begins like a frame */
            bytes[0] = (uint8_t)(FIN | bytes[0] % 11);
            bytes[1] |= MASKED;
        }
        int other = open_socket();
        put(other, (char *)bytes, 1 + words[127] % sizeof words);
        (void)shutdown(other, SHUT_WR);
        if (seed % 3 == 0)
            (void)close_status(other);
        (void)close(other);
    }
    put_text(fd, "unharmed");
    expect_text(fd, "unharmed");
    (void)close(fd);
}

/* ---- time, and clients that leave ---- */

static void a_ping_is_answered_while_the_handler_works(void **state)
{
    (void)state;
    char payload[64];
    size_t n;
    raw_begin();
    int fd = open_socket();
    put_text(fd, "work");
    assert_true(reaches(&raw.working, 1));
    put_frame(fd, FIN | PING, "busy?", 5);
    assert_int_equal(get_frame(fd, payload, sizeof payload, &n), FIN | PONG);
    assert_string_equal(payload, "busy?");
    (void)close(fd);
    assert_true(reaches(&raw.gone, 1));
}

static void a_client_that_leaves_stops_the_handler(void **state)
{
    (void)state;
    raw_begin();
    int fd = open_socket();
    put_text(fd, "work");
    assert_true(reaches(&raw.working, 1));
    put_frame(fd, FIN | CLOSE, "\x03\xe9", 2);
    assert_int_equal(close_status(fd), 1001);
    assert_true(reaches(&raw.gone, 1));
    assert_true(reaches(&raw.logged, 1));
    assert_int_equal(raw.last_status, 101);
    (void)close(fd);
    fd = open_socket();
    put_text(fd, "work");
    assert_true(reaches(&raw.working, 2));
    put_text(fd, "one that waits for ever");
    (void)close(fd);
    assert_true(reaches(&raw.gone, 2));
    assert_true(reaches(&raw.logged, 2));
}

static void a_quiet_client_is_asked_and_then_cut_off(void **state)
{
    (void)state;
    char payload[64];
    size_t n;
    raw.options.limits.heartbeat_ms = 200;
    raw.options.limits.idle_ms = 1000;
    raw_begin();
    int fd = open_socket();
    int64_t began = clock_ms();
    for (int i = 0; i < 6; i++) {
        assert_int_equal(get_frame(fd, payload, sizeof payload, &n), FIN | PING);
        put_frame(fd, FIN | PONG, "", 0);
    }
    assert_true(clock_ms() - began >= 1000); /* answered pings keep it open */
    put_text(fd, "here");
    expect_text(fd, "here");
    assert_int_equal(get_frame(fd, payload, sizeof payload, &n), FIN | PING);
    assert_int_equal(close_status(fd), 0);
    assert_true(reaches(&raw.logged, 1));
    (void)close(fd);
}

static void a_reader_that_does_not_read_is_cut_off(void **state)
{
    (void)state;
    raw.options.limits.stall_ms = 300;
    raw.options.limits.unsent_bytes = 4096;
    raw_begin();
    int fd = open_socket();
    put_text(fd, "forever");
    assert_true(reaches(&raw.stream_failed, 1));
    (void)close(fd);
}

static void a_message_that_takes_too_long_ends_the_socket(void **state)
{
    (void)state;
    raw.options.limits.body_ms = 300;
    raw_begin();
    int fd = open_socket();
    put_frame(fd, TEXT, "begun", 5);
    assert_int_equal(close_status(fd), 1008);
    (void)close(fd);
}

static void a_socket_ends_when_its_time_is_over(void **state)
{
    (void)state;
    raw.options.limits.socket_ms = 300;
    raw_begin();
    int fd = open_socket();
    expect_text(fd, "expired");
    assert_int_equal(close_status(fd), 1000);
    (void)close(fd);
}

static void draining_ends_idle_sockets_at_once(void **state)
{
    (void)state;
    raw_begin();
    int fd = open_socket(), silent = open_socket();
    int64_t began = clock_ms();
    bool drained = net_server_drain(raw.server, 5 * SECOND);
    assert_true(drained &&
                clock_ms() - began < 2 * SECOND); /* a second for the client that does not answer the close */
    assert_int_equal(close_status(fd), 1001);
    (void)close(fd);
    (void)close(silent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RAW_TEST(the_handshake_is_answered_as_the_standard_shows),
        RAW_TEST(what_is_no_handshake_is_refused),
        RAW_TEST(a_page_of_another_origin_gets_no_socket),
        RAW_TEST(more_sockets_than_allowed_find_no_room),
        RAW_TEST(messages_come_whole_however_they_are_cut),
        RAW_TEST(frames_right_behind_the_handshake_are_read),
        RAW_TEST(messages_sent_at_once_are_answered_in_order_and_their_room_comes_back),
        RAW_TEST(a_message_of_very_many_fragments_is_one_message),
        RAW_TEST(the_limit_of_a_message_holds_at_its_edge),
        RAW_TEST(messages_without_room_are_refused),
        RAW_TEST(broken_frames_are_closed_with_their_status),
        RAW_TEST(nonsense_harms_nobody),
        RAW_TEST(a_ping_is_answered_while_the_handler_works),
        RAW_TEST(a_client_that_leaves_stops_the_handler),
        RAW_TEST(a_quiet_client_is_asked_and_then_cut_off),
        RAW_TEST(a_reader_that_does_not_read_is_cut_off),
        RAW_TEST(a_message_that_takes_too_long_ends_the_socket),
        RAW_TEST(a_socket_ends_when_its_time_is_over),
        RAW_TEST(draining_ends_idle_sockets_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
