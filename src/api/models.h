/* GET /v1/models and /v1/models/ID: one object per model, with the fields of OpenAI's list, of vLLM's and llama.cpp's
 * (context length) and of the catalogue that Codex reads. */
#ifndef API_MODELS_H
#define API_MODELS_H

#include "api/error.h"

struct api_model {
    const char *name;   /* "gpt-oss-20b" */
    int64_t created;    /* seconds of Unix time: of the file */
    int context;        /* tokens of a prompt with its answer */
    const char *digest; /* of the weights, or NULL */
};

goss_status models_write_list(const struct api_model *model, size_t n, struct buffer *out, goss_error *error);
goss_status models_write_one(const struct api_model *model, struct buffer *out, goss_error *error);

#endif
