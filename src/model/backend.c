#include "model/backend.h"

goss_status backend_check(const struct model_config *config, const struct backend_options *o, goss_error *error)
{
    const struct {
        const char *name;
        int value, least;
    } fields[] = {
        {"threads", o->threads, 0}, {"max_rows", o->max_rows, 1}, {"max_outputs", o->max_outputs, 1},
        {"pages", o->pages, 0},     {"rings", o->rings, 0},       {"max_sequences", o->max_sequences, 1},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (fields[i].value < fields[i].least)
            return error_set(error, GOSS_E_ARGUMENT, "%s: %d is less than %d", fields[i].name, fields[i].value,
                             fields[i].least);
    if (config->n_active > MODEL_MAX_ACTIVE)
        return error_set(error, GOSS_E_UNSUPPORTED, "model: %d experts per token are more than %d", config->n_active,
                         MODEL_MAX_ACTIVE);
    return GOSS_OK;
}
