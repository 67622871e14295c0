#include <string.h>

#include "model/model.h"
#include "weights/checkpoint.h"
#include "weights/packed.h"

static json_t *tensor_json(const struct tensor *t)
{
    const char *base = strrchr(t->file, '/');
    json_t *shape = json_array();
    for (int i = 0; i < t->n_dim; i++)
        (void)json_array_append_new(shape, json_integer((json_int_t)t->dim[i]));
    return json_pack("{s:s, s:s, s:s, s:o, s:I}", "name", t->name, "file", base ? base + 1 : t->file, "type",
                     dtype_name(t->type), "shape", shape, "bytes", (json_int_t)t->bytes);
}

static goss_status describe_checkpoint(const char *path, json_t **json, goss_error *error)
{
    static const char *const formats[] = {
        [CHECKPOINT_HF] = "huggingface", [CHECKPOINT_ORIGINAL] = "original", [CHECKPOINT_GGUF] = "gguf"};
    struct checkpoint *c;
    struct model_config config;
    json_t *saved = NULL, *tensors = json_array();
    goss_status status = checkpoint_open(&c, path, error);
    if (status == GOSS_OK)
        status = model_config_read(&config, c, error);
    if (status == GOSS_OK)
        status = model_config_save(&config, &saved, error);
    for (size_t i = 0; status == GOSS_OK && i < c->tensors.n; i++)
        if (json_array_append_new(tensors, tensor_json(&c->tensors.tensor[i])) != 0)
            status = error_memory(error, c->tensors.n, "the list of tensors");
    if (status == GOSS_OK)
        *json = json_pack("{s:s, s:o, s:O}", "format", formats[c->format], "config", saved, "tensors", tensors);
    if (status == GOSS_OK && !*json)
        status = error_memory(error, c->tensors.n, "the description");
    json_decref(tensors);
    checkpoint_close(c);
    return status;
}

goss_status model_describe(const char *path, json_t **json, goss_error *error)
{
    struct model *model;
    *json = NULL;
    if (!packed_is(path))
        return describe_checkpoint(path, json, error);
    goss_status status = model_open_packed(&model, path, error);
    if (status)
        return status;
    *json = json_deep_copy(model->file->header);
    if (!*json || json_object_set_new(*json, "packed", json_integer(PACKED_VERSION)) != 0) {
        json_decref(*json);
        *json = NULL;
        status = error_memory(error, model->file->n, "the description");
    }
    model_close(model);
    return status;
}
