#include "text/build.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "text/bpe.h"
#include "text/utf8.h"

/* The least table that n keys fill by half at most. */
static uint32_t bits_for(size_t n)
{
    uint32_t bits = 4;
    while (((size_t)1 << bits) < 2 * n)
        bits++;
    return bits;
}

/* Enters a token under its bytes; false when no slot near its home is free. */
static bool piece_insert(uint32_t *slot, uint32_t bits, const uint8_t *bytes, size_t n, uint32_t id)
{
    uint64_t hash = piece_key(bytes, n, n).hash;
    uint32_t mask = (1u << bits) - 1, at = (uint32_t)hash & mask;
    for (int i = 0; i < TABLES_PROBES; i++, at = (at + 1) & mask) {
        if (slot[at] == TABLES_FREE) {
            slot[at] = slot_of(hash, id);
            return true;
        }
    }
    return false;
}

static bool normal(const struct byte_vocabulary *v, uint32_t id)
{
    return v->kind[id] == TOKEN_NORMAL && v->offset[id + 1] > v->offset[id];
}

/* Fills an index with the tokens of which `wanted` (NULL: all normal tokens) is set; false when a wider one is needed.
 */
static bool index_fill(uint32_t *slot, uint32_t bits, const struct byte_vocabulary *v, const bool *wanted)
{
    memset(slot, 0xFF, sizeof *slot << bits);
    for (uint32_t id = 0; id < v->n_token; id++) {
        uint32_t at = v->offset[id], size = v->offset[id + 1] - at;
        if (normal(v, id) && (!wanted || wanted[id]) && !piece_insert(slot, bits, v->bytes + at, size, id))
            return false;
    }
    return true;
}

goss_status byte_vocabulary_index(const struct byte_vocabulary *v, struct piece_index *index, goss_error *error)
{
    uint32_t *slot = NULL;
    bool filled = false;
    *index = (struct piece_index){
        .bits = bits_for(v->n_token), .n_byte = v->offset[v->n_token], .offset = v->offset, .bytes = v->bytes};
    for (; !filled && index->bits <= TABLES_MAX_BITS; index->bits += !filled) {
        uint32_t *wider = realloc(slot, sizeof *slot << index->bits);
        if (!wider) {
            free(slot);
            return error_memory(error, sizeof *slot << index->bits, "the index of a vocabulary");
        }
        slot = wider;
        filled = index_fill(slot, index->bits, v, NULL);
    }
    index->slot = slot;
    if (!filled)
        return error_set(error, GOSS_E_LIMIT, "%s: vocabulary: too many tokens whose hashes collide", v->file);
    for (uint32_t id = 0; id < v->n_token; id++) {
        uint32_t at = v->offset[id], size = v->offset[id + 1] - at;
        if (!normal(v, id))
            continue;
        struct piece_key key = piece_key(v->bytes + at, size, size);
        uint32_t first = piece_find(index, &key);
        if (first != id)
            return error_set(error, GOSS_E_FORMAT, "%s: vocabulary: ids %u and %u have the same text", v->file, first,
                             id);
    }
    return GOSS_OK;
}

static goss_status check_merges(const struct byte_vocabulary *v, goss_error *error)
{
    for (uint32_t rank = 0; rank < v->n_merge; rank++) {
        const struct merge *merge = &v->merge[rank];
        if (v->kind[merge->left] != TOKEN_NORMAL || v->kind[merge->right] != TOKEN_NORMAL ||
            v->kind[merge->result] != TOKEN_NORMAL)
            return error_set(error, GOSS_E_FORMAT, "%s: merge %u makes or takes a special token", v->file, rank);
    }
    return GOSS_OK;
}

enum inserted { INSERTED, REPEATED, CROWDED };

static enum inserted pair_insert(uint64_t *slot, uint32_t bits, const struct merge *merge, uint32_t rank)
{
    uint64_t key = pair_key(merge->left, merge->right);
    uint32_t mask = (1u << bits) - 1, at = pair_home(key, bits);
    for (int i = 0; i < TABLES_PROBES; i++, at = (at + 1) & mask) {
        if (slot[at] >> TABLES_ID_BITS == key)
            return REPEATED;
        if (slot[at] == TABLES_FREE_PAIR) {
            slot[at] = key << TABLES_ID_BITS | rank;
            return INSERTED;
        }
    }
    return CROWDED;
}

