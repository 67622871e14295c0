#include "model/pack.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/pool.h"
#include "model/bind.h"
#include "model/rows.h"
#include "text/tokenizer.h"

enum {
    CHUNK = 1 << 20,      /* bytes packed at once, about */
    HASH_STEP = 4 << 20,  /* bytes hashed between two looks at cancel */
    LARGE = 8 << 20,      /* source bytes beyond which pages are given back */
    HARMONY_ROWS = 201088 /* the vocabulary of the tokenizer that is built in */
};

struct job {
    const struct checkpoint *checkpoint;
    struct plan *plan;
    struct packed_writer writer;
    struct pack_progress *progress;
    struct recipe **order;           /* [plan->n], the largest first */
    uint8_t (*source)[SHA256_BYTES]; /* [tensors.n] */
    uint8_t identity[SHA256_BYTES];  /* of the checkpoint when packing began */
    const struct buffer *tokenizer;  /* tables; empty if there are none */
    atomic_size_t next;              /* recipe to be taken */
    atomic_bool stop;                /* a worker has failed */
    pthread_mutex_t mutex;           /* of the two below */
    goss_status status;              /* of the worker that failed first */
    goss_error *error;
};

/* What a worker needs for one section. */
struct work {
    struct job *job;
    const struct recipe *recipe;
    struct sha256 *hash;          /* of the section */
    struct packed_stream *stream; /* into it */
    uint8_t *chunk;               /* row groups just packed */
    uint8_t *scales;              /* the scales plane of one matrix */
    float *x;                     /* [cols] */
    uint8_t *lane;                /* [TILE_ROWS][cols] of at most 4 bytes */
    goss_error *error;
};

static bool must_stop(struct job *job)
{
    return atomic_load(&job->stop) || (job->progress && atomic_load(&job->progress->cancel));
}

/* Gives back the pages that lie wholly inside, which only cost memory from here on. */
static void release(const uint8_t *begin, uint64_t bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = ((uintptr_t)begin + page - 1) / page * page;
    uintptr_t to = ((uintptr_t)begin + bytes) / page * page;
    if (to > from)
        (void)madvise((void *)from, to - from, MADV_DONTNEED);
}

/* ---- digests of the sources */

static goss_status hash_bytes(struct job *job, struct sha256 *hash, const uint8_t *bytes, uint64_t n, goss_error *error)
{
    for (uint64_t at = 0; at < n; at += HASH_STEP) {
        uint64_t step = n - at < HASH_STEP ? n - at : HASH_STEP;
        if (must_stop(job))
            return error_set(error, GOSS_E_CANCELLED, "packing was cancelled");
        sha256_add(hash, bytes + at, step);
        if (n > LARGE * 8ull)
            release(bytes + at, step);
    }
    return GOSS_OK;
}

/* One digest under way for each source tensor of a section. */
struct source_hashes {
    struct sha256 *hash[2 * MAX_OPERANDS];
    const struct tensor *tensor[2 * MAX_OPERANDS];
    int n;
};

static goss_status source_hashes_open(struct source_hashes *h, const struct recipe *recipe, goss_error *error)
{
    goss_status status = GOSS_OK;
    *h = (struct source_hashes){0};
    for (int i = 0; i < recipe->n_operand; i++)
        for (int scales = 0; scales < 2 && status == GOSS_OK; scales++) {
            const struct tensor *t = scales ? recipe->operand[i].scales : recipe->operand[i].tensor;
            if (!t || recipe->operand[i].again)
                continue;
            h->tensor[h->n] = t;
            status = sha256_open(&h->hash[h->n++], error);
        }
    return status;
}

static void source_hashes_close(struct source_hashes *h, struct job *job, bool done)
{
    for (int i = 0; i < h->n; i++)
        sha256_close(h->hash[i], done ? job->source[h->tensor[i] - job->checkpoint->tensors.tensor] : NULL);
}

