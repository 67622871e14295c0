#include "engine/lookup.h"

#include <stdlib.h>

enum { MOST_COMPARED = 32 };

/* Classes of lengths of agreement, and the share of right guesses to begin with: between what prose and what edited
 * source files show (bench/results/lookup.md). A start counts as much as START guesses. */
static const int longest[LOOKUP_CLASSES] = {3, 5, 8, 15, 31, INT32_MAX};
static const double start[LOOKUP_CLASSES] = {0.4, 0.5, 0.6, 0.75, 0.9, 0.97};
static const double START = 4, FADE = 64;

static int class_of(int length)
{
    int c = 0;
    while (length > longest[c])
        c++;
    return c;
}

goss_status lookup_open(struct lookup *l, int limit, goss_error *error)
{
    *l = (struct lookup){.n_place = 64};
    while (l->n_place < (uint32_t)limit && l->n_place < LOOKUP_PLACES)
        l->n_place *= 2;
    for (int c = 0; c < LOOKUP_CLASSES; c++) {
        l->right[c] = start[c] * START;
        l->tried[c] = START;
    }
    l->place = calloc(l->n_place, sizeof *l->place);
    if (!l->place)
        return error_memory(error, l->n_place * sizeof *l->place, "the lookup of a sequence");
    return GOSS_OK;
}

void lookup_close(struct lookup *l)
{
    free(l->place);
    l->place = NULL;
}

static int32_t *place_of(const struct lookup *l, const int32_t id[LOOKUP_IDS])
{
    uint64_t h = 0;
    for (int i = 0; i < LOOKUP_IDS; i++)
        h = (h ^ (uint32_t)id[i]) * 0xD6E8FEB86659FD93u;
    return &l->place[h >> 32 & (l->n_place - 1)];
}

/* Compares the guess with what came, and follows it or gives it up. */
static void learn(struct lookup *l, int32_t id, int32_t guess)
{
    int c = class_of(l->length);
    l->tried[c]++;
    l->right[c] += id == guess;
    if (l->tried[c] > FADE) {
        l->tried[c] /= 2;
        l->right[c] /= 2;
    }
    l->length = id == guess ? l->length + 1 : 0;
    l->source = id == guess ? l->source + 1 : 0;
}

/* Begins to guess behind `place` if the ids before it are the last ones. */
static void begin(struct lookup *l, const int32_t *id, int n, int place)
{
    int length = 0;
    while (length < place && length < MOST_COMPARED && id[place - 1 - length] == id[n - 1 - length])
        length++;
    if (length < LOOKUP_IDS) /* nothing, or other ids with the same hash */
        return;
    l->source = place;
    l->length = length;
}

void lookup_append(struct lookup *l, const int32_t *id, int n)
{
    if (l->source)
        learn(l, id[n - 1], id[l->source]);
    if (n < LOOKUP_IDS)
        return;
    int32_t *place = place_of(l, id + n - LOOKUP_IDS);
    if (!l->source)
        begin(l, id, n, *place);
    *place = n;
}

int lookup_guess(const struct lookup *l, int32_t *id, int n, int most)
{
    if (!l->source)
        return 0;
    for (int i = 0; i < most; i++) /* may run into the guesses themselves: a loop goes on */
        id[n + i] = id[l->source + i];
    return most;
}

double lookup_chance(const struct lookup *l, int i)
{
    int c = class_of(l->length + i);
    return l->right[c] / l->tried[c];
}
