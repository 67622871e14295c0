/* A tokenizer's tables in the one form in which they are built, kept in a packed file, mapped and used.
 *
 * The form is a header and eight arrays, each following the one before without a gap, in the order of `struct tables`;
 * numbers are little-endian and the whole is aligned to 8 bytes. Nothing in it is trusted: tables_bind checks every
 * index, so that whatever the bytes say, encoding stays inside the arrays, yields ids below n_token and yields no
 * control id but from a literal. */
#ifndef TEXT_TABLES_H
#define TEXT_TABLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/buffer.h"

enum {
    TABLES_ID_BITS = 21, /* of ids and of ranks; the other 11 bits of a hash slot are of the hash */
    TABLES_MAX_TOKEN = (1 << TABLES_ID_BITS) - 1, /* ids and ranks are below it */
    TABLES_MAX_TOKEN_BYTES = 4096,
    TABLES_MAX_BYTES = 1 << 28,
    TABLES_MAX_BITS = 24, /* log2 of the slots of a hash table */
    TABLES_PROBES = 64    /* no key lies further from its home slot, so a lookup is short whatever the vocabulary */
};
#define TABLES_MAGIC "GOSSTOK1"
#define TABLES_NO_ID UINT32_MAX
#define TABLES_FREE_PAIR UINT64_MAX
#define TABLES_FREE UINT32_MAX /* an unused slot of a hash table */

enum { TABLES_BYTE_PAIRS = 256 * 256 };

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
    const uint64_t *pair;          /* [1 << pair_bits] left id << 42 | right id << 21 | rank, or TABLES_FREE_PAIR */
    const uint32_t *piece;         /* [1 << piece_bits] top 11 bits of the text's hash << 21 | id, or free */
    const uint32_t *byte_rank;     /* [256][256] the ranks of two single bytes, or TABLES_NO_ID */
    const uint32_t *merged;        /* [n_merge] the id that the merge of this rank makes */
    const uint32_t *offset;        /* [n_token + 1] where a token's bytes begin */
    const struct literal *literal; /* [n_literal] */
    const uint8_t *kind;           /* [n_token] enum token_kind */
    const uint8_t *bytes;          /* [n_byte] of the tokens in order, then of literals that name an id once more */
};

/* Where the arrays lie, in bytes from the header, and where the last of them ends. */
struct tables_layout {
    size_t pair, piece, byte_rank, merged, offset, literal, kind, bytes, end;
};
struct tables_layout tables_layout(const struct tables_header *header);

/* Points `tables` into bytes, which stay the caller's and must be sound. */
void tables_point(struct tables *tables, const uint8_t *bytes);

/* The same for bytes from anywhere: refused unless sound. `file` is named in messages. */
goss_status tables_bind(struct tables *tables, const uint8_t *bytes, size_t size, const char *file, goss_error *error);

/* The order of two literals whose texts lie in `bytes`, as memcmp tells it. */
int literal_compare(const uint8_t *bytes, const struct literal *a, const struct literal *b);

/* The slot value of a hash and what it leads to: an id or a rank. */
static inline uint32_t slot_of(uint64_t hash, uint32_t number)
{
    return (uint32_t)(hash >> (32 + TABLES_ID_BITS)) << TABLES_ID_BITS | number;
}

static inline uint64_t pair_key(uint32_t left, uint32_t right)
{
    return (uint64_t)left << TABLES_ID_BITS | right;
}

static inline uint32_t pair_home(uint64_t key, uint32_t bits)
{
    return (uint32_t)(key * 0x9E3779B97F4A7C15u >> (64 - bits));
}

/* The rank of the merge of two ids, or TABLES_NO_ID. */
static inline uint32_t tables_rank(const struct tables *tables, uint32_t left, uint32_t right)
{
    uint32_t bits = tables->header->pair_bits, mask = (1u << bits) - 1;
    uint64_t key = pair_key(left, right);
    uint32_t at = pair_home(key, bits);
    for (int i = 0; i < TABLES_PROBES; i++, at = (at + 1) & mask) {
        uint64_t slot = tables->pair[at];
        if (slot >> TABLES_ID_BITS == key)
            return (uint32_t)slot & TABLES_MAX_TOKEN;
        if (slot == TABLES_FREE_PAIR)
            break;
    }
    return TABLES_NO_ID;
}

