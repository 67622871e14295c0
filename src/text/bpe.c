#include "text/bpe.h"

#include <stdlib.h>
#include <string.h>

enum { SHORT_PIECE = 64 }; /* up to here a scan for the lowest rank beats a heap */

void bpe_work_free(struct bpe_work *work)
{
    free(work->memory);
    *work = (struct bpe_work){0};
}

/* The ids of single bytes, and the rank of each with the next; returns how many there are. */
static size_t byte_ids(const struct tables *tables, const uint8_t *piece, size_t n, uint32_t *id, uint32_t *rank)
{
    size_t count = 0;
    uint32_t pair = 0; /* the last two bytes that have ids */
    for (size_t i = 0; i < n; i++) {
        if (tables->header->byte_id[piece[i]] == TABLES_NO_ID)
            continue;
        pair = (pair << 8 | piece[i]) & (TABLES_BYTE_PAIRS - 1);
        if (count)
            rank[count - 1] = tables->byte_rank[pair];
        rank[count] = TABLES_NO_ID;
        id[count++] = tables->header->byte_id[piece[i]];
    }
    return count;
}

/* Merges in place by scanning; returns how many ids are left. rank[i] is that of the pair (i, i + 1). */
static size_t merge_short(const struct tables *tables, uint32_t *id, uint32_t *rank, size_t n)
{
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            best = rank[i] < rank[best] ? i : best;
        if (rank[best] == TABLES_NO_ID)
            break;
        id[best] = tables->merged[rank[best]];
        memmove(id + best + 1, id + best + 2, (n - best - 2) * sizeof *id);
        memmove(rank + best, rank + best + 1, (n - best - 2) * sizeof *rank);
        n--;
        if (best > 0) /* both new pairs are on their way from memory at once */
            tables_prefetch(tables, id[best - 1], id[best]);
        if (best + 1 < n)
            rank[best] = tables_rank(tables, id[best], id[best + 1]);
        if (best > 0)
            rank[best - 1] = tables_rank(tables, id[best - 1], id[best]);
    }
    return n;
}

/* A long piece as a doubly linked list, and a heap of the pairs that can be merged. A heap entry is rank << 32 | place
 * of the left id; it is stale, and passed over, unless the pair at that place still has that rank. */
struct long_piece {
    const struct tables *tables;
    uint32_t *id, *rank, *next, *previous; /* [n]; next is n after the last */
    uint64_t *heap;                        /* [n_heap], the least first; never more than 2 n */
    size_t n, n_heap;
};

static void heap_sink(struct long_piece *piece, size_t i)
{
    uint64_t *heap = piece->heap, entry = heap[i];
    for (size_t child; (child = 2 * i + 1) < piece->n_heap; i = child) {
        child += child + 1 < piece->n_heap && heap[child + 1] < heap[child];
        if (entry <= heap[child])
            break;
        heap[i] = heap[child];
    }
    heap[i] = entry;
}

static void heap_push(struct long_piece *piece, uint64_t entry)
{
    size_t i = piece->n_heap++;
    for (; i > 0 && entry < piece->heap[(i - 1) / 2]; i = (i - 1) / 2)
        piece->heap[i] = piece->heap[(i - 1) / 2];
    piece->heap[i] = entry;
}

static uint64_t heap_pop(struct long_piece *piece)
{
    uint64_t least = piece->heap[0];
    piece->heap[0] = piece->heap[--piece->n_heap];
    if (piece->n_heap)
        heap_sink(piece, 0);
    return least;
}

/* Finds the rank of the pair at place i anew; true when there is one. */
static bool rank_pair(struct long_piece *piece, size_t i)
{
    uint32_t next = piece->next[i];
    piece->rank[i] = TABLES_NO_ID;
    if (next < piece->n) {
        uint32_t left = piece->id[i], right = piece->id[next];
        piece->rank[i] = tables_rank(piece->tables, left, right);
    }
    return piece->rank[i] != TABLES_NO_ID;
}

static void merge_long(struct long_piece *piece)
{
    for (size_t i = 0; i < piece->n; i++) {
        piece->next[i] = (uint32_t)i + 1;
        piece->previous[i] = (uint32_t)i - 1; /* wraps to a place beyond the end for the first */
        if (piece->rank[i] != TABLES_NO_ID)
            piece->heap[piece->n_heap++] = (uint64_t)piece->rank[i] << 32 | i;
    }
    for (size_t i = piece->n_heap / 2; i-- > 0;)
        heap_sink(piece, i);
    while (piece->n_heap) {
        uint64_t least = heap_pop(piece);
        uint32_t i = (uint32_t)least, rank = (uint32_t)(least >> 32);
        if (piece->rank[i] != rank)
            continue;
        uint32_t gone = piece->next[i], after = piece->next[gone], before = piece->previous[i];
        piece->id[i] = piece->tables->merged[rank];
        piece->rank[gone] = TABLES_NO_ID;
        piece->next[i] = after;
        if (after < piece->n)
            piece->previous[after] = i;
        if (rank_pair(piece, i))
            heap_push(piece, (uint64_t)piece->rank[i] << 32 | i);
        if (before < piece->n && rank_pair(piece, before))
            heap_push(piece, (uint64_t)piece->rank[before] << 32 | before);
    }
}

/* Lays out the arrays for n ids in the work memory: 2 n words of heap and four times n half words. False when memory
 * is out. */
static bool long_piece_init(struct long_piece *piece, const struct tables *tables, size_t n, struct bpe_work *work)
{
    size_t words = 4 * n;
    if (work->capacity < words) {
        bpe_work_free(work);
        work->memory = malloc(words * sizeof *work->memory);
        if (!work->memory)
            return false;
        work->capacity = words;
    }
    uint32_t *half = (uint32_t *)(work->memory + 2 * n);
    *piece = (struct long_piece){.tables = tables,
                                 .heap = work->memory,
                                 .id = half,
                                 .rank = half + n,
                                 .next = half + 2 * n,
                                 .previous = half + 3 * n};
    return true;
}

goss_status bpe_append(const struct tables *tables, const uint8_t *bytes, size_t n, struct bpe_work *work,
                       struct token_list *ids, goss_error *error)
{
    if (n <= SHORT_PIECE) {
        uint32_t id[SHORT_PIECE], rank[SHORT_PIECE];
        size_t left = merge_short(tables, id, rank, byte_ids(tables, bytes, n, id, rank));
        return token_list_append(ids, (const int32_t *)id, left, error);
    }
    struct long_piece piece;
    if (!long_piece_init(&piece, tables, n, work))
        return error_memory(error, 32 * n, "merging a long piece of text");
    piece.n = byte_ids(tables, bytes, n, piece.id, piece.rank);
    merge_long(&piece);
    size_t count = 0;
    for (size_t i = 0; i < piece.n; i = piece.next[i])
        piece.id[count++] = piece.id[i]; /* count never overtakes i */
    return token_list_append(ids, (const int32_t *)piece.id, count, error);
}
