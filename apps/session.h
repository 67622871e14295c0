/* What the commands that use a model share: opening it (packing it first where needed, with a progress bar), and an
 * engine over it with the settings of the command line. */
#ifndef APPS_SESSION_H
#define APPS_SESSION_H

#include "command.h"
#include "engine/engine.h"
#include "grammar/vocabulary.h"
#include "model/model.h"
#include "text/tokenizer.h"

struct session {
    struct model *model;
    struct engine *engine;
    const struct backend_table *table; /* what computes; NULL until it is chosen */
    char *path;                        /* where the model was found */
    double model_seconds;              /* it took to open it */
    double engine_seconds;
    struct tokenizer *built_in;        /* owned; NULL if the tokenizer is the model's */
    const struct tokenizer *tokenizer; /* NULL until it is opened */
    struct vocabulary *vocabulary;     /* what binds answers and calls; NULL until it is opened */
};

/* Opens the model of --model. Zero-initialise the session; close it after a failure too. */
goss_status session_open_model(struct session *session, const struct arguments *arguments, goss_error *error);

/* --gpu-memory. */
uint64_t session_gpu_bytes(const struct arguments *arguments);

/* Sets the table by --backend. Opening an engine does it if it has not been done. */
goss_status session_choose_backend(struct session *session, const struct arguments *arguments, goss_error *error);

/* An engine over the opened model. `options` may ask for what no option says, and is filled from the command line; its
 * context counts where --context is not given. */
goss_status session_open_engine(struct session *session, const struct arguments *arguments,
                                struct engine_options *options, goss_error *error);

/* Sets the tokenizer: the opened model's, or o200k_harmony if the model has none and its vocabulary fits. */
goss_status session_open_tokenizer(struct session *session, goss_error *error);

/* The tokenizer of --model, or o200k_harmony without one. */
goss_status session_tokenizer(struct session *session, const struct arguments *arguments, goss_error *error);

/* The vocabulary of the opened tokenizer and model. */
goss_status session_open_vocabulary(struct session *session, goss_error *error);

void session_close(struct session *session);

/* --lookup, for struct engine_options. */
int session_lookup(const struct arguments *arguments);

/* --seed, --temperature and their like. */
struct sampling session_sampling(const struct arguments *arguments);

#endif
