/* What the stages of the CPU backend share. Private to src/cpu and its tests. */
#ifndef CPU_STATE_H
#define CPU_STATE_H

#include <stdatomic.h>

#include "base/pool.h"
#include "cpu/kernels.h"
#include "model/backend.h"
#include "model/rope.h"

enum {
    UNIT_GROUPS = 4,    /* most row groups that a worker takes at once, .. */
    MOST_UNITS = 64,    /* .. or this many times as many while it waits for memory */
    QUERY_VECTORS = 32, /* query vectors (rows x heads of one key head) that are scored together: a part .. */
    TILE_PARTS = 4,     /* .. of a tile, whose parts look at the same keys one after the other */
    STREAM_COLUMNS = 4, /* up to here a product waits for its weights, so that a worker takes long runs of them */
    FEW_ROWS = 2        /* up to here every worker norms all rows for itself, which takes no longer than to meet */
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
    float *sum;                     /* [columns][16 * groups at once]: products before their epilogue */
    struct panel few;               /* up to FEW_ROWS normed rows */
    float *query;                   /* [TILE_PARTS][head_dim][vectors of a part] */
    float *acc;                     /* [TILE_PARTS][vectors][head_dim]: values so far */
    float *max, *total;             /* [TILE_PARTS][vectors] the maximum and the sum so far */
    float *score;                   /* [vectors][KEY_CHUNK] */
    float *chunk;                   /* [vectors][head_dim]: values of one chunk */
    float *chunk_max, *chunk_total; /* [vectors] of one chunk */
    void *memory;                   /* owns them */
};

/* Rows first_row .. + n_row - 1 of one sequence: what attention handles together. */
struct query_tile {
    const struct batch_sequence *sequence;
    int first_row, n_row;
};

/* How attention shares out a batch on the layers of one kind. A round is all rows of full layers, or at most `window`
 * rows of each sequence on sliding ones, so that a ring never loses a key that is still to be seen. */
struct tiling {
    struct query_tile *tile; /* [max_rows], in rounds */
    int *round_end;          /* [max_rows] index past the last tile of each round */
    int n_round;
    int chunks; /* 0, or the most chunks that a row sees: the units of work are runs of chunks, tiles are one part */
    int run;    /* chunks in a run */
};

struct backend {
    const struct model *model;
    const struct kernels *kernels;
    struct pool *pool;
    struct rope rope;
    struct kv kv;
    int max_rows, max_outputs;
    size_t sum_columns;      /* columns of UNIT_GROUPS row groups that a worker's `sum` holds */
    struct scratch *scratch; /* [threads] */

    float *x;              /* [max_rows][d_model] residual stream */
    float *cosine, *sine;  /* [max_rows][head_dim / 2] */
    float *qkv;            /* [max_rows][rows of qkv] */
    struct panel rows;     /* normed rows, unless they are few */
    struct panel attended; /* a column of n_head * head_dim values for every row */

    const struct batch_sequence **sequence_of; /* [max_rows] */
    struct tiling full, sliding;
    float *partial; /* [partial_chunks][n_head][head_dim + 2]: attention split over chunks */
    int64_t partial_chunks;
    atomic_int *chunks_done; /* [max_rows][n_kv_head] of a tile and key head; 0 between layers */

    float *router_sum;       /* [rows][segments][n_expert, rounded up to 16] */
    float *router_logit;     /* [n_expert] of the row that is looked at */
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

/* Row groups of the least number of whole heads that are worth a unit. */
static inline int head_groups(const struct model_config *config)
{
    int groups = config->head_dim / LANES;
    return groups < UNIT_GROUPS ? UNIT_GROUPS / groups * groups : groups;
}

/* Row groups to take at once so that every worker gets several turns. */
int unit_groups(const struct backend *backend, int groups);

/* Most row groups to take at once for a product with so many columns: `unit`, or what `sum` holds of them. */
int run_groups(const struct backend *backend, int unit, int columns);

/* The halves of the tile that holds `position`. */
uint16_t *kv_tile(const struct backend *backend, int layer, const struct batch_sequence *sequence, int kv_head,
                  int position);

/* Where n normed rows are, or are to be: the worker's own or everybody's. */
struct panel rows_panel(const struct backend *backend, int worker, int n);

/* Fills rows_panel: column i is the norm of row row[i] of x, or of row i if row is NULL; quantised as well if asked. */
struct panel normed_rows(struct backend *backend, int worker, const int32_t *row, int n, const float *gain,
                         bool quantised);

/* Before the first layer: where every row belongs, and how attention is shared out. */
void attend_plan(struct backend *backend, const struct batch *batch);

/* Puts a row's head of keys or of values, counted behind the query heads, into the cache. */
void attend_store(struct backend *backend, int layer, int row, int head);

/* Rows of each sequence in one round. */
static inline int round_rows(const struct backend *backend, int layer)
{
    return backend->model->config.sliding[layer] ? backend->model->config.window : INT32_MAX;
}

/* The stages. */
void cpu_embed(struct backend *backend, int worker, const struct batch *batch);
void cpu_attn_in(struct backend *backend, int worker, const struct batch *batch, int layer);
void cpu_attend(struct backend *backend, int worker, const struct batch *batch, int layer);
void cpu_attn_out(struct backend *backend, int worker, const struct batch *batch, int layer);
void cpu_route(struct backend *backend, int worker, const struct batch *batch, int layer);
void cpu_experts(struct backend *backend, int worker, const struct batch *batch, int layer);
void cpu_unembed(struct backend *backend, int worker, const struct batch *batch);

/* The KV copies of model/backend.h. */
goss_status kv_open(struct kv *kv, const struct model_config *config, int pages, int rings, goss_error *error);
void kv_close(struct kv *kv);
uint64_t cpu_kv_bytes(const struct model_config *config, int pages, int rings);
void cpu_copy_page(struct backend *backend, int from, int to);
uint64_t cpu_snapshot_bytes(const struct model_config *config);
void cpu_save_ring(struct backend *backend, int ring, int position, void *snapshot);
void cpu_load_ring(struct backend *backend, int ring, int position, const void *snapshot);

#endif
