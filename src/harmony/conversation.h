/* CONVERSATION, the first waist: what people, the model and tools said. It knows neither tokens nor JSON wire
 * formats beyond the message form of docs/harmony.md. */
#ifndef HARMONY_CONVERSATION_H
#define HARMONY_CONVERSATION_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"

enum role { ROLE_SYSTEM, ROLE_DEVELOPER, ROLE_USER, ROLE_ASSISTANT, ROLE_TOOL };
enum effort { EFFORT_UNSET, EFFORT_NONE, EFFORT_LOW, EFFORT_MEDIUM, EFFORT_HIGH };

/* One function of a namespace. parameters is a JSON schema with its properties in source order, or NULL. */
struct tool {
    const char *name, *description;
    json_t *parameters;
};
struct tool_namespace {
    const char *name, *description; /* description may be NULL */
    const struct tool *tool;
    size_t n_tool;
};

enum part_kind { PART_TEXT, PART_SYSTEM, PART_DEVELOPER };

/* A piece of content. Strings are UTF-8, may hold NUL, and belong to the conversation. Each part is tokenised alone. */
struct part {
    enum part_kind kind;
    const char *text; /* PART_TEXT: the text; PART_DEVELOPER: the instructions or NULL */
    size_t text_size;
    /* PART_SYSTEM; a NULL field is left out */
    const char *identity, *cutoff, *date;
    enum effort effort;
    const char *const *channel; /* valid channels */
    size_t n_channel;
    bool channel_required;
    /* PART_SYSTEM and PART_DEVELOPER */
    const struct tool_namespace *tools;
    size_t n_tools;
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
    struct arena arena; /* owns every string and array below */
    struct message *message;
    size_t n_message, capacity;
    json_t *schemas; /* owns the JSON values that tools refer to; NULL if none */
};

void conversation_free(struct conversation *conversation); /* zero-initialise to begin */

/* Appends a message; strings and arrays are copied into the arena. */
goss_status conversation_add(struct conversation *conversation, const struct message *message, goss_error *error);
/* Shorthand: one text part. */
goss_status conversation_add_text(struct conversation *conversation, enum role role, const char *channel,
                                  const char *text, size_t n, goss_error *error);

/* The system message gpt-oss was trained on: default identity, cutoff 2024-06, three channels, all required. date may
 * be NULL, and then no date line is written: the clock is never read here. */
goss_status conversation_add_system(struct conversation *conversation, enum effort effort, const char *date,
                                    goss_error *error);

/* The message form of docs/harmony.md ({"messages":[...]}) to a conversation and back. `where` is named in messages. */
goss_status conversation_from_json(struct conversation *conversation, const json_t *messages, const char *where,
                                   goss_error *error);
json_t *conversation_to_json(const struct conversation *conversation); /* new reference; NULL when memory is out */

#endif
