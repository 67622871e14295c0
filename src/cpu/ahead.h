/* Fetching the next segment of the weights while one is multiplied. Unpacking reads a segment at once and then leaves
 * memory idle for as long as its columns take; asked for a few lines at a time meanwhile, the next one is there. */
#ifndef CPU_AHEAD_H
#define CPU_AHEAD_H

#include "cpu/lanes_kernels.h"

enum { LINE_BYTES = 64 };

/* The packed weights of n_group groups in one segment. */
struct ahead {
    const uint8_t *quants, *scales;        /* of the first group */
    size_t quant_stride, scale_stride;     /* from group to group */
    int n_group, quant_lines, scale_lines; /* of a group */
    int lines_a_step;
};

/* What follows the blocks before `end` of n_group groups, `blocks` long each: the rest of their rows, or the groups
 * that lie behind them in memory. It is to be fetched in so many steps. */
INLINE struct ahead ahead_of(const uint8_t *quants, const uint8_t *scales, bool mxfp4, size_t blocks, int n_group,
                             size_t end, int steps)
{
    size_t first = end < blocks ? end : n_group * blocks, left = end < blocks ? blocks - end : blocks;
    size_t n = left < SEGMENT_BLOCKS ? left : SEGMENT_BLOCKS;
    int lines = (int)(n * quant_bytes(mxfp4) / LINE_BYTES);
    return (struct ahead){
        .quants = quants + first * quant_bytes(mxfp4),
        .scales = scales + first * scale_bytes(mxfp4),
        .quant_stride = blocks * quant_bytes(mxfp4),
        .scale_stride = blocks * scale_bytes(mxfp4),
        .n_group = n_group,
        .quant_lines = lines,
        .scale_lines = (int)(n * scale_bytes(mxfp4) / LINE_BYTES + 1),
        .lines_a_step = (lines + steps - 1) / steps,
    };
}

INLINE void fetch_ahead(const struct ahead *a, int step)
{
    int line = step * a->lines_a_step;
    if (line >= a->quant_lines)
        return;
    for (int g = 0; g < a->n_group; g++) {
        for (int i = line; i < line + a->lines_a_step; i++)
            _mm_prefetch((const char *)a->quants + g * a->quant_stride + (size_t)i * LINE_BYTES, _MM_HINT_T1);
        if (step < a->scale_lines)
            _mm_prefetch((const char *)a->scales + g * a->scale_stride + (size_t)step * LINE_BYTES, _MM_HINT_T1);
    }
}

#endif
