/* What the stages of the CUDA backend share. Private to src/cuda and its tests. Pointers in struct weights, activations
 * and device_batch lead into device memory. */
#ifndef CUDA_STATE_H
#define CUDA_STATE_H

#include "cuda/device.h"

extern "C" {
#include "model/arithmetic.h"
#include "model/backend.h"
#include "model/rope.h"
#include "weights/tile.h"
}

enum {
    FEW_ROWS = 8, /* up to here a product reads its weights once and mostly waits for them */
};

/* The batch of a step as the kernels see it. The pointers never change, the counts are those of the step: what a
 * captured graph must not hold (positions, pages, rings) is in memory. */
struct device_batch {
    int32_t n_row, n_output, n_sequence;
    const int32_t *token, *position;                              /* [n_row] */
    const int32_t *sequence_of;                                   /* [n_row] index of the row's sequence */
    const int32_t *output_row;                                    /* [n_output] */
    const int32_t *first_row, *n_rows_of, *first_position, *ring; /* [n_sequence] */
    const int32_t *page_first;                                    /* [n_sequence] where its pages begin in `page` */
    const int32_t *page;                                          /* ids: page[page_first[s] + position / KV_PAGE] */
    const struct batch_draw *draw;                                /* [n_output] */
};

/* Quantised rows, the right-hand side of integer products: a row's bytes follow each other, inside of every block in
 * the order of the weights' type (norm.h). */
struct panel {
    int8_t *q;    /* [rows][cols] */
    float *scale; /* [rows][scale_stride(cols)] */
};

/* MXFP4's scales are powers of two, which product_many.cu takes into the conversion of a dot product instead of
 * multiplying by them. That gives the same bits as long as the product of both scales is exact: with exponents and, but
 * for 0, activation scales in these ranges. */
enum { FOLD_LEAST = 70, FOLD_MOST = 180 };
#define FOLD_LEAST_SCALE 0x1p-60f
#define FOLD_MOST_SCALE 0x1p+75f

/* Scales of a row, so that every row's begin on 16 bytes. */
static __host__ __device__ inline int scale_stride(int cols)
{
    return (cols / BLOCK + 3) / 4 * 4;
}

/* A slot is one row's choice of one expert: slot = row * n_active + choice. Its place is its rank when slots are sorted
 * by expert, rows in order within. */
struct activations {
    float *x;                       /* [rows][d_model] residual stream */
    float *cosine, *sine;           /* [rows][head_dim / 2] */
    float *qkv;                     /* [rows][rows of qkv]: raw products, when rows are many */
    float *q_rows;                  /* [rows][n_head * head_dim]: turned queries */
    float *attended;                /* [rows][n_head * head_dim] */
    float *normed;                  /* [rows or outputs][d_model] */
    struct panel in;                /* [rows or outputs][the longest input]: what the next product reads */
    struct panel hidden_in;         /* [slots][d_ff] by place */
    float *hidden;                  /* [slots][d_ff] by place */
    float *out;                     /* [slots][d_model] by place: what the experts say */
    int32_t *out_done;              /* [d_model / 32] experts that have said so many values; 0 between stages */
    float *router_sum;              /* [rows][segments][n_expert, rounded up to 16] */
    int32_t *router_done;           /* [rows / FEW_ROWS, rounded up] sums that are there; 0 between stages */
    int32_t *chosen;                /* [rows][n_active] experts by slot */
    float *weight;                  /* [rows][n_active] */
    int32_t *place;                 /* [rows][n_active] */
    int32_t *slot_of;               /* [slots] by place: place[slot_of[p]] == p */
    int32_t *expert_first;          /* [n_expert + 1] first place of each expert */
    int32_t *active;                /* [n_expert] experts with at least one slot, in order; the others follow as -1 */
    int32_t *active_count;          /* [1] how many, if rows are few */
    float *logits;                  /* [outputs][n_vocab] */
    struct draw_state *draw_row;    /* [outputs] what drawing an id keeps, .. */
    struct slice_state *draw_slice; /* [outputs][slices] .. see sample.cu */
    int32_t *drawn;                 /* [outputs] ids, or -1 */
};

/* Keys and values as f16 in the tiles of src/cpu/state.h: 16 positions of one layer and key head are the keys
 * [head_dim][16], then the values [16][head_dim]. Kernels take it by value. */
