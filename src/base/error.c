#define BASE_ERROR_C
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *goss_status_name(goss_status status)
{
    switch (status) {
    case GOSS_OK: return "ok";
    case GOSS_E_ARGUMENT: return "argument";
    case GOSS_E_IO: return "io";
    case GOSS_E_FORMAT: return "format";
    case GOSS_E_UNSUPPORTED: return "unsupported";
    case GOSS_E_LIMIT: return "limit";
    case GOSS_E_MEMORY: return "memory";
    case GOSS_E_CANCELLED: return "cancelled";
    case GOSS_E_INTERNAL: return "internal";
    }
    return "unknown";
}

goss_status error_set(goss_error *error, goss_status status, const char *format, ...)
{
    if (error) {
        va_list args;
        va_start(args, format);
        error->status = status;
        (void)vsnprintf(error->text, sizeof error->text, format, args);
        va_end(args);
    }
    return status;
}

/* strerror is not thread-safe; strerror_r is, but glibc's returns the text, which may lie elsewhere, and POSIX's a
 * status, with the text in the buffer. */
static void keep_text(const char *text, char reason[128])
{
    if (text != reason)
        (void)snprintf(reason, 128, "%s", text);
}

static void keep_status(int status, char reason[128])
{
    if (status != 0)
        (void)snprintf(reason, 128, "unknown error");
}

#define REASON(result, buffer) _Generic((result), char * : keep_text, int : keep_status)(result, buffer)

goss_status error_errno(goss_error *error, const char *file, const char *what)
{
    int saved = errno;
    char reason[128];
    REASON(strerror_r(saved, reason, sizeof reason), reason);
    return error_set(error, saved == ENOMEM ? GOSS_E_MEMORY : GOSS_E_IO, "%s: %s: %s", file, what, reason);
}

goss_status error_memory(goss_error *error, size_t bytes, const char *what)
{
    return error_set(error, GOSS_E_MEMORY, "out of memory: %zu bytes for %s", bytes, what);
}
