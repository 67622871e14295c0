/* Where keys and values are: device functions for the kernels that store or read them. */
#ifndef CUDA_KV_H
#define CUDA_KV_H

#include "cuda/state.h"

/* Tiles in the order of positions, of `count` that are used in turn: the first is at `place`. */
struct tile_run {
    uint16_t *base;
    int place, count;
};

/* The ring's tiles of a layer and key head, from that of `position` on. */
DEVICE struct tile_run ring_run(const struct kv &kv, int ring, int slot, int kv_head, int position)
{
    size_t head = (size_t)slot * kv.n_kv_head + kv_head;
    return {kv.rings + (size_t)ring * kv.ring + head * kv.ring_tiles * kv.tile, position / KEY_TILE % kv.ring_tiles,
            kv.ring_tiles};
}

/* The same of a page, up to its end. */
DEVICE struct tile_run page_run(const struct kv &kv, int page, int slot, int kv_head, int position)
{
    size_t head = (size_t)slot * kv.n_kv_head + kv_head;
    return {kv.pages + (size_t)page * kv.page + head * KEY_TILES * kv.tile, position % KV_PAGE / KEY_TILE, KEY_TILES};
}

/* A sequence's tiles in the cache, up to the end of the chunk of `position`. */
DEVICE struct tile_run cache_run(const struct kv &kv, const struct device_batch &batch, int slot, bool sliding,
                                 int sequence, int kv_head, int position)
{
    if (sliding)
        return ring_run(kv, batch.ring[sequence], slot, kv_head, position);
    int page = batch.page[batch.page_first[sequence] + position / KV_PAGE];
    return page_run(kv, page, slot, kv_head, position);
}

/* The t-th tile of a run, t < count. */
DEVICE uint16_t *tile_at(const struct kv &kv, const struct tile_run &run, int t)
{
    int place = run.place + t;
    return run.base + (size_t)(place < run.count ? place : place - run.count) * kv.tile;
}

/* Element e of a position: of its key, or, from head_dim on, of its value. */
DEVICE uint16_t *kv_element(const struct kv &kv, uint16_t *tile, int position, int e)
{
    int k = position % KEY_TILE;
    return tile + (e < kv.head_dim ? e * KEY_TILE + k : (KEY_TILE + k) * kv.head_dim + e - kv.head_dim);
}

/* Puts element d of a row's key (turned) or value into the cache. */
DEVICE void kv_store(const struct kv &kv, const struct device_batch &batch, int slot, bool sliding, int row,
                     int kv_head, int d, bool value, float x)
{
    int position = batch.position[row];
    struct tile_run run = cache_run(kv, batch, slot, sliding, batch.sequence_of[row], kv_head, position);
    *kv_element(kv, tile_at(kv, run, 0), position, value ? kv.head_dim + d : d) = fmath_f32_to_f16(x);
}

#endif
