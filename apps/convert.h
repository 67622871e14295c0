/* What `gossamer render` and `gossamer parse` share: standard input through a function of src/harmony/json.h. */
#ifndef CONVERT_H
#define CONVERT_H

#include "base/buffer.h"
#include "command.h"
#include "harmony/control.h"

typedef goss_status convert_fn(const struct harmony *harmony, const char *text, size_t size, struct buffer *output,
                               goss_error *error);

goss_status convert_input(const struct arguments *arguments, convert_fn *convert, goss_error *error);

#endif
