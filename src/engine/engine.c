#include "engine/engine.h"

#include <stdlib.h>
#include <string.h>

#include "base/system.h"
#include "engine/internal.h"

/* ---- opening ---- */

enum { MAX_PAGES = 1 << 16 };

static int at_most(int64_t value, int limit)
{
    return value < limit ? (int)value : limit;
}

static goss_status check_lookup(int lookup, goss_error *error)
{
    if (lookup >= LOOKUP_OFF && lookup <= LOOKUP_MOST)
        return GOSS_OK;
    return error_set(error, GOSS_E_ARGUMENT, "lookup is %d, must be %d to %d", lookup, LOOKUP_OFF, LOOKUP_MOST);
}

static goss_status check_options(const struct engine_options *o, goss_error *error)
{
    const struct {
        const char *name;
        int value, most;
    } range[] = {
        {"chunk", o->chunk, 65536},
        {"context", o->context, INT32_MAX / 2},
        {"max_sequences", o->max_sequences, 4096},
        {"max_waiting", o->max_waiting, INT32_MAX},
        {"score_rows", o->score_rows, 4096},
        {"checkpoints", o->checkpoints, 1024},
        {"checkpoint_every", o->checkpoint_every, INT32_MAX / 2},
    };
    for (size_t i = 0; i < sizeof range / sizeof *range; i++)
        if (range[i].value < 0 || range[i].value > range[i].most)
            return error_set(error, GOSS_E_ARGUMENT, "%s is %d, must be 0 to %d", range[i].name, range[i].value,
                             range[i].most);
    return check_lookup(o->lookup, error);
}

static int pages_for(int positions)
{
    return (positions + KV_PAGE - 1) / KV_PAGE;
}

/* How the memory is divided. */
struct sizes {
    int pages, checkpoints;
};

/* Fills in the context and the number of pages and checkpoints. One page more than the sequences need is for the copy
 * of a partly filled one. Memory is only touched when used, so a generous context costs nothing by itself. */
static goss_status divide_memory(struct engine *e, const struct model_config *config, struct sizes *sizes,
                                 goss_error *error)
{
    struct engine_options *o = &e->options;
    e->page_bytes = e->table->kv_bytes(config, 1, 0);
    e->ring_bytes = e->table->kv_bytes(config, 0, 1);
    e->snapshot_bytes = e->table->snapshot_bytes(config);
    uint64_t page = e->page_bytes > 0 ? e->page_bytes : 1, snapshot = e->snapshot_bytes > 0 ? e->snapshot_bytes : 1;
    uint64_t budget = o->kv_bytes;
    if (budget == 0 && e->table->memory) { /* a quarter of what there is */
        budget = e->table->memory(e->model, o->gpu_bytes) / 4;
    } else if (budget == 0) {
        struct system_limits limits;
        system_limits("", &limits);
        budget = limits.memory_bytes < UINT64_MAX ? limits.memory_bytes / 4 : UINT64_C(1) << 32;
    }
    uint64_t rings = e->ring_bytes * (uint64_t)o->max_sequences;
    uint64_t checkpoints = o->checkpoints > 0 ? (uint64_t)o->checkpoints : budget / 8 / snapshot;
    sizes->checkpoints = checkpoints < 1 ? 1 : checkpoints > 1024 ? 1024 : (int)checkpoints;
    uint64_t fixed = rings + e->snapshot_bytes * (uint64_t)sizes->checkpoints;
    uint64_t pages = budget > fixed ? (budget - fixed) / page : 0;
    int wanted = o->context > 0 ? o->context : config->max_context;
    int64_t useful = o->kv_bytes > 0 ? MAX_PAGES : (int64_t)pages_for(wanted) * o->max_sequences * 2 + 1;
    pages = pages < (uint64_t)useful ? pages : (uint64_t)useful;
    if (o->kv_bytes == 0 && o->context > 0 && pages < (uint64_t)pages_for(wanted) + 1)
        pages = (uint64_t)pages_for(wanted) + 1; /* asked for by name */
    int64_t held = pages > 1 ? ((int64_t)pages - 1) * KV_PAGE : 0;
    if (held == 0 || held < o->context)
        return error_set(error, GOSS_E_LIMIT,
                         "%llu bytes of KV memory hold %lld positions, the context asked for is %d: a page of %d "
                         "positions has %llu bytes, %d rings and %d snapshots have %llu",
                         (unsigned long long)budget, (long long)held, wanted, KV_PAGE, (unsigned long long)page,
                         o->max_sequences, sizes->checkpoints, (unsigned long long)fixed);
    o->context = at_most(held, wanted);
    sizes->pages = (int)pages;
    return GOSS_OK;
}

