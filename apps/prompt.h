/* The messages that stand before a user's first words, from the options of run and chat. */
#ifndef APPS_PROMPT_H
#define APPS_PROMPT_H

#include "command.h"
#include "harmony/conversation.h"

/* --effort. */
enum effort prompt_effort(const struct arguments *arguments);

/* --date: checked, and 'today' replaced by the day (UTC). date is "" if none was given. */
goss_status prompt_date(const struct arguments *arguments, char date[static 11], goss_error *error);

/* The system message, and a developer message if there are instructions or a schema of the answer. date may be "", the
 * others NULL. */
goss_status prompt_begin(struct conversation *conversation, enum effort effort, const char *date,
                         const char *instructions, const char *schema, goss_error *error);

#endif
