#include "net/keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/hash.h"

enum { FILE_LIMIT = 1 << 20 };

struct net_keys {
    size_t n;
    struct {
        uint8_t digest[SHA256_BYTES];
        char name[KEY_NAME_BYTES];
    } key[KEYS_MAX];
};

static goss_status add(struct net_keys *keys, const char *path, int line, const char *name, const char *key,
                       goss_error *error)
{
    size_t size = strlen(key);
    if (keys->n == KEYS_MAX)
        return error_set(error, GOSS_E_LIMIT, "%s: more than %d keys", path, KEYS_MAX);
    if (size < KEY_MIN_BYTES || size > KEY_MAX_BYTES)
        return error_set(error, GOSS_E_FORMAT, "%s: line %d: a key of %zu characters; %d to %d are needed", path, line,
                         size, KEY_MIN_BYTES, KEY_MAX_BYTES);
    if (name && strlen(name) >= KEY_NAME_BYTES)
        return error_set(error, GOSS_E_FORMAT, "%s: line %d: a name of %zu characters, %d at most", path, line,
                         strlen(name), KEY_NAME_BYTES - 1);
    if (name)
        (void)snprintf(keys->key[keys->n].name, KEY_NAME_BYTES, "%s", name);
    else
        (void)snprintf(keys->key[keys->n].name, KEY_NAME_BYTES, "key%zu", keys->n + 1);
    return sha256_of(key, size, keys->key[keys->n++].digest, error);
}

static goss_status read_lines(struct net_keys *keys, const char *path, char *text, goss_error *error)
{
    goss_status status = GOSS_OK;
    char *rest = text;
    for (int line = 1; !status && rest; line++) {
        char *next = strchr(rest, '\n'), *save = NULL;
        if (next)
            *next++ = 0;
        rest[strcspn(rest, "#")] = 0;
        const char *first = strtok_r(rest, " \t\r", &save);
        const char *second = first ? strtok_r(NULL, " \t\r", &save) : NULL;
        if (second && strtok_r(NULL, " \t\r", &save))
            status = error_set(error, GOSS_E_FORMAT, "%s: line %d: more than a name and a key", path, line);
        else if (first)
            status = add(keys, path, line, second ? first : NULL, second ? second : first, error);
        rest = next;
    }
    if (!status && keys->n == 0)
        status = error_set(error, GOSS_E_FORMAT, "%s: no key in it", path);
    return status;
}

goss_status net_keys_open(struct net_keys **out, const char *path, goss_error *error)
{
    struct stat found;
    uint8_t *text = NULL;
    size_t size = 0;
    *out = NULL;
    if (stat(path, &found))
        return error_errno(error, path, "cannot read");
    if (found.st_mode & (S_IRWXG | S_IRWXO))
        return error_set(error, GOSS_E_ARGUMENT, "%s: others may read these keys (mode %03o); chmod 600 it", path,
                         found.st_mode & 0777);
    struct net_keys *keys = calloc(1, sizeof *keys);
    if (!keys)
        return error_memory(error, sizeof *keys, "API keys");
    goss_status status = file_read(path, FILE_LIMIT, &text, &size, error);
    if (!status)
        status = read_lines(keys, path, (char *)text, error);
    if (text)
        explicit_bzero(text, size);
    free(text);
    if (status) {
        net_keys_close(keys);
        return status;
    }
    *out = keys;
    return GOSS_OK;
}

void net_keys_close(struct net_keys *keys)
{
    free(keys);
}

bool net_keys_find(const struct net_keys *keys, const char *key, struct net_caller *caller)
{
    uint8_t digest[SHA256_BYTES];
    size_t at = SIZE_MAX;
    if (sha256_of(key, strlen(key), digest, NULL))
        return false;
    for (size_t i = 0; i < keys->n; i++) {
        unsigned differs = 0;
        for (int k = 0; k < SHA256_BYTES; k++)
            differs |= keys->key[i].digest[k] ^ digest[k];
        size_t equal = (size_t)0 - (differs == 0); /* all ones or none, without a branch */
        at = (i & equal) | (at & ~equal);
    }
    if (at == SIZE_MAX)
        return false;
    memcpy(&caller->owner, keys->key[at].digest, sizeof caller->owner);
    caller->owner |= 1; /* never 0 */
    memcpy(caller->name, keys->key[at].name, KEY_NAME_BYTES);
    return true;
}
