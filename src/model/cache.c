#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
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

/* The file beside a packed file that is locked while that is made, and says afterwards what it was made from. */
static goss_status lock_name(const char *path, char **name, goss_error *error)
{
    size_t n = strlen(path) + sizeof ".lock";
    *name = malloc(n);
    if (!*name)
        return error_memory(error, n, "a path");
    (void)snprintf(*name, n, "%s.lock", path);
    return GOSS_OK;
}

/* Waits until this thread alone may pack `path`. The lock goes with the descriptor, so also when a process dies. */
static goss_status lock(const char *path, const struct pack_progress *progress, int *fd, goss_error *error)
{
    char *name;
    *fd = -1;
    if (lock_name(path, &name, error))
        return GOSS_E_MEMORY;
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

/* Leaves the full path of the checkpoint in the lock file, for model_cache_prune. Nothing else needs it. */
static void tell_source(int fd, const char *source)
{
    char *full = realpath(source, NULL);
    if (full && (ftruncate(fd, 0) != 0 || pwrite(fd, full, strlen(full), 0) < 0))
        (void)ftruncate(fd, 0);
    free(full);
}

static goss_status open_cached(struct model **model, const struct checkpoint *checkpoint, const char *source,
                               const char *path, const struct model_options *options, goss_error *error)
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
    if (status == GOSS_OK)
        tell_source(fd, source);
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
        status = open_cached(model, checkpoint, path, packed_path, options, error);
    free(packed_path);
    checkpoint_close(checkpoint);
    return status;
}

/* ---- removing what is of no use ---- */

enum standing { STANDING_USED, STANDING_STALE, STANDING_UNKNOWN };

/* Whether model_open would use `path` for the checkpoint `source`, packed in whatever way. */
static enum standing standing_of(const char *cache, const char *path, const char *source)
{
    struct checkpoint *checkpoint;
    enum standing standing = STANDING_STALE;
    if (!file_exists(source))
        return STANDING_STALE;
    if (checkpoint_open(&checkpoint, source, NULL))
        return STANDING_USED; /* who knows what is wrong with it */
    for (int way = 0; way < 4 && standing == STANDING_STALE; way++) {
        struct model_options options = {.cache = cache};
        char *wanted = NULL;
        options.pack.dense = way % 2 ? PACK_BF16 : PACK_DEFAULT;
        options.pack.experts = way / 2 ? PACK_Q8 : PACK_DEFAULT;
        if (cached_path(checkpoint, &options, &wanted, NULL) || strcmp(wanted, path) == 0)
            standing = STANDING_USED;
        free(wanted);
    }
    checkpoint_close(checkpoint);
    return standing;
}

/* The same by what the lock file says. One that is locked belongs to a file that is being made. */
static enum standing standing_by(const char *cache, const char *path, const char *lock_path)
{
    char source[PATH_MAX];
    enum standing standing = STANDING_UNKNOWN;
    int fd = open(lock_path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return STANDING_UNKNOWN;
    ssize_t n = pread(fd, source, sizeof source - 1, 0);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        standing = STANDING_USED;
    } else if (n > 0) {
        source[n] = 0;
        standing = standing_of(cache, path, source);
    }
    close(fd);
    return standing;
}

static goss_status prune_one(const char *cache, const char *name, struct model_pruned *pruned, goss_error *error)
{
    struct stat st;
    char *path = file_join(cache, name), *lock_path = NULL;
    goss_status status = path ? lock_name(path, &lock_path, error) : error_memory(error, strlen(name), "a path");
    enum standing standing = status ? STANDING_USED : standing_by(cache, path, lock_path);
    if (status == GOSS_OK && standing == STANDING_STALE && lstat(path, &st) == 0) {
        if (unlink(path) != 0)
            status = error_errno(error, path, "cannot remove");
        else
            (void)unlink(lock_path);
        pruned->bytes += status ? 0 : (uint64_t)st.st_size;
    }
    *(standing == STANDING_STALE     ? &pruned->removed
      : standing == STANDING_UNKNOWN ? &pruned->unknown
                                     : &pruned->kept) += status == GOSS_OK;
    free(lock_path);
    free(path);
    return status;
}

goss_status model_cache_prune(const char *cache, struct model_pruned *pruned, goss_error *error)
{
    static const char ending[] = ".gossamer";
    goss_status status = GOSS_OK;
    *pruned = (struct model_pruned){0};
    DIR *dir = opendir(cache);
    if (!dir)
        return errno == ENOENT ? GOSS_OK : error_errno(error, cache, "cannot list");
    for (struct dirent *entry; status == GOSS_OK && (entry = readdir(dir));) {
        size_t n = strlen(entry->d_name), tail = strlen(ending);
        if (n == 32 + tail && strcmp(entry->d_name + n - tail, ending) == 0)
            status = prune_one(cache, entry->d_name, pruned, error);
    }
    closedir(dir);
    return status;
}
