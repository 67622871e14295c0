/* Who may speak to a server: the rules against web pages that reach for it through a browser on the same machine.
 * Pure functions of what the headers say. */
#ifndef NET_GUARD_H
#define NET_GUARD_H

#include <stdbool.h>
#include <stddef.h>

/* A list of names that the operator gave, beside the built-in ones. */
struct name_list {
    const char *const *name;
    size_t n;
};

/* Whether a Host header names this server: localhost, 127.0.0.1, [::1] or one of `allowed`, with any port (a tunnel may
 * change it). A page that was served under another name and now points to this address (DNS rebinding) fails here. */
bool guard_host(const char *host, const struct name_list *allowed);

enum guard_origin {
    ORIGIN_NONE,    /* no browser asks */
    ORIGIN_SAME,    /* a page of this server itself */
    ORIGIN_ALLOWED, /* a page of an origin that the operator named: answers carry CORS headers */
    ORIGIN_FOREIGN, /* any other page */
};
/* origin and site are the headers Origin and Sec-Fetch-Site, NULL when absent; `host` has passed guard_host. */
enum guard_origin guard_origin(const char *origin, const char *site, const char *host, bool tls,
                               const struct name_list *allowed);

#endif