/* Fetches the slot where tables_rank will look first. */
static inline void tables_prefetch(const struct tables *tables, uint32_t left, uint32_t right)
{
    __builtin_prefetch(&tables->pair[pair_home(pair_key(left, right), tables->header->pair_bits)]);
}

static inline uint64_t load_word(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* The two halves of a 128-bit product folded together, as wyhash and its relatives do. */
static inline uint64_t hash_mix(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* A string as it is looked up. Its first 16 bytes, padded with zeros, are most often all of it: so most strings are
 * hashed and compared without a branch on their length, which a processor could not foresee. */
struct piece_key {
    const uint8_t *text;
    uint64_t low, high; /* bytes 0..7 and 8..15 */
    uint64_t hash;
    uint32_t size;
};

/* The key of the n >= 1 bytes at p, where `room` >= n may be read. */
static inline struct piece_key piece_key(const uint8_t *p, size_t n, size_t room)
{
    const uint64_t k0 = 0xA0761D6478BD642Fu, k1 = 0xE7037ED1A0B428DBu;
    struct piece_key key = {.text = p, .size = (uint32_t)n};
    uint8_t copy[16] = {0};
    const uint8_t *head = p;
    if (room < sizeof copy) {
        memcpy(copy, p, n);
        head = copy;
    }
    key.low = load_word(head) & (n < 8 ? ((uint64_t)1 << 8 * n) - 1 : UINT64_MAX);
    key.high = load_word(head + 8) & (n < 8 ? 0 : n < 16 ? ((uint64_t)1 << 8 * (n - 8)) - 1 : UINT64_MAX);
    key.hash = hash_mix(key.low ^ k1, key.high ^ k0 ^ n);
    for (size_t i = 16; i < n; i += 16) { /* the last step may read some bytes again */
        const uint8_t *q = n - i < 16 ? p + n - 16 : p + i;
        key.hash = hash_mix(load_word(q) ^ key.hash, load_word(q + 8) ^ k1);
    }
    return key;
}

/* Tokens found by their bytes: open addressing, linear probing. */
struct piece_index {
    uint32_t bits;
    uint32_t n_byte;
    const uint32_t *slot;   /* as `piece` above */
    const uint32_t *offset; /* as above */
    const uint8_t *bytes;   /* [n_byte] */
};

static inline struct piece_index tables_pieces(const struct tables *tables)
{
    return (struct piece_index){tables->header->piece_bits, tables->header->n_byte, tables->piece, tables->offset,
                                tables->bytes};
}

/* The id of the token with these bytes, or TABLES_NO_ID. */
uint32_t piece_find(const struct piece_index *index, const struct piece_key *key);

/* piece_find in three steps, each of which reads what the one before has asked memory for: taken for many pieces in
 * turn, the waits overlap. */
static inline void piece_fetch(const struct piece_index *index, const struct piece_key *key)
{
    __builtin_prefetch(&index->slot[(uint32_t)key->hash & ((1u << index->bits) - 1)]);
}

/* The token in the home slot if it is likely to be the one, else TABLES_NO_ID. */
static inline uint32_t piece_guess(const struct piece_index *index, const struct piece_key *key)
{
    uint32_t slot = index->slot[(uint32_t)key->hash & ((1u << index->bits) - 1)], id = slot & TABLES_MAX_TOKEN;
    if (slot == TABLES_FREE || slot != slot_of(key->hash, id))
        return TABLES_NO_ID;
    __builtin_prefetch(&index->offset[id]);
    return id;
}

/* Whether a guess was right. */
static inline bool piece_is(const struct piece_index *index, uint32_t id, const struct piece_key *key)
{
    uint32_t at = index->offset[id], n = key->size;
    if (index->offset[id + 1] - at != n)
        return false;
    if (n > 16)
        return !memcmp(index->bytes + at, key->text, n);
    struct piece_key token = piece_key(index->bytes + at, n, index->n_byte - at);
    return token.low == key->low && token.high == key->high;
}

#endif
