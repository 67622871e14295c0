#include "command.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_LIMIT = 32 };

const char *option_choice(const struct option *option, int i, int *length)
{
    const char *word = option->choices;
    while (word && i-- > 0) {
        word = strchr(word, '|');
        word = word ? word + 1 : NULL;
    }
    *length = word ? (int)strcspn(word, "|") : 0;
    return word;
}

static int choice_index(const struct option *option, const char *text)
{
    int length;
    const char *word;
    for (int i = 0; (word = option_choice(option, i, &length)); i++)
        if ((int)strlen(text) == length && memcmp(text, word, (size_t)length) == 0)
            return i;
    return -1;
}

int arguments_choice(const struct arguments *arguments, enum option_id id)
{
    return choice_index(&option_table[id], arguments->value[id].text);
}

void option_allowed(const struct option *option, char *text, size_t size)
{
    switch (option->kind) {
    case KIND_FLAG: (void)snprintf(text, size, "nothing"); break;
    case KIND_WHOLE: (void)snprintf(text, size, "a whole number from %.0f to %.0f", option->least, option->most); break;
    case KIND_NUMBER: (void)snprintf(text, size, "a number from %g to %g", option->least, option->most); break;
    case KIND_LIST:
        (void)snprintf(text, size, "whole numbers from %.0f to %.0f separated by commas", option->least, option->most);
        break;
    case KIND_CHOICE: {
        size_t used = (size_t)snprintf(text, size, "one of ");
        const char *word;
        int length;
        for (int i = 0; (word = option_choice(option, i, &length)) && used < size; i++)
            used += (size_t)snprintf(text + used, size - used, "%s%.*s", i ? ", " : "", length, word);
        break;
    }
    case KIND_TEXT: (void)snprintf(text, size, "a text"); break;
    case KIND_FILE: (void)snprintf(text, size, "a file name"); break;
    case KIND_MODEL: (void)snprintf(text, size, "a path or the name of a model"); break;
    }
}