/* Enters every merge; *crowded is set when a wider table is needed. */
static goss_status pairs_fill(uint64_t *slot, uint32_t bits, const struct byte_vocabulary *v, bool *crowded,
                              goss_error *error)
{
    memset(slot, 0xFF, sizeof *slot << bits);
    *crowded = false;
    for (uint32_t rank = 0; rank < v->n_merge && !*crowded; rank++) {
        enum inserted result = pair_insert(slot, bits, &v->merge[rank], rank);
        if (result == REPEATED)
            return error_set(error, GOSS_E_FORMAT, "%s: merge %u repeats an earlier one", v->file, rank);
        *crowded = result == CROWDED;
    }
    return GOSS_OK;
}

/* Marks the tokens that their own bytes merge to: only for these does looking up a whole piece give what the merges
 * would. */
static goss_status mark_reached(const struct tables *tables, const struct byte_vocabulary *v, bool *reached,
                                goss_error *error)
{
    struct bpe_work work = {0};
    struct token_list ids = {0};
    goss_status status = GOSS_OK;
    for (uint32_t id = 0; id < v->n_token && !status; id++) {
        uint32_t at = v->offset[id];
        ids.size = 0;
        if (normal(v, id))
            status = bpe_append(tables, v->bytes + at, v->offset[id + 1] - at, &work, &ids, error);
        reached[id] = ids.size == 1 && ids.id[0] == (int32_t)id;
    }
    bpe_work_free(&work);
    token_list_free(&ids);
    return status;
}

/* Tables in the making: the form of tables.h, still writable. */
struct draft {
    struct tables_header *header;
    uint64_t *pair;
    uint32_t *piece, *byte_rank, *merged, *offset;
    struct literal *literal;
    uint8_t *kind, *bytes;
    size_t size;
};

/* Memory for free(). Tables of megabytes are read all over, so they ask for large pages: a processor remembers where
 * few pages lie, and a tenth to a fifth of the time of encoding goes into finding the others. */
static uint8_t *allocate_wide(size_t n)
{
    const size_t page = (size_t)1 << 21;
    if (n < page)
        return malloc(n);
    n = (n + page - 1) / page * page;
    uint8_t *memory = aligned_alloc(page, n);
#ifdef MADV_HUGEPAGE
    if (memory)
        (void)madvise(memory, n, MADV_HUGEPAGE); /* refused: slower, nothing else */
#endif
    return memory;
}

/* Allocates for the vocabulary; the hash tables get `wider` more bits than they need at least. */
static bool draft_open(struct draft *draft, const struct byte_vocabulary *v, uint32_t wider)
{
    struct tables_header header = {.magic = TABLES_MAGIC,
                                   .n_token = v->n_token,
                                   .n_merge = v->n_merge,
                                   .n_literal = v->n_alias,
                                   .n_byte = v->offset[v->n_token],
                                   .pair_bits = bits_for(v->n_merge) + wider,
                                   .piece_bits = bits_for(v->n_token) + wider,
                                   .pattern = v->pattern};
    for (uint32_t id = 0; id < v->n_token; id++)
        header.n_literal += v->kind[id] != TOKEN_NORMAL;
    for (uint32_t i = 0; i < v->n_alias; i++)
        header.n_byte += (uint32_t)strlen(v->alias[i].text);
    struct tables_layout at = tables_layout(&header);
    uint8_t *memory = allocate_wide(at.end);
    *draft = (struct draft){.size = at.end};
    if (!memory)
        return false;
    *draft = (struct draft){.header = (void *)memory,
                            .pair = (void *)(memory + at.pair),
                            .piece = (void *)(memory + at.piece),
                            .byte_rank = (void *)(memory + at.byte_rank),
                            .merged = (void *)(memory + at.merged),
                            .offset = (void *)(memory + at.offset),
                            .literal = (void *)(memory + at.literal),
                            .kind = memory + at.kind,
                            .bytes = memory + at.bytes,
                            .size = at.end};
    *draft->header = header;
    return true;
}

static void copy_tokens(const struct draft *draft, const struct byte_vocabulary *v)
{
    memcpy(draft->offset, v->offset, sizeof *v->offset * ((size_t)v->n_token + 1));
    memcpy(draft->kind, v->kind, v->n_token);
    memcpy(draft->bytes, v->bytes, v->offset[v->n_token]);
    for (uint32_t rank = 0; rank < v->n_merge; rank++)
        draft->merged[rank] = v->merge[rank].result;
    memset(draft->header->byte_id, 0xFF, sizeof draft->header->byte_id);
    for (uint32_t id = 0; id < v->n_token; id++)
        if (normal(v, id) && v->offset[id + 1] - v->offset[id] == 1)
            draft->header->byte_id[v->bytes[v->offset[id]]] = id;
}