static goss_status allocate(struct engine *e, int max_rows, int max_outputs, goss_error *error)
{
    size_t rows = (size_t)max_rows, outputs = (size_t)max_outputs, sequences = (size_t)e->options.max_sequences;
    size_t logits = outputs * (size_t)e->model->config.n_vocab * sizeof *e->logits;
    e->token = calloc(rows, sizeof *e->token);
    e->position = calloc(rows, sizeof *e->position);
    e->output_row = calloc(outputs, sizeof *e->output_row);
    e->rows = calloc(sequences, sizeof *e->rows);
    e->row_owner = calloc(sequences, sizeof(struct sequence *));
    e->draw = calloc(outputs, sizeof *e->draw);
    e->drawn = calloc(outputs, sizeof *e->drawn);
    e->logits = malloc(logits);
    if (!e->token || !e->position || !e->output_row || !e->rows || !e->row_owner || !e->draw || !e->drawn || !e->logits)
        return error_memory(error, logits, "the batch");
    return GOSS_OK;
}

goss_status engine_open(struct engine **out, const struct model *model, const struct backend_table *table,
                        const struct engine_options *options, goss_error *error)
{
    *out = NULL;
    goss_status status = check_options(options, error);
    if (status)
        return status;
    struct engine *e = calloc(1, sizeof *e);
    if (!e)
        return error_memory(error, sizeof *e, "the engine");
    e->model = model;
    e->table = table;
    e->options = *options;
    struct engine_options *o = &e->options;
    o->chunk = o->chunk ? o->chunk : 512;
    o->max_sequences = o->max_sequences ? o->max_sequences : 1;
    o->max_waiting = o->max_waiting ? o->max_waiting : 1024;
    o->checkpoint_every = o->checkpoint_every ? o->checkpoint_every : 2048;
    if (o->context > model->config.max_context) {
        status = error_set(error, GOSS_E_LIMIT, "the context asked for is %d, the model's limit is %d", o->context,
                           model->config.max_context);
        goto fail;
    }
    int drafts = o->lookup == LOOKUP_OFF ? 0 : DRAFT_ROWS;
    step_cost_open(&e->cost, &model->config);
    struct sizes sizes = {0};
    if ((status = divide_memory(e, &model->config, &sizes, error)))
        goto fail;
    struct backend_options backend = {.threads = o->threads,
                                      .isa = o->isa,
                                      .max_rows = o->chunk + o->max_sequences + drafts,
                                      .max_outputs = o->max_sequences + o->score_rows + drafts,
                                      .max_sequences = o->max_sequences,
                                      .pages = sizes.pages,
                                      .rings = o->max_sequences,
                                      .gpu_bytes = o->gpu_bytes,
                                      .host = &cpu_backend};
    if ((status = table->open(&e->backend, model, &backend, error)))
        goto fail;
    if ((status = kv_cache_open(&e->kv, table, e->backend, sizes.pages, o->max_sequences, sizes.checkpoints,
                                e->snapshot_bytes, error)))
        goto fail;
    e->slack = e->snapshot_bytes > 0 ? model->config.window : INT32_MAX / 2;
    if ((status = allocate(e, backend.max_rows, backend.max_outputs, error)))
        goto fail;
    *out = e;
    return GOSS_OK;
fail:
    engine_close(e);
    return status;
}

static void sequence_free(struct sequence *s)
{
    free(s->id);
    free(s->stop);
    free(s->boundary);
    free(s->kv.page);
    lookup_close(&s->lookup);
    sampler_close(s->sampler);
    free(s);
}

void engine_close(struct engine *e)
{
    if (!e)
        return;
    while (e->active.first)
        engine_cancel(e, e->active.first);
    for (struct sequence *s = e->done.first, *next; s; s = next) {
        next = s->next;
        sequence_free(s);
    }
    kv_cache_close(e->kv);
    if (e->backend)
        e->table->close(e->backend);
    free(e->token);
    free(e->position);
    free(e->output_row);
    free(e->rows);
    free(e->row_owner);
    free(e->draw);
    free(e->drawn);
    free(e->logits);
    free(e);
}

