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

/* Each text in memory of its own size, so that a step past its end is seen. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text[3]; /* target, Host, Origin */
    for (int i = 0; i < 3; i++) {
        size_t n = strnlen((const char *)data, size);
        text[i] = strndup((const char *)data, n);
        if (!text[i])
            abort();
        n += n < size;
        data += n;
        size -= n;
    }
    check_guard(text[1], text[2]);
    check_target(text[0], text[0] + strlen(text[0]));
    for (int i = 0; i < 3; i++)
        free(text[i]);
    return 0;
}