struct kv {
    int n_page, n_ring, ring_tiles; /* a ring holds 16 * ring_tiles positions: position % that is its place */
    int n_kv_head, head_dim;
    size_t tile, page, ring; /* sizes in halves; page and ring count all their layers */
    uint16_t *pages;         /* [n_page][full layer][n_kv_head][KEY_TILES][tile] */
    uint16_t *rings;         /* [n_ring][sliding layer][n_kv_head][ring_tiles][tile] */
};

/* Lays arrays out in one block of device memory: first with base NULL to add up the sizes, with addresses that mean
 * nothing, then again to place them. */
struct layout {
    uint8_t *base;
    size_t used;
    bool overflow;
};

/* Room for count_a * count_b items, on 256 bytes. */
static inline void layout_place(struct layout *layout, void **array, size_t item, size_t count_a, size_t count_b)
{
    size_t bytes, end;
    if (__builtin_mul_overflow(count_a, count_b, &bytes) || __builtin_mul_overflow(bytes, item, &bytes) ||
        __builtin_add_overflow(layout->used, bytes, &end) || end > SIZE_MAX / 2) {
        layout->overflow = true;
        end = layout->used;
    }
    *array = (void *)((uintptr_t)layout->base + layout->used);
    layout->used = (end + 255) / 256 * 256;
}

#define PLACE(layout, array, count_a, count_b)                                                                         \
    layout_place(layout, (void **)&(array), sizeof *(array), count_a, count_b)

/* Whether any id of a step is to be drawn by the GPU, and whether with top-k or top-p. */
enum draws { DRAWS_NONE, DRAWS_PLAIN, DRAWS_CUT };

/* What decides which kernels a step launches, and with which arguments. */
struct shape {
    int n_row, n_output, n_sequence, attention;
    enum draws draws;
};

/* The stages of a step are run, or captured as a graph, or were captured before and do nothing. */
enum step { STEP_DIRECT, STEP_CAPTURE, STEP_REPLAY };

struct attention; /* what attention keeps for itself: attention.h */
struct graphs;    /* captured steps: step.cu */

struct backend {
    const struct model *model;
    struct model weights; /* the model with its pointers leading into device memory */
    void *weight_memory;
    int32_t *unfolded; /* on the device: 1 from when a scale was seen that is out of the ranges of FOLD_.. */
    struct rope rope;
    struct kv kv;
    int slot[MODEL_MAX_LAYERS]; /* index of a layer among the full ones or among the sliding ones */
    int max_rows, max_outputs, max_sequences;
    int multiprocessors, shared_limit; /* of the device; dynamic shared memory that a CTA may have */
    char name[192];                    /* of what computes */
    cudaStream_t stream;
    struct activations a;
    struct attention *attention; /* owned */
    struct device_batch batch;   /* of the step under way */
    const struct batch *host_batch;
    struct shape shape;
    enum step step;
    void *staging;       /* pinned: what the batch's arrays get */
    int32_t *host_drawn; /* pinned: [max_outputs] */
    float *host_logits;  /* pinned: [max_outputs][n_vocab] */
    void *memory;        /* owns the activations */
    size_t memory_bytes;
    void *batch_memory;    /* owns the batch's arrays */
    bool overlap;          /* launches may begin before the kernel before them ends */
    struct graphs *graphs; /* owned */
    /* The experts of the first so many layers are on the device. The second half of the others is computed by a backend
     * of the host's. */
    int expert_layers;
    const struct backend_table *host;
    struct backend *host_backend; /* owned; NULL if no layer needs it */
    float *host_rows;             /* pinned: [max_rows][d_model], the residual stream on its way there and back */
    cudaError_t failed;           /* the first error of a step */
};

/* Memory of the device: what may be used of it (limit 0: all that is free), for how many layers' experts that is enough
 * beside all else that opening asks for, and the activations. */
uint64_t memory_available(uint64_t limit);
goss_status memory_plan(struct backend *backend, const struct backend_options *options, goss_error *error);
goss_status activations_open(struct backend *backend, goss_error *error);

/* Layers whose experts are not on the device. */
goss_status host_open(struct backend *backend, const struct backend_options *options, goss_error *error);
void host_close(struct backend *backend);
void host_stage(struct backend *backend, int layer); /* x: norm, router, experts, residual */

/* Around the stages of a step: the batch goes over, and ids and logits come back. */
goss_status step_open(struct backend *backend, goss_error *error);
void step_close(struct backend *backend);
void step_begin(struct backend *backend, const struct batch *batch);
void step_end(struct backend *backend);

