#include "weights/gguf.h"

#include <string.h>

/* What is left of the file. */
struct reader {
    const uint8_t *at;
    uint64_t left;
    const char *file;
};

static goss_status truncated(const struct reader *r, const char *what, goss_error *error)
{
    return error_set(error, GOSS_E_FORMAT, "%s: ends inside %s", r->file, what);
}

static goss_status take(struct reader *r, void *to, uint64_t n, const char *what, goss_error *error)
{
    if (n > r->left) {
        memset(to, 0, n);
        return truncated(r, what, error);
    }
    memcpy(to, r->at, n);
    r->at += n;
    r->left -= n;
    return GOSS_OK;
}

static goss_status take_string(struct reader *r, const uint8_t **text, uint64_t *size, const char *what,
                               goss_error *error)
{
    uint64_t n;
    *text = NULL;
    *size = 0;
    goss_status status = take(r, &n, sizeof n, what, error);
    if (status)
        return status;
    if (n > r->left)
        return error_set(error, GOSS_E_FORMAT, "%s: %s: a string of %llu bytes, but only %llu are left", r->file, what,
                         (unsigned long long)n, (unsigned long long)r->left);
    *text = r->at;
    *size = n;
    r->at += *size;
    r->left -= *size;
    return GOSS_OK;
}

