/* Packs a checkpoint: the tensors of any dialect are bound to their roles and written, in the layouts of
 * weights/tile.h, as one packed file (weights/packed.h) that is only mapped from then on.
 *
 * What a tensor becomes depends on its values alone, never on the file format that held them:
 *   norms, biases, sinks   F32; a sink of -inf becomes -FLT_MAX
 *   router                 TILE_F32
 *   attention, head        TILE_Q8: taken over bit for bit from Q8_0, else made by the rule of Q8_0; or TILE_BF16
 *   embedding              the same, row-major: Q8_0 or BF16
 *   experts                MXFP4 as TILE_MXFP4, Q8_0 as TILE_Q8, both bit for bit; others as TILE_BF16 or TILE_Q8
 * A source finer than bf16 (F16, F32) is rounded to bf16 where bf16 is asked for. NaN and infinity are refused, and so
 * are MXFP4 scales 254 and 255 (beyond bf16's range and NaN); the message names tensor, expert and row. */
#ifndef MODEL_PACK_H
#define MODEL_PACK_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/error.h"

struct checkpoint; /* weights/checkpoint.h */

enum pack_type { PACK_DEFAULT, PACK_Q8, PACK_BF16 };

/* Zeroed is the default. */
struct pack_options {
    enum pack_type dense;   /* attention, embedding, head; default Q8. BF16 refuses a source that is Q8_0 */
    enum pack_type experts; /* experts that are neither MXFP4 nor Q8_0; default BF16 */
    int threads;            /* 0: one per core this process may use */
};

/* Read and set by any thread while a pack is under way. */
struct pack_progress {
    atomic_uint_fast64_t done, total; /* bytes of packed tensors; total is 0 until it is known */
    atomic_bool cancel;               /* set: pack soon returns GOSS_E_CANCELLED and leaves no file */
    goss_error again;                 /* why a packed file that is there is of no use; to be read once total is not 0 */
};

/* Writes the packed file `path`, which has its name only when it is complete and on disk. progress may be NULL. */
goss_status pack(const struct checkpoint *checkpoint, const char *path, const struct pack_options *options,
                 struct pack_progress *progress, goss_error *error);

#endif
