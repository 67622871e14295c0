#include "stages.h"

#include <stdio.h>
#include <stdlib.h>

#include "cuda/attention.h"
#include "cuda/epilogue.h"
#include "cuda/norm.h"

enum { MOST_SEQUENCES = 16, MOST_ARRAYS = 64 };

/* A backend with one layer and whatever memory a test asks for. */
struct machine {
    struct backend b;
    struct model model;
    struct layer layer;
    void *memory[MOST_ARRAYS];
    int n_memory;
    int pages; /* of a sequence */
};

template <typename T> static T *memory(struct machine *m, size_t n, const T *from)
{
    void *p;
    if (m->n_memory == MOST_ARRAYS || cudaMalloc(&p, (n + 1) * sizeof(T)))
        abort();
    m->memory[m->n_memory++] = p;
    if (from)
        memcpy(p, from, n * sizeof(T));
    return (T *)p;
}

static void open_machine(struct machine *m, const struct model_config *config, int max_rows)
{
    *m = {};
    m->model.config = *config;
    m->model.config.n_layer = 1;
    m->model.config.max_context = 1 << 20;
    m->model.layers = &m->layer;
    m->b.model = &m->model;
    m->b.weights = m->model;
    m->b.max_rows = max_rows;
    m->b.max_sequences = MOST_SEQUENCES;
    m->b.multiprocessors = 2;
    m->b.shared_limit = 227 << 10;
    m->b.overlap = true;
    m->b.batch.n_row = max_rows;
    if (cudaStreamCreateWithFlags(&m->b.stream, cudaStreamNonBlocking))
        abort();
}

/* Until what was enqueued is done. */
static void wait_machine(struct machine *m)
{
    keep_first(&m->b, cudaStreamSynchronize(m->b.stream));
    if (m->b.failed) {
        (void)fprintf(stderr, "a launch failed: %s\n", cudaGetErrorString(m->b.failed));
        abort();
    }
}

static void close_machine(struct machine *m)
{
    for (int i = 0; i < m->n_memory; i++)
        (void)cudaFree(m->memory[i]);
    (void)cudaStreamDestroy(m->b.stream);
}

/* ---- attention ---- */

static void open_attention(struct machine *m, const struct stages_attention *t)
{
    goss_error error;
    struct backend_options options = {};
    for (int i = 0; i < t->n_sequence; i++)
        m->pages = max(m->pages, (t->sequence[i].first_position + t->sequence[i].n_row) / KV_PAGE + 1);
    options.pages = m->pages * t->n_sequence;
    if (kv_open(&m->b, options.pages, t->n_sequence, &error) || attend_open(&m->b, &options, &error)) {
        (void)fprintf(stderr, "%s\n", error.text);
        abort();
    }
    struct layout layout = {};
    attend_place(&layout, &m->b);
    layout = {memory<uint8_t>(m, layout.used, NULL), 0, false};
    attend_place(&layout, &m->b);
}

/* A step's batch; no two pages or rings follow each other. */
static struct batch *open_batch(struct machine *m, const struct stages_attention *t)
{
    int n = t->n_sequence, rows = m->b.max_rows, row = 0;
    struct batch_sequence *sequence = memory<struct batch_sequence>(m, n, NULL);
    int32_t *page = memory<int32_t>(m, (size_t)n * m->pages, NULL), *word = memory<int32_t>(m, 2 * rows + 5 * n, NULL);
    int32_t *position = word, *sequence_of = position + rows, *of = sequence_of + rows;
    for (int i = 0; i < n; i++) {
        const struct stages_sequence *s = &t->sequence[i];
        sequence[i] = {row, s->n_row, s->first_position, page + i * m->pages, (i + 2) % n};
        for (int p = 0; p < m->pages; p++)
            page[i * m->pages + p] = p * n + (i + p) % n;
        of[i] = row, of[n + i] = s->n_row, of[2 * n + i] = s->first_position;
        of[3 * n + i] = (i + 2) % n, of[4 * n + i] = i * m->pages;
        for (int r = 0; r < s->n_row; r++, row++) {
            position[row] = s->first_position + r;
            sequence_of[row] = i;
        }
    }
    struct device_batch *d = &m->b.batch;
    *d = {rows, 0, n, NULL, position, sequence_of, NULL, of, of + n, of + 2 * n, of + 3 * n, of + 4 * n, page};
    struct batch *batch = memory<struct batch>(m, 1, NULL);
    *batch = {rows, NULL, position, n, sequence, 0, NULL, NULL};
    return batch;
}

/* A position of a sequence between its array and the cache's pages. */
static void move_page(const struct machine *m, const struct batch_sequence *s, int position, uint16_t *kv, bool save)
{
    const struct kv &c = m->b.kv;
    int n = 2 * c.head_dim;
    for (int i = 0; i < c.n_kv_head * n; i++) {
        struct tile_run run = page_run(c, s->page[position / KV_PAGE], 0, i / n, position);
        uint16_t *element = kv_element(c, tile_at(c, run, 0), position, i % n);
        uint16_t *mine = kv + (size_t)position * c.n_kv_head * n + i;
        *(save ? mine : element) = *(save ? element : mine);
    }
}