/* 0 for strings, arrays and unknown types. */
static uint64_t type_bytes(uint32_t type)
{
    static const uint8_t bytes[GGUF_TYPES] = {
        [GGUF_U8] = 1,  [GGUF_I8] = 1,   [GGUF_U16] = 2, [GGUF_I16] = 2, [GGUF_U32] = 4, [GGUF_I32] = 4,
        [GGUF_F32] = 4, [GGUF_BOOL] = 1, [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8,
    };
    return type < GGUF_TYPES ? bytes[type] : 0;
}

static goss_status skip_values(struct reader *r, const struct gguf_value *value, goss_error *error)
{
    uint64_t bytes, ignored;
    const uint8_t *text;
    goss_status status = GOSS_OK;
    if (value->type == GGUF_STRING) {
        if (value->count > r->left / sizeof(uint64_t))
            return error_set(error, GOSS_E_FORMAT, "%s: '%s' has %llu strings, more than the file can hold", r->file,
                             value->key, (unsigned long long)value->count);
        for (uint64_t i = 0; status == GOSS_OK && i < value->count; i++)
            status = take_string(r, &text, &ignored, value->key, error);
        return status;
    }
    if (type_bytes(value->type) == 0)
        return error_set(error, GOSS_E_FORMAT, "%s: '%s' has the unknown type %u", r->file, value->key,
                         (unsigned)value->type);
    if (__builtin_mul_overflow(value->count, type_bytes(value->type), &bytes) || bytes > r->left)
        return error_set(error, GOSS_E_FORMAT, "%s: '%s' has %llu elements, more than the file can hold", r->file,
                         value->key, (unsigned long long)value->count);
    r->at += bytes;
    r->left -= bytes;
    return GOSS_OK;
}

static goss_status read_value(struct reader *r, struct arena *arena, struct gguf *gguf, goss_error *error)
{
    struct gguf_value *value = &gguf->value[gguf->n];
    const uint8_t *key;
    uint64_t key_bytes;
    uint32_t type;
    goss_status status = take_string(r, &key, &key_bytes, "a metadata key", error);
    if (status)
        return status;
    if (key_bytes == 0 || key_bytes > TENSOR_MAX_NAME || memchr(key, 0, key_bytes))
        return error_set(error, GOSS_E_FORMAT, "%s: metadata key %zu is empty, longer than %d bytes or holds a NUL",
                         r->file, gguf->n, TENSOR_MAX_NAME);
    *value = (struct gguf_value){.key = arena_copy(arena, key, key_bytes), .count = 1};
    if (!value->key)
        return error_memory(error, key_bytes, "a metadata key");
    if (gguf_find(gguf, value->key))
        return error_set(error, GOSS_E_FORMAT, "%s: '%s' is there twice", r->file, value->key);
    status = take(r, &type, sizeof type, value->key, error);
    if (status == GOSS_OK && type == GGUF_ARRAY) {
        value->array = true;
        status = take(r, &type, sizeof type, value->key, error);
        if (status == GOSS_OK)
            status = take(r, &value->count, sizeof value->count, value->key, error);
        if (status == GOSS_OK && type == GGUF_ARRAY)
            status = error_set(error, GOSS_E_UNSUPPORTED, "%s: '%s' is an array of arrays", r->file, value->key);
    }
    if (status)
        return status;
    if (type >= GGUF_TYPES)
        return error_set(error, GOSS_E_FORMAT, "%s: '%s' has the unknown type %u", r->file, value->key, type);
    value->type = (enum gguf_type)type;
    value->data = r->at;
    status = skip_values(r, value, error);
    if (status == GOSS_OK)
        gguf->n++;
    return status;
}

/* ggml's type ids. In Ollama's dialect 4 is MXFP4; it was never anything else since ggml dropped its Q4_2. */
static enum dtype type_of(uint32_t id, bool ollama)
{
    switch (id) {
    case 0: return DTYPE_F32;
    case 1: return DTYPE_F16;
    case 4: return ollama ? DTYPE_MXFP4_OLLAMA : DTYPE_NONE;
    case 8: return DTYPE_Q8_0;
    case 26: return DTYPE_I32;
    case 30: return DTYPE_BF16;
    case 39: return DTYPE_MXFP4_GGML;
    default: return DTYPE_NONE;
    }
}

static const char *ggml_name(uint32_t id)
{
    static const char *const names[] = {
        [2] = "Q4_0",     [3] = "Q4_1",    [4] = "Q4_2",     [6] = "Q5_0",   [7] = "Q5_1",    [9] = "Q8_1",
        [10] = "Q2_K",    [11] = "Q3_K",   [12] = "Q4_K",    [13] = "Q5_K",  [14] = "Q6_K",   [15] = "Q8_K",
        [16] = "IQ2_XXS", [17] = "IQ2_XS", [18] = "IQ3_XXS", [19] = "IQ1_S", [20] = "IQ4_NL", [21] = "IQ3_S",
        [22] = "IQ2_S",   [23] = "IQ4_XS", [24] = "I8",      [25] = "I16",   [27] = "I64",    [28] = "F64",
        [29] = "IQ1_M",   [34] = "TQ1_0",  [35] = "TQ2_0",
    };
    return id < sizeof names / sizeof *names && names[id] ? names[id] : "unknown to this program";
}

/* *offset: from the start of the data. */
static goss_status read_tensor(struct reader *r, struct arena *arena, bool ollama, struct tensor_list *list,
                               uint64_t *offset, goss_error *error)
{
    const uint8_t *name;
    uint64_t name_bytes, dim[TENSOR_MAX_DIMS];
    uint32_t n_dim, type;
    struct tensor *t;
    goss_status status = take_string(r, &name, &name_bytes, "a tensor name", error);
    if (status == GOSS_OK)
        status = tensor_list_add(list, arena, name, name_bytes, r->file, &t, error);
    if (status == GOSS_OK)
        status = take(r, &n_dim, sizeof n_dim, t->name, error);
    if (status)
        return status;
    if (n_dim > TENSOR_MAX_DIMS)
        return error_set(error, GOSS_E_FORMAT, "%s: tensor '%s': %u dimensions, at most %d are read", r->file, t->name,
                         n_dim, TENSOR_MAX_DIMS);
    status = take(r, dim, n_dim * sizeof *dim, t->name, error);
    if (status == GOSS_OK)
        status = take(r, &type, sizeof type, t->name, error);
    if (status == GOSS_OK)
        status = take(r, offset, sizeof *offset, t->name, error);
    if (status)
        return status;
    t->n_dim = (int)n_dim;
    for (uint32_t i = 0; i < n_dim; i++)
        t->dim[i] = dim[n_dim - 1 - i];
    t->type = type_of(type, ollama);
    if (t->type == DTYPE_NONE)
        return error_set(error, GOSS_E_UNSUPPORTED, "%s: tensor '%s': ggml type %u (%s) is not read", r->file, t->name,
                         type, ggml_name(type));
    return tensor_measure(t, error);
}

static goss_status alignment_of(const struct gguf *gguf, uint64_t *alignment, goss_error *error)
{
    int64_t value = 32;
    goss_status status = GOSS_OK;
    if (gguf_find(gguf, "general.alignment"))
        status = gguf_integer(gguf, "general.alignment", &value, error);
    if (status == GOSS_OK && (value < 1 || value > GGUF_MAX_ALIGNMENT || (value & (value - 1))))
        status = error_set(error, GOSS_E_FORMAT, "%s: general.alignment is %lld, not a power of two up to %d",
                           gguf->file, (long long)value, GGUF_MAX_ALIGNMENT);
    *alignment = (uint64_t)value;
    return status;
}

/* Reads the table of n tensors and finds each one's bytes behind it. base: the start of the file. */
static goss_status read_tensors(struct reader *r, const uint8_t *base, uint64_t n, struct arena *arena,
                                const struct gguf *gguf, struct tensor_list *list, goss_error *error)
{
    const struct gguf_value *architecture = gguf_find(gguf, "general.architecture");
    const char *name = NULL;
    uint64_t alignment, name_bytes = 0;
    size_t first = list->n;
    goss_status status = alignment_of(gguf, &alignment, error);
    if (status == GOSS_OK && architecture)
        status = gguf_text(gguf, "general.architecture", &name, &name_bytes, error);
    bool ollama = name_bytes == strlen("gptoss") && memcmp(name, "gptoss", name_bytes) == 0;
    if (status == GOSS_OK && n > TENSOR_MAX)
        status = error_set(error, GOSS_E_LIMIT, "%s: %llu tensors, at most %d are read", gguf->file,
                           (unsigned long long)n, TENSOR_MAX);
    if (status == GOSS_OK && n > r->left / 24) /* the least that a tensor's entry takes */
        status = truncated(r, "the table of tensors", error);
    if (status)
        return status;
    uint64_t *offset = arena_alloc(arena, n * sizeof *offset + 1);
    if (!offset)
        return error_memory(error, n * sizeof *offset, "the offsets of tensors");
    for (uint64_t i = 0; status == GOSS_OK && i < n; i++)
        status = read_tensor(r, arena, ollama, list, &offset[i], error);
    if (status)
        return status;
    uint64_t padding = -(uint64_t)(r->at - base) & (alignment - 1);
    uint64_t size = padding < r->left ? r->left - padding : 0;
    for (uint64_t i = 0; i < n; i++) {
        struct tensor *t = &list->tensor[first + i];
        if (offset[i] % alignment)
            return error_set(error, GOSS_E_FORMAT, "%s: tensor '%s': offset %llu is no multiple of %llu", r->file,
                             t->name, (unsigned long long)offset[i], (unsigned long long)alignment);
        if (offset[i] > size || t->bytes > size - offset[i])
            return error_set(error, GOSS_E_FORMAT,
                             "%s: tensor '%s': %llu bytes at %llu, but the file has %llu for tensors", r->file, t->name,
                             (unsigned long long)t->bytes, (unsigned long long)offset[i], (unsigned long long)size);
        t->data = size ? r->at + padding + offset[i] : r->at;
    }
    return tensor_list_check_overlap(list, first, error);
}

goss_status gguf_read(const uint8_t *bytes, uint64_t size, const char *file, struct arena *arena, struct gguf *gguf,
                      struct tensor_list *list, goss_error *error)
{
    struct reader r = {bytes, size, file};
    struct {
        char magic[4];
        uint32_t version;
        uint64_t tensors, keys;
    } header;
    *gguf = (struct gguf){.file = file};
    goss_status status = take(&r, &header, sizeof header, "the header", error);
    if (status)
        return status;
    if (memcmp(header.magic, "GGUF", sizeof header.magic) != 0)
        return error_set(error, GOSS_E_FORMAT, "%s: does not begin with GGUF", file);
    if (header.version != 2 && header.version != 3)
        return error_set(error, GOSS_E_UNSUPPORTED, "%s: GGUF version %u%s, versions 2 and 3 are read", file,
                         header.version, header.version & 0xffff ? "" : " (big-endian)");
    if (header.keys > GGUF_MAX_KEYS)
        return error_set(error, GOSS_E_LIMIT, "%s: %llu metadata keys, at most %d are read", file,
                         (unsigned long long)header.keys, GGUF_MAX_KEYS);
    if (header.keys > r.left / 13) /* the least that an entry takes: key length, a letter, type, a byte */
        return truncated(&r, "the metadata", error);
    gguf->value = arena_alloc(arena, header.keys * sizeof *gguf->value + 1);
    if (!gguf->value)
        return error_memory(error, header.keys * sizeof *gguf->value, "metadata");
    for (uint64_t i = 0; status == GOSS_OK && i < header.keys; i++)
        status = read_value(&r, arena, gguf, error);
    return status ? status : read_tensors(&r, bytes, header.tensors, arena, gguf, list, error);
}

const struct gguf_value *gguf_find(const struct gguf *gguf, const char *key)
{
    for (size_t i = 0; i < gguf->n; i++)
        if (strcmp(gguf->value[i].key, key) == 0)
            return &gguf->value[i];
    return NULL;
}

bool gguf_element(const struct gguf_value *value, uint64_t i, int64_t *element)
{
    uint64_t bytes = type_bytes(value->type), raw = 0;
    bool is_signed = value->type == GGUF_I8 || value->type == GGUF_I16 || value->type == GGUF_I32;
    if (value->type == GGUF_F32 || value->type == GGUF_F64 || bytes == 0 || i >= value->count)
        return false;
    memcpy(&raw, value->data + i * bytes, bytes);
    if (value->type == GGUF_U64 && raw > INT64_MAX)
        return false;
    if (is_signed && raw >> (8 * bytes - 1))
        raw |= UINT64_MAX << (8 * bytes - 1);
    *element = (int64_t)raw;
    return true;
}

static goss_status find_single(const struct gguf *gguf, const char *key, const struct gguf_value **value,
                               goss_error *error)
{
    *value = gguf_find(gguf, key);
    if (!*value)
        return error_set(error, GOSS_E_FORMAT, "%s: '%s' is missing", gguf->file, key);
    if ((*value)->array)
        return error_set(error, GOSS_E_UNSUPPORTED, "%s: '%s' is an array, one value was expected", gguf->file, key);
    return GOSS_OK;
}

goss_status gguf_integer(const struct gguf *gguf, const char *key, int64_t *value, goss_error *error)
{
    const struct gguf_value *found;
    *value = 0;
    goss_status status = find_single(gguf, key, &found, error);
    if (status == GOSS_OK && !gguf_element(found, 0, value))
        status = error_set(error, GOSS_E_FORMAT, "%s: '%s' is no integer", gguf->file, key);
    return status;
}

goss_status gguf_number(const struct gguf *gguf, const char *key, double *value, goss_error *error)
{
    const struct gguf_value *found;
    int64_t integer;
    float single;
    *value = 0;
    goss_status status = find_single(gguf, key, &found, error);
    if (status)
        return status;
    if (found->type == GGUF_F32) {
        memcpy(&single, found->data, sizeof single);
        *value = (double)single;
    } else if (found->type == GGUF_F64) {
        memcpy(value, found->data, sizeof *value);
    } else if (gguf_element(found, 0, &integer)) {
        *value = (double)integer;
    } else {
        return error_set(error, GOSS_E_FORMAT, "%s: '%s' is no number", gguf->file, key);
    }
    return GOSS_OK;
}

goss_status gguf_text(const struct gguf *gguf, const char *key, const char **text, uint64_t *size, goss_error *error)
{
    const struct gguf_value *found;
    *text = "";
    *size = 0;
    goss_status status = find_single(gguf, key, &found, error);
    if (status)
        return status;
    if (found->type != GGUF_STRING)
        return error_set(error, GOSS_E_FORMAT, "%s: '%s' is no string", gguf->file, key);
    const uint8_t *cursor = found->data;
    *text = (const char *)gguf_next_string(&cursor, size);
    return GOSS_OK;
}

const uint8_t *gguf_next_string(const uint8_t **cursor, uint64_t *size)
{
    memcpy(size, *cursor, sizeof *size);
    const uint8_t *text = *cursor + sizeof *size;
    *cursor = text + *size;
    return text;
}
