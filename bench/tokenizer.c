/* bench_tokenizer FILE: encodes the file once for every line on stdin, and answers with the seconds it took and the
 * number of tokens. bench/tokenizer.py drives it in turn with other tokenizers. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/file.h"
#include "text/tokenizer.h"

static double now(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

int main(int argc, char **argv)
{
    struct tokenizer *tokenizer = NULL;
    struct token_list ids = {0};
    uint8_t *text = NULL;
    size_t size = 0;
    goss_error error = {.text = "usage: bench_tokenizer FILE"};
    goss_status status = argc == 2 ? GOSS_OK : GOSS_E_ARGUMENT;
    double begin = now();
    if (!status)
        status = tokenizer_open_o200k(&tokenizer, &error);
    (void)printf("%.6f\n", now() - begin); /* the time to open */
    (void)fflush(stdout);
    if (!status)
        status = file_read(argv[1], (size_t)1 << 30, &text, &size, &error);
    while (!status && getchar() == '\n') {
        ids.size = 0;
        begin = now();
        status = tokenizer_encode(tokenizer, text, size, false, &ids, &error);
        (void)printf("%.6f %zu\n", now() - begin, ids.size);
        (void)fflush(stdout);
    }
    if (status)
        (void)fprintf(stderr, "bench_tokenizer: %s\n", error.text);
    free(text);
    token_list_free(&ids);
    tokenizer_close(tokenizer);
    return status ? 1 : 0;
}
