#include "text/spelled.h"

#include <stdlib.h>
#include <string.h>

#include "text/build.h"
#include "text/byte_level.h"
#include "text/utf8.h"

const char *excerpt(char out[EXCERPT], const uint8_t *text, size_t n)
{
    size_t size = 0;
    for (size_t i = 0, length; i < n; i += length) {
        bool cut, whole = utf8_head(text + i, n - i, &length, &cut);
        if (size + length + sizeof "..." > EXCERPT) {
            memcpy(out + size, "...", 3);
            size += 3;
            break;
        }
        if (whole && text[i] >= ' ' && text[i] != 127)
            memcpy(out + size, text + i, length);
        else
            memset(out + size, '?', length);
        size += length;
    }
    out[size] = 0;
    return out;
}

/* The decoded vocabulary while it is put together; vocabulary.offset and so on point into these. */
struct decoded {
    const struct spelled_vocabulary *source;
    uint32_t *offset;
    uint8_t *bytes, *kind;
    struct merge *merge;
    size_t merge_capacity;
    struct piece_index index;
    struct byte_vocabulary vocabulary;
};

static void decoded_free(struct decoded *d)
{
    free(d->offset);
    free(d->bytes);
    free(d->kind);
    free(d->merge);
    free((void *)d->index.slot);
}

static goss_status check_sizes(const struct spelled_vocabulary *source, size_t *total, goss_error *error)
{
    *total = 0;
    if (source->n_token > TABLES_MAX_TOKEN || source->n_merge > TABLES_MAX_TOKEN)
        return error_set(error, GOSS_E_LIMIT, "%s: %u tokens and %u merges: at most %d are read", source->file,
                         source->n_token, source->n_merge, TABLES_MAX_TOKEN);
    for (uint32_t id = 0; id < source->n_token; id++) {
        size_t size = source->token[id].text.size;
        if (size > TABLES_MAX_TOKEN_BYTES)
            return error_set(error, GOSS_E_LIMIT, "%s: token %u: its text has %zu bytes, at most %d are read",
                             source->file, id, size, TABLES_MAX_TOKEN_BYTES);
        *total += size;
    }
    if (*total > TABLES_MAX_BYTES)
        return error_set(error, GOSS_E_LIMIT, "%s: the tokens have %zu bytes, at most %d are read", source->file,
                         *total, TABLES_MAX_BYTES);
    return GOSS_OK;
}

static goss_status decode_tokens(struct decoded *d, goss_error *error)
{
    const struct spelled_vocabulary *source = d->source;
    char shown[EXCERPT];
    for (uint32_t id = 0; id < source->n_token; id++) {
        const struct spelled_token *token = &source->token[id];
        uint8_t *out = d->bytes + d->offset[id];
        size_t size = token->text.size;
        d->kind[id] = (uint8_t)token->kind;
        if (token->kind == TOKEN_NORMAL)
            size = byte_level_decode(token->text.data, size, out);
        else if (size)
            memcpy(out, token->text.data, size);
        if (size == SIZE_MAX)
            return error_set(error, GOSS_E_FORMAT, "%s: token %u: '%s' is not in the byte-level spelling", source->file,
                             id, excerpt(shown, token->text.data, token->text.size));
        if (token->text.data && size == 0)
            return error_set(error, GOSS_E_FORMAT, "%s: token %u: its text is empty", source->file, id);
        d->offset[id + 1] = d->offset[id] + (uint32_t)size;
    }
    return GOSS_OK;
}

static uint32_t find(const struct decoded *d, const uint8_t *text, size_t n)
{
    struct piece_key key = piece_key(text, n, n);
    return piece_find(&d->index, &key);
}

/* The id of a spelled token with a prefix of decoded bytes before it: *size bytes of `text` are there already, and the
 * decoded spelling is appended. TABLES_NO_ID when there is no such token. */
static uint32_t resolve(const struct decoded *d, struct tokenizer_text spelled, uint8_t *text, size_t *size)
{
    if (spelled.size > TABLES_MAX_TOKEN_BYTES)
        return TABLES_NO_ID;
    size_t n = byte_level_decode(spelled.data, spelled.size, text + *size);
    if (n == SIZE_MAX || n == 0)
        return TABLES_NO_ID;
    uint32_t id = find(d, text + *size, n);
    *size += n;
    return id;
}

