/* Finds the first of several strings in text that comes piece by piece, and says how much of the text may be shown
 * before it is known that no stop string begins there. */
#ifndef AGENT_STOP_STRING_H
#define AGENT_STOP_STRING_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct stop_strings {
    char **text; /* [n] owned, NUL-terminated */
    size_t *size;
    int n;
};

/* GOSS_E_ARGUMENT for more than `most` strings, an empty one, or one of more than most_bytes bytes. */
goss_status stop_strings_open(struct stop_strings *stops, const char *const *text, int n, int most, size_t most_bytes,
                              goss_error *error);
void stop_strings_close(struct stop_strings *stops); /* harmless on a zeroed struct */

/* Of text[0 .. n), where text[0 .. shown) was free of stop strings and of beginnings of one: returns the size of the
 * text up to the first stop string (*found), or else up to where one may be beginning. */
size_t stop_strings_clear(const struct stop_strings *stops, const char *text, size_t n, size_t shown, bool *found);

#endif
