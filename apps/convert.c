#include "convert.h"

#include <stdio.h>

#include "input.h"
#include "session.h"

enum { OUTPUT_LIMIT = 1 << 30 };

goss_status convert_input(const struct arguments *arguments, convert_fn *convert, goss_error *error)
{
    struct session session = {0};
    struct buffer input = {0}, output;
    struct harmony harmony;
    buffer_init(&output, OUTPUT_LIMIT);
    goss_status status = input_read(&input, error);
    if (!status)
        status = session_tokenizer(&session, arguments, error);
    if (!status)
        status = harmony_open(&harmony, session.tokenizer, error);
    if (!status)
        status = convert(&harmony, input.data ? (const char *)input.data : "", input.size, &output, error);
    if (!status)
        (void)printf("%s\n", (const char *)output.data);
    buffer_free(&output);
    buffer_free(&input);
    session_close(&session);
    return status;
}
