/* A request through its whole way, with a model that says exactly what the test tells it to: body -> request -> turns
 * -> answer, as text in and text out. */
#ifndef SUPPORT_WIRE_H
#define SUPPORT_WIRE_H

#include "api/answer.h"
#include "api/recall.h"
#include "store/store.h"

enum { WIRE_SCRIPTS = 16 };

struct wire_run {
    /* in */
    enum api_wire wire;
    bool compact; /* API_RESPONSES: a compaction */
    const char *body;
    const char *script[WIRE_SCRIPTS]; /* what the model says for each choice, control tokens by their literals; a choice
                                         beyond the last of them says the last */
    const char *key;                  /* of the answer; NULL: "abcdefghijklmnopqrstuvwx" */
    struct store *store;              /* NULL: none */
    struct recall *recall;            /* NULL: none; the answer is kept in it */
    struct api_settings settings;     /* as wire_settings() */
    int cancel_after;                 /* events after which the turn is cancelled; 0: never */
    int fail_after;                   /* events after which the engine is said to have failed; 0: never */

    /* out; a refused request leaves the error body in object and its status in http, else http is 200 */
    int http;
    struct buffer prompt; /* the rendered prompt, control tokens by their literals */
    struct buffer stream, object, input_items;
    struct api_error error;
    bool stored; /* the answer was put into the store */
};

struct api_settings wire_settings(void);
/* Runs it. The out buffers are made here and freed by wire_close; the turns stream whatever the body says. */
void wire_open(struct wire_run *run);
void wire_close(struct wire_run *run);

/* The same of one choice that says `script`. */
struct wire_run wire_answered(enum api_wire wire, const char *body, const char *script);
/* To be run: a request of Responses to a server with `store` or NULL, whose answer says `script` and is resp_KEY. */
struct wire_run wire_response(struct store *store, const char *key, const char *body, const char *script);

/* Of a run's buffers, as text. The first three fail the test. */
void wire_has(const struct buffer *buffer, const char *text);
void wire_lacks(const struct buffer *buffer, const char *text);
void wire_succeeded(struct wire_run *run);
size_t wire_count(const struct buffer *buffer, const char *text);
const char *wire_text(const struct buffer *buffer);

/* A new store, and its end with its files. */
struct wire_store {
    struct store *store;
    char *folder;
};
struct wire_store wire_store_open(void);
void wire_store_close(struct wire_store *kept);

/* The data of each event of a stream of server-sent events, one per line, "[DONE]" left out. */
void wire_data(const struct buffer *stream, struct buffer *lines);

#endif
