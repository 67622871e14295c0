/* The engine room: many sequences over one model. It knows tokens, not messages.
 *
 *     engine_open -> engine_add -> { engine_step, sequence_next .. } -> engine_release -> engine_close
 *
 * Everything is pulled: engine_step computes one batch, then sequence_next hands out what that batch produced. The bits
 * of an answer depend on the model, the prompt, the sampling parameters and the seed, and never on the other
 * sequences, the chunk size, the cache or the order of calls.
 *
 * Memory: keys and values of full layers live in pages of KV_PAGE positions, those of window layers in one ring per
 * running sequence. What a sequence computed stays cached after it: a later prompt that begins with the same ids, under
 * the same owner, continues from the last checkpoint on its way (a checkpoint is a snapshot of the rings at a message
 * boundary). A prompt whose beginning an older one is just computing waits for it instead of computing the same beside
 * it. When pages are short the cache goes first, then sequences wait, then the youngest is set back and
 * recomputed: never an error, never another answer.
 *
 * Thread safety: none; one thread at a time calls an engine and its sequences. The backend runs threads of its own. */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <stdbool.h>

#include "engine/sampler.h"
#include "model/backend.h"

enum { ENGINE_QUEUE = 16 };

/* Lookup (engine/lookup.h): ids that a sequence is likely to say next, found in what it holds already, become further
 * rows of the step in which it decodes. Those that the sampler picks from the logits of the row before are accepted, so
 * one step may sample several ids; the ids are those of plain decoding. A number above 0 is how many to guess whenever
 * there is something to guess from, pay or not: for tests and measurements, at most LOOKUP_MOST. */
enum {
    LOOKUP_AUTO = 0, /* as many as are likely to pay; this looks at a clock, and no bit of an answer depends on it */
    LOOKUP_OFF = -1,
};

struct engine_options {
    int threads;          /* 0: one per core */
    const char *isa;      /* a cap, see struct backend_options; NULL: the best */
    uint64_t gpu_bytes;   /* most memory of a GPU to use; 0: what is free */
    int chunk;            /* prefill rows per step, all sequences together; 0: 512 */
    int context;          /* most positions of one sequence; 0: what kv_bytes holds, at most the model's own limit */
    int max_sequences;    /* most sequences computed at once (more may wait); 0: 1 */
    int max_waiting;      /* most sequences added and not yet computed; 0: 1024 */
    int score_rows;       /* most rows of logits per step for scored sequences; 0: no scoring */
    uint64_t kv_bytes;    /* for pages, rings and snapshots together; 0: enough for max_sequences of `context` */
    int checkpoints;      /* most checkpoints kept; 0: as many as an eighth of kv_bytes holds, at most 1024 */
    int checkpoint_every; /* positions between automatic checkpoints in a long prompt; 0: 2048 */
    int lookup;           /* LOOKUP_AUTO, LOOKUP_OFF or a number of guesses */
};

struct engine;
struct sequence;

/* The model must outlive the engine. GOSS_E_LIMIT if kv_bytes does not hold one sequence of `context` positions. */
goss_status engine_open(struct engine **engine, const struct model *model, const struct backend_table *table,
                        const struct engine_options *options, goss_error *error);
void engine_close(struct engine *engine); /* frees every sequence too; NULL is fine */

const struct model_config *engine_config(const struct engine *engine);
int engine_context(const struct engine *engine);         /* the limit that requests are held to */
const char *engine_backend(const struct engine *engine); /* "cpu" or "cuda" */
const char *engine_isa(const struct engine *engine);     /* what the backend runs on, for people */
/* Layers whose experts the backend computes itself; those of the others do not fit on the GPU and are computed by the
 * CPU. */
int engine_expert_layers(const struct engine *engine);

/* Which ids may come next, said by whoever knows what they are for. A step may sample several ids of a sequence, so the
 * engine asks: before it samples an id it calls `allow`, and with the id that it sampled `take`, in turn, during
 * engine_step. What is guessed (see above) and not allowed is not accepted. */
struct guide {
    void *self;
    /* *allowed: a set of ids as for sampler_sample, or NULL for all; read before the next call. */
    goss_status (*allow)(void *self, const uint64_t **allowed, goss_error *error); /* NULL: all ids, always */
    goss_status (*take)(void *self, int32_t id, goss_error *error);
};

