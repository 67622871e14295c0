/* Completion scripts. Where a model is asked for, they offer the names of ./models and of the user's folder, and files.
 */
#include "help.h"

#include <string.h>

static void words(FILE *file, const char *choices)
{
    for (const char *c = choices; *c; c++)
        (void)fputc(*c == '|' ? ' ' : *c, file);
}

/* Text inside single quotes of a shell; `special` characters get a backslash. */
static void quoted(FILE *file, const char *text, const char *special)
{
    for (const char *c = text; *c; c++) {
        if (*c == '\'')
            (void)fputs("'\\''", file);
        else if (strchr(special, *c))
            (void)fprintf(file, "\\%c", *c);
        else
            (void)fputc(*c, file);
    }
}

static bool takes_file(const struct option *option)
{
    return option->kind == KIND_FILE;
}

static void bash_values(FILE *file)
{
    for (int id = 1; id < OPTION_COUNT; id++) {
        const struct option *option = &option_table[id];
        if (option->kind == KIND_FLAG)
            continue;
        (void)fprintf(file, "    --%s", option->name);
        if (option->letter)
            (void)fprintf(file, "|-%c", option->letter);
        (void)fputs(") ", file);
        if (option->choices) {
            (void)fputs("mapfile -t COMPREPLY < <(compgen -W '", file);
            words(file, option->choices);
            (void)fputs("' -- \"$cur\"); ", file);
        } else if (option->kind == KIND_MODEL) {
            (void)fputs("_gossamer_models \"$cur\"; ", file);
        } else if (takes_file(option)) {
            (void)fputs("mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); ", file);
        }
        (void)fputs("return ;;\n", file);
    }
}

static void bash(FILE *file)
{
    (void)fputs("# bash completion of gossamer; written by gossamer help --completion bash\n"
                "_gossamer_models() {\n"
                "    mapfile -t COMPREPLY < <(compgen -f -- \"$1\"\n"
                "        cd ~/.local/share/gossamer/models 2>/dev/null && compgen -f -- \"$1\"\n"
                "        cd \"$OLDPWD\" 2>/dev/null; cd models 2>/dev/null && compgen -f -- \"$1\")\n"
                "}\n"
                "_gossamer() {\n"
                "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} options=''\n"
                "    COMPREPLY=()\n"
                "    if [ \"$COMP_CWORD\" = 1 ]; then\n"
                "        mapfile -t COMPREPLY < <(compgen -W '",
                file);
    for (int i = 0; i < command_count; i++)
        (void)fprintf(file, "%s ", command_table[i].name);
    (void)fputs("--help --version' -- \"$cur\")\n        return\n    fi\n    case $prev in\n", file);
    bash_values(file);
    (void)fputs("    esac\n    case ${COMP_WORDS[1]} in\n", file);
    for (int i = 0; i < command_count; i++) {
        (void)fprintf(file, "    %s) options='", command_table[i].name);
        for (const enum option_id *id = command_table[i].option; *id; id++)
            (void)fprintf(file, "%s--%s", id == command_table[i].option ? "" : " ", option_table[*id].name);
        (void)fputs("' ;;\n", file);
    }
    (void)fputs("    esac\n"
                "    case $cur in\n"
                "    -*) mapfile -t COMPREPLY < <(compgen -W \"$options\" -- \"$cur\") ;;\n"
                "    *)  case ${COMP_WORDS[1]} in\n"
                "        help) mapfile -t COMPREPLY < <(compgen -W '",
                file);
    for (int i = 0; i < command_count; i++)
        (void)fprintf(file, "%s%s", i ? " " : "", command_table[i].name);
    (void)fputs("' -- \"$cur\") ;;\n"
                "        pack|inspect) _gossamer_models \"$cur\" ;;\n"
                "        esac ;;\n"
                "    esac\n"
                "}\n"
                "complete -F _gossamer gossamer\n",
                file);
}

