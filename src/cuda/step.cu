/* A step: the batch goes to the device, the stages are enqueued on one stream by one thread, ids and logits come back.
 * The launches of a step of few rows are captured once for each shape and replayed from then on. */
#include <stdlib.h>

#include "cuda/state.h"

enum { MOST_GRAPHS = 64 };

struct graph {
    struct shape shape;
    cudaGraphExec_t executable;
};

struct graphs {
    struct graph graph[MOST_GRAPHS];
    int n;
};

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

goss_status step_open(struct backend *b, goss_error *error)
{
    struct layout layout = {};
    size_t outputs = b->max_outputs, logits = outputs * b->model->config.n_vocab * sizeof(float);
    place_batch(&layout, b);
    if (layout.overflow)
        return error_set(error, GOSS_E_LIMIT, "a batch would be larger than memory can be");
    b->graphs = (struct graphs *)calloc(1, sizeof *b->graphs);
    if (!b->graphs)
        return error_memory(error, sizeof *b->graphs, "the CUDA backend");
    goss_status status = CUDA_STATUS(cudaMalloc(&b->batch_memory, layout.used), error);
    if (!status)
        status = CUDA_STATUS(cudaMallocHost(&b->staging, layout.used), error);
    if (!status)
        status = CUDA_STATUS(cudaMallocHost((void **)&b->host_logits, logits), error);
    if (!status)
        status = CUDA_STATUS(cudaMallocHost((void **)&b->host_drawn, outputs * sizeof *b->host_drawn), error);
    layout = {(uint8_t *)b->batch_memory, 0, false};
    point_batch(b, place_batch(&layout, b));
    return status;
}

void step_close(struct backend *b)
{
    for (int i = 0; b->graphs && i < b->graphs->n; i++)
        if (b->graphs->graph[i].executable)
            (void)cudaGraphExecDestroy(b->graphs->graph[i].executable);
    free(b->graphs);
    (void)cudaFree(b->batch_memory);
    (void)cudaFreeHost(b->staging);
    (void)cudaFreeHost(b->host_logits);
    (void)cudaFreeHost(b->host_drawn);
}

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

void step_begin(struct backend *b, const struct batch *batch)
{
    send_batch(b, batch);
    b->shape = {batch->n_row, batch->n_output, batch->n_sequence, attend_plan(b, batch), draws_of(batch)};
    b->step = STEP_DIRECT;
    b->host_batch = batch;
    if (batch->n_row > FEW_ROWS || b->host_backend || b->failed) /* a graph could not wait for the host */
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

void step_end(struct backend *b)
{
    if (b->step == STEP_CAPTURE)
        end_capture(b);
    struct graph *graph = b->step == STEP_DIRECT ? NULL : find_graph(b->graphs, b->shape);
    if (graph && graph->executable)
        keep_first(b, cudaGraphLaunch(graph->executable, b->stream));
    receive(b);
}
