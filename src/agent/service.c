#include "agent/service.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

enum { DEFAULT_WAITING = 64, DEFAULT_EVENTS = 64, MOST_RETRY_SECONDS = 60 };

const double service_seconds[SERVICE_BUCKETS] = {0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300};

/* An event on its way, with what it points to. */
struct item {
    struct item *next;
    struct turn_event event;
    goss_error error;
    struct sampled *sampled; /* [n_sampled] since the event before */
    size_t n_sampled;
    char *string; /* owned: recipient, channel, content type, text */
};

enum state { STATE_WAITING, STATE_RUNNING, STATE_OVER };

struct ticket {
    struct service *service;
    struct ticket *next, *before; /* of the service's list, oldest first */
    struct turn *turn;            /* NULL when over */
    size_t n_prompt;
    uint64_t owner;
    enum state state;
    bool cancel, told; /* told: the turn knows of it */
    pthread_cond_t changed;
    struct item *first, *last; /* events that nobody took yet */
    int n_queued;
    struct item done; /* TURN_DONE has its place from the start, so that it always comes */
    size_t n_sent;    /* sampled tokens that were put into items */
    double submitted;
    bool begun;

    /* of the thread that takes the events */
    struct item *taken;
    struct sampled *sampled; /* [n_sampled] */
    size_t n_sampled, capacity;
};

struct service {
    struct engine *engine;
    const struct harmony *harmony;
    struct service_options options;
    pthread_t thread;
    pthread_mutex_t lock; /* everything below, and the engine's side of every ticket */
    pthread_cond_t work;
    bool poked, stopped, closing;
    struct ticket *first, *last; /* not over */
    double pace;                 /* seconds that a turn holds its place, of late */
    struct service_stats stats;
};

/* ---- events from the engine's thread to the ticket's ---- */

static void item_free(struct ticket *t, struct item *item)
{
    if (!item)
        return;
    free(item->sampled);
    free(item->string);
    if (item != &t->done)
        free(item);
}

static const char *put_text(char **at, const char *text, size_t n)
{
    if (!text)
        return NULL;
    char *copy = *at;
    memcpy(copy, text, n);
    copy[n] = 0;
    *at += n + 1;
    return copy;
}

static size_t length(const char *text)
{
    return text ? strlen(text) : 0;
}

/* Copies what the event and the turn point to, which lives only until the turn is polled again. */
static bool fill(struct ticket *t, struct item *item, const struct turn_event *event)
{
    size_t n;
    const struct sampled *sampled = turn_answer(t->turn, &n);
    size_t text = event->text ? event->text_size : 0;
    size_t size = length(event->recipient) + length(event->channel) + length(event->content_type) + text + 4;
    item->event = *event;
    item->n_sampled = n - t->n_sent;
    item->string = malloc(size);
    item->sampled = item->n_sampled ? malloc(item->n_sampled * sizeof *sampled) : NULL;
    if (!item->string || (item->n_sampled && !item->sampled))
        return false;
    char *at = item->string;
    item->event.recipient = put_text(&at, event->recipient, length(event->recipient));
    item->event.channel = put_text(&at, event->channel, length(event->channel));
    item->event.content_type = put_text(&at, event->content_type, length(event->content_type));
    item->event.text = put_text(&at, event->text, text);
    if (item->n_sampled)
        memcpy(item->sampled, sampled + t->n_sent, item->n_sampled * sizeof *sampled);
    t->n_sent = n;
    if (event->error) {
        item->error = *event->error;
        item->event.error = &item->error;
    }
    return true;
}

static void push(struct ticket *t, struct item *item)
{
    item->next = NULL;
    *(t->first ? &t->last->next : &t->first) = item;
    t->last = item;
    t->n_queued++;
    (void)pthread_cond_broadcast(&t->changed);
}

static void observe(struct service_histogram *histogram, double seconds)
{
    int i = 0;
    while (i < SERVICE_BUCKETS && seconds > service_seconds[i])
        i++;
    histogram->bucket[i]++;
    histogram->sum += seconds;
}

