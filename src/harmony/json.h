/* The commands `gossamer render` and `gossamer parse` as pure functions: JSON text in, JSON text out. docs/harmony.md
 * has both forms. */
#ifndef HARMONY_JSON_H
#define HARMONY_JSON_H

#include "base/buffer.h"
#include "harmony/control.h"

/* {"messages":[..],"mode","next_role","drop","call","no_reasoning"} -> {"text":..,"ids":[..]} */
goss_status harmony_render_json(const struct harmony *harmony, const char *text, size_t size, struct buffer *out,
                                goss_error *error);

/* {"ids":[..],"role":"assistant" or null} -> {"messages":[..],"repairs":[{"kind","position","message"}]} */
goss_status harmony_parse_json(const struct harmony *harmony, const char *text, size_t size, struct buffer *out,
                               goss_error *error);

#endif