static goss_status resolve_merges(struct decoded *d, goss_error *error)
{
    const struct spelled_vocabulary *source = d->source;
    uint8_t text[2 * TABLES_MAX_TOKEN_BYTES];
    char left[EXCERPT], right[EXCERPT];
    d->merge = malloc(((size_t)source->n_merge + 1) * sizeof *d->merge);
    if (!d->merge)
        return error_memory(error, ((size_t)source->n_merge + 1) * sizeof *d->merge, "the merges of a tokenizer");
    for (uint32_t rank = 0; rank < source->n_merge; rank++) {
        const struct spelled_merge *spelled = &source->merge[rank];
        struct merge *merge = &d->merge[rank];
        size_t size = 0;
        merge->left = resolve(d, spelled->left, text, &size);
        merge->right = merge->left == TABLES_NO_ID ? TABLES_NO_ID : resolve(d, spelled->right, text, &size);
        merge->result = merge->right == TABLES_NO_ID ? TABLES_NO_ID : find(d, text, size);
        if (merge->result == TABLES_NO_ID)
            return error_set(error, GOSS_E_FORMAT, "%s: merge %u: '%s' and '%s', or what they make, is no token",
                             source->file, rank, excerpt(left, spelled->left.data, spelled->left.size),
                             excerpt(right, spelled->right.data, spelled->right.size));
    }
    d->vocabulary.n_merge = source->n_merge;
    return GOSS_OK;
}

static goss_status add_merge(struct decoded *d, struct merge merge, goss_error *error)
{
    uint32_t *n = &d->vocabulary.n_merge;
    if (*n == TABLES_MAX_TOKEN)
        return error_set(error, GOSS_E_LIMIT, "%s: the vocabulary has more than %d merges", d->source->file,
                         TABLES_MAX_TOKEN);
    if (*n == d->merge_capacity) {
        size_t capacity = d->merge_capacity ? 2 * d->merge_capacity : 1024;
        struct merge *wider = realloc(d->merge, capacity * sizeof merge);
        if (!wider)
            return error_memory(error, capacity * sizeof merge, "the merges of a tokenizer");
        d->merge = wider;
        d->merge_capacity = capacity;
    }
    d->merge[(*n)++] = merge;
    return GOSS_OK;
}

/* Every way to cut a token into two tokens is a merge, at the rank of the token. */
static goss_status derive_merges(struct decoded *d, goss_error *error)
{
    enum { WORK = 1 << 28 }; /* bytes hashed: some seconds */
    size_t work = 0;
    goss_status status = GOSS_OK;
    for (uint32_t id = 0; id < d->source->n_token && !status; id++) {
        const uint8_t *text = d->bytes + d->offset[id];
        size_t size = d->offset[id + 1] - d->offset[id];
        if (d->kind[id] != TOKEN_NORMAL)
            continue;
        work += size * size;
        if (work > WORK)
            return error_set(error, GOSS_E_LIMIT, "%s: no merges, and the tokens are too long to derive them",
                             d->source->file);
        for (size_t cut = 1; cut < size && !status; cut++) {
            uint32_t left = find(d, text, cut);
            uint32_t right = left == TABLES_NO_ID ? left : find(d, text + cut, size - cut);
            if (right != TABLES_NO_ID)
                status = add_merge(d, (struct merge){left, right, id}, error);
        }
    }
    return status;
}

goss_status tokenizer_build_spelled(struct tokenizer **tokenizer, const struct spelled_vocabulary *source,
                                    goss_error *error)
{
    struct decoded d = {.source = source};
    size_t total;
    *tokenizer = NULL;
    goss_status status = check_sizes(source, &total, error);
    if (status)
        return status;
    d.offset = calloc((size_t)source->n_token + 1, sizeof *d.offset);
    d.kind = calloc((size_t)source->n_token + 1, 1);
    d.bytes = malloc(total + 1);
    if (!d.offset || !d.kind || !d.bytes) {
        status = error_memory(error, total + 5 * (size_t)source->n_token, "the tokens of a tokenizer");
        goto done;
    }
    status = decode_tokens(&d, error);
    d.vocabulary = (struct byte_vocabulary){.file = source->file,
                                            .pattern = source->pattern,
                                            .whole_pieces = source->whole_pieces,
                                            .n_token = source->n_token,
                                            .offset = d.offset,
                                            .bytes = d.bytes,
                                            .kind = d.kind};
    if (!status)
        status = byte_vocabulary_index(&d.vocabulary, &d.index, error);
    if (!status)
        status = source->derive_merges ? derive_merges(&d, error) : resolve_merges(&d, error);
    d.vocabulary.merge = d.merge;
    if (!status)
        status = tokenizer_build(tokenizer, &d.vocabulary, error);
done:
    decoded_free(&d);
    return status;
}
