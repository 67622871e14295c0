/* Why a request is refused, as its wire says it: an HTTP status, a type and a code for programs, the field's path and a
 * sentence for people. No text of the request is ever repeated. */
#ifndef API_ERROR_H
#define API_ERROR_H

#include "base/buffer.h"

/* The wire formats: POST /v1/responses, /v1/chat/completions, /v1/completions and Anthropic's /v1/messages. */
enum api_wire { API_RESPONSES, API_CHAT, API_COMPLETIONS, API_MESSAGES };

enum { API_PARAM_SIZE = 160 };

/* Zero-initialise. `base` is what functions of lower floors fill. */
struct api_error {
    goss_error base;
    int http;                   /* 400, 404, ..; 0: api_error_settle finds one for base.status */
    const char *code;           /* static, such as "context_length_exceeded"; NULL: none */
    char param[API_PARAM_SIZE]; /* path of the field, such as "input[2].content"; empty: none */
};

/* Fills *error and returns its status, GOSS_E_ARGUMENT for 4xx. param may be NULL. */
goss_status api_refuse(struct api_error *error, int http, const char *code, const char *param, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* Gives an error that only has its base an HTTP status and a code: the caller's fault is 400, a limit of the context
 * 400 context_length_exceeded, memory or a full queue 503, everything else 500. */
void api_error_settle(struct api_error *error);

/* The body of the HTTP answer, in the wire's form. Settles the error first. */
goss_status api_error_write(struct api_error *error, enum api_wire wire, struct buffer *out, goss_error *fault);

#endif