/* What a sequence computes. Arrays are copied by engine_add; what the guide points to must outlive the sequence. */
struct sequence_request {
    const int32_t *id; /* [n_id] the prompt; at least one, each 0 <= id < n_vocab */
    int n_id;
    int max_tokens;           /* most ids to sample, the stop id included; 0: as many as the context leaves */
    struct sampling sampling; /* begin with sampling_default() */
    const int32_t *stop;      /* [n_stop] ids that end sampling; NULL: the stop ids of the model's config */
    int n_stop;
    uint64_t owner; /* cached keys and values are shared between sequences of the same owner only */
    bool no_cache;  /* neither uses nor leaves anything in the cache */
    /* [n_boundary] increasing positions, 0 < b < n_id, where later prompts are likely to part from this one (beginnings
     * of messages): checkpoints are kept there. Hints only. */
    const int32_t *boundary;
    int n_boundary;
    struct guide guide;
    bool score; /* samples nothing; the logits after every prompt id are handed out by sequence_scores */
    int lookup; /* LOOKUP_AUTO: as the engine's options say; else instead of them, but an engine opened with LOOKUP_OFF
                   has no rows for it */
};

/* GOSS_E_LIMIT, with the counts, if the prompt and max_tokens do not fit the context or too many sequences wait;
 * GOSS_E_ARGUMENT for an id outside the vocabulary or a sampling parameter out of range. */
goss_status engine_add(struct engine *engine, const struct sequence_request *request, struct sequence **sequence,
                       goss_error *error);

/* What engine_add checks, but for the queue. It reads only what never changes, so any thread may ask. */
goss_status engine_check(const struct engine *engine, const struct sequence_request *request, goss_error *error);

/* Computes one batch: a row for every sequence that decodes, and up to `chunk` prompt rows shared fairly by the
 * others, so that a long prompt delays nobody by more than one chunk; then the guesses of lookups. A sequence whose
 * tokens are not pulled pauses after ENGINE_QUEUE of them. False if there was nothing to compute. */
bool engine_step(struct engine *engine);

enum finish {
    FINISH_NONE,      /* still under way */
    FINISH_STOP,      /* a stop id was sampled; it is the last token handed out */
    FINISH_LENGTH,    /* max_tokens were sampled */
    FINISH_SCORED,    /* a scored prompt is complete */
    FINISH_CANCELLED, /* engine_cancel */
    FINISH_ERROR,     /* sequence_error says why */
};

/* Hands out the next sampled token: true and *sampled, or false if there is none yet (call engine_step) or ever
 * (sequence_finish is not FINISH_NONE). Tokens already sampled are handed out after the end, too. */
bool sequence_next(struct sequence *sequence, struct sampled *sampled);
enum finish sequence_finish(const struct sequence *sequence);
const goss_error *sequence_error(const struct sequence *sequence); /* NULL unless FINISH_ERROR */

/* The rows that the last engine_step computed of a scored sequence: logits after the ids at positions first ..
 * first + n - 1. n is 0 if it computed none. Valid until the next engine_step. */
struct score_rows {
    int first, n;
    const float *logits; /* [n][n_vocab], finite */
};
void sequence_scores(const struct sequence *sequence, struct score_rows *rows);

struct usage {
    int prompt_tokens;
    int cached_tokens; /* of the prompt, taken from the cache when it was first computed */
    int answer_tokens; /* sampled, the stop id included */
};
struct usage sequence_usage(const struct sequence *sequence);

/* Ends a sequence now: its pages and ring are free when this returns. Harmless after the end. */
void engine_cancel(struct engine *engine, struct sequence *sequence);
/* Cancels if need be and frees the handle. NULL is fine. */
void engine_release(struct engine *engine, struct sequence *sequence);

/* Counters, for people, the bench and the tests. */
struct engine_stats {
    int pages, pages_free, pages_cached; /* cached: held by the cache alone */
    int rings, rings_free;
    int checkpoints, checkpoints_max;
    uint64_t page_bytes, ring_bytes, checkpoint_bytes; /* of one */
    int running, waiting;
    uint64_t steps, rows, prefill_rows, decode_rows; /* rows: of prompts, of decoding and drafted */
    uint64_t drafted, accepted;                      /* guesses of lookups: rows computed for them, and those right */
    uint64_t prefix_hits, prefix_tokens; /* prompts that began from a checkpoint, and the ids that this saved */
    uint64_t page_copies, preemptions, evictions;
};
struct engine_stats engine_stats(const struct engine *engine);

/* Forgets every cached prefix that no running sequence uses. */
void engine_forget(struct engine *engine);

#endif