/* Hashes what the sources hold of matrix e: the stacks go on, single tensors begin and end here. */
static goss_status hash_matrix(struct work *w, struct source_hashes *h, uint64_t e)
{
    goss_status status = GOSS_OK;
    const struct recipe *recipe = w->recipe;
    for (int i = 0; i < h->n && status == GOSS_OK; i++) {
        uint64_t bytes = h->tensor[i]->bytes / recipe->section->count;
        status = hash_bytes(w->job, h->hash[i], h->tensor[i]->data + e * bytes, bytes, w->error);
    }
    for (int i = 0; i < recipe->n_operand && status == GOSS_OK; i++) {
        const struct tensor *t = recipe->operand[i].each ? recipe->operand[i].each[e] : NULL;
        struct sha256 *hash = NULL;
        if (!t)
            continue;
        status = sha256_open(&hash, w->error);
        if (status == GOSS_OK)
            status = hash_bytes(w->job, hash, t->data, t->bytes, w->error);
        sha256_close(hash, status ? NULL : w->job->source[t - w->job->checkpoint->tensors.tensor]);
    }
    return status;
}

/* ---- one matrix */

static bool is_tile(enum dtype type)
{
    return type >= DTYPE_TILE_MXFP4;
}

/* Bytes that 16 rows take in the quants plane, or row-major. */
static uint64_t group_bytes(const struct packed_section *s)
{
    return is_tile(s->type) ? tile_quant_bytes(s->type, TILE_ROWS, s->cols) : TILE_ROWS * dtype_bytes(s->type, s->cols);
}

static goss_status pack_group_mxfp4(struct work *w, uint64_t e, uint64_t group, uint8_t *quants, uint8_t *scales)
{
    const struct packed_section *s = w->recipe->section;
    const uint8_t *block[TILE_ROWS] = {0}, *scale[TILE_ROWS] = {0};
    struct mxfp4_layout layout = {0};
    goss_status status = GOSS_OK;
    for (uint64_t r = 0; r < TILE_ROWS && status == GOSS_OK && group * TILE_ROWS + r < s->rows; r++) {
        struct source_row row = source_row(w->recipe, e, group * TILE_ROWS + r);
        status = row_mxfp4(&row, &block[r], &scale[r], &layout, w->error);
    }
    if (status == GOSS_OK)
        tile_group_mxfp4(quants, scales, s->cols / TILE_COLS, &layout, block, scale);
    return status;
}

/* Packs rows 16 group .. 16 group + 15. Row-major types write only the rows that there are. */
static goss_status pack_group(struct work *w, uint64_t e, uint64_t group, uint8_t *quants, uint8_t *scales)
{
    const struct packed_section *s = w->recipe->section;
    const uint8_t *lane[TILE_ROWS] = {0};
    goss_status status = GOSS_OK;
    if (s->type == DTYPE_TILE_MXFP4)
        return pack_group_mxfp4(w, e, group, quants, scales);
    for (uint64_t r = 0; r < TILE_ROWS && status == GOSS_OK && group * TILE_ROWS + r < s->rows; r++) {
        struct source_row row = source_row(w->recipe, e, group * TILE_ROWS + r);
        uint8_t *own = w->lane + r * s->cols * sizeof(float);
        lane[r] = own;
        if (s->type == DTYPE_TILE_Q8 || s->type == DTYPE_Q8_0)
            status = row_q8(&row, w->x, own, &lane[r], w->error);
        else if (s->type == DTYPE_TILE_BF16 || s->type == DTYPE_BF16)
            status = row_bf16(&row, w->x, (uint16_t *)own, &lane[r], w->error);
        else
            status = row_f32(&row, (float *)own, w->error);
        if (status == GOSS_OK && !is_tile(s->type))
            memcpy(quants + r * dtype_bytes(s->type, s->cols), lane[r], dtype_bytes(s->type, s->cols));
    }
    if (status)
        return status;
    if (s->type == DTYPE_TILE_Q8)
        tile_group_q8(quants, scales, s->cols / TILE_COLS, lane);
    else if (s->type == DTYPE_TILE_BF16)
        tile_group_bf16(quants, s->cols, lane);
    else if (s->type == DTYPE_TILE_F32)
        tile_group_f32(quants, s->cols, lane);
    return GOSS_OK;
}

