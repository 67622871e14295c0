/* Opening a model: a packed file, mapped, with its tensors found and its shapes checked. Read-only and shared. */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include <jansson.h>

#include "model/layers.h"
#include "model/pack.h"

/* Where and how a checkpoint that is not packed yet gets packed. Zeroed is the default. */
struct model_options {
    const char *cache; /* folder of packed files, made if missing; NULL: only a packed file can be opened */
    struct pack_options pack;
    struct pack_progress *progress; /* NULL, or watched while packing */
};

/* Opens a packed file. `path` may also be any checkpoint that weights/checkpoint.h reads: its packed file is then
 * looked for in the cache (by the source files' names, sizes and times, and the pack options) and made there if it
 * is not found. Processes and threads that want the same one wait for the first. options may be NULL. */
goss_status model_open(struct model **model, const char *path, const struct model_options *options, goss_error *error);
/* The same for a packed file only. */
goss_status model_open_packed(struct model **model, const char *path, goss_error *error);
void model_close(struct model *model); /* NULL is fine */

/* Copies the packed file of an open model into memory of the process (file_map_copy): its answers may be faster, and no
 * longer depend on the file. GOSS_E_MEMORY if less memory is free. progress may be NULL. */
goss_status model_copy(struct model *model, struct pack_progress *progress, goss_error *error);

/* The packed file that model_open would use for `path`: path itself if it is one, else its place in the cache, whether
 * it is there or not. The caller frees *packed_path. */
goss_status model_packed_path(const char *path, const struct model_options *options, char **packed_path,
                              goss_error *error);

/* Removes from a cache the packed files that model_open would never use again, since their checkpoint is gone or has
 * changed; those that are being made are kept. Nobody knows what `unknown` ones were made from: they are kept, too. */
struct model_pruned {
    int removed, kept, unknown;
    uint64_t bytes; /* of the removed */
};
goss_status model_cache_prune(const char *cache, struct model_pruned *pruned, goss_error *error);

/* What `path` holds, for people and programs: configuration, tensors with shapes, types and (of a packed file) digests,
 * its own and those of its sources. The caller owns *json. */
goss_status model_describe(const char *path, json_t **json, goss_error *error);

#endif
