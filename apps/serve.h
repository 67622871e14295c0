/* What the files of `gossamer serve` share: serve.c opens and closes everything, serve_routes.c finds what a request is
 * for, serve_answer.c lets the model answer, serve_socket.c over a WebSocket, serve_stored.c keeps responses,
 * serve_metrics.c counts. */
#ifndef APPS_SERVE_H
#define APPS_SERVE_H

#include <pthread.h>

#include "agent/service.h"
#include "api/answer.h"
#include "api/held.h"
#include "api/models.h"
#include "api/recall.h"
#include "base/sandbox.h"
#include "net/server.h"
#include "session.h"
#include "store/store.h"

struct job;

struct serve {
    struct session session;
    struct harmony harmony;
    struct service *service;
    struct net_server *net;
    struct net_keys *keys;
    struct api_model model;
    struct api_settings settings; /* owner and seed are each request's own */
    struct sandbox_report sandbox;
    char date[11];
    int64_t started; /* seconds of Unix time */
    bool log;        /* one line a request */

    pthread_mutex_t lock; /* store, recall and the list of jobs: one thread at a time */
    struct store *store;  /* NULL: nothing is kept on disk */
    struct recall *recall;
    struct job *jobs; /* answers that are being made */
};

/* serve_routes.c: the handler of every request. */
void serve_handle(void *serve, struct net_exchange *exchange);

/* serve_answer.c */
void serve_answer(struct serve *serve, struct net_exchange *exchange, enum api_wire wire);
void serve_compact(struct serve *serve, struct net_exchange *exchange, const char *id);
/* The same for a message of a WebSocket, which remembers `held`. */
void serve_answer_message(struct serve *serve, struct net_exchange *exchange, struct api_held *held, const void *text,
                          size_t size);
void serve_refuse_message(struct net_exchange *exchange, struct api_error *error);
/* How many tokens the prompt of a request has: of API_MESSAGES or API_RESPONSES. */
void serve_count_tokens(struct serve *serve, struct net_exchange *exchange, enum api_wire wire);
/* The settings of a request: whose it is, and a seed of its own. */
struct api_settings serve_settings(const struct serve *serve, const struct net_exchange *exchange);
void serve_refuse(struct net_exchange *exchange, enum api_wire wire, struct api_error *error);
/* Ends the answer with that id if it is being made; the lock is held. */
void serve_cancel_job(struct serve *serve, uint64_t owner, const char *id);

/* serve_socket.c: GET /v1/responses as a WebSocket. */
void serve_socket(struct serve *serve, struct net_exchange *exchange, const char *id);

/* serve_stored.c: /v1/responses/ID and below. */
void serve_stored_get(struct serve *serve, struct net_exchange *exchange, const char *id);
void serve_stored_delete(struct serve *serve, struct net_exchange *exchange, const char *id);
void serve_stored_cancel(struct serve *serve, struct net_exchange *exchange, const char *id);
void serve_stored_input(struct serve *serve, struct net_exchange *exchange, const char *id);
/* Ends the responses that an earlier process left unfinished, and forgets those older than `days`. */
goss_status serve_stored_tidy(struct store *store, int64_t now, int days, goss_error *error);

/* serve_metrics.c: the text that Prometheus reads. */
goss_status serve_metrics(struct serve *serve, struct buffer *out, goss_error *error);

#endif
