#include "engine/logits.h"

#include <math.h>
#include <string.h>

/* Floats as integers of the same order. -0 and +0 are made one key, because they are one value. */
static uint32_t key_of(float x)
{
    uint32_t bits;
    x += 0.0f; /* -0 becomes +0 */
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

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

/* weight = round_half_even(2^44 * e^d), d = max((x - max) * inverse_temperature, -32), in single precision up to the
 * last step and without fma, so that any compiler's vectors give the same bits. e^d = 2^k * e^r with k the integer
 * nearest to d / ln 2 and e^r its Taylor polynomial of degree 6, |r| <= 0.35: relative error below 3e-7. */
static void exponentials(const struct logits *l, int first, int m, float e[WEIGHT_BLOCK])
{
    const float round = 12582912.0f; /* 1.5 * 2^23: adding it leaves the nearest integer in the low bits */
    for (int i = 0; i < m; i++) {
        float d = (l->x[first + i] - l->max) * l->inverse_temperature;
        d = d > -32.0f ? d : -32.0f;
        float shifted = d * 1.44269504f + round, k = shifted - round;
        float r = d - k * 0.693359375f; /* k times 355/512 is exact */
        r = r - k * -2.12194440e-4f;
        float p = 1.0f / 720.0f;
        p = p * r + 1.0f / 120.0f;
        p = p * r + 1.0f / 24.0f;
        p = p * r + 1.0f / 6.0f;
        p = p * r + 0.5f;
        p = p * r + 1.0f;
        p = p * r + 1.0f;
        uint32_t bits;
        memcpy(&bits, &shifted, sizeof bits);
        bits = (bits + 127) << 23; /* 2^k */
        float scale;
        memcpy(&scale, &bits, sizeof scale);
        e[i] = p * scale;
    }
}

uint64_t logits_weigh(const struct logits *l, int first, int m, uint64_t weight[WEIGHT_BLOCK])
{
    float e[WEIGHT_BLOCK];
    exponentials(l, first, m, e);
    uint64_t sum = 0;
    for (int i = 0; i < m; i++) {
        double shifted = (double)e[i] * 0x1p44 + 0x1p52; /* the integer part is now the low 52 bits */
        memcpy(&weight[i], &shifted, sizeof weight[i]);
        weight[i] &= 0xfffffffffffffu;
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
            bucket[key_of(l->x[first + i]) >> TOP_SHIFT] += count[i];
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
            uint32_t key = key_of(l->x[first + i]);
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
    double product = p * (double)total;
    return product < 1 ? 1 : product >= (double)total ? total : (uint64_t)product;
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
        while (r >= weight[i])
            r -= weight[i++];
        return first + i;
    }
    return -1; /* r was not below the total */
}
