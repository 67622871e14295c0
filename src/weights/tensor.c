#include "weights/tensor.h"

#include <stdlib.h>
#include <string.h>

void tensor_list_free(struct tensor_list *list)
{
    free(list->tensor);
    *list = (struct tensor_list){0};
}

goss_status tensor_list_add(struct tensor_list *list, struct arena *arena, const void *name, uint64_t name_bytes,
                            const char *file, struct tensor **tensor, goss_error *error)
{
    const uint8_t *c = name;
    *tensor = NULL;
    if (name_bytes == 0 || name_bytes > TENSOR_MAX_NAME)
        return error_set(error, GOSS_E_FORMAT, "%s: a tensor name of %llu bytes, allowed are 1 to %d", file,
                         (unsigned long long)name_bytes, TENSOR_MAX_NAME);
    for (uint64_t i = 0; i < name_bytes; i++)
        if (c[i] < '!' || c[i] > '~')
            return error_set(error, GOSS_E_FORMAT, "%s: the name of tensor %zu holds the byte 0x%02x", file, list->n,
                             c[i]);
    if (list->n == list->capacity) {
        if (list->n >= TENSOR_MAX)
            return error_set(error, GOSS_E_LIMIT, "%s: more than %d tensors", file, TENSOR_MAX);
        size_t capacity = list->capacity ? 2 * list->capacity : 64;
        struct tensor *grown = realloc(list->tensor, capacity * sizeof *grown);
        if (!grown)
            return error_memory(error, capacity * sizeof *grown, "the list of tensors");
        list->tensor = grown;
        list->capacity = capacity;
    }
    char *copy = arena_copy(arena, name, name_bytes);
    if (!copy)
        return error_memory(error, name_bytes, "a tensor name");
    *tensor = &list->tensor[list->n++];
    **tensor = (struct tensor){.name = copy, .file = file, .dim = {1, 1, 1, 1}};
    return GOSS_OK;
}

goss_status tensor_measure(struct tensor *tensor, goss_error *error)
{
    uint64_t n = 1, row = tensor->n_dim ? tensor->dim[tensor->n_dim - 1] : 1;
    for (int i = 0; i < tensor->n_dim; i++)
        if (__builtin_mul_overflow(n, tensor->dim[i], &n))
            return error_set(error, GOSS_E_FORMAT, "%s: tensor '%s': its shape has more than 2^64 elements",
                             tensor->file, tensor->name);
    tensor->bytes = dtype_bytes(tensor->type, n);
    if (n && (tensor->bytes == 0 || dtype_bytes(tensor->type, row) == 0))
        return error_set(error, GOSS_E_FORMAT,
                         "%s: tensor '%s': rows of %llu elements do not fit the blocks of %s or the size overflows",
                         tensor->file, tensor->name, (unsigned long long)row, dtype_name(tensor->type));
    return GOSS_OK;
}

static int by_place(const void *a, const void *b)
{
    const struct tensor *x = a, *y = b;
    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

goss_status tensor_list_check_overlap(struct tensor_list *list, size_t first, goss_error *error)
{
    if (list->n > first)
        qsort(list->tensor + first, list->n - first, sizeof *list->tensor, by_place);
    for (size_t i = first + 1; i < list->n; i++) {
        const struct tensor *x = &list->tensor[i - 1], *y = &list->tensor[i];
        if (x->data + x->bytes > y->data)
            return error_set(error, GOSS_E_FORMAT, "%s: tensors '%s' and '%s' overlap", x->file, x->name, y->name);
    }
    return GOSS_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct tensor *)a)->name, ((const struct tensor *)b)->name);
}

goss_status tensor_list_sort(struct tensor_list *list, goss_error *error)
{
    if (list->n)
        qsort(list->tensor, list->n, sizeof *list->tensor, by_name);
    for (size_t i = 1; i < list->n; i++)
        if (by_name(&list->tensor[i - 1], &list->tensor[i]) == 0)
            return error_set(error, GOSS_E_FORMAT, "%s: tensor '%s' is there twice, also in %s", list->tensor[i].file,
                             list->tensor[i].name, list->tensor[i - 1].file);
    return GOSS_OK;
}

const struct tensor *tensor_find(const struct tensor_list *list, const char *name)
{
    const struct tensor key = {.name = name};
    return list->n ? bsearch(&key, list->tensor, list->n, sizeof key, by_name) : NULL;
}