/* The next n bytes of the section. */
static goss_status put(struct work *w, const uint8_t *bytes, uint64_t n)
{
    if (must_stop(w->job))
        return error_set(w->error, GOSS_E_CANCELLED, "packing was cancelled");
    sha256_add(w->hash, bytes, n);
    if (w->job->progress)
        atomic_fetch_add(&w->job->progress->done, n);
    return packed_stream_write(w->stream, bytes, n, w->error);
}

/* Of a matrix that is large by itself (embedding, head) the pages go as its rows are done. */
static void release_rows(const struct recipe *recipe, uint64_t first, uint64_t end)
{
    const struct tensor *t = recipe->operand[0].tensor;
    if (recipe->section->count != 1 || recipe->n_operand != 1 || t->bytes < LARGE)
        return;
    uint64_t row = t->bytes / recipe->section->rows;
    end = end < recipe->section->rows ? end : recipe->section->rows;
    release(t->data + first * row, (end - first) * row);
}

static goss_status pack_matrix(struct work *w, uint64_t e)
{
    const struct packed_section *s = w->recipe->section;
    uint64_t matrix = s->bytes / s->count, groups = (s->rows + TILE_ROWS - 1) / TILE_ROWS, group = group_bytes(s);
    uint64_t plane = is_tile(s->type) ? tile_quant_bytes(s->type, s->rows, s->cols) : matrix;
    uint64_t scales = matrix - plane, at = 0, step = CHUNK / group ? CHUNK / group : 1;
    goss_status status = GOSS_OK;
    for (uint64_t g = 0; g < groups && status == GOSS_OK; g += step) {
        uint64_t end = g + step < groups ? g + step : groups;
        for (uint64_t i = g; i < end && status == GOSS_OK; i++)
            status = pack_group(w, e, i, w->chunk + (i - g) * group, w->scales + i * (scales / groups));
        uint64_t n = (end - g) * group < plane - at ? (end - g) * group : plane - at;
        if (status == GOSS_OK)
            status = put(w, w->chunk, n);
        at += n;
        release_rows(w->recipe, g * TILE_ROWS, end * TILE_ROWS);
    }
    if (status == GOSS_OK && scales)
        status = put(w, w->scales, scales);
    return status;
}

static void release_sources(const struct recipe *recipe, uint64_t e)
{
    for (int i = 0; i < recipe->n_operand; i++) {
        const struct operand *o = &recipe->operand[i];
        uint64_t bytes = operand_bytes(recipe, o);
        release(operand_data(o, e, bytes), bytes);
    }
}

static goss_status pack_matrices(struct work *w)
{
    const struct recipe *recipe = w->recipe;
    struct source_hashes hashes;
    goss_status status = source_hashes_open(&hashes, recipe, w->error);
    for (uint64_t e = 0; e < recipe->section->count && status == GOSS_OK; e++) {
        status = hash_matrix(w, &hashes, e);
        if (status == GOSS_OK)
            status = pack_matrix(w, e);
        release_sources(recipe, e);
    }
    source_hashes_close(&hashes, w->job, status == GOSS_OK);
    return status;
}

/* ---- one section, all sections */

static goss_status pack_tensors(struct work *w)
{
    const struct packed_section *s = w->recipe->section;
    uint64_t group = group_bytes(s), chunk = group > CHUNK ? group : CHUNK;
    uint64_t scales = tile_scale_bytes(s->type, s->rows, s->cols), lanes = TILE_ROWS * s->cols * sizeof(float);
    uint8_t *memory = malloc(chunk + scales + lanes);
    float *x = malloc(s->cols * sizeof *x);
    goss_status status = memory && x ? GOSS_OK : error_memory(w->error, chunk + scales + lanes, s->name);
    if (status == GOSS_OK) {
        w->lane = memory; /* first, since it is read as floats */
        w->chunk = memory + lanes;
        w->scales = w->chunk + chunk;
        w->x = x;
        status = pack_matrices(w);
    }
    free(memory);
    free(x);
    return status;
}

