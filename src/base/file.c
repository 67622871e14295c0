#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Opens a regular file for reading and tells its size: no device, pipe or directory is ever read. */
static goss_status open_regular(const char *path, int *fd, uint64_t *size, goss_error *error)
{
    struct stat st;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0)
        return error_errno(error, path, "cannot open");
    if (fstat(*fd, &st) != 0) {
        goss_status status = error_errno(error, path, "cannot stat");
        close(*fd);
        return status;
    }
    if (!S_ISREG(st.st_mode)) {
        close(*fd);
        return error_set(error, GOSS_E_IO, "%s: not a regular file", path);
    }
    *size = (uint64_t)st.st_size;
    return GOSS_OK;
}

goss_status file_map_open(struct file_map *map, const char *path, goss_error *error)
{
    int fd;
    uint64_t size;
    *map = (struct file_map){0};
    goss_status status = open_regular(path, &fd, &size, error);
    if (status)
        return status;
    if (size) {
        void *p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED) {
            status = error_errno(error, path, "cannot map");
        } else {
            (void)madvise(p, size, MADV_HUGEPAGE);
            map->data = p;
        }
    }
    close(fd);
    if (status)
        return status;
    map->size = size;
    map->path = strdup(path);
    if (!map->path) {
        file_map_close(map);
        return error_memory(error, strlen(path) + 1, "a path");
    }
    return GOSS_OK;
}

/* One piece of a mapping. Its memory begins as far from a huge page's beginning as the piece does, so that huge pages
 * can be moved as they are. */
static bool copy_piece(const uint8_t *piece, size_t size)
{
    size_t room = size + FILE_HUGE_PAGE;
    uint8_t *memory = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return false;
    uint8_t *copy = memory + ((uintptr_t)piece - (uintptr_t)memory) % FILE_HUGE_PAGE;
    (void)madvise(copy, size, MADV_HUGEPAGE);
    memcpy(copy, piece, size);
    bool moved = mprotect(copy, size, PROT_READ) == 0 &&
                 mremap(copy, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)(uintptr_t)piece) != MAP_FAILED;
    munmap(memory, room); /* what is left of it */
    return moved;
}

goss_status file_map_copy(struct file_map *map, atomic_uint_fast64_t *done, const atomic_bool *cancel,
                          goss_error *error)
{
    const uint64_t piece = 32 * FILE_HUGE_PAGE, page = (uint64_t)sysconf(_SC_PAGESIZE);
    for (uint64_t at = 0; at < map->size; at += piece) {
        uint64_t n = map->size - at < piece ? map->size - at : piece;
        if (cancel && atomic_load(cancel))
            return error_set(error, GOSS_E_CANCELLED, "%s: cancelled while it was copied into memory", map->path);
        if (!copy_piece(map->data + at, (n + page - 1) / page * page))
            return error_set(error, GOSS_E_MEMORY, "%s: no memory for a copy of its %llu bytes", map->path,
                             (unsigned long long)map->size);
        if (done)
            atomic_fetch_add(done, n);
    }
    return GOSS_OK;
}

void file_map_close(struct file_map *map)
{
    if (map->data)
        munmap((void *)(uintptr_t)map->data, map->size);
    free(map->path);
    *map = (struct file_map){0};
}

goss_status file_read(const char *path, size_t limit, uint8_t **bytes, size_t *size, goss_error *error)
{
    int fd;
    uint64_t length;
    *bytes = NULL;
    *size = 0;
    goss_status status = open_regular(path, &fd, &length, error);
    if (status)
        return status;
    if (length > limit) {
        close(fd);
        return error_set(error, GOSS_E_LIMIT, "%s: %llu bytes, at most %zu are read", path, (unsigned long long)length,
                         limit);
    }
    uint8_t *p = malloc((size_t)length + 1);
    size_t done = 0;
    if (!p)
        status = error_memory(error, (size_t)length + 1, path);
    while (status == GOSS_OK && done < length) {
        ssize_t n = read(fd, p + done, (size_t)length - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            status = error_errno(error, path, "cannot read");
        else if (n == 0)
            status = error_set(error, GOSS_E_IO, "%s: shrank while it was read", path);
        else
            done += (size_t)n;
    }
    close(fd);
    if (status) {
        free(p);
        return status;
    }
    p[done] = 0;
    *bytes = p;
    *size = done;
    return GOSS_OK;
}

bool file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

bool file_is_directory(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

char *file_join(const char *dir, const char *name)
{
    size_t n = strlen(dir) + strlen(name) + 2;
    char *path = malloc(n);
    if (path)
        (void)snprintf(path, n, "%s%s%s", dir, *dir && dir[strlen(dir) - 1] == '/' ? "" : "/", name);
    return path;
}

goss_status file_make_directories(const char *path, goss_error *error)
{
    char *copy = strdup(path);
    goss_status status = copy ? GOSS_OK : error_memory(error, strlen(path) + 1, "a path");
    for (char *p = copy; status == GOSS_OK && *p;) {
        p += strspn(p, "/");
        p += strcspn(p, "/");
        char saved = *p;
        *p = 0;
        if (mkdir(copy, 0700) != 0 && errno != EEXIST)
            status = error_errno(error, copy, "cannot make the directory");
        *p = saved;
    }
    free(copy);
    return status;
}

static const char partial_template[] = ".XXXXXX.partial"; /* after the final name */

/* Whether `name` is that of a partial file of the file `base`. */
static bool is_partial(const char *name, const char *base)
{
    size_t n = strlen(base), unique = strlen(".XXXXXX");
    return strlen(name) == n + strlen(partial_template) && strncmp(name, base, n) == 0 && name[n] == '.' &&
           strcmp(name + n + unique, partial_template + unique) == 0;
}

/* Removes the file unless a living writer holds its lock. */
static void remove_if_abandoned(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        (void)unlink(path);
    close(fd);
}

/* Removes the partial files that killed writers of `path` have left. */
static void remove_abandoned(const char *path)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    DIR *dir = folder ? opendir(folder) : NULL;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char *partial = is_partial(entry->d_name, base) ? file_join(folder, entry->d_name) : NULL;
        if (partial)
            remove_if_abandoned(partial);
        free(partial);
    }
    if (dir)
        closedir(dir);
    free(folder);
}

