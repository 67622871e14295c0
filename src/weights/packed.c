#include "weights/packed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "weights/tile.h"

struct header {
    char magic[8];
    uint32_t version, zero;
    uint64_t json_offset, json_size;
    uint8_t json_sha256[SHA256_BYTES];
};
_Static_assert(sizeof(struct header) == 64, "the header has no padding");

static const char magic[8] = "GOSSPACK";

uint64_t packed_bytes(enum dtype type, uint64_t count, uint64_t rows, uint64_t cols)
{
    uint64_t one, elements, all;
    bool row_major = type == DTYPE_F32 || type == DTYPE_BF16 || type == DTYPE_Q8_0 || type == DTYPE_U8;
    if (row_major && dtype_bytes(type, cols) && !__builtin_mul_overflow(rows, cols, &elements))
        one = dtype_bytes(type, elements);
    else
        one = row_major ? 0 : tile_bytes(type, rows, cols);
    return __builtin_mul_overflow(one, count, &all) ? 0 : all;
}

/* ---- reading */

/* 64 hex digits. */
static bool read_digest(const char *text, uint8_t digest[SHA256_BYTES])
{
    static const char hex[] = "0123456789abcdef";
    if (!text || strlen(text) != 2 * SHA256_BYTES)
        return false;
    for (int i = 0; i < SHA256_BYTES; i++) {
        const char *high = strchr(hex, text[2 * i]), *low = strchr(hex, text[2 * i + 1]);
        if (!high || !low)
            return false;
        digest[i] = (uint8_t)((high - hex) << 4 | (low - hex));
    }
    return true;
}

static bool read_integer(const json_t *entry, const char *key, uint64_t *value)
{
    const json_t *found = json_object_get(entry, key);
    *value = (uint64_t)json_integer_value(found);
    return json_is_integer(found) && json_integer_value(found) >= 0;
}

/* `from`: the first byte that is free; sections lie in order. `end`: where the JSON begins. */
static goss_status read_section(struct packed_section *s, const json_t *entry, size_t i, uint64_t from, uint64_t end,
                                const char *file, goss_error *error)
{
    const char *type = json_string_value(json_object_get(entry, "type"));
    s->name = json_string_value(json_object_get(entry, "name"));
    if (!s->name || strlen(s->name) > 255)
        return error_set(error, GOSS_E_FORMAT, "%s: section %zu has no usable name", file, i);
    s->type = type ? dtype_named(type) : DTYPE_NONE;
    if (!read_integer(entry, "count", &s->count) || !read_integer(entry, "rows", &s->rows) ||
        !read_integer(entry, "cols", &s->cols) || !read_integer(entry, "offset", &s->offset) ||
        !read_integer(entry, "bytes", &s->bytes) ||
        !read_digest(json_string_value(json_object_get(entry, "sha256")), s->sha256))
        return error_set(error, GOSS_E_FORMAT, "%s: section '%s': a field is missing or malformed", file, s->name);
    if (s->bytes == 0 || packed_bytes(s->type, s->count, s->rows, s->cols) != s->bytes)
        return error_set(error, GOSS_E_FORMAT, "%s: section '%s': %llu bytes do not fit its type and shape", file,
                         s->name, (unsigned long long)s->bytes);
    if (s->offset % PACKED_PAGE || s->offset < from || s->offset > end || s->bytes > end - s->offset)
        return error_set(error, GOSS_E_FORMAT, "%s: section '%s': lies at %llu, misaligned or outside of %llu..%llu",
                         file, s->name, (unsigned long long)s->offset, (unsigned long long)from,
                         (unsigned long long)end);
    return GOSS_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct packed_section *)a)->name, ((const struct packed_section *)b)->name);
}

