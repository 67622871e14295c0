/* Text -> pieces: the regular expressions with which tokenizers cut text before they merge bytes, as hand-written
 * matchers. Each gives exactly the first match of the expression with backtracking, in time linear in the text. */
#ifndef TEXT_SPLIT_H
#define TEXT_SPLIT_H

#include <stddef.h>
#include <stdint.h>

enum split_pattern {
    SPLIT_NONE,        /* not a known pattern */
    SPLIT_O200K,       /* o200k_base, o200k_harmony */
    SPLIT_GPT2,        /* GPT-2 and Hugging Face's ByteLevel with use_regex */
    SPLIT_GPT2_DIGITS, /* the same after every \p{N} was cut out as a piece of its own: SmolLM, StarCoder */
    SPLIT_LLAMA3,      /* cl100k as Llama 3 writes it */
    SPLIT_QWEN2,       /* the same with digits one by one */
    SPLIT_PATTERNS
};

/* The pattern that a regular expression spelled exactly so stands for; SPLIT_NONE when it is none of the known. */
enum split_pattern split_pattern_of(const char *expression, size_t size);

/* The end of the piece that begins at text, which is well-formed UTF-8 and not empty (text < end). */
typedef const uint8_t *split_function(const uint8_t *text, const uint8_t *end);
split_function *split_by(enum split_pattern pattern);

#endif
