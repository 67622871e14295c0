#include "support/fake_backend.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CIRCLE = 12 /* ids, from this one on */ };

struct backend {
    const struct fake_model *model;
    struct backend_options options;
    int window, capacity; /* of a ring */
    uint64_t *page;       /* [pages][FAKE_LAYERS][KV_PAGE] */
    uint64_t *ring;       /* [rings][FAKE_LAYERS][capacity] */
    int *from, *to;       /* [rings] positions of the last batch */
    uint64_t *hidden;     /* [max_rows] */
};

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 31)) * 0xD6E8FEB86659FD93u;
    x = (x ^ (x >> 29)) * 0x9E3779B97F4A7C15u;
    return x ^ (x >> 32);
}

static uint64_t first_hidden(uint64_t owner, int32_t id, int position)
{
    return mix((owner << 40) + (uint64_t)(uint32_t)id * 1000003 + (uint64_t)position);
}

static uint64_t key(uint64_t hidden, int layer)
{
    return mix(hidden + (uint64_t)layer + 1);
}

/* What one key adds: it depends on where the key stands, and the sum over keys has no order. */
static uint64_t term(uint64_t k, int position)
{
    return k * (2 * (uint64_t)position + 1);
}

struct fake_model fake_model(struct fake_counts *counts, int window, int max_context)
{
    struct fake_model fake = {.nan_id = -1, .infinite_id = -1, .counts = counts};
    struct model_config *c = &fake.model.config;
    c->n_layer = FAKE_LAYERS;
    c->n_vocab = FAKE_VOCAB;
    c->window = window;
    c->max_context = max_context;
    for (int l = 0; l < FAKE_LAYERS; l++)
        c->sliding[l] = window > 0 && l % 2 == 0;
    c->n_stop = 2;
    c->stop[0] = 7;
    c->stop[1] = 11;
    return fake;
}

void fake_reference(const struct fake_model *model, uint64_t owner, const int32_t *id, int n, uint64_t *hidden)
{
    const struct model_config *c = &model->model.config;
    uint64_t *keys = malloc((size_t)n * sizeof *keys);
    for (int p = 0; p < n; p++)
        hidden[p] = first_hidden(owner, id[p], p);
    for (int l = 0; l < FAKE_LAYERS; l++) {
        for (int p = 0; p < n; p++)
            keys[p] = key(hidden[p], l);
        uint64_t sum = 0;
        for (int p = 0; p < n; p++) {
            sum += term(keys[p], p);
            if (c->sliding[l] && p >= c->window)
                sum -= term(keys[p - c->window], p - c->window);
            hidden[p] = mix(hidden[p] + sum);
        }
    }
    free(keys);
}

void fake_logits(const struct fake_model *model, uint64_t hidden, int32_t last_id, float *logits)
{
    int n = model->model.config.n_vocab;
    for (int i = 0; i < n; i++)
        logits[i] = (float)(int16_t)(mix(hidden + (uint64_t)i) >> 48) / 8192.0f;
    if (model->repeats && mix(hidden) % 8 > 0)
        logits[CIRCLE + (last_id + 1) % CIRCLE] += 100;
    if (last_id == model->nan_id)
        logits[n / 2] = NAN;
    if (last_id == model->infinite_id)
        logits[n - 1] = INFINITY;
}

static goss_status fake_open(struct backend **out, const struct model *model, const struct backend_options *options,
                             goss_error *error)
{
    (void)error;
    struct backend *b = calloc(1, sizeof *b);
    b->model = (const struct fake_model *)model;
    b->options = *options;
    b->window = model->config.window;
    b->capacity = b->window > options->max_rows ? 2 * b->window : b->window + options->max_rows;
    size_t pages = (size_t)options->pages * FAKE_LAYERS * KV_PAGE;
    size_t rings = (size_t)options->rings * FAKE_LAYERS * (size_t)b->capacity;
    b->page = malloc(pages * sizeof *b->page);
    b->ring = malloc(rings * sizeof *b->ring);
    for (size_t i = 0; i < pages; i++)
        b->page[i] = mix(i + 12345);
    for (size_t i = 0; i < rings; i++)
        b->ring[i] = mix(i + 54321);
    b->from = calloc((size_t)options->rings, sizeof *b->from);
    b->to = calloc((size_t)options->rings, sizeof *b->to);
    b->hidden = calloc((size_t)options->max_rows, sizeof *b->hidden);
    b->model->counts->open++;
    *out = b;
    return GOSS_OK;
}

