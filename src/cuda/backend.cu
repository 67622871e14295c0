/* Opening the CUDA backend and running its steps. A step is enqueued on one stream by one thread. The launches of a
 * step of few rows are captured once for each shape and replayed from then on. */
#include <stdio.h>
#include <stdlib.h>

#include "cuda/state.h"

extern "C" {
#include "cuda/library.h"
}

enum { MOST_GRAPHS = 64, LEAST_MAJOR = 8 };

struct graph {
    struct shape shape;
    cudaGraphExec_t executable;
};

struct graphs {
    struct graph graph[MOST_GRAPHS];
    int n;
};

/* ---- memory ---- */

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static void place_panel(struct layout *l, struct panel *panel, size_t rows, size_t cols)
{
    PLACE(l, panel->q, rows, cols);
    PLACE(l, panel->scale, rows, scale_stride((int)cols));
}

static void place_activations(struct layout *l, struct backend *b)
{
    const struct model_config *c = &b->model->config;
    struct activations *a = &b->a;
    size_t rows = b->max_rows, d = c->d_model, heads = (size_t)c->n_head * c->head_dim, k = c->n_active;
    size_t slots = rows * k, half = (size_t)c->head_dim / 2, tall = larger(rows, b->max_outputs);
    PLACE(l, a->x, rows, d);
    PLACE(l, a->cosine, rows, half);
    PLACE(l, a->sine, rows, half);
    PLACE(l, a->qkv, rows, heads + (size_t)2 * c->n_kv_head * c->head_dim);
    PLACE(l, a->q_rows, rows, heads);
    PLACE(l, a->attended, rows, heads);
    PLACE(l, a->normed, tall, d);
    place_panel(l, &a->in, tall, larger(d, heads));
    place_panel(l, &a->hidden_in, slots, c->d_ff);
    PLACE(l, a->hidden, slots, c->d_ff);
    PLACE(l, a->out, slots, d);
    PLACE(l, a->router_sum, rows * ((d + SEGMENT - 1) / SEGMENT), (size_t)group_count(c->n_expert) * TILE_ROWS);
    PLACE(l, a->router_done, (rows + FEW_ROWS - 1) / FEW_ROWS, 1);
    PLACE(l, a->chosen, rows, k);
    PLACE(l, a->weight, rows, k);
    PLACE(l, a->place, rows, k);
    PLACE(l, a->slot_of, slots, 1);
    PLACE(l, a->expert_first, (size_t)c->n_expert + 1, 1);
    PLACE(l, a->active, c->n_expert, 1);
    PLACE(l, a->logits, b->max_outputs, c->n_vocab);
    attend_place(l, b);
    sample_place(l, b);
}

/* The batch's arrays, in the staging memory or on the device. */
struct batch_arrays {
    int32_t *token, *position, *sequence_of, *output_row, *first_row, *n_rows_of, *first_position, *ring, *page_first,
        *page;
    struct batch_draw *draw;
};

static size_t most_pages(const struct backend *b)
{
    return (size_t)b->max_sequences * (b->model->config.max_context / KV_PAGE + 2);
}

static struct batch_arrays place_batch(struct layout *l, const struct backend *b)
{
    struct batch_arrays a = {};
    PLACE(l, a.token, b->max_rows, 1);
    PLACE(l, a.position, b->max_rows, 1);
    PLACE(l, a.sequence_of, b->max_rows, 1);
    PLACE(l, a.output_row, b->max_outputs, 1);
    PLACE(l, a.first_row, b->max_sequences, 1);
    PLACE(l, a.n_rows_of, b->max_sequences, 1);
    PLACE(l, a.first_position, b->max_sequences, 1);
    PLACE(l, a.ring, b->max_sequences, 1);
    PLACE(l, a.page_first, b->max_sequences, 1);
    PLACE(l, a.draw, b->max_outputs, 1);
    PLACE(l, a.page, most_pages(b), 1);
    return a;
}

static void point_batch(struct backend *b, const struct batch_arrays &a)
{
    b->batch = {0,
                0,
                0,
                a.token,
                a.position,
                a.sequence_of,
                a.output_row,
                a.first_row,
                a.n_rows_of,
                a.first_position,
                a.ring,
                a.page_first,
                a.page,
                a.draw};
}

