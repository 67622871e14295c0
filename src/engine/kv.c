#include "engine/kv.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { NONE = -1 };

struct page {
    int32_t refs; /* sequences, checkpoints and published pages that need it */
    int32_t pins; /* the sequences among them */
    int32_t next; /* in the free list, or in the chain of its hash bucket */
    bool published;
    /* If published: what it is found by, and the first of the checkpoints right after it. */
    int32_t parent; /* page or NONE */
    int32_t checkpoint;
    uint64_t owner, hash;
    int32_t id[KV_PAGE];
};

struct checkpoint {
    uint64_t owner;
    int32_t parent;  /* the published page before it, or NONE */
    int32_t partial; /* the page that holds the tail; NONE if n_tail is 0 */
    int n_tail;
    int32_t tail[KV_PAGE]; /* ids since the last page boundary */
    void *snapshot;        /* snapshot_bytes; kept for the next user of the slot */
    int32_t next;          /* after the same parent, or in the free list */
    int32_t older, newer;  /* in order of use */
};

struct kv_cache {
    const struct backend_table *table;
    struct backend *backend;
    uint64_t snapshot_bytes;
    struct page *page; /* [n_pages] */
    int n_pages, n_free, n_pinned;
    int32_t first_free;
    int32_t *bucket; /* [n_buckets] first page of each chain; a power of two */
    uint32_t n_buckets;
    int32_t *ring; /* [n_rings], the first n_rings_free are free */
    int n_rings, n_rings_free;
    struct checkpoint *checkpoint; /* [n_checkpoints_max] */
    int n_checkpoints, n_checkpoints_max;
    int32_t first_free_checkpoint;
    int32_t root;           /* the first checkpoint before any page boundary */
    int32_t oldest, newest; /* ends of the order of use */
    int32_t *path;          /* [n_checkpoints_max] scratch of find */
    uint64_t hits, hit_tokens, copies, evictions;
};

static int pages_for(int positions)
{
    return (positions + KV_PAGE - 1) / KV_PAGE;
}

/* ---- opening ---- */

static void link_all(struct kv_cache *kv)
{
    for (int p = kv->n_pages - 1; p >= 0; p--) {
        kv->page[p].next = kv->first_free;
        kv->first_free = p;
    }
    for (int c = kv->n_checkpoints_max - 1; c >= 0; c--) {
        kv->checkpoint[c].next = kv->first_free_checkpoint;
        kv->first_free_checkpoint = c;
    }
    for (int r = 0; r < kv->n_rings; r++)
        kv->ring[r] = r;
    for (uint32_t b = 0; b < kv->n_buckets; b++)
        kv->bucket[b] = NONE;
}

goss_status kv_cache_open(struct kv_cache **out, const struct backend_table *table, struct backend *backend, int pages,
                          int rings, int checkpoints, uint64_t snapshot_bytes, goss_error *error)
{
    *out = NULL;
    assert(pages > 0 && rings > 0 && checkpoints >= 0);
    struct kv_cache *kv = calloc(1, sizeof *kv);
    if (!kv)
        return error_memory(error, sizeof *kv, "the KV tables");
    kv->table = table;
    kv->backend = backend;
    kv->snapshot_bytes = snapshot_bytes;
    kv->n_pages = kv->n_free = pages;
    kv->n_rings = kv->n_rings_free = rings;
    kv->n_checkpoints_max = checkpoints;
    kv->first_free = kv->first_free_checkpoint = kv->root = kv->oldest = kv->newest = NONE;
    kv->n_buckets = 64;
    while (kv->n_buckets < 2 * (uint32_t)pages)
        kv->n_buckets *= 2;
    size_t spare = (size_t)checkpoints + 1; /* never a request for 0 bytes */
    kv->page = calloc((size_t)pages, sizeof *kv->page);
    kv->bucket = calloc(kv->n_buckets, sizeof *kv->bucket);
    kv->ring = calloc((size_t)rings, sizeof *kv->ring);
    kv->checkpoint = calloc(spare, sizeof *kv->checkpoint);
    kv->path = calloc(spare, sizeof *kv->path);
    if (!kv->page || !kv->bucket || !kv->ring || !kv->checkpoint || !kv->path) {
        kv_cache_close(kv);
        return error_memory(error, (size_t)pages * sizeof *kv->page, "the KV tables");
    }
    link_all(kv);
    *out = kv;
    return GOSS_OK;
}

void kv_cache_close(struct kv_cache *kv)
{
    if (!kv)
        return;
    for (int c = 0; kv->checkpoint && c < kv->n_checkpoints_max; c++)
        free(kv->checkpoint[c].snapshot);
    free(kv->page);
    free(kv->bucket);
    free(kv->ring);
    free(kv->checkpoint);
    free(kv->path);
    free(kv);
}

