/* Many turns at once over a model that notices everything: each answer must equal its solo run, token by token, whoever
 * runs beside it, leaves in the middle or reads slowly. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/service.h"
#include "base/random.h"
#include "support/fake_backend.h"
#include "support/harmony.h"
#include "support/test.h"

enum { TURNS = 16, TOKENS = 16, WORKERS = 8, CONTEXT = 1024 };

struct fixture {
    struct fake_counts counts;
    struct fake_model fake;
    struct engine *engine;
    struct service *service;
};

static void open_engine(struct fixture *f, int max_sequences, uint64_t kv_bytes)
{
    goss_error error;
    memset(f, 0, sizeof *f);
    f->fake = fake_model(&f->counts, FAKE_WINDOW, CONTEXT);
    f->fake.model.config.n_vocab = tokenizer_size(support_harmony.tokenizer);
    struct engine_options options = {
        .context = CONTEXT, .max_sequences = max_sequences, .chunk = 64, .kv_bytes = kv_bytes, .checkpoints = 8};
    if (engine_open(&f->engine, &f->fake.model, &fake_backend, &options, &error))
        fail_msg("%s", error.text);
}

static void open_service(struct fixture *f, const struct service_options *options)
{
    goss_error error;
    open_engine(f, options->max_running, 0);
    if (service_open(&f->service, f->engine, &support_harmony, options, &error))
        fail_msg("%s", error.text);
}

static void close_all(struct fixture *f)
{
    service_close(f->service);
    engine_close(f->engine);
    assert_int_equal(f->counts.faults, 0);
    assert_int_equal(f->counts.open, 0);
}

/* The i-th conversation: some begin alike, so that prefixes are shared. */
static void converse(int i, struct conversation *conversation)
{
    char text[256];
    int n = snprintf(text, sizeof text, "Question %d of family %d, %.*s?", i, i % 4, i * 7 % 100,
                     "with a tail of this or that length so that prompts end at many places within pages and chunks");
    assert_int_equal(conversation_add_system(conversation, EFFORT_LOW, NULL, NULL), GOSS_OK);
    if (i % 4)
        assert_int_equal(conversation_add_text(conversation, ROLE_USER, NULL, text + n / 2, (size_t)(n - n / 2), NULL),
                         GOSS_OK);
    assert_int_equal(conversation_add_text(conversation, ROLE_USER, NULL, text, (size_t)n, NULL), GOSS_OK);
}

static struct turn_options options_of(int i)
{
    struct turn_options options = turn_options_default();
    options.sampling.seed = (uint64_t)i;
    options.sampling.temperature = i % 3 ? 1 : 0;
    options.sampling.logprobs = i % 4 ? -1 : 2;
    options.max_tokens = TOKENS;
    options.owner = (uint64_t)(i % 3);
    return options;
}

/* Everything about an event that a client could see, and the tokens up to it. */
static void log_event(struct buffer *log, const struct turn_event *e, const struct sampled *sampled, size_t n)
{
    assert_int_equal(buffer_append_format(log, NULL, "%d %d %s %s %s %.*s %d %d %d %d:", (int)e->kind, (int)e->part,
                                          e->recipient ? e->recipient : "-", e->channel ? e->channel : "-",
                                          e->content_type ? e->content_type : "-", (int)e->text_size,
                                          e->text ? e->text : "", e->truncated, (int)e->finish, e->usage.prompt_tokens,
                                          e->usage.answer_tokens),
                     GOSS_OK);
    if (e->kind == TURN_DONE || e->kind == TURN_END)
        for (size_t i = 0; i < n; i++)
            assert_int_equal(
                buffer_append_format(log, NULL, " %d/%a/%d", sampled[i].id, sampled[i].logprob, sampled[i].top[1].id),
                GOSS_OK);
    assert_int_equal(buffer_append_text(log, "\n", NULL), GOSS_OK);
}

static struct buffer solo[TURNS];

static int run_solo(void **state)
{
    (void)support_open(state);
    for (int i = 0; i < TURNS; i++) {
        struct fixture f;
        struct conversation conversation = {0};
        struct turn_options options = options_of(i);
        struct turn *turn;
        struct turn_event event;
        size_t n;
        buffer_init(&solo[i], 1 << 20);
        open_engine(&f, 1, 0);
        converse(i, &conversation);
        assert_int_equal(turn_open(&turn, f.engine, &support_harmony, &conversation, &options, NULL), GOSS_OK);
        do {
            turn_next(turn, &event);
            const struct sampled *sampled = turn_answer(turn, &n);
            log_event(&solo[i], &event, sampled, n);
        } while (event.kind != TURN_DONE);
        assert_true(n >= 5);
        turn_close(turn);
        conversation_free(&conversation);
        close_all(&f);
    }
    return 0;
}

static int forget_solo(void **state)
{
    for (int i = 0; i < TURNS; i++)
        buffer_free(&solo[i]);
    return support_close(state);
}

