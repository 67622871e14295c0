/* What prompt lookup gains, on a model of any size, whatever it says of itself:
 *
 *     bench_lookup count PROMPT ANSWER...             how often guesses would be right, by the length that agrees
 *     bench_lookup forced MODEL ROUNDS PROMPT ANSWER  the model decodes, but says ANSWER: real cost, given ids
 *     bench_lookup free MODEL ROUNDS PROMPT N TEMPERATURE
 *                                                     the model says N ids of its own
 *
 * PROMPT and ANSWER are files of text, which may spell control tokens; MODEL is a packed file. forced and free answer
 * ROUNDS times without and with lookup side by side, and print two JSON lines for each: tokens behind the first, the
 * seconds of their steps, guesses computed and accepted, and whether both said the same ids. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "engine/engine.h"
#include "engine/lookup.h"
#include "model/model.h"
#include "text/tokenizer.h"

/* ---- a CPU backend that computes all and then says what it is told ---- */

struct forced {
    struct model model; /* first: a pointer to it is one to the whole; a copy, its owner is another */
    const int32_t *script;
    int first, n; /* the id at position first + i is script[i]; 0: the model's own */
};

struct backend {
    struct backend *cpu;
    const struct forced *forced;
};

static goss_status forced_open(struct backend **out, const struct model *model, const struct backend_options *options,
                               goss_error *error)
{
    struct backend *b = calloc(1, sizeof *b);
    if (!b)
        return error_memory(error, sizeof *b, "a backend");
    b->forced = (const struct forced *)model;
    *out = b;
    return cpu_backend.open(&b->cpu, model, options, error);
}

static void forced_close(struct backend *b)
{
    if (b->cpu)
        cpu_backend.close(b->cpu);
    free(b);
}

static const char *forced_isa(const struct backend *b)
{
    return cpu_backend.isa(b->cpu);
}

static void forced_run(struct backend *b, void (*stages)(void *, int), void *argument)
{
    cpu_backend.run(b->cpu, stages, argument);
}

static void forced_embed(struct backend *b, int worker, const struct batch *batch)
{
    cpu_backend.embed(b->cpu, worker, batch);
}

static void forced_attn_in(struct backend *b, int worker, const struct batch *batch, int layer)
{
    cpu_backend.attn_in(b->cpu, worker, batch, layer);
}

static void forced_attend(struct backend *b, int worker, const struct batch *batch, int layer)
{
    cpu_backend.attend(b->cpu, worker, batch, layer);
}

static void forced_attn_out(struct backend *b, int worker, const struct batch *batch, int layer)
{
    cpu_backend.attn_out(b->cpu, worker, batch, layer);
}

static void forced_route(struct backend *b, int worker, const struct batch *batch, int layer)
{
    cpu_backend.route(b->cpu, worker, batch, layer);
}

static void forced_experts(struct backend *b, int worker, const struct batch *batch, int layer)
{
    cpu_backend.experts(b->cpu, worker, batch, layer);
}

static void forced_unembed(struct backend *b, int worker, const struct batch *batch)
{
    const struct forced *f = b->forced;
    cpu_backend.unembed(b->cpu, worker, batch);
    for (int i = 0; worker == 0 && i < batch->n_output; i++) {
        int at = batch->position[batch->output_row[i]] + 1 - f->first;
        if (at >= 0 && at < f->n)
            batch->logits[(size_t)i * f->model.config.n_vocab + f->script[at]] = 1e6f;
    }
}

static void forced_copy_page(struct backend *b, int from, int to)
{
    cpu_backend.copy_page(b->cpu, from, to);
}

static uint64_t forced_snapshot_bytes(const struct model_config *config)
{
    return cpu_backend.snapshot_bytes(config);
}

static void forced_save_ring(struct backend *b, int ring, int position, void *snapshot)
{
    cpu_backend.save_ring(b->cpu, ring, position, snapshot);
}

static void forced_load_ring(struct backend *b, int ring, int position, const void *snapshot)
{
    cpu_backend.load_ring(b->cpu, ring, position, snapshot);
}

/* ---- texts ---- */

static goss_status read_ids(const struct tokenizer *tokenizer, const char *path, struct token_list *list,
                            goss_error *error)
{
    uint8_t *text = NULL;
    size_t size = 0;
    goss_status status = file_read(path, 1 << 24, &text, &size, error);
    status = status ? status : tokenizer_encode(tokenizer, text, size, true, list, error);
    free(text);
    return status;
}

