#include "harmony/names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_NAMES = 4096, NUMBER_SIZE = 16 };

static int is_identifier(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '$';
}

static int is_taken(const struct name_map *map, const char *identifier)
{
    for (size_t i = 0; i < map->n_pair; i++)
        if (strcmp(map->pair[i].identifier, identifier) == 0)
            return 1;
    return 0;
}

/* NULL when memory is out. */
static const char *make_identifier(struct name_map *map, const char *name)
{
    size_t n = strlen(name), used = 0;
    char *text = arena_alloc(&map->arena, n + NUMBER_SIZE);
    if (!text)
        return NULL;
    if (n == 0 || (*name >= '0' && *name <= '9'))
        text[used++] = '_';
    for (size_t i = 0; i < n; i++)
        text[used++] = is_identifier(name[i]) ? name[i] : '_';
    for (int number = 2; is_taken(map, text); number++)
        (void)snprintf(text + used, NUMBER_SIZE - 1, "_%d", number);
    return text;
}

goss_status name_map_add(struct name_map *map, const char *name, const char **identifier, goss_error *error)
{
    *identifier = NULL;
    for (size_t i = 0; i < map->n_pair && !*identifier; i++)
        if (strcmp(map->pair[i].name, name) == 0)
            *identifier = map->pair[i].identifier;
    if (*identifier)
        return GOSS_OK;
    if (map->n_pair == MOST_NAMES)
        return error_set(error, GOSS_E_LIMIT, "more than %d names of tools", MOST_NAMES);
    if (map->n_pair == map->capacity) {
        size_t capacity = map->capacity ? 2 * map->capacity : 16;
        struct name_pair *pair = realloc(map->pair, capacity * sizeof *pair);
        if (!pair)
            return error_memory(error, capacity * sizeof *pair, "names of tools");
        map->pair = pair;
        map->capacity = capacity;
    }
    struct name_pair pair = {arena_copy(&map->arena, name, strlen(name)), make_identifier(map, name)};
    if (!pair.name || !pair.identifier)
        return error_memory(error, strlen(name), "the name of a tool");
    map->pair[map->n_pair++] = pair;
    *identifier = pair.identifier;
    return GOSS_OK;
}

const char *name_map_find(const struct name_map *map, const char *identifier)
{
    for (size_t i = 0; i < map->n_pair; i++)
        if (strcmp(map->pair[i].identifier, identifier) == 0)
            return map->pair[i].name;
    return identifier;
}

/* Where the function begins in a recipient; its end if there is none. */
static const char *function_of(const char *recipient)
{
    const char *dot = strchr(recipient, '.');
    return dot ? dot + 1 : recipient + strlen(recipient);
}

static goss_status put_recipient(const char *recipient, const char *function, const char *instead, struct buffer *text,
                                 goss_error *error)
{
    buffer_clear(text);
    goss_status status = buffer_append(text, recipient, (size_t)(function - recipient), error);
    return status ? status : buffer_append_text(text, instead, error);
}

goss_status name_map_add_recipient(struct name_map *map, const char *recipient, struct buffer *text, goss_error *error)
{
    const char *function = function_of(recipient), *identifier = function;
    goss_status status = *function ? name_map_add(map, function, &identifier, error) : GOSS_OK;
    return status ? status : put_recipient(recipient, function, identifier, text, error);
}

goss_status name_map_find_recipient(const struct name_map *map, const char *recipient, struct buffer *text,
                                    goss_error *error)
{
    const char *function = function_of(recipient);
    return put_recipient(recipient, function, name_map_find(map, function), text, error);
}

void name_map_free(struct name_map *map)
{
    arena_free(&map->arena);
    free(map->pair);
    *map = (struct name_map){0};
}
