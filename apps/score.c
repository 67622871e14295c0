/* The probabilities of a given text. */
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/hash.h"
#include "command.h"
#include "session.h"
#include "terminal.h"

enum { TEXT_LIMIT = 1 << 28, SCORE_ROWS = 64 };

static goss_status text_ids(const struct session *session, const char *path, struct token_list *ids, goss_error *error)
{
    uint8_t *text = NULL;
    size_t size;
    goss_status status = file_read(path, TEXT_LIMIT, &text, &size, error);
    if (!status)
        status = tokenizer_encode(session->tokenizer, text, size, false, ids, error);
    free(text);
    return status;
}

static goss_status ids_read(struct session *session, const struct arguments *arguments, struct token_list *ids,
                            goss_error *error)
{
    const struct value *value = arguments->value;
    goss_status status;
    if (value[OPTION_IDS].given == value[OPTION_TEXT].given)
        return error_set(error, GOSS_E_ARGUMENT, "one of --ids and --text is needed");
    if (value[OPTION_IDS].given) {
        status = arguments_list(arguments, OPTION_IDS, &ids->id, &ids->size, error);
        ids->capacity = ids->size;
    } else {
        status = session_open_tokenizer(session, error);
        if (!status)
            status = text_ids(session, value[OPTION_TEXT].text, ids, error);
    }
    if (status || (ids->id && ids->size))
        return status;
    return error_set(error, GOSS_E_ARGUMENT, "%s: nothing to score", value[OPTION_TEXT].text);
}

/* The line of one position: what followed it, and what was likeliest. */
static void row_print(const struct token_list *ids, size_t position, const float *logits, int n_vocab, int n_top)
{
    struct logprob top[SAMPLER_MAX_LOGPROBS];
    const int32_t *id = ids->id + position;
    bool last = position + 1 == ids->size;
    double logprob = logprobs_of(logits, n_vocab, last ? id[0] : id[1], n_top, top);
    (void)printf("{\"pos\":%zu,\"id\":%d,\"logprob\":", position, id[0]);
    if (last)
        (void)printf("null,\"top\":[");
    else
        (void)printf("%.10g,\"top\":[", logprob);
    for (int i = 0; i < n_top; i++)
        (void)printf("%s[%d,%.10g]", i ? "," : "", top[i].id, top[i].logprob);
    (void)puts("]}");
}

/* Runs the sequence to its end: its logits are digested, printed, and written if `file` is not NULL. */
static goss_status rows_print(struct session *session, struct sequence *sequence, const struct token_list *ids,
                              int n_top, struct sha256 *hash, struct file_writer *file, goss_error *error)
{
    int n_vocab = session->model->config.n_vocab;
    size_t row_bytes = (size_t)n_vocab * sizeof(float);
    struct score_rows rows;
    goss_status status = GOSS_OK;
    while (!status && sequence_finish(sequence) == FINISH_NONE && !interrupted() && engine_step(session->engine)) {
        sequence_scores(sequence, &rows);
        for (int i = 0; i < rows.n; i++)
            row_print(ids, (size_t)rows.first + (size_t)i, rows.logits + (size_t)i * (size_t)n_vocab, n_vocab, n_top);
        sha256_add(hash, rows.logits, (size_t)rows.n * row_bytes);
        if (file)
            status = file_writer_write(file, rows.logits, (size_t)rows.n * row_bytes, error);
        (void)fflush(stdout);
    }
    if (interrupted())
        return error_set(error, GOSS_E_CANCELLED, "interrupted");
    if (sequence_finish(sequence) == FINISH_ERROR) {
        *error = *sequence_error(sequence);
        return error->status;
    }
    return status;
}

static goss_status score(struct session *session, struct sequence *sequence, const struct token_list *ids,
                         const struct value *value, goss_error *error)
{
    int n_vocab = session->model->config.n_vocab;
    int n_top = value[OPTION_TOP].whole < n_vocab ? (int)value[OPTION_TOP].whole : n_vocab;
    bool keep = value[OPTION_LOGITS].given;
    uint8_t digest[SHA256_BYTES];
    char text[SHA256_TEXT];
    struct sha256 *hash;
    struct file_writer file;
    goss_status status = sha256_open(&hash, error);
    if (status)
        return status;
    if (keep)
        status = file_writer_open(&file, value[OPTION_LOGITS].text, error);
    if (!status) {
        status = rows_print(session, sequence, ids, n_top, hash, keep ? &file : NULL, error);
        if (keep && !status)
            status = file_writer_commit(&file, error);
        else if (keep)
            file_writer_abort(&file);
    }
    sha256_close(hash, digest);
    if (status)
        return status;
    sha256_text(digest, text);
    (void)printf("{\"logits_sha256\":\"%s\"}\n", text);
    return GOSS_OK;
}

goss_status command_score(const struct arguments *arguments, goss_error *error)
{
    struct session session = {0};
    struct token_list ids = {0};
    struct sequence *sequence = NULL;
    struct engine_options options = {.max_sequences = 1, .score_rows = SCORE_ROWS, .lookup = LOOKUP_OFF};
    interrupts_catch();
    goss_status status = session_open_model(&session, arguments, error);
    if (!status)
        status = ids_read(&session, arguments, &ids, error);
    if (!status) {
        options.context = ids.size < INT32_MAX ? (int)ids.size : INT32_MAX;
        status = session_open_engine(&session, arguments, &options, error);
    }
    if (!status) {
        struct sequence_request request = {
            .id = ids.id, .n_id = (int)ids.size, .sampling = sampling_default(), .no_cache = true, .score = true};
        status = engine_add(session.engine, &request, &sequence, error);
    }
    if (!status)
        status = score(&session, sequence, &ids, arguments->value, error);
    engine_release(session.engine, sequence);
    token_list_free(&ids);
    session_close(&session);
    return status;
}
