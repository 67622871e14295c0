#include "agent/stop_string.h"

#include <stdlib.h>
#include <string.h>

goss_status stop_strings_open(struct stop_strings *stops, const char *const *text, int n, int most, size_t most_bytes,
                              goss_error *error)
{
    *stops = (struct stop_strings){0};
    if (n < 0 || n > most)
        return error_set(error, GOSS_E_ARGUMENT, "%d stop strings, at most %d are taken", n, most);
    if (n == 0)
        return GOSS_OK;
    stops->text = calloc((size_t)n, sizeof(char *));
    stops->size = calloc((size_t)n, sizeof *stops->size);
    if (!stops->text || !stops->size) {
        stop_strings_close(stops);
        return error_memory(error, (size_t)n * sizeof(char *), "stop strings");
    }
    for (; stops->n < n; stops->n++) {
        size_t size = strnlen(text[stops->n], most_bytes + 1);
        if (size == 0 || size > most_bytes) {
            goss_status status = error_set(error, GOSS_E_ARGUMENT, "stop string %d has %s bytes, must have 1 to %zu",
                                           stops->n, size == 0 ? "no" : "too many", most_bytes);
            stop_strings_close(stops);
            return status;
        }
        stops->size[stops->n] = size;
        stops->text[stops->n] = strdup(text[stops->n]);
        if (!stops->text[stops->n]) {
            stop_strings_close(stops);
            return error_memory(error, size, "a stop string");
        }
    }
    return GOSS_OK;
}

void stop_strings_close(struct stop_strings *stops)
{
    for (int i = 0; stops->text && i < stops->n; i++)
        free(stops->text[i]);
    free(stops->text);
    free(stops->size);
    *stops = (struct stop_strings){0};
}

size_t stop_strings_clear(const struct stop_strings *stops, const char *text, size_t n, size_t shown, bool *found)
{
    *found = false;
    for (size_t at = shown; at < n; at++)
        for (int i = 0; i < stops->n; i++)
            if (stops->size[i] <= n - at && memcmp(text + at, stops->text[i], stops->size[i]) == 0) {
                *found = true;
                return at;
            }
    for (size_t at = shown; at < n; at++)
        for (int i = 0; i < stops->n; i++)
            if (stops->size[i] > n - at && memcmp(text + at, stops->text[i], n - at) == 0)
                return at;
    return n;
}
