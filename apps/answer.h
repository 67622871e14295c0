/* One turn of the model, printed while it is computed. */
#ifndef APPS_ANSWER_H
#define APPS_ANSWER_H

#include <jansson.h>

#include "agent/turn.h"
#include "base/buffer.h"
#include "terminal.h"

enum reasoning { REASONING_SHOWN, REASONING_FOLDED, REASONING_HIDDEN };

struct answer {
    struct buffer text;      /* what was for the user: preambles and the final message */
    struct buffer reasoning; /* messages separated by empty lines, as in text */
    json_t *repairs;         /* [{"kind","position"}] */
    enum turn_finish finish;
    struct usage usage;
    int reasoning_tokens;
    double first_seconds; /* to the first event */
    double seconds;       /* to the end */
};

/* Runs the turn to its end. What it says is printed on `terminal` (NULL: nothing is) and collected in *answer, which
 * is set here and freed by the caller, also on failure. Ctrl-C cancels the turn, which is no failure. */
goss_status answer_stream(struct answer *answer, struct turn *turn, struct engine *engine,
                          const struct terminal *terminal, enum reasoning reasoning, goss_error *error);
void answer_free(struct answer *answer);

const char *finish_name(enum turn_finish finish); /* "stop", "tool_call", "length", .. */

#endif
