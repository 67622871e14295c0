#include "text/byte_level.h"

#include <stdbool.h>

#include "text/utf8.h"

uint8_t byte_level_byte(int place)
{
    /* Printable: 33 to 126, 161 to 172, 174 to 255. */
    if (place < BYTE_LEVEL_PRINTABLE)
        return (uint8_t)(place < 94 ? 33 + place : place < 106 ? 161 + place - 94 : 174 + place - 106);
    /* The others: 0 to 32, 127 to 160, 173. */
    place -= BYTE_LEVEL_PRINTABLE;
    return (uint8_t)(place < 33 ? place : place < 67 ? 127 + place - 33 : 173);
}

size_t byte_level_decode(const uint8_t *text, size_t n, uint8_t *bytes)
{
    size_t size = 0;
    for (size_t i = 0, length; i < n; i += length) {
        bool cut;
        int decoded;
        if (!utf8_head(text + i, n - i, &length, &cut))
            return SIZE_MAX;
        uint32_t code = utf8_decode(text + i, &decoded);
        bool printable = (code > 32 && code < 127) || (code > 160 && code < 256 && code != 173);
        if (!printable && (code < 256 || code >= 256 + 256 - BYTE_LEVEL_PRINTABLE))
            return SIZE_MAX;
        bytes[size++] = printable ? (uint8_t)code : byte_level_byte((int)code - 256 + BYTE_LEVEL_PRINTABLE);
    }
    return size;
}
