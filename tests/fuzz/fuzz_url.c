/* What a stranger writes into a request's head: its target, and a Host and an Origin, each ended by a NUL. Decoded
 * texts are UTF-8 without control characters; only the server's own names pass as its Host. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "net/guard.h"
#include "net/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void insist(bool holds)
{
    if (!holds)
        abort();
}

static void is_clean(const char *text, const char *begin, const char *end)
{
    insist(text >= begin && text + strlen(text) <= end);
    for (; *text; text++)
        insist((unsigned char)*text >= 0x20 && *text != 0x7f);
}

static void check_target(char *target, const char *end)
{
    char *query, *name, *value;
    bool valid = true;
    if (!url_split(target, &query))
        return;
    insist(target[0] == '/');
    is_clean(target, target, end);
    while (url_next(&query, &name, &value, &valid))
        if (valid) {
            is_clean(name, target, end);
            is_clean(value, target, end);
        }
}

static void check_guard(const char *host, const char *origin)
{
    static const char *const names[] = {"box.example"};
    const struct name_list list = {names, 1}, none = {0};
    bool ours = guard_host(host, &list);
    insist(!ours || strncasecmp(host, "localhost", 9) == 0 || strncmp(host, "127.0.0.1", 9) == 0 ||
           strncmp(host, "[::1]", 5) == 0 || strncasecmp(host, "box.example", 11) == 0);
    insist(!ours || strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:[]") == strlen(host));
    if (ours && guard_origin(origin, NULL, host, false, &none) == ORIGIN_SAME)
        insist(strncmp(origin, "http://", 7) == 0 && strcasecmp(origin + 7, host) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = calloc(1, size + 3);
    if (!text)
        return 0;
    if (size)
        memcpy(text, data, size);
    const char *host = text + strlen(text) + 1;
    host = host > text + size ? text + size : host;
    const char *origin = host + strlen(host) + 1;
    check_guard(host, origin > text + size ? "" : origin);
    check_target(text, text + size + 2);
    free(text);
    return 0;
}
