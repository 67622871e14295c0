/* How attention shares out a step, and the memory that it keeps for itself.
 *
 * Sequences with at most FEW_ROWS rows go through attend_few.cu, a CTA for every row, key head and, if contexts are
 * long, chunk of keys; the rows of the others are cut into tiles of VECTORS query vectors for attend_many.cu. Vector v
 * of a sequence under one key head is its row v / group, query head v % group of those that share the key head.
 *
 * Keys and values of a sequence with more rows do not go into a ring directly, where they would take the places of keys
 * that earlier rows still see: on a sliding layer they lie in the stage, behind a copy of what the ring holds. */
#ifndef CUDA_ATTENTION_H
#define CUDA_ATTENTION_H

#include "cuda/kv.h"

enum { VECTORS = 64 };

struct query_tile {
    int32_t sequence, first; /* vector */
};

/* A step's work, on the device or in pinned memory of the host. */
struct plan {
    int32_t *few;            /* [n_few] rows */
    struct query_tile *tile; /* [n_tile] the latest rows of each sequence first: they see most keys */
    int32_t *stage_place;    /* [n_sequence] the place in the stage of a tile, less its number (position / KEY_TILE) */
};

struct attention {
    /* Of the step. */
    int n_few, n_tile;
    int chunks;    /* 0: a CTA takes all chunks of a row in turn; else one, of at most so many (full layers alone) */
    int most_rows; /* of a sequence */

    uint8_t *device, *staging; /* what the plans lie in */
    size_t plan_bytes;
    int most_tiles;

    uint16_t *stage; /* [n_kv_head][stage_tiles][tile] */
    int stage_tiles;

    /* Chunks on their own. */
    float *partial;                   /* [pairs][n_head][head_dim]; pair = few row * chunks + chunk */
    float *partial_max, *partial_sum; /* [pairs][n_head] */
    int most_pairs;

    uint16_t *snapshot; /* of a ring, on its way */
};

/* What the kernels of one layer see. */
struct attention_layer {
    struct kv kv;
    struct device_batch batch;
    int n_head, group; /* query heads, those that share a key head */
    int slot, window;
    bool sliding;
    const float *query; /* [rows][n_head][head_dim] */
    const float *sinks; /* [n_head] */
    float *attended;    /* [rows][n_head][head_dim] */
    struct plan plan;
    uint16_t *stage;
    int stage_tiles;
};

struct attention_layer attention_of(const struct backend *backend, int layer);

/* The first key that a row sees. */
DEVICE int first_key(const struct attention_layer &a, int position)
{
    return a.sliding && position >= a.window ? position - a.window + 1 : 0;
}

/* Keys [lo, hi) of a chunk. */
struct range {
    int lo, hi;
};

DEVICE struct range visible(const struct attention_layer &a, int position, int chunk)
{
    return {max(first_key(a, position) - chunk * KEY_CHUNK, 0), min(position + 1 - chunk * KEY_CHUNK, (int)KEY_CHUNK)};
}

DEVICE float greater(float a, float b) /* b unless a is greater, whatever is no number */
{
    return a > b ? a : b;
}

void attend_few(struct backend *backend, const struct attention_layer &a);
void attend_many(struct backend *backend, const struct attention_layer &a);

/* Most shared memory of their CTAs. */
size_t attend_few_bytes(int head_dim);
size_t attend_many_bytes(int head_dim);

#endif