/* The window before `end` between a sequence's array and its ring. */
static void move_window(struct machine *m, const struct batch_sequence *s, int end, uint16_t *kv, bool save)
{
    const struct model_config *c = &m->model.config;
    int n = 2 * c->head_dim;
    uint16_t *snapshot = (uint16_t *)malloc(kv_snapshot_bytes(c)), *at = snapshot;
    if (save)
        kv_save_ring(&m->b, s->ring, end, snapshot);
    for (int head = 0; head < c->n_kv_head; head++)
        for (int p = end - c->window; p < end; p++, at += n) {
            uint16_t *mine = kv + ((size_t)(p < 0 ? 0 : p) * c->n_kv_head + head) * n;
            if (p >= 0)
                memcpy(save ? mine : at, save ? at : mine, n * sizeof *at);
            for (int e = 0; p < 0 && save && e < n; e++)
                if (at[e] != 0) /* what is before the sequence */
                    abort();
        }
    if (!save)
        kv_load_ring(&m->b, s->ring, end, snapshot);
    free(snapshot);
}

static void fill_cache(struct machine *m, const struct stages_attention *t, const struct batch *batch)
{
    for (int i = 0; i < t->n_sequence; i++) {
        const struct stages_sequence *s = &t->sequence[i];
        if (t->sliding)
            move_window(m, &batch->sequence[i], s->first_position, (uint16_t *)(uintptr_t)s->kv, false);
        for (int p = 0; !t->sliding && p < s->first_position; p++)
            move_page(m, &batch->sequence[i], p, (uint16_t *)(uintptr_t)s->kv, false);
    }
}

/* A ring is asked for its end and for as early a position as may be asked for. */
static void read_cache(struct machine *m, const struct stages_attention *t, const struct batch *batch)
{
    int window = m->model.config.window;
    for (int i = 0; i < t->n_sequence; i++) {
        struct stages_sequence *s = &t->sequence[i];
        int end = s->first_position + s->n_row, late = s->n_row < window ? s->n_row : window;
        s->oldest = t->sliding && end - late > window ? end - late - window : 0;
        if (t->sliding) {
            move_window(m, &batch->sequence[i], end - late, s->kept, true);
            move_window(m, &batch->sequence[i], end, s->kept, true);
        }
        for (int p = 0; !t->sliding && p < end; p++)
            move_page(m, &batch->sequence[i], p, s->kept, true);
    }
}

void stages_attend(const struct stages_attention *t)
{
    struct machine m;
    const struct model_config *c = t->config;
    int rows = 0;
    for (int i = 0; i < t->n_sequence; i++)
        rows += t->sequence[i].n_row;
    size_t heads = (size_t)rows * c->n_head * c->head_dim, half = (size_t)rows * c->head_dim / 2;
    open_machine(&m, c, rows);
    m.model.config.sliding[0] = t->sliding;
    open_attention(&m, t);
    struct batch *batch = open_batch(&m, t);
    fill_cache(&m, t, batch);
    m.b.a.qkv = memory(&m, heads + (size_t)rows * 2 * c->n_kv_head * c->head_dim, t->qkv);
    m.b.a.cosine = memory(&m, half, t->cosine);
    m.b.a.sine = memory(&m, half, t->sine);
    m.b.a.q_rows = memory<float>(&m, heads, NULL);
    m.b.a.attended = memory<float>(&m, heads, NULL);
    m.layer.sinks = memory(&m, c->n_head, t->sinks);
    (void)attend_plan(&m.b, batch);
    heads_stage(&m.b, 0);
    attend_stage(&m.b, 0);
    wait_machine(&m);
    memcpy(t->query, m.b.a.q_rows, heads * sizeof(float));
    memcpy(t->attended, m.b.a.attended, heads * sizeof(float));
    read_cache(&m, t, batch);
    attend_close(&m.b);
    kv_close(&m.b);
    close_machine(&m);
}

/* ---- the others ---- */

