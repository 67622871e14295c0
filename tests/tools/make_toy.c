/* usage: make_toy FORM PATH [large]
 * Writes the toy model of tests/support/toy_checkpoint.h for the scripts of tests/apps: FORM is hf or gguf. A large one
 * has some 55 MB, so that packing it takes long enough to be disturbed. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "support/toy_checkpoint.h"

int main(int argc, char **argv)
{
    struct toy toy = toy_default();
    bool large = argc == 4 && strcmp(argv[3], "large") == 0;
    if (argc != 3 + large || (strcmp(argv[1], "hf") != 0 && strcmp(argv[1], "gguf") != 0)) {
        (void)fputs("usage: make_toy hf|gguf PATH [large]\n", stderr);
        return 2;
    }
    toy.tokenizer = true;
    if (large) {
        toy.d_model = toy.d_ff = 512;
        toy.n_expert = 32;
    }
    toy_write(&toy, strcmp(argv[1], "hf") == 0 ? TOY_HF : TOY_GGUF_Q8, argv[2]);
    return 0;
}
