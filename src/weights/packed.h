/* gossamer's own file: a model's tensors in the layouts that the kernels read, to be mapped and used as they lie.
 *
 *   0     header, 64 bytes: "GOSSPACK", u32 version, u32 zero, u64 offset and u64 size of the JSON, its SHA-256
 *   4096  sections, each on a page boundary, in the order of the table, zeros between them
 *   last  JSON: {"sections": [{name, type, count, rows, cols, offset, bytes, sha256}], "config": .., "pack": ..,
 *         "sources": [{name, file, type, shape, sha256}]}
 * All little-endian. A section is `count` matrices of rows x cols one after the other, in a tile type (weights/tile.h)
 * or row-major in F32, BF16, Q8_0 or U8.
 *
 * Opening checks everything that reading relies on, the JSON's digest included; the sections' digests, which need all
 * bytes, are checked by packed_verify alone. */
#ifndef WEIGHTS_PACKED_H
#define WEIGHTS_PACKED_H

#include <stdatomic.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "weights/dtype.h"

/* The version goes up with every change of what a packed file holds or means: layouts, names of sections, fields of the
 * configuration, the tokenizer's tables. tests/model/test_pack.c notices. */
enum { PACKED_VERSION = 2, PACKED_PAGE = 4096, PACKED_MAX_SECTIONS = 1 << 14, PACKED_MAX_JSON = 64 << 20 };

struct packed_section {
    const char *name;
    enum dtype type;
    uint64_t count, rows, cols;
    uint64_t offset, bytes; /* in the file */
    uint8_t sha256[SHA256_BYTES];
};

/* A packed file that is open: read-only, usable by any number of threads. */
struct packed {
    struct file_map map;            /* owned */
    json_t *header;                 /* owned; the whole JSON */
    struct packed_section *section; /* [n], owned; names point into header */
    size_t n;
};

bool packed_is(const char *path); /* whether the file begins like one */
goss_status packed_open(struct packed **packed, const char *path, goss_error *error);
void packed_close(struct packed *packed); /* NULL is fine */

/* The same over bytes in memory, which must outlive `packed`; packed_clear frees what it allocated. */
goss_status packed_read(struct packed *packed, const uint8_t *bytes, uint64_t size, const char *file,
                        goss_error *error);
void packed_clear(struct packed *packed);

/* NULL if there is none. */
const struct packed_section *packed_find(const struct packed *packed, const char *name);
const uint8_t *packed_data(const struct packed *packed, const struct packed_section *section);

/* Reads every byte and compares digests. done, if not NULL, counts bytes; cancel, if not NULL, stops it when set. */
goss_status packed_verify(const struct packed *packed, int threads, atomic_uint_fast64_t *done,
                          const atomic_bool *cancel, goss_error *error);

/* Writing. Bytes of `count` matrices; 0 if the type cannot be packed or the product overflows. */
uint64_t packed_bytes(enum dtype type, uint64_t count, uint64_t rows, uint64_t cols);

/* Sets offset and bytes of all sections and creates the file at its full size. The sections must outlive the writer. */
struct packed_writer {
    struct file_writer file;
    struct packed_section *section;
    size_t n;
};
goss_status packed_writer_open(struct packed_writer *writer, const char *path, struct packed_section *section, size_t n,
                               goss_error *error);
/* Writes part of a section; threads may write different parts at once. */
goss_status packed_writer_write(struct packed_writer *writer, const struct packed_section *section, uint64_t offset,
                                const void *bytes, size_t n, goss_error *error);
/* The same for a whole section from its beginning to its end, in pieces that are huge pages of the file (base/file.h).
 */
struct packed_stream {
    struct packed_writer *writer;
    const struct packed_section *section;
    uint8_t *bytes;   /* [FILE_HUGE_PAGE], owned: to be written */
    size_t n;         /* so many of them, */
    uint64_t written; /* behind these of the section */
};
goss_status packed_stream_open(struct packed_stream *stream, struct packed_writer *writer,
                               const struct packed_section *section, goss_error *error);
goss_status packed_stream_write(struct packed_stream *stream, const void *bytes, size_t n, goss_error *error);
goss_status packed_stream_flush(struct packed_stream *stream, goss_error *error); /* at the end */
void packed_stream_close(struct packed_stream *stream);                           /* harmless on a zeroed struct */
/* Adds the table with the sections' digests to `header`, writes it and gives the file its name. */
goss_status packed_writer_commit(struct packed_writer *writer, json_t *header, goss_error *error);
void packed_writer_abort(struct packed_writer *writer); /* harmless after commit */

#endif
