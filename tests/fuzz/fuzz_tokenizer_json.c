/* Any bytes as a tokenizer.json: refused, or a tokenizer that encodes within its ids, never yields a control id unasked
 * and is the same after it was saved and loaded. */
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct token_list encode(const struct tokenizer *tokenizer)
{
    static const char text[] = "the ab's  <|one|> 123 caf\xC3\xA9\n<lit>";
    struct token_list ids = {0};
    if (tokenizer_encode(tokenizer, text, sizeof text - 1, false, &ids, NULL))
        abort();
    for (size_t i = 0; i < ids.size; i++)
        if (ids.id[i] < 0 || ids.id[i] >= tokenizer_size(tokenizer) || tokenizer_is_control(tokenizer, ids.id[i]))
            abort();
    return ids;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tokenizer *tokenizer, *loaded;
    if (tokenizer_open_json(&tokenizer, data, size, "input", NULL))
        return 0;
    struct buffer tables;
    buffer_init(&tables, (size_t)1 << 30);
    struct token_list ids = encode(tokenizer);
    if (tokenizer_save(tokenizer, &tables, NULL) || tokenizer_load(&loaded, tables.data, tables.size, "saved", NULL))
        abort();
    struct token_list again = encode(loaded);
    if (again.size != ids.size || (ids.size && memcmp(again.id, ids.id, ids.size * sizeof *ids.id) != 0))
        abort();
    token_list_free(&ids);
    token_list_free(&again);
    tokenizer_close(loaded);
    tokenizer_close(tokenizer);
    buffer_free(&tables);
    return 0;
}
