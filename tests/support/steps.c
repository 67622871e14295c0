#include "support/steps.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/forward.h"
#include "support/test.h"

void steps_open_on(struct steps *steps, const struct backend_table *table, const struct model *model,
                   const struct backend_options *options)
{
    goss_error error;
    *steps = (struct steps){.table = table, .model = model, .max_rows = options->max_rows};
    if (table->open(&steps->backend, model, options, &error))
        fail_msg("%s", error.text);
}

void steps_open(struct steps *steps, const struct model *model, const char *isa, int threads, int max_rows, int pages,
                int rings)
{
    struct backend_options options = {.threads = threads,
                                      .isa = isa,
                                      .max_rows = max_rows,
                                      .max_outputs = max_rows,
                                      .max_sequences = rings,
                                      .pages = pages,
                                      .rings = rings};
    steps_open_on(steps, &cpu_backend, model, &options);
}

void steps_close(struct steps *steps)
{
    steps->table->close(steps->backend);
}

void steps_pages(struct steps_sequence *sequence, int first)
{
    for (int i = 0; i < STEPS_PAGES; i++)
        sequence->page[i] = first + i;
}

struct steps_sequence *steps_sequence_open(const struct model *model, const int32_t *token, int n, int position,
                                           int first_page)
{
    struct steps_sequence *s = calloc(1, sizeof *s);
    s->token = token;
    s->n = n;
    s->position = position;
    s->logits = calloc((size_t)n * model->config.n_vocab, sizeof *s->logits);
    steps_pages(s, first_page);
    return s;
}

void steps_sequence_close(struct steps_sequence *s)
{
    free(s->logits);
    free(s);
}

void steps_assert_same(const struct model *model, const struct steps_sequence *a, const struct steps_sequence *b)
{
    size_t count = (size_t)a->n * model->config.n_vocab;
    assert_int_equal(a->done, a->n);
    assert_int_equal(b->done, b->n);
    for (size_t i = 0; i < count; i++) {
        assert_true(isfinite(a->logits[i]));
        if (memcmp(&a->logits[i], &b->logits[i], sizeof(float)) != 0)
            fail_msg("row %zu, logit %zu: %a is not %a", i / model->config.n_vocab, i % model->config.n_vocab,
                     (double)a->logits[i], (double)b->logits[i]);
    }
}

void steps_step(struct steps *steps, struct steps_sequence *const *sequence, const int *ring_of, const int *take, int n)
{
    int rows = 0, n_vocab = steps->model->config.n_vocab;
    int32_t *token = calloc((size_t)steps->max_rows * 3, sizeof *token);
    int32_t *position = token + steps->max_rows, *output = position + steps->max_rows;
    struct batch_sequence *run = calloc((size_t)n, sizeof *run);
    float *logits = calloc((size_t)steps->max_rows * n_vocab, sizeof *logits);
    int used = 0;
    for (int i = 0; i < n; i++) {
        struct steps_sequence *s = sequence[i];
        int count = s->n - s->done < take[i] ? s->n - s->done : take[i];
        if (count <= 0)
            continue;
        run[used++] = (struct batch_sequence){.first_row = rows,
                                              .n_row = count,
                                              .first_position = s->position + s->done,
                                              .page = s->page,
                                              .ring = ring_of[i]};
        for (int j = 0; j < count; j++, rows++) {
            assert_true(rows < steps->max_rows);
            token[rows] = s->token[s->done + j];
            position[rows] = s->position + s->done + j;
            output[rows] = rows;
        }
    }
    struct batch batch = {.n_row = rows,
                          .token = token,
                          .position = position,
                          .n_sequence = used,
                          .sequence = run,
                          .n_output = rows,
                          .output_row = output,
                          .logits = logits};
    if (rows > 0)
        forward(steps->table, steps->backend, &steps->model->config, &batch);
    rows = 0;
    for (int i = 0; i < n; i++) {
        struct steps_sequence *s = sequence[i];
        int count = s->n - s->done < take[i] ? s->n - s->done : take[i];
        if (count <= 0)
            continue;
        memcpy(s->logits + (size_t)s->done * n_vocab, logits + (size_t)rows * n_vocab,
               (size_t)count * n_vocab * sizeof *logits);
        s->done += count;
        rows += count;
    }
    free(token);
    free(run);
    free(logits);
}

void steps_run(struct steps *steps, struct steps_sequence *sequence, int ring, int chunk)
{
    while (sequence->done < sequence->n)
        steps_step(steps, &sequence, &ring, &chunk, 1);
}

/* All sequences to their ends; entry i is sequence (i + order) % STEPS_MATES and gets at most `most` of its tokens. */
static void run_mates(struct steps *steps, struct steps_sequence *const *mate, int order, const int *most)
{
    struct steps_sequence *batch[STEPS_MATES];
    int ring[STEPS_MATES], take[STEPS_MATES];
    for (int i = 0; i < STEPS_MATES; i++) {
        ring[i] = (i + order) % STEPS_MATES;
        batch[i] = mate[ring[i]];
        batch[i]->done = 0;
        take[i] = most[ring[i]];
    }
    for (bool more = true; more;) {
        steps_step(steps, batch, ring, take, STEPS_MATES);
        more = false;
        for (int i = 0; i < STEPS_MATES; i++)
            more = more || mate[i]->done < mate[i]->n;
    }
}

void steps_assert_mates_same(const struct model *model, struct steps_sequence *const alone[STEPS_MATES],
                             void (*open)(struct steps *steps, const struct model *model))
{
    enum { ORDERS = 3 };
    static const int most[ORDERS][STEPS_MATES] = {{5, 1, 20, 1}, {40, 33, 1, 1}, {1, 1, 1, 1}};
    struct steps_sequence *mate[STEPS_MATES];
    for (int i = 0; i < STEPS_MATES; i++)
        mate[i] = steps_sequence_open(model, alone[i]->token, alone[i]->n, 0, 4 * i);
    for (int order = 0; order < ORDERS; order++) {
        struct steps steps;
        open(&steps, model);
        run_mates(&steps, mate, order, most[order]);
        steps_close(&steps);
        for (int i = 0; i < STEPS_MATES; i++)
            steps_assert_same(model, alone[i], mate[i]);
    }
    for (int i = 0; i < STEPS_MATES; i++)
        steps_sequence_close(mate[i]);
}
