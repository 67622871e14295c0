#include <stdlib.h>
#include <string.h>

#include "grammar/mask.h"

struct matcher {
    struct grammar *grammar;
    const struct vocabulary *vocabulary;
    struct machine machine;
    struct masker masker;
    struct positions set, next, last; /* where the text is; the others are scratch */
};

goss_status matcher_open(struct matcher **matcher, struct grammar *grammar, const struct vocabulary *vocabulary,
                         goss_error *error)
{
    *matcher = NULL;
    struct matcher *m = calloc(1, sizeof *m);
    if (!m)
        return error_memory(error, sizeof *m, "a text's state");
    m->grammar = grammar;
    m->vocabulary = vocabulary;
    goss_status status = machine_open(&m->machine, grammar, error);
    status = status ? status : masker_open(&m->masker, &vocabulary->trie, error);
    if (status) {
        matcher_close(m);
        return status;
    }
    machine_begin(&m->machine, &m->set);
    *matcher = m;
    return GOSS_OK;
}

void matcher_close(struct matcher *m)
{
    if (!m)
        return;
    machine_close(&m->machine);
    masker_close(&m->masker);
    free(m);
}

static void copy(struct positions *to, const struct positions *from)
{
    to->n = from->n;
    memcpy(to->position, from->position, (size_t)from->n * sizeof from->position[0]);
}

/* Where a byte leads from m->last: to m->next. */
static void step(struct matcher *m, uint8_t byte)
{
    m->next.n = 0;
    for (int32_t k = 0; k < m->last.n; k++)
        machine_step(&m->machine, &m->last.position[k], byte, &m->next);
}

bool matcher_bytes(struct matcher *m, const uint8_t *bytes, size_t n)
{
    struct machine_mark mark = machine_mark(&m->machine);
    copy(&m->last, &m->set);
    for (size_t i = 0; i < n && m->last.n > 0; i++) {
        step(m, bytes[i]);
        copy(&m->last, &m->next);
    }
    if (m->last.n == 0 || m->machine.out_of_memory) {
        machine_drop(&m->machine, mark);
        return false;
    }
    copy(&m->set, &m->last);
    return true;
}

bool matcher_token(struct matcher *m, int32_t id)
{
    const struct vocabulary *v = m->vocabulary;
    if (id < 0 || id >= v->trie.n_id || !(v->text[id / 64] >> (id % 64) & 1))
        return false;
    size_t size;
    const uint8_t *bytes = tokenizer_bytes(v->tokenizer, id, &size);
    return matcher_bytes(m, bytes, size);
}

bool matcher_may(struct matcher *m, uint8_t byte)
{
    struct machine_mark mark = machine_mark(&m->machine);
    copy(&m->last, &m->set);
    step(m, byte);
    machine_drop(&m->machine, mark);
    return m->next.n > 0 && !m->machine.out_of_memory;
}

bool matcher_can_end(const struct matcher *m)
{
    return machine_can_end(&m->machine, &m->set);
}

goss_status matcher_mask(struct matcher *m, uint64_t *bits, goss_error *error)
{
    return masker_run(&m->masker, &m->machine, m->grammar, m->vocabulary, &m->set, bits, error);
}
