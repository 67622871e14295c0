/* Operating errors: a status for the program and a sentence for the person. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <stddef.h>

#include "gossamer.h"

/* Writes the message into *error (if not NULL) and returns status, so that a failing function can end with
 *     return error_set(error, GOSS_E_FORMAT, "%s: tensor '%s': ...", file, name);            */
goss_status error_set(goss_error *error, goss_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for a failed system call: appends strerror(errno). "cannot open" -> "FILE: cannot open: No such file". */
goss_status error_errno(goss_error *error, const char *file, const char *what);

/* Out of memory while trying to get `bytes` bytes for `what`. */
goss_status error_memory(goss_error *error, size_t bytes, const char *what);

/* None of them returns GOSS_OK; the static analyser, which sees one file at a time, has to be told. */
#if defined(__clang_analyzer__) && !defined(BASE_ERROR_C)
static inline goss_status error_not_ok(goss_status status)
{
    if (status == GOSS_OK)
        __builtin_unreachable();
    return status;
}
#define error_set(...) error_not_ok(error_set(__VA_ARGS__))
#define error_errno(...) error_not_ok(error_errno(__VA_ARGS__))
#define error_memory(...) error_not_ok(error_memory(__VA_ARGS__))
#endif

#endif
