/* Any bytes as a safetensors file: refused with a message, or read into tensors that lie inside the bytes. */
#include <stdlib.h>
#include <string.h>

#include "fuzz/claims.h"
#include "weights/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct tensor_list list = {0};
    goss_error error = {0};
    struct claims claims = claims_open(data, size);
    goss_status status = safetensors_read(data, size, "f", &arena, &list, &error);
    if (status == GOSS_OK)
        status = tensor_list_sort(&list, &error);
    if ((status == GOSS_OK) != (error.text[0] == 0))
        abort();
    for (size_t i = 0; status == GOSS_OK && i < list.n; i++) {
        const struct tensor *t = &list.tensor[i];
        claims_take(&claims, t->data, t->bytes);
        if (tensor_find(&list, t->name) != t)
            abort();
    }
    if (arena.total + list.capacity * sizeof *list.tensor > 8 * size + (1 << 20))
        abort();
    free(claims.taken);
    tensor_list_free(&list);
    arena_free(&arena);
    return 0;
}
