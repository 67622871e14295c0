#include "model/config.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "model/fields.h"

enum { MAX_WIDTH = 1 << 20, MAX_VOCAB = 1 << 24, MAX_CONTEXT = 1 << 24 };

/* The plain integer fields: their names in the packed file and in messages, and the limits of each. */
static const struct {
    const char *name;
    size_t offset;
    int least, most;
} integers[] = {
    {"n_layer", offsetof(struct model_config, n_layer), 1, MODEL_MAX_LAYERS},
    {"d_model", offsetof(struct model_config, d_model), 32, MAX_WIDTH},
    {"n_head", offsetof(struct model_config, n_head), 1, 4096},
    {"n_kv_head", offsetof(struct model_config, n_kv_head), 1, 4096},
    {"head_dim", offsetof(struct model_config, head_dim), 32, 256},
    {"d_ff", offsetof(struct model_config, d_ff), 32, MAX_WIDTH},
    {"n_expert", offsetof(struct model_config, n_expert), 1, 4096},
    {"n_active", offsetof(struct model_config, n_active), 1, MODEL_MAX_ACTIVE},
    {"n_vocab", offsetof(struct model_config, n_vocab), 1, MAX_VOCAB},
    {"window", offsetof(struct model_config, window), 1, MAX_CONTEXT},
    {"max_context", offsetof(struct model_config, max_context), 1, MAX_CONTEXT},
    {"yarn_context", offsetof(struct model_config, yarn_context), 0, MAX_CONTEXT},
};
enum { INTEGERS = sizeof integers / sizeof *integers };

static const struct {
    const char *name;
    size_t offset;
} doubles[] = {
    {"rope_theta", offsetof(struct model_config, rope_theta)},
    {"yarn_factor", offsetof(struct model_config, yarn_factor)},
    {"yarn_beta_fast", offsetof(struct model_config, yarn_beta_fast)},
    {"yarn_beta_slow", offsetof(struct model_config, yarn_beta_slow)},
};
enum { DOUBLES = sizeof doubles / sizeof *doubles };

static int integer_at(const struct model_config *c, int i)
{
    int value;
    memcpy(&value, (const char *)c + integers[i].offset, sizeof value);
    return value;
}

static double double_at(const struct model_config *c, int i)
{
    double value;
    memcpy(&value, (const char *)c + doubles[i].offset, sizeof value);
    return value;
}

void model_config_limits(const struct model_config *c, const int *field, int *least, int *most)
{
    size_t offset = (size_t)((const char *)field - (const char *)c);
    *least = *most = 0;
    for (int i = 0; i < INTEGERS; i++)
        if (integers[i].offset == offset) {
            *least = integers[i].least;
            *most = integers[i].most;
        }
}

static goss_status multiple_of(const char *file, const char *what, int value, int unit, goss_error *error)
{
    if (value % unit == 0)
        return GOSS_OK;
    return error_set(error, GOSS_E_UNSUPPORTED, "%s: the %s is %d, not a multiple of %d", file, what, value, unit);
}

static goss_status check_rope(const struct model_config *c, const char *file, goss_error *error)
{
    if (!(c->rope_theta > 1 && c->rope_theta <= 1e12))
        return error_set(error, GOSS_E_FORMAT, "%s: rope_theta is %g, not within 1..1e12", file, c->rope_theta);
    if (!c->yarn)
        return GOSS_OK;
    if (c->yarn_context < 1)
        return error_set(error, GOSS_E_FORMAT, "%s: the context before YaRN is %d", file, c->yarn_context);
    if (!(c->yarn_factor >= 1 && c->yarn_factor <= 1e6))
        return error_set(error, GOSS_E_FORMAT, "%s: YaRN's factor is %g, not within 1..1e6", file, c->yarn_factor);
    if (!(c->yarn_beta_slow > 0 && c->yarn_beta_fast > c->yarn_beta_slow && c->yarn_beta_fast <= 1e6))
        return error_set(error, GOSS_E_FORMAT,
                         "%s: YaRN's beta_fast %g and beta_slow %g are not 1e6 >= fast > slow > 0", file,
                         c->yarn_beta_fast, c->yarn_beta_slow);
    return GOSS_OK;
}

