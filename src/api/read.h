/* What the readers of all wires share: sampling, effort, tools, the form of the answer, and the messages of history. */
#ifndef API_READ_H
#define API_READ_H

#include "api/fields.h"
#include "api/request.h"

struct reader {
    struct fields fields;
    struct api_request *request;
    const struct json_node *body;
    size_t run; /* first message of input that belongs to the assistant's run under way */
};

/* Makes the request and reads the JSON. */
void read_begin(struct reader *reader, struct api_request *request, enum api_wire wire,
                const struct api_settings *settings, const void *body, size_t size, struct api_error *error);
/* Writes the setup messages with those instructions (size bytes, NULL for none); closes the request if anything was
 * refused. */
goss_status read_end(struct reader *reader, const char *instructions);

/* ---- options ---- */

/* temperature, top_p, top_k, min_p, penalties, seed, logit_bias, stop under that key. */
void read_sampling(struct reader *reader, const char *stop_key);
/* Every name under which clients send the effort (pitfall D1). */
void read_effort(struct reader *reader);
/* The schema in `node`, an object with name, schema, strict, description. */
void read_schema(struct reader *reader, const struct json_node *node);
/* {"type": "text" | "json_object" | "json_schema"}; the schema in `inner` of it, or in itself for NULL. */
void read_format(struct reader *reader, const struct json_node *format, const char *inner);

/* ---- tools ---- */

/* One declared tool; node is for messages, space the namespace or NULL. parameters may be NULL. */
struct api_tool *read_tool(struct reader *reader, const struct json_node *node, const char *space, const char *name,
                           const char *description, const struct json_node *parameters);
/* The same for free text. */
void read_custom_tool(struct reader *reader, const struct json_node *node, const char *space);
/* Chooses tools by name for tool_choice; refuses a name that was not declared. */
void choose_tool(struct reader *reader, const struct json_node *node, const char *name, bool only);
/* "auto" | "none" | "required" | "any"; refuses others. */
void choose_mode(struct reader *reader, const struct json_node *node);

/* ---- history ---- */

/* The input of the Responses API, a string or items. */
void read_items(struct reader *reader);

/* Texts as parts: a string, or an array of objects with "text", whose types are listed in `types` (NULL-terminated).
 * Pictures and sounds become a note to the model that it cannot see them. *n is 0 for nothing. */
const struct part *read_parts(struct reader *reader, const struct json_node *content, const char *const *types,
                              size_t *n);

void add_user(struct reader *reader, const struct part *part, size_t n);
void add_developer(struct reader *reader, const char *text, size_t size);
void add_reasoning(struct reader *reader, const char *text, size_t size);
/* An assistant's text: an answer, or a preamble. Empty text is nothing. */
void add_said(struct reader *reader, const struct part *part, size_t n, bool preamble);
/* A call. id may be NULL. Texts said before it in the same run become preambles. */
void add_call(struct reader *reader, const char *id, const char *space, const char *name, const char *arguments,
              size_t size);
/* The answer to a call. node is for messages; name is used if no call has that id, NULL: then it is refused. */
void add_tool_answer(struct reader *reader, const struct json_node *node, const char *id, const char *name,
                     const struct part *part, size_t n);
/* {"input": TEXT}, as the model spells the call of a custom tool. */
const char *custom_arguments(struct reader *reader, const char *text, size_t size);

#endif
