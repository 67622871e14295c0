#include "engine/internal.h"

/* Sequences are served in the order in which they were added. The oldest always gets what it needs, since any one
 * sequence fits into the pages; so everything that was added ends. */

static int min(int a, int b)
{
    return a < b ? a : b;
}

/* Takes a running sequence's pages and ring away. It waits in its old place and recomputes from its ids, to the same
 * bits. */
static void set_back(struct engine *e, struct sequence *s)
{
    kv_cache_end(e->kv, &s->kv);
    s->state = STATE_WAITING;
    s->n_computed = 0;
    s->n_row = 0;
    e->n_running--;
    e->n_waiting++;
    e->n_preemptions++;
}

/* Whether an older prompt, being computed now, will leave a checkpoint that s could continue from: then s would only
 * compute the same again beside it. */
static bool is_being_computed(const struct engine *e, const struct sequence *s)
{
    for (const struct sequence *o = e->active.first; o != s && s->kv.cached; o = o->next) {
        if (o->state != STATE_RUNNING || !o->kv.cached || o->kv.owner != s->kv.owner || o->n_boundary == 0 ||
            o->boundary[o->n_boundary - 1] <= o->n_computed)
            continue;
        int common = 0, most = min(o->n_prompt, s->n_id - 1);
        while (common < most && o->id[common] == s->id[common])
            common++;
        for (int i = o->n_boundary - 1; i >= 0 && o->boundary[i] > o->n_computed; i--)
            if (o->boundary[i] <= common)
                return true;
    }
    return false;
}

static void admit(struct engine *e)
{
    for (struct sequence *s = e->active.first; s && e->n_running < e->options.max_sequences; s = s->next) {
        if (s->state != STATE_WAITING || is_being_computed(e, s))
            continue;
        if (!kv_cache_begin(e->kv, &s->kv, s->id, s->n_id, s->n_id, &s->n_begun))
            return; /* those behind it wait too, or it might wait for ever */
        s->state = STATE_RUNNING;
        s->n_computed = s->n_begun;
        if (s->cached_tokens < 0)
            s->cached_tokens = s->n_begun;
        e->n_running++;
        e->n_waiting--;
    }
}

/* A page for the next position of s, at the cost of the youngest if need be. False if that was s itself. */
static bool make_room(struct engine *e, struct sequence *s)
{
    while (!kv_cache_reserve(e->kv, &s->kv, s->n_computed + 1)) {
        struct sequence *youngest = e->active.last;
        while (youngest->state != STATE_RUNNING)
            youngest = youngest->previous;
        set_back(e, youngest);
        if (youngest == s)
            return false;
    }
    return true;
}

static bool is_prefill(const struct sequence *s)
{
    return s->state == STATE_RUNNING && (rows_to_come(s) > 1 || s->score);
}

/* Whether what was sampled has to be pulled before more is. */
static bool is_full(const struct sequence *s)
{
    return s->n_queue >= ENGINE_QUEUE;
}

/* Every sequence whose ids are all computed but the last one has one row. */
static void plan_decode(struct engine *e)
{
    for (struct sequence *s = e->active.first; s; s = s->next) {
        s->n_row = 0;
        if (s->state != STATE_RUNNING || is_prefill(s) || is_full(s))
            continue;
        if (make_room(e, s))
            s->n_row = 1;
    }
}

/* How many more rows a prefill sequence could have in this batch, which may not end too far behind the next place where
 * a checkpoint is wanted. */
static int appetite(const struct engine *e, const struct sequence *s, int score_rows_left)
{
    int end = s->n_id;
    for (int i = s->n_boundary - 1; i >= 0 && s->boundary[i] > s->n_computed; i--)
        end = min(s->n_id, s->boundary[i] + e->slack);
    int rows = end - s->n_computed - s->n_row;
    if (s->score)
        return min(rows, score_rows_left);
    return is_full(s) ? 0 : rows;
}

/* Shares `chunk` rows among the prompts: equal parts first, then what the short ones leave. Who is served first moves
 * on with every step, so that a part below one row starves nobody. */
