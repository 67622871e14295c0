/* Manual pages in roff's man macros. */
#include "help.h"

#include <ctype.h>
#include <string.h>

/* Running text: roff's own signs escaped, `words` bold, an empty line as a new paragraph. */
static void roff_text(FILE *file, const char *text)
{
    bool bold = false;
    for (const char *c = text; *c; c++) {
        if (c[0] == '\n' && c[1] == '\n') {
            (void)fputs("\n.PP\n", file);
            c++;
        } else if (*c == '`') {
            bold = !bold;
            (void)fputs(bold ? "\\fB" : "\\fR", file);
        } else if (*c == '-') {
            (void)fputs("\\-", file);
        } else if (*c == '\\') {
            (void)fputs("\\e", file);
        } else if (*c == '\'') {
            (void)fputs("\\(aq", file);
        } else if (*c == '.' && (c == text || c[-1] == '\n')) {
            (void)fputs("\\&.", file);
        } else {
            (void)fputc(*c, file);
        }
    }
    (void)fputc('\n', file);
}

static void manual_head(FILE *file, const struct command *command)
{
    char title[64] = "GOSSAMER";
    if (command)
        (void)snprintf(title, sizeof title, "GOSSAMER-%s", command->name);
    for (char *c = title; *c; c++)
        *c = (char)toupper((unsigned char)*c);
    (void)fprintf(file, ".TH \"%s\" 1 \"\" \"gossamer %s\" \"gossamer\"\n.SH NAME\n", title, GOSS_VERSION);
}

static void manual_option(FILE *file, const struct option *option)
{
    char allowed[256];
    (void)fputs(".TP\n", file);
    if (option->letter)
        (void)fprintf(file, "\\fB\\-%c\\fR, ", option->letter);
    (void)fputs("\\fB\\-\\-", file);
    for (const char *c = option->name; *c; c++)
        (void)(*c == '-' ? fputs("\\-", file) : fputc(*c, file));
    (void)fprintf(file, "\\fR%s", option->value ? " " : "\n");
    if (option->value)
        (void)fprintf(file, "\\fI%s\\fR\n", option->value);
    roff_text(file, option->help);
    if (option->kind != KIND_FLAG && option->kind != KIND_TEXT && option->kind != KIND_FILE &&
        option->kind != KIND_MODEL) {
        option_allowed(option, allowed, sizeof allowed);
        (void)fputs(".br\nValue: ", file);
        roff_text(file, allowed);
    }
    if (option->standard)
        (void)fprintf(file, ".br\nDefault: %s\n", option->standard);
}

static void manual_command(FILE *file, const struct command *command)
{
    (void)fprintf(file, "gossamer\\-%s \\- %s\n.SH SYNOPSIS\n.B gossamer %s\n", command->name, command->summary,
                  command->name);
    (void)fputs("[\\fIOPTION\\fR]...", file);
    (void)fprintf(file, "%s%s\n.SH DESCRIPTION\n", *command->operands ? " " : "", command->operands);
    roff_text(file, command->text);
    (void)fputs(".SH OPTIONS\n", file);
    for (const enum option_id *id = command->option; *id; id++)
        manual_option(file, &option_table[*id]);
    (void)fputs(".SH EXAMPLES\n", file);
    for (int i = 0; i < COMMAND_EXAMPLES && command->example[i].line; i++) {
        (void)fputs(".TP\n", file);
        roff_text(file, command->example[i].line);
        roff_text(file, command->example[i].does);
    }
}

static void manual_overview(FILE *file)
{
    (void)fputs("gossamer \\- run gpt\\-oss models on this machine\n.SH SYNOPSIS\n.B gossamer\n"
                "\\fICOMMAND\\fR [\\fIOPTION\\fR]... [\\fIARGUMENT\\fR]...\n.SH COMMANDS\n",
                file);
    for (int i = 0; i < command_count; i++) {
        (void)fprintf(file, ".TP\n.BR gossamer\\-%s (1)\n", command_table[i].name);
        roff_text(file, command_table[i].summary);
    }
}

void manual_print(FILE *file, const struct command *command)
{
    manual_head(file, command);
    if (command)
        manual_command(file, command);
    else
        manual_overview(file);
    (void)fputs(".SH EXIT STATUS\n0 success, 1 failure, 2 wrong usage, 130 interrupted (143 by SIGTERM).\n", file);
    if (command)
        (void)fputs(".SH SEE ALSO\n.BR gossamer (1)\n", file);
}