/* The last event goes out: nothing of the ticket is the engine's any more. */
static void finish(struct ticket *t, const struct turn_event *event)
{
    struct service *s = t->service;
    struct service_stats *stats = &s->stats;
    double took = clock_seconds() - t->submitted;
    struct item *item = &t->done;
    if (!fill(t, item, event)) { /* the tokens are lost, the end is not */
        free(item->sampled);
        item->sampled = NULL;
        item->n_sampled = 0;
        item->event = (struct turn_event){.kind = TURN_DONE, .finish = TURN_FAILED, .usage = event->usage};
        (void)error_memory(&item->error, 0, "an event");
        item->event.error = &item->error;
    }
    stats->finished[item->event.finish]++;
    stats->prompt_tokens += (uint64_t)event->usage.prompt_tokens;
    stats->cached_tokens += (uint64_t)event->usage.cached_tokens;
    stats->answer_tokens += (uint64_t)event->usage.answer_tokens;
    observe(&stats->whole, took);
    s->pace += (took - s->pace) / 8;
    turn_close(t->turn);
    t->turn = NULL;
    *(t->before ? &t->before->next : &s->first) = t->next;
    *(t->next ? &t->next->before : &s->last) = t->before;
    *(t->state == STATE_RUNNING ? &stats->running : &stats->waiting) -= 1;
    t->state = STATE_OVER;
    push(t, item);
}

/* Ends a turn that cannot go on, or never began. */
static void give_up(struct ticket *t, enum turn_finish how, const goss_error *error)
{
    struct turn_event event = {.kind = TURN_DONE, .finish = how, .error = error};
    finish(t, &event);
}

/* Moves events from the turn to the ticket while there is room; true if there were any. */
static bool deliver(struct ticket *t)
{
    bool any = false;
    if (t->cancel && !t->told) {
        t->told = true;
        turn_cancel(t->turn);
    }
    while (t->cancel || t->n_queued < t->service->options.max_events) { /* the end of a cancelled turn is short */
        struct turn_event event;
        turn_poll(t->turn, &event);
        if (event.kind == TURN_WAIT)
            return any;
        any = true;
        if (!t->begun)
            observe(&t->service->stats.first, clock_seconds() - t->submitted);
        t->begun = true;
        if (event.kind == TURN_DONE) {
            finish(t, &event);
            return true;
        }
        struct item *item = calloc(1, sizeof *item);
        if (!item || !fill(t, item, &event)) {
            goss_error error;
            (void)error_memory(&error, event.text_size, "an event");
            item_free(t, item);
            give_up(t, TURN_FAILED, &error);
            return true;
        }
        push(t, item);
    }
    return any;
}

/* ---- the engine's thread ---- */

static int running_of(const struct service *s, uint64_t owner)
{
    int n = 0;
    for (const struct ticket *t = s->first; t; t = t->next)
        n += t->state == STATE_RUNNING && t->owner == owner;
    return n;
}

/* The oldest waiting turn of the owner who has the fewest running. */
static struct ticket *next_in_line(const struct service *s)
{
    struct ticket *best = NULL;
    int fewest = 0;
    for (struct ticket *t = s->first; t; t = t->next) {
        int n = t->state == STATE_WAITING ? running_of(s, t->owner) : 0;
        if (t->state == STATE_WAITING && (!best || n < fewest)) {
            best = t;
            fewest = n;
        }
    }
    return best;
}

static void start_turns(struct service *s)
{
    while (s->stats.running < s->options.max_running && s->stats.waiting > 0) {
        struct ticket *t = next_in_line(s);
        goss_error error;
        if (t->cancel) {
            give_up(t, TURN_CANCELLED, NULL);
        } else if (turn_start(t->turn, &error)) {
            give_up(t, TURN_FAILED, &error);
        } else {
            t->state = STATE_RUNNING;
            s->stats.waiting--;
            s->stats.running++;
        }
    }
}

