/* The message form: a conversation in JSON, as openai-harmony writes it (docs/harmony.md, "Messages in JSON"). */
#ifndef HARMONY_MESSAGE_JSON_H
#define HARMONY_MESSAGE_JSON_H

#include "harmony/conversation.h"
#include "harmony/names.h"
#include "text/json_tree.h"

/* Appends the messages of a JSON array. `where` is named in messages. A string that holds NUL is refused, except text.
 * names, if not NULL: the names of functions, in declarations, recipients and the names of tools that answer, become
 * identifiers there. */
goss_status conversation_from_json(struct conversation *conversation, const struct json_node *messages,
                                   const char *where, struct name_map *names, goss_error *error);
/* Appends the array. names, if not NULL: identifiers become names again. */
goss_status conversation_to_json(const struct conversation *conversation, const struct name_map *names,
                                 struct buffer *out, goss_error *error);

#endif
