/* JSON schema -> the TypeScript type that gpt-oss was trained to read, exactly as openai-harmony prints it, its
 * oddities included (docs/harmony.md, "Tools"). */
#ifndef HARMONY_SCHEMA_H
#define HARMONY_SCHEMA_H

#include "text/json_tree.h"

/* Appends the type. Marks members of "properties" that are required. Never recursive; the tree's depth bounds its
 * stack. */
goss_status schema_write(struct json_node *schema, struct buffer *out, goss_error *error);

#endif