/* Right guesses and all guesses in an answer, by the length that agreed. */
static goss_status count_text(struct token_list *list, size_t n_prompt, long right[], long tried[], goss_error *error)
{
    struct lookup lookup;
    goss_status status = lookup_open(&lookup, (int)list->size, error);
    for (size_t i = 0; !status && i < list->size; i++) {
        if (lookup.source && i >= n_prompt) {
            int class = 0;
            while (class < 5 && lookup.length >> (class + 2))
                class ++;
            tried[class]++;
            right[class] += list->id[i] == list->id[lookup.source];
        }
        lookup_append(&lookup, list->id, (int)i + 1);
    }
    lookup_close(&lookup);
    return status;
}

static goss_status count(int argc, char **argv, goss_error *error)
{
    static const char *const name[] = {"3", "4-7", "8-15", "16-31", "32-63", "64-"};
    long right[6] = {0}, tried[6] = {0}, ids = 0;
    struct tokenizer *tokenizer;
    goss_status status = tokenizer_open_o200k(&tokenizer, error);
    for (int i = 0; !status && i + 1 < argc; i += 2) {
        struct token_list list = {0};
        status = read_ids(tokenizer, argv[i], &list, error);
        size_t n_prompt = list.size;
        status = status ? status : read_ids(tokenizer, argv[i + 1], &list, error);
        status = status ? status : count_text(&list, n_prompt, right, tried, error);
        ids += (long)(list.size - n_prompt);
        token_list_free(&list);
    }
    for (int c = 0; !status && c < 6; c++)
        (void)printf("{\"agree\":\"%s\",\"guesses\":%ld,\"right\":%.3f,\"of_ids\":%ld}\n", name[c], tried[c],
                     tried[c] ? (double)right[c] / (double)tried[c] : 0, ids);
    tokenizer_close(tokenizer);
    return status;
}

/* ---- answers ---- */

enum { WARM = 16 /* tokens before anything is measured: the weights are read from the disk */ };

/* One answer under way. */
struct course {
    struct engine *engine;
    struct sequence *sequence;
    struct engine_stats before;
    double seconds;
    int tokens; /* the first not counted: it comes from the prompt */
    uint64_t hash;
};

/* One step; false when there is none left. */
static bool step(struct course *c)
{
    struct sampled sampled;
    bool prompt = c->tokens < 0;
    double begin = clock_seconds();
    if (!engine_step(c->engine))
        return false;
    c->seconds += prompt ? 0 : clock_seconds() - begin;
    while (sequence_next(c->sequence, &sampled)) {
        c->hash = (c->hash ^ (uint32_t)sampled.id) * 0xD6E8FEB86659FD93u;
        c->tokens++;
    }
    if (prompt)
        c->before = engine_stats(c->engine);
    return true;
}

static void print_course(const char *name, const struct course *c)
{
    struct engine_stats after = engine_stats(c->engine);
    (void)printf("{\"lookup\":\"%s\",\"tokens\":%d,\"seconds\":%.3f,\"steps\":%llu,\"drafted\":%llu,"
                 "\"accepted\":%llu,\"tokens_per_s\":%.3f",
                 name, c->tokens, c->seconds, (unsigned long long)(after.steps - c->before.steps),
                 (unsigned long long)(after.drafted - c->before.drafted),
                 (unsigned long long)(after.accepted - c->before.accepted), c->tokens / c->seconds);
}

/* The same answer without and with lookup, side by side: the one that has fewer tokens steps next, so that whatever
 * else the machine does disturbs both alike. */
static goss_status race(struct engine *const engine[2], struct sequence_request *request, bool print, goss_error *error)
{
    struct course course[2];
    goss_status status = GOSS_OK;
    for (int i = 0; i < 2; i++) {
        course[i] = (struct course){.engine = engine[i], .tokens = -1};
        request->lookup = i ? LOOKUP_AUTO : LOOKUP_OFF;
        status = status ? status : engine_add(engine[i], request, &course[i].sequence, error);
    }
    for (bool more = !status; more;) {
        int ahead = course[0].tokens - course[1].tokens, next = ahead ? ahead > 0 : course[0].tokens & 1;
        more = step(&course[next]) || step(&course[1 - next]);
    }
    if (!status && print) {
        print_course("off", &course[0]);
        (void)printf("}\n");
        print_course("auto", &course[1]);
        (void)printf(",\"ratio\":%.3f,\"same\":%s}\n", course[0].seconds / course[1].seconds,
                     course[0].hash == course[1].hash ? "true" : "false");
        (void)fflush(stdout);
    }
    for (int i = 0; i < 2; i++)
        engine_release(engine[i], course[i].sequence);
    return status;
}

