/* Compares the CUDA backend with the CPU's on a synthetic model of a real shape, then measures it. Needs the CUDA
 * runtime and a C library alone. Lines of CSV: what,n,value,unit.
 *
 *     bench_cuda 20b|120b|tiny [serial] [memory=GIB] [equal] [decode] [prefill] [batch] [stages]
 *
 * Without a list: all parts. With `serial` no kernel begins before the one in front of it has ended, which shows what
 * that is worth, or whether it is at fault. `memory` plays a smaller GPU: the CPU computes the experts of the layers
 * that do not fit. The exit status is not 0 if a bit differs. */
#include <stdio.h>
#include <stdlib.h>

#include "cuda/state.h"

extern "C" {
#include "base/clock.h"
#include "cuda/library.h"
#include "model/forward.h"
#include "model/synthetic.h"
}

enum { CHUNK = 2048, EQUAL_LAYERS = 2, EQUAL_ROWS = 40, EQUAL_STEPS = 12, MOST_SEQUENCES = 256 };

/* What the command line says of all parts. */
struct setting {
    bool serial;
    uint64_t gpu_bytes;
};

struct run {
    const struct backend_table *table;
    struct backend *backend;
    const struct model *model;
    int max_rows, pages_of; /* pages of a sequence: sequence s has s * pages_of .. */
    int32_t *token, *position, *output, *page;
    struct batch_sequence *sequence;
    float *logits;
};

[[noreturn]] static void stop(const char *text)
{
    (void)fprintf(stderr, "bench_cuda: %s\n", text);
    exit(2);
}

static void run_open(struct run *run, const struct backend_table *table, const struct model *model,
                     const struct setting &setting, int max_rows, int sequences, int context)
{
    goss_error error;
    *run = {.table = table, .model = model, .max_rows = max_rows, .pages_of = (context + KV_PAGE - 1) / KV_PAGE};
    struct backend_options options = {.threads = 0,
                                      .isa = NULL,
                                      .max_rows = max_rows,
                                      .max_outputs = sequences > EQUAL_ROWS ? sequences : EQUAL_ROWS,
                                      .max_sequences = sequences,
                                      .pages = run->pages_of * sequences,
                                      .rings = sequences,
                                      .gpu_bytes = setting.gpu_bytes,
                                      .host = &cpu_backend};
    double begin = clock_seconds();
    if (table->open(&run->backend, model, &options, &error))
        stop(error.text);
    if (setting.serial && table == gossamer_cuda.table)
        run->backend->overlap = false;
    if (table == gossamer_cuda.table)
        (void)printf("expert_layers,%d,%d,layers\n", model->config.n_layer, table->expert_layers(run->backend));
    (void)printf("open_%s,%d,%.3f,s\n", table->name, model->config.n_layer, clock_seconds() - begin);
    size_t rows = (size_t)max_rows;
    run->token = (int32_t *)calloc(rows, sizeof *run->token);
    run->position = (int32_t *)calloc(rows, sizeof *run->position);
    run->output = (int32_t *)calloc(rows, sizeof *run->output);
    run->page = (int32_t *)calloc((size_t)options.pages, sizeof *run->page);
    run->sequence = (struct batch_sequence *)calloc((size_t)sequences, sizeof *run->sequence);
    run->logits = (float *)calloc((size_t)options.max_outputs * model->config.n_vocab, sizeof *run->logits);
    for (int i = 0; i < options.pages; i++)
        run->page[i] = i;
}

static void run_close(struct run *run)
{
    run->table->close(run->backend);
    free(run->token);
    free(run->position);
    free(run->output);
    free(run->page);
    free(run->sequence);
    free(run->logits);
}

/* One step: n rows of each of so many sequences, from `position` on; logits of all rows or of each sequence's last. */
static void step(struct run *run, int sequences, int n, int position, bool all)
{
    int rows = 0, outputs = 0;
    for (int s = 0; s < sequences; s++) {
        run->sequence[s] = {rows, n, position, run->page + s * run->pages_of, s};
        for (int i = 0; i < n; i++, rows++) {
            run->token[rows] =
                (int32_t)(((int64_t)(position + i) * 7919 + s * 104729 + 13) % run->model->config.n_vocab);
            run->position[rows] = position + i;
            if (all || i == n - 1)
                run->output[outputs++] = rows;
        }
    }
    struct batch batch = {rows, run->token, run->position, sequences, run->sequence, outputs, run->output, run->logits};
    forward(run->table, run->backend, &run->model->config, &batch);
}