goss_status model_config_check(const struct model_config *c, const char *file, goss_error *error)
{
    goss_status status = GOSS_OK;
    for (int i = 0; i < INTEGERS; i++)
        if (integer_at(c, i) < integers[i].least || integer_at(c, i) > integers[i].most)
            return error_set(error, GOSS_E_LIMIT, "%s: %s is %d, not within %d..%d", file, integers[i].name,
                             integer_at(c, i), integers[i].least, integers[i].most);
    if (c->n_head % c->n_kv_head)
        return error_set(error, GOSS_E_UNSUPPORTED, "%s: %d attention heads, not a multiple of %d key-value heads",
                         file, c->n_head, c->n_kv_head);
    if (c->n_active > c->n_expert)
        return error_set(error, GOSS_E_FORMAT, "%s: %d experts per token of %d", file, c->n_active, c->n_expert);
    status = multiple_of(file, "hidden size", c->d_model, 32, error);
    if (status == GOSS_OK)
        status = multiple_of(file, "intermediate size", c->d_ff, 32, error);
    if (status == GOSS_OK)
        status = multiple_of(file, "size of a head", c->head_dim, 32, error);
    if (status)
        return status;
    if (!(c->rms_eps > 0 && c->rms_eps < 1))
        return error_set(error, GOSS_E_FORMAT, "%s: rms_eps is %g, not within 0..1", file, (double)c->rms_eps);
    if (!(c->swiglu_limit > 0 && isfinite(c->swiglu_limit)))
        return error_set(error, GOSS_E_FORMAT, "%s: swiglu_limit is %g", file, (double)c->swiglu_limit);
    if (c->n_stop < 0 || c->n_stop > MODEL_MAX_STOPS)
        return error_set(error, GOSS_E_LIMIT, "%s: %d stop ids, at most %d are kept", file, c->n_stop, MODEL_MAX_STOPS);
    for (int i = 0; i < c->n_stop; i++)
        if (c->stop[i] < 0 || c->stop[i] >= c->n_vocab)
            return error_set(error, GOSS_E_FORMAT, "%s: stop id %d is outside of the vocabulary of %d", file,
                             c->stop[i], c->n_vocab);
    return check_rope(c, file, error);
}

goss_status model_config_save(const struct model_config *c, json_t **json, goss_error *error)
{
    json_t *object = json_object(), *sliding = json_array(), *stop = json_array();
    int failed = !object || !sliding || !stop;
    for (int i = 0; i < INTEGERS; i++)
        failed |= json_object_set_new(object, integers[i].name, json_integer(integer_at(c, i)));
    for (int i = 0; i < DOUBLES; i++)
        failed |= json_object_set_new(object, doubles[i].name, json_real(double_at(c, i)));
    failed |= json_object_set_new(object, "rms_eps", json_real((double)c->rms_eps));
    failed |= json_object_set_new(object, "swiglu_limit", json_real((double)c->swiglu_limit));
    failed |= json_object_set_new(object, "yarn", json_boolean(c->yarn));
    failed |= json_object_set_new(object, "yarn_truncate", json_boolean(c->yarn_truncate));
    for (int i = 0; i < c->n_layer; i++)
        failed |= json_array_append_new(sliding, json_boolean(c->sliding[i]));
    for (int i = 0; i < c->n_stop; i++)
        failed |= json_array_append_new(stop, json_integer(c->stop[i]));
    failed |= json_object_set_new(object, "sliding", sliding);
    failed |= json_object_set_new(object, "stop", stop);
    *json = object;
    if (!failed)
        return GOSS_OK;
    json_decref(object);
    *json = NULL;
    return error_memory(error, sizeof *c, "the configuration");
}

static bool load_flag(struct fields *f, const char *key)
{
    const json_t *value = json_object_get(f->json, key);
    if (!json_is_boolean(value))
        fields_refuse(f, key, "is missing or no boolean");
    return json_is_true(value);
}

goss_status model_config_load(struct model_config *c, const json_t *json, const char *file, goss_error *error)
{
    struct fields f = {.file = file, .json = json, .error = error};
    *c = (struct model_config){0};
    if (!json_is_object(json))
        return error_set(error, GOSS_E_FORMAT, "%s: 'config' is no object", file);
    for (int i = 0; i < INTEGERS; i++) {
        int value = fields_integer(&f, integers[i].name, integers[i].least, integers[i].most);
        memcpy((char *)c + integers[i].offset, &value, sizeof value);
    }
    for (int i = 0; i < DOUBLES; i++) {
        double value = fields_number(&f, doubles[i].name);
        memcpy((char *)c + doubles[i].offset, &value, sizeof value);
    }
    c->rms_eps = (float)fields_number(&f, "rms_eps");
    c->swiglu_limit = (float)fields_number(&f, "swiglu_limit");
    c->yarn = load_flag(&f, "yarn");
    c->yarn_truncate = load_flag(&f, "yarn_truncate");
    const json_t *sliding = json_object_get(json, "sliding"), *stop = json_object_get(json, "stop");
    if (json_array_size(sliding) != (size_t)c->n_layer)
        fields_refuse(&f, "sliding", "is no list of one boolean per layer");
    if (!json_is_array(stop) || json_array_size(stop) > MODEL_MAX_STOPS)
        fields_refuse(&f, "stop", "is no short list of ids");
    if (f.status)
        return f.status;
    for (int i = 0; i < c->n_layer; i++)
        c->sliding[i] = json_is_true(json_array_get(sliding, (size_t)i));
    for (; c->n_stop < (int)json_array_size(stop); c->n_stop++) {
        json_int_t id = json_integer_value(json_array_get(stop, (size_t)c->n_stop));
        c->stop[c->n_stop] = id < 0 || id > INT32_MAX ? -1 : (int)id;
    }
    return model_config_check(c, file, error);
}
