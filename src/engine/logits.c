#include "engine/logits.h"

#include <math.h>
#include <string.h>

static bool is_bad(float x, bool allow_minus_inf)
{
    return isnan(x) || (isinf(x) && !(allow_minus_inf && x < 0));
}

bool logits_scan(const float *x, int n, bool allow_minus_inf, float *max)
{
    enum { LANES = 16 }; /* lanes let the compiler use vectors; maximum and "or" have no order */
    float lane[LANES];
    uint32_t not_finite[LANES] = {0};
    for (int j = 0; j < LANES; j++)
        lane[j] = -INFINITY;
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) {
            uint32_t bits;
            memcpy(&bits, &x[i + j], sizeof bits);
            not_finite[j] |= (bits & 0x7f800000u) + 0x00800000u; /* carries into bit 31 if the exponent is all ones */
            lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
        }
    uint32_t suspect = 0;
    *max = -INFINITY;
    for (int j = 0; j < LANES; j++) {
        suspect |= not_finite[j];
        *max = lane[j] > *max ? lane[j] : *max;
    }
    bool fine = true;
    if (suspect >> 31) /* rare: find out what it was */
        for (int k = 0; k < i; k++)
            fine = fine && !is_bad(x[k], allow_minus_inf);
    for (; i < n; i++) {
        fine = fine && !is_bad(x[i], allow_minus_inf);
        *max = x[i] > *max ? x[i] : *max;
    }
    return fine;
}

int32_t logits_first_equal(const float *x, int n, float value)
{
    int32_t id = 0;
    while (id < n && x[id] != value)
        id++;
    return id;
}

struct logits logits_all(const float *x, int n, float max, double temperature)
{
    return (struct logits){
        .x = x, .n = n, .max = max, .inverse_temperature = (float)(1.0 / temperature), .cut = -INFINITY, .last = n};
}

uint64_t logits_weigh(const struct logits *l, int first, int m, uint64_t weight[WEIGHT_BLOCK])
{
    float e[WEIGHT_BLOCK];
    for (int i = 0; i < m; i++)
        e[i] = weigh_exponential(l->x[first + i], l->max, l->inverse_temperature);
    uint64_t sum = 0;
    for (int i = 0; i < m; i++) {
        weight[i] = weigh_fixed(e[i]);
        sum += weight[i];
    }
    if (l->cut == -INFINITY && l->least == 0)
        return sum;
    sum = 0;
    for (int i = 0; i < m; i++) {
        float x = l->x[first + i];
        bool kept = ((x > l->cut) | ((x == l->cut) & (first + i <= l->last))) & (weight[i] >= l->least);
        weight[i] &= -(uint64_t)kept;
        sum += weight[i];
    }
    return sum;
}

static int block_size(const struct logits *l, int first)
{
    return l->n - first < WEIGHT_BLOCK ? l->n - first : WEIGHT_BLOCK;
}

uint64_t logits_total(const struct logits *l)
{
    uint64_t weight[WEIGHT_BLOCK], total = 0;
    for (int first = 0; first < l->n; first += WEIGHT_BLOCK)
        total += logits_weigh(l, first, block_size(l, first), weight);
    return total;
}

enum { RADIX_BITS = 11, RADIX = 1 << RADIX_BITS, TOP_SHIFT = 32 - RADIX_BITS };

/* What each id of a block counts towards a cut: its weight, or 1. */
static void counts(const struct logits *l, bool by_weight, int first, int m, uint64_t count[WEIGHT_BLOCK])
{
    if (by_weight)
        (void)logits_weigh(l, first, m, count);
    else
        for (int i = 0; i < m; i++)
            count[i] = l->x[first + i] > -INFINITY;
}

/* The counts of all ids by the top bits of their keys; returns the sum of all. */
static uint64_t top_buckets(const struct logits *l, bool by_weight, uint64_t bucket[RADIX])
{
    uint64_t count[WEIGHT_BLOCK], total = 0;
    memset(bucket, 0, RADIX * sizeof *bucket);
    for (int first = 0; first < l->n; first += WEIGHT_BLOCK) {
        int m = block_size(l, first);
        counts(l, by_weight, first, m, count);
        for (int i = 0; i < m; i++)
            bucket[weigh_key(l->x[first + i]) >> TOP_SHIFT] += count[i];
    }
    for (int b = 0; b < RADIX; b++)
        total += bucket[b];
    return total;
}

/* Goes down the buckets from the top while *missing is more than a bucket holds; returns the bucket that reaches it and
 * leaves in *missing what it has to contribute. */
static uint32_t descend(const uint64_t bucket[RADIX], uint64_t *missing)
{
    uint32_t b = RADIX - 1;
    while (b > 0 && bucket[b] < *missing)
        *missing -= bucket[b--];
    return b;
}

/* Radix selection: the top 11 bits were counted over all ids, the other 21 bits only over the ids of one bucket. */
static void cut_at(struct logits *l, bool by_weight, uint64_t bucket[RADIX], uint64_t missing,
                   struct candidate *scratch)
{
    uint32_t digit = descend(bucket, &missing);
    uint64_t count[WEIGHT_BLOCK];
    int n = 0;
    for (int first = 0; first < l->n; first += WEIGHT_BLOCK) {
        int m = block_size(l, first);
        counts(l, by_weight, first, m, count);
        for (int i = 0; i < m; i++) {
            uint32_t key = weigh_key(l->x[first + i]);
            if (key >> TOP_SHIFT == digit && count[i] > 0)
                scratch[n++] = (struct candidate){.key = key, .id = first + i, .count = count[i]};
        }
    }
    static const int shifts[] = {TOP_SHIFT - RADIX_BITS, 0}; /* the middle 11 bits, then the last 10 */
    for (int pass = 0; pass < 2; pass++) {
        memset(bucket, 0, RADIX * sizeof *bucket);
        for (int i = 0; i < n; i++)
            bucket[(scratch[i].key >> shifts[pass]) % RADIX] += scratch[i].count;
        digit = descend(bucket, &missing);
        int left = 0;
        for (int i = 0; i < n; i++)
            if ((scratch[i].key >> shifts[pass]) % RADIX == digit)
                scratch[left++] = scratch[i];
        n = left;
    }
    int i = 0; /* all that is left has one logit: lower ids first */
    while (scratch[i].count < missing)
        missing -= scratch[i++].count;
    l->cut = l->x[scratch[i].id];
    l->last = scratch[i].id;
}

void logits_cut_top_k(struct logits *l, int k, struct candidate *scratch)
{
    uint64_t bucket[RADIX];
    if (top_buckets(l, false, bucket) > (uint64_t)k)
        cut_at(l, false, bucket, (uint64_t)k, scratch);
}

void logits_cut_top_p(struct logits *l, double p, struct candidate *scratch)
{
    uint64_t bucket[RADIX];
    uint64_t total = top_buckets(l, true, bucket);
    cut_at(l, true, bucket, logits_part(p, total), scratch);
}

uint64_t logits_part(double p, uint64_t total)
{
    return weigh_part(p, total);
}

int32_t logits_pick(const struct logits *l, uint64_t r)
{
    uint64_t weight[WEIGHT_BLOCK];
    for (int first = 0; first < l->n; first += WEIGHT_BLOCK) {
        int m = block_size(l, first);
        uint64_t sum = logits_weigh(l, first, m, weight);
        if (r >= sum) {
            r -= sum;
            continue;
        }
        int i = 0;
        for (; i < m - 1 && r >= weight[i]; i++)
            r -= weight[i];
        return first + i;
    }
    return -1; /* r was not below the total */
}
