#include "cpu/kernels.h"

#include <stddef.h>
#include <string.h>

#include "model/model.h"

struct entry {
    const struct kernels *kernels;
    bool (*runs)(void); /* on this machine */
};

static bool always(void)
{
    return true;
}

static const struct entry entries[] = {
#if defined(__x86_64__)
#elif defined(__aarch64__)
#endif
    {&scalar_kernels, always},
};
enum { ENTRIES = sizeof entries / sizeof entries[0] };

const struct kernels *kernels_at(int index)
{
    for (int i = 0; i < ENTRIES; i++)
        if (entries[i].runs() && index-- == 0)
            return entries[i].kernels;
    return NULL;
}

goss_status kernels_pick(const struct kernels **kernels, const char *cap, goss_error *error)
{
    bool below = cap == NULL;
    *kernels = NULL;
    for (int i = 0; i < ENTRIES; i++) {
        below = below || strcmp(cap, entries[i].kernels->name) == 0;
        if (below && entries[i].runs()) {
            *kernels = entries[i].kernels;
            return GOSS_OK;
        }
    }
    return error_set(error, GOSS_E_ARGUMENT, "isa: '%s' is none that this architecture has", cap);
}

product_fn *kernels_product(const struct kernels *kernels, const struct matrix *matrix)
{
    switch (matrix->type) {
    case DTYPE_TILE_MXFP4: return kernels->product_mxfp4;
    case DTYPE_TILE_Q8: return kernels->product_q8;
    case DTYPE_TILE_BF16: return kernels->product_bf16;
    case DTYPE_TILE_F32: return kernels->product_f32;
    default: return NULL;
    }
}
