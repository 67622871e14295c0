/* Counters in the text form of Prometheus. Nothing in them tells what anybody asked. */
#include <time.h>

#include "serve.h"

struct metric {
    const char *name, *kind, *help;
    double value;
};

static goss_status put(struct buffer *out, const struct metric *m, goss_error *error)
{
    return buffer_append_format(out, error, "# HELP gossamer_%s %s\n# TYPE gossamer_%s %s\ngossamer_%s %.17g\n",
                                m->name, m->help, m->name, m->kind, m->name, m->value);
}

static goss_status put_histogram(struct buffer *out, const char *name, const char *help,
                                 const struct service_histogram *h, goss_error *error)
{
    uint64_t n = 0;
    goss_status status =
        buffer_append_format(out, error, "# HELP gossamer_%s %s\n# TYPE gossamer_%s histogram\n", name, help, name);
    for (int i = 0; !status && i < SERVICE_BUCKETS; i++) {
        n += h->bucket[i];
        status = buffer_append_format(out, error, "gossamer_%s_bucket{le=\"%g\"} %llu\n", name, service_seconds[i],
                                      (unsigned long long)n);
    }
    n += h->bucket[SERVICE_BUCKETS];
    if (!status)
        status = buffer_append_format(out, error,
                                      "gossamer_%s_bucket{le=\"+Inf\"} %llu\ngossamer_%s_sum %.17g\ngossamer_%s_count "
                                      "%llu\n",
                                      name, (unsigned long long)n, name, h->sum, name, (unsigned long long)n);
    return status;
}

/* One metric whose samples differ in a label. */
static goss_status put_labelled(struct buffer *out, const char *name, const char *help, const char *label,
                                const char *const *value, const uint64_t *count, int n, goss_error *error)
{
    goss_status status =
        buffer_append_format(out, error, "# HELP gossamer_%s %s\n# TYPE gossamer_%s counter\n", name, help, name);
    for (int i = 0; !status && i < n; i++)
        status = buffer_append_format(out, error, "gossamer_%s{%s=\"%s\"} %llu\n", name, label, value[i],
                                      (unsigned long long)count[i]);
    return status;
}

static goss_status put_service(struct serve *serve, struct buffer *out, goss_error *error)
{
    static const char *const how[] = {[TURN_STOP] = "stop",           [TURN_TOOL_CALL] = "tool_call",
                                      [TURN_LENGTH] = "length",       [TURN_STOP_STRING] = "stop_string",
                                      [TURN_CANCELLED] = "cancelled", [TURN_FAILED] = "failed"};
    struct service_stats s;
    service_stats(serve->service, &s);
    const struct metric list[] = {
        {"turns_running", "gauge", "Answers being computed.", s.running},
        {"turns_waiting", "gauge", "Answers waiting for a place.", s.waiting},
        {"turns_refused_total", "counter", "Answers refused because too many waited.", (double)s.refused},
        {"prompt_tokens_total", "counter", "Tokens of prompts, cached ones included.", (double)s.prompt_tokens},
        {"cached_tokens_total", "counter", "Tokens of prompts that were not computed again.", (double)s.cached_tokens},
        {"answer_tokens_total", "counter", "Tokens sampled.", (double)s.answer_tokens},
        {"engine_steps_total", "counter", "Batches computed.", (double)s.engine.steps},
        {"engine_rows_total", "counter", "Positions computed.", (double)s.engine.rows},
        {"engine_preemptions_total", "counter", "Answers set back for want of memory.", (double)s.engine.preemptions},
        {"kv_pages", "gauge", "Pages for keys and values.", s.engine.pages},
        {"kv_pages_free", "gauge", "Pages that hold nothing.", s.engine.pages_free},
        {"kv_pages_cached", "gauge", "Pages that only the prefix cache holds.", s.engine.pages_cached},
        {"kv_evictions_total", "counter", "Checkpoints dropped from the prefix cache.", (double)s.engine.evictions},
        {"prefix_hits_total", "counter", "Prompts that began from the prefix cache.", (double)s.engine.prefix_hits},
    };
    goss_status status = GOSS_OK;
    for (size_t i = 0; !status && i < sizeof list / sizeof *list; i++)
        status = put(out, &list[i], error);
    if (!status)
        status = put_labelled(out, "turns_total", "Answers that ended, by how.", "finish", how, s.finished,
                              TURN_FAILED + 1, error);
    if (!status)
        status =
            put_histogram(out, "first_event_seconds", "From a request to the first of its answer.", &s.first, error);
    if (!status)
        status = put_histogram(out, "turn_seconds", "From a request to the end of its answer.", &s.whole, error);
    return status;
}

goss_status serve_metrics(struct serve *serve, struct buffer *out, goss_error *error)
{
    static const char *const classes[] = {"1xx", "2xx", "3xx", "4xx", "5xx"};
    struct net_counts n = net_server_counts(serve->net);
    pthread_mutex_lock(&serve->lock);
    struct recall_stats recall = recall_stats(serve->recall);
    pthread_mutex_unlock(&serve->lock);
    const struct metric list[] = {
        {"start_time_seconds", "gauge", "When the server started, in Unix time.", (double)serve->started},
        {"http_connections", "gauge", "Connections open.", n.connections},
        {"http_requests", "gauge", "Requests being handled.", n.requests},
        {"http_connections_total", "counter", "Connections taken.", (double)n.accepted},
        {"http_cut_off_total", "counter", "Connections cut off for their slowness or size.", (double)n.refused},
        {"http_aborted_total", "counter", "Answers whose client left or stalled.", (double)n.aborted},
        {"recalled_answers_total", "counter", "Answers in re-sent histories whose tokens were known.",
         (double)recall.hits},
    };
    goss_status status = GOSS_OK;
    for (size_t i = 0; !status && i < sizeof list / sizeof *list; i++)
        status = put(out, &list[i], error);
    if (!status)
        status = put_labelled(out, "http_answers_total", "Answers by the class of their status.", "class", classes,
                              n.by_class + 1, 5, error);
    return status ? status : put_service(serve, out, error);
}
