#include "engine/sampler.h"

#include <assert.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fmath.h"
#include "base/random.h"
#include "engine/logits.h"

static const double GREEDY_BELOW = 1e-4; /* temperatures */

struct sampler {
    struct sampling options; /* bias is owned */
    int n_vocab;
    /* Only with penalties: how often the answer holds each id, and every id seen once. */
    int32_t *count; /* [n_vocab] */
    uint8_t *seen;  /* [n_vocab] 0 or 1 */
    int32_t *list;  /* [n_vocab], n_list of them */
    int n_list;
    struct candidate *scratch; /* [n_vocab], only with top-k or top-p */
    float *raw;                /* [n_vocab], only with logprobs */
};

struct sampling sampling_default(void)
{
    return (struct sampling){.temperature = 1, .top_p = 1, .repetition_penalty = 1, .logprobs = -1};
}

static goss_status check_range(const char *name, double value, double low, double high, goss_error *error)
{
    if (value >= low && value <= high) /* false for NaN */
        return GOSS_OK;
    return error_set(error, GOSS_E_ARGUMENT, "%s is %g, must be %g to %g", name, value, low, high);
}

goss_status sampling_check(const struct sampling *s, int n_vocab, goss_error *error)
{
    const struct {
        const char *name;
        double value, low, high;
    } range[] = {
        {"temperature", s->temperature, 0, 100},
        {"top_p", s->top_p, 0, 1},
        {"min_p", s->min_p, 0, 1},
        {"top_k", s->top_k, 0, INT32_MAX},
        {"repetition_penalty", s->repetition_penalty, 0.01, 100},
        {"presence_penalty", s->presence_penalty, -100, 100},
        {"frequency_penalty", s->frequency_penalty, -100, 100},
        {"logprobs", s->logprobs, -1, SAMPLER_MAX_LOGPROBS},
        {"the number of logit biases", s->n_bias, 0, SAMPLER_MAX_BIAS},
    };
    for (size_t i = 0; i < sizeof range / sizeof *range; i++)
        if (check_range(range[i].name, range[i].value, range[i].low, range[i].high, error))
            return GOSS_E_ARGUMENT;
    for (int i = 0; i < s->n_bias; i++) {
        if (s->bias[i].id < 0 || s->bias[i].id >= n_vocab)
            return error_set(error, GOSS_E_ARGUMENT, "logit bias %d is for id %d, the vocabulary has ids 0 to %d", i,
                             s->bias[i].id, n_vocab - 1);
        if (check_range("a logit bias", (double)s->bias[i].bias, -100, 100, error))
            return GOSS_E_ARGUMENT;
    }
    return GOSS_OK;
}

static bool has_penalties(const struct sampling *s)
{
    return s->repetition_penalty != 1 || s->presence_penalty != 0 || s->frequency_penalty != 0;
}

goss_status sampler_open(struct sampler **sampler, const struct sampling *sampling, int n_vocab, goss_error *error)
{
    *sampler = NULL;
    if (sampling_check(sampling, n_vocab, error))
        return GOSS_E_ARGUMENT;
    struct sampler *s = calloc(1, sizeof *s);
    if (!s)
        return error_memory(error, sizeof *s, "a sampler");
    s->options = *sampling;
    s->options.bias = NULL;
    s->n_vocab = n_vocab;
    size_t n = (size_t)n_vocab, n_bias = (size_t)sampling->n_bias;
    bool short_of_memory = false;
    if (n_bias > 0) {
        struct logit_bias *bias = malloc(n_bias * sizeof *bias);
        if (bias)
            memcpy(bias, sampling->bias, n_bias * sizeof *bias);
        s->options.bias = bias;
        short_of_memory = !bias;
    }
    if (has_penalties(sampling)) {
        s->count = calloc(n, sizeof *s->count);
        s->seen = calloc(n, sizeof *s->seen);
        s->list = malloc(n * sizeof *s->list);
        short_of_memory = short_of_memory || !s->count || !s->seen || !s->list;
    }
    if (sampling->top_k > 0 || sampling->top_p < 1) {
        s->scratch = malloc(n * sizeof *s->scratch);
        short_of_memory = short_of_memory || !s->scratch;
    }
    if (sampling->logprobs >= 0) {
        s->raw = malloc(n * sizeof *s->raw);
        short_of_memory = short_of_memory || !s->raw;
    }
    if (short_of_memory) {
        sampler_close(s);
        return error_memory(error, n * sizeof *s->scratch, "a sampler");
    }
    *sampler = s;
    return GOSS_OK;
}

void sampler_close(struct sampler *s)
{
    if (!s)
        return;
    free((void *)s->options.bias);
    free(s->count);
    free(s->seen);
    free(s->list);
    free(s->scratch);
    free(s->raw);
    free(s);
}

void sampler_see_prompt(struct sampler *s, int32_t id)
{
    assert(id >= 0 && id < s->n_vocab);
    if (!s->seen || s->seen[id])
        return;
    s->seen[id] = 1;
    s->list[s->n_list++] = id;
}

void sampler_see_answer(struct sampler *s, int32_t id)
{
    sampler_see_prompt(s, id);
    if (s->count)
        s->count[id]++;
}

static float to_logit(double x)
{
    return x > FLT_MAX ? FLT_MAX : x < -FLT_MAX ? -FLT_MAX : (float)x;
}