static goss_status open_memory(struct backend *b, goss_error *error)
{
    struct layout activations = {}, batch = {};
    place_activations(&activations, b);
    place_batch(&batch, b);
    if (activations.overflow || batch.overflow)
        return error_set(error, GOSS_E_LIMIT, "the activations would be larger than memory can be");
    b->memory_bytes = activations.used;
    goss_status status = CUDA_STATUS(cudaMalloc(&b->memory, activations.used), error);
    if (!status)
        status = CUDA_STATUS(cudaMemsetAsync(b->memory, 0, activations.used, b->stream), error);
    if (!status)
        status = CUDA_STATUS(cudaMalloc(&b->batch_memory, batch.used), error);
    if (!status)
        status = CUDA_STATUS(cudaMallocHost(&b->staging, batch.used), error);
    if (!status)
        status = CUDA_STATUS(
            cudaMallocHost((void **)&b->host_logits, (size_t)b->max_outputs * b->model->config.n_vocab * sizeof(float)),
            error);
    if (!status)
        status = CUDA_STATUS(cudaMallocHost((void **)&b->host_drawn, (size_t)b->max_outputs * sizeof(int32_t)), error);
    if (status)
        return status;
    activations = {(uint8_t *)b->memory, 0, false};
    place_activations(&activations, b);
    batch = {(uint8_t *)b->batch_memory, 0, false};
    point_batch(b, place_batch(&batch, b));
    return GOSS_OK;
}

/* ---- the device ---- */

/* The first device, if it can run these kernels. */
static goss_status find_device(struct cudaDeviceProp *device, goss_error *error)
{
    int count = 0, driver = 0;
    if (cudaDriverGetVersion(&driver) == cudaSuccess && driver == 0)
        return error_set(error, GOSS_E_UNSUPPORTED, "CUDA: no NVIDIA driver is installed");
    cudaError_t code = cudaGetDeviceCount(&count);
    if (code != cudaSuccess || count == 0)
        return error_set(error, GOSS_E_UNSUPPORTED, "CUDA: no GPU can be used: %s",
                         code ? cudaGetErrorString(code) : "there is none");
    goss_status status = CUDA_STATUS(cudaGetDeviceProperties(device, 0), error);
    if (!status && device->major < LEAST_MAJOR)
        return error_set(error, GOSS_E_UNSUPPORTED, "CUDA: %s has compute capability %d.%d, 8.0 is the least",
                         device->name, device->major, device->minor);
    return status;
}

/* Sizes of all that opening would ask for, against what is free. */
static goss_status check_memory(const struct model *model, const struct backend_options *o, uint64_t activations,
                                goss_error *error)
{
    size_t free_bytes = 0, total = 0;
    uint64_t weights = weights_bytes(model), kv = kv_bytes(&model->config, o->pages, o->rings);
    goss_status status = CUDA_STATUS(cudaMemGetInfo(&free_bytes, &total), error);
    if (!status && weights + kv + activations > free_bytes)
        return error_set(error, GOSS_E_MEMORY,
                         "CUDA: %llu MB are needed (weights %llu, keys and values %llu, activations %llu), %llu of the "
                         "GPU's %llu MB are free",
                         (unsigned long long)(weights + kv + activations) >> 20, (unsigned long long)weights >> 20,
                         (unsigned long long)kv >> 20, (unsigned long long)activations >> 20,
                         (unsigned long long)free_bytes >> 20, (unsigned long long)total >> 20);
    return status;
}

static goss_status open_device(struct backend *b, const struct backend_options *options, goss_error *error)
{
    struct cudaDeviceProp device;
    goss_status status = find_device(&device, error);
    if (status)
        return status;
    (void)snprintf(b->name, sizeof b->name, "%.100s (sm_%d%d)", device.name, device.major, device.minor);
    b->multiprocessors = device.multiProcessorCount;
    b->shared_limit = (int)device.sharedMemPerBlockOptin;
    b->overlap = device.major >= 9;
    struct layout activations = {};
    status = CUDA_STATUS(cudaSetDevice(0), error);
    if (!status)
        status = CUDA_STATUS(cudaStreamCreateWithFlags(&b->stream, cudaStreamNonBlocking), error);
    if (!status)
        status = attend_open(b, options, error);
    if (status)
        return status;
    place_activations(&activations, b);
    return check_memory(b->model, options, activations.used, error);
}

