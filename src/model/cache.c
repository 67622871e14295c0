#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "model/model.h"
#include "weights/checkpoint.h"
#include "weights/packed.h"

/* The name tells the sources and the options, so that a file that is there is the right one, or one of another version
 * of gossamer, which is replaced. */
static goss_status cached_path(const struct checkpoint *checkpoint, const struct model_options *options, char **path,
                               goss_error *error)
{
    uint8_t digest[SHA256_BYTES];
    char text[SHA256_TEXT], name[96];
    struct sha256 *hash;
    const int32_t facts[] = {options->pack.dense == PACK_BF16, options->pack.experts == PACK_Q8}; /* not the defaults */
    goss_status status = checkpoint_identity(checkpoint, digest, error);
    if (status == GOSS_OK)
        status = sha256_open(&hash, error);
    if (status)
        return status;
    sha256_add(hash, digest, sizeof digest);
    sha256_add(hash, facts, sizeof facts);
    sha256_close(hash, digest);
    sha256_text(digest, text);
    (void)snprintf(name, sizeof name, "%.32s.gossamer", text);
    *path = file_join(options->cache, name);
    return *path ? GOSS_OK : error_memory(error, sizeof name, "a path");
}

/* Waits until this thread alone may pack `path`. The lock goes with the descriptor, so also when a process dies. */
static goss_status lock(const char *path, const struct pack_progress *progress, int *fd, goss_error *error)
{
    size_t n = strlen(path) + sizeof ".lock";
    char *name = malloc(n);
    *fd = -1;
    if (!name)
        return error_memory(error, n, "a path");
    (void)snprintf(name, n, "%s.lock", path);
    goss_status status = GOSS_OK;
    *fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*fd < 0)
        status = error_errno(error, name, "cannot create");
    while (status == GOSS_OK && flock(*fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            status = error_errno(error, name, "cannot lock");
        else if (progress && atomic_load(&progress->cancel))
            status = error_set(error, GOSS_E_CANCELLED, "%s: cancelled while another process packs it", path);
        else
            (void)nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    if (status && *fd >= 0) {
        close(*fd);
        *fd = -1;
    }
    free(name);
    return status;
}

/* Opens `path` if it is there. *fresh: it is not, or of no use, and is to be packed; *error tells why then. */
static goss_status open_present(struct model **model, const char *path, bool *fresh, goss_error *error)
{
    goss_status status = model_open_packed(model, path, error);
    *fresh = status == GOSS_E_FORMAT || status == GOSS_E_UNSUPPORTED || (status && !file_exists(path));
    return *fresh ? GOSS_OK : status;
}

static goss_status pack_locked(struct model **model, const struct checkpoint *checkpoint, const char *path,
                               const struct model_options *options, goss_error *error)
{
    bool fresh;
    goss_error why;
    /* Another process may have made it while this one waited for the lock. */
    goss_status status = open_present(model, path, &fresh, &why);
    if (status && error)
        *error = why;
    if (status || !fresh)
        return status;
    if (options->progress && file_exists(path))
        options->progress->again = why;
    status = pack(checkpoint, path, &options->pack, options->progress, error);
    return status ? status : model_open_packed(model, path, error);
}

static goss_status open_cached(struct model **model, const struct checkpoint *checkpoint, const char *path,
                               const struct model_options *options, goss_error *error)
{
    int fd = -1;
    bool fresh;
    goss_status status = open_present(model, path, &fresh, error);
    if (status || !fresh)
        return status;
    status = file_make_directories(options->cache, error);
    if (status == GOSS_OK)
        status = lock(path, options->progress, &fd, error);
    if (status)
        return status;
    status = pack_locked(model, checkpoint, path, options, error);
    close(fd);
    return status;
}

goss_status model_packed_path(const char *path, const struct model_options *options, char **packed_path,
                              goss_error *error)
{
    static const struct model_options none;
    struct checkpoint *checkpoint;
    *packed_path = NULL;
    options = options ? options : &none;
    if (packed_is(path)) {
        *packed_path = strdup(path);
        return *packed_path ? GOSS_OK : error_memory(error, strlen(path), "a path");
    }
    goss_status status = checkpoint_open(&checkpoint, path, error);
    if (status)
        return status;
    if (options->cache)
        status = cached_path(checkpoint, options, packed_path, error);
    else
        status = error_set(error, GOSS_E_ARGUMENT, "%s: not packed, and there is no cache to pack it into", path);
    checkpoint_close(checkpoint);
    return status;
}

goss_status model_open(struct model **model, const char *path, const struct model_options *options, goss_error *error)
{
    static const struct model_options none;
    struct checkpoint *checkpoint;
    char *packed_path = NULL;
    *model = NULL;
    options = options ? options : &none;
    if (packed_is(path))
        return model_open_packed(model, path, error);
    goss_status status = checkpoint_open(&checkpoint, path, error);
    if (status)
        return status;
    if (!options->cache)
        status = error_set(error, GOSS_E_ARGUMENT, "%s: not packed, and there is no cache to pack it into", path);
    else
        status = cached_path(checkpoint, options, &packed_path, error);
    if (status == GOSS_OK)
        status = open_cached(model, checkpoint, packed_path, options, error);
    free(packed_path);
    checkpoint_close(checkpoint);
    return status;
}
