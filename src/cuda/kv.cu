/* The KV cache on the device: pages for full layers, rings for sliding ones, in the layout of src/cpu/kv.c, so that a
 * snapshot saved by one backend can be loaded by the other. */
#include "cuda/attention.h"

static int count_sliding(const struct model_config *c)
{
    int n = 0;
    for (int l = 0; l < c->n_layer; l++)
        n += c->sliding[l];
    return n;
}

/* Twice the window, or as much as keeps FEW_ROWS rows of one step from overwriting a key that one of them still sees:
 * so many are stored at once. */
static int ring_tiles(const struct model_config *c)
{
    int more = c->window > FEW_ROWS ? c->window : FEW_ROWS;
    return (c->window + more + KEY_TILE - 1) / KEY_TILE;
}

static struct kv kv_sizes(const struct model_config *c, int pages, int rings)
{
    int sliding = count_sliding(c);
    struct kv kv = {};
    kv.n_page = pages;
    kv.n_ring = rings;
    kv.n_kv_head = c->n_kv_head;
    kv.head_dim = c->head_dim;
    kv.ring_tiles = sliding ? ring_tiles(c) : 0;
    kv.tile = (size_t)2 * KEY_TILE * c->head_dim;
    kv.page = (size_t)(c->n_layer - sliding) * c->n_kv_head * KEY_TILES * kv.tile;
    kv.ring = (size_t)sliding * c->n_kv_head * kv.ring_tiles * kv.tile;
    return kv;
}

uint64_t kv_bytes(const struct model_config *config, int pages, int rings)
{
    struct kv kv = kv_sizes(config, pages, rings);
    return 2 * ((uint64_t)pages * kv.page + (uint64_t)rings * kv.ring);
}

uint64_t kv_snapshot_bytes(const struct model_config *c)
{
    return (uint64_t)count_sliding(c) * c->n_kv_head * c->window * 2 * c->head_dim * sizeof(uint16_t);
}

static goss_status reserve(uint16_t **memory, size_t item, int count, const char *what, goss_error *error)
{
    size_t bytes;
    if (__builtin_mul_overflow(item * sizeof **memory, (size_t)count, &bytes))
        return error_set(error, GOSS_E_LIMIT, "%s: %d of %zu halves are more than can be addressed", what, count, item);
    if (bytes == 0 || cudaMalloc((void **)memory, bytes) == cudaSuccess)
        return GOSS_OK;
    *memory = NULL;
    return error_set(error, GOSS_E_MEMORY, "%s: the GPU has no %zu MB for them", what, bytes >> 20);
}

goss_status kv_open(struct backend *b, int pages, int rings, goss_error *error)
{
    const struct model_config *c = &b->model->config;
    int slots[2] = {0, 0};
    for (int l = 0; l < c->n_layer; l++)
        b->slot[l] = slots[c->sliding[l]]++;
    b->kv = kv_sizes(c, pages, rings);
    goss_status status = reserve(&b->kv.pages, b->kv.page, pages, "the KV pages", error);
    return status ? status : reserve(&b->kv.rings, b->kv.ring, rings, "the KV rings", error);
}

void kv_close(struct backend *b)
{
    (void)cudaFree(b->kv.pages);
    (void)cudaFree(b->kv.rings);
    b->kv.pages = b->kv.rings = NULL;
}

void kv_copy_page(struct backend *b, int from, int to)
{
    if (from != to && b->kv.page > 0)
        keep_first(b, cudaMemcpyAsync(b->kv.pages + (size_t)to * b->kv.page, b->kv.pages + (size_t)from * b->kv.page,
                                      b->kv.page * sizeof(uint16_t), cudaMemcpyDeviceToDevice, b->stream));
}

/* Snapshot: uint16 [sliding layer][n_kv_head][window][key head_dim, value head_dim], positions in order; those before
 * the beginning of the sequence are zero. A CTA a position of one layer and key head. */
static __global__ void copy_ring(const struct kv kv, int ring, int position, uint16_t *snapshot, bool save)
{
    wait_for_previous();
    int window = (int)gridDim.x, head = (int)blockIdx.y, p = position - window + (int)blockIdx.x, n = 2 * kv.head_dim;
    uint16_t *copy = snapshot + ((size_t)head * window + blockIdx.x) * n;
    if (p < 0 && !save)
        return;
    struct tile_run run = ring_run(kv, ring, head / kv.n_kv_head, head % kv.n_kv_head, max(p, 0));
    for (int e = (int)threadIdx.x; e < n; e += (int)blockDim.x) {
        uint16_t *element = kv_element(kv, tile_at(kv, run, 0), max(p, 0), e);
        if (save)
            copy[e] = p < 0 ? (uint16_t)0 : *element;
        else
            *element = copy[e];
    }
}

/* Through memory of the device, whatever the host's is. */
static void move_ring(struct backend *b, int ring, int position, uint16_t *snapshot, bool save)
{
    const struct model_config *c = &b->model->config;
    uint16_t *copy = b->attention->snapshot;
    size_t bytes = kv_snapshot_bytes(c);
    if (bytes == 0)
        return;
    if (!save)
        keep_first(b, cudaMemcpyAsync(copy, snapshot, bytes, cudaMemcpyHostToDevice, b->stream));
    run_kernel(b, dim3(c->window, count_sliding(c) * c->n_kv_head), dim3(128), 0, copy_ring, b->kv, ring, position,
               copy, save);
    if (save)
        keep_first(b, cudaMemcpyAsync(snapshot, copy, bytes, cudaMemcpyDeviceToHost, b->stream));
    keep_first(b, cudaStreamSynchronize(b->stream));
}

void kv_save_ring(struct backend *b, int ring, int position, void *snapshot)
{
    move_ring(b, ring, position, (uint16_t *)snapshot, true);
}

void kv_load_ring(struct backend *b, int ring, int position, const void *snapshot)
{
    move_ring(b, ring, position, (uint16_t *)(uintptr_t)snapshot, false);
}