static void fake_close(struct backend *b)
{
    b->model->counts->open--;
    free(b->page);
    free(b->ring);
    free(b->from);
    free(b->to);
    free(b->hidden);
    free(b);
}

static const char *fake_isa(const struct backend *b)
{
    (void)b;
    return "fake";
}

static uint64_t fake_kv_bytes(const struct model_config *config, int pages, int rings)
{
    return (uint64_t)pages * FAKE_LAYERS * KV_PAGE * 8 +
           (uint64_t)rings * FAKE_LAYERS * 2 * (uint64_t)config->window * 8;
}

static uint64_t *page_slot(struct backend *b, const struct batch_sequence *s, int layer, int position)
{
    size_t page = (size_t)s->page[position / KV_PAGE];
    return &b->page[(page * FAKE_LAYERS + (size_t)layer) * KV_PAGE + (size_t)(position % KV_PAGE)];
}

static uint64_t *ring_slot(struct backend *b, int ring, int layer, int position)
{
    size_t row = (size_t)ring * FAKE_LAYERS + (size_t)layer;
    return &b->ring[row * (size_t)b->capacity + (size_t)(position % b->capacity)];
}

static void expect(struct backend *b, bool promise)
{
    b->model->counts->faults += !promise;
}

static void check_batch(struct backend *b, const struct batch *batch)
{
    const struct backend_options *o = &b->options;
    int row = 0;
    expect(b, batch->n_row >= 1 && batch->n_row <= o->max_rows);
    expect(b, batch->n_sequence >= 1 && batch->n_sequence <= o->max_sequences && batch->n_output <= o->max_outputs);
    for (int i = 0; i < batch->n_sequence; i++) {
        const struct batch_sequence *s = &batch->sequence[i];
        expect(b, s->first_row == row && s->n_row >= 1);
        expect(b, s->ring >= 0 && s->ring < o->rings);
        for (int j = 0; j < i; j++)
            expect(b, batch->sequence[j].ring != s->ring);
        for (int r = 0; r < s->n_row; r++) {
            expect(b, batch->position[row + r] == s->first_position + r);
            int32_t page = s->page[(s->first_position + r) / KV_PAGE];
            expect(b, page >= 0 && page < o->pages);
            for (int j = 0; j < batch->n_sequence; j++) { /* nobody else may hold a page that is being written */
                const struct batch_sequence *other = &batch->sequence[j];
                int index = (s->first_position + r) / KV_PAGE;
                int last = (other->first_position + other->n_row - 1) / KV_PAGE;
                expect(b, j == i || index > last || other->page[index] != page);
            }
        }
        row += s->n_row;
        b->from[s->ring] = s->first_position;
        b->to[s->ring] = s->first_position + s->n_row;
    }
    expect(b, row == batch->n_row);
    for (int i = 1; i < batch->n_output; i++)
        expect(b, batch->output_row[i] > batch->output_row[i - 1]);
}

static void fake_run(struct backend *b, void (*stages)(void *argument, int worker), void *argument)
{
    (void)b;
    stages(argument, 0);
}

static void fake_embed(struct backend *b, int worker, const struct batch *batch)
{
    (void)worker;
    check_batch(b, batch);
    for (int i = 0; i < batch->n_sequence; i++) {
        const struct batch_sequence *s = &batch->sequence[i];
        uint64_t owner = b->model->owner ? b->model->owner(b->model->engine, i) : 0;
        for (int r = s->first_row; r < s->first_row + s->n_row; r++)
            b->hidden[r] = first_hidden(owner, batch->token[r], batch->position[r]);
    }
    b->model->counts->rows += (uint64_t)batch->n_row;
}

static void fake_nothing(struct backend *b, int worker, const struct batch *batch, int layer)
{
    (void)b;
    (void)worker;
    (void)batch;
    (void)layer;
}

/* Destroys what a ring need not keep: all but the last 2 * window positions. */
static void forget_old(struct backend *b, const struct batch_sequence *s, int layer)
{
    int to = s->first_position + s->n_row;
    for (int p = s->first_position - 2 * b->window; p < to - 2 * b->window; p++)
        if (p >= 0 && p >= to - b->capacity)
            *ring_slot(b, s->ring, layer, p) = mix((uint64_t)p);
}

