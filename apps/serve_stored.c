/* Stored responses: read, deleted, cancelled. An id of another owner is not there. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "api/responses.h"
#include "serve.h"

enum { OUT_LIMIT = 1 << 28, DAY = 86400, PAGE_LIMIT = 100 };

static void reply(struct net_exchange *exchange, goss_status status, bool found, struct api_error *error,
                  const struct buffer *out)
{
    if (!status && !found)
        status = api_refuse(error, 404, "not_found", NULL, "no response has this id");
    if (status)
        serve_refuse(exchange, API_RESPONSES, error);
    else
        net_reply(exchange, 200, "application/json", out->data, out->size);
}

/* A response that was cancelled says so at once, though its turn may need one more step before its object is written,
 * and for good, though that step may have been its last anyway. */
static goss_status say_cancelled(struct buffer *object, goss_error *error)
{
    json_t *json = json_loadb((const char *)object->data, object->size, JSON_ALLOW_NUL, NULL);
    const char *said = json_string_value(json_object_get(json, "status"));
    bool late = said && strcmp(said, "cancelled") != 0 && strcmp(said, "failed") != 0;
    char *text = NULL;
    if (late && !json_object_set_new(json, "status", json_string("cancelled")))
        text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    if (!late)
        return GOSS_OK;
    buffer_clear(object);
    goss_status status = text ? buffer_append_text(object, text, error) : error_memory(error, 0, "a response");
    free(text);
    return status;
}

/* The column of a response in `out`. Without a store nothing is found. */
static goss_status get(struct serve *serve, const struct net_exchange *exchange, const char *id,
                       enum store_column column, struct buffer *out, bool *found, struct api_error *error)
{
    uint64_t owner = net_request(exchange)->caller.owner;
    enum store_state state = STORE_DONE;
    goss_status status = GOSS_OK;
    *found = false;
    buffer_init(out, OUT_LIMIT);
    pthread_mutex_lock(&serve->lock);
    if (serve->store)
        status = store_get(serve->store, owner, id, column, out, &state, found, &error->base);
    pthread_mutex_unlock(&serve->lock);
    if (!status && *found && column == STORE_OBJECT && state == STORE_CANCELLED)
        status = say_cancelled(out, &error->base);
    return status;
}

void serve_stored_get(struct serve *serve, struct net_exchange *exchange, const char *id)
{
    struct api_error error = {0};
    struct buffer out;
    bool found;
    const char *stream = net_query(exchange, "stream");
    goss_status status = get(serve, exchange, id, STORE_OBJECT, &out, &found, &error);
    if (!status && stream && strcmp(stream, "true") == 0)
        status = api_refuse(&error, 400, "unsupported_parameter", "stream", "stored responses are not streamed again");
    reply(exchange, status, found, &error, &out);
    buffer_free(&out);
}

void serve_stored_delete(struct serve *serve, struct net_exchange *exchange, const char *id)
{
    struct api_error error = {0};
    struct buffer out;
    bool found = false;
    goss_status status = GOSS_OK;
    uint64_t owner = net_request(exchange)->caller.owner;
    buffer_init(&out, OUT_LIMIT);
    pthread_mutex_lock(&serve->lock);
    serve_cancel_job(serve, owner, id);
    if (serve->store)
        status = store_delete(serve->store, owner, id, &found, &error.base);
    pthread_mutex_unlock(&serve->lock);
    if (!status && found)
        status = responses_write_deleted(id, &out, &error.base);
    reply(exchange, status, found, &error, &out);
    buffer_free(&out);
}

void serve_stored_cancel(struct serve *serve, struct net_exchange *exchange, const char *id)
{
    struct api_error error = {0};
    struct buffer out;
    bool found = false;
    goss_status status = GOSS_OK;
    enum store_state state = STORE_DONE;
    uint64_t owner = net_request(exchange)->caller.owner;
    pthread_mutex_lock(&serve->lock);
    if (serve->store)
        status = store_cancel(serve->store, owner, id, &state, &found, &error.base);
    serve_cancel_job(serve, owner, id);
    pthread_mutex_unlock(&serve->lock);
    buffer_init(&out, OUT_LIMIT);
    if (!status && found && state == STORE_DONE)
        status = api_refuse(&error, 400, "not_cancellable", NULL, "the response is complete already");
    if (!status && found)
        status = get(serve, exchange, id, STORE_OBJECT, &out, &found, &error);
    reply(exchange, status, found, &error, &out);
    buffer_free(&out);
}

void serve_stored_input(struct serve *serve, struct net_exchange *exchange, const char *id)
{
    struct api_error error = {0};
    struct buffer items, out;
    bool found;
    const char *order = net_query(exchange, "order"), *limit = net_query(exchange, "limit");
    char *end = NULL;
    long n = limit ? strtol(limit, &end, 10) : 0;
    goss_status status = get(serve, exchange, id, STORE_INPUT, &items, &found, &error);
    buffer_init(&out, OUT_LIMIT);
    if (!status && limit && (*end || n < 1 || n > PAGE_LIMIT))
        status = api_refuse(&error, 400, "invalid_value", "limit", "limit: a whole number from 1 to %d", PAGE_LIMIT);
    if (!status && order && strcmp(order, "asc") != 0 && strcmp(order, "desc") != 0)
        status = api_refuse(&error, 400, "invalid_value", "order", "order: asc or desc");
    if (!status && found)
        status = responses_write_input_items((const char *)items.data, items.size, (int)n, net_query(exchange, "after"),
                                             order && strcmp(order, "asc") == 0, &out, &error);
    reply(exchange, status, found, &error, &out);
    buffer_free(&items);
    buffer_free(&out);
}

/* ---- at the start ---- */

static goss_status fail_orphan(struct store *store, const char *id, uint64_t owner, const struct buffer *object,
                               int64_t now, goss_error *error)
{
    json_t *json = json_loadb((const char *)object->data, object->size, JSON_ALLOW_NUL, NULL);
    json_t *why =
        json_pack("{s:s, s:s}", "code", "server_error", "message", "the server ended before the answer was complete");
    char *text = NULL;
    if (json && why && !json_object_set(json, "error", why) &&
        !json_object_set_new(json, "status", json_string("failed")))
        text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    json_decref(why);
    struct store_response row = {
        .id = id, .owner = owner, .created = now, .state = STORE_CANCELLED, .object = {text, text ? strlen(text) : 0}};
    goss_status status = text ? store_put(store, &row, error) : error_memory(error, 0, "a response");
    free(text);
    return status;
}

goss_status serve_stored_tidy(struct store *store, int64_t now, int days, goss_error *error)
{
    struct buffer id, object;
    uint64_t owner, expired = 1;
    bool found = true;
    goss_status status = GOSS_OK;
    buffer_init(&id, STORE_ID_BYTES + 1);
    buffer_init(&object, OUT_LIMIT);
    while (!status && found) {
        buffer_clear(&id);
        buffer_clear(&object);
        status = store_orphan(store, &id, &object, &owner, &found, error);
        if (!status && found)
            status = fail_orphan(store, (const char *)id.data, owner, &object, now, error);
    }
    while (!status && days > 0 && expired > 0)
        status = store_expire(store, now - (int64_t)days * DAY, &expired, error);
    buffer_free(&id);
    buffer_free(&object);
    return status;
}
