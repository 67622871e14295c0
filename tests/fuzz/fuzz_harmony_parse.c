/* Streams of ids of every class. The first byte says whether the prompt wrote the role; each later byte is one id from
 * a table of control tokens and of pieces that headers are made of, or, for 255, three bytes are an id of any value. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/stream_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const pieces[] = {"<|start|>",
                                     "<|end|>",
                                     "<|message|>",
                                     "<|channel|>",
                                     "<|constrain|>",
                                     "<|call|>",
                                     "<|return|>",
                                     "<|endoftext|>",
                                     "<|startoftext|>",
                                     "assistant",
                                     "user",
                                     "system",
                                     "developer",
                                     "tool",
                                     "analysis",
                                     "comment",
                                     "ary",
                                     "final",
                                     " to",
                                     " to=",
                                     "to=",
                                     "functions",
                                     ".f",
                                     "json",
                                     " json",
                                     " code",
                                     "python",
                                     "browser.search",
                                     ":bob",
                                     " ",
                                     "\n",
                                     "–",
                                     "{",
                                     "}",
                                     "<",
                                     "|",
                                     "<|",
                                     "hello",
                                     " world",
                                     "\xC2\xA0",
                                     "日本",
                                     "all"};
enum { N_PIECE = sizeof pieces / sizeof pieces[0] };

static struct harmony harmony;
static int32_t ids[N_PIECE];

static void prepare(void)
{
    struct tokenizer *tokenizer;
    goss_error error;
    if (tokenizer_open_o200k(&tokenizer, &error) || harmony_open(&harmony, tokenizer, &error)) {
        (void)fprintf(stderr, "%s\n", error.text);
        abort();
    }
    for (int i = 0; i < N_PIECE; i++) {
        struct token_list list = {0};
        if (tokenizer_encode(tokenizer, pieces[i], strlen(pieces[i]), true, &list, &error))
            abort();
        ids[i] = list.id[0];
        token_list_free(&list);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum role role = ROLE_ASSISTANT;
    size_t n = 0;
    if (!harmony.tokenizer)
        prepare();
    if (size < 2)
        return 0;
    int32_t *stream = calloc(size, sizeof *stream);
    if (!stream)
        return 0;
    for (size_t i = 1; i < size; i++) {
        bool any = data[i] == 255 && size - i > 3;
        stream[n++] = any ? (int32_t)((uint32_t)data[i + 1] << 16 | (uint32_t)data[i + 2] << 8 | data[i + 3]) - 4096
                          : ids[data[i] % N_PIECE];
        i += any ? 3 : 0;
    }
    const char *problem = stream_check(&harmony, data[0] & 1 ? &role : NULL, stream, n);
    if (problem) {
        (void)fprintf(stderr, "%s\n", problem);
        abort();
    }
    free(stream);
    return 0;
}