static int compare_literals(const void *a, const void *b, void *bytes)
{
    return literal_compare(bytes, a, b);
}

/* The literals: every token that is not normal, and the aliases, whose text follows that of the tokens. */
static goss_status copy_literals(const struct draft *draft, const struct byte_vocabulary *v, goss_error *error)
{
    struct literal *out = draft->literal;
    for (uint32_t id = 0; id < v->n_token; id++) {
        uint32_t at = v->offset[id], size = v->offset[id + 1] - at;
        if (v->kind[id] == TOKEN_NORMAL)
            continue;
        if (size == 0 || !utf8_valid(v->bytes + at, size))
            return error_set(error, GOSS_E_FORMAT, "%s: special token %u: its text is empty or not UTF-8", v->file, id);
        *out++ = (struct literal){id, at, size};
    }
    uint32_t at = v->offset[v->n_token];
    for (uint32_t i = 0; i < v->n_alias; i++) {
        uint32_t size = (uint32_t)strlen(v->alias[i].text);
        memcpy(draft->bytes + at, v->alias[i].text, size);
        *out++ = (struct literal){v->alias[i].id, at, size};
        at += size;
    }
    uint32_t n = draft->header->n_literal;
    qsort_r(draft->literal, n, sizeof *draft->literal, compare_literals, draft->bytes);
    for (uint32_t i = 1; i < n; i++)
        if (literal_compare(draft->bytes, &draft->literal[i - 1], &draft->literal[i]) == 0)
            return error_set(error, GOSS_E_FORMAT, "%s: special tokens %u and %u have the same text", v->file,
                             draft->literal[i - 1].id, draft->literal[i].id);
    return GOSS_OK;
}

/* Looks up the merges of single bytes; all merges must be in their table. */
static void byte_ranks_fill(const struct draft *draft)
{
    const uint32_t *id = draft->header->byte_id;
    struct tables tables;
    tables_point(&tables, (const uint8_t *)draft->header);
    for (uint32_t pair = 0; pair < TABLES_BYTE_PAIRS; pair++) {
        uint32_t left = id[pair >> 8], right = id[pair & 255];
        bool known = left != TABLES_NO_ID && right != TABLES_NO_ID;
        draft->byte_rank[pair] = known ? tables_rank(&tables, left, right) : TABLES_NO_ID;
    }
}

/* Fills the table of whole pieces; the merges must be in their table. */
static goss_status pieces_fill(const struct draft *draft, const struct byte_vocabulary *v, bool *crowded,
                               goss_error *error)
{
    bool *reached = NULL;
    goss_status status = GOSS_OK;
    if (!v->whole_pieces) {
        struct tables tables;
        tables_point(&tables, (const uint8_t *)draft->header);
        reached = malloc(v->n_token + 1);
        status = reached ? mark_reached(&tables, v, reached, error)
                         : error_memory(error, v->n_token + 1, "the index of a vocabulary");
    }
    if (!status)
        *crowded = !index_fill(draft->piece, draft->header->piece_bits, v, reached);
    free(reached);
    return status;
}

goss_status tokenizer_build(struct tokenizer **tokenizer, const struct byte_vocabulary *v, goss_error *error)
{
    *tokenizer = NULL;
    goss_status status = check_merges(v, error);
    for (uint32_t wider = 0; !status; wider++) {
        if (bits_for(v->n_token > v->n_merge ? v->n_token : v->n_merge) + wider > TABLES_MAX_BITS)
            return error_set(error, GOSS_E_LIMIT, "%s: vocabulary: too many tokens whose hashes collide", v->file);
        struct draft draft;
        bool crowded = false;
        if (!draft_open(&draft, v, wider))
            return error_memory(error, draft.size, "tokenizer tables");
        copy_tokens(&draft, v);
        status = copy_literals(&draft, v, error);
        if (!status)
            status = pairs_fill(draft.pair, draft.header->pair_bits, v, &crowded, error);
        if (!status && !crowded)
            byte_ranks_fill(&draft);
        if (!status && !crowded)
            status = pieces_fill(&draft, v, &crowded, error);
        if (!status && !crowded)
            return tokenizer_adopt(tokenizer, (uint8_t *)draft.header, draft.size, v->file, error);
        free(draft.header);
    }
    return status;
}
