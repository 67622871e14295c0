/* The header of a message, between <|start|> and <|message|>, as models really write it:
 *     role [":" name] [" to=" recipient] [<|channel|> channel] [" to=" recipient] [" " content type]
 * Every sequence of bytes has a reading; what deviates is named. docs/harmony.md, "Headers", is the same as a table. */
#ifndef HARMONY_HEADER_H
#define HARMONY_HEADER_H

#include "harmony/conversation.h"

/* Bytes that stand for control tokens inside a header's text. Well-formed UTF-8 never holds them, so no text can pass
 * for a control token. */
enum { MARK_CHANNEL = 0xFE, MARK_CONSTRAIN = 0xFD };

/* A stretch of the header's text, or of a constant. data is NULL when absent. */
struct span {
    const char *data;
    size_t size;
};

enum { HEADER_REPAIRS = 16 };

struct header {
    enum role role;
    struct span name, recipient, channel, content_type;
    bool constrained; /* <|constrain|> stood before the content type */
    struct span text; /* without <|message|>: what was content after all, marks included */
    const char *repair[HEADER_REPAIRS];
    size_t n_repair;
};

/* How the header came to its end. */
enum header_end {
    HEADER_MESSAGE, /* <|message|> */
    HEADER_STOP,    /* a terminator, <|start|>, or the limit on its length */
    HEADER_CUT,     /* the stream ended */
};

/* On entry header->role and name hold the role if role_given (the prompt wrote it, or the message before implies it).
 * generated: this is a model's turn, so a strange role is more likely a slip than a tool. */
void header_read(struct header *header, const char *text, size_t size, enum header_end end, bool role_given,
                 bool generated);

/* Whether nothing was said: no channel, no recipient, no text. */
bool header_is_empty(const struct header *header);

/* The number of words, counted up to `most`. */
size_t header_words(const char *text, size_t size, size_t most);

#endif
