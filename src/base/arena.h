/* Many small allocations that live and die together. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

/* Zero-initialise to use. Memory is given back only by arena_free, all at once. */
struct arena {
    struct arena_block *head;
    size_t total; /* bytes handed out */
};

/* n bytes aligned to 16 and filled with zeros, or NULL when memory is out. */
void *arena_alloc(struct arena *arena, size_t n);
/* A NUL-terminated copy of n bytes. */
char *arena_copy(struct arena *arena, const void *bytes, size_t n);
void arena_free(struct arena *arena);

#endif
