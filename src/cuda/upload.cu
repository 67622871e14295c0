/* The model's tensors in device memory. Integer matrices are copied as the packed file has them and then turned, block
 * by block and in place, into the order in which a lane of the tensor cores loads its part at once. */
#include "cuda/state.h"

enum { STAGING_BYTES = 32 << 20, BLOCKS_OF_CTA = 8 };

struct upload {
    struct layout layout; /* base NULL: only adds up sizes */
    uint8_t *staging[2];  /* pinned */
    cudaEvent_t copied[2];
    int turn;
    cudaStream_t stream;
    int32_t *unfolded;
    cudaError_t error;
};

/* ---- the order of a block ---- */

/* Of a lane (g = lane / 4, t = lane % 4): the words of rows g and g + 8 for its inputs. MXFP4: line t, eight inputs a
 * word. Q8: line t, four inputs, then line 4 + t. See device.h and weights/tile.h. */
static __global__ void turn_quants(uint8_t *quants, uint64_t stride, int64_t blocks, int words)
{
    wait_for_previous();
    int64_t block = (int64_t)blockIdx.x * BLOCKS_OF_CTA + threadIdx.x / 32;
    int lane = (int)threadIdx.x % 32, line = lane % 4, row = lane / 4;
    if (block >= blocks)
        return;
    uint32_t *at = reinterpret_cast<uint32_t *>(quants + blockIdx.y * stride) + block * 32 * words, word[4];
    for (int i = 0; i < words; i++)
        word[i] = at[(line + i / 2 * 4) * TILE_ROWS + row + i % 2 * 8];
    warp_sync();
    for (int i = 0; i < words; i++)
        at[lane * words + i] = word[i];
}

/* The scales of a block in the order of rows 0 8 1 9 2 10 ..: a lane's two lie beside each other. Bytes are exponents.
 */
template <typename Scale>
static __global__ void turn_scales(uint8_t *scales, uint64_t stride, int64_t blocks, int32_t *unfolded)
{
    wait_for_previous();
    int64_t block = (int64_t)blockIdx.x * BLOCKS_OF_CTA + threadIdx.x / 32;
    int lane = (int)threadIdx.x % 32;
    if (block >= blocks)
        return;
    Scale *at = reinterpret_cast<Scale *>(scales + blockIdx.y * stride) + block * TILE_ROWS;
    Scale own = at[lane % TILE_ROWS];
    if (sizeof own == 1 && (own < FOLD_LEAST || own > FOLD_MOST))
        *unfolded = 1;
    warp_sync();
    if (lane < TILE_ROWS)
        at[lane % 8 * 2 + lane / 8] = own;
}

static void turn(struct upload *u, const struct matrix *m)
{
    int64_t blocks = (int64_t)group_count(m->rows) * (m->cols / BLOCK);
    dim3 grid((unsigned)((blocks + BLOCKS_OF_CTA - 1) / BLOCKS_OF_CTA), (unsigned)m->count);
    struct launch launch = {grid, dim3(32 * BLOCKS_OF_CTA), 0, u->stream, false};
    uint8_t *quants = (uint8_t *)m->quants, *scales = (uint8_t *)m->scales;
    bool mxfp4 = m->type == DTYPE_TILE_MXFP4;
    cudaError_t error = launch_kernel(launch, turn_quants, quants, m->stride, blocks, mxfp4 ? 2 : 4);
    if (!error)
        error = launch_kernel(launch, mxfp4 ? turn_scales<uint8_t> : turn_scales<uint16_t>, scales, m->stride, blocks,
                              u->unfolded);
    if (!u->error)
        u->error = error;
}

/* ---- copying ---- */

/* Through pinned memory in two turns: one part is on its way while the next one is read. */
static void copy_bytes(struct upload *u, uint8_t *to, const uint8_t *from, uint64_t bytes)
{
    for (uint64_t done = 0; done < bytes && !u->error; u->turn ^= 1) {
        uint64_t part = bytes - done < STAGING_BYTES ? bytes - done : (uint64_t)STAGING_BYTES;
        u->error = cudaEventSynchronize(u->copied[u->turn]);
        memcpy(u->staging[u->turn], from + done, part);
        if (!u->error)
            u->error = cudaMemcpyAsync(to + done, u->staging[u->turn], part, cudaMemcpyHostToDevice, u->stream);
        if (!u->error)
            u->error = cudaEventRecord(u->copied[u->turn], u->stream);
        done += part;
    }
}

/* Gives bytes a place, and copies them there if there is memory. Returns the place. */
static const uint8_t *upload_bytes(struct upload *u, const void *from, uint64_t bytes)
{
    uint8_t *to = NULL;
    layout_place(&u->layout, (void **)&to, 1, bytes, 1);
    if (u->layout.base)
        copy_bytes(u, to, (const uint8_t *)from, bytes);
    return to;
}

static const float *upload_floats(struct upload *u, const float *from, uint64_t n)
{
    return (const float *)upload_bytes(u, from, n * sizeof *from);
}