struct crowd {
    struct fixture *f;
    pthread_mutex_t lock;
    int next, equal, cancelled, different;
};

/* Takes the events of one turn; a part of the turns is left in the middle, a part is read slowly. */
static void take_turn(struct crowd *crowd, int job)
{
    int i = job % TURNS, events = 0;
    bool leave = job % 5 == 3, slow = job % 7 == 2;
    uint32_t random[4];
    random_words(9, (uint64_t)job, 0, random);
    struct conversation conversation = {0};
    struct turn_options options = options_of(i);
    struct ticket *ticket;
    struct turn_event event = {0};
    struct buffer log;
    enum service_place place;
    goss_error error;
    size_t n;
    buffer_init(&log, 1 << 20);
    converse(i, &conversation);
    while (service_submit(crowd->f->service, &conversation, &options, &ticket, &place, &error))
        (void)usleep(1000); /* no place */
    while (event.kind != TURN_DONE && !(leave && events++ == (int)(random[0] % 12))) {
        ticket_next(ticket, &event);
        const struct sampled *sampled = ticket_sampled(ticket, &n);
        log_event(&log, &event, sampled, n);
        if (slow)
            (void)usleep(2000);
    }
    ticket_close(ticket);
    bool equal = event.kind == TURN_DONE && log.size == solo[i].size && !memcmp(log.data, solo[i].data, log.size);
    pthread_mutex_lock(&crowd->lock);
    crowd->equal += equal;
    crowd->cancelled += event.kind != TURN_DONE;
    crowd->different += event.kind == TURN_DONE && !equal;
    pthread_mutex_unlock(&crowd->lock);
    buffer_free(&log);
    conversation_free(&conversation);
}

static void *work(void *argument)
{
    struct crowd *crowd = argument;
    for (;;) {
        pthread_mutex_lock(&crowd->lock);
        int job = crowd->next++;
        pthread_mutex_unlock(&crowd->lock);
        if (job >= 3 * TURNS)
            return NULL;
        take_turn(crowd, job);
    }
}

static void answers_in_a_crowd_equal_their_solo_runs(void **state)
{
    struct fixture f;
    struct crowd crowd = {.f = &f};
    pthread_t thread[WORKERS];
    struct service_options options = {.max_running = 4, .max_waiting = 3, .max_events = 4};
    struct service_stats stats;
    (void)state;
    (void)pthread_mutex_init(&crowd.lock, NULL);
    open_engine(&f, 4, (uint64_t)3 << 20); /* few pages: evictions and preemptions */
    assert_int_equal(service_open(&f.service, f.engine, &support_harmony, &options, NULL), GOSS_OK);
    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, work, &crowd), 0);
    for (int i = 0; i < WORKERS; i++)
        (void)pthread_join(thread[i], NULL);
    service_stats(f.service, &stats);
    assert_int_equal(crowd.different, 0);
    assert_int_equal(crowd.equal + crowd.cancelled, 3 * TURNS);
    assert_true(crowd.cancelled > 0 && crowd.equal > TURNS);
    assert_int_equal(stats.running + stats.waiting, 0);
    assert_int_equal(stats.submitted, 3 * TURNS);
    assert_true(stats.refused > 0);
    assert_true(stats.engine.prefix_hits > 0);
    assert_true(stats.engine.evictions > 0);
    close_all(&f);
}

static struct ticket *submit(struct fixture *f, struct conversation *conversation, uint64_t owner,
                             enum service_place *place)
{
    struct turn_options options = options_of(0);
    struct ticket *ticket;
    goss_error error;
    options.owner = owner;
    options.max_tokens = 0; /* as long as the context lasts */
    converse(0, conversation);
    (void)service_submit(f->service, conversation, &options, &ticket, place, &error);
    return ticket;
}

static void a_full_line_is_refused_by_reason(void **state)
{
    struct fixture f;
    struct service_options options = {.max_running = 1, .max_waiting = 3, .max_owner = 2, .max_events = 1};
    struct conversation c[6] = {0};
    struct ticket *t[6];
    enum service_place place;
    (void)state;
    open_service(&f, &options);
    t[0] = submit(&f, &c[0], 1, &place); /* runs, and pauses since nobody takes its events */
    struct service_stats stats;
    do
        service_stats(f.service, &stats);
    while (stats.running == 0);
    t[1] = submit(&f, &c[1], 1, &place);
    t[2] = submit(&f, &c[2], 1, &place);
    assert_int_equal(place, PLACE_TAKEN);
    t[3] = submit(&f, &c[3], 1, &place);
    assert_int_equal(place, PLACE_OWNER_FULL);
    assert_null(t[3]);
    t[3] = submit(&f, &c[3], 2, &place);
    assert_int_equal(place, PLACE_TAKEN);
    t[4] = submit(&f, &c[4], 3, &place);
    assert_int_equal(place, PLACE_FULL);
    assert_true(service_retry_after(f.service) >= 1);
    service_stop(f.service);
    t[5] = submit(&f, &c[5], 4, &place);
    assert_int_equal(place, PLACE_CLOSED);
    for (int i = 0; i < 4; i++) {
        struct turn_event event;
        do
            ticket_next(t[i], &event);
        while (event.kind != TURN_DONE);
        assert_int_equal(event.finish, TURN_CANCELLED);
        ticket_next(t[i], &event);
        assert_int_equal(event.kind, TURN_DONE);
        ticket_close(t[i]);
    }
    for (int i = 0; i < 6; i++)
        conversation_free(&c[i]);
    close_all(&f);
}

