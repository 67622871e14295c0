/* Which keys and values are where. The bytes themselves lie in the backend; here are the page tables, the cached
 * prefixes and who holds what.
 *
 * A page holds KV_PAGE positions of every full layer; a ring holds the last positions of every sliding layer. A page
 * whose positions are all computed is published: it becomes a node of a tree, found by its parent (the page before it),
 * its owner and its KV_PAGE ids, which are compared, not trusted to a hash. So a page stands for the whole prefix that
 * leads to it, and equal prefixes share pages.
 *
 * A sliding layer cannot be resumed from pages, so a prefix can only be continued at a checkpoint: a position, the page
 * before it, the ids and the partly filled page after that, and a snapshot of the ring. Checkpoints are what the cache
 * keeps; pages live as long as a sequence, a checkpoint or a later page holds them. Without sliding layers every page
 * boundary is as good as a checkpoint.
 *
 * A partly filled page may belong to a sequence that goes on writing behind the checkpoint's position; whoever resumes
 * from a checkpoint copies it first. Positions once computed are never written again.
 *
 * Eviction takes the least recently used checkpoint whose last page no sequence holds. A hit renews the checkpoints on
 * its way, the shortest prefix last, so that what many prompts begin with stays longest.
 *
 * Nothing here fails after kv_cache_open but for pages running out; without memory for a snapshot there is no
 * checkpoint. */
#ifndef ENGINE_KV_H
#define ENGINE_KV_H

#include <stdbool.h>

#include "model/backend.h"

struct kv_cache;

goss_status kv_cache_open(struct kv_cache **kv, const struct backend_table *table, struct backend *backend, int pages,
                          int rings, int checkpoints, uint64_t snapshot_bytes, goss_error *error);
void kv_cache_close(struct kv_cache *kv); /* NULL is fine */

/* The part of a running sequence. The caller sets owner, cached and page, an array for the longest the sequence may
 * become; the rest is kept by the functions below. */
struct kv_sequence {
    uint64_t owner;
    bool cached;   /* uses the cache and leaves something in it */
    int32_t *page; /* [n_page] */
    int n_page;
    int n_published; /* pages of the tree, from the first */
    int ring;
};

/* Gives a sequence a ring, pages for `reserve` positions and the longest prefix of id[0 .. n-1) that can be continued,
 * whose length is *position. False, and nothing changed, if rings or pages are short. */
bool kv_cache_begin(struct kv_cache *kv, struct kv_sequence *sequence, const int32_t *id, int n, int reserve,
                    int *position);

/* Makes sure that there are pages for positions 0 .. n-1. False if pages are short. */
bool kv_cache_reserve(struct kv_cache *kv, struct kv_sequence *sequence, int n);

/* Tells that id[0 .. n) are computed. */
void kv_cache_publish(struct kv_cache *kv, struct kv_sequence *sequence, const int32_t *id, int n);

/* Keeps a checkpoint at `position`, the end of the last batch or up to `window` positions before it. */
void kv_cache_checkpoint(struct kv_cache *kv, struct kv_sequence *sequence, const int32_t *id, int position);

/* Gives everything back. What the cache holds of it stays. */
void kv_cache_end(struct kv_cache *kv, struct kv_sequence *sequence);

/* Drops every checkpoint. */
void kv_cache_forget(struct kv_cache *kv);

struct kv_cache_stats {
    int pages, pages_free, pages_cached; /* cached: held by no sequence */
    int rings, rings_free;
    int checkpoints, checkpoints_max;
    uint64_t hits, hit_tokens, copies, evictions;
};
struct kv_cache_stats kv_cache_stats(const struct kv_cache *kv);

#endif