/* A prompt in chunks. */
static void prompt(struct run *run, int sequences, int n)
{
    int chunk = run->max_rows / sequences;
    for (int at = 0; at < n; at += chunk)
        step(run, sequences, n - at < chunk ? n - at : chunk, at, false);
}

/* ---- equality ---- */

static size_t differing(const float *a, const float *b, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += memcmp(a + i, b + i, sizeof *a) != 0;
    return count;
}

/* A prompt of one and of three sequences, then single rows, then two rows of each. */
static bool compare(const struct model *whole, const struct setting &setting)
{
    struct model model = *whole; /* the same weights in fewer layers */
    model.config.n_layer = EQUAL_LAYERS;
    struct run gpu, cpu;
    size_t vocab = model.config.n_vocab, bad = 0;
    run_open(&gpu, gossamer_cuda.table, &model, setting, 3 * EQUAL_ROWS, 3, 1024);
    run_open(&cpu, &cpu_backend, &model, setting, 3 * EQUAL_ROWS, 3, 1024);
    for (int i = 0; i < EQUAL_STEPS; i++) {
        int sequences = i < 6 ? 1 : 3, n = i % 6 == 0 ? EQUAL_ROWS : i % 6 < 4 ? 1 : 2;
        int position = i % 6 == 0 ? 0 : EQUAL_ROWS + (i % 6 < 4 ? i % 6 - 1 : 3 + 2 * (i % 6 - 4));
        bool all = n * sequences <= EQUAL_ROWS;
        size_t rows = (size_t)sequences * (all ? n : 1);
        step(&gpu, sequences, n, position, all);
        step(&cpu, sequences, n, position, all);
        size_t differ = differing(gpu.logits, cpu.logits, rows * vocab);
        (void)printf("equal_step,%d,%zu,logits that differ of %zu\n", sequences * n, differ, rows * vocab);
        bad += differ;
    }
    run_close(&gpu);
    run_close(&cpu);
    return bad == 0;
}

/* ---- speed ---- */

/* Decoding one sequence, or several together, at a depth. */
static void measure_decode(struct run *run, const char *what, int sequences, int depth, int steps)
{
    prompt(run, sequences, depth);
    for (int i = 0; i < 4; i++)
        step(run, sequences, 1, depth + i, false);
    double begin = clock_seconds();
    for (int i = 0; i < steps; i++)
        step(run, sequences, 1, depth + 4 + i, false);
    double seconds = clock_seconds() - begin;
    (void)printf("%s_at_%d,%d,%.1f,tokens/s\n", what, depth, sequences, sequences * steps / seconds);
    (void)fflush(stdout);
}

static void measure_prefill(struct run *run, int n)
{
    prompt(run, 1, n);
    int rounds = n <= CHUNK ? 4 : 2;
    double begin = clock_seconds();
    for (int i = 0; i < rounds; i++)
        prompt(run, 1, n);
    (void)printf("prefill,%d,%.1f,tokens/s\n", n, rounds * n / (clock_seconds() - begin));
    (void)fflush(stdout);
}

static void stage_embed(struct backend *b, int)
{
    embed_stage(b);
}

static void stage_unembed(struct backend *b, int)
{
    unembed_stage(b);
}

/* Every stage of a step by itself, over all layers, between two events. */
static void measure_stages(struct run *run, int sequences, int n, int position)
{
    struct backend *b = run->backend;
    const int all = run->model->config.n_layer, mine = b->expert_layers;
    const struct {
        const char *name;
        void (*stage)(struct backend *, int layer);
        int layers;
    } stages[] = {{"embed", stage_embed, 1},         {"qkv", qkv_stage, all},      {"attend", attend_stage, all},
                  {"attn_out", attn_out_stage, all}, {"route", route_stage, mine}, {"experts", experts_stage, mine},
                  {"unembed", stage_unembed, 1}};
    cudaEvent_t from, to;
    float milliseconds = 0.0f;
    step(run, sequences, n, position, false);
    if (cudaEventCreate(&from) || cudaEventCreate(&to))
        stop("no events");
    for (const auto &s : stages) {
        int rounds = 5;
        for (int i = -1; i < rounds; i++) { /* one round to warm up */
            if (i == 0)
                (void)cudaEventRecord(from, b->stream);
            for (int l = 0; l < s.layers; l++)
                s.stage(b, l);
        }
        (void)cudaEventRecord(to, b->stream);
        if (cudaEventSynchronize(to) || cudaEventElapsedTime(&milliseconds, from, to) || b->failed)
            stop("a stage failed");
        (void)printf("stage_%s,%d,%.2f,us a layer\n", s.name, sequences * n,
                     milliseconds * 1e3f / rounds / max(s.layers, 1));
    }
    (void)cudaEventDestroy(from);
    (void)cudaEventDestroy(to);
    (void)fflush(stdout);
}

