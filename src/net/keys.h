/* API keys: who may use a server, and whose is what. */
#ifndef NET_KEYS_H
#define NET_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { KEY_MIN_BYTES = 22 /* 128 bits in base64 */, KEY_MAX_BYTES = 256, KEYS_MAX = 1024, KEY_NAME_BYTES = 32 };

/* Reads a file of keys, one a line, "KEY" or "NAME KEY"; '#' begins a comment. Only digests are kept. A file that
 * others may read is refused, as is one without a key. */
struct net_keys;
goss_status net_keys_open(struct net_keys **keys, const char *path, goss_error *error);
void net_keys_close(struct net_keys *keys); /* NULL is fine */

/* Who a key stands for. */
struct net_caller {
    uint64_t owner;            /* the same for the same key, also after a restart; 0: no key was asked for */
    char name[KEY_NAME_BYTES]; /* for people; "-" without one */
};

/* In time that depends on the number of keys and on nothing in them. */
bool net_keys_find(const struct net_keys *keys, const char *key, struct net_caller *caller);

#endif
