/* What a person types: edited lines on a terminal (libedit), plain lines elsewhere. */
#ifndef APPS_LINES_H
#define APPS_LINES_H

#include "base/buffer.h"

struct lines;

/* Words that Tab completes at the beginning of a line: NULL-terminated, kept by reference. */
goss_status lines_open(struct lines **lines, const char *prompt, const char *const *words, goss_error *error);
void lines_close(struct lines *lines); /* NULL is fine */

enum line { LINE_TEXT, LINE_INTERRUPTED, LINE_END };

/* One message: a line; lines that end in a backslash and what follows; or all between two lines of three double
 * quotes. Pasted text keeps its newlines. LINE_INTERRUPTED after Ctrl-C, LINE_END at the end of input. */
goss_status lines_read(struct lines *lines, struct buffer *text, enum line *line, goss_error *error);

/* Makes a message reachable by the up arrow. */
void lines_remember(struct lines *lines, const char *text);

#endif
