#include "net/guard.h"

#include <string.h>
#include <strings.h>

/* Length of the host before ":PORT"; 0 if there is no well-formed one. */
static size_t host_length(const char *host)
{
    size_t n = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
    if (n > strlen(host))
        return 0;
    const char *port = host + n;
    size_t digits = *port == ':' ? strspn(port + 1, "0123456789") : 0;
    bool ends = *port == 0 || (*port == ':' && digits > 0 && digits <= 5 && port[1 + digits] == 0);
    return ends ? n : 0;
}

static bool host_is(const char *host, size_t n, const char *name)
{
    bool bare_v6 = strchr(name, ':') && name[0] != '[';
    if (bare_v6) {
        if (n < 2 || host[0] != '[')
            return false;
        host++;
        n -= 2;
    }
    return strlen(name) == n && strncasecmp(host, name, n) == 0;
}

bool guard_host(const char *host, const struct name_list *allowed)
{
    static const char *const own[] = {"localhost", "127.0.0.1", "::1"};
    size_t n = host ? host_length(host) : 0;
    if (n == 0)
        return false;
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (host_is(host, n, own[i]))
            return true;
    for (size_t i = 0; i < allowed->n; i++)
        if (host_is(host, n, allowed->name[i]))
            return true;
    return false;
}

enum guard_origin guard_origin(const char *origin, const char *site, const char *host, bool tls,
                               const struct name_list *allowed)
{
    const char *scheme = tls ? "https://" : "http://";
    for (size_t i = 0; origin && i < allowed->n; i++)
        if (strcmp(origin, allowed->name[i]) == 0)
            return ORIGIN_ALLOWED;
    if (origin && (strncmp(origin, scheme, strlen(scheme)) != 0 || strcasecmp(origin + strlen(scheme), host) != 0))
        return ORIGIN_FOREIGN;
    if (site && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0)
        return ORIGIN_FOREIGN;
    return origin ? ORIGIN_SAME : ORIGIN_NONE;
}
