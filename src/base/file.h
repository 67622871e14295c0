/* Files: mapped for reading, written so that a final name only ever holds complete bytes. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Linux maps what it keeps in memory in pieces of this size with a single entry, which processors look up far more
 * quickly than 512 of 4 KiB. It keeps a part of a file so if the part was read or written at once; not every file
 * system can (ext4 of Linux 6.18 does). */
enum { FILE_HUGE_PAGE = 2 << 20 };

/* A whole file mapped read-only, with huge pages where they are to be had. data is NULL for an empty file. path is
 * owned. */
struct file_map {
    const uint8_t *data;
    uint64_t size;
    char *path;
};

goss_status file_map_open(struct file_map *map, const char *path, goss_error *error);
void file_map_close(struct file_map *map); /* harmless on a zeroed struct */

/* Puts a copy of the file, in memory of the process and in huge pages where there are any, in the place of the mapping:
 * addresses and bytes stay what they are, whatever becomes of the file. done, if not NULL, counts bytes; cancel, if
 * not NULL, stops it when set. If it fails, some of the file is copied and the rest mapped. */
goss_status file_map_copy(struct file_map *map, atomic_uint_fast64_t *done, const atomic_bool *cancel,
                          goss_error *error);

/* Reads a whole regular file of at most `limit` bytes; *bytes is owned by the caller, NUL-terminated beyond *size. */
goss_status file_read(const char *path, size_t limit, uint8_t **bytes, size_t *size, goss_error *error);

bool file_exists(const char *path);
bool file_is_directory(const char *path);
/* "DIR/NAME"; malloc'd, NULL when memory is out. */
char *file_join(const char *dir, const char *name);
/* Makes a directory and its parents (mode 0700). */
goss_status file_make_directories(const char *path, goss_error *error);

/* A file being written under PATH.XXXXXX.partial; only file_writer_commit, after fsync, gives it its name. Any number
 * of writers may write the same path: each has its own partial file, and the last to commit wins. A writer that is
 * killed leaves its partial file behind, which the next writer of the path removes: the living hold locks on theirs. */
struct file_writer {
    int fd;
    char *path, *partial;
    uint64_t size; /* bytes written so far */
};

goss_status file_writer_open(struct file_writer *writer, const char *path, goss_error *error);
goss_status file_writer_write(struct file_writer *writer, const void *bytes, size_t n, goss_error *error);
/* Makes the file `size` bytes long, zeros where nothing was written, and takes the room on the disk now if the file
 * system can: what does not fit fails here. */
goss_status file_writer_extend(struct file_writer *writer, uint64_t size, goss_error *error);
/* Writes at an offset already passed (a header patched at the end). Threads may patch different places at once. */
goss_status file_writer_patch(struct file_writer *writer, uint64_t offset, const void *bytes, size_t n,
                              goss_error *error);
goss_status file_writer_commit(struct file_writer *writer, goss_error *error);
void file_writer_abort(struct file_writer *writer); /* removes the partial file; harmless after commit */

#endif
