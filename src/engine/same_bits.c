#include "engine/same_bits.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "engine/sampler.h"
#include "model/forward.h"
#include "model/synthetic.h"

enum {
    SEQUENCES = 2,
    PROMPT = 10 /* more than a few rows, which have kernels of their own */,
    MOST_ROWS = SEQUENCES * PROMPT
};

/* What is done with the rows of a step: their logits compared, or ids drawn and compared. */
enum draws { LOGITS, GREEDY, PLAIN, CUT };

/* n rows of each of the first so many sequences. */
struct step {
    const char *what;
    int sequences, n, position;
    enum draws draws;
};

/* The window is 8: rows pass it within a batch and between batches. A backend may do a shape of few rows in another way
 * when it comes again. */
static const struct step steps[] = {
    {"a prompt", 1, PROMPT, 0, LOGITS},
    {"a single row", 1, 1, PROMPT, LOGITS},
    {"a second single row", 1, 1, PROMPT + 1, LOGITS},
    {"a third single row", 1, 1, PROMPT + 2, LOGITS},
    {"the likeliest id", 1, 1, PROMPT + 3, GREEDY},
    {"a drawn id", 1, 1, PROMPT + 4, PLAIN},
    {"an id drawn among the likeliest", 1, 1, PROMPT + 5, CUT},
    {"two rows", 1, 2, PROMPT + 6, LOGITS},
    {"two prompts", SEQUENCES, PROMPT, 0, LOGITS},
    {"a row of both sequences", SEQUENCES, 1, PROMPT, LOGITS},
    {"a second row of both sequences", SEQUENCES, 1, PROMPT + 1, LOGITS},
    {"a third row of both sequences", SEQUENCES, 1, PROMPT + 2, LOGITS},
    {"a drawn id of both sequences", SEQUENCES, 1, PROMPT + 3, CUT},
    {"five rows of both sequences", SEQUENCES, 5, PROMPT + 4, LOGITS},
};
enum { STEPS = sizeof steps / sizeof steps[0] };

struct side {
    const struct backend_table *table;
    struct backend *backend;
    float *logits; /* [MOST_ROWS][n_vocab] */
};

static struct synthetic_shape shape_of_the_check(void)
{
    struct synthetic_shape shape = synthetic_small();
    shape.n_layer = 2;
    shape.d_model = 576; /* more than a segment */
    shape.n_head = 8;
    shape.head_dim = 64;
    shape.window = 8;
    return shape;
}

static goss_status open_side(struct side *side, const struct backend_table *table, const struct model *model,
                             goss_error *error)
{
    const struct backend_options options = {.threads = 1,
                                            .max_rows = MOST_ROWS,
                                            .max_outputs = MOST_ROWS,
                                            .max_sequences = SEQUENCES,
                                            .pages = SEQUENCES,
                                            .rings = SEQUENCES};
    size_t bytes = (size_t)MOST_ROWS * (size_t)model->config.n_vocab * sizeof(float);
    side->table = table;
    side->logits = calloc(1, bytes);
    return side->logits ? table->open(&side->backend, model, &options, error)
                        : error_memory(error, bytes, "the logits of a check");
}

static void close_side(struct side *side)
{
    if (side->backend)
        side->table->close(side->backend);
    free(side->logits);
}

/* NULL if the step's logits are compared. */
static goss_status open_sampler(const struct step *step, int n_vocab, struct sampler **sampler, goss_error *error)
{
    struct sampling sampling = sampling_default();
    sampling.seed = 7;
    *sampler = NULL;
    if (step->draws == LOGITS)
        return GOSS_OK;
    if (step->draws == GREEDY)
        sampling.temperature = 0;
    if (step->draws == CUT)
        sampling.top_k = 20, sampling.top_p = 0.9, sampling.min_p = 0.01;
    return sampler_open(sampler, &sampling, n_vocab, error);
}

/* drawn: [MOST_ROWS], -1 where a backend leaves it. */
static void run_step(const struct side *side, const struct model *model, const struct step *step,
                     const struct sampler *sampler, int32_t drawn[MOST_ROWS])
{
    static const int32_t page[SEQUENCES] = {0, 1};
    int32_t token[MOST_ROWS], position[MOST_ROWS], output[MOST_ROWS], rows = 0;
    struct batch_sequence sequence[SEQUENCES];
    struct batch_draw draw[MOST_ROWS];
    for (int s = 0; s < step->sequences; s++) {
        sequence[s] = (struct batch_sequence){rows, step->n, step->position, &page[s], s};
        for (int i = 0; i < step->n; i++, rows++) {
            position[rows] = step->position + i;
            token[rows] = (position[rows] * 89 + s * 47 + 13) % model->config.n_vocab;
            output[rows] = rows;
            drawn[rows] = -1;
            if (sampler)
                draw[rows] = sampler_draw(sampler, (uint64_t)rows);
        }
    }
    struct batch batch = {.n_row = rows,
                          .token = token,
                          .position = position,
                          .n_sequence = step->sequences,
                          .sequence = sequence,
                          .n_output = rows,
                          .output_row = output,
                          .logits = side->logits,
                          .draw = sampler ? draw : NULL,
                          .drawn = drawn};
    forward(side->table, side->backend, &model->config, &batch);
}

/* Whether one row's logits, or the ids drawn from them, are the same. */
static bool same_row(const struct side *cpu, const struct side *other, int row, int n_vocab, struct sampler *sampler,
                     int32_t drawn)
{
    float *logits = cpu->logits + (size_t)row * (size_t)n_vocab;
    struct sampled sampled;
    if (drawn < 0) /* a backend draws where it can */
        return memcmp(logits, other->logits + (size_t)row * (size_t)n_vocab, (size_t)n_vocab * sizeof *logits) == 0;
    return sampler && !sampler_sample(sampler, logits, (uint64_t)row, NULL, &sampled, NULL) && sampled.id == drawn;
}

static goss_status compare_step(const struct side *cpu, const struct side *other, const struct model *model,
                                const struct step *step, bool *same, goss_error *error)
{
    int n_vocab = model->config.n_vocab, rows = step->sequences * step->n;
    int32_t drawn[MOST_ROWS];
    struct sampler *sampler;
    goss_status status = open_sampler(step, n_vocab, &sampler, error);
    if (status)
        return status;
    run_step(cpu, model, step, NULL, drawn);
    run_step(other, model, step, sampler, drawn);
    *same = true;
    for (int row = 0; row < rows; row++)
        *same = *same && same_row(cpu, other, row, n_vocab, sampler, drawn[row]);
    sampler_close(sampler);
    return GOSS_OK;
}

goss_status same_bits(const struct backend_table *table, const char **differs, goss_error *error)
{
    struct synthetic_shape shape = shape_of_the_check();
    struct model *model = synthetic_open(&shape);
    struct side cpu = {0}, other = {0};
    *differs = NULL;
    goss_status status = model ? open_side(&cpu, &cpu_backend, model, error) : error_memory(error, 0, "a check");
    if (!status)
        status = open_side(&other, table, model, error);
    for (int i = 0; !status && !*differs && i < STEPS; i++) {
        bool same = false;
        status = compare_step(&cpu, &other, model, &steps[i], &same, error);
        *differs = same ? NULL : steps[i].what;
    }
    close_side(&cpu);
    close_side(&other);
    synthetic_close(model);
    return status;
}
