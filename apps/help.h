/* Everything that is said about the commands, made from the tables of apps/table.c. */
#ifndef APPS_HELP_H
#define APPS_HELP_H

#include "command.h"
#include "terminal.h"

void help_overview(const struct terminal *terminal);
void help_command(const struct terminal *terminal, const struct command *command);

/* gossamer.1 (command NULL) or gossamer-COMMAND.1. */
void manual_print(FILE *file, const struct command *command);

enum shell { SHELL_BASH, SHELL_ZSH, SHELL_FISH }; /* the order of --completion's choices */
void completion_print(FILE *file, enum shell shell);

#endif