/* Creates a partial file of its own for every writer and locks it. Between the two another writer may take it for
 * abandoned and remove it: then a new one is made. */
static goss_status create_partial(struct file_writer *writer, goss_error *error)
{
    struct stat st;
    for (;;) {
        memcpy(stpcpy(writer->partial, writer->path), partial_template, sizeof partial_template);
        writer->fd = mkostemps(writer->partial, (int)strlen(".partial"), O_CLOEXEC);
        if (writer->fd < 0) {
            goss_status status = error_errno(error, writer->path, "cannot create");
            writer->partial[0] = 0;
            return status;
        }
        (void)flock(writer->fd, LOCK_EX | LOCK_NB); /* a file system without locks has no cleaning up */
        if (fstat(writer->fd, &st) != 0 || st.st_nlink > 0)
            return GOSS_OK;
        close(writer->fd);
    }
}

goss_status file_writer_open(struct file_writer *writer, const char *path, goss_error *error)
{
    size_t n = strlen(path) + sizeof partial_template;
    *writer = (struct file_writer){.fd = -1, .path = strdup(path), .partial = malloc(n)};
    remove_abandoned(path); /* before there is a new one: however often writers are killed, one is left at most */
    goss_status status =
        writer->path && writer->partial ? create_partial(writer, error) : error_memory(error, n, "a path");
    if (status)
        file_writer_abort(writer);
    return status;
}

static goss_status write_at(struct file_writer *writer, uint64_t offset, const uint8_t *bytes, size_t n,
                            goss_error *error)
{
    while (n) {
        ssize_t done = pwrite(writer->fd, bytes, n, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return error_errno(error, writer->path, "cannot write");
        bytes += done;
        offset += (uint64_t)done;
        n -= (size_t)done;
    }
    return GOSS_OK;
}

goss_status file_writer_write(struct file_writer *writer, const void *bytes, size_t n, goss_error *error)
{
    goss_status status = write_at(writer, writer->size, bytes, n, error);
    if (status == GOSS_OK)
        writer->size += n;
    return status;
}

goss_status file_writer_extend(struct file_writer *writer, uint64_t size, goss_error *error)
{
    bool taken = size == 0 || fallocate(writer->fd, 0, 0, (off_t)size) == 0;
    if (!taken && errno != EOPNOTSUPP && errno != ENOSYS) {
        char what[64];
        (void)snprintf(what, sizeof what, "cannot take the %llu bytes it needs", (unsigned long long)size);
        return error_errno(error, writer->path, what);
    }
    if (ftruncate(writer->fd, (off_t)size) != 0)
        return error_errno(error, writer->path, "cannot set the size");
    writer->size = size;
    return GOSS_OK;
}

goss_status file_writer_patch(struct file_writer *writer, uint64_t offset, const void *bytes, size_t n,
                              goss_error *error)
{
    if (offset > writer->size || n > writer->size - offset)
        return error_set(error, GOSS_E_INTERNAL, "%s: patch outside of the bytes written", writer->path);
    return write_at(writer, offset, bytes, n, error);
}

/* A rename is only durable once its directory is. */
static goss_status sync_directory_of(const char *path, goss_error *error)
{
    char *copy = strdup(path);
    if (!copy)
        return error_memory(error, strlen(path) + 1, "a path");
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    goss_status status = fd >= 0 && fsync(fd) == 0 ? GOSS_OK : error_errno(error, path, "cannot sync the directory");
    if (fd >= 0)
        close(fd);
    free(copy);
    return status;
}

goss_status file_writer_commit(struct file_writer *writer, goss_error *error)
{
    goss_status status = GOSS_OK;
    if (fsync(writer->fd) != 0)
        status = error_errno(error, writer->path, "cannot sync");
    else if (rename(writer->partial, writer->path) != 0)
        status = error_errno(error, writer->path, "cannot rename to");
    else {
        writer->partial[0] = 0; /* nothing left to remove */
        status = sync_directory_of(writer->path, error);
    }
    file_writer_abort(writer);
    return status;
}

void file_writer_abort(struct file_writer *writer)
{
    if (writer->fd >= 0) {
        close(writer->fd);
        if (writer->partial && writer->partial[0])
            unlink(writer->partial);
    }
    free(writer->path);
    free(writer->partial);
    *writer = (struct file_writer){.fd = -1};
}
