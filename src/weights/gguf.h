/* GGUF versions 2 and 3, little-endian: typed metadata, then tensors. */
#ifndef WEIGHTS_GGUF_H
#define WEIGHTS_GGUF_H

#include "weights/tensor.h"

enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPES
};

enum { GGUF_MAX_KEYS = 4096, GGUF_MAX_ALIGNMENT = 1 << 16 };

/* One entry of the metadata, still in the mapped file. An array of arrays is refused. */
struct gguf_value {
    const char *key;
    enum gguf_type type; /* of the value, or of an array's elements */
    bool array;
    uint64_t count;      /* elements; 1 if it is no array */
    const uint8_t *data; /* little-endian and unaligned; strings: each an 8-byte length and its bytes */
};

/* Zero-initialise. */
struct gguf {
    const char *file;
    struct gguf_value *value; /* in the arena */
    size_t n;
};

/* Reads the metadata of one mapped file and appends its tensors; `file` and the mapping must outlive both. */
goss_status gguf_read(const uint8_t *bytes, uint64_t size, const char *file, struct arena *arena, struct gguf *gguf,
                      struct tensor_list *list, goss_error *error);

/* NULL if there is none. */
const struct gguf_value *gguf_find(const struct gguf *gguf, const char *key);

/* Single values by key; a missing key and one of another type are errors. Integers of every width are read. */
goss_status gguf_integer(const struct gguf *gguf, const char *key, int64_t *value, goss_error *error);
goss_status gguf_number(const struct gguf *gguf, const char *key, double *value, goss_error *error);
/* *text is not NUL-terminated. */
goss_status gguf_text(const struct gguf *gguf, const char *key, const char **text, uint64_t *size, goss_error *error);

/* Element i of an integer array, or the single value for i = 0; false if it is no integer. */
bool gguf_element(const struct gguf_value *value, uint64_t i, int64_t *element);
/* Walks an array of strings: *cursor starts at value->data and is moved past the string returned. */
const uint8_t *gguf_next_string(const uint8_t **cursor, uint64_t *size);

#endif
