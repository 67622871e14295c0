#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "text/bpe.h"
#include "text/build.h"
#include "text/split.h"
#include "text/tables.h"
#include "text/utf8.h"

struct tokenizer {
    struct tables tables;
    size_t size;    /* bytes of the tables */
    uint8_t *owned; /* the tables' memory, or NULL when it is the caller's */
    split_function *split;
    bool first[2][256]; /* [control] bytes with which a literal to be found begins */
    bool has_literal;   /* some literal is found without `control` */
};

static goss_status tokenizer_bind(struct tokenizer **tokenizer, const uint8_t *bytes, size_t size, const char *file,
                                  goss_error *error)
{
    *tokenizer = NULL;
    struct tokenizer *t = calloc(1, sizeof *t);
    if (!t)
        return error_memory(error, sizeof *t, "a tokenizer");
    goss_status status = tables_bind(&t->tables, bytes, size, file, error);
    if (status) {
        free(t);
        return status;
    }
    t->size = size;
    t->split = split_by(t->tables.header->pattern);
    for (uint32_t i = 0; i < t->tables.header->n_literal; i++) {
        const struct literal *literal = &t->tables.literal[i];
        bool always = t->tables.kind[literal->id] == TOKEN_LITERAL;
        t->first[1][t->tables.bytes[literal->offset]] = true;
        t->first[0][t->tables.bytes[literal->offset]] |= always;
        t->has_literal |= always;
    }
    *tokenizer = t;
    return GOSS_OK;
}

goss_status tokenizer_adopt(struct tokenizer **tokenizer, uint8_t *tables, size_t size, const char *file,
                            goss_error *error)
{
    goss_status status = tokenizer_bind(tokenizer, tables, size, file, error);
    if (status)
        free(tables);
    else
        (*tokenizer)->owned = tables;
    return status;
}

goss_status tokenizer_load(struct tokenizer **tokenizer, const uint8_t *tables, size_t size, const char *file,
                           goss_error *error)
{
    return tokenizer_bind(tokenizer, tables, size, file, error);
}

goss_status tokenizer_save(const struct tokenizer *tokenizer, struct buffer *tables, goss_error *error)
{
    return buffer_append(tables, tokenizer->tables.header, tokenizer->size, error);
}

void tokenizer_close(struct tokenizer *tokenizer)
{
    if (tokenizer)
        free(tokenizer->owned);
    free(tokenizer);
}

int32_t tokenizer_size(const struct tokenizer *tokenizer)
{
    return (int32_t)tokenizer->tables.header->n_token;
}

const uint8_t *tokenizer_bytes(const struct tokenizer *tokenizer, int32_t id, size_t *size)
{
    const struct tables *tables = &tokenizer->tables;
    *size = 0;
    if (id < 0 || id >= tokenizer_size(tokenizer))
        return tables->bytes;
    *size = tables->offset[id + 1] - tables->offset[id];
    return tables->bytes + tables->offset[id];
}

bool tokenizer_is_control(const struct tokenizer *tokenizer, int32_t id)
{
    return id >= 0 && id < tokenizer_size(tokenizer) && tokenizer->tables.kind[id] == TOKEN_CONTROL;
}

/* Among the literals [low, high), which agree in their first `depth` bytes and are longer, the first whose next byte
 * is at least `byte`. */
