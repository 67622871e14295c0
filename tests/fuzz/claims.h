/* Which bytes of an input have been given out: a reader that lets two things share a byte is wrong. */
#ifndef FUZZ_CLAIMS_H
#define FUZZ_CLAIMS_H

#include <stdint.h>
#include <stdlib.h>

struct claims {
    const uint8_t *data;
    size_t size;
    uint8_t *taken; /* [size] */
};

static inline struct claims claims_open(const uint8_t *data, size_t size)
{
    return (struct claims){data, size, calloc(size + 1, 1)};
}

/* Aborts unless the n bytes lie inside the input and are all free. */
static inline void claims_take(struct claims *claims, const uint8_t *bytes, uint64_t n)
{
    if (!claims->taken || bytes < claims->data || n > (size_t)(claims->data + claims->size - bytes))
        abort();
    for (uint64_t i = 0; i < n; i++)
        if (claims->taken[(size_t)(bytes - claims->data) + i]++)
            abort();
}

#endif
