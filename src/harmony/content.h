/* The text of system and developer messages: identity, dates, effort, channels, instructions, tools, response formats.
 * docs/harmony.md shows every block. */
#ifndef HARMONY_CONTENT_H
#define HARMONY_CONTENT_H

#include "base/buffer.h"
#include "harmony/conversation.h"

/* functions: whether some developer message declares functions, which adds a line on their channel. */
goss_status content_write_system(const struct part *part, bool functions, struct buffer *out, goss_error *error);
goss_status content_write_developer(const struct part *part, struct buffer *out, goss_error *error);

/* Whether some developer message of the conversation declares tools under the key "functions". */
bool conversation_has_functions(const struct conversation *conversation);
/* Whether any message declares tools at all. */
bool conversation_has_tools(const struct conversation *conversation);

/* The two namespaces that the models were trained on. Fixed protocol text. */
extern const struct tool_namespace tools_browser, tools_python;

#endif
