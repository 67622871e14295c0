/* Which tokens may come next, of one matcher. Where texts are broad (inside strings) a walk through the trie is kept
 * and used again; everywhere else few bytes are possible and walks are short. For matcher.c. */
#ifndef GRAMMAR_MASK_H
#define GRAMMAR_MASK_H

#include "grammar/machine.h"
#include "grammar/trie.h"

/* A part of the trie still to be walked: the nodes below `node`, from the positions of the pool. */
struct task {
    int32_t node;
    int32_t first, n; /* in the pool */
};

struct masker {
    struct task *task;
    struct position *pool;
    int32_t n_task, n_pool, task_capacity, pool_capacity;
    struct walk scratch;
    bool out_of_memory;
};

goss_status masker_open(struct masker *masker, const struct trie *trie, goss_error *error);
void masker_close(struct masker *masker);

/* Sets the bits of all tokens that lead on from `set`; the machine is left as it was. */
goss_status masker_run(struct masker *masker, struct machine *machine, struct grammar *grammar,
                       const struct vocabulary *vocabulary, const struct positions *set, uint64_t *bits,
                       goss_error *error);

#endif
