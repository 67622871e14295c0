/* A server on a loopback port that answers a few paths, and a client that sends exactly the bytes it is told. */
#ifndef SUPPORT_RAW_SERVER_H
#define SUPPORT_RAW_SERVER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "net/server.h"

enum { SECOND = 1000 }; /* milliseconds */

#define HEAD "Host: localhost\r\nConnection: close\r\n"
#define RAW_TEST(name) cmocka_unit_test_setup_teardown(name, raw_setup, raw_teardown)

struct raw_server {
    struct net_server *server;
    struct net_options options;
    int port;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int gone, stream_failed, handled, logged, working; /* counts */
    int last_status;
    char path[64]; /* of the last request */
};

extern struct raw_server raw; /* of the running test */

/* Waits up to ten seconds for a count. */
bool reaches(const int *count, int least);
/* Starts it, with the options as they are then; or in two steps, between which clients wait. */
void raw_begin(void);
void raw_listen(void);
void raw_open(void);
int raw_setup(void **state);
int raw_teardown(void **state);

/* A new connection. */
int dial(void);
/* Stops silently when the server does not want more. */
void put(int fd, const char *text, size_t n);
void say(int fd, const char *text);
/* All bytes until the server closes, or nothing came for so long. The caller frees them. */
char *get(int fd, int quiet_ms);
/* Of an answer's first line; 0 if it has none. */
int status_of(const char *answer);
/* One connection, these bytes, the status of the answer; 0 if there is none. */
int ask_bytes(const char *bytes, size_t n);
int ask(const char *text);
/* Fails the test unless that is the status of the answer. */
void expect(int status, const char *text);

#endif