static void fake_attend(struct backend *b, int worker, const struct batch *batch, int layer)
{
    bool sliding = b->model->model.config.sliding[layer];
    (void)worker;
    for (int i = 0; i < batch->n_sequence; i++) {
        const struct batch_sequence *s = &batch->sequence[i];
        for (int r = 0; r < s->n_row; r++) {
            int p = s->first_position + r;
            *(sliding ? ring_slot(b, s->ring, layer, p) : page_slot(b, s, layer, p)) =
                key(b->hidden[s->first_row + r], layer);
        }
        for (int r = 0; r < s->n_row; r++) {
            int p = s->first_position + r;
            uint64_t sum = 0;
            for (int k = sliding && p >= b->window ? p - b->window + 1 : 0; k <= p; k++)
                sum += term(sliding ? *ring_slot(b, s->ring, layer, k) : *page_slot(b, s, layer, k), k);
            b->hidden[s->first_row + r] = mix(b->hidden[s->first_row + r] + sum);
        }
        if (sliding)
            forget_old(b, s, layer);
    }
}

static void scripted_logits(const struct fake_model *model, int position, float *logits)
{
    int at = position - model->script_first;
    memset(logits, 0, (size_t)model->model.config.n_vocab * sizeof *logits);
    logits[at >= 0 && at < model->n_script ? model->script[at] : 0] = 100;
}

static void fake_unembed(struct backend *b, int worker, const struct batch *batch)
{
    (void)worker;
    for (int i = 0; i < batch->n_output; i++) {
        int row = batch->output_row[i];
        float *logits = batch->logits + (size_t)i * (size_t)b->model->model.config.n_vocab;
        fake_logits(b->model, b->hidden[row], batch->token[row], logits);
        if (b->model->script)
            scripted_logits(b->model, batch->position[row] + 1, logits);
    }
}

static void fake_copy_page(struct backend *b, int from, int to)
{
    size_t n = (size_t)FAKE_LAYERS * KV_PAGE;
    expect(b, from != to && from >= 0 && from < b->options.pages && to >= 0 && to < b->options.pages);
    memcpy(b->page + (size_t)to * n, b->page + (size_t)from * n, n * sizeof *b->page);
}

static uint64_t fake_snapshot_bytes(const struct model_config *config)
{
    return config->window > 0 ? (uint64_t)FAKE_LAYERS * (uint64_t)config->window * sizeof(uint64_t) : 0;
}

static void fake_save_ring(struct backend *b, int ring, int position, void *snapshot)
{
    uint64_t *out = snapshot;
    expect(b, position > b->from[ring] && position <= b->to[ring] && position >= b->to[ring] - b->window);
    for (int l = 0; l < FAKE_LAYERS; l++)
        for (int i = 0; i < b->window; i++) {
            int p = position - b->window + i;
            *out++ = p >= 0 ? *ring_slot(b, ring, l, p) : 0;
        }
}

static void fake_load_ring(struct backend *b, int ring, int position, const void *snapshot)
{
    const uint64_t *in = snapshot;
    size_t n = (size_t)FAKE_LAYERS * (size_t)b->capacity;
    for (size_t i = 0; i < n; i++) /* nothing of the ring's last user may be needed */
        b->ring[(size_t)ring * n + i] = mix(i);
    for (int l = 0; l < FAKE_LAYERS; l++)
        for (int i = 0; i < b->window; i++, in++)
            if (position - b->window + i >= 0)
                *ring_slot(b, ring, l, position - b->window + i) = *in;
    b->from[ring] = b->to[ring] = position;
}

const struct backend_table fake_backend = {.name = "fake",
                                           .open = fake_open,
                                           .close = fake_close,
                                           .isa = fake_isa,
                                           .kv_bytes = fake_kv_bytes,
                                           .run = fake_run,
                                           .embed = fake_embed,
                                           .attn_in = fake_nothing,
                                           .attend = fake_attend,
                                           .attn_out = fake_nothing,
                                           .route = fake_nothing,
                                           .experts = fake_nothing,
                                           .unembed = fake_unembed,
                                           .copy_page = fake_copy_page,
                                           .snapshot_bytes = fake_snapshot_bytes,
                                           .save_ring = fake_save_ring,
                                           .load_ring = fake_load_ring};
