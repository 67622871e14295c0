/* The message form: a conversation in JSON, as openai-harmony writes it (docs/harmony.md, "Messages in JSON"). */
#ifndef HARMONY_MESSAGE_JSON_H
#define HARMONY_MESSAGE_JSON_H

#include "harmony/conversation.h"
#include "text/json_tree.h"

/* Appends the messages of a JSON array. `where` is named in messages. A string that holds NUL is refused, except text.
 */
goss_status conversation_from_json(struct conversation *conversation, const struct json_node *messages,
                                   const char *where, goss_error *error);
/* Appends the array. */
goss_status conversation_to_json(const struct conversation *conversation, struct buffer *out, goss_error *error);

#endif