static uint32_t literal_bound(const struct tables *tables, uint32_t low, uint32_t high, uint32_t depth, int byte)
{
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (tables->bytes[tables->literal[middle].offset + depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest literal with which the text begins, or NULL; control tokens only if asked for. */
static const struct literal *literal_at(const struct tables *tables, const uint8_t *text, size_t n, bool control)
{
    const struct literal *found = NULL;
    uint32_t low = 0, high = tables->header->n_literal;
    for (uint32_t depth = 0; low < high; depth++) {
        const struct literal *literal = &tables->literal[low];
        if (literal->size == depth) { /* the shortest comes first */
            if (control || tables->kind[literal->id] == TOKEN_LITERAL)
                found = literal;
            low++;
        }
        if (depth == n)
            break;
        low = literal_bound(tables, low, high, depth, text[depth]);
        high = literal_bound(tables, low, high, depth, text[depth] + 1);
    }
    return found;
}

int32_t tokenizer_control(const struct tokenizer *tokenizer, const char *literal)
{
    size_t n = strlen(literal);
    const struct literal *found = literal_at(&tokenizer->tables, (const uint8_t *)literal, n, true);
    return found && found->size == n && tokenizer_is_control(tokenizer, (int32_t)found->id) ? (int32_t)found->id : -1;
}

/* Makes room for n more ids. */
static goss_status token_list_reserve(struct token_list *list, size_t n, goss_error *error)
{
    if (n <= list->capacity - list->size)
        return GOSS_OK;
    size_t capacity = list->capacity < 64 ? 64 : 2 * list->capacity;
    if (capacity - list->size < n)
        capacity = list->size + n;
    int32_t *grown = capacity > SIZE_MAX / sizeof *grown ? NULL : realloc(list->id, capacity * sizeof *grown);
    if (!grown)
        return error_memory(error, capacity * sizeof *grown, "a list of tokens");
    list->id = grown;
    list->capacity = capacity;
    return GOSS_OK;
}

goss_status token_list_append(struct token_list *list, const int32_t *id, size_t n, goss_error *error)
{
    goss_status status = token_list_reserve(list, n, error);
    if (status)
        return status;
    if (n)
        memcpy(list->id + list->size, id, n * sizeof *id);
    list->size += n;
    return GOSS_OK;
}

void token_list_free(struct token_list *list)
{
    free(list->id);
    *list = (struct token_list){0};
}

/* Where a piece that had to be merged was met before in the text at hand, and what it became. */
struct recalled {
    uint64_t hash;
    uint32_t text, size; /* where it lies in the text; size 0: nothing yet */
    uint32_t id, n_id;   /* its ids in the list, counted from `before` */
};
enum {
    RECALL_BITS = 12,
    RECALL_WORTH = 4096, /* bytes of text from which on it pays */
    AHEAD = 32           /* pieces whose slots are fetched before the first is looked up */
};

/* One call of tokenizer_encode. */
struct encoding {
    const struct tokenizer *tokenizer;
    const uint8_t *text;
    struct token_list *ids;
    size_t before;           /* ids in the list when it began */
    struct recalled *recall; /* [1 << RECALL_BITS], or NULL */
    struct bpe_work work;
    goss_error *error;
};

static goss_status merge_piece(struct encoding *e, const struct piece_key *piece)
{
    const struct tables *tables = &e->tokenizer->tables;
    if (!e->recall)
        return bpe_append(tables, piece->text, piece->size, &e->work, e->ids, e->error);
    struct recalled *known = &e->recall[piece->hash >> (64 - RECALL_BITS)];
    size_t at = e->ids->size;
    goss_status status;
    if (known->hash == piece->hash && known->size == piece->size &&
        !memcmp(e->text + known->text, piece->text, piece->size)) {
        status = token_list_reserve(e->ids, known->n_id, e->error);
        if (!status) {
            memcpy(e->ids->id + at, e->ids->id + e->before + known->id, known->n_id * sizeof *e->ids->id);
            e->ids->size += known->n_id;
        }
        return status;
    }
    status = bpe_append(tables, piece->text, piece->size, &e->work, e->ids, e->error);
    *known = (struct recalled){piece->hash, (uint32_t)(piece->text - e->text), piece->size, (uint32_t)(at - e->before),
                               (uint32_t)(e->ids->size - at)};
    return status;
}

/* A piece that is a token is that id, any other is merged from its bytes. */
static inline goss_status encode_piece(struct encoding *e, const struct piece_index *pieces, uint32_t guess,
                                       const struct piece_key *piece)
{
    uint32_t id = guess;
    if (id == TABLES_NO_ID || !piece_is(pieces, id, piece))
        id = piece_find(pieces, piece);
    if (id == TABLES_NO_ID)
        return merge_piece(e, piece);
    if (e->ids->size == e->ids->capacity)
        return token_list_append(e->ids, &(int32_t){(int32_t)id}, 1, e->error);
    e->ids->id[e->ids->size++] = (int32_t)id;
    return GOSS_OK;
}

/* Text without literals. */
static goss_status encode_plain(struct encoding *e, const uint8_t *text, const uint8_t *end)
{
    const struct piece_index pieces = tables_pieces(&e->tokenizer->tables);
    split_function *split = e->tokenizer->split;
    struct piece_key ahead[AHEAD];
    uint32_t guess[AHEAD];
    goss_status status = GOSS_OK;
    while (text < end && !status) {
        size_t n = 0;
        for (; n < AHEAD && text < end; n++) {
            const uint8_t *next = split(text, end);
            ahead[n] = piece_key(text, (size_t)(next - text), (size_t)(end - text));
            piece_fetch(&pieces, &ahead[n]);
            text = next;
        }
        for (size_t i = 0; i < n; i++)
            guess[i] = piece_guess(&pieces, &ahead[i]);
        for (size_t i = 0; i < n && !status; i++)
            status = encode_piece(e, &pieces, guess[i], &ahead[i]);
    }
    return status;
}

/* What lies between two literals is encoded as if it stood alone. */
static goss_status encode_text(struct encoding *e, size_t n, bool control)
{
    const struct tokenizer *tokenizer = e->tokenizer;
    const uint8_t *plain = e->text, *end = plain + n, *p = control || tokenizer->has_literal ? plain : end;
    goss_status status = GOSS_OK;
    while (p < end && !status) {
        const struct literal *literal = NULL;
        if (tokenizer->first[control][*p])
            literal = literal_at(&tokenizer->tables, p, (size_t)(end - p), control);
        if (!literal) {
            p++;
            continue;
        }
        status = encode_plain(e, plain, p);
        if (!status)
            status = token_list_append(e->ids, &(int32_t){(int32_t)literal->id}, 1, e->error);
        plain = p += literal->size;
    }
    return status ? status : encode_plain(e, plain, end);
}

goss_status tokenizer_encode(const struct tokenizer *tokenizer, const void *text, size_t n, bool control,
                             struct token_list *ids, goss_error *error)
{
    struct buffer repaired;
    struct encoding e = {.tokenizer = tokenizer, .text = text, .ids = ids, .before = ids->size, .error = error};
    goss_status status = GOSS_OK;
    if (n == 0) /* and so text may be NULL */
        return GOSS_OK;
    if (n > INT32_MAX)
        return error_set(error, GOSS_E_LIMIT, "text of %zu bytes: at most %d are encoded at once", n, INT32_MAX);
    buffer_init(&repaired, 3 * n + 1); /* one bad byte becomes the three of U+FFFD */
    if (!utf8_valid(text, n)) {
        status = utf8_repair(text, n, &repaired, error);
        e.text = repaired.data;
        n = repaired.size;
    }
    if (n >= RECALL_WORTH)
        e.recall = calloc(1u << RECALL_BITS, sizeof *e.recall); /* without it the result is the same */
    if (!status)
        status = encode_text(&e, n, control);
    if (status)
        ids->size = e.before;
    free(e.recall);
    bpe_work_free(&e.work);
    buffer_free(&repaired);
    return status;
}
