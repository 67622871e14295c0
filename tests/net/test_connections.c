/* The life of connections: how many there may be, clients that are slow, stall or vanish, streams, draining and
 * closing. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "support/raw_server.h"
#include "support/test.h"

static void more_connections_than_the_limit_are_told_so(void **state)
{
    (void)state;
    raw.options.limits.connections = 3;
    raw_begin();
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
    raw.options.limits.requests = 2;
    raw_begin();
    int a = dial(), b = dial();
    say(a, "GET /wait HTTP/1.1\r\n" HEAD "\r\n");
    say(b, "GET /wait HTTP/1.1\r\n" HEAD "\r\n");
    assert_true(reaches(&raw.handled, 2));
    expect(503, "GET /echo HTTP/1.1\r\n" HEAD "\r\n");
    (void)close(a);
    assert_true(reaches(&raw.gone, 1));
    for (int tries = 0; ask("GET /echo HTTP/1.1\r\n" HEAD "\r\n") != 200; tries++)
        assert_true(tries < 100);
    (void)close(b);
}

/* Sends a byte of `text` every `pause` milliseconds until the server answers or closes; the status, and how long it
 * took. */
static int trickle(int fd, const char *text, int pause, double *took)
{
    double start = clock_seconds();
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    for (size_t i = 0; text[i] && poll(&wait, 1, pause) == 0; i++)
        put(fd, text + i, 1);
    char *answer = get(fd, 2 * SECOND);
    int status = status_of(answer);
    *took = clock_seconds() - start;
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
    raw.options.limits.header_ms = 400;
    raw.options.limits.body_idle_ms = 300;
    raw.options.limits.body_ms = 1500;
    raw.options.limits.idle_ms = 600;
    raw_begin();
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
    raw.options.limits.body_ms = 500;
    raw.options.limits.body_rate = 10;
    raw_begin();
    memset(body, 'a', sizeof body - 1);
    body[sizeof body - 1] = 0;
    int fd = dial();
    static const char post[] = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\n";
    say(fd, post);
    assert_int_equal(trickle(fd, body, 1, &took), 408);
    assert_true(took > 0.3 && took < 2);
}

static void a_stream_arrives_whole_and_a_slow_reader_only_slows_itself(void **state)
{
    (void)state;
    raw_begin();
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
    assert_int_equal(raw.stream_failed, 0);
}

static void a_reader_that_stalls_is_cut_off(void **state)
{
    (void)state;
    raw.options.limits.stall_ms = 300;
    raw_begin();
    int fd = dial();
    static const char text[] = "GET /stream?forever=1 HTTP/1.1\r\n" HEAD "\r\n";
    say(fd, text);
    assert_true(reaches(&raw.stream_failed, 1));
    (void)close(fd);
}

static void a_silent_stream_sends_heartbeats(void **state)
{
    (void)state;
    raw.options.limits.heartbeat_ms = 100;
    raw_begin();
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
    assert_true(reaches(&raw.gone, 1));
}

static void a_client_that_leaves_is_noticed_in_every_phase(void **state)
{
    static const char *const text[] = {"GET /wait HTTP/1.1\r\n" HEAD "\r\n", "GET /quiet HTTP/1.1\r\n" HEAD "\r\n"};
    (void)state;
    raw_begin();
    for (int i = 0; i < 2; i++)
        for (int half = 0; half < 2; half++) {
            int fd = dial(), before = raw.gone;
            say(fd, text[i]);
            assert_true(reaches(&raw.handled, 2 * i + half + 1));
            double start = clock_seconds();
            if (half)
                (void)shutdown(fd, SHUT_WR);
            else
                (void)close(fd);
            assert_true(reaches(&raw.gone, before + 1));
            assert_true(clock_seconds() - start < 0.5);
            if (half)
                (void)close(fd);
        }
    assert_true(reaches(&raw.logged, 4));
    for (int tries = 0; net_server_counts(raw.server).requests > 0; tries++) {
        assert_true(tries < 1000);
        (void)usleep(1000);
    }
}

static void a_drain_lets_answers_finish_and_takes_no_more(void **state)
{
    (void)state;
    raw_begin();
    int slow = dial(), idle = dial();
    static const char text[] = "GET /stream?n=4000 HTTP/1.1\r\n" HEAD "\r\n";
    say(slow, text);
    assert_true(reaches(&raw.handled, 1));
    assert_false(net_server_drain(raw.server, 200));
    say(idle, "GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n");
    char *answer = get(idle, 3 * SECOND);
    assert_int_equal(status_of(answer), 503);
    free(answer);
    answer = get(slow, 3 * SECOND);
    assert_string_equal(answer + strlen(answer) - 5, "0\r\n\r\n");
    free(answer);
    assert_true(net_server_drain(raw.server, 3000));
    (void)close(slow);
    (void)close(idle);
}

static void closing_cuts_off_whoever_is_left(void **state)
{
    (void)state;
    raw_begin();
    int a = dial(), b = dial();
    say(a, "GET /wait HTTP/1.1\r\n" HEAD "\r\n");
    say(b, "GET /quiet HTTP/1.1\r\n" HEAD "\r\n");
    assert_true(reaches(&raw.handled, 2));
    net_server_close(raw.server);
    raw.server = NULL;
    assert_int_equal(raw.gone, 2);
    (void)close(a);
    (void)close(b);
}

static void who_came_before_the_server_finds_it_whole(void **state)
{
    (void)state;
    for (int i = 0; i < 30; i++) {
        raw_listen();
        int fd = dial();
        static const char text[] = "GET /requests HTTP/1.1\r\n" HEAD "\r\n";
        say(fd, text);
        raw_open();
        char *answer = get(fd, 3 * SECOND);
        assert_string_equal(strstr(answer, "\r\n\r\n"), "\r\n\r\n1");
        free(answer);
        (void)close(fd);
        net_server_close(raw.server);
        raw.server = NULL;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RAW_TEST(who_came_before_the_server_finds_it_whole),
        RAW_TEST(more_connections_than_the_limit_are_told_so),
        RAW_TEST(more_requests_at_once_than_the_limit_are_told_so),
        RAW_TEST(slow_heads_and_bodies_are_cut_off_in_time),
        RAW_TEST(a_body_that_keeps_up_its_rate_still_ends_in_time),
        RAW_TEST(a_stream_arrives_whole_and_a_slow_reader_only_slows_itself),
        RAW_TEST(a_reader_that_stalls_is_cut_off),
        RAW_TEST(a_silent_stream_sends_heartbeats),
        RAW_TEST(a_client_that_leaves_is_noticed_in_every_phase),
        RAW_TEST(a_drain_lets_answers_finish_and_takes_no_more),
        RAW_TEST(closing_cuts_off_whoever_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
