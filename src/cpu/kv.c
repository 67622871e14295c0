/* The KV cache: pages for full layers, rings for sliding ones. */
#include <string.h>
#include <sys/mman.h>

#include "cpu/state.h"

static int count_sliding(const struct model_config *c)
{
    int n = 0;
    for (int l = 0; l < c->n_layer; l++)
        n += c->sliding[l];
    return n;
}

/* Twice the window, so that the rows of one sub-chunk of `window` never overwrite a key that one of them still sees. */
static int ring_tiles(const struct model_config *c)
{
    return (2 * c->window + KEY_TILE - 1) / KEY_TILE;
}

static void kv_sizes(struct kv *kv, const struct model_config *c)
{
    int sliding = count_sliding(c), slots[2] = {0, 0};
    for (int l = 0; l < c->n_layer; l++)
        kv->slot[l] = slots[c->sliding[l]]++;
    kv->ring_tiles = sliding ? ring_tiles(c) : 0;
    kv->tile = (size_t)2 * KEY_TILE * c->head_dim;
    kv->page = (size_t)(c->n_layer - sliding) * c->n_kv_head * KEY_TILES * kv->tile;
    kv->ring = (size_t)sliding * c->n_kv_head * kv->ring_tiles * kv->tile;
}

uint64_t cpu_kv_bytes(const struct model_config *config, int pages, int rings)
{
    struct kv kv;
    kv_sizes(&kv, config);
    return 2 * ((uint64_t)pages * kv.page + (uint64_t)rings * kv.ring);
}

/* Zeroed memory that costs nothing until it is touched. */
static goss_status reserve(uint16_t **memory, size_t *bytes, size_t item, int count, const char *what,
                           goss_error *error)
{
    *memory = NULL;
    if (__builtin_mul_overflow(item * sizeof **memory, (size_t)count, bytes))
        return error_set(error, GOSS_E_LIMIT, "%s: %d of %zu halves are more than can be addressed", what, count, item);
    if (*bytes == 0)
        return GOSS_OK;
    void *p = mmap(NULL, *bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        size_t wanted = *bytes;
        *bytes = 0;
        return error_memory(error, wanted, what);
    }
    (void)madvise(p, *bytes, MADV_HUGEPAGE); /* looking up small pages costs long contexts a good part of their time */
    *memory = p;
    return GOSS_OK;
}

goss_status kv_open(struct kv *kv, const struct model_config *config, int pages, int rings, goss_error *error)
{
    *kv = (struct kv){.n_page = pages, .n_ring = rings};
    kv_sizes(kv, config);
    goss_status status = reserve(&kv->pages, &kv->pages_bytes, kv->page, pages, "the KV pages", error);
    if (!status)
        status = reserve(&kv->rings, &kv->rings_bytes, kv->ring, rings, "the KV rings", error);
    return status;
}

void kv_close(struct kv *kv)
{
    if (kv->pages)
        munmap(kv->pages, kv->pages_bytes);
    if (kv->rings)
        munmap(kv->rings, kv->rings_bytes);
    kv->pages = kv->rings = NULL;
}

static uint16_t *ring_tile(const struct backend *b, int ring, int slot, int kv_head, int position)
{
    const struct kv *kv = &b->kv;
    int tile = position / KEY_TILE % kv->ring_tiles;
    return kv->rings + (size_t)ring * kv->ring +
           (((size_t)slot * b->model->config.n_kv_head + kv_head) * kv->ring_tiles + tile) * kv->tile;
}

uint16_t *kv_tile(const struct backend *b, int layer, const struct batch_sequence *sequence, int kv_head, int position)
{
    const struct kv *kv = &b->kv;
    int slot = kv->slot[layer];
    if (b->model->config.sliding[layer])
        return ring_tile(b, sequence->ring, slot, kv_head, position);
    int page = sequence->page[position / KV_PAGE], tile = position % KV_PAGE / KEY_TILE;
    return kv->pages + (size_t)page * kv->page +
           (((size_t)slot * b->model->config.n_kv_head + kv_head) * KEY_TILES + tile) * kv->tile;
}

void cpu_copy_page(struct backend *b, int from, int to)
{
    if (from != to)
        memcpy(b->kv.pages + (size_t)to * b->kv.page, b->kv.pages + (size_t)from * b->kv.page,
               b->kv.page * sizeof(uint16_t));
}

uint64_t cpu_snapshot_bytes(const struct model_config *c)
{
    return (uint64_t)count_sliding(c) * c->n_kv_head * c->window * 2 * c->head_dim * sizeof(uint16_t);
}

/* Snapshot: uint16 [sliding layer][n_kv_head][window][key head_dim, value head_dim], positions in order; those before
 * the beginning of the sequence are zero. */
static void copy_ring(struct backend *b, int ring, int position, uint16_t *snapshot, bool save)
{
    const struct model_config *c = &b->model->config;
    int layers = count_sliding(c), d = c->head_dim;
    for (int i = 0; i < layers * c->n_kv_head; i++)
        for (int p = position - c->window; p < position; p++, snapshot += 2 * d) {
            if (p < 0) {
                if (save)
                    memset(snapshot, 0, (size_t)2 * d * sizeof *snapshot);
                continue;
            }
            uint16_t *key = ring_tile(b, ring, i / c->n_kv_head, i % c->n_kv_head, p);
            uint16_t *value = key + KEY_TILE * d + p % KEY_TILE * d;
            key += p % KEY_TILE;
            for (int j = 0; j < d; j++)
                if (save)
                    snapshot[j] = key[j * KEY_TILE];
                else
                    key[j * KEY_TILE] = snapshot[j];
            memcpy(save ? snapshot + d : value, save ? value : snapshot + d, (size_t)d * sizeof *value);
        }
}

void cpu_save_ring(struct backend *b, int ring, int position, void *snapshot)
{
    copy_ring(b, ring, position, snapshot, true);
}

void cpu_load_ring(struct backend *b, int ring, int position, const void *snapshot)
{
    copy_ring(b, ring, position, (uint16_t *)(uintptr_t)snapshot, false);
}