/* Attention: memory (attend_place is called twice, see struct layout), keys and values, and its stages. */
goss_status attend_open(struct backend *backend, const struct backend_options *options, goss_error *error);
void attend_place(struct layout *layout, struct backend *backend);
void attend_close(struct backend *backend);
goss_status kv_open(struct backend *backend, int pages, int rings, goss_error *error);
void kv_close(struct backend *backend);
uint64_t kv_bytes(const struct model_config *config, int pages, int rings);
void kv_copy_page(struct backend *backend, int from, int to);
uint64_t kv_snapshot_bytes(const struct model_config *config);
void kv_save_ring(struct backend *backend, int ring, int position, void *snapshot);
void kv_load_ring(struct backend *backend, int ring, int position, const void *snapshot);

/* Once a step, when the batch is uploaded and before the first stage. What it returns decides with the batch's counts
 * which kernels attention launches. */
int attend_plan(struct backend *backend, const struct batch *batch);

void embed_stage(struct backend *backend);             /* x, cosine, sine */
void heads_stage(struct backend *backend, int layer);  /* many rows: a.qkv -> a.q_rows and the cache */
void attend_stage(struct backend *backend, int layer); /* q_rows, cache -> attended */
void route_stage(struct backend *backend, int layer);  /* x -> normed, in (MXFP4 or Q8 order), chosen .. active */
void sample_place(struct layout *layout, struct backend *backend);
void sample_stage(struct backend *backend);  /* logits -> drawn */
void combine_stage(struct backend *backend); /* x += weighted out */

/* Weights: with the experts of the first expert_layers layers. */
uint64_t weights_bytes(const struct model *model, int expert_layers);
goss_status weights_upload(struct backend *backend, goss_error *error);
void weights_free(struct backend *backend);

/* Rows row[i] of x, or row i if row is NULL, normed: a.normed, and a.in in the order of the user's weights. */
void norm_rows(struct backend *backend, const float *gain, const int32_t *row, int n, const struct matrix *user);
/* n rows of x, as long as the user's inputs, rounded in the order of its weights; nothing if those are floats. */
void quantise_rows(struct backend *backend, const float *x, int n, const struct matrix *user, struct panel panel);

/* The stages that are products: norm .. bias, and what docs/arithmetic.md says becomes of them. */
void qkv_stage(struct backend *backend, int layer);
void attn_out_stage(struct backend *backend, int layer);
void experts_stage(struct backend *backend, int layer);
void unembed_stage(struct backend *backend);

/* A step goes on after an error, which `failed` keeps. */
static inline void keep_first(struct backend *b, cudaError_t error)
{
    if (b->failed == cudaSuccess)
        b->failed = error;
}

/* Launches a kernel of the step. */
template <typename... Parameters, typename... Arguments>
static inline void run_kernel(struct backend *b, dim3 grid, dim3 block, size_t shared_bytes,
                              void (*kernel)(Parameters...), const Arguments &...arguments)
{
    struct launch launch = {grid, block, shared_bytes, b->stream, b->overlap};
    cudaError_t error = cudaSuccess;
    if (shared_bytes > 48 << 10) /* more has to be asked for */
        error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared_bytes);
    if (error == cudaSuccess)
        error = launch_kernel(launch, kernel, arguments...);
    keep_first(b, error);
}

/* The layer as it lies on the device. */
static inline const struct layer &device_layer(const struct backend *b, int layer)
{
    return b->weights.layers[layer];
}

/* By all threads of a CTA: whether it is the last of n that come here; then it sees what the others have written
 * before, and *count is 0 again. */
DEVICE bool comes_last(int32_t *count, int n)
{
    __shared__ int32_t before;
    fence_device();
    __syncthreads();
    if (threadIdx.x == 0) {
        before = atomic_add_i32(count, 1);
        if (before == n - 1)
            *count = 0;
    }
    __syncthreads();
    fence_device();
    return before == n - 1;
}

static inline bool is_integer(const struct matrix *matrix)
{
    return matrix->type == DTYPE_TILE_MXFP4 || matrix->type == DTYPE_TILE_Q8;
}

static __host__ __device__ inline int group_count(int rows)
{
    return (rows + TILE_ROWS - 1) / TILE_ROWS;
}

#endif
