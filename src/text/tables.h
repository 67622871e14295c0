/* A tokenizer's tables in the one form in which they are built, kept in a packed file, mapped and used.
 *
 * The form is a header and seven arrays, each following the one before without a gap, in the order of `struct tables`;
 * numbers are little-endian and the whole is aligned to 8 bytes. Nothing in it is trusted: tables_bind checks every
 * index, so that whatever the bytes say, encoding stays inside the arrays, yields ids below n_token and yields no
 * control id but from a literal. */
#ifndef TEXT_TABLES_H
#define TEXT_TABLES_H

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

enum {
    TABLES_ID_BITS = 21, /* ids and ranks, so that a pair of ids and its rank fit into 63 bits */
    TABLES_MAX_TOKEN = (1 << TABLES_ID_BITS) - 1,
    TABLES_MAX_TOKEN_BYTES = 4096,
    TABLES_MAX_BYTES = 1 << 28,
    TABLES_MAX_BITS = 24, /* log2 of the slots of a hash table */
    TABLES_PROBES = 64    /* no key lies further from its home slot, so a lookup is short whatever the vocabulary */
};
#define TABLES_MAGIC "GOSSTOK1"
#define TABLES_NO_ID UINT32_MAX
#define TABLES_FREE_PAIR UINT64_MAX
#define TABLES_FREE_PIECE UINT32_MAX

enum token_kind {
    TOKEN_NORMAL,  /* made by merging bytes; one without bytes is an unused id */
    TOKEN_CONTROL, /* never made from text unless the caller asks for control tokens */
    TOKEN_LITERAL, /* found in every text as it stands: "added" or "user-defined", but not special */
    TOKEN_KINDS
};

struct tables_header {
    char magic[8];
    uint32_t n_token, n_merge, n_literal, n_byte;
    uint32_t pair_bits, piece_bits; /* log2 of the slots */
    uint32_t pattern;               /* enum split_pattern */
    uint32_t reserved;              /* 0 */
    uint32_t byte_id[256];          /* the id of each single byte, or TABLES_NO_ID: such bytes are left out */
};

/* A string that is an id by itself. Literals are sorted by their bytes and differ. */
struct literal {
    uint32_t id, offset, size; /* text = bytes + offset */
};

struct tables {
    const struct tables_header *header;
    const uint64_t *pair;          /* [1 << pair_bits] left id << 42 | right id << 21 | rank, or free */
    const uint32_t *piece;         /* [1 << piece_bits] top 11 bits of the hash << 21 | id, or free */
    const uint32_t *merged;        /* [n_merge] the id that the merge of this rank makes */
    const uint32_t *offset;        /* [n_token + 1] where a token's bytes begin */
    const struct literal *literal; /* [n_literal] */
    const uint8_t *kind;           /* [n_token] enum token_kind */
    const uint8_t *bytes;          /* [n_byte] of the tokens in order, then of literals that name an id once more */
};

/* Where the arrays lie, in bytes from the header, and where the last of them ends. */
struct tables_layout {
    size_t pair, piece, merged, offset, literal, kind, bytes, end;
};
struct tables_layout tables_layout(const struct tables_header *header);

/* Points `tables` into bytes, which stay the caller's and must be sound. */
void tables_point(struct tables *tables, const uint8_t *bytes);

/* The same for bytes from anywhere: refused unless sound. `file` is named in messages. */
goss_status tables_bind(struct tables *tables, const uint8_t *bytes, size_t size, const char *file, goss_error *error);

/* The order of two literals whose texts lie in `bytes`, as memcmp tells it. */
int literal_compare(const uint8_t *bytes, const struct literal *a, const struct literal *b);

static inline uint64_t pair_key(uint32_t left, uint32_t right)
{
    return (uint64_t)left << TABLES_ID_BITS | right;
}

static inline uint32_t pair_home(uint64_t key, uint32_t bits)
{
    return (uint32_t)((key * 0x9E3779B97F4A7C15u) >> (64 - bits));
}

/* The rank of the merge of two ids, or TABLES_NO_ID. */
static inline uint32_t tables_rank(const struct tables *tables, uint32_t left, uint32_t right)
{
    uint32_t bits = tables->header->pair_bits, mask = (1u << bits) - 1;
    uint64_t key = pair_key(left, right);
    uint32_t slot = pair_home(key, bits);
    for (int i = 0; i < TABLES_PROBES; i++, slot = (slot + 1) & mask) {
        uint64_t entry = tables->pair[slot];
        if (entry >> TABLES_ID_BITS == key)
            return (uint32_t)entry & TABLES_MAX_TOKEN;
        if (entry == TABLES_FREE_PAIR)
            break;
    }
    return TABLES_NO_ID;
}

/* Tokens found by their bytes: open addressing, linear probing. */
struct piece_index {
    uint32_t bits;
    const uint32_t *slot;   /* as `piece` above */
    const uint32_t *offset; /* as above */
    const uint8_t *bytes;
};

uint64_t tables_hash(const uint8_t *bytes, size_t n);
/* The id of the token with these bytes, or TABLES_NO_ID. */
uint32_t piece_find(const struct piece_index *index, const uint8_t *piece, size_t n);

static inline struct piece_index tables_pieces(const struct tables *tables)
{
    return (struct piece_index){tables->header->piece_bits, tables->piece, tables->offset, tables->bytes};
}

#endif