static goss_status read_sections(struct packed *packed, uint64_t end, const char *file, goss_error *error)
{
    const json_t *list = json_object_get(packed->header, "sections");
    size_t n = json_array_size(list);
    goss_status status = GOSS_OK;
    if (n == 0 || n > PACKED_MAX_SECTIONS)
        return error_set(error, GOSS_E_FORMAT, "%s: 'sections' has %zu entries, not 1 to %d", file, n,
                         PACKED_MAX_SECTIONS);
    packed->section = calloc(n, sizeof *packed->section);
    if (!packed->section)
        return error_memory(error, n * sizeof *packed->section, "the table of sections");
    packed->n = n;
    uint64_t from = PACKED_PAGE;
    for (size_t i = 0; status == GOSS_OK && i < n; i++) {
        status = read_section(&packed->section[i], json_array_get(list, i), i, from, end, file, error);
        from = packed->section[i].offset + packed->section[i].bytes;
    }
    if (status)
        return status;
    qsort(packed->section, n, sizeof *packed->section, by_name);
    for (size_t i = 1; i < n; i++)
        if (by_name(&packed->section[i - 1], &packed->section[i]) == 0)
            return error_set(error, GOSS_E_FORMAT, "%s: section '%s' is there twice", file, packed->section[i].name);
    return GOSS_OK;
}

goss_status packed_read(struct packed *packed, const uint8_t *bytes, uint64_t size, const char *file, goss_error *error)
{
    struct header h;
    uint8_t digest[SHA256_BYTES];
    *packed = (struct packed){.map = {.data = bytes, .size = size}};
    if (size < sizeof h || memcmp(bytes, magic, sizeof magic) != 0)
        return error_set(error, GOSS_E_FORMAT, "%s: no packed file: does not begin with GOSSPACK", file);
    memcpy(&h, bytes, sizeof h);
    if (h.version != PACKED_VERSION || h.zero)
        return error_set(error, GOSS_E_UNSUPPORTED, "%s: packed file version %u, this program reads %d: pack it again",
                         file, h.version, PACKED_VERSION);
    uint64_t end = h.json_offset + h.json_size; /* for the message: may wrap */
    if (h.json_offset < sizeof h || h.json_offset > size || h.json_size != size - h.json_offset)
        return error_set(error, GOSS_E_FORMAT, "%s: truncated: the table should be at %llu..%llu of %llu bytes", file,
                         (unsigned long long)h.json_offset, (unsigned long long)end, (unsigned long long)size);
    if (h.json_size > PACKED_MAX_JSON)
        return error_set(error, GOSS_E_LIMIT, "%s: a table of %llu bytes, at most %d are read", file,
                         (unsigned long long)h.json_size, PACKED_MAX_JSON);
    goss_status status = sha256_of(bytes + h.json_offset, h.json_size, digest, error);
    if (status == GOSS_OK && memcmp(digest, h.json_sha256, sizeof digest) != 0)
        status = error_set(error, GOSS_E_FORMAT, "%s: the table does not match its SHA-256", file);
    if (status == GOSS_OK)
        status = json_parse(&packed->header, bytes + h.json_offset, h.json_size, file, error);
    if (status == GOSS_OK)
        status = read_sections(packed, h.json_offset, file, error);
    if (status)
        packed_clear(packed);
    return status;
}

void packed_clear(struct packed *packed)
{
    json_decref(packed->header);
    free(packed->section);
    *packed = (struct packed){0};
}

bool packed_is(const char *path)
{
    char start[sizeof magic];
    FILE *f = fopen(path, "rbe");
    bool is = f && fread(start, 1, sizeof start, f) == sizeof start && memcmp(start, magic, sizeof start) == 0;
    if (f)
        (void)fclose(f);
    return is;
}

goss_status packed_open(struct packed **out, const char *path, goss_error *error)
{
    struct file_map map;
    *out = NULL;
    struct packed *packed = calloc(1, sizeof *packed);
    if (!packed)
        return error_memory(error, sizeof *packed, path);
    goss_status status = file_map_open(&map, path, error);
    if (status == GOSS_OK) {
        status = packed_read(packed, map.data, map.size, path, error);
        packed->map = map;
    }
    if (status) {
        packed_close(packed);
        return status;
    }
    *out = packed;
    return GOSS_OK;
}

