/* Follows a text through a grammar, byte by byte. Alternatives that cannot be told apart yet are followed side by side
 * as a set of positions. A position knows where it is in a node, and in which arrays and objects: these are frames,
 * kept once each in a machine's store, so that positions are small and equal ones are equal bytes.
 *
 * For mask.c and matcher.c; nobody else includes this. */
#ifndef GRAMMAR_MACHINE_H
#define GRAMMAR_MACHINE_H

#include "grammar/node.h"

enum where {
    AT_VALUE,      /* before a value; node is what it must be */
    IN_TEXT,       /* inside a NODE_TEXT */
    AT_FIRST_ITEM, /* behind '[' */
    BEHIND_ITEM,   /* before ',' or ']' */
    AT_FIRST_KEY,  /* behind '{' */
    AT_KEY,        /* behind ',' in an object */
    IN_KEY,        /* behind a key's opening quote; node is the object */
    AT_COLON,      /* behind a key; node is its value's */
    BEHIND_VALUE,  /* before ',' or '}' */
    AT_END,        /* nothing may follow */
};

/* frame is the innermost array or object around it, 0 for none. state: of the dfa, or which blanks were read. */
struct position {
    uint32_t where, node, state, count, frame;
};

/* More alternatives than this are not followed: what is generated keeps to the first ones. */
enum { POSITIONS = 128 };
struct positions {
    struct position position[POSITIONS];
    int32_t n;
};

struct frame {
    uint32_t parent, node, depth;
    uint32_t count; /* array: items begun, as far as it matters; object: which of the store's `keys` */
    int32_t next;   /* in the same slot of the store, or -1 */
};

/* How far an object has come: which keys it has, and from that and its depth, which classes may follow. */
struct keys {
    uint32_t node, total, missing; /* total as far as it matters; missing: required keys to come */
    uint32_t room;                 /* depth left for values, as far as it matters */
    size_t bits;                   /* in the store: seen [n_word], then viable [n_word] */
    int32_t next;
};

struct machine {
    const struct grammar *grammar;
    struct frame *frame;
    struct keys *keys;
    uint64_t *bits;
    int32_t *frame_slot, *keys_slot; /* [n_slot] */
    int32_t n_frame, n_keys, frame_capacity, keys_capacity, n_slot;
    size_t n_bits, bits_capacity;
    bool out_of_memory; /* what was followed since is not to be trusted */
};

goss_status machine_open(struct machine *machine, const struct grammar *grammar, goss_error *error);
void machine_close(struct machine *machine);
void machine_begin(struct machine *machine, struct positions *set);

/* Adds to `to` where a byte leads from one position. */
void machine_step(struct machine *machine, const struct position *from, uint8_t byte, struct positions *to);
bool machine_can_end(const struct machine *machine, const struct positions *set);

/* Where a finished value leads: behind it in its frame. */
struct position machine_behind(const struct machine *machine, uint32_t frame);
/* Behind a key of the class; false if the class may not come now. */
bool machine_behind_key(struct machine *machine, const struct position *key, int32_t class, struct position *behind);
/* The classes that may come next in an object's frame: [n_word] words. */
const uint64_t *machine_viable(const struct machine *machine, uint32_t frame);

/* Everything that was stored since a mark can be dropped again. */
struct machine_mark {
    int32_t n_frame, n_keys;
    size_t n_bits;
};
struct machine_mark machine_mark(const struct machine *machine);
void machine_drop(struct machine *machine, struct machine_mark mark);

/* One step inside a text, for mask.c: the state and number of characters behind a byte, or false. */
bool text_step(const struct grammar *grammar, const struct node *node, uint32_t *state, uint32_t *count, uint8_t byte);

#endif
