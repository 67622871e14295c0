/* Bytes to token ids and back. */
#include <ctype.h>
#include <stdio.h>

#include "command.h"
#include "input.h"
#include "session.h"
#include "text/utf8.h"

static void print_ids(const struct token_list *ids)
{
    (void)putchar('[');
    for (size_t i = 0; i < ids->size; i++)
        (void)printf("%s%d", i ? "," : "", ids->id[i]);
    (void)puts("]");
}

/* One token a line: its id, and its text in double quotes. Bytes that are no whole character, and control characters,
 * are escaped as in C. */
static void print_pieces(const struct tokenizer *tokenizer, const struct token_list *ids)
{
    for (size_t i = 0; i < ids->size; i++) {
        size_t size;
        const uint8_t *bytes = tokenizer_bytes(tokenizer, ids->id[i], &size);
        bool text = utf8_valid(bytes, size);
        (void)printf("%7d  \"", ids->id[i]);
        for (size_t j = 0; j < size; j++) {
            if (bytes[j] == '\n')
                (void)fputs("\\n", stdout);
            else if (bytes[j] == '"' || bytes[j] == '\\')
                (void)printf("\\%c", bytes[j]);
            else if (isprint(bytes[j]) || (text && bytes[j] >= 0x80))
                (void)putchar(bytes[j]);
            else
                (void)printf("\\x%02x", bytes[j]);
        }
        (void)puts("\"");
    }
}

goss_status command_tokenize(const struct arguments *arguments, goss_error *error)
{
    struct session session = {0};
    struct token_list ids = {0};
    struct buffer text = {0};
    goss_status status = session_tokenizer(&session, arguments, error);
    if (!status)
        status = input_read(&text, error);
    if (!status)
        status = tokenizer_encode(session.tokenizer, text.data, text.size, arguments->value[OPTION_SPECIAL].given, &ids,
                                  error);
    if (!status && arguments->value[OPTION_PIECES].given)
        print_pieces(session.tokenizer, &ids);
    else if (!status)
        print_ids(&ids);
    buffer_free(&text);
    token_list_free(&ids);
    session_close(&session);
    return status;
}
