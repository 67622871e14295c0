/* Any bytes as a GGUF: refused with a message, or read into metadata and tensors that lie inside the bytes. The
 * configuration is read as well. */
#include <stdlib.h>
#include <string.h>

#include "fuzz/claims.h"
#include "model/config.h"
#include "weights/checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Touches every element: a sanitizer tells if one lies outside. */
static uint64_t touch(const struct gguf_value *value)
{
    const uint8_t *cursor = value->data;
    uint64_t n, sum = 0;
    int64_t element;
    for (uint64_t i = 0; i < value->count; i++) {
        if (value->type == GGUF_STRING) {
            const uint8_t *text = gguf_next_string(&cursor, &n);
            for (uint64_t at = 0; at < n; at++)
                sum += text[at];
        } else if (gguf_element(value, i, &element)) {
            sum += (uint64_t)element;
        }
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct checkpoint c = {.format = CHECKPOINT_GGUF};
    struct model_config config;
    goss_error error = {0};
    struct claims claims = claims_open(data, size);
    volatile uint64_t sum = 0; /* so that the reading is not left out */
    goss_status status = gguf_read(data, size, "f", &c.arena, &c.gguf, &c.tensors, &error);
    if (status == GOSS_OK)
        status = tensor_list_sort(&c.tensors, &error);
    if ((status == GOSS_OK) != (error.text[0] == 0))
        abort();
    for (size_t i = 0; i < c.gguf.n; i++)
        sum += touch(&c.gguf.value[i]);
    (void)sum;
    for (size_t i = 0; status == GOSS_OK && i < c.tensors.n; i++)
        claims_take(&claims, c.tensors.tensor[i].data, c.tensors.tensor[i].bytes);
    if (c.arena.total + c.tensors.capacity * sizeof *c.tensors.tensor > 8 * size + (1 << 20))
        abort();
    if (status == GOSS_OK && model_config_read(&config, &c, &error) == GOSS_OK &&
        model_config_check(&config, "f", &error) != GOSS_OK)
        abort();
    free(claims.taken);
    tensor_list_free(&c.tensors);
    arena_free(&c.arena);
    return 0;
}
