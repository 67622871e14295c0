#include "base/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 16, BLOCK = 1 << 16 };

struct arena_block {
    struct arena_block *next;
    size_t used, size; /* bytes of payload */
    _Alignas(ALIGN) uint8_t payload[];
};

void *arena_alloc(struct arena *arena, size_t n)
{
    if (n > SIZE_MAX / 2)
        return NULL;
    n = (n + ALIGN - 1) / ALIGN * ALIGN;
    struct arena_block *block = arena->head;
    if (!block || block->size - block->used < n) {
        size_t size = n > BLOCK ? n : BLOCK;
        block = calloc(1, sizeof *block + size);
        if (!block)
            return NULL;
        block->size = size;
        block->next = arena->head;
        arena->head = block;
    }
    void *p = block->payload + block->used;
    block->used += n;
    arena->total += n;
    return p;
}

char *arena_copy(struct arena *arena, const void *bytes, size_t n)
{
    char *p = n < SIZE_MAX / 2 ? arena_alloc(arena, n + 1) : NULL;
    if (p && n)
        memcpy(p, bytes, n);
    return p;
}

void arena_free(struct arena *arena)
{
    while (arena->head) {
        struct arena_block *next = arena->head->next;
        free(arena->head);
        arena->head = next;
    }
    arena->total = 0;
}
