/* Bytes <-> token ids: byte-level BPE as o200k_harmony, GPT-2 and their relatives do it. */
#ifndef TEXT_TOKENIZER_H
#define TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

struct tokenizer; /* immutable once open: any number of threads may use one */

/* o200k_harmony from the ranks built into the program, checked against their SHA-256. */
goss_status tokenizer_open_o200k(struct tokenizer **tokenizer, goss_error *error);

/* A Hugging Face tokenizer.json: model BPE, byte-level, one of the known splitting patterns. Anything else is
 * refused by name. `file` is named in messages. */
goss_status tokenizer_open_json(struct tokenizer **tokenizer, const uint8_t *json, size_t size, const char *file,
                                goss_error *error);

/* The parts of a GGUF's metadata. Strings are not NUL-terminated and may hold anything. */
struct tokenizer_text {
    const uint8_t *data;
    size_t size;
};
struct tokenizer_gguf {
    const char *file, *pre;    /* tokenizer.ggml.pre */
    uint64_t n_token, n_merge; /* merges may be absent */
    const struct tokenizer_text *token, *merge;
    const int32_t *type; /* [n_token] 1 normal, 3 control, 4 user-defined, 5 unused; or NULL */
};
goss_status tokenizer_open_gguf(struct tokenizer **tokenizer, const struct tokenizer_gguf *source, goss_error *error);

/* The form kept in the packed file: loading it takes milliseconds. `tables` must outlive the tokenizer. */
goss_status tokenizer_save(const struct tokenizer *tokenizer, struct buffer *tables, goss_error *error);
goss_status tokenizer_load(struct tokenizer **tokenizer, const uint8_t *tables, size_t size, const char *file,
                           goss_error *error);
void tokenizer_close(struct tokenizer *tokenizer); /* NULL is fine */

int32_t tokenizer_size(const struct tokenizer *tokenizer); /* ids are 0 .. size-1; some may have no bytes */

/* A growing array of ids, owned by the caller, who zero-initialises it and frees id. */
struct token_list {
    int32_t *id;
    size_t size, capacity;
};
goss_status token_list_append(struct token_list *list, const int32_t *id, size_t n, goss_error *error);
void token_list_free(struct token_list *list);

/* Appends the ids of n bytes of text. Ill-formed UTF-8 is read by the WHATWG rule (each maximal ill-formed subpart is
 * one U+FFFD). With `control` false, the default everywhere, no control id is ever produced whatever the text says;
 * with true, literals such as <|start|> become their ids. Linear in n for any text. */
goss_status tokenizer_encode(const struct tokenizer *tokenizer, const void *text, size_t n, bool control,
                             struct token_list *ids, goss_error *error);

/* The bytes of one id, owned by the tokenizer; *size is 0 for an id without bytes. Control ids give their literal. */
const uint8_t *tokenizer_bytes(const struct tokenizer *tokenizer, int32_t id, size_t *size);
bool tokenizer_is_control(const struct tokenizer *tokenizer, int32_t id);
/* The id of a control token by its literal, or -1. */
int32_t tokenizer_control(const struct tokenizer *tokenizer, const char *literal);

/* Turns a stream of bytes cut anywhere into whole UTF-8 characters. Zero-initialise; flush at the end. */
struct utf8_stream {
    uint8_t pending[4];
    int n;
};
goss_status utf8_stream_add(struct utf8_stream *stream, const uint8_t *bytes, size_t n, struct buffer *text,
                            goss_error *error);
goss_status utf8_stream_flush(struct utf8_stream *stream, struct buffer *text, goss_error *error);

#endif
