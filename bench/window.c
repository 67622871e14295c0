/* One prompt that fills a context to its last position, scored:
 *
 *     bench_window MODEL.goss CONTEXT ISA THREADS CHUNK
 *
 * MODEL is a packed file. Prints a line of JSON after every eighth of the context (positions done, seconds, tokens/s of
 * that eighth) and at the end the digest of all logits, which no instruction set, number of threads or chunk changes.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/random.h"
#include "engine/engine.h"
#include "model/model.h"

enum { PARTS = 8, SCORE_ROWS = 512 };

static void fill(struct engine *engine, struct sequence *sequence, int n, struct sha256 *hash)
{
    size_t row = (size_t)engine_config(engine)->n_vocab * sizeof(float);
    double begin = clock_seconds(), part_begin = begin;
    struct score_rows rows;
    for (int part = 1, before = 0; sequence_finish(sequence) == FINISH_NONE && engine_step(engine);) {
        sequence_scores(sequence, &rows);
        sha256_add(hash, rows.logits, (size_t)rows.n * row);
        int done = rows.first + rows.n;
        if (done < (int)((long)n * part / PARTS))
            continue;
        double now = clock_seconds();
        printf("{\"positions\":%d,\"seconds\":%.1f,\"tokens_per_s\":%.1f}\n", done, now - begin,
               (done - before) / (now - part_begin));
        (void)fflush(stdout);
        part_begin = now;
        before = done;
        part++;
    }
}

static goss_status run(const struct model *model, int n, const struct engine_options *options, goss_error *error)
{
    struct engine *engine = NULL;
    struct sequence *sequence = NULL;
    struct sha256 *hash = NULL;
    uint8_t digest[SHA256_BYTES];
    char text[SHA256_TEXT];
    int32_t *id = malloc((size_t)n * sizeof *id);
    if (!id)
        return error_memory(error, (size_t)n * sizeof *id, "a prompt");
    for (int i = 0; i < n; i++)
        id[i] = (int32_t)(random_uniform(1, (uint64_t)i, 0) * model->config.n_vocab);
    struct sequence_request request = {
        .id = id, .n_id = n, .sampling = sampling_default(), .no_cache = true, .score = true};
    goss_status status = engine_open(&engine, model, &cpu_backend, options, error);
    status = status ? status : engine_add(engine, &request, &sequence, error);
    status = status ? status : sha256_open(&hash, error);
    if (!status) {
        fill(engine, sequence, n, hash);
        sha256_close(hash, digest);
        sha256_text(digest, text);
        printf(
            "{\"isa\":\"%s\",\"threads\":%d,\"chunk\":%d,\"finish\":%d,\"kv_bytes\":%llu,\"logits_sha256\":\"%s\"}\n",
            engine_isa(engine), options->threads, options->chunk, (int)sequence_finish(sequence),
            (unsigned long long)cpu_backend.kv_bytes(&model->config, (n + KV_PAGE - 1) / KV_PAGE, 1), text);
    }
    engine_release(engine, sequence);
    engine_close(engine);
    free(id);
    return status;
}

int main(int argc, char **argv)
{
    struct model *model = NULL;
    goss_error error = {0};
    if (argc != 6) {
        (void)fprintf(stderr, "usage: bench_window MODEL.goss CONTEXT ISA THREADS CHUNK\n");
        return 2;
    }
    struct engine_options options = {.isa = argv[3],
                                     .threads = atoi(argv[4]),
                                     .chunk = atoi(argv[5]),
                                     .context = atoi(argv[2]),
                                     .score_rows = SCORE_ROWS,
                                     .lookup = LOOKUP_OFF};
    goss_status status = model_open_packed(&model, argv[1], &error);
    status = status ? status : run(model, options.context, &options, &error);
    model_close(model);
    if (status)
        (void)fprintf(stderr, "bench_window: %s\n", error.text);
    return status != GOSS_OK;
}
