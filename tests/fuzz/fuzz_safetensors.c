/* Any bytes as a safetensors file: refused with a message, or read into tensors that lie inside the bytes. */
#include <stdlib.h>
#include <string.h>

#include "weights/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct tensor_list list = {0};
    goss_error error = {0};
    uint64_t bytes = 0;
    goss_status status = safetensors_read(data, size, "f", &arena, &list, &error);
    if (status == GOSS_OK)
        status = tensor_list_sort(&list, &error);
    if ((status == GOSS_OK) != (error.text[0] == 0))
        abort();
    for (size_t i = 0; status == GOSS_OK && i < list.n; i++) {
        const struct tensor *t = &list.tensor[i];
        if (t->data < data || t->bytes > (size_t)(data + size - t->data) || tensor_find(&list, t->name) != t)
            abort();
        bytes += t->bytes;
    }
    if (bytes > size) /* some byte belongs to two tensors */
        abort();
    if (arena.total + list.capacity * sizeof *list.tensor > 8 * size + (1 << 20))
        abort();
    tensor_list_free(&list);
    arena_free(&arena);
    return 0;
}