void packed_close(struct packed *packed)
{
    if (!packed)
        return;
    struct file_map map = packed->map;
    packed_clear(packed);
    file_map_close(&map);
    free(packed);
}

const struct packed_section *packed_find(const struct packed *packed, const char *name)
{
    const struct packed_section key = {.name = name};
    return bsearch(&key, packed->section, packed->n, sizeof key, by_name);
}

const uint8_t *packed_data(const struct packed *packed, const struct packed_section *section)
{
    return packed->map.data + section->offset;
}

/* ---- verifying */

enum { VERIFY_STEP = 1 << 20 };

struct verification {
    const struct packed *packed;
    atomic_uint_fast64_t *done;
    const atomic_bool *cancel;
    atomic_size_t next;
    atomic_int status; /* of the first section that failed */
    goss_error *error; /* written by the thread that set status */
};

static goss_status verify_section(struct verification *v, const struct packed_section *s, goss_error *error)
{
    struct sha256 *hash;
    uint8_t digest[SHA256_BYTES];
    goss_status status = sha256_open(&hash, error);
    if (status)
        return status;
    for (uint64_t at = 0; status == GOSS_OK && at < s->bytes; at += VERIFY_STEP) {
        uint64_t n = s->bytes - at < VERIFY_STEP ? s->bytes - at : VERIFY_STEP;
        if ((v->cancel && atomic_load(v->cancel)) || atomic_load(&v->status) != GOSS_OK)
            status = error_set(error, GOSS_E_CANCELLED, "%s: verification cancelled", v->packed->map.path);
        else
            sha256_add(hash, packed_data(v->packed, s) + at, n);
        if (v->done)
            atomic_fetch_add(v->done, n);
    }
    sha256_close(hash, digest);
    if (status == GOSS_OK && memcmp(digest, s->sha256, sizeof digest) != 0)
        status = error_set(error, GOSS_E_FORMAT, "%s: section '%s' does not match its SHA-256", v->packed->map.path,
                           s->name);
    return status;
}

static void verify_work(void *argument, int worker)
{
    struct verification *v = argument;
    (void)worker;
    for (;;) {
        size_t i = atomic_fetch_add(&v->next, 1);
        goss_error error;
        int fine = GOSS_OK;
        if (i >= v->packed->n)
            return;
        goss_status status = verify_section(v, &v->packed->section[i], &error);
        if (status && atomic_compare_exchange_strong(&v->status, &fine, (int)status) && v->error)
            *v->error = error;
    }
}

goss_status packed_verify(const struct packed *packed, int threads, atomic_uint_fast64_t *done,
                          const atomic_bool *cancel, goss_error *error)
{
    struct verification v = {.packed = packed, .done = done, .cancel = cancel, .error = error};
    struct pool *pool;
    goss_status status = pool_open(&pool, threads ? threads : pool_cores(), error);
    if (status)
        return status;
    pool_run(pool, verify_work, &v);
    pool_close(pool);
    return (goss_status)atomic_load(&v.status);
}

/* ---- writing */

goss_status packed_writer_open(struct packed_writer *writer, const char *path, struct packed_section *section, size_t n,
                               goss_error *error)
{
    uint64_t at = PACKED_PAGE;
    *writer = (struct packed_writer){.file = {.fd = -1}, .section = section, .n = n};
    for (size_t i = 0; i < n; i++) {
        section[i].offset = at;
        section[i].bytes = packed_bytes(section[i].type, section[i].count, section[i].rows, section[i].cols);
        if (section[i].bytes == 0 || section[i].bytes > (uint64_t)INT64_MAX - at - PACKED_PAGE)
            return error_set(error, GOSS_E_LIMIT, "%s: section '%s' is empty or too large", path, section[i].name);
        at = (at + section[i].bytes + PACKED_PAGE - 1) / PACKED_PAGE * PACKED_PAGE;
    }
    goss_status status = file_writer_open(&writer->file, path, error);
    if (status == GOSS_OK)
        status = file_writer_extend(&writer->file, at, error);
    if (status)
        packed_writer_abort(writer);
    return status;
}

