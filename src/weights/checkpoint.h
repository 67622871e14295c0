/* A checkpoint as the user has it, opened: every file mapped, every tensor listed, nothing interpreted yet.
 *
 *   a Hugging Face folder   config.json, model.safetensors or shards with model.safetensors.index.json; optionally
 *                           generation_config.json and tokenizer.json
 *   an original/ folder     config.json of its own form and safetensors files; given directly or by its parent
 *   a GGUF file             any part of a split one stands for all of it
 */
#ifndef WEIGHTS_CHECKPOINT_H
#define WEIGHTS_CHECKPOINT_H

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "weights/gguf.h"
#include "weights/tensor.h"

enum checkpoint_format { CHECKPOINT_HF, CHECKPOINT_ORIGINAL, CHECKPOINT_GGUF };
enum { CHECKPOINT_MAX_FILES = 1024, CHECKPOINT_MAX_JSON = 16 << 20, CHECKPOINT_MAX_TOKENIZER = 256 << 20 };

struct checkpoint {
    enum checkpoint_format format;
    struct file_map *file; /* [n_file]; owned */
    int n_file;
    struct tensor_list tensors; /* sorted by name */
    struct gguf gguf;           /* of the first part; empty if it is no GGUF */
    json_t *config;             /* owned; NULL for GGUF */
    json_t *generation;         /* generation_config.json; owned; NULL if there is none */
    const char *config_file, *generation_file;
    const struct file_map *tokenizer; /* tokenizer.json; NULL if there is none */
    struct arena arena;               /* names */
};

goss_status checkpoint_open(struct checkpoint **checkpoint, const char *path, goss_error *error);
void checkpoint_close(struct checkpoint *checkpoint); /* NULL is fine */

/* Digest of the absolute path, size and time of last change of every file: tells whether it is still the same
 * checkpoint without reading it. */
goss_status checkpoint_identity(const struct checkpoint *checkpoint, uint8_t digest[SHA256_BYTES], goss_error *error);

#endif