void stages_route(const struct stages_route *t)
{
    struct machine m;
    const struct model_config *c = t->config;
    size_t rows = t->n_row, d = c->d_model, slots = rows * c->n_active;
    size_t segments = (d + SEGMENT - 1) / SEGMENT, width = (size_t)group_count(c->n_expert) * TILE_ROWS;
    open_machine(&m, c, t->n_row);
    m.b.shared_limit = t->little_shared ? 52 << 10 : m.b.shared_limit;
    struct activations *a = &m.b.a;
    m.layer.router = t->router;
    m.layer.router.quants = memory(&m, width * d * sizeof(float), t->router.quants);
    m.layer.mlp_norm = memory(&m, d, t->gain);
    m.layer.router_bias = memory(&m, c->n_expert, t->bias);
    m.layer.gate_up.type = t->gate_up;
    a->x = memory<float>(&m, rows * d, NULL);
    a->normed = memory<float>(&m, rows * d, NULL);
    a->in = {memory<int8_t>(&m, rows * d, NULL), memory<float>(&m, rows * scale_stride(c->d_model), NULL)};
    a->router_sum = memory<float>(&m, rows * segments * width, NULL);
    a->router_done = memory<int32_t>(&m, rows, NULL);
    memset(a->router_done, 0, rows * sizeof *a->router_done);
    a->chosen = memory<int32_t>(&m, slots, NULL);
    a->weight = memory<float>(&m, slots, NULL);
    a->place = memory<int32_t>(&m, slots, NULL);
    a->slot_of = memory<int32_t>(&m, slots, NULL);
    a->expert_first = memory<int32_t>(&m, c->n_expert + 1, NULL);
    a->active = memory<int32_t>(&m, c->n_expert, NULL);
    a->active_count = memory<int32_t>(&m, 1, NULL);
    for (int time = 0; time < 2; time++) { /* the second finds what the first, with other rows, left */
        for (size_t i = 0; i < rows * d; i++)
            a->x[i] = time ? t->x[i] : 1.0f + 0.5f * t->x[rows * d - 1 - i];
        route_stage(&m.b, 0);
        wait_machine(&m);
    }
    memcpy(t->normed, a->normed, rows * d * sizeof(float));
    memcpy(t->q, a->in.q, rows * d);
    for (size_t r = 0; r < rows; r++)
        memcpy(t->scale + r * (d / BLOCK), a->in.scale + r * scale_stride(c->d_model), d / BLOCK * sizeof(float));
    memcpy(t->chosen, a->chosen, slots * sizeof *a->chosen);
    memcpy(t->weight, a->weight, slots * sizeof *a->weight);
    memcpy(t->place, a->place, slots * sizeof *a->place);
    memcpy(t->slot_of, a->slot_of, slots * sizeof *a->slot_of);
    memcpy(t->expert_first, a->expert_first, (c->n_expert + (size_t)1) * sizeof *a->expert_first);
    memcpy(t->active, a->active, c->n_expert * sizeof *a->active);
    close_machine(&m);
}

void stages_embed(const struct model *model, int n_row, const int32_t *token, const int32_t *position, float *x,
                  float *cosine, float *sine)
{
    struct machine m;
    const struct model_config *c = &model->config;
    size_t d = (size_t)n_row * c->d_model, half = (size_t)n_row * c->head_dim / 2;
    size_t bytes = model->embedding_type == DTYPE_BF16 ? 2 * BLOCK : 34;
    open_machine(&m, c, n_row);
    rope_init(&m.b.rope, c);
    m.b.weights.embedding = memory(&m, (size_t)c->n_vocab * c->d_model / BLOCK * bytes, model->embedding);
    m.b.weights.embedding_type = model->embedding_type;
    m.b.batch.token = memory(&m, n_row, token);
    m.b.batch.position = memory(&m, n_row, position);
    m.b.a.x = memory<float>(&m, d, NULL);
    m.b.a.cosine = memory<float>(&m, half, NULL);
    m.b.a.sine = memory<float>(&m, half, NULL);
    embed_stage(&m.b);
    wait_machine(&m);
    memcpy(x, m.b.a.x, d * sizeof *x);
    memcpy(cosine, m.b.a.cosine, half * sizeof *x);
    memcpy(sine, m.b.a.sine, half * sizeof *x);
    close_machine(&m);
}

void stages_combine(const struct model_config *c, int n_row, float *x, const float *out, const int32_t *place,
                    const float *weight)
{
    struct machine m;
    size_t slots = (size_t)n_row * c->n_active;
    open_machine(&m, c, n_row);
    m.b.a.x = memory<float>(&m, (size_t)n_row * c->d_model, x);
    m.b.a.out = memory(&m, slots * c->d_model, out);
    m.b.a.place = memory(&m, slots, place);
    m.b.a.weight = memory(&m, slots, weight);
    combine_stage(&m.b);
    wait_machine(&m);
    memcpy(x, m.b.a.x, (size_t)n_row * c->d_model * sizeof *x);
    close_machine(&m);
}

void stages_sample(int n_vocab, int n_row, const float *logits, const struct batch_draw *draw, bool cut, int32_t *drawn)
{
    struct machine m;
    struct model_config c = {};
    c.n_vocab = n_vocab;
    open_machine(&m, &c, n_row);
    m.b.max_outputs = m.b.batch.n_output = n_row;
    struct layout layout = {};
    sample_place(&layout, &m.b);
    layout = {memory<uint8_t>(&m, layout.used, NULL), 0, false};
    sample_place(&layout, &m.b);
    m.b.a.logits = memory(&m, (size_t)n_row * n_vocab, logits);
    m.b.batch.draw = memory(&m, n_row, draw);
    m.b.shape.draws = cut ? DRAWS_CUT : DRAWS_PLAIN;
    sample_stage(&m.b);
    wait_machine(&m);
    memcpy(drawn, m.b.a.drawn, n_row * sizeof *drawn);
    close_machine(&m);
}

float stages_swiglu(float gate, float up, float limit)
{
    return swiglu(gate, up, limit);
}
