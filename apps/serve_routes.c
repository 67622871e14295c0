/* What each path is for. */
#include <stdio.h>
#include <string.h>

#include "api/tokenize.h"
#include "serve.h"

enum { OUT_LIMIT = 1 << 28 };
static const char json_form[] = "application/json";

static void health(struct serve *serve, struct net_exchange *exchange, const char *id)
{
    static const char text[] = "{\"status\":\"ok\"}";
    (void)serve, (void)id;
    net_reply(exchange, 200, json_form, text, sizeof text - 1);
}

static void reply_buffer(struct net_exchange *exchange, goss_status status, const char *type, const struct buffer *out)
{
    if (status)
        net_reply_error(exchange, 500, "out_of_memory", "out of memory");
    else
        net_reply(exchange, 200, type, out->data, out->size);
}

static void metrics(struct serve *serve, struct net_exchange *exchange, const char *id)
{
    struct buffer out;
    (void)id;
    buffer_init(&out, OUT_LIMIT);
    reply_buffer(exchange, serve_metrics(serve, &out, NULL), "text/plain; version=0.0.4; charset=utf-8", &out);
    buffer_free(&out);
}

static void models(struct serve *serve, struct net_exchange *exchange, const char *id)
{
    struct buffer out;
    (void)id;
    buffer_init(&out, OUT_LIMIT);
    reply_buffer(exchange, models_write_list(&serve->model, 1, &out, NULL), json_form, &out);
    buffer_free(&out);
}

static void model(struct serve *serve, struct net_exchange *exchange, const char *id)
{
    struct buffer out;
    buffer_init(&out, OUT_LIMIT);
    if (strcmp(id, serve->model.name) != 0)
        net_reply_error(exchange, 404, "model_not_found", "this server has one model, %s", serve->model.name);
    else
        reply_buffer(exchange, models_write_one(&serve->model, &out, NULL), json_form, &out);
    buffer_free(&out);
}

static void responses(struct serve *serve, struct net_exchange *exchange, const char *id)
{
    (void)id;
    serve_answer(serve, exchange, API_RESPONSES);
}

static void chat(struct serve *serve, struct net_exchange *exchange, const char *id)
{
    (void)id;
    serve_answer(serve, exchange, API_CHAT);
}

static void completions(struct serve *serve, struct net_exchange *exchange, const char *id)
{
    (void)id;
    serve_answer(serve, exchange, API_COMPLETIONS);
}

/* Anthropic's clients look for the request's id under another name. */
static void name_request(struct net_exchange *exchange)
{
    net_reply_header(exchange, "request-id", net_request(exchange)->id);
}

static void messages(struct serve *serve, struct net_exchange *exchange, const char *id)
{
    (void)id;
    name_request(exchange);
    serve_answer(serve, exchange, API_MESSAGES);
}

static void count_tokens(struct serve *serve, struct net_exchange *exchange, const char *id)
{
    (void)id;
    name_request(exchange);
    serve_count_tokens(serve, exchange, API_MESSAGES);
}

static void input_tokens(struct serve *serve, struct net_exchange *exchange, const char *id)
{
    (void)id;
    serve_count_tokens(serve, exchange, API_RESPONSES);
}

static void reply_tokens(struct net_exchange *exchange, goss_status status, struct buffer *out, struct api_error *error)
{
    if (status)
        serve_refuse(exchange, API_CHAT, error);
    else
        net_reply(exchange, 200, json_form, out->data, out->size);
    buffer_free(out);
}

static void tokenize(struct serve *serve, struct net_exchange *exchange, const char *id)
{
    const struct net_request *r = net_request(exchange);
    struct api_settings settings = serve_settings(serve, exchange);
    struct api_error error = {0};
    struct buffer out;
    (void)id;
    buffer_init(&out, OUT_LIMIT);
    goss_status status =
        tokenize_text(&serve->harmony, &settings, serve->model.context, r->body, r->body_size, &out, &error);
    reply_tokens(exchange, status, &out, &error);
}

static void detokenize(struct serve *serve, struct net_exchange *exchange, const char *id)
{
    const struct net_request *r = net_request(exchange);
    struct api_error error = {0};
    struct buffer out;
    (void)id;
    buffer_init(&out, OUT_LIMIT);
    goss_status status = tokenize_back(&serve->harmony, r->body, r->body_size, &out, &error);
    reply_tokens(exchange, status, &out, &error);
}

/* In a path, * stands for an id without a slash; names of models may hold one. */
static const struct route {
    const char *method, *path;
    void (*handle)(struct serve *serve, struct net_exchange *exchange, const char *id);
} route_table[] = {
    {"GET", "/health", health},
    {"GET", "/metrics", metrics},
    {"GET", "/v1/models", models},
    {"GET", "/v1/models/*", model},
    {"GET", "/v1/responses", serve_socket},
    {"POST", "/v1/responses", responses},
    {"GET", "/v1/responses/*", serve_stored_get},
    {"DELETE", "/v1/responses/*", serve_stored_delete},
    {"POST", "/v1/responses/compact", serve_compact},
    {"POST", "/v1/responses/input_tokens", input_tokens},
    {"POST", "/v1/responses/*/cancel", serve_stored_cancel},
    {"GET", "/v1/responses/*/input_items", serve_stored_input},
    {"POST", "/v1/chat/completions", chat},
    {"POST", "/v1/completions", completions},
    {"POST", "/v1/messages", messages},
    {"POST", "/v1/messages/count_tokens", count_tokens},
    {"POST", "/v1/tokenize", tokenize},
    {"POST", "/v1/detokenize", detokenize},
};

enum { ID_LIMIT = 256 };

/* Whether a path has the form; id gets what stands for the star. */
static bool matches(const char *form, const char *path, char id[ID_LIMIT])
{
    const char *star = strchr(form, '*');
    size_t before = star ? (size_t)(star - form) : strlen(form);
    id[0] = 0;
    if (!star)
        return strcmp(form, path) == 0;
    if (strncmp(form, path, before) != 0)
        return false;
    const char *rest = path + before, *behind = star + 1;
    bool is_model = strncmp(form, "/v1/models/", before) == 0;
    size_t n = is_model ? strlen(rest) : strcspn(rest, "/");
    if (n == 0 || n >= ID_LIMIT || strcmp(rest + n, behind) != 0)
        return false;
    memcpy(id, rest, n);
    id[n] = 0;
    return true;
}

void serve_handle(void *argument, struct net_exchange *exchange)
{
    const struct net_request *request = net_request(exchange);
    char id[ID_LIMIT], allowed[32] = ""; /* the methods of this path */
    for (size_t i = 0; i < sizeof route_table / sizeof *route_table; i++) {
        const struct route *route = &route_table[i];
        size_t n = strlen(allowed);
        if (!matches(route->path, request->path, id))
            continue;
        if (strcmp(route->method, request->method) == 0) {
            route->handle(argument, exchange, id);
            return;
        }
        (void)snprintf(allowed + n, sizeof allowed - n, "%s%s", n ? ", " : "", route->method);
    }
    if (*allowed) {
        net_reply_header(exchange, "Allow", allowed);
        net_reply_error(exchange, 405, "method_not_allowed", "this path takes %s", allowed);
    } else {
        net_reply_error(exchange, 404, "not_found", "there is nothing at this path; docs/server.md lists the routes");
    }
}
