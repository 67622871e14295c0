#include "base/clock.h"
#include "engine/internal.h"
#include "model/forward.h"

/* An output row: how its id is to be drawn, if the backend can do that. */
static void add_output(struct engine *e, const struct sequence *s, int row, int position)
{
    struct batch *b = &e->batch;
    bool here = s->score || s->guide.allow; /* what becomes of the logits is decided here */
    e->draw[b->n_output] = here ? (struct batch_draw){.wanted = false} : sampler_draw(s->sampler, (uint64_t)position);
    e->drawn[b->n_output] = -1;
    e->output_row[b->n_output++] = row;
}

/* Rows and outputs of one sequence, appended to the batch. */
static void add_rows(struct engine *e, struct sequence *s)
{
    struct batch *b = &e->batch;
    e->row_owner[b->n_sequence] = s;
    e->rows[b->n_sequence++] = (struct batch_sequence){.first_row = b->n_row,
                                                       .n_row = s->n_row,
                                                       .first_position = s->n_computed,
                                                       .page = s->kv.page,
                                                       .ring = s->kv.ring};
    s->first_output = b->n_output;
    for (int i = 0; i < s->n_row; i++) {
        e->token[b->n_row] = s->id[s->n_computed + i];
        e->position[b->n_row] = s->n_computed + i;
        if (s->score || s->n_computed + i + 1 >= s->n_id) /* the last id and the guesses behind it */
            add_output(e, s, b->n_row, s->n_computed + i + 1);
        b->n_row++;
    }
    if (rows_to_come(s) == 1 && !s->score)
        e->n_decode_rows++;
    e->n_drafted += (uint64_t)s->n_draft;
}

static void build_batch(struct engine *e)
{
    e->batch = (struct batch){.token = e->token,
                              .position = e->position,
                              .sequence = e->rows,
                              .output_row = e->output_row,
                              .logits = e->logits,
                              .draw = e->draw,
                              .drawn = e->drawn};
    for (struct sequence *s = e->active.first; s; s = s->next)
        if (s->n_row > 0)
            add_rows(e, s);
}

/* Checkpoints at the caller's boundaries and, in the prompt, at regular distances, where this batch passed them. */
static void keep_checkpoints(struct engine *e, struct sequence *s, int from, int to)
{
    int every = e->options.checkpoint_every;
    for (int i = 0; i < s->n_boundary; i++)
        if (s->boundary[i] > from && s->boundary[i] <= to && s->boundary[i] >= to - e->slack)
            kv_cache_checkpoint(e->kv, &s->kv, s->id, s->boundary[i]);
    if (to < s->n_prompt && from / every < to / every)
        kv_cache_checkpoint(e->kv, &s->kv, s->id, to);
}

static float *logits_of(struct engine *e, int output)
{
    return e->logits + (size_t)output * e->model->config.n_vocab;
}

/* The next id, of those that the guide allows. */
static goss_status sample_guided(struct sequence *s, float *logits, struct sampled *out)
{
    const uint64_t *allowed = NULL;
    goss_status status = s->guide.allow ? s->guide.allow(s->guide.self, &allowed, &s->error) : GOSS_OK;
    status = status ? status : sampler_sample(s->sampler, logits, (uint64_t)s->n_id, allowed, out, &s->error);
    return status || !s->guide.allow ? status : s->guide.take(s->guide.self, out->id, &s->error);
}

/* The id of an output row, which may have been drawn by the backend. */
static void sample(struct engine *e, struct sequence *s, int output)
{
    struct sampled *out = &s->queue[(s->first_queued + s->n_queue) % ENGINE_QUEUE];
    if (e->drawn[output] >= 0) {
        *out = (struct sampled){.id = e->drawn[output], .n_top = -1};
    } else if (sample_guided(s, logits_of(e, output), out)) {
        sequence_end(s, FINISH_ERROR);
        return;
    }
    s->n_queue++;
    s->id[s->n_id++] = out->id;
    sampler_see_answer(s->sampler, out->id);
    if (s->lookup.place)
        lookup_append(&s->lookup, s->id, s->n_id);
    bool stop = sequence_stops(s, out->id);
    if (stop || s->n_id == s->limit)
        sequence_end(s, stop ? FINISH_STOP : FINISH_LENGTH);
}

/* Tells that the next n rows of a sequence have the keys and values of true ids. */
static void move_on(struct engine *e, struct sequence *s, int n)
{
    s->n_computed += n;
    kv_cache_publish(e->kv, &s->kv, s->id, s->n_computed);
}

/* Samples from the row of the last id and, as long as what is sampled is what was guessed, from the row of that guess.
 * The rows behind a wrong guess are forgotten: what they left in pages and ring lies behind n_computed, is seen by
 * nobody and gets overwritten by the rows that come to stand there. In the ring it took the places of positions that
 * are at least a window older. */
static void sample_all(struct engine *e, struct sequence *s, int output)
{
    for (int left = s->n_draft; left >= 0; left--, output++) {
        int32_t guess = left > 0 ? s->id[s->n_id] : -1; /* sample writes to the same place */
        sample(e, s, output);
        if (s->state == STATE_DONE || s->id[s->n_id - 1] != guess)
            return;
        move_on(e, s, 1);
        e->n_accepted++;
    }
}

/* Checks a scored sequence's rows and shows them to the caller. */
static void score(struct engine *e, struct sequence *s, const float *logits, int first, int n)
{
    int n_vocab = e->model->config.n_vocab;
    for (int i = 0; i < n; i++)
        if (logits_check(logits + (size_t)i * n_vocab, n_vocab, (uint64_t)first + (uint64_t)i, &s->error)) {
            sequence_end(s, FINISH_ERROR);
            return;
        }
    s->scores = (struct score_rows){.first = first, .n = n, .logits = logits};
    if (s->n_computed == s->n_id)
        sequence_end(s, FINISH_SCORED);
}

/* Moves a sequence on by the rows that were computed. */
static void harvest(struct engine *e, struct sequence *s)
{
    int from = s->n_computed, n = s->n_row - s->n_draft;
    s->n_row = 0;
    move_on(e, s, n);
    keep_checkpoints(e, s, from, s->n_computed);
    if (s->score)
        score(e, s, logits_of(e, s->first_output), from, n);
    else if (s->n_computed == s->n_id)
        sample_all(e, s, s->first_output);
}

static bool only_decodes(const struct engine *e)
{
    for (int i = 0; i < e->batch.n_sequence; i++)
        if (e->row_owner[i]->score)
            return false;
    return e->batch.n_output == e->batch.n_row;
}

/* Computes the batch; steps that only decode teach what a row costs. */
static void compute(struct engine *e)
{
    double begin = clock_seconds();
    forward(e->table, e->backend, &e->model->config, &e->batch);
    e->n_steps++;
    e->n_rows += (uint64_t)e->batch.n_row;
    if (only_decodes(e))
        step_cost_learn(&e->cost, e->batch.n_row, clock_seconds() - begin);
}

bool engine_step(struct engine *e)
{
    for (struct sequence *s = e->done.first; s; s = s->next)
        s->scores = (struct score_rows){0};
    for (struct sequence *s = e->active.first; s; s = s->next)
        s->scores = (struct score_rows){0};
    scheduler_plan(e);
    build_batch(e);
    if (e->batch.n_row == 0)
        return false;
    compute(e);
    for (int i = 0; i < e->batch.n_sequence; i++)
        harvest(e, e->row_owner[i]);
    return true;
}
