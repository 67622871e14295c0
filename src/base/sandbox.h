/* A process that gives up what it does not need, for good: opening connections, starting programs, reaching files. The
 * kernel enforces it, against bugs in this program and its libraries alike.
 *
 * Descriptors that were inherited are closed. Then two layers. seccomp refuses system calls: no socket can be made or
 * connected, no program started, no other process touched, and io_uring, which could do all that unseen, is closed.
 * Landlock confines files to the given paths, and TCP and signals as far as the kernel knows how. What a kernel lacks
 * is reported, never assumed.
 *
 * Not covered: the standard streams, descriptors that the program itself opened before with FD_CLOEXEC, an
 * administrator, faults of the kernel. tests/serve/sandbox.py tries each door from inside the running server. */
#ifndef BASE_SANDBOX_H
#define BASE_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* Files or folders; a folder stands for all below it. Those that do not exist are left out. */
struct sandbox_rules {
    const char *const *readable; /* [n_readable] */
    size_t n_readable;
    const char *const *writable; /* [n_writable] folders in which files may be made, changed and removed */
    size_t n_writable;
    bool pairs_of_streams; /* socketpair for local streams is needed; refused otherwise */
};

struct sandbox_report {
    bool calls;   /* seccomp: connections and programs are refused */
    int landlock; /* version of Landlock's interface; 0: this kernel has none, files are not confined */
    bool tcp;     /* Landlock refuses TCP too (from version 4 on) */
};

/* What this kernel offers; changes nothing. */
void sandbox_probe(struct sandbox_report *report);

/* Closes the doors of the whole process: call it from the only thread, or the others keep their files. GOSS_E_IO if the
 * kernel refuses what it said it has; a layer that it lacks is no error. */
goss_status sandbox_enter(const struct sandbox_rules *rules, struct sandbox_report *report, goss_error *error);

#endif
