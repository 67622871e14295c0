/* Named tensors over mapped files: what every reader of this floor yields. */
#ifndef WEIGHTS_TENSOR_H
#define WEIGHTS_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "weights/dtype.h"

enum { TENSOR_MAX_DIMS = 4, TENSOR_MAX_NAME = 255, TENSOR_MAX = 1 << 17 };

/* The bytes lie inside the mapping of `file`, wherever that file put them: without any alignment. */
struct tensor {
    const char *name; /* printable ASCII */
    const char *file;
    enum dtype type;
    int n_dim;
    uint64_t dim[TENSOR_MAX_DIMS]; /* outermost first; [n_dim ..] are 1 */
    const uint8_t *data;
    uint64_t bytes; /* exactly what type and dim need */
};

/* Zero-initialise. Names belong to the arena that the reader was given. */
struct tensor_list {
    struct tensor *tensor;
    size_t n, capacity;
};

void tensor_list_free(struct tensor_list *list);

/* Checks a name and appends an otherwise empty tensor for the reader to fill. */
goss_status tensor_list_add(struct tensor_list *list, struct arena *arena, const void *name, uint64_t name_bytes,
                            const char *file, struct tensor **tensor, goss_error *error);
/* bytes from type and dim; overflow and a row that is no multiple of the type's block are refused. */
goss_status tensor_measure(struct tensor *tensor, goss_error *error);
/* Refuses tensors first .. n-1, all of one file, if two share a byte. Leaves them sorted by place. */
goss_status tensor_list_check_overlap(struct tensor_list *list, size_t first, goss_error *error);

/* Sorts by name for tensor_find, and refuses two of the same name. */
goss_status tensor_list_sort(struct tensor_list *list, goss_error *error);
/* NULL if there is none. Needs a sorted list. */
const struct tensor *tensor_find(const struct tensor_list *list, const char *name);

#endif