static goss_status pack_section(struct job *job, struct recipe *recipe, goss_error *error)
{
    struct packed_section *s = recipe->section;
    struct packed_stream stream;
    struct work w = {.job = job, .recipe = recipe, .stream = &stream, .error = error};
    goss_status status = packed_stream_open(&stream, &job->writer, s, error);
    status = status ? status : sha256_open(&w.hash, error);
    if (status == GOSS_OK) {
        bool tokenizer = recipe->n_operand == 0;
        status = tokenizer ? put(&w, job->tokenizer->data, job->tokenizer->size) : pack_tensors(&w);
        status = status ? status : packed_stream_flush(&stream, error);
        sha256_close(w.hash, s->sha256);
    }
    packed_stream_close(&stream);
    return status;
}

static void pack_work(void *argument, int worker)
{
    struct job *job = argument;
    (void)worker;
    for (;;) {
        size_t i = atomic_fetch_add(&job->next, 1);
        goss_error error;
        if (i >= job->plan->n || must_stop(job))
            return;
        goss_status status = pack_section(job, job->order[i], &error);
        if (status == GOSS_OK)
            continue;
        pthread_mutex_lock(&job->mutex);
        if (job->status == GOSS_OK) {
            job->status = status;
            if (job->error)
                *job->error = error;
        }
        pthread_mutex_unlock(&job->mutex);
        atomic_store(&job->stop, true);
        return;
    }
}

static int by_size(const void *a, const void *b)
{
    const struct recipe *x = *(struct recipe *const *)a, *y = *(struct recipe *const *)b;
    if (x->section->bytes != y->section->bytes)
        return x->section->bytes < y->section->bytes ? 1 : -1;
    return (x > y) - (x < y);
}

static goss_status pack_sections(struct job *job, int threads, goss_error *error)
{
    struct pool *pool;
    uint64_t total = 0;
    for (size_t i = 0; i < job->plan->n; i++) {
        job->order[i] = &job->plan->recipe[i];
        total += job->plan->section[i].bytes;
    }
    qsort(job->order, job->plan->n, sizeof *job->order, by_size);
    if (job->progress)
        atomic_store(&job->progress->total, total);
    goss_status status = pool_open(&pool, threads ? threads : pool_cores(), error);
    if (status)
        return status;
    pthread_mutex_init(&job->mutex, NULL);
    pool_run(pool, pack_work, job);
    pthread_mutex_destroy(&job->mutex);
    pool_close(pool);
    if (job->status == GOSS_OK && must_stop(job))
        return error_set(error, GOSS_E_CANCELLED, "packing was cancelled");
    return job->status;
}

/* ---- the tokenizer */

/* A list of strings, which the caller frees; NULL and GOSS_OK if there is none. */
static goss_status gguf_strings(const struct gguf *gguf, const char *key, struct tokenizer_text **text, uint64_t *n,
                                goss_error *error)
{
    const struct gguf_value *value = gguf_find(gguf, key);
    *text = NULL;
    *n = 0;
    if (!value || !value->array || value->type != GGUF_STRING)
        return GOSS_OK;
    *text = malloc((value->count + 1) * sizeof **text);
    if (!*text)
        return error_memory(error, value->count * sizeof **text, key);
    const uint8_t *cursor = value->data;
    for (uint64_t i = 0; i < value->count; i++) {
        uint64_t size;
        (*text)[i].data = gguf_next_string(&cursor, &size);
        (*text)[i].size = size;
    }
    *n = value->count;
    return GOSS_OK;
}

