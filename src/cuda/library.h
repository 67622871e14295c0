/* What libgossamer_cuda.so shows to the program that loads it. Plain C. */
#ifndef CUDA_LIBRARY_H
#define CUDA_LIBRARY_H

#include "model/backend.h"

/* A library and a program go together if they were built from the same headers; the sizes of what passes between them
 * stand for those. */
#define CUDA_LIBRARY_ABI                                                                                               \
    (1u * 1000000u + (unsigned)(sizeof(struct backend_table) + sizeof(struct batch) + sizeof(struct batch_sequence) +  \
                                sizeof(struct model) + sizeof(struct layer) + sizeof(struct backend_options)))

struct cuda_device {
    char name[128];
    uint64_t memory_bytes, memory_free_bytes;
};

struct cuda_library {
    unsigned abi;
    const struct backend_table *table;
    goss_status (*probe)(struct cuda_device *device, goss_error *error); /* the device that would be used */
    /* That a model takes of its memory with the experts of the first expert_layers layers. */
    uint64_t (*weights_bytes)(const struct model *model, int expert_layers);
};

/* The one symbol that the library shows. */
extern const struct cuda_library gossamer_cuda __attribute__((visibility("default")));
#define CUDA_LIBRARY_SYMBOL "gossamer_cuda"
#define CUDA_LIBRARY_FILE "libgossamer_cuda.so"

#endif