static struct matrix upload_matrix(struct upload *u, const struct matrix &from)
{
    struct matrix m = from;
    uint64_t bytes = m.count > 1 ? m.stride * m.count : tile_bytes(m.type, m.rows, m.cols);
    m.quants = upload_bytes(u, from.quants, bytes);
    m.scales = from.scales ? m.quants + (from.scales - from.quants) : NULL;
    if (u->layout.base && is_integer(&m))
        turn(u, &m);
    return m;
}

static void upload_layer(struct upload *u, const struct model_config *c, const struct layer &from, struct layer *to,
                         bool with_experts)
{
    uint64_t d = c->d_model, experts = c->n_expert, ff = c->d_ff;
    *to = from;
    to->attn_norm = upload_floats(u, from.attn_norm, d);
    to->qkv = upload_matrix(u, from.qkv);
    to->qkv_bias = upload_floats(u, from.qkv_bias, from.qkv.rows);
    to->sinks = upload_floats(u, from.sinks, c->n_head);
    to->attn_out = upload_matrix(u, from.attn_out);
    to->attn_out_bias = upload_floats(u, from.attn_out_bias, d);
    to->mlp_norm = upload_floats(u, from.mlp_norm, d);
    to->router = upload_matrix(u, from.router);
    to->router_bias = upload_floats(u, from.router_bias, experts);
    to->gate_up = with_experts ? upload_matrix(u, from.gate_up) : matrix{};
    to->gate_up_bias = with_experts ? upload_floats(u, from.gate_up_bias, experts * 2 * ff) : NULL;
    to->down = with_experts ? upload_matrix(u, from.down) : matrix{};
    to->down_bias = with_experts ? upload_floats(u, from.down_bias, experts * d) : NULL;
}

static void upload_model(struct upload *u, const struct model *from, struct model *to, int expert_layers)
{
    const struct model_config *c = &from->config;
    uint64_t table = (uint64_t)c->n_vocab * c->d_model;
    to->embedding = upload_bytes(u, from->embedding, table / BLOCK * (from->embedding_type == DTYPE_BF16 ? 64 : 34));
    to->final_norm = upload_floats(u, from->final_norm, c->d_model);
    to->head = upload_matrix(u, from->head);
    for (int l = 0; l < c->n_layer; l++)
        upload_layer(u, c, from->layers[l], &to->layers[l], l < expert_layers);
}

uint64_t weights_bytes(const struct model *model, int expert_layers)
{
    struct upload u = {};
    struct model copy = *model;
    struct layer layer;
    upload_bytes(&u, NULL, 0);
    copy.config.n_layer = 0;
    upload_model(&u, &copy, &copy, 0);
    for (int l = 0; l < model->config.n_layer; l++)
        upload_layer(&u, &model->config, model->layers[l], &layer, l < expert_layers);
    return u.layout.used;
}

static goss_status upload_open(struct upload *u, cudaStream_t stream, goss_error *error)
{
    u->stream = stream;
    goss_status status = GOSS_OK;
    for (int i = 0; i < 2 && !status; i++) {
        status = CUDA_STATUS(cudaMallocHost((void **)&u->staging[i], STAGING_BYTES), error);
        if (!status)
            status = CUDA_STATUS(cudaEventCreate(&u->copied[i]), error);
    }
    return status;
}

static void upload_close(struct upload *u)
{
    for (int i = 0; i < 2; i++) {
        (void)cudaFreeHost(u->staging[i]);
        if (u->copied[i])
            (void)cudaEventDestroy(u->copied[i]);
    }
}

goss_status weights_upload(struct backend *b, goss_error *error)
{
    struct upload u = {};
    b->weights = *b->model;
    b->weights.layers = (struct layer *)calloc((size_t)b->model->config.n_layer, sizeof *b->weights.layers);
    if (!b->weights.layers)
        return error_memory(error, b->model->config.n_layer * sizeof *b->weights.layers, "the layers");
    uint64_t bytes = weights_bytes(b->model, b->expert_layers);
    goss_status status = CUDA_STATUS(cudaMalloc(&b->weight_memory, bytes + sizeof *b->unfolded), error);
    if (!status)
        status =
            CUDA_STATUS(cudaMemsetAsync((uint8_t *)b->weight_memory + bytes, 0, sizeof *b->unfolded, b->stream), error);
    if (!status)
        status = upload_open(&u, b->stream, error);
    if (!status) {
        u.layout.base = (uint8_t *)b->weight_memory;
        u.unfolded = b->unfolded = (int32_t *)(u.layout.base + bytes);
        upload_model(&u, b->model, &b->weights, b->expert_layers);
        status = cuda_status(u.error, "copying the weights", error);
    }
    if (!status)
        status = CUDA_STATUS(cudaStreamSynchronize(b->stream), error);
    upload_close(&u);
    return status;
}

void weights_free(struct backend *b)
{
    (void)cudaFree(b->weight_memory);
    free(b->weights.layers);
}