/* Edit distance of two short words where neighbours may also be swapped; two rows of memory would lose the swap. */
static int distance(const char *a, const char *b)
{
    int n = (int)strlen(a), m = (int)strlen(b), d[NAME_LIMIT + 1][NAME_LIMIT + 1];
    if (n > NAME_LIMIT || m > NAME_LIMIT)
        return NAME_LIMIT;
    for (int i = 0; i <= n; i++)
        d[i][0] = i;
    for (int j = 0; j <= m; j++)
        d[0][j] = j;
    for (int i = 1; i <= n; i++)
        for (int j = 1; j <= m; j++) {
            int best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            if (d[i - 1][j] + 1 < best)
                best = d[i - 1][j] + 1;
            if (d[i][j - 1] + 1 < best)
                best = d[i][j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1 < best)
                best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    return d[n][m];
}

/* Keeps the nearer of *best and name; a third of the word may be wrong. */
static void nearer(const char *typed, const char *name, const char **best, int *least)
{
    int limit = (int)strlen(typed) / 3 + 1, found = distance(typed, name);
    if (found <= limit && (!*best || found < *least)) {
        *best = name;
        *least = found;
    }
}

const char *command_nearest(const char *name)
{
    const char *best = NULL;
    int least = 0;
    for (int i = 0; i < command_count; i++)
        nearer(name, command_table[i].name, &best, &least);
    return best;
}

const struct command *command_find(const char *name)
{
    for (int i = 0; i < command_count; i++)
        if (strcmp(command_table[i].name, name) == 0)
            return &command_table[i];
    return NULL;
}

static bool whole_number(const char *text, const char **end, double least, double most, int64_t *whole)
{
    char *stop;
    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    *whole = strtoll(text, &stop, 10);
    *end = stop;
    return !errno && (double)*whole >= least && (double)*whole <= most;
}

static bool is_list(const struct option *option, const char *text)
{
    int64_t whole;
    if (!*text)
        return option->standard != NULL; /* none instead of those */
    while (whole_number(text, &text, option->least, option->most, &whole)) {
        if (!*text)
            return true;
        if (*text++ != ',')
            return false;
    }
    return false;
}

/* Reads text by the option's kind; false if it is not allowed. */
static bool value_read(const struct option *option, const char *text, struct value *value)
{
    const char *end = text;
    char *stop = NULL;
    value->text = text;
    switch (option->kind) {
    case KIND_WHOLE: return whole_number(text, &end, option->least, option->most, &value->whole) && !*end;
    case KIND_NUMBER:
        value->number = strtod(text, &stop);
        return stop != text && !*stop && isfinite(value->number) && value->number >= option->least &&
               value->number <= option->most;
    case KIND_LIST: return is_list(option, text);
    case KIND_CHOICE: return choice_index(option, text) >= 0;
    case KIND_FILE:
    case KIND_MODEL: return *text != 0;
    case KIND_FLAG:
    case KIND_TEXT: break;
    }
    return true;
}

goss_status arguments_list(const struct arguments *arguments, enum option_id id, int32_t **list, size_t *n,
                           goss_error *error)
{
    const char *text = arguments->value[id].text;
    const struct option *option = &option_table[id];
    size_t count = 1;
    for (const char *c = text; *c; c++)
        count += *c == ',';
    *n = 0;
    *list = malloc(count * sizeof **list);
    if (!*list)
        return error_memory(error, count * sizeof **list, "a list of numbers");
    for (int64_t whole; *n < count && whole_number(text, &text, option->least, option->most, &whole); text++)
        (*list)[(*n)++] = (int32_t)whole;
    return GOSS_OK;
}

/* The option of this command that the word names; *value is what follows '=' or the letter, or NULL. */
static enum option_id option_find(const struct command *command, const char *word, const char **value)
{
    *value = NULL;
    for (const enum option_id *id = command->option; *id; id++) {
        const struct option *option = &option_table[*id];
        size_t length = strlen(option->name);
        if (word[1] != '-') {
            if (word[1] != option->letter)
                continue;
            *value = word[2] ? word + 2 : NULL;
            return *id;
        }
        if (strncmp(word + 2, option->name, length) == 0 && (word[2 + length] == 0 || word[2 + length] == '=')) {
            *value = word[2 + length] ? word + length + 3 : NULL;
            return *id;
        }
    }
    return OPTION_END;
}

static goss_status unknown_option(const struct command *command, const char *word, goss_error *error)
{
    char typed[NAME_LIMIT + 1];
    const char *best = NULL;
    int least = 0, length = (int)strcspn(word, "=");
    (void)snprintf(typed, sizeof typed, "%.*s", length - 2 > 0 ? length - 2 : 0, length > 2 ? word + 2 : "");
    for (const enum option_id *id = command->option; word[1] == '-' && *id; id++)
        nearer(typed, option_table[*id].name, &best, &least);
    if (best)
        return error_set(error, GOSS_E_ARGUMENT, "unknown option '%.*s'; did you mean '--%s'?", length, word, best);
    return error_set(error, GOSS_E_ARGUMENT, "unknown option '%.*s'", length, word);
}

static goss_status option_read(struct arguments *arguments, enum option_id id, const char *text, goss_error *error)
{
    const struct option *option = &option_table[id];
    struct value *value = &arguments->value[id];
    char allowed[256];
    option_allowed(option, allowed, sizeof allowed);
    if (option->kind == KIND_FLAG && text)
        return error_set(error, GOSS_E_ARGUMENT, "--%s takes no value, not '%.100s'", option->name, text);
    if (option->kind != KIND_FLAG && !text)
        return error_set(error, GOSS_E_ARGUMENT, "--%s needs a value: %s", option->name, allowed);
    if (option->kind != KIND_FLAG && !value_read(option, text, value))
        return error_set(error, GOSS_E_ARGUMENT, "--%s: '%.100s' is not %s", option->name, text, allowed);
    value->given = true;
    return GOSS_OK;
}

goss_status arguments_read(struct arguments *arguments, const struct command *command, int argc, char **argv,
                           goss_error *error)
{
    bool options_end = false;
    *arguments = (struct arguments){.command = command, .operand = argv};
    for (const enum option_id *id = command->option; *id; id++)
        if (option_table[*id].standard)
            (void)value_read(&option_table[*id], option_table[*id].standard, &arguments->value[*id]);
    for (int i = 0; i < argc; i++) {
        const char *value;
        if (options_end || argv[i][0] != '-' || argv[i][1] == 0) {
            argv[arguments->n_operand++] = argv[i];
            continue;
        }
        if (strcmp(argv[i], "--") == 0) {
            options_end = true;
            continue;
        }
        enum option_id id = option_find(command, argv[i], &value);
        if (!id)
            return unknown_option(command, argv[i], error);
        if (option_table[id].kind != KIND_FLAG && !value && i + 1 < argc)
            value = argv[++i];
        goss_status status = option_read(arguments, id, value, error);
        if (status)
            return status;
    }
    if (arguments->value[OPTION_HELP].given)
        return GOSS_OK;
    if (arguments->n_operand < command->least)
        return error_set(error, GOSS_E_ARGUMENT, "%s is missing", command->operands);
    if (arguments->n_operand > command->most)
        return error_set(error, GOSS_E_ARGUMENT, "'%.100s' is one argument too many", argv[command->most]);
    return GOSS_OK;
}
