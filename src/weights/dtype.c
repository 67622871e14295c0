#include "weights/dtype.h"

#include <string.h>

static const char *const names[] = {
    [DTYPE_NONE] = "none",
    [DTYPE_F32] = "F32",
    [DTYPE_F16] = "F16",
    [DTYPE_BF16] = "BF16",
    [DTYPE_U8] = "U8",
    [DTYPE_I32] = "I32",
    [DTYPE_Q8_0] = "Q8_0",
    [DTYPE_MXFP4_GGML] = "MXFP4",
    [DTYPE_MXFP4_OLLAMA] = "MXFP4_OLLAMA",
    [DTYPE_TILE_MXFP4] = "TILE_MXFP4",
    [DTYPE_TILE_Q8] = "TILE_Q8",
    [DTYPE_TILE_BF16] = "TILE_BF16",
    [DTYPE_TILE_F32] = "TILE_F32",
};
enum { DTYPES = sizeof names / sizeof *names };

const char *dtype_name(enum dtype type)
{
    return (unsigned)type < DTYPES ? names[type] : "unknown";
}

enum dtype dtype_named(const char *name)
{
    for (int type = DTYPE_NONE + 1; type < DTYPES; type++)
        if (strcmp(names[type], name) == 0)
            return (enum dtype)type;
    return DTYPE_NONE;
}

/* A block is the smallest run of elements that can be stored. */
static uint64_t block_elements(enum dtype type)
{
    return type == DTYPE_Q8_0 || type == DTYPE_MXFP4_GGML || type == DTYPE_MXFP4_OLLAMA ? 32 : 1;
}

static uint64_t block_bytes(enum dtype type)
{
    switch (type) {
    case DTYPE_F32:
    case DTYPE_I32: return 4;
    case DTYPE_F16:
    case DTYPE_BF16: return 2;
    case DTYPE_U8: return 1;
    case DTYPE_Q8_0: return 34;
    case DTYPE_MXFP4_GGML:
    case DTYPE_MXFP4_OLLAMA: return 17;
    default: return 0;
    }
}

uint64_t dtype_bytes(enum dtype type, uint64_t n)
{
    uint64_t bytes;
    if (n % block_elements(type) || __builtin_mul_overflow(n / block_elements(type), block_bytes(type), &bytes))
        return 0;
    return bytes;
}
