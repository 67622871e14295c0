/* Names of tools for the model and back. A function's name is printed as a TypeScript identifier, and the model calls
 * what it read: "get weather" would come back cut at the blank. So a caller may declare tools under identifiers and map
 * the recipients of calls back. */
#ifndef HARMONY_NAMES_H
#define HARMONY_NAMES_H

#include <stddef.h>

#include "base/arena.h"
#include "base/buffer.h"

struct name_pair {
    const char *name, *identifier;
};

/* Zero-initialise; free with name_map_free. */
struct name_map {
    struct arena arena;
    struct name_pair *pair; /* [n_pair] */
    size_t n_pair, capacity;
};

/* The identifier of a name, the same for the same name and different for different ones: letters, digits, '_' and '$'
 * of ASCII stay, everything else becomes '_', and a number is added where that is taken. *identifier lives as long as
 * the map. GOSS_E_LIMIT past 4096 names. */
goss_status name_map_add(struct name_map *map, const char *name, const char **identifier, goss_error *error);
/* The name behind an identifier, or the identifier itself if it was never given out. */
const char *name_map_find(const struct name_map *map, const char *identifier);

/* The same for recipients, "functions.NAME": what follows the first dot is the function; without one there is none. The
 * result replaces what `text` holds. */
goss_status name_map_add_recipient(struct name_map *map, const char *recipient, struct buffer *text, goss_error *error);
goss_status name_map_find_recipient(const struct name_map *map, const char *recipient, struct buffer *text,
                                    goss_error *error);
void name_map_free(struct name_map *map);

#endif
