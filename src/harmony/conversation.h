/* CONVERSATION, the first waist: what people, the model and tools said. It knows neither tokens nor JSON; the message
 * form in JSON is harmony/message_json.h. */
#ifndef HARMONY_CONVERSATION_H
#define HARMONY_CONVERSATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"

enum role { ROLE_SYSTEM, ROLE_DEVELOPER, ROLE_USER, ROLE_ASSISTANT, ROLE_TOOL };
enum effort { EFFORT_UNSET, EFFORT_NONE, EFFORT_LOW, EFFORT_MEDIUM, EFFORT_HIGH };

/* One function of a namespace. schema is the JSON text of its parameters' schema, whose order of properties and whose
 * spelling of numbers reach the prompt; NULL for a function without parameters. */
struct tool {
    const char *name, *description;
    const char *schema;
};
struct tool_namespace {
    const char *key;                /* its name in the map of namespaces, which sorts it; NULL means name */
    const char *name, *description; /* description may be NULL */
    const struct tool *tool;
    size_t n_tool;
};

/* The form that a final answer must have. */
struct response_format {
    const char *name, *description; /* description may be NULL */
    const char *schema;             /* JSON text */
};

enum part_kind { PART_TEXT, PART_SYSTEM, PART_DEVELOPER };

/* A piece of content; each is tokenised alone. Strings are UTF-8; only `text` may hold NUL. A NULL string is left out.
 */
struct part {
    enum part_kind kind;
    const char *text; /* PART_TEXT: the text; PART_DEVELOPER: the instructions */
    size_t text_size;
    /* PART_SYSTEM */
    const char *identity, *cutoff, *date;
    enum effort effort;
    const char *const *channel; /* valid channels */
    size_t n_channel;
    bool channel_required;
    /* PART_SYSTEM and PART_DEVELOPER */
    const struct tool_namespace *tools;
    size_t n_tools;
    /* PART_DEVELOPER */
    const struct response_format *format;
    size_t n_format;
};

/* A message. NULL strings are absent. */
struct message {
    enum role role;
    const char *name, *recipient, *channel, *content_type;
    const struct part *part;
    size_t n_part;
    /* The ids that the model sampled for this message, from after <|start|>assistant up to but without the terminator;
     * rendered verbatim when present, so that history has exactly the tokens that were generated. */
    const int32_t *sampled;
    size_t n_sampled;
};

struct conversation {
    struct arena arena;      /* owns every string and array below */
    struct message *message; /* [n_message] */
    size_t n_message, capacity;
};

void conversation_free(struct conversation *conversation); /* zero-initialise to begin */

/* Appends a message; strings and arrays are copied. */
goss_status conversation_add(struct conversation *conversation, const struct message *message, goss_error *error);
/* Shorthand: one text part. channel may be NULL. */
goss_status conversation_add_text(struct conversation *conversation, enum role role, const char *channel,
                                  const char *text, size_t n, goss_error *error);

/* The system message gpt-oss was trained on: default identity, cutoff 2024-06, three channels, all required. date may
 * be NULL, and then no date line is written: the clock is never read here. */
goss_status conversation_add_system(struct conversation *conversation, enum effort effort, const char *date,
                                    goss_error *error);
/* The same content as a part whose fields the caller may change (tools, identity) before conversation_add. */
struct part system_part(enum effort effort, const char *date);

const char *role_name(enum role role);
/* "low"; NULL for EFFORT_UNSET. */
const char *effort_name(enum effort effort);
/* By name, in any case of letters; false if there is no such role or effort. */
bool role_find(const char *name, enum role *role);
bool effort_find(const char *name, enum effort *effort);

/* What a message is for. Calls are told by their recipient alone and never by their channel, since the models put
 * them on either; an unknown channel is reasoning; no channel at all is an answer. */
enum purpose { PURPOSE_PROMPT, PURPOSE_REASONING, PURPOSE_PREAMBLE, PURPOSE_CALL, PURPOSE_FINAL, PURPOSE_TOOL_ANSWER };
enum purpose message_purpose(enum role role, const char *recipient, const char *channel);

#endif