/* Bytes that one token reads of the weights. */
static double token_bytes(const struct model *m)
{
    const struct model_config *c = &m->config;
    const struct layer *l = &m->layers[0];
    double layer = (double)tile_bytes(l->qkv.type, l->qkv.rows, l->qkv.cols) +
                   (double)tile_bytes(l->attn_out.type, l->attn_out.rows, l->attn_out.cols) +
                   (double)tile_bytes(l->router.type, l->router.rows, l->router.cols) +
                   (double)c->n_active * (double)(l->gate_up.stride + l->down.stride);
    return layer * c->n_layer + (double)tile_bytes(m->head.type, m->head.rows, m->head.cols);
}

static bool named(int argc, char **argv, const char *word)
{
    for (int i = 2; i < argc; i++)
        if (strcmp(argv[i], word) == 0)
            return true;
    return false;
}

static struct setting setting_of(int argc, char **argv)
{
    struct setting setting = {named(argc, argv, "serial"), 0};
    for (int i = 2; i < argc; i++)
        if (strncmp(argv[i], "memory=", 7) == 0)
            setting.gpu_bytes = (uint64_t)(atof(argv[i] + 7) * (1 << 30));
    return setting;
}

/* Whether the arguments ask for a part. */
static bool asked(int argc, char **argv, const char *part)
{
    struct setting setting = setting_of(argc, argv);
    return named(argc, argv, part) || argc - setting.serial - (setting.gpu_bytes > 0) <= 2;
}

/* All layers share the weights of one, so that the largest is made in seconds; a GPU gets a copy for each. */
static struct model *open_model(const char *name)
{
    struct synthetic_shape shape = strcmp(name, "120b") == 0 ? synthetic_120b() : synthetic_20b();
    shape.repeat = true;
    if (strcmp(name, "tiny") == 0) {
        shape.n_layer = 2;
        shape.d_model = 576;
        shape.n_head = 8;
        shape.n_kv_head = 2;
        shape.d_ff = 96;
        shape.n_expert = 8;
        shape.n_vocab = 320;
        shape.window = 16;
    } else if (strcmp(name, "20b") != 0 && strcmp(name, "120b") != 0) {
        stop("which model: 20b, 120b or tiny?");
    }
    struct model *model = synthetic_open(&shape);
    if (!model)
        stop("no memory for the model");
    return model;
}

int main(int argc, char **argv)
{
    struct model *model = open_model(argc > 1 ? argv[1] : "");
    struct setting setting = setting_of(argc, argv);
    bool tiny = strcmp(argv[1], "tiny") == 0, equal = true;
    (void)printf("what,n,value,unit\ntoken_bytes,1,%.0f,bytes\n", token_bytes(model));
    if (asked(argc, argv, "equal"))
        equal = compare(model, setting);
    struct run run;
    int chunk = tiny ? 16 : CHUNK, longest = tiny ? 16 : 8192, steps = tiny ? 2 : 100;
    run_open(&run, gossamer_cuda.table, model, setting, chunk, 1, longest + 256);
    (void)printf("device,1,1,%s\n", run.table->isa(run.backend));
    if (asked(argc, argv, "decode"))
        for (int depth = tiny ? 16 : 128; depth <= longest; depth *= tiny ? 4 : 8)
            measure_decode(&run, "decode", 1, depth, steps);
    if (asked(argc, argv, "prefill"))
        for (int n = tiny ? 16 : 512; n <= longest; n *= 4)
            measure_prefill(&run, n);
    if (asked(argc, argv, "stages")) {
        measure_stages(&run, 1, 1, chunk / 2);
        measure_stages(&run, 1, chunk, 0);
    }
    run_close(&run);
    if (asked(argc, argv, "batch")) {
        int most = tiny ? 16 : MOST_SEQUENCES;
        run_open(&run, gossamer_cuda.table, model, setting, chunk, most, tiny ? 64 : 1280);
        for (int sequences = 2; sequences <= most; sequences *= 2)
            measure_decode(&run, "batch", sequences, tiny ? 16 : 1024, steps / 2);
        measure_stages(&run, most / 4, 1, tiny ? 16 : 1024);
        run_close(&run);
    }
    synthetic_close(model);
    if (!equal)
        stop("the logits differ from the CPU's");
    return 0;
}
