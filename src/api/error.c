#include "api/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api/json_out.h"

goss_status api_refuse(struct api_error *error, int http, const char *code, const char *param, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(error->base.text, sizeof error->base.text, format, arguments);
    va_end(arguments);
    error->http = http;
    error->code = code;
    error->base.status = http < 500 ? GOSS_E_ARGUMENT : GOSS_E_INTERNAL;
    (void)snprintf(error->param, sizeof error->param, "%s", param ? param : "");
    return error->base.status;
}

void api_error_settle(struct api_error *error)
{
    if (error->http)
        return;
    switch (error->base.status) {
    case GOSS_E_ARGUMENT:
    case GOSS_E_FORMAT:
    case GOSS_E_UNSUPPORTED: error->http = 400; break;
    case GOSS_E_LIMIT:
        error->http = 400;
        error->code = error->code ? error->code : "context_length_exceeded";
        break;
    case GOSS_E_MEMORY: error->http = 503; break;
    default: error->http = 500; break;
    }
}

static const char *openai_type(int http)
{
    return http == 401   ? "authentication_error"
           : http == 403 ? "permission_error"
           : http == 429 ? "rate_limit_error"
           : http < 500  ? "invalid_request_error"
                         : "server_error";
}

static const char *anthropic_type(int http)
{
    return http == 401   ? "authentication_error"
           : http == 403 ? "permission_error"
           : http == 404 ? "not_found_error"
           : http == 413 ? "request_too_large"
           : http == 429 ? "rate_limit_error"
           : http == 503 ? "overloaded_error"
           : http < 500  ? "invalid_request_error"
                         : "api_error";
}

goss_status api_error_write(struct api_error *error, enum api_wire wire, struct buffer *out, goss_error *fault)
{
    struct json_out json = {.out = out, .error = fault};
    api_error_settle(error);
    json_out_open(&json, NULL, '{');
    if (wire == API_MESSAGES)
        json_out_text(&json, "type", "error");
    json_out_open(&json, "error", '{');
    json_out_text(&json, "type", wire == API_MESSAGES ? anthropic_type(error->http) : openai_type(error->http));
    json_out_text(&json, "message", error->base.text);
    if (wire != API_MESSAGES) {
        json_out_text(&json, "param", *error->param ? error->param : NULL);
        json_out_text(&json, "code", error->code);
    }
    json_out_close(&json, '}');
    json_out_close(&json, '}');
    return json.status;
}
