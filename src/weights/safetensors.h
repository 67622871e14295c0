/* safetensors: an 8-byte little-endian length, a JSON header of that length, then the tensors' bytes. As strict as the
 * format's reference reader: the tensors, in whatever order, fill the rest of the file without holes or overlaps. */
#ifndef WEIGHTS_SAFETENSORS_H
#define WEIGHTS_SAFETENSORS_H

#include "weights/tensor.h"

enum { SAFETENSORS_MAX_HEADER = 32 << 20 };

/* Appends the tensors of one file, mapped at `bytes`; `file` and the mapping must outlive them. */
goss_status safetensors_read(const uint8_t *bytes, uint64_t size, const char *file, struct arena *arena,
                             struct tensor_list *list, goss_error *error);

#endif