goss_status packed_writer_write(struct packed_writer *writer, const struct packed_section *section, uint64_t offset,
                                const void *bytes, size_t n, goss_error *error)
{
    if (offset > section->bytes || n > section->bytes - offset)
        return error_set(error, GOSS_E_INTERNAL, "section '%s': written past its end", section->name);
    return file_writer_patch(&writer->file, section->offset + offset, bytes, n, error);
}

static json_t *section_json(const struct packed_section *s)
{
    char digest[SHA256_TEXT];
    sha256_text(s->sha256, digest);
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:s}", "name", s->name, "type", dtype_name(s->type), "count",
                     (json_int_t)s->count, "rows", (json_int_t)s->rows, "cols", (json_int_t)s->cols, "offset",
                     (json_int_t)s->offset, "bytes", (json_int_t)s->bytes, "sha256", digest);
}

goss_status packed_stream_open(struct packed_stream *stream, struct packed_writer *writer,
                               const struct packed_section *section, goss_error *error)
{
    *stream = (struct packed_stream){.writer = writer, .section = section, .bytes = malloc(FILE_HUGE_PAGE)};
    return stream->bytes ? GOSS_OK : error_memory(error, FILE_HUGE_PAGE, section->name);
}

goss_status packed_stream_write(struct packed_stream *stream, const void *bytes, size_t n, goss_error *error)
{
    const uint8_t *from = bytes;
    goss_status status = GOSS_OK;
    while (n && status == GOSS_OK) {
        size_t room = FILE_HUGE_PAGE - (stream->section->offset + stream->written + stream->n) % FILE_HUGE_PAGE;
        size_t part = n < room ? n : room;
        memcpy(stream->bytes + stream->n, from, part);
        stream->n += part;
        from += part;
        n -= part;
        if (part == room)
            status = packed_stream_flush(stream, error);
    }
    return status;
}

goss_status packed_stream_flush(struct packed_stream *stream, goss_error *error)
{
    size_t n = stream->n;
    uint64_t offset = stream->written;
    stream->n = 0;
    stream->written += n;
    return packed_writer_write(stream->writer, stream->section, offset, stream->bytes, n, error);
}

void packed_stream_close(struct packed_stream *stream)
{
    free(stream->bytes);
    *stream = (struct packed_stream){0};
}

goss_status packed_writer_commit(struct packed_writer *writer, json_t *header, goss_error *error)
{
    struct header h = {.version = PACKED_VERSION, .json_offset = writer->file.size};
    json_t *list = json_array();
    int failed = !list;
    for (size_t i = 0; i < writer->n; i++)
        failed |= json_array_append_new(list, section_json(&writer->section[i]));
    failed |= json_object_set_new(header, "sections", list);
    char *text = failed ? NULL : json_dumps(header, JSON_COMPACT | JSON_SORT_KEYS);
    if (!text) {
        packed_writer_abort(writer);
        return error_memory(error, writer->n * sizeof *writer->section, "the table of sections");
    }
    memcpy(h.magic, magic, sizeof magic);
    h.json_size = strlen(text);
    goss_status status = sha256_of(text, h.json_size, h.json_sha256, error);
    if (status == GOSS_OK)
        status = file_writer_write(&writer->file, text, h.json_size, error);
    if (status == GOSS_OK)
        status = file_writer_patch(&writer->file, 0, &h, sizeof h, error);
    if (status == GOSS_OK)
        status = file_writer_commit(&writer->file, error);
    free(text);
    packed_writer_abort(writer);
    return status;
}

void packed_writer_abort(struct packed_writer *writer)
{
    file_writer_abort(&writer->file);
}