/* ---- the tree of published pages ---- */

static uint64_t hash_of(uint64_t owner, int32_t parent, const int32_t id[KV_PAGE])
{
    uint64_t h = (owner ^ 0x9E3779B97F4A7C15u) * 0xD6E8FEB86659FD93u + (uint64_t)(uint32_t)parent;
    for (int i = 0; i < KV_PAGE; i++) {
        h = (h ^ (uint32_t)id[i]) * 0xD6E8FEB86659FD93u;
        h ^= h >> 32;
    }
    return h;
}

static int32_t *bucket_of(struct kv_cache *kv, uint64_t hash)
{
    return &kv->bucket[hash & (kv->n_buckets - 1)];
}

static int32_t find_page(struct kv_cache *kv, uint64_t owner, int32_t parent, const int32_t id[KV_PAGE])
{
    uint64_t hash = hash_of(owner, parent, id);
    int32_t p = *bucket_of(kv, hash);
    for (; p != NONE; p = kv->page[p].next) {
        const struct page *page = &kv->page[p];
        if (page->hash == hash && page->owner == owner && page->parent == parent &&
            memcmp(page->id, id, sizeof page->id) == 0)
            break;
    }
    return p;
}

static void unpublish(struct kv_cache *kv, int32_t p)
{
    int32_t *link = bucket_of(kv, kv->page[p].hash);
    while (*link != p)
        link = &kv->page[*link].next;
    *link = kv->page[p].next;
    kv->page[p].published = false;
}

/* Drops one reference; a page that nobody needs is free, and needs its parent no longer. */
static void drop(struct kv_cache *kv, int32_t p)
{
    while (p != NONE && --kv->page[p].refs == 0) {
        struct page *page = &kv->page[p];
        int32_t parent = NONE;
        if (page->published) {
            parent = page->parent;
            unpublish(kv, p);
        }
        page->next = kv->first_free;
        kv->first_free = p;
        kv->n_free++;
        p = parent;
    }
}

static void pin(struct kv_cache *kv, int32_t p)
{
    kv->page[p].refs++;
    if (kv->page[p].pins++ == 0)
        kv->n_pinned++;
}

static void unpin(struct kv_cache *kv, int32_t p)
{
    if (--kv->page[p].pins == 0)
        kv->n_pinned--;
    drop(kv, p);
}

/* ---- checkpoints ---- */

static int32_t *list_after(struct kv_cache *kv, int32_t parent)
{
    return parent == NONE ? &kv->root : &kv->page[parent].checkpoint;
}

static void order_remove(struct kv_cache *kv, int32_t c)
{
    struct checkpoint *k = &kv->checkpoint[c];
    *(k->older == NONE ? &kv->oldest : &kv->checkpoint[k->older].newer) = k->newer;
    *(k->newer == NONE ? &kv->newest : &kv->checkpoint[k->newer].older) = k->older;
}

static void order_append(struct kv_cache *kv, int32_t c)
{
    struct checkpoint *k = &kv->checkpoint[c];
    k->older = kv->newest;
    k->newer = NONE;
    *(kv->newest == NONE ? &kv->oldest : &kv->checkpoint[kv->newest].newer) = c;
    kv->newest = c;
}

static void renew(struct kv_cache *kv, int32_t c)
{
    order_remove(kv, c);
    order_append(kv, c);
}

static int32_t last_page(const struct checkpoint *k)
{
    return k->partial != NONE ? k->partial : k->parent;
}

static void checkpoint_drop(struct kv_cache *kv, int32_t c)
{
    struct checkpoint *k = &kv->checkpoint[c];
    int32_t *link = list_after(kv, k->parent);
    while (*link != c)
        link = &kv->checkpoint[*link].next;
    *link = k->next;
    order_remove(kv, c);
    drop(kv, k->partial);
    drop(kv, k->parent);
    k->next = kv->first_free_checkpoint;
    kv->first_free_checkpoint = c;
    kv->n_checkpoints--;
}

static bool evict(struct kv_cache *kv)
{
    for (int32_t c = kv->oldest; c != NONE; c = kv->checkpoint[c].newer)
        if (kv->page[last_page(&kv->checkpoint[c])].pins == 0) {
            checkpoint_drop(kv, c);
            kv->evictions++;
            return true;
        }
    return false;
}

/* A page that no sequence holds is free or kept by checkpoints that can be evicted: a sequence holds all pages on the
 * way to those it holds. So this fails only if every page is pinned. */
