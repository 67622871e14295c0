/* Reads one case per line, {"wire","body","script":[..],"open_responses"}, and writes what the wire answers, one line
 * per case: {"http","prompt","stream","object","input_items"}. Drives tests/oracle/api_vectors.py. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/json_out.h"
#include "support/api_case.h"
#include "support/harmony.h"

int main(void)
{
    char *line = NULL;
    size_t capacity = 0;
    ssize_t n;
    support_open(NULL);
    while ((n = getline(&line, &capacity, stdin)) > 0) {
        struct buffer out;
        buffer_init(&out, 1 << 26);
        api_case_answer(line, (size_t)n, &out);
        puts((const char *)out.data);
        buffer_free(&out);
    }
    free(line);
    support_close(NULL);
    return 0;
}