static void cuda_close(struct backend *b)
{
    if (!b)
        return;
    for (int i = 0; b->graphs && i < b->graphs->n; i++)
        if (b->graphs->graph[i].executable)
            (void)cudaGraphExecDestroy(b->graphs->graph[i].executable);
    free(b->graphs);
    attend_close(b);
    kv_close(b);
    weights_free(b);
    (void)cudaFree(b->memory);
    (void)cudaFree(b->batch_memory);
    (void)cudaFreeHost(b->staging);
    (void)cudaFreeHost(b->host_logits);
    (void)cudaFreeHost(b->host_drawn);
    if (b->stream)
        (void)cudaStreamDestroy(b->stream);
    free(b);
}

static goss_status check_options(const struct model_config *c, const struct backend_options *o, goss_error *error)
{
    const struct {
        const char *name;
        int value, least;
    } fields[] = {
        {"max_rows", o->max_rows, 1},
        {"max_outputs", o->max_outputs, 1},
        {"max_sequences", o->max_sequences, 1},
        {"pages", o->pages, 0},
        {"rings", o->rings, 0},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (fields[i].value < fields[i].least)
            return error_set(error, GOSS_E_ARGUMENT, "%s: %d is less than %d", fields[i].name, fields[i].value,
                             fields[i].least);
    if (c->n_active > MODEL_MAX_ACTIVE)
        return error_set(error, GOSS_E_UNSUPPORTED, "model: %d experts per token are more than %d", c->n_active,
                         MODEL_MAX_ACTIVE);
    return GOSS_OK;
}

static goss_status cuda_open(struct backend **out, const struct model *model, const struct backend_options *options,
                             goss_error *error)
{
    *out = NULL;
    goss_status status = check_options(&model->config, options, error);
    if (status)
        return status;
    struct backend *b = (struct backend *)calloc(1, sizeof *b);
    if (!b)
        return error_memory(error, sizeof *b, "the CUDA backend");
    b->model = model;
    b->max_rows = options->max_rows;
    b->max_outputs = options->max_outputs;
    b->max_sequences = options->max_sequences;
    rope_init(&b->rope, &model->config);
    b->graphs = (struct graphs *)calloc(1, sizeof *b->graphs);
    status = b->graphs ? open_device(b, options, error) : error_memory(error, sizeof *b->graphs, "the CUDA backend");
    if (!status)
        status = weights_upload(b, error);
    if (!status)
        status = open_memory(b, error);
    if (!status)
        status = kv_open(b, options->pages, options->rings, error);
    if (!status)
        status = CUDA_STATUS(cudaStreamSynchronize(b->stream), error);
    if (status) {
        cuda_close(b);
        return status;
    }
    *out = b;
    return GOSS_OK;
}

/* ---- a step ---- */

/* Writes the batch into the staging memory and sends what of it is used. */
static void send_batch(struct backend *b, const struct batch *batch)
{
    struct layout layout = {(uint8_t *)b->staging, 0, false};
    struct batch_arrays a = place_batch(&layout, b);
    int32_t pages = 0;
    memcpy(a.token, batch->token, (size_t)batch->n_row * sizeof *a.token);
    memcpy(a.position, batch->position, (size_t)batch->n_row * sizeof *a.position);
    memcpy(a.output_row, batch->output_row, (size_t)batch->n_output * sizeof *a.output_row);
    if (batch->draw)
        memcpy(a.draw, batch->draw, (size_t)batch->n_output * sizeof *a.draw);
    for (int s = 0; s < batch->n_sequence; s++) {
        const struct batch_sequence *from = &batch->sequence[s];
        int n = (from->first_position + from->n_row - 1) / KV_PAGE + 1;
        for (int row = 0; row < from->n_row; row++)
            a.sequence_of[from->first_row + row] = s;
        a.first_row[s] = from->first_row;
        a.n_rows_of[s] = from->n_row;
        a.first_position[s] = from->first_position;
        a.ring[s] = from->ring;
        a.page_first[s] = pages;
        if (b->kv.page > 0)
            memcpy(a.page + pages, from->page, (size_t)n * sizeof *a.page);
        pages += n;
    }
    size_t used = (size_t)((uint8_t *)(a.page + pages) - (uint8_t *)b->staging);
    b->batch.n_row = batch->n_row;
    b->batch.n_output = batch->n_output;
    b->batch.n_sequence = batch->n_sequence;
    keep_first(b, cudaMemcpyAsync(b->batch_memory, b->staging, used, cudaMemcpyHostToDevice, b->stream));
}

static enum draws draws_of(const struct batch *batch)
{
    enum draws draws = DRAWS_NONE;
    for (int i = 0; batch->draw && i < batch->n_output; i++) {
        const struct batch_draw *draw = &batch->draw[i];
        if (draw->wanted && (draw->top_k > 0 || draw->top_p < 1))
            return DRAWS_CUT;
        draws = draw->wanted ? DRAWS_PLAIN : draws;
    }
    return draws;
}

static struct graph *find_graph(struct graphs *graphs, const struct shape &shape)
{
    for (int i = 0; i < graphs->n; i++)
        if (memcmp(&graphs->graph[i].shape, &shape, sizeof shape) == 0)
            return &graphs->graph[i];
    return NULL;
}

/* A shape's first step runs as it is, so that all its kernels are loaded when the second one is captured; from the
 * third on the stages do nothing. */
static enum step step_of(struct graphs *graphs, const struct shape &shape)
{
    struct graph *graph = find_graph(graphs, shape);
    if (graph)
        return graph->executable ? STEP_REPLAY : STEP_CAPTURE;
    if (graphs->n < MOST_GRAPHS)
        graphs->graph[graphs->n++].shape = shape;
    return STEP_DIRECT;
}

static void begin_step(struct backend *b, const struct batch *batch)
{
    send_batch(b, batch);
    b->shape = {batch->n_row, batch->n_output, batch->n_sequence, attend_plan(b, batch), draws_of(batch)};
    b->step = STEP_DIRECT;
    b->host_batch = batch;
    if (batch->n_row > FEW_ROWS || b->failed)
        return;
    b->step = step_of(b->graphs, b->shape);
    if (b->step == STEP_CAPTURE)
        keep_first(b, cudaStreamBeginCapture(b->stream, cudaStreamCaptureModeThreadLocal));
}

static void end_capture(struct backend *b)
{
    struct graph *graph = find_graph(b->graphs, b->shape);
    cudaGraph_t captured = NULL;
    keep_first(b, cudaStreamEndCapture(b->stream, &captured));
    if (!b->failed)
        keep_first(b, cudaGraphInstantiate(&graph->executable, captured, 0));
    if (captured)
        (void)cudaGraphDestroy(captured);
}

static void end_step(struct backend *b)
{
    if (b->step == STEP_CAPTURE)
        end_capture(b);
    struct graph *graph = b->step == STEP_DIRECT ? NULL : find_graph(b->graphs, b->shape);
    if (graph && graph->executable)
        keep_first(b, cudaGraphLaunch(graph->executable, b->stream));
}

/* Asks for the logits of an output row. */
static void fetch_row(struct backend *b, int row)
{
    size_t n_vocab = b->model->config.n_vocab, at = row * n_vocab;
    keep_first(b, cudaMemcpyAsync(b->host_logits + at, b->a.logits + at, n_vocab * sizeof(float),
                                  cudaMemcpyDeviceToHost, b->stream));
}

static bool is_wanted(const struct batch *batch, int row)
{
    return batch->draw && batch->draw[row].wanted;
}

/* Brings over the ids that were drawn, and the logits of the other rows. */
static void fetch_results(struct backend *b)
{
    const struct batch *batch = b->host_batch;
    bool more = false;
    for (int i = 0; i < batch->n_output; i++)
        if (!is_wanted(batch, i))
            fetch_row(b, i);
    if (b->shape.draws != DRAWS_NONE)
        keep_first(b, cudaMemcpyAsync(b->host_drawn, b->a.drawn, (size_t)batch->n_output * sizeof *b->host_drawn,
                                      cudaMemcpyDeviceToHost, b->stream));
    keep_first(b, cudaStreamSynchronize(b->stream));
    for (int i = 0; !b->failed && i < batch->n_output; i++)
        if (is_wanted(batch, i) && b->host_drawn[i] < 0) {
            fetch_row(b, i);
            more = true;
        }
    if (more)
        keep_first(b, cudaStreamSynchronize(b->stream));
}

/* After a failure the logits are NaNs, which the engine reports. */
static void receive(struct backend *b)
{
    const struct batch *batch = b->host_batch;
    size_t n_vocab = b->model->config.n_vocab;
    fetch_results(b);
    for (int row = 0; row < batch->n_output; row++) {
        float *to = batch->logits + row * n_vocab;
        if (b->failed)
            for (size_t i = 0; i < n_vocab; i++)
                to[i] = NAN;
        else if (is_wanted(batch, row) && b->host_drawn[row] >= 0)
            batch->drawn[row] = b->host_drawn[row];
        else
            memcpy(to, b->host_logits + row * n_vocab, n_vocab * sizeof *to);
    }
}

static void cuda_run(struct backend *b, void (*stages)(void *argument, int worker), void *argument)
{
    stages(argument, 0);
    end_step(b);
    receive(b);
}

static bool enqueues(const struct backend *b)
{
    return b->step != STEP_REPLAY;
}

static void cuda_embed(struct backend *b, int, const struct batch *batch)
{
    begin_step(b, batch);
    if (enqueues(b))
        embed_stage(b);
}

static void cuda_attn_in(struct backend *b, int, const struct batch *, int layer)
{
    if (enqueues(b))
        qkv_stage(b, layer);
}

static void cuda_attend(struct backend *b, int, const struct batch *, int layer)
{
    if (enqueues(b))
        attend_stage(b, layer);
}

static void cuda_attn_out(struct backend *b, int, const struct batch *, int layer)
{
    if (enqueues(b))
        attn_out_stage(b, layer);
}

static void cuda_route(struct backend *b, int, const struct batch *, int layer)
{
    if (enqueues(b))
        route_stage(b, layer);
}

static void cuda_experts(struct backend *b, int, const struct batch *, int layer)
{
    if (enqueues(b))
        experts_stage(b, layer);
}

static void cuda_unembed(struct backend *b, int, const struct batch *)
{
    if (!enqueues(b))
        return;
    unembed_stage(b);
    sample_stage(b);
}

static uint64_t cuda_memory(const struct model *model)
{
    size_t free_bytes = 0, total = 0;
    uint64_t weights = weights_bytes(model);
    (void)cudaMemGetInfo(&free_bytes, &total);
    return free_bytes > weights ? free_bytes - weights : 0;
}

static const char *cuda_isa(const struct backend *b)
{
    return b->name;
}

static const struct backend_table table = {
    .name = "cuda",
    .open = cuda_open,
    .close = cuda_close,
    .isa = cuda_isa,
    .kv_bytes = kv_bytes,
    .memory = cuda_memory,
    .run = cuda_run,
    .embed = cuda_embed,
    .attn_in = cuda_attn_in,
    .attend = cuda_attend,
    .attn_out = cuda_attn_out,
    .route = cuda_route,
    .experts = cuda_experts,
    .unembed = cuda_unembed,
    .copy_page = kv_copy_page,
    .snapshot_bytes = kv_snapshot_bytes,
    .save_ring = kv_save_ring,
    .load_ring = kv_load_ring,
};

/* ---- what the library shows ---- */

static goss_status probe(struct cuda_device *device, goss_error *error)
{
    struct cudaDeviceProp properties;
    size_t free_bytes = 0, total = 0;
    *device = {};
    goss_status status = find_device(&properties, error);
    if (!status)
        status = CUDA_STATUS(cudaSetDevice(0), error);
    if (!status)
        status = CUDA_STATUS(cudaMemGetInfo(&free_bytes, &total), error);
    if (status)
        return status;
    (void)snprintf(device->name, sizeof device->name, "%.100s (sm_%d%d)", properties.name, properties.major,
                   properties.minor);
    device->memory_bytes = total;
    device->memory_free_bytes = free_bytes;
    return GOSS_OK;
}

const struct cuda_library gossamer_cuda = {
    .abi = CUDA_LIBRARY_ABI,
    .table = &table,
    .probe = probe,
    .weights_bytes = weights_bytes,
};
