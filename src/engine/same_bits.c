#include "engine/same_bits.h"

#include <stdlib.h>
#include <string.h>

#include "model/forward.h"
#include "model/synthetic.h"

enum {
    SEQUENCES = 3,
    PROMPT = 10 /* more than a few rows, which have kernels of their own */,
    MOST_ROWS = SEQUENCES * PROMPT
};

/* n rows of each of the first so many sequences. */
struct step {
    const char *what;
    int sequences, n, position;
};

/* The window is 8: rows pass it within a batch and between batches. */
static const struct step steps[] = {
    {"a prompt", 1, PROMPT, 0},
    {"a single row", 1, 1, PROMPT},
    {"a second single row", 1, 1, PROMPT + 1},
    {"two rows", 1, 2, PROMPT + 2},
    {"three prompts", SEQUENCES, PROMPT, 0},
    {"a row of each of three sequences", SEQUENCES, 1, PROMPT},
    {"four rows of each of three sequences", SEQUENCES, 4, PROMPT + 1},
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

static void run_step(const struct side *side, const struct model *model, const struct step *step)
{
    static const int32_t page[SEQUENCES] = {0, 1, 2};
    int32_t token[MOST_ROWS], position[MOST_ROWS], output[MOST_ROWS], rows = 0;
    struct batch_sequence sequence[SEQUENCES];
    for (int s = 0; s < step->sequences; s++) {
        sequence[s] = (struct batch_sequence){rows, step->n, step->position, &page[s], s};
        for (int i = 0; i < step->n; i++, rows++) {
            position[rows] = step->position + i;
            token[rows] = (position[rows] * 89 + s * 47 + 13) % model->config.n_vocab;
            output[rows] = rows;
        }
    }
    struct batch batch = {.n_row = rows,
                          .token = token,
                          .position = position,
                          .n_sequence = step->sequences,
                          .sequence = sequence,
                          .n_output = rows,
                          .output_row = output,
                          .logits = side->logits};
    forward(side->table, side->backend, &model->config, &batch);
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
        size_t rows = (size_t)(steps[i].sequences * steps[i].n);
        run_step(&cpu, model, &steps[i]);
        run_step(&other, model, &steps[i]);
        if (memcmp(cpu.logits, other.logits, rows * (size_t)shape.n_vocab * sizeof(float)) != 0)
            *differs = steps[i].what;
    }
    close_side(&cpu);
    close_side(&other);
    synthetic_close(model);
    return status;
}