static goss_status open_gguf_tokenizer(struct tokenizer **tokenizer, const struct gguf *gguf, goss_error *error)
{
    const struct gguf_value *types = gguf_find(gguf, "tokenizer.ggml.token_type");
    const char *model = "", *pre = "";
    uint64_t model_size = 0, pre_size = 0;
    char *pre_copy = NULL;
    int32_t *type = NULL;
    goss_status status = gguf_text(gguf, "tokenizer.ggml.model", &model, &model_size, error);
    if (status)
        return status;
    if (model_size != strlen("gpt2") || memcmp(model, "gpt2", model_size) != 0)
        return error_set(error, GOSS_E_UNSUPPORTED, "%s: tokenizer.ggml.model is '%.*s', not gpt2", gguf->file,
                         (int)(model_size < 32 ? model_size : 32), model);
    if (gguf_find(gguf, "tokenizer.ggml.pre"))
        status = gguf_text(gguf, "tokenizer.ggml.pre", &pre, &pre_size, error);
    struct tokenizer_gguf source = {.file = gguf->file};
    struct tokenizer_text *token = NULL, *merge = NULL;
    if (status == GOSS_OK)
        status = gguf_strings(gguf, "tokenizer.ggml.tokens", &token, &source.n_token, error);
    if (status == GOSS_OK)
        status = gguf_strings(gguf, "tokenizer.ggml.merges", &merge, &source.n_merge, error);
    pre_copy = strndup(pre, pre_size < 64 ? pre_size : 64);
    type = malloc((source.n_token + 1) * sizeof *type);
    if (status == GOSS_OK && (!pre_copy || !type))
        status = error_memory(error, source.n_token * sizeof *type, "the tokenizer");
    if (status == GOSS_OK && !token)
        status =
            error_set(error, GOSS_E_FORMAT, "%s: 'tokenizer.ggml.tokens' is missing or no list of strings", gguf->file);
    if (status == GOSS_OK && types && (!types->array || types->count != source.n_token))
        status = error_set(error, GOSS_E_FORMAT, "%s: 'tokenizer.ggml.token_type' is no list of one type per token",
                           gguf->file);
    for (uint64_t i = 0; status == GOSS_OK && type && types && i < source.n_token; i++) {
        int64_t value = 0;
        (void)gguf_element(types, i, &value);
        type[i] = value < 0 || value > INT32_MAX ? -1 : (int32_t)value;
    }
    source.pre = pre_copy;
    source.token = token;
    source.merge = merge;
    source.type = types ? type : NULL;
    if (status == GOSS_OK)
        status = tokenizer_open_gguf(tokenizer, &source, error);
    free(pre_copy);
    free(type);
    free(token);
    free(merge);
    return status;
}

/* Fills `tables`, or leaves it empty if the checkpoint has no tokenizer and none can be told from its size. */
static goss_status make_tokenizer(const struct checkpoint *c, const struct model_config *config, struct buffer *tables,
                                  goss_error *error)
{
    struct tokenizer *tokenizer = NULL;
    const char *file = c->tokenizer ? c->tokenizer->path : c->gguf.file ? c->gguf.file : c->config_file;
    goss_status status = GOSS_OK;
    if (c->tokenizer)
        status = tokenizer_open_json(&tokenizer, c->tokenizer->data, c->tokenizer->size, file, error);
    else if (gguf_find(&c->gguf, "tokenizer.ggml.tokens"))
        status = open_gguf_tokenizer(&tokenizer, &c->gguf, error);
    else if (config->n_vocab == HARMONY_ROWS)
        status = tokenizer_open_o200k(&tokenizer, error);
    if (status == GOSS_OK && tokenizer && tokenizer_size(tokenizer) > config->n_vocab)
        status = error_set(error, GOSS_E_FORMAT, "%s: the tokenizer has %d ids, the model only %d", file,
                           tokenizer_size(tokenizer), config->n_vocab);
    if (status == GOSS_OK && tokenizer)
        status = tokenizer_save(tokenizer, tables, error);
    tokenizer_close(tokenizer);
    return status;
}

/* ---- the file */