static void zsh_option(FILE *file, const struct option *option)
{
    (void)fputs("            ", file);
    if (option->letter)
        (void)fprintf(file, "'(-%c --%s)'{-%c,--%s%s}", option->letter, option->name, option->letter, option->name,
                      option->value ? "=" : "");
    else
        (void)fprintf(file, "--%s%s", option->name, option->value ? "=" : "");
    (void)fputs("'[", file);
    quoted(file, option->help, "[]:\\");
    (void)fputc(']', file);
    if (option->value) {
        (void)fputc(':', file);
        quoted(file, option->value, ":");
        (void)fputc(':', file);
    }
    if (option->choices) {
        (void)fputc('(', file);
        words(file, option->choices);
        (void)fputc(')', file);
    } else if (option->kind == KIND_MODEL) {
        (void)fputs("_gossamer_models", file);
    } else if (takes_file(option)) {
        (void)fputs("_files", file);
    }
    (void)fputs("' \\\n", file);
}

static void zsh(FILE *file)
{
    (void)fputs("#compdef gossamer\n# written by gossamer help --completion zsh\n"
                "_gossamer_models() {\n"
                "    local -a names\n"
                "    names=(~/.local/share/gossamer/models/*(N:t) models/*(N:t))\n"
                "    compadd -a names\n"
                "    _files\n"
                "}\n"
                "_gossamer() {\n"
                "    local -a commands\n"
                "    commands=(\n",
                file);
    for (int i = 0; i < command_count; i++) {
        (void)fprintf(file, "        '%s:", command_table[i].name);
        quoted(file, command_table[i].summary, ":\\");
        (void)fputs("'\n", file);
    }
    (void)fputs("    )\n"
                "    if (( CURRENT == 2 )); then\n"
                "        _describe -t commands command commands\n"
                "        return\n"
                "    fi\n"
                "    shift words\n"
                "    (( CURRENT-- ))\n"
                "    case $words[1] in\n",
                file);
    for (int i = 0; i < command_count; i++) {
        const struct command *command = &command_table[i];
        (void)fprintf(file, "    %s)\n        _arguments -s \\\n", command->name);
        for (const enum option_id *id = command->option; *id; id++)
            zsh_option(file, &option_table[*id]);
        if (strcmp(command->operands, "MODEL") == 0)
            (void)fputs("            '1:MODEL:_gossamer_models' ;;\n", file);
        else if (strcmp(command->operands, "[COMMAND]") == 0)
            (void)fputs("            '1:COMMAND:(($commands))' ;;\n", file);
        else
            (void)fputs("            && return ;;\n", file);
    }
    (void)fputs("    esac\n}\n_gossamer \"$@\"\n", file);
}

static void fish_option(FILE *file, const struct command *command, const struct option *option)
{
    (void)fprintf(file, "complete -c gossamer -n '__fish_seen_subcommand_from %s' -l %s", command->name, option->name);
    if (option->letter)
        (void)fprintf(file, " -s %c", option->letter);
    if (option->choices) {
        (void)fputs(" -x -a '", file);
        words(file, option->choices);
        (void)fputc('\'', file);
    } else if (option->kind == KIND_MODEL) {
        (void)fputs(" -r -F -a '(__gossamer_models)'", file);
    } else if (takes_file(option)) {
        (void)fputs(" -r -F", file);
    } else if (option->value) {
        (void)fputs(" -x", file);
    }
    (void)fputs(" -d '", file);
    quoted(file, option->help, "");
    (void)fputs("'\n", file);
}

static void fish(FILE *file)
{
    (void)fputs("# fish completion of gossamer; written by gossamer help --completion fish\n"
                "function __gossamer_models\n"
                "    path basename ~/.local/share/gossamer/models/* models/* 2>/dev/null\n"
                "end\n"
                "complete -c gossamer -f\n",
                file);
    for (int i = 0; i < command_count; i++) {
        const struct command *command = &command_table[i];
        (void)fprintf(file, "complete -c gossamer -n __fish_use_subcommand -a %s -d '", command->name);
        quoted(file, command->summary, "");
        (void)fputs("'\n", file);
        for (const enum option_id *id = command->option; *id; id++)
            fish_option(file, command, &option_table[*id]);
        if (strcmp(command->operands, "MODEL") == 0)
            (void)fprintf(file,
                          "complete -c gossamer -n '__fish_seen_subcommand_from %s' -F -a '(__gossamer_models)'\n",
                          command->name);
    }
}

void completion_print(FILE *file, enum shell shell)
{
    static void (*const print[])(FILE *) = {bash, zsh, fish};
    print[shell](file);
}
