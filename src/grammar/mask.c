#include "grammar/mask.h"

#include <stdlib.h>
#include <string.h>

/* Walks that looked at this many nodes are kept, and at most so many of them for one grammar. */
enum { WORTH_KEEPING = 20000, MOST_KEPT = 64 };

goss_status masker_open(struct masker *masker, const struct trie *trie, goss_error *error)
{
    *masker = (struct masker){0};
    return walk_open(&masker->scratch, trie) ? GOSS_OK : error_memory(error, (size_t)trie->n_word, "a mask");
}

void masker_close(struct masker *masker)
{
    free(masker->task);
    free(masker->pool);
    walk_close(&masker->scratch);
}

/* All that a run needs at hand. */
struct run {
    struct masker *masker;
    struct machine *machine;
    struct grammar *grammar;
    const struct vocabulary *vocabulary;
    const struct trie *trie;
    uint64_t *bits;
};

static bool reserve(struct masker *m, void *array, int32_t *capacity, int32_t n, size_t size)
{
    void **p = array;
    if (n <= *capacity)
        return true;
    void *grown = realloc(*p, 2 * (size_t)n * size);
    if (!grown) {
        m->out_of_memory = true;
        return false;
    }
    *p = grown;
    *capacity = 2 * n;
    return true;
}

/* Puts positions into the pool; returns where they begin. */
static int32_t put(struct masker *m, const struct position *position, int32_t n)
{
    if (!reserve(m, &m->pool, &m->pool_capacity, m->n_pool + n, sizeof *m->pool))
        return 0;
    memcpy(m->pool + m->n_pool, position, (size_t)n * sizeof *position);
    m->n_pool += n;
    return m->n_pool - n;
}

static void add_task(struct run *run, int32_t node, int32_t first, int32_t n)
{
    struct masker *m = run->masker;
    if (run->trie->end[node] == node + 1)
        return; /* nothing below it */
    if (reserve(m, &m->task, &m->task_capacity, m->n_task + 1, sizeof *m->task))
        m->task[m->n_task++] = (struct task){node, first, n};
}

/* What follows the ends of a text goes on below them. */
static void follow_ends(struct run *run, const struct position *from, const struct walk *walk)
{
    const struct object_rule *rule = from->where == IN_KEY ? run->grammar->node[from->node].object : NULL;
    struct position behind = rule ? *from : machine_behind(run->machine, from->frame);
    int32_t pooled = rule ? 0 : put(run->masker, &behind, 1);
    const struct node *node = &run->grammar->node[from->node];
    for (int32_t i = 0; i < walk->n_end; i++) {
        const struct text_end *end = &walk->end[i];
        uint64_t n_char = (uint64_t)from->count + end->n_char;
        if (node->counted && (n_char < node->least || n_char > node->most))
            continue;
        if (rule) {
            if (!machine_behind_key(run->machine, from, rule->class_of[end->accept], &behind))
                continue;
            pooled = put(run->masker, &behind, 1);
        }
        if (end->final)
            trie_allow(run->trie, end->node, run->bits);
        add_task(run, end->node, pooled, 1);
    }
}

/* Whether what a position leads to inside its text can be told from its dfa alone: nothing is counted, and no key is
 * ruled out by those that came before. */
static const struct dfa *plain_dfa(const struct run *run, const struct position *p)
{
    const struct node *node = &run->grammar->node[p->node];
    if (p->where == IN_TEXT)
        return node->counted ? NULL : &run->grammar->dfa[node->dfa];
    if (p->where != IN_KEY)
        return NULL;
    const struct object_rule *rule = node->object;
    const uint64_t *viable = machine_viable(run->machine, p->frame);
    for (int32_t i = 0; i < rule->n_word; i++)
        if (viable[i] & rule->always[i])
            return &rule->keys;
    return NULL;
}

/* Between two characters of a string that are counted. */
static bool is_counted(const struct run *run, const struct position *p)
{
    return p->where == IN_TEXT && run->grammar->node[p->node].counted &&
           p->state == run->vocabulary->inside_string.state;
}

static void take_walk(struct run *run, const struct position *from, const struct walk *walk)
{
    for (int32_t i = 0; i < run->trie->n_word; i++)
        run->bits[i] |= walk->inside[i];
    follow_ends(run, from, walk);
}

