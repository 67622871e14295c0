#include "support/fake_engine.h"

#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "engine/internal.h" /* for the owner of a row, which no batch tells */
#include "support/test.h"

static uint64_t owner_in_batch(const void *engine, int index)
{
    const struct engine *e = *(struct engine *const *)engine;
    return e->row_owner[index]->kv.owner;
}

void fake_engine_open(struct fake_engine *f, int window, struct engine_options options)
{
    memset(f, 0, sizeof *f);
    f->fake = fake_model(&f->counts, window, 8192);
    goss_error error;
    if (engine_open(&f->engine, &f->fake.model, &fake_backend, &options, &error))
        fail_msg("%s", error.text);
    f->fake.engine = &f->engine; /* which a test may open anew */
    f->fake.owner = owner_in_batch;
}

uint64_t fake_engine_bytes(int pages, int rings, int checkpoints)
{
    struct fake_counts counts = {0};
    struct fake_model fake = fake_model(&counts, FAKE_WINDOW, 8192);
    const struct model_config *config = &fake.model.config;
    return fake_backend.kv_bytes(config, pages, rings) + (uint64_t)checkpoints * fake_backend.snapshot_bytes(config);
}

/* All that was held is free again, once the cache is dropped too. */
void fake_engine_close(struct fake_engine *f)
{
    engine_forget(f->engine);
    struct engine_stats stats = engine_stats(f->engine);
    assert_int_equal(stats.pages_free, stats.pages);
    assert_int_equal(stats.pages_cached, 0);
    assert_int_equal(stats.rings_free, stats.rings);
    assert_int_equal(stats.checkpoints, 0);
    assert_int_equal(f->counts.faults, 0);
    engine_close(f->engine);
    assert_int_equal(f->counts.open, 0);
}

/* Ids of a text: two texts of one family share their beginning. */
static void make_ids(int32_t *id, int n, uint64_t family, int shared, uint64_t own)
{
    for (int i = 0; i < n; i++) {
        uint32_t words[4];
        random_words(i < shared ? family : own + 1000, (uint64_t)i, 0, words);
        id[i] = (int32_t)(words[0] % FAKE_VOCAB);
    }
}

struct asked *asked_new(uint64_t family, int shared, uint64_t own, int n)
{
    struct asked *a = calloc(1, sizeof *a);
    make_ids(a->id, n, family, shared, own);
    a->request = (struct sequence_request){.id = a->id, .n_id = n, .max_tokens = FAKE_ANSWER};
    a->request.sampling = sampling_default();
    a->request.sampling.seed = own;
    a->stop_after = -1;
    return a;
}

void asked_pull(struct asked *a)
{
    struct sampled sampled;
    while (sequence_next(a->sequence, &sampled))
        a->answer[a->n_answer++] = sampled.id;
}

void asked_add(struct fake_engine *f, struct asked *a)
{
    goss_error error;
    if (engine_add(f->engine, &a->request, &a->sequence, &error))
        fail_msg("%s", error.text);
}

void asked_run_alone(struct fake_engine *f, struct asked *a)
{
    asked_add(f, a);
    while (engine_step(f->engine))
        asked_pull(a);
}

static bool is_stop(const struct fake_engine *f, int32_t id)
{
    return id == f->fake.model.config.stop[0] || id == f->fake.model.config.stop[1];
}

/* Compares an answer, or the part of it that was given before the end, with the reference, and frees it. */
void asked_check(struct fake_engine *f, struct asked *a)
{
    int n = a->request.n_id + a->n_answer;
    int32_t *id = malloc((size_t)n * sizeof *id);
    uint64_t *hidden = malloc((size_t)n * sizeof *hidden);
    memcpy(id, a->id, (size_t)a->request.n_id * sizeof *id);
    memcpy(id + a->request.n_id, a->answer, (size_t)a->n_answer * sizeof *id);
    fake_reference(&f->fake, a->request.owner, id, n, hidden);
    struct sampler *sampler;
    assert_int_equal(sampler_open(&sampler, &a->request.sampling, FAKE_VOCAB, NULL), GOSS_OK);
    for (int i = 0; i < a->request.n_id; i++)
        sampler_see_prompt(sampler, id[i]);
    for (int i = a->request.n_id; i < n; i++) {
        float logits[FAKE_VOCAB];
        struct sampled sampled;
        fake_logits(&f->fake, hidden[i - 1], id[i - 1], logits);
        assert_int_equal(sampler_sample(sampler, logits, (uint64_t)i, NULL, &sampled, NULL), GOSS_OK);
        assert_int_equal(sampled.id, id[i]);
        sampler_see_answer(sampler, sampled.id);
        assert_true(i == n - 1 || !is_stop(f, id[i]));
    }
    enum finish finish = sequence_finish(a->sequence);
    assert_int_equal(sequence_usage(a->sequence).answer_tokens, a->n_answer);
    if (finish == FINISH_STOP)
        assert_true(is_stop(f, id[n - 1]));
    else if (finish == FINISH_LENGTH)
        assert_int_equal(a->n_answer, a->request.max_tokens);
    else
        assert_int_equal(finish, FINISH_CANCELLED);
    sampler_close(sampler);
    free(id);
    free(hidden);
    engine_release(f->engine, a->sequence);
    free(a);
}

enum { CROWD = 24 };

/* Prompt `index` of a crowd: two in three share their beginning with others, one in four is cancelled on its way. */
static struct asked *crowd_member(struct fake_engine *f, uint64_t seed, int index)
{
    uint32_t w[4];
    random_words(seed, (uint64_t)index, 7, w);
    int shared = (int)(w[0] % 700), n = shared + 1 + (int)(w[1] % 300);
    struct asked *a = asked_new(w[2] % 3, shared, seed * 100 + (uint64_t)index, n);
    a->request.max_tokens = 1 + (int)(w[3] % FAKE_ANSWER);
    a->request.sampling.temperature = w[2] % 5 == 0 ? 0 : 0.2;
    a->request.sampling.frequency_penalty = w[2] % 4 == 0 ? 0.5 : 0;
    a->request.owner = w[3] % 2;
    a->stop_after = w[1] % 4 == 0 ? (int)(w[1] % 13) : -1;
    int32_t boundary[2] = {shared / 2 + 1, shared + 1};
    a->request.boundary = boundary;
    a->request.n_boundary = 2;
    asked_add(f, a);
    a->request.boundary = NULL; /* engine_add has copied it */
    return a;
}

void fake_engine_crowd(struct fake_engine *f, uint64_t seed)
{
    struct asked *asked[CROWD];
    int joined = 0, gone = 0;
    for (int step = 0; gone < CROWD; step++) {
        assert_true(step < 100000);
        for (int more = step % 3; more > 0 && joined < CROWD; more--, joined++)
            asked[joined] = crowd_member(f, seed, joined);
        engine_step(f->engine);
        for (int i = 0; i < joined; i++) {
            if (!asked[i])
                continue;
            if (step % 5 > 0) /* let a queue fill now and then */
                asked_pull(asked[i]);
            if (asked[i]->stop_after >= 0 && asked[i]->n_answer >= asked[i]->stop_after && step % 7 == 0)
                engine_cancel(f->engine, asked[i]->sequence);
            if (sequence_finish(asked[i]->sequence) != FINISH_NONE) {
                asked_pull(asked[i]);
                asked_check(f, asked[i]);
                asked[i] = NULL;
                gone++;
            }
        }
    }
}