static int32_t take(struct kv_cache *kv)
{
    while (kv->first_free == NONE)
        if (!evict(kv))
            return NONE;
    int32_t p = kv->first_free;
    struct page *page = &kv->page[p];
    kv->first_free = page->next;
    kv->n_free--;
    page->refs = page->pins = 0;
    pin(kv, p);
    return p;
}

static bool matches(const struct checkpoint *k, uint64_t owner, const int32_t *tail, int n)
{
    return k->owner == owner && k->n_tail <= n && memcmp(k->tail, tail, (size_t)k->n_tail * sizeof *tail) == 0;
}

/* ---- finding and taking over a prefix ---- */

struct match {
    int position;
    int32_t parent;     /* the last page to share, or NONE */
    int32_t checkpoint; /* or NONE: position is a page boundary and there is no ring */
};

/* The longest prefix of id[0 .. n) that can be continued, and the checkpoints on its way renewed. */
static struct match find(struct kv_cache *kv, uint64_t owner, const int32_t *id, int n)
{
    struct match best = {.position = 0, .parent = NONE, .checkpoint = NONE};
    int n_path = 0;
    int32_t parent = NONE;
    for (int at = 0;; at += KV_PAGE) {
        if (kv->snapshot_bytes == 0)
            best = (struct match){.position = at, .parent = parent, .checkpoint = NONE};
        for (int32_t c = *list_after(kv, parent); c != NONE; c = kv->checkpoint[c].next) {
            const struct checkpoint *k = &kv->checkpoint[c];
            if (!matches(k, owner, id + at, n - at))
                continue;
            kv->path[n_path++] = c;
            if (at + k->n_tail > best.position)
                best = (struct match){.position = at + k->n_tail, .parent = parent, .checkpoint = c};
        }
        if (n - at < KV_PAGE || (parent = find_page(kv, owner, parent, id + at)) == NONE)
            break;
    }
    while (n_path > 0)
        renew(kv, kv->path[--n_path]);
    return best;
}

/* Whether pages for `reserve` positions can be had on top of what the match shares. */
static bool affordable(const struct kv_cache *kv, const struct match *match, int reserve)
{
    int pinned = kv->n_pinned, shared = 0;
    for (int32_t p = match->parent; p != NONE; p = kv->page[p].parent, shared++)
        pinned += kv->page[p].pins == 0;
    if (match->checkpoint != NONE && kv->checkpoint[match->checkpoint].partial != NONE)
        pinned += kv->page[kv->checkpoint[match->checkpoint].partial].pins == 0; /* held while it is copied */
    return pages_for(reserve) - shared <= kv->n_pages - pinned;
}

static void take_over(struct kv_cache *kv, struct kv_sequence *s, const struct match *match)
{
    s->n_page = s->n_published = match->position / KV_PAGE;
    int32_t p = match->parent;
    for (int i = s->n_page - 1; i >= 0; i--, p = kv->page[p].parent) {
        s->page[i] = p;
        pin(kv, p);
    }
    if (match->checkpoint == NONE)
        return;
    const struct checkpoint *k = &kv->checkpoint[match->checkpoint];
    if (k->partial != NONE) {
        int32_t from = k->partial;
        pin(kv, from); /* so that making room does not evict it */
        s->page[s->n_page] = take(kv);
        kv->table->copy_page(kv->backend, from, s->page[s->n_page++]);
        kv->copies++;
        unpin(kv, from);
    }
    if (kv->snapshot_bytes > 0)
        kv->table->load_ring(kv->backend, s->ring, match->position, k->snapshot);
}

bool kv_cache_begin(struct kv_cache *kv, struct kv_sequence *s, const int32_t *id, int n, int reserve, int *position)
{
    struct match match = {.position = 0, .parent = NONE, .checkpoint = NONE};
    if (kv->n_rings_free == 0)
        return false;
    if (s->cached)
        match = find(kv, s->owner, id, n - 1);
    if (!affordable(kv, &match, reserve))
        return false;
    s->ring = kv->ring[--kv->n_rings_free];
    take_over(kv, s, &match);
    *position = match.position;
    if (match.position > 0) {
        kv->hits++;
        kv->hit_tokens += (uint64_t)match.position;
    }
    bool reserved = kv_cache_reserve(kv, s, reserve);
    assert(reserved); /* affordable said so */
    return reserved;
}

bool kv_cache_reserve(struct kv_cache *kv, struct kv_sequence *s, int n)
{
    while (s->n_page < pages_for(n)) {
        int32_t p = take(kv);
        if (p == NONE)
            return false;
        s->page[s->n_page++] = p;
    }
    return true;
}

/* ---- leaving something behind ---- */