/* Keeps the scratch walk in the grammar. When there are too many, all go: those still needed soon come back. */
static void keep(struct run *run)
{
    struct grammar *g = run->grammar;
    struct walk *kept = malloc(sizeof *kept);
    struct walk fresh;
    if (!kept || !walk_open(&fresh, run->trie)) {
        free(kept);
        return;
    }
    if (g->n_walk == MOST_KEPT) {
        walks_free(g->walk);
        g->walk = NULL;
        g->n_walk = 0;
    }
    *kept = run->masker->scratch;
    kept->next = g->walk;
    g->walk = kept;
    g->n_walk++;
    run->masker->scratch = fresh;
}

/* The walk from the root of the trie: known, or done now. */
static void walk_all(struct run *run, const struct position *from, const struct dfa *dfa)
{
    const struct vocabulary *v = run->vocabulary;
    bool string = !run->grammar->raw && dfa->next == run->grammar->dfa[DFA_STRING].next;
    if (string && from->state == v->inside_string.state) {
        take_walk(run, from, &v->inside_string);
        return;
    }
    for (const struct walk *walk = run->grammar->walk; walk; walk = walk->next)
        if (walk->dfa == dfa->next && walk->state == from->state) {
            take_walk(run, from, walk);
            return;
        }
    struct walk *scratch = &run->masker->scratch;
    memset(scratch->inside, 0, (size_t)run->trie->n_word * sizeof *scratch->inside);
    scratch->n_end = 0;
    int64_t n = trie_walk(run->trie, 0, run->trie->n_node, 0, dfa, from->state, scratch);
    run->masker->out_of_memory |= scratch->out_of_memory;
    take_walk(run, from, scratch);
    if (n >= WORTH_KEEPING && !scratch->out_of_memory)
        keep(run);
}

/* Below a node (-1: the whole trie) from a set of positions, byte by byte. */
static void walk_slowly(struct run *run, const struct task *task)
{
    const struct trie *trie = run->trie;
    struct masker *m = run->masker;
    int above = task->node < 0 ? 0 : trie->depth[task->node];
    int32_t first[VOCABULARY_TOKEN_BYTES + 1], count[VOCABULARY_TOKEN_BYTES + 1];
    int32_t i = task->node < 0 ? 0 : task->node + 1, end = task->node < 0 ? trie->n_node : trie->end[task->node];
    int32_t base = m->n_pool;
    first[above] = task->first;
    count[above] = task->n;
    while (i < end && !m->out_of_memory) {
        int depth = trie->depth[i];
        struct positions to;
        to.n = 0;
        /* The pool behind the parents' positions is free again. */
        m->n_pool = depth - 1 == above ? base : first[depth - 1] + count[depth - 1];
        for (int32_t k = 0; k < count[depth - 1]; k++) {
            const struct position from = m->pool[first[depth - 1] + k];
            machine_step(run->machine, &from, trie->byte[i], &to);
        }
        if (to.n == 0) {
            i = trie->end[i];
            continue;
        }
        first[depth] = put(m, to.position, to.n);
        count[depth] = to.n;
        if (trie->token[i] >= 0)
            trie_allow(trie, i, run->bits);
        i++;
    }
    m->n_pool = base;
}

goss_status masker_run(struct masker *m, struct machine *machine, struct grammar *grammar,
                       const struct vocabulary *vocabulary, const struct positions *set, uint64_t *bits,
                       goss_error *error)
{
    struct run run = {m, machine, grammar, vocabulary, &vocabulary->trie, bits};
    struct machine_mark mark = machine_mark(machine);
    memset(bits, 0, (size_t)run.trie->n_word * sizeof *bits);
    m->n_task = m->n_pool = 0;
    for (int32_t i = 0; i < set->n; i++) {
        const struct position *p = &set->position[i];
        const struct dfa *dfa = plain_dfa(&run, p);
        if (dfa) {
            walk_all(&run, p, dfa);
        } else if (is_counted(&run, p)) {
            vocabulary_allow_within(vocabulary, grammar->node[p->node].most - p->count, bits);
            follow_ends(&run, p, &vocabulary->inside_string);
        } else {
            struct task task = {-1, put(m, p, 1), 1};
            walk_slowly(&run, &task);
        }
        /* A number may also end before the token. */
        if (p->where == IN_TEXT && grammar->dfa[grammar->node[p->node].dfa].accept[p->state]) {
            struct position behind = machine_behind(machine, p->frame);
            struct task task = {-1, put(m, &behind, 1), 1};
            walk_slowly(&run, &task);
        }
    }
    for (int32_t i = 0; i < m->n_task && !m->out_of_memory; i++) {
        struct task task = m->task[i];
        walk_slowly(&run, &task);
    }
    machine_drop(machine, mark);
    if (m->out_of_memory || machine->out_of_memory)
        return error_memory(error, 0, "a mask");
    return GOSS_OK;
}
