/* usage: make_toy FORM PATH
 * Writes the toy model of tests/support/toy_checkpoint.h for the scripts of tests/apps: FORM is hf or gguf. */
#include <stdio.h>
#include <string.h>

#include "support/toy_checkpoint.h"

int main(int argc, char **argv)
{
    struct toy toy = toy_default();
    if (argc != 3 || (strcmp(argv[1], "hf") != 0 && strcmp(argv[1], "gguf") != 0)) {
        (void)fputs("usage: make_toy hf|gguf PATH\n", stderr);
        return 2;
    }
    toy.tokenizer = true;
    toy_write(&toy, strcmp(argv[1], "hf") == 0 ? TOY_HF : TOY_GGUF_Q8, argv[2]);
    return 0;
}
