/* Any bytes as a packed file. The table's digest would stop nearly every mutation, so it is set right first: refused
 * with a message, or sections that lie inside the bytes and share none. */
#include <stdlib.h>
#include <string.h>

#include "fuzz/claims.h"
#include "weights/packed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct packed packed;
    goss_error error = {0};
    uint64_t at;
    uint8_t *bytes = malloc(size ? size : 1);
    if (!bytes)
        return 0;
    memcpy(bytes, data, size);
    if (size >= 64) {
        memcpy(&at, bytes + 16, sizeof at);
        if (at <= size)
            (void)sha256_of(bytes + at, size - at, bytes + 32, NULL);
    }
    struct claims claims = claims_open(bytes, size);
    goss_status status = packed_read(&packed, bytes, size, "f", &error);
    if ((status == GOSS_OK) != (error.text[0] == 0))
        abort();
    for (size_t i = 0; i < packed.n; i++) {
        const struct packed_section *s = &packed.section[i];
        if (s->offset > size || packed_find(&packed, s->name) != s)
            abort();
        claims_take(&claims, packed_data(&packed, s), s->bytes);
    }
    free(claims.taken);
    packed_clear(&packed);
    free(bytes);
    return 0;
}