const struct model_config *engine_config(const struct engine *e)
{
    return &e->model->config;
}

int engine_context(const struct engine *e)
{
    return e->options.context;
}

const char *engine_backend(const struct engine *e)
{
    return e->table->name;
}

const char *engine_isa(const struct engine *e)
{
    return e->table->isa(e->backend);
}

int engine_expert_layers(const struct engine *e)
{
    return e->table->expert_layers ? e->table->expert_layers(e->backend) : e->model->config.n_layer;
}

/* ---- sequences ---- */

static void list_append(struct sequence_list *list, struct sequence *s)
{
    s->previous = list->last;
    s->next = NULL;
    *(list->last ? &list->last->next : &list->first) = s;
    list->last = s;
}

static void list_remove(struct sequence_list *list, struct sequence *s)
{
    *(s->previous ? &s->previous->next : &list->first) = s->next;
    *(s->next ? &s->next->previous : &list->last) = s->previous;
}

goss_status engine_check(const struct engine *e, const struct sequence_request *r, goss_error *error)
{
    const struct model_config *config = &e->model->config;
    int least = r->score ? 0 : r->max_tokens > 0 ? r->max_tokens : 1;
    if (r->n_id < 1 || r->max_tokens < 0 || r->n_stop < 0 || r->n_boundary < 0)
        return error_set(error, GOSS_E_ARGUMENT, "a prompt has at least one token, and max_tokens is not negative");
    if (r->n_id > e->options.context || least > e->options.context - r->n_id)
        return error_set(error, GOSS_E_LIMIT,
                         "the prompt has %d tokens and the answer may have %d, the context holds %d", r->n_id, least,
                         e->options.context);
    for (int i = 0; i < r->n_id; i++)
        if (r->id[i] < 0 || r->id[i] >= config->n_vocab)
            return error_set(error, GOSS_E_ARGUMENT, "token %d of the prompt is %d, ids are 0 to %d", i, r->id[i],
                             config->n_vocab - 1);
    if (r->score && e->options.score_rows == 0)
        return error_set(error, GOSS_E_ARGUMENT, "this engine was opened without rows for scoring");
    return check_lookup(r->lookup, error);
}

/* A copy of n ids with room for `room`; NULL when memory is out. */
static int32_t *copy_ids(const int32_t *id, int n, int room)
{
    int32_t *copy = malloc(((size_t)room + 1) * sizeof *copy);
    if (copy && n > 0)
        memcpy(copy, id, (size_t)n * sizeof *copy);
    return copy;
}

/* A ring forgets nothing that is needed when up to `window` of its last rows are taken back. */
static goss_status open_lookup(struct sequence *s, int lookup, goss_error *error)
{
    struct engine *e = s->engine;
    lookup = lookup == LOOKUP_AUTO || e->options.lookup == LOOKUP_OFF ? e->options.lookup : lookup;
    if (lookup == LOOKUP_OFF)
        return GOSS_OK;
    s->eager = lookup > 0;
    s->most_drafts = at_most(s->eager ? lookup : LOOKUP_MOST, e->slack);
    goss_status status = lookup_open(&s->lookup, s->limit, error);
    for (int i = 0; !status && i < s->n_prompt; i++)
        lookup_append(&s->lookup, s->id, i + 1);
    return status;
}

