/* Any bytes as text for o200k_harmony: they come back, ill-formed ones replaced; no control id comes unasked; a line
 * end between two lines splits the text, so the lines alone give the same ids; streams cut in two give the same text.
 */
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer.h"
#include "text/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct tokenizer *o200k; /* opened once: a fuzzer runs its function many times */

static void check(bool sound)
{
    if (!sound)
        abort();
}

static void check_bytes(const struct token_list *ids, const struct buffer *text)
{
    size_t at = 0;
    for (size_t i = 0; i < ids->size; i++) {
        size_t n;
        const uint8_t *bytes = tokenizer_bytes(o200k, ids->id[i], &n);
        check(n <= text->size - at && memcmp(bytes, text->data + at, n) == 0);
        at += n;
    }
    check(at == text->size);
}

/* A letter after a newline begins a piece whatever came before it, so the text may be cut there. */
static void check_cut(const struct token_list *whole, const struct buffer *text)
{
    struct token_list parts = {0};
    size_t begin = 0;
    for (size_t i = 1; i <= text->size; i++) {
        bool letter = i < text->size && ((text->data[i] >= 'a' && text->data[i] <= 'z') ||
                                         (text->data[i] >= 'A' && text->data[i] <= 'Z'));
        if (i < text->size && !(text->data[i - 1] == '\n' && letter))
            continue;
        check(tokenizer_encode(o200k, text->data + begin, i - begin, false, &parts, NULL) == GOSS_OK);
        begin = i;
    }
    check(parts.size == whole->size);
    check(!parts.size || memcmp(parts.id, whole->id, parts.size * sizeof *parts.id) == 0);
    token_list_free(&parts);
}

static void check_stream(const uint8_t *data, size_t size, const struct buffer *text)
{
    struct utf8_stream stream = {0};
    struct buffer streamed;
    size_t cut = size ? data[0] % size : 0;
    buffer_init(&streamed, 3 * size + 1);
    check(utf8_stream_add(&stream, data, cut, &streamed, NULL) == GOSS_OK);
    check(utf8_valid(streamed.data, streamed.size));
    check(utf8_stream_add(&stream, data + cut, size - cut, &streamed, NULL) == GOSS_OK);
    check(utf8_stream_flush(&stream, &streamed, NULL) == GOSS_OK);
    check(streamed.size == text->size);
    check(!text->size || memcmp(streamed.data, text->data, text->size) == 0);
    buffer_free(&streamed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buffer text;
    struct token_list plain = {0}, control = {0};
    if (!o200k)
        check(tokenizer_open_o200k(&o200k, NULL) == GOSS_OK);
    buffer_init(&text, 3 * size + 1);
    check(utf8_repair(data, size, &text, NULL) == GOSS_OK);
    check(tokenizer_encode(o200k, data, size, false, &plain, NULL) == GOSS_OK);
    check(tokenizer_encode(o200k, data, size, true, &control, NULL) == GOSS_OK);
    for (size_t i = 0; i < plain.size; i++)
        check(!tokenizer_is_control(o200k, plain.id[i]));
    check_bytes(&plain, &text);
    check_cut(&plain, &text);
    check_stream(data, size, &text);
    size_t names = 0; /* <|reserved_200018|> is decoded by its other name */
    for (size_t i = 0; i < control.size; i++)
        names += control.id[i] == 200018;
    if (!names)
        check_bytes(&control, &text);
    token_list_free(&plain);
    token_list_free(&control);
    buffer_free(&text);
    return 0;
}
