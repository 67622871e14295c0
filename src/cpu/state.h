/* What the stages of the CPU backend share. Private to src/cpu and its tests. */
#ifndef CPU_STATE_H
#define CPU_STATE_H

#include "base/pool.h"
#include "cpu/kernels.h"
#include "model/backend.h"
#include "model/rope.h"

enum {
    UNIT_GROUPS = 4,   /* most row groups that a worker takes at once */
    QUERY_VECTORS = 32 /* query vectors (rows x heads of one key head) that attention handles together */
};

/* Keys and values as f16. Every tile of 16 positions of one layer and key head is 2 * 16 * head_dim halves: the keys
 * [head_dim][16], then the values [16][head_dim]. */
struct kv {
    int n_page, n_ring, ring_tiles; /* a ring holds 16 * ring_tiles positions: position % that is its place */
    int slot[MODEL_MAX_LAYERS];     /* index of a layer among the full ones or among the sliding ones */
    size_t tile, page, ring;        /* sizes in halves; page and ring count all their layers */
    uint16_t *pages;                /* [n_page][full layer][n_kv_head][KEY_TILES][tile] */
    uint16_t *rings;                /* [n_ring][sliding layer][n_kv_head][ring_tiles][tile] */
    size_t pages_bytes, rings_bytes;
};

/* One worker's own memory. */
struct scratch {
    float *sum;                     /* [max_rows * n_active][UNIT_GROUPS * 16]: products before their epilogue */
    float *query;                   /* [head_dim][vectors] */
    float *score;                   /* [vectors][KEY_CHUNK] */
    float *chunk;                   /* [vectors][head_dim]: values of one chunk */
    float *acc;                     /* [vectors][head_dim]: values so far */
    float *max, *total;             /* [vectors] the maximum and the sum so far */
    float *chunk_max, *chunk_total; /* [vectors] of one chunk */
    void *memory;                   /* owns them */
};

/* Rows first_row .. + n_row - 1 of one sequence: what attention handles together. */
struct query_tile {
    const struct batch_sequence *sequence;
    int first_row, n_row;
};

struct backend {
    const struct model *model;
    const struct kernels *kernels;
    struct pool *pool;
    struct rope rope;
    struct kv kv;
    int max_rows, max_outputs;
    int vectors;             /* capacity of a scratch in query vectors */
    struct scratch *scratch; /* [threads] */

    float *x;                /* [max_rows][d_model] residual stream */
    float *normed;           /* [max_rows][d_model] */
    float *cosine, *sine;    /* [max_rows][head_dim / 2] */
    float *qkv;              /* [max_rows][rows of qkv] */
    float *attended;         /* [max_rows][n_head * head_dim] */
    struct panel rows;       /* quantised rows, columns in order of row; storage for max_rows */
    struct query_tile *tile; /* [max_rows], in rounds */
    int *round_end;          /* [max_rows] index past the last tile of each round */

    float *partial; /* [partial_chunks][n_head][head_dim + 2]: attention split over chunks */
    int64_t partial_chunks;

    float *router_logit;     /* [max_rows][n_expert] */
    int *chosen;             /* [max_rows][n_active] experts by slot */
    float *weight;           /* [max_rows][n_active] */
    int *place;              /* [max_rows][n_active] where the slot lies when sorted by expert */
    int *expert_first;       /* [n_expert + 1] first place of each expert */
    int *active, n_active;   /* experts with at least one slot */
    struct panel in, hidden; /* of all slots: each expert's panel begins at its first place; x only if experts have
                                float weights */
    void *memory;            /* owns all of the above but scratch, pages and rings */
};

/* A panel of n columns inside the storage of `all`, beginning at column `first` of it. */
struct panel panel_part(const struct panel *all, int first, int n, int cols);

/* Groups first .. first + n - 1 of matrix `index` of a stack. */
struct slab slab_of(const struct matrix *matrix, int index, int first, int n);

static inline bool is_integer(const struct matrix *matrix)
{
    return matrix->type == DTYPE_TILE_MXFP4 || matrix->type == DTYPE_TILE_Q8;
}

static inline int group_count(int rows)
{
    return (rows + LANES - 1) / LANES;
}

/* Row groups to take at once so that every worker gets several turns. */
int unit_groups(const struct backend *backend, int groups);

/* The halves of the tile that holds `position`. */
uint16_t *kv_tile(const struct backend *backend, int layer, const struct batch_sequence *sequence, int kv_head,
                  int position);

/* The stages. */
void cpu_embed(struct backend *backend, const struct batch *batch);
void cpu_attn_in(struct backend *backend, const struct batch *batch, int layer);
void cpu_attend(struct backend *backend, const struct batch *batch, int layer);
void cpu_attn_out(struct backend *backend, const struct batch *batch, int layer);
void cpu_route(struct backend *backend, const struct batch *batch, int layer);
void cpu_experts(struct backend *backend, const struct batch *batch, int layer);
void cpu_unembed(struct backend *backend, const struct batch *batch);

/* The KV copies of model/backend.h. */
goss_status kv_open(struct kv *kv, const struct model_config *config, int pages, int rings, goss_error *error);
void kv_close(struct kv *kv);
uint64_t cpu_kv_bytes(const struct model_config *config, int pages, int rings);
void cpu_copy_page(struct backend *backend, int from, int to);
uint64_t cpu_ring_bytes(const struct backend *backend);
void cpu_save_ring(struct backend *backend, int ring, int position, void *snapshot);
void cpu_load_ring(struct backend *backend, int ring, int position, const void *snapshot);

#endif
