/* The element types that a tensor can have, in a source file or in the packed file. */
#ifndef WEIGHTS_DTYPE_H
#define WEIGHTS_DTYPE_H

#include <stdint.h>

enum dtype {
    DTYPE_NONE = 0,
    DTYPE_F32,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_U8, /* raw bytes: the blocks and scales of safetensors */
    DTYPE_I32,
    DTYPE_Q8_0,         /* ggml: 34 bytes per 32, f16 scale then int8 */
    DTYPE_MXFP4_GGML,   /* ggml type 39: 17 bytes per 32, scale byte then nibbles (j, j+16) */
    DTYPE_MXFP4_OLLAMA, /* Ollama's type 4 in architecture "gptoss": the same framing, nibbles (2j, 2j+1) */
    DTYPE_TILE_MXFP4,
    DTYPE_TILE_Q8,
    DTYPE_TILE_BF16,
    DTYPE_TILE_F32,
};

const char *dtype_name(enum dtype type);
enum dtype dtype_named(const char *name); /* DTYPE_NONE if there is no such name */

/* Bytes of n elements of a row-major type. 0 for tile types, and if n is no multiple of the type's block or the
 * product overflows. */
uint64_t dtype_bytes(enum dtype type, uint64_t n);

#endif
