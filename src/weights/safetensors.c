#include "weights/safetensors.h"

#include <string.h>

#include "base/json.h"

/* The types that a gpt-oss checkpoint can hold; the format knows more. */
static enum dtype type_named(const char *name)
{
    static const enum dtype known[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_U8, DTYPE_I32};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(dtype_name(known[i]), name) == 0)
            return known[i];
    return DTYPE_NONE;
}

static goss_status bad_field(const struct tensor *t, const char *field, goss_error *error)
{
    return error_set(error, GOSS_E_FORMAT, "%s: tensor '%s': '%s' is missing or malformed", t->file, t->name, field);
}

static goss_status read_shape(struct tensor *t, const json_t *shape, goss_error *error)
{
    if (!json_is_array(shape))
        return bad_field(t, "shape", error);
    if (json_array_size(shape) > TENSOR_MAX_DIMS)
        return error_set(error, GOSS_E_LIMIT, "%s: tensor '%s': %zu dimensions, at most %d are read", t->file, t->name,
                         json_array_size(shape), TENSOR_MAX_DIMS);
    t->n_dim = (int)json_array_size(shape);
    for (int i = 0; i < t->n_dim; i++) {
        const json_t *dim = json_array_get(shape, (size_t)i);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return bad_field(t, "shape", error);
        t->dim[i] = (uint64_t)json_integer_value(dim);
    }
    return GOSS_OK;
}

/* data: what follows the header, `size` bytes. */
static goss_status read_tensor(struct tensor *t, const json_t *entry, const uint8_t *data, uint64_t size,
                               goss_error *error)
{
    const json_t *type = json_object_get(entry, "dtype"), *offsets = json_object_get(entry, "data_offsets");
    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    if (!json_is_string(type))
        return bad_field(t, "dtype", error);
    t->type = type_named(json_string_value(type));
    if (t->type == DTYPE_NONE)
        return error_set(error, GOSS_E_UNSUPPORTED, "%s: tensor '%s': type '%.32s' is not read", t->file, t->name,
                         json_string_value(type));
    goss_status status = read_shape(t, json_object_get(entry, "shape"), error);
    if (status == GOSS_OK)
        status = tensor_measure(t, error);
    if (status)
        return status;
    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end) ||
        json_integer_value(begin) < 0 || json_integer_value(end) < json_integer_value(begin))
        return bad_field(t, "data_offsets", error);
    uint64_t first = (uint64_t)json_integer_value(begin), last = (uint64_t)json_integer_value(end);
    if (last > size)
        return error_set(error, GOSS_E_FORMAT, "%s: tensor '%s': ends at byte %llu of %llu", t->file, t->name,
                         (unsigned long long)last, (unsigned long long)size);
    if (last - first != t->bytes)
        return error_set(error, GOSS_E_FORMAT, "%s: tensor '%s': %llu bytes, but its type and shape need %llu", t->file,
                         t->name, (unsigned long long)(last - first), (unsigned long long)t->bytes);
    t->data = data + first;
    return GOSS_OK;
}

/* Without overlaps, the tensors leave no hole exactly if their sizes add up to all there is. */
static goss_status check_filled(struct tensor_list *list, size_t first, uint64_t size, const char *file,
                                goss_error *error)
{
    uint64_t sum = 0;
    goss_status status = tensor_list_check_overlap(list, first, error);
    if (status)
        return status;
    for (size_t i = first; i < list->n; i++)
        sum += list->tensor[i].bytes;
    if (sum != size)
        return error_set(error, GOSS_E_FORMAT, "%s: the tensors take %llu bytes, the file has %llu for them", file,
                         (unsigned long long)sum, (unsigned long long)size);
    return GOSS_OK;
}

goss_status safetensors_read(const uint8_t *bytes, uint64_t size, const char *file, struct arena *arena,
                             struct tensor_list *list, goss_error *error)
{
    uint64_t length;
    size_t first = list->n;
    json_t *header, *entry;
    const char *name;
    if (size < sizeof length)
        return error_set(error, GOSS_E_FORMAT, "%s: %llu bytes are no safetensors file", file,
                         (unsigned long long)size);
    memcpy(&length, bytes, sizeof length);
    if (length > size - sizeof length)
        return error_set(error, GOSS_E_FORMAT, "%s: a header of %llu bytes in a file of %llu", file,
                         (unsigned long long)length, (unsigned long long)size);
    if (length > SAFETENSORS_MAX_HEADER)
        return error_set(error, GOSS_E_LIMIT, "%s: a header of %llu bytes, at most %d are read", file,
                         (unsigned long long)length, SAFETENSORS_MAX_HEADER);
    goss_status status = json_parse(&header, bytes + sizeof length, length, file, error);
    if (status)
        return status;
    if (!json_is_object(header) || length == 0 || bytes[sizeof length] != '{')
        status = error_set(error, GOSS_E_FORMAT, "%s: the header is no JSON object", file);
    const uint8_t *data = bytes + sizeof length + length;
    uint64_t data_size = size - sizeof length - length;
    json_object_foreach(header, name, entry)
    {
        struct tensor *t;
        if (status || strcmp(name, "__metadata__") == 0)
            continue;
        status = tensor_list_add(list, arena, name, strlen(name), file, &t, error);
        if (status == GOSS_OK)
            status = read_tensor(t, entry, data, data_size, error);
    }
    json_decref(header);
    return status ? status : check_filled(list, first, data_size, file, error);
}
