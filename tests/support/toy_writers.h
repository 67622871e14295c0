/* The file formats under toy_checkpoint.c: lists of tensors written as safetensors and GGUF, and the JSON beside
 * them. */
#ifndef SUPPORT_TOY_WRITERS_H
#define SUPPORT_TOY_WRITERS_H

#include "base/arena.h"
#include "base/buffer.h"
#include "support/toy_checkpoint.h"

enum toy_type { TOY_F32, TOY_F16, TOY_BF16, TOY_U8, TOY_Q8_0, TOY_MXFP4, TOY_MXFP4_OLLAMA };

struct toy_item {
    char name[128];
    enum toy_type type;
    int n_dim;
    uint64_t dim[4]; /* outermost first */
    const void *data;
    uint64_t bytes;
};

struct toy_list {
    const struct toy *toy;
    enum toy_type dense; /* of the matrices of a GGUF */
    struct arena arena;  /* of names and values */
    struct toy_item *item;
    size_t n, capacity;
};

struct toy_index {
    struct buffer text; /* the entries of weight_map written so far */
};

void toy_add_raw(struct toy_list *list, const char *name, enum toy_type type, int n_dim, const uint64_t *dim,
                 const void *data);
/* bf16 values kept as they are, or converted to F32, F16 or Q8_0. */
void toy_add_bf16(struct toy_list *list, const char *name, int n_dim, const uint64_t *dim, const uint16_t *x);
void toy_add_as(struct toy_list *list, const char *name, enum toy_type type, int n_dim, const uint64_t *dim,
                const uint16_t *x);

/* Each writes what the list holds and empties it. */
void toy_write_safetensors(struct toy_list *list, const char *folder, const char *file, bool metadata);
void toy_write_shard(struct toy_list *list, const char *folder, int shard, int shards, struct toy_index *index);
void toy_write_gguf_files(struct toy_list *list, const char *path, bool ollama, int files);

void toy_write_index(struct toy_index *index, const char *folder);
void toy_write_hf_config(const struct toy *toy, const char *folder, bool rope5, bool bf16_experts);
void toy_write_original_config(const struct toy *toy, const char *folder);
void toy_write_tokenizer_json(const char *folder);

#endif