static void apply_bias(const struct sampler *s, float *x)
{
    for (int i = 0; i < s->options.n_bias; i++) {
        int32_t id = s->options.bias[i].id;
        x[id] = to_logit((double)x[id] + (double)s->options.bias[i].bias);
    }
}

static void apply_penalties(const struct sampler *s, float *x)
{
    const struct sampling *o = &s->options;
    for (int i = 0; i < s->n_list; i++) {
        int32_t id = s->list[i];
        double logit = (double)x[id];
        logit = logit > 0 ? logit / o->repetition_penalty : logit * o->repetition_penalty;
        if (s->count[id] > 0)
            logit -= o->presence_penalty + s->count[id] * o->frequency_penalty;
        x[id] = to_logit(logit);
    }
}

static void apply_mask(const uint64_t *allowed, float *x, int n)
{
    for (int i = 0; i < n; i++)
        if (!(allowed[i / 64] >> (i % 64) & 1))
            x[i] = -INFINITY;
}

static struct batch_draw draw_at(const struct sampler *s, uint64_t position)
{
    const struct sampling *o = &s->options;
    bool greedy = o->temperature < GREEDY_BELOW;
    uint32_t words[4];
    random_words(o->seed, position, 0, words);
    return (struct batch_draw){.wanted = true,
                               .greedy = greedy,
                               .inverse_temperature = greedy ? 0.0f : (float)(1.0 / o->temperature),
                               .top_k = o->top_k,
                               .top_p = o->top_p,
                               .least = o->min_p > 0 ? logits_part(o->min_p, UINT64_C(1) << WEIGHT_BITS) : 0,
                               .random = (uint64_t)words[0] << 32 | words[1]};
}

struct batch_draw sampler_draw(const struct sampler *s, uint64_t position)
{
    if (s->seen || s->options.n_bias > 0 || s->raw)
        return (struct batch_draw){.wanted = false};
    return draw_at(s, position);
}

static int32_t draw(const struct sampler *s, const float *x, float max, const struct batch_draw *draw)
{
    struct logits l = logits_all(x, s->n_vocab, max, s->options.temperature);
    if (draw->top_k > 0)
        logits_cut_top_k(&l, draw->top_k, s->scratch);
    if (draw->top_p < 1)
        logits_cut_top_p(&l, draw->top_p, s->scratch);
    l.least = draw->least;
    return logits_pick(&l, (uint64_t)((unsigned __int128)draw->random * logits_total(&l) >> 64));
}

goss_status sampler_sample(struct sampler *s, float *x, uint64_t position, const uint64_t *allowed,
                           struct sampled *sampled, goss_error *error)
{
    *sampled = (struct sampled){.id = -1, .n_top = -1};
    float max;
    if (!logits_scan(x, s->n_vocab, false, &max))
        return logits_check(x, s->n_vocab, position, error);
    if (s->raw)
        memcpy(s->raw, x, (size_t)s->n_vocab * sizeof *x);
    apply_bias(s, x);
    apply_penalties(s, x);
    if (allowed) /* the same as first: what came before treats each id by itself */
        apply_mask(allowed, x, s->n_vocab);
    if (allowed || s->n_list > 0 || s->options.n_bias > 0)
        (void)logits_scan(x, s->n_vocab, true, &max);
    if (max == -INFINITY)
        return error_set(error, GOSS_E_ARGUMENT, "no token is allowed at position %" PRIu64, position);
    struct batch_draw how = draw_at(s, position);
    sampled->id = how.greedy ? logits_first_equal(x, s->n_vocab, max) : draw(s, x, max, &how);
    if (s->raw) {
        sampled->n_top = s->options.logprobs < s->n_vocab ? s->options.logprobs : s->n_vocab;
        sampled->logprob = logprobs_of(s->raw, s->n_vocab, sampled->id, sampled->n_top, sampled->top);
    }
    return GOSS_OK;
}

/* The n likeliest ids by insertion: an id enters only if it beats the last, so equal ones keep the order of ids. */
static int likeliest(const float *x, int n_vocab, int n, struct logprob *top)
{
    int have = 0;
    for (int32_t id = 0; n > 0 && id < n_vocab; id++) {
        double logit = (double)x[id];
        if (have == n && logit <= top[n - 1].logprob)
            continue;
        int at = have < n ? have++ : n - 1;
        for (; at > 0 && top[at - 1].logprob < logit; at--)
            top[at] = top[at - 1];
        top[at] = (struct logprob){.id = id, .logprob = logit};
    }
    return have;
}

double logprobs_of(const float *x, int n_vocab, int32_t id, int n, struct logprob *top)
{
    float max;
    (void)logits_scan(x, n_vocab, false, &max);
    struct logits l = logits_all(x, n_vocab, max, 1);
    double normalizer = (double)max + log_f64((double)logits_total(&l) * 0x1p-44);
    int have = likeliest(x, n_vocab, n, top);
    for (int i = 0; i < have; i++)
        top[i].logprob -= normalizer;
    return (double)x[id] - normalizer;
}

goss_status logits_check(const float *x, int n_vocab, uint64_t position, goss_error *error)
{
    float max;
    if (logits_scan(x, n_vocab, false, &max))
        return GOSS_OK;
    int id = 0;
    while (isfinite(x[id]))
        id++;
    return error_set(error, GOSS_E_FORMAT,
                     "the logit of id %d at position %" PRIu64 " is %f: the model's weights must be damaged", id,
                     position, (double)x[id]);
}