goss_status engine_add(struct engine *e, const struct sequence_request *r, struct sequence **out, goss_error *error)
{
    *out = NULL;
    goss_status status = engine_check(e, r, error);
    if (status)
        return status;
    if (e->n_waiting >= e->options.max_waiting)
        return error_set(error, GOSS_E_LIMIT, "%d sequences are waiting, no more are taken", e->n_waiting);
    struct sequence *s = calloc(1, sizeof *s);
    if (!s)
        return error_memory(error, sizeof *s, "a sequence");
    const struct model_config *config = &e->model->config;
    s->engine = e;
    s->score = r->score;
    s->guide = r->guide;
    s->n_prompt = s->n_id = r->n_id;
    s->limit = r->score ? r->n_id : r->max_tokens > 0 ? r->n_id + r->max_tokens : e->options.context;
    s->cached_tokens = -1;
    s->n_stop = r->stop ? r->n_stop : config->n_stop;
    s->id = copy_ids(r->id, r->n_id, s->limit);
    s->stop = copy_ids(r->stop ? r->stop : config->stop, s->n_stop, s->n_stop);
    s->boundary = copy_ids(NULL, 0, r->n_boundary);
    s->kv.page = malloc((size_t)pages_for(s->limit) * sizeof *s->kv.page);
    s->kv.owner = r->owner;
    s->kv.cached = !r->no_cache && !r->score;
    if (!s->id || !s->stop || !s->boundary || !s->kv.page) {
        status = error_memory(error, (size_t)s->limit * sizeof *s->id, "a sequence");
        sequence_free(s);
        return status;
    }
    for (int i = 0, last = 0; i < r->n_boundary; i++) /* only hints: what is no position in order is left out */
        if (r->boundary[i] > last && r->boundary[i] < r->n_id)
            s->boundary[s->n_boundary++] = last = r->boundary[i];
    if (!r->score && ((status = sampler_open(&s->sampler, &r->sampling, config->n_vocab, error)) ||
                      (status = open_lookup(s, r->lookup, error)))) {
        sequence_free(s);
        return status;
    }
    for (int i = 0; s->sampler && i < s->n_prompt; i++)
        sampler_see_prompt(s->sampler, s->id[i]);
    list_append(&e->active, s);
    e->n_waiting++;
    *out = s;
    return GOSS_OK;
}

void sequence_end(struct sequence *s, enum finish finish)
{
    struct engine *e = s->engine;
    if (s->state == STATE_RUNNING) {
        if (finish != FINISH_ERROR && s->n_computed > s->n_begun) /* the next turn may continue here */
            kv_cache_checkpoint(e->kv, &s->kv, s->id, s->n_computed);
        kv_cache_end(e->kv, &s->kv);
        e->n_running--;
    } else if (s->state == STATE_WAITING) {
        e->n_waiting--;
    }
    list_remove(&e->active, s);
    list_append(&e->done, s);
    s->state = STATE_DONE;
    s->finish = finish;
}

void engine_cancel(struct engine *e, struct sequence *s)
{
    (void)e;
    if (s->state != STATE_DONE)
        sequence_end(s, FINISH_CANCELLED);
}

void engine_release(struct engine *e, struct sequence *s)
{
    if (!s)
        return;
    engine_cancel(e, s);
    list_remove(&e->done, s);
    sequence_free(s);
}

bool sequence_next(struct sequence *s, struct sampled *sampled)
{
    if (s->n_queue == 0)
        return false;
    *sampled = s->queue[s->first_queued];
    s->first_queued = (s->first_queued + 1) % ENGINE_QUEUE;
    s->n_queue--;
    return true;
}

enum finish sequence_finish(const struct sequence *s)
{
    return s->finish;
}

const goss_error *sequence_error(const struct sequence *s)
{
    return s->finish == FINISH_ERROR ? &s->error : NULL;
}

void sequence_scores(const struct sequence *s, struct score_rows *rows)
{
    *rows = s->scores;
}

struct usage sequence_usage(const struct sequence *s)
{
    return (struct usage){.prompt_tokens = s->n_prompt,
                          .cached_tokens = s->cached_tokens > 0 ? s->cached_tokens : 0,
                          .answer_tokens = s->n_id - s->n_prompt};
}

/* ---- counters ---- */

struct engine_stats engine_stats(const struct engine *e)
{
    struct kv_cache_stats kv = kv_cache_stats(e->kv);
    return (struct engine_stats){
        .pages = kv.pages,
        .pages_free = kv.pages_free,
        .pages_cached = kv.pages_cached,
        .rings = kv.rings,
        .rings_free = kv.rings_free,
        .checkpoints = kv.checkpoints,
        .checkpoints_max = kv.checkpoints_max,
        .page_bytes = e->page_bytes,
        .ring_bytes = e->ring_bytes,
        .checkpoint_bytes = e->snapshot_bytes,
        .running = e->n_running,
        .waiting = e->n_waiting,
        .steps = e->n_steps,
        .rows = e->n_rows,
        .prefill_rows = e->n_rows - e->n_decode_rows - e->n_drafted,
        .decode_rows = e->n_decode_rows,
        .drafted = e->n_drafted,
        .accepted = e->n_accepted,
        .prefix_hits = kv.hits,
        .prefix_tokens = kv.hit_tokens,
        .page_copies = kv.copies,
        .preemptions = e->n_preemptions,
        .evictions = kv.evictions,
    };
}

void engine_forget(struct engine *e)
{
    kv_cache_forget(e->kv);
}