static void an_owner_with_less_running_goes_first(void **state)
{
    struct fixture f;
    struct service_options options = {.max_running = 1, .max_waiting = 8};
    struct conversation c[4] = {0};
    struct ticket *t[4];
    struct turn_event event;
    struct service_stats stats;
    enum service_place place;
    (void)state;
    options.max_running = 2;
    options.max_events = 1;
    open_service(&f, &options);
    t[0] = submit(&f, &c[0], 1, &place);
    t[1] = submit(&f, &c[1], 1, &place);
    do
        service_stats(f.service, &stats);
    while (stats.running < 2);
    t[2] = submit(&f, &c[2], 1, &place);
    t[3] = submit(&f, &c[3], 2, &place);
    ticket_close(t[0]); /* a place is free: it is for owner 2, who came later but has nothing running */
    do
        ticket_next(t[3], &event);
    while (event.kind != TURN_TEXT && event.kind != TURN_DONE);
    service_stats(f.service, &stats);
    assert_int_equal(stats.running, 2);
    assert_int_equal(stats.waiting, 1);
    for (int i = 1; i < 4; i++)
        ticket_close(t[i]);
    for (int i = 0; i < 4; i++)
        conversation_free(&c[i]);
    close_all(&f);
}

static void a_prompt_that_does_not_fit_is_refused_at_once(void **state)
{
    struct fixture f;
    struct service_options options = {.max_running = 1};
    struct conversation conversation = {0};
    struct turn_options turn = turn_options_default();
    struct ticket *ticket;
    enum service_place place;
    goss_error error;
    char *text = malloc(1 << 16);
    (void)state;
    assert_non_null(text);
    for (int i = 0; i < 1 << 16; i++)
        text[i] = i % 5 ? (char)('a' + i % 23) : ' ';
    open_service(&f, &options);
    assert_int_equal(conversation_add_system(&conversation, EFFORT_LOW, NULL, NULL), GOSS_OK);
    assert_int_equal(conversation_add_text(&conversation, ROLE_USER, NULL, text, 1 << 16, NULL), GOSS_OK);
    assert_int_equal(service_submit(f.service, &conversation, &turn, &ticket, &place, &error), GOSS_E_LIMIT);
    assert_int_equal(place, PLACE_TAKEN);
    assert_non_null(strstr(error.text, "the context holds 1024"));
    conversation_free(&conversation);
    free(text);
    close_all(&f);
}

static void a_cancelled_turn_gives_its_memory_back_within_a_step(void **state)
{
    struct fixture f;
    struct service_options options = {.max_running = 2, .max_events = 2};
    struct service_stats stats;
    enum service_place place;
    (void)state;
    open_service(&f, &options);
    for (int i = 0; i < 20; i++) {
        struct conversation conversation = {0};
        struct turn_event event;
        struct ticket *ticket = submit(&f, &conversation, 0, &place);
        for (int n = 0; n < i; n++)
            ticket_next(ticket, &event);
        service_stats(f.service, &stats);
        uint64_t steps = stats.engine.steps;
        ticket_close(ticket);
        service_stats(f.service, &stats);
        assert_int_equal(stats.running + stats.waiting, 0);
        assert_true(stats.engine.steps <= steps + 1 + ENGINE_QUEUE); /* what was under way when it was asked */
        conversation_free(&conversation);
    }
    (void)usleep(20000);
    service_stats(f.service, &stats);
    assert_int_equal(stats.engine.running + stats.engine.waiting, 0);
    assert_int_equal(stats.engine.pages_free + stats.engine.pages_cached, stats.engine.pages);
    assert_int_equal(stats.engine.rings_free, stats.engine.rings);
    close_all(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_in_a_crowd_equal_their_solo_runs),
        cmocka_unit_test(a_full_line_is_refused_by_reason),
        cmocka_unit_test(an_owner_with_less_running_goes_first),
        cmocka_unit_test(a_prompt_that_does_not_fit_is_refused_at_once),
        cmocka_unit_test(a_cancelled_turn_gives_its_memory_back_within_a_step),
    };
    return cmocka_run_group_tests(tests, run_solo, forget_solo);
}
