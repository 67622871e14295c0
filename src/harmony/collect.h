/* EVENT -> CONVERSATION: the messages of a turn, appended with the ids that the model sampled. */
#ifndef HARMONY_COLLECT_H
#define HARMONY_COLLECT_H

#include "base/buffer.h"
#include "harmony/parse.h"

/* Zero-initialise and set conversation; free after use. */
struct collector {
    struct conversation *conversation; /* where complete messages go */
    struct buffer text;                /* of the message under way */
};

/* Takes an event of any kind. ids are all ids fed to the parser so far; NULL keeps none. A message that needed no
 * repair keeps its own ids, so that history replays them; one that was repaired is rendered anew from its reading, so
 * that the model does not see its own slip again. */
goss_status collector_add(struct collector *collector, const struct harmony *harmony, const struct event *event,
                          const int32_t *ids, goss_error *error);
void collector_free(struct collector *collector);

#endif
