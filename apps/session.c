#include "session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/lookup.h"
#include "engine/processor.h"
#include "places.h"
#include "terminal.h"
#include "watch.h"

struct opening {
    const char *path;
    struct model_options options;
    struct model *model;
};

static goss_status opening_run(void *argument, goss_error *error)
{
    struct opening *opening = argument;
    return model_open(&opening->model, opening->path, &opening->options, error);
}

static goss_status copying_run(void *argument, goss_error *error)
{
    struct opening *opening = argument;
    return model_copy(opening->model, opening->options.progress, error);
}

/* --copy-weights. */
static goss_status copy_weights(struct opening *opening, goss_error *error)
{
    struct pack_progress progress = {0};
    opening->options.progress = &progress;
    return watch("copying", copying_run, opening, &progress, error);
}

goss_status session_open_model(struct session *session, const struct arguments *arguments, goss_error *error)
{
    struct pack_progress progress = {0};
    struct opening opening = {.options.progress = &progress};
    char *cache = NULL;
    goss_status status = model_find(arguments->value[OPTION_MODEL].text, &session->path, error);
    if (!status)
        status = home_path(".cache/gossamer", &cache, error);
    if (!status) {
        double begin = clock_seconds();
        opening.path = session->path;
        opening.options.cache = cache;
        status = watch("packing", opening_run, &opening, &progress, error);
        if (!status && arguments->value[OPTION_COPY_WEIGHTS].given)
            status = copy_weights(&opening, error);
        session->model = opening.model;
        session->model_seconds = clock_seconds() - begin;
    }
    free(cache);
    return status;
}

goss_status session_open_tokenizer(struct session *session, goss_error *error)
{
    session->tokenizer = session->model->tokenizer;
    if (session->tokenizer)
        return GOSS_OK;
    goss_status status = tokenizer_open_o200k(&session->built_in, error);
    session->tokenizer = session->built_in;
    if (!status && tokenizer_size(session->tokenizer) > session->model->config.n_vocab)
        return error_set(error, GOSS_E_UNSUPPORTED,
                         "%s: no tokenizer, and a vocabulary of %d ids is not that of the built-in o200k_harmony",
                         session->path, session->model->config.n_vocab);
    return status;
}

goss_status session_tokenizer(struct session *session, const struct arguments *arguments, goss_error *error)
{
    goss_status status;
    if (arguments->value[OPTION_MODEL].given) {
        status = session_open_model(session, arguments, error);
        return status ? status : session_open_tokenizer(session, error);
    }
    status = tokenizer_open_o200k(&session->built_in, error);
    session->tokenizer = session->built_in;
    return status;
}

static enum processor processor_asked(const struct arguments *arguments)
{
    static const enum processor processor[] = {PROCESSOR_AUTO, PROCESSOR_CPU,
                                               PROCESSOR_CUDA}; /* as --backend has them */
    return processor[arguments_choice(arguments, OPTION_BACKEND)];
}

uint64_t session_gpu_bytes(const struct arguments *arguments)
{
    return (uint64_t)(arguments->value[OPTION_GPU_MEMORY].number * (1 << 30));
}

goss_status session_choose_backend(struct session *session, const struct arguments *arguments, goss_error *error)
{
    goss_error reason;
    goss_status status = processor_choose(processor_asked(arguments), session->model, session_gpu_bytes(arguments),
                                          &session->table, &reason);
    return status ? error_set(error, status, "--backend %s: %s", arguments->value[OPTION_BACKEND].text, reason.text)
                  : GOSS_OK;
}

goss_status session_open_engine(struct session *session, const struct arguments *arguments,
                                struct engine_options *options, goss_error *error)
{
    const struct value *value = arguments->value;
    int limit = session->model->config.max_context;
    int64_t context = value[OPTION_CONTEXT].whole;
    if (value[OPTION_CONTEXT].given && context > limit)
        return error_set(error, GOSS_E_LIMIT, "--context %s: %s allows at most %d", value[OPTION_CONTEXT].text,
                         session->path, limit);
    if (!value[OPTION_CONTEXT].given && options->context > context)
        context = options->context;
    options->threads = (int)value[OPTION_THREADS].whole;
    options->isa = value[OPTION_ISA].text;
    options->gpu_bytes = session_gpu_bytes(arguments);
    options->chunk = (int)value[OPTION_CHUNK].whole;
    options->context = context < limit ? (int)context : limit;
    double begin = clock_seconds();
    goss_status status = session->table ? GOSS_OK : session_choose_backend(session, arguments, error);
    if (status)
        return status;
    status =
        processor_open(&session->engine, processor_asked(arguments), session->model, session->table, options, error);
    session->engine_seconds = clock_seconds() - begin;
    if (!status && engine_expert_layers(session->engine) < session->model->config.n_layer)
        (void)fprintf(stderr, "gossamer: %s\n", engine_isa(session->engine));
    return status;
}

goss_status session_open_vocabulary(struct session *session, goss_error *error)
{
    return vocabulary_open(&session->vocabulary, session->tokenizer, session->model->config.n_vocab, error);
}

void session_close(struct session *session)
{
    engine_close(session->engine);
    vocabulary_close(session->vocabulary);
    model_close(session->model);
    tokenizer_close(session->built_in);
    free(session->path);
    *session = (struct session){0};
}

int session_lookup(const struct arguments *arguments)
{
    static const int lookup[] = {LOOKUP_AUTO, LOOKUP_OFF, LOOKUP_MOST}; /* in the order of the option's choices */
    return lookup[arguments_choice(arguments, OPTION_LOOKUP)];
}

struct sampling session_sampling(const struct arguments *arguments)
{
    const struct value *value = arguments->value;
    struct sampling sampling = sampling_default();
    sampling.temperature = value[OPTION_TEMPERATURE].number;
    sampling.top_p = value[OPTION_TOP_P].number;
    sampling.top_k = (int)value[OPTION_TOP_K].whole;
    sampling.min_p = value[OPTION_MIN_P].number;
    sampling.seed = (uint64_t)value[OPTION_SEED].whole;
    return sampling;
}