/* Hands out what the last step made; true if there was anything. */
static bool deliver_all(struct service *s)
{
    bool any = false;
    struct ticket *next;
    for (struct ticket *t = s->first; t; t = next) {
        next = t->next;
        if (t->state == STATE_RUNNING) {
            any |= deliver(t);
        } else if (t->cancel) {
            give_up(t, TURN_CANCELLED, NULL);
            any = true;
        }
    }
    return any;
}

static void *run(void *argument)
{
    struct service *s = argument;
    pthread_mutex_lock(&s->lock);
    while (!s->closing) {
        s->poked = false;
        bool any = deliver_all(s);
        start_turns(s);
        pthread_mutex_unlock(&s->lock);
        any |= engine_step(s->engine);
        pthread_mutex_lock(&s->lock);
        s->stats.engine = engine_stats(s->engine);
        while (!any && !s->poked && !s->closing)
            pthread_cond_wait(&s->work, &s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void poke(struct service *s)
{
    s->poked = true;
    (void)pthread_cond_signal(&s->work);
}

goss_status service_open(struct service **out, struct engine *engine, const struct harmony *harmony,
                         const struct service_options *options, goss_error *error)
{
    *out = NULL;
    struct service *s = calloc(1, sizeof *s);
    if (!s)
        return error_memory(error, sizeof *s, "a service");
    s->engine = engine;
    s->harmony = harmony;
    s->options = *options;
    if (s->options.max_waiting <= 0)
        s->options.max_waiting = DEFAULT_WAITING;
    if (s->options.max_owner <= 0)
        s->options.max_owner = s->options.max_waiting;
    if (s->options.max_events <= 0)
        s->options.max_events = DEFAULT_EVENTS;
    s->stats.engine = engine_stats(engine);
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_cond_init(&s->work, NULL);
    if (pthread_create(&s->thread, NULL, run, s)) {
        free(s);
        return error_set(error, GOSS_E_IO, "cannot start a thread");
    }
    *out = s;
    return GOSS_OK;
}

void service_stop(struct service *s)
{
    pthread_mutex_lock(&s->lock);
    s->stopped = true;
    for (struct ticket *t = s->first; t; t = t->next)
        t->cancel = true;
    poke(s);
    pthread_mutex_unlock(&s->lock);
}

void service_close(struct service *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    poke(s);
    pthread_mutex_unlock(&s->lock);
    (void)pthread_join(s->thread, NULL);
    (void)pthread_cond_destroy(&s->work);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}

/* ---- the threads that bring turns ---- */

static enum service_place find_place(const struct service *s, uint64_t owner)
{
    int same = 0;
    for (const struct ticket *t = s->first; t; t = t->next)
        same += t->state == STATE_WAITING && t->owner == owner;
    if (s->stopped)
        return PLACE_CLOSED;
    if (s->stats.running + s->stats.waiting < s->options.max_running)
        return PLACE_TAKEN; /* it will not wait */
    if (s->stats.waiting >= s->options.max_waiting)
        return PLACE_FULL;
    return same >= s->options.max_owner ? PLACE_OWNER_FULL : PLACE_TAKEN;
}

static goss_status refuse(enum service_place place, goss_error *error)
{
    static const char *const why[] = {[PLACE_FULL] = "too many requests wait already",
                                      [PLACE_OWNER_FULL] = "too many requests of this key wait already",
                                      [PLACE_CLOSED] = "the server is stopping"};
    return error_set(error, GOSS_E_LIMIT, "%s", why[place]);
}

goss_status service_submit(struct service *s, struct conversation *conversation, const struct turn_options *options,
                           struct ticket **out, enum service_place *place, goss_error *error)
{
    *out = NULL;
    *place = PLACE_TAKEN;
    struct ticket *t = calloc(1, sizeof *t);
    if (!t)
        return error_memory(error, sizeof *t, "a turn");
    t->service = s;
    t->owner = options->owner;
    t->submitted = clock_seconds();
    (void)pthread_cond_init(&t->changed, NULL);
    goss_status status = turn_prepare(&t->turn, s->engine, s->harmony, conversation, options, error);
    if (!status)
        (void)turn_prompt(t->turn, &t->n_prompt);
    pthread_mutex_lock(&s->lock);
    if (!status && (*place = find_place(s, t->owner)) != PLACE_TAKEN) {
        status = refuse(*place, error);
        s->stats.refused++;
    }
    if (status) {
        pthread_mutex_unlock(&s->lock);
        turn_close(t->turn);
        (void)pthread_cond_destroy(&t->changed);
        free(t);
        return status;
    }
    t->before = s->last;
    *(s->last ? &s->last->next : &s->first) = t;
    s->last = t;
    s->stats.waiting++;
    s->stats.submitted++;
    poke(s);
    pthread_mutex_unlock(&s->lock);
    *out = t;
    return GOSS_OK;
}

size_t ticket_prompt_size(const struct ticket *ticket)
{
    return ticket->n_prompt;
}

/* Takes over the tokens that came with an event; without memory for them the answer still goes on. */
static void take_sampled(struct ticket *t, const struct item *item)
{
    size_t n = t->n_sampled + item->n_sampled;
    if (n > t->capacity) {
        size_t capacity = 2 * n;
        struct sampled *sampled = realloc(t->sampled, capacity * sizeof *sampled);
        if (!sampled)
            return;
        t->sampled = sampled;
        t->capacity = capacity;
    }
    if (item->n_sampled)
        memcpy(t->sampled + t->n_sampled, item->sampled, item->n_sampled * sizeof *item->sampled);
    t->n_sampled = n;
}

void ticket_next(struct ticket *t, struct turn_event *event)
{
    if (t->taken == &t->done) {
        *event = t->done.event;
        return;
    }
    item_free(t, t->taken);
    pthread_mutex_lock(&t->service->lock);
    while (!t->first)
        pthread_cond_wait(&t->changed, &t->service->lock);
    t->taken = t->first;
    t->first = t->taken->next;
    if (t->n_queued-- == t->service->options.max_events)
        poke(t->service);
    pthread_mutex_unlock(&t->service->lock);
    take_sampled(t, t->taken);
    *event = t->taken->event;
}

const struct sampled *ticket_sampled(const struct ticket *t, size_t *n)
{
    *n = t->n_sampled;
    return t->sampled;
}

void ticket_cancel(struct ticket *t)
{
    pthread_mutex_lock(&t->service->lock);
    t->cancel = true;
    poke(t->service);
    pthread_mutex_unlock(&t->service->lock);
}

void ticket_close(struct ticket *t)
{
    if (!t)
        return;
    pthread_mutex_lock(&t->service->lock);
    t->cancel = true;
    poke(t->service);
    while (t->state != STATE_OVER)
        pthread_cond_wait(&t->changed, &t->service->lock);
    pthread_mutex_unlock(&t->service->lock);
    if (t->taken != &t->done)
        item_free(t, t->taken);
    while (t->first) {
        struct item *item = t->first;
        t->first = item->next;
        if (item != &t->done)
            item_free(t, item);
    }
    item_free(t, &t->done);
    free(t->sampled);
    (void)pthread_cond_destroy(&t->changed);
    free(t);
}

/* ---- for people ---- */

void service_stats(struct service *s, struct service_stats *stats)
{
    pthread_mutex_lock(&s->lock);
    *stats = s->stats;
    pthread_mutex_unlock(&s->lock);
}

int service_retry_after(struct service *s)
{
    pthread_mutex_lock(&s->lock);
    double seconds = s->pace * (s->stats.waiting + 1) / s->options.max_running;
    pthread_mutex_unlock(&s->lock);
    return seconds < 1 ? 1 : seconds > MOST_RETRY_SECONDS ? MOST_RETRY_SECONDS : (int)seconds;
}