static json_t *sources_json(const struct job *job)
{
    json_t *list = json_array();
    for (size_t i = 0; i < job->checkpoint->tensors.n; i++) {
        const struct tensor *t = &job->checkpoint->tensors.tensor[i];
        const char *base = strrchr(t->file, '/');
        char digest[SHA256_TEXT];
        json_t *shape = json_array();
        for (int d = 0; d < t->n_dim; d++)
            (void)json_array_append_new(shape, json_integer((json_int_t)t->dim[d]));
        sha256_text(job->source[i], digest);
        if (json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:o, s:s}", "name", t->name, "file",
                                                  base ? base + 1 : t->file, "type", dtype_name(t->type), "shape",
                                                  shape, "sha256", digest)) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static goss_status commit(struct job *job, const struct model_config *config, goss_error *error)
{
    static const char *const formats[] = {
        [CHECKPOINT_HF] = "huggingface", [CHECKPOINT_ORIGINAL] = "original", [CHECKPOINT_GGUF] = "gguf"};
    json_t *saved, *header = json_object(), *sources = sources_json(job);
    goss_status status = model_config_save(config, &saved, error);
    int failed = json_object_set_new(header, "config", saved) | json_object_set_new(header, "sources", sources) |
                 json_object_set_new(header, "format", json_string(formats[job->checkpoint->format]));
    if (status == GOSS_OK && failed)
        status = error_memory(error, job->checkpoint->tensors.n, "the table of sources");
    if (status == GOSS_OK)
        status = packed_writer_commit(&job->writer, header, error);
    json_decref(header);
    return status;
}

/* A source that was written to meanwhile may be packed half old, half new. */
static goss_status check_unchanged(const struct job *job, goss_error *error)
{
    uint8_t identity[SHA256_BYTES];
    goss_status status = checkpoint_identity(job->checkpoint, identity, error);
    if (status == GOSS_OK && memcmp(identity, job->identity, sizeof identity) != 0)
        status = error_set(error, GOSS_E_IO, "%s: a file of this checkpoint changed while it was packed",
                           job->checkpoint->file[0].path);
    return status;
}

goss_status pack(const struct checkpoint *checkpoint, const char *path, const struct pack_options *options,
                 struct pack_progress *progress, goss_error *error)
{
    static const struct pack_options defaults;
    struct model_config config;
    struct buffer tables;
    struct plan plan = {0};
    struct job job = {.checkpoint = checkpoint,
                      .plan = &plan,
                      .progress = progress,
                      .tokenizer = &tables,
                      .writer = {.file = {.fd = -1}},
                      .error = error};
    buffer_init(&tables, CHECKPOINT_MAX_TOKENIZER);
    options = options ? options : &defaults;
    goss_status status = checkpoint_identity(checkpoint, job.identity, error);
    if (status == GOSS_OK)
        status = model_config_read(&config, checkpoint, error);
    if (status == GOSS_OK)
        status = plan_bind(&plan, checkpoint, &config, options, error);
    if (status == GOSS_OK)
        status = make_tokenizer(checkpoint, &config, &tables, error);
    if (status == GOSS_OK && tables.size && !plan_add(&plan, "tokenizer", DTYPE_U8, 1, 1, tables.size))
        status = error_memory(error, tables.size, "the plan of the packed file");
    if (status == GOSS_OK) {
        job.order = calloc(plan.n, sizeof *job.order);
        job.source = calloc(checkpoint->tensors.n + 1, sizeof *job.source);
        if (!job.order || !job.source)
            status = error_memory(error, checkpoint->tensors.n * sizeof *job.source, "digests");
    }
    if (status == GOSS_OK)
        status = packed_writer_open(&job.writer, path, plan.section, plan.n, error);
    if (status == GOSS_OK)
        status = pack_sections(&job, options->threads, error);
    if (status == GOSS_OK)
        status = check_unchanged(&job, error);
    if (status == GOSS_OK)
        status = commit(&job, &config, error);
    packed_writer_abort(&job.writer);
    free(job.order);
    free(job.source);
    plan_free(&plan);
    buffer_free(&tables);
    return status;
}
