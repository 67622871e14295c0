/* gossamer: inference of OpenAI's gpt-oss models on hardware the user owns.
 *
 * The only public header. Handles are opaque; functions return a goss_status and, when they fail, fill a
 * goss_error with one sentence that names the file, the field and the limit concerned. Nothing calls back:
 * the caller pulls events. No function prints, exits or touches the environment. */
#ifndef GOSSAMER_H
#define GOSSAMER_H

#ifdef __cplusplus
extern "C" {
#endif

#define GOSS_VERSION "0.1.0"

typedef enum goss_status {
    GOSS_OK = 0,
    GOSS_E_ARGUMENT,    /* the caller passed something out of range */
    GOSS_E_IO,          /* the operating system refused: missing file, full disk, permission */
    GOSS_E_FORMAT,      /* a file or text is not what its format says */
    GOSS_E_UNSUPPORTED, /* well formed, but not something this program handles */
    GOSS_E_LIMIT,       /* a stated limit would be passed (context, size, depth) */
    GOSS_E_MEMORY,      /* an allocation failed */
    GOSS_E_CANCELLED,   /* the caller asked to stop */
    GOSS_E_INTERNAL     /* a defect of gossamer: please report it */
} goss_status;

/* Filled on failure only; may be NULL wherever a function takes one. */
typedef struct goss_error {
    goss_status status;
    char text[512]; /* NUL-terminated UTF-8, no newline at the end */
} goss_error;

/* A short fixed name such as "format"; never NULL. */
const char *goss_status_name(goss_status status);

#ifdef __cplusplus
}
#endif
#endif
