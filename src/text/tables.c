#include "text/tables.h"

#include <string.h>

#include "text/split.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tables are little-endian and used in place");

struct tables_layout tables_layout(const struct tables_header *header)
{
    struct tables_layout at = {.pair = sizeof *header};
    at.piece = at.pair + (sizeof(uint64_t) << header->pair_bits);
    at.byte_rank = at.piece + (sizeof(uint32_t) << header->piece_bits);
    at.merged = at.byte_rank + sizeof(uint32_t) * TABLES_BYTE_PAIRS;
    at.offset = at.merged + sizeof(uint32_t) * header->n_merge;
    at.literal = at.offset + sizeof(uint32_t) * ((size_t)header->n_token + 1);
    at.kind = at.literal + sizeof(struct literal) * header->n_literal;
    at.bytes = at.kind + header->n_token;
    at.end = at.bytes + header->n_byte;
    return at;
}

void tables_point(struct tables *tables, const uint8_t *bytes)
{
    struct tables_layout at = tables_layout((const void *)bytes);
    *tables = (struct tables){.header = (const void *)bytes,
                              .pair = (const void *)(bytes + at.pair),
                              .piece = (const void *)(bytes + at.piece),
                              .byte_rank = (const void *)(bytes + at.byte_rank),
                              .merged = (const void *)(bytes + at.merged),
                              .offset = (const void *)(bytes + at.offset),
                              .literal = (const void *)(bytes + at.literal),
                              .kind = bytes + at.kind,
                              .bytes = bytes + at.bytes};
}

static goss_status check_header(const struct tables_header *header, size_t size, const char *file, goss_error *error)
{
    if (memcmp(header->magic, TABLES_MAGIC, sizeof header->magic) != 0)
        return error_set(error, GOSS_E_FORMAT, "%s: tokenizer tables: not of the version this program reads", file);
    if (header->n_token > TABLES_MAX_TOKEN || header->n_merge > TABLES_MAX_TOKEN || header->n_byte > TABLES_MAX_BYTES ||
        header->n_literal > 2 * TABLES_MAX_TOKEN || header->pair_bits < 1 || header->pair_bits > TABLES_MAX_BITS ||
        header->piece_bits < 1 || header->piece_bits > TABLES_MAX_BITS)
        return error_set(error, GOSS_E_LIMIT, "%s: tokenizer tables: %u tokens and %u merges are past the limit of %d",
                         file, header->n_token, header->n_merge, TABLES_MAX_TOKEN);
    size_t end = tables_layout(header).end;
    if (end != size)
        return error_set(error, GOSS_E_FORMAT, "%s: tokenizer tables: %zu bytes where the header tells of %zu", file,
                         size, end);
    if (header->pattern == SPLIT_NONE || header->pattern >= SPLIT_PATTERNS || header->reserved)
        return error_set(error, GOSS_E_UNSUPPORTED, "%s: tokenizer tables: splitting pattern %u is not known", file,
                         header->pattern);
    return GOSS_OK;
}

/* Ids that plain text may become. */
static bool plain(const struct tables *tables, uint32_t id)
{
    return id < tables->header->n_token && tables->kind[id] == TOKEN_NORMAL;
}

static bool tokens_sound(const struct tables *tables)
{
    const struct tables_header *header = tables->header;
    bool sound = tables->offset[0] == 0 && tables->offset[header->n_token] <= header->n_byte;
    for (uint32_t i = 0; i < header->n_token; i++)
        sound &= tables->offset[i] <= tables->offset[i + 1] && tables->kind[i] < TOKEN_KINDS;
    for (int i = 0; i < 256; i++)
        sound &= header->byte_id[i] == TABLES_NO_ID || plain(tables, header->byte_id[i]);
    return sound;
}

static bool slots_sound(const struct tables *tables)
{
    const struct tables_header *header = tables->header;
    bool sound = true;
    for (size_t i = 0; i < (size_t)1 << header->piece_bits; i++)
        sound &= tables->piece[i] == TABLES_FREE || plain(tables, tables->piece[i] & TABLES_MAX_TOKEN);
    for (size_t i = 0; i < (size_t)1 << header->pair_bits; i++)
        sound &= tables->pair[i] == TABLES_FREE_PAIR || (tables->pair[i] & TABLES_MAX_TOKEN) < header->n_merge;
    for (size_t i = 0; i < TABLES_BYTE_PAIRS; i++)
        sound &= tables->byte_rank[i] == TABLES_NO_ID || tables->byte_rank[i] < header->n_merge;
    for (uint32_t i = 0; i < header->n_merge; i++)
        sound &= plain(tables, tables->merged[i]);
    return sound;
}

/* Literals must lie in the bytes, be special by kind and be sorted, which the search among them relies on. */
static bool literals_sound(const struct tables *tables)
{
    const struct tables_header *header = tables->header;
    for (uint32_t i = 0; i < header->n_literal; i++) {
        const struct literal *it = &tables->literal[i];
        if (it->id >= header->n_token || tables->kind[it->id] == TOKEN_NORMAL || it->size == 0 ||
            it->offset > header->n_byte || it->size > header->n_byte - it->offset)
            return false;
        if (i && literal_compare(tables->bytes, it - 1, it) >= 0)
            return false;
    }
    return true;
}

int literal_compare(const uint8_t *bytes, const struct literal *a, const struct literal *b)
{
    int order = memcmp(bytes + a->offset, bytes + b->offset, a->size < b->size ? a->size : b->size);
    return order ? order : (a->size > b->size) - (a->size < b->size);
}

goss_status tables_bind(struct tables *tables, const uint8_t *bytes, size_t size, const char *file, goss_error *error)
{
    *tables = (struct tables){0};
    if ((uintptr_t)bytes % sizeof(uint64_t) != 0 || size < sizeof *tables->header)
        return error_set(error, GOSS_E_FORMAT, "%s: tokenizer tables: %zu bytes, misaligned or less than a header",
                         file, size);
    goss_status status = check_header((const void *)bytes, size, file, error);
    if (status)
        return status;
    tables_point(tables, bytes);
    const char *wrong = !tokens_sound(tables)     ? "the tokens"
                        : !slots_sound(tables)    ? "the merges"
                        : !literals_sound(tables) ? "the literals"
                                                  : NULL;
    if (wrong)
        return error_set(error, GOSS_E_FORMAT, "%s: tokenizer tables: %s are damaged", file, wrong);
    return GOSS_OK;
}

uint32_t piece_find(const struct piece_index *index, const struct piece_key *key)
{
    uint32_t mask = (1u << index->bits) - 1, at = (uint32_t)key->hash & mask;
    for (int i = 0; i < TABLES_PROBES; i++, at = (at + 1) & mask) {
        uint32_t slot = index->slot[at], id = slot & TABLES_MAX_TOKEN;
        if (slot == TABLES_FREE)
            break;
        if (slot == slot_of(key->hash, id) && piece_is(index, id, key))
            return id;
    }
    return TABLES_NO_ID;
}
