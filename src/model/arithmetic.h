/* The sizes that the definition of every number rests on (docs/arithmetic.md), for every backend. */
#ifndef MODEL_ARITHMETIC_H
#define MODEL_ARITHMETIC_H

enum {
    LANES = 16,                       /* lanes of every sum that is not in plain order */
    BLOCK = 32,                       /* inputs that share a scale */
    SEGMENT_BLOCKS = 16,              /* blocks whose contributions are added before they join the total .. */
    SEGMENT = SEGMENT_BLOCKS * BLOCK, /* .. that is 512 inputs, for float weights as well */
    KEY_TILE = 16,                    /* keys that are stored, and scored, together */
    KEY_CHUNK = 256,                  /* keys under one running maximum, aligned to absolute positions */
    KEY_TILES = KEY_CHUNK / KEY_TILE,
};

#endif
