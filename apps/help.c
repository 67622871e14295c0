#include "help.h"

#include <string.h>

enum { INDENT = 2, HELP_COLUMN = 26 };

static const char about[] =
    "gossamer runs OpenAI's open-weight models gpt-oss-20b and gpt-oss-120b, and models of the same shape, on this "
    "machine alone. The same prompt, checkpoint and seed give the same answer, bit for bit, on every machine.";

static void heading(const struct terminal *terminal, const char *text)
{
    (void)fputc('\n', terminal->file);
    terminal_style(terminal, STYLE_BOLD);
    (void)fputs(text, terminal->file);
    terminal_style(terminal, STYLE_PLAIN);
    (void)fputc('\n', terminal->file);
}

void help_overview(const struct terminal *terminal)
{
    FILE *file = terminal->file;
    terminal_wrap(terminal, about, 0, 0);
    heading(terminal, "usage");
    (void)fprintf(file, "%*sgossamer COMMAND [OPTION]... [ARGUMENT]...\n", INDENT, "");
    heading(terminal, "commands");
    for (int i = 0; i < command_count; i++)
        (void)fprintf(file, "%*s%-12s%s\n", INDENT, "", command_table[i].name, command_table[i].summary);
    (void)fputc('\n', file);
    terminal_wrap(terminal, "`gossamer COMMAND --help` explains a command; `gossamer --version` prints the version.", 0,
                  0);
}

static void option_print(const struct terminal *terminal, const struct option *option)
{
    char name[64], letter[8] = "    ", text[512];
    if (option->letter)
        (void)snprintf(letter, sizeof letter, "-%c, ", option->letter);
    int column = snprintf(name, sizeof name, "%*s%s--%s%s%s", INDENT, "", letter, option->name,
                          option->value ? " " : "", option->value ? option->value : "");
    (void)fputs(name, terminal->file);
    if (column + 1 >= HELP_COLUMN) {
        (void)fputc('\n', terminal->file);
        column = 0;
    }
    (void)fprintf(terminal->file, "%*s", HELP_COLUMN - column, "");
    int used = snprintf(text, sizeof text, "%s", option->help);
    if (option->choices)
        used += snprintf(text + used, sizeof text - (size_t)used, " (%s)", option->choices);
    if (option->standard)
        (void)snprintf(text + used, sizeof text - (size_t)used, " [%s]", option->standard);
    terminal_wrap(terminal, text, HELP_COLUMN, HELP_COLUMN);
}

void help_command(const struct terminal *terminal, const struct command *command)
{
    FILE *file = terminal->file;
    terminal_style(terminal, STYLE_BOLD);
    (void)fprintf(file, "gossamer %s", command->name);
    terminal_style(terminal, STYLE_PLAIN);
    (void)fprintf(file, ": %s\n", command->summary);
    heading(terminal, "usage");
    (void)fprintf(file, "%*sgossamer %s [OPTION]...%s%s\n\n%*s", INDENT, "", command->name,
                  *command->operands ? " " : "", command->operands, INDENT, "");
    terminal_wrap(terminal, command->text, INDENT, INDENT);
    heading(terminal, "options");
    for (const enum option_id *id = command->option; *id; id++)
        option_print(terminal, &option_table[*id]);
    heading(terminal, "examples");
    for (int i = 0; i < COMMAND_EXAMPLES && command->example[i].line; i++) {
        (void)fprintf(file, "%*s%s\n", INDENT, "", command->example[i].line);
        terminal_style(terminal, STYLE_DIM);
        (void)fprintf(file, "%*s%s\n", 3 * INDENT, "", command->example[i].does);
        terminal_style(terminal, STYLE_PLAIN);
    }
}

static goss_status command_named(const char *name, const struct command **command, goss_error *error)
{
    *command = command_find(name);
    if (*command)
        return GOSS_OK;
    const char *near = command_nearest(name);
    return near ? error_set(error, GOSS_E_ARGUMENT, "there is no command '%.100s'; did you mean '%s'?", name, near)
                : error_set(error, GOSS_E_ARGUMENT, "there is no command '%.100s'", name);
}

goss_status command_help(const struct arguments *arguments, goss_error *error)
{
    const struct command *command = NULL;
    struct terminal terminal;
    terminal_open(&terminal, stdout, COLOR_AUTO);
    if (arguments->n_operand) {
        goss_status status = command_named(arguments->operand[0], &command, error);
        if (status)
            return status;
    }
    if (arguments->value[OPTION_VERSION].given)
        (void)puts("gossamer " GOSS_VERSION);
    else if (arguments->value[OPTION_COMPLETION].given)
        completion_print(stdout, (enum shell)arguments_choice(arguments, OPTION_COMPLETION));
    else if (arguments->value[OPTION_MAN].given)
        manual_print(stdout, command);
    else if (command)
        help_command(&terminal, command);
    else
        help_overview(&terminal);
    return GOSS_OK;
}