void kv_cache_publish(struct kv_cache *kv, struct kv_sequence *s, const int32_t *id, int n)
{
    if (!s->cached)
        return;
    for (; s->n_published < n / KV_PAGE; s->n_published++) {
        int i = s->n_published;
        const int32_t *ids = id + (size_t)i * KV_PAGE;
        int32_t own = s->page[i], parent = i > 0 ? s->page[i - 1] : NONE;
        int32_t equal = find_page(kv, s->owner, parent, ids);
        if (equal != NONE) { /* somebody computed the same: the same bits, so one copy is enough */
            pin(kv, equal);
            s->page[i] = equal;
            unpin(kv, own);
            continue;
        }
        struct page *page = &kv->page[own];
        page->published = true;
        page->parent = parent;
        page->checkpoint = NONE;
        page->owner = s->owner;
        page->hash = hash_of(s->owner, parent, ids);
        memcpy(page->id, ids, sizeof page->id);
        page->next = *bucket_of(kv, page->hash);
        *bucket_of(kv, page->hash) = own;
        if (parent != NONE)
            kv->page[parent].refs++;
    }
}

/* A free slot with memory for a snapshot, or NONE. */
static int32_t checkpoint_slot(struct kv_cache *kv)
{
    if (kv->first_free_checkpoint == NONE && kv->oldest != NONE) {
        checkpoint_drop(kv, kv->oldest);
        kv->evictions++;
    }
    int32_t c = kv->first_free_checkpoint;
    if (c == NONE)
        return NONE;
    struct checkpoint *k = &kv->checkpoint[c];
    if (!k->snapshot && kv->snapshot_bytes > 0 && !(k->snapshot = malloc(kv->snapshot_bytes)))
        return NONE;
    kv->first_free_checkpoint = k->next;
    return c;
}

void kv_cache_checkpoint(struct kv_cache *kv, struct kv_sequence *s, const int32_t *id, int position)
{
    int boundary = position / KV_PAGE * KV_PAGE, n_tail = position - boundary;
    if (!s->cached || position == 0)
        return;
    assert(s->n_published >= position / KV_PAGE);
    int32_t parent = boundary > 0 ? s->page[boundary / KV_PAGE - 1] : NONE;
    for (int32_t c = *list_after(kv, parent); c != NONE; c = kv->checkpoint[c].next)
        if (kv->checkpoint[c].n_tail == n_tail && matches(&kv->checkpoint[c], s->owner, id + boundary, n_tail)) {
            (void)find(kv, s->owner, id, position); /* renews it and those before it */
            return;
        }
    int32_t c = checkpoint_slot(kv);
    if (c == NONE)
        return;
    struct checkpoint *k = &kv->checkpoint[c];
    k->owner = s->owner;
    k->parent = parent;
    k->partial = n_tail > 0 ? s->page[boundary / KV_PAGE] : NONE;
    k->n_tail = n_tail;
    memcpy(k->tail, id + boundary, (size_t)n_tail * sizeof *id);
    if (kv->snapshot_bytes > 0)
        kv->table->save_ring(kv->backend, s->ring, position, k->snapshot);
    if (parent != NONE)
        kv->page[parent].refs++;
    if (k->partial != NONE)
        kv->page[k->partial].refs++;
    int32_t *link = list_after(kv, parent); /* in order of position, so that find meets the shortest prefix first */
    while (*link != NONE && kv->checkpoint[*link].n_tail < n_tail)
        link = &kv->checkpoint[*link].next;
    k->next = *link;
    *link = c;
    order_append(kv, c);
    kv->n_checkpoints++;
    (void)find(kv, s->owner, id, position);
}

void kv_cache_end(struct kv_cache *kv, struct kv_sequence *s)
{
    for (int i = 0; i < s->n_page; i++)
        unpin(kv, s->page[i]);
    s->n_page = s->n_published = 0;
    kv->ring[kv->n_rings_free++] = s->ring;
}

void kv_cache_forget(struct kv_cache *kv)
{
    while (kv->oldest != NONE)
        checkpoint_drop(kv, kv->oldest);
}

struct kv_cache_stats kv_cache_stats(const struct kv_cache *kv)
{
    return (struct kv_cache_stats){
        .pages = kv->n_pages,
        .pages_free = kv->n_free,
        .pages_cached = kv->n_pages - kv->n_free - kv->n_pinned,
        .rings = kv->n_rings,
        .rings_free = kv->n_rings_free,
        .checkpoints = kv->n_checkpoints,
        .checkpoints_max = kv->n_checkpoints_max,
        .hits = kv->hits,
        .hit_tokens = kv->hit_tokens,
        .copies = kv->copies,
        .evictions = kv->evictions,
    };
}