static goss_status races(struct forced *forced, int rounds, struct sequence_request *request, goss_error *error)
{
    struct backend_table table = {.name = "forced",
                                  .kv_bytes = cpu_backend.kv_bytes,
                                  .open = forced_open,
                                  .close = forced_close,
                                  .isa = forced_isa,
                                  .run = forced_run,
                                  .embed = forced_embed,
                                  .attn_in = forced_attn_in,
                                  .attend = forced_attend,
                                  .attn_out = forced_attn_out,
                                  .route = forced_route,
                                  .experts = forced_experts,
                                  .unembed = forced_unembed,
                                  .copy_page = forced_copy_page,
                                  .snapshot_bytes = forced_snapshot_bytes,
                                  .save_ring = forced_save_ring,
                                  .load_ring = forced_load_ring};
    struct engine *engine[2] = {NULL, NULL};
    int32_t boundary = request->n_id - 1;
    request->boundary = &boundary;
    request->n_boundary = boundary > 0;
    goss_status status = GOSS_OK;
    for (int i = 0; !status && i < 2; i++) {
        struct engine_options options = {.chunk = 256, .context = request->n_id + request->max_tokens};
        status = engine_open(&engine[i], &forced->model, &table, &options, error);
    }
    int most = request->max_tokens;
    request->max_tokens = most < WARM ? most : WARM;
    status = status ? status : race(engine, request, false, error);
    request->max_tokens = most;
    for (int i = 0; !status && i < rounds; i++) /* the engines in turn, in case one lies better in memory */
        status = race((struct engine *[]){engine[i % 2], engine[1 - i % 2]}, request, true, error);
    engine_close(engine[0]);
    engine_close(engine[1]);
    return status;
}

static goss_status decode(char **argv, bool own, goss_error *error)
{
    struct model *model;
    struct forced forced = {0};
    struct tokenizer *tokenizer = NULL;
    struct token_list prompt = {0}, script = {0};
    struct sequence_request request = {.sampling = sampling_default()};
    goss_status status = model_open_packed(&model, argv[0], error);
    if (status)
        return status;
    forced.model = *model;
    status = tokenizer_open_o200k(&tokenizer, error);
    status = status ? status : read_ids(model->tokenizer ? model->tokenizer : tokenizer, argv[2], &prompt, error);
    request.max_tokens = own ? atoi(argv[3]) : 0;
    request.sampling.temperature = own ? strtod(argv[4], NULL) : 0;
    if (!status && !own) {
        status = read_ids(model->tokenizer ? model->tokenizer : tokenizer, argv[3], &script, error);
        forced.script = script.id;
        forced.first = (int)prompt.size;
        forced.n = request.max_tokens = (int)script.size;
    }
    request.id = prompt.id;
    request.n_id = (int)prompt.size;
    request.stop = prompt.id; /* none */
    status = status ? status : races(&forced, atoi(argv[1]), &request, error);
    token_list_free(&prompt);
    token_list_free(&script);
    tokenizer_close(tokenizer);
    model_close(model);
    return status;
}

int main(int argc, char **argv)
{
    goss_error error;
    goss_status status;
    if (argc >= 4 && argc % 2 == 0 && strcmp(argv[1], "count") == 0)
        status = count(argc - 2, argv + 2, &error);
    else if (argc == 6 && strcmp(argv[1], "forced") == 0)
        status = decode(argv + 2, false, &error);
    else if (argc == 7 && strcmp(argv[1], "free") == 0)
        status = decode(argv + 2, true, &error);
    else
        status = error_set(&error, GOSS_E_ARGUMENT, "see the comment in bench/lookup.c for what is asked for");
    if (status)
        (void)fprintf(stderr, "%s\n", error.text);
    return status ? 1 : 0;
}