static void plan_prefill(struct engine *e)
{
    int n = 0, left = e->options.chunk, score_left = e->options.score_rows;
    for (struct sequence *s = e->active.first; s; s = s->next)
        n += is_prefill(s);
    if (n == 0)
        return;
    int skip = (int)(e->n_steps % (uint64_t)n);
    int part = left / n > 0 ? left / n : 1;
    for (int round = 0; round < 4; round++) { /* equal parts from `skip` on, then before it; the rest likewise */
        int index = 0;
        for (struct sequence *s = e->active.first; s && left > 0; s = s->next) {
            if (!is_prefill(s))
                continue;
            bool late = index++ < skip;
            if (late != (round % 2 == 1))
                continue;
            int rows = min(appetite(e, s, score_left), round < 2 ? min(part, left) : left);
            s->n_row += rows;
            left -= rows;
            score_left -= s->score ? rows : 0;
        }
    }
}

/* Writes the guesses that a sequence could have computed in this batch behind its ids. A guess that would end the
 * answer needs no row, whether it is right or not, nor does one without room in the queue for what follows from it. */
static int count_guesses(struct sequence *s)
{
    if (s->n_row != 1 || is_prefill(s) || !s->lookup.place)
        return 0;
    int most = min(s->most_drafts, min(s->limit - 1 - s->n_id, ENGINE_QUEUE - 1 - s->n_queue));
    int n = lookup_guess(&s->lookup, s->id, s->n_id, most), stop = 0;
    while (stop < n && !sequence_stops(s, s->id[s->n_id + stop]))
        stop++;
    return stop;
}

/* The sequence whose next guess is the likeliest to be accepted. */
static struct sequence *likeliest(struct engine *e)
{
    struct sequence *best = NULL;
    for (struct sequence *s = e->active.first; s; s = s->next)
        if (s->n_draft < s->n_guess && (!best || s->chance > best->chance))
            best = s;
    return best;
}

/* The batch without guesses. */
struct plan {
    int rows, decoding; /* decoding: the sequences that sample */
    bool prompt;        /* some of the rows are of a prompt */
};

/* What the batch costs with `more` rows. Beside rows of prompts every expert is read anyway: all rows cost the same. */
static double cost_with(const struct engine *e, const struct plan *plan, int more)
{
    return plan->prompt ? plan->rows + more : step_cost_of(&e->cost, plan->rows + more);
}

/* Takes guesses by falling chance and keeps as many as promise most ids in a time: n_row counts those that are kept.
 * Without PAYS a few guesses would be made for nothing. */
static void take_what_pays(struct engine *e, const struct plan *plan)
{
    static const double PAYS = 1.02;
    double ids = plan->decoding, best = PAYS * ids / cost_with(e, plan, 0);
    for (int n = 1; n <= DRAFT_ROWS; n++) {
        struct sequence *s = likeliest(e);
        if (!s)
            break;
        ids += s->chance;
        s->chance *= lookup_chance(&s->lookup, ++s->n_draft);
        if (ids / cost_with(e, plan, n) <= best)
            continue;
        best = ids / cost_with(e, plan, n);
        for (s = e->active.first; s; s = s->next)
            s->n_row += s->n_draft > 0 ? 1 + s->n_draft - s->n_row : 0;
    }
}

/* Adds rows for guesses; nobody is set back for their pages. */
static void plan_drafts(struct engine *e)
{
    struct plan plan = {0};
    int guesses = 0, left = DRAFT_ROWS;
    for (struct sequence *s = e->active.first; s; s = s->next) {
        s->n_draft = 0;
        guesses += s->n_guess = count_guesses(s);
        s->chance = s->n_guess > 0 ? lookup_chance(&s->lookup, 0) : 0;
        plan.rows += s->n_row;
        plan.decoding += s->n_row > 0 && !is_prefill(s);
        plan.prompt = plan.prompt || (s->n_row > 0 && is_prefill(s));
    }
    if (guesses == 0)
        return;
    take_what_pays(e, &plan);
    for (struct sequence *s = e->active.first; s; s = s->next) {
        if (s->n_guess == 0)
            continue;
        s->n_draft = min(s->eager ? s->n_guess : s->n_row - 1, left);
        while (s->n_draft > 0 && !kv_cache_reserve(e->kv, &s->kv, s->n_id + s->n_draft))
            s->n_draft--;
        s->n_row = 1 + s->n_draft;
        left -= s->n_draft;
    }
}

void scheduler_plan(struct engine *e)
{
    admit(e);
    plan_decode(e);
    plan_prefill(e);
    plan_drafts(e);
}
