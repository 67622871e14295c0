/* tokenize_records [--control] [TOKENIZER.JSON]: reads records from stdin, each a 32-bit length and that many bytes of
 * text, and answers each with a 32-bit count and that many 32-bit ids. All numbers are little-endian. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "text/tokenizer.h"

static goss_status open_tokenizer(struct tokenizer **tokenizer, const char *path, goss_error *error)
{
    if (!path)
        return tokenizer_open_o200k(tokenizer, error);
    uint8_t *json;
    size_t size;
    goss_status status = file_read(path, (size_t)1 << 28, &json, &size, error);
    if (status)
        return status;
    status = tokenizer_open_json(tokenizer, json, size, path, error);
    free(json);
    return status;
}

static goss_status answer(const struct tokenizer *tokenizer, bool control, goss_error *error)
{
    struct token_list ids = {0};
    uint8_t *text = NULL;
    goss_status status = GOSS_OK;
    for (uint32_t size; !status && fread(&size, sizeof size, 1, stdin) == 1;) {
        uint8_t *wider = realloc(text, (size_t)size + 1);
        if (!wider || fread(text = wider, 1, size, stdin) != size) {
            status = GOSS_E_IO;
            (void)snprintf(error->text, sizeof error->text, "stdin: the record of %u bytes is cut short", size);
            break;
        }
        ids.size = 0;
        status = tokenizer_encode(tokenizer, text, size, control, &ids, error);
        uint32_t count = (uint32_t)ids.size;
        (void)fwrite(&count, sizeof count, 1, stdout);
        (void)fwrite(ids.id, sizeof *ids.id, count, stdout);
        (void)fflush(stdout);
    }
    free(text);
    token_list_free(&ids);
    return status;
}

int main(int argc, char **argv)
{
    bool control = argc > 1 && strcmp(argv[1], "--control") == 0;
    struct tokenizer *tokenizer;
    goss_error error;
    goss_status status = open_tokenizer(&tokenizer, argv[1 + control], &error);
    if (!status)
        status = answer(tokenizer, control, &error);
    if (status)
        (void)fprintf(stderr, "tokenize_records: %s\n", error.text);
    tokenizer_close(tokenizer);
    return status ? 1 : 0;
}
