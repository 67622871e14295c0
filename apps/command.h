/* The commands and their options: what apps/table.c lists, what apps/options.c reads from the command line, and what
 * help, manual pages and completions are made of. Nothing else knows the name of an option. */
#ifndef APPS_COMMAND_H
#define APPS_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum option_id {
    OPTION_END, /* ends a command's list */
    OPTION_MODEL,
    OPTION_THREADS,
    OPTION_ISA,
    OPTION_CHUNK,
    OPTION_CONTEXT,
    OPTION_BACKEND,
    OPTION_GPU_MEMORY,
    OPTION_COPY_WEIGHTS,
    OPTION_LOOKUP,
    OPTION_EFFORT,
    OPTION_SYSTEM,
    OPTION_DATE,
    OPTION_SCHEMA,
    OPTION_SEED,
    OPTION_TEMPERATURE,
    OPTION_TOP_P,
    OPTION_TOP_K,
    OPTION_MIN_P,
    OPTION_MAX_TOKENS,
    OPTION_HIDE_REASONING,
    OPTION_FOLD_REASONING,
    OPTION_COLOR,
    OPTION_HISTORY,
    OPTION_CONTINUE,
    OPTION_NO_HISTORY,
    OPTION_IDS,
    OPTION_TEXT,
    OPTION_TOP,
    OPTION_LOGITS,
    OPTION_OUTPUT,
    OPTION_DENSE,
    OPTION_NO_DIGESTS,
    OPTION_PRUNE,
    OPTION_SPECIAL,
    OPTION_PIECES,
    OPTION_PREFILL,
    OPTION_DEPTH,
    OPTION_REPEAT,
    OPTION_SECONDS,
    OPTION_NO_COLD,
    OPTION_HOST,
    OPTION_PORT,
    OPTION_API_KEY_FILE,
    OPTION_TLS_CERT,
    OPTION_TLS_KEY,
    OPTION_ALLOW_INSECURE,
    OPTION_ALLOW_HOST,
    OPTION_ALLOW_ORIGIN,
    OPTION_PARALLEL,
    OPTION_QUEUE,
    OPTION_CONNECTIONS,
    OPTION_NAME,
    OPTION_STORE,
    OPTION_NO_STORE,
    OPTION_QUIET,
    OPTION_MAN,
    OPTION_COMPLETION,
    OPTION_JSON,
    OPTION_HELP,
    OPTION_VERSION,
    OPTION_COUNT
};

enum option_kind {
    KIND_FLAG,
    KIND_WHOLE,  /* least..most */
    KIND_NUMBER, /* least..most */
    KIND_LIST,   /* whole numbers least..most, separated by commas */
    KIND_CHOICE, /* one of `choices` */
    KIND_TEXT,
    KIND_FILE,
    KIND_MODEL
};

struct option {
    const char *name; /* without the dashes */
    char letter;      /* 0: none */
    enum option_kind kind;
    const char *value;    /* what help calls the value: "N", "FILE"; NULL for flags */
    const char *choices;  /* "low|medium|high" */
    double least, most;   /* both inclusive */
    const char *standard; /* the value when the option is absent, as one would write it; NULL: none */
    const char *help;     /* one sentence without a full stop */
};

/* What was given for one option, or its standard value. */
struct value {
    bool given;
    const char *text; /* NULL when absent without a standard value */
    int64_t whole;    /* KIND_WHOLE */
    double number;    /* KIND_NUMBER */
};

struct arguments {
    const struct command *command;
    struct value value[OPTION_COUNT];
    char **operand; /* [n_operand], inside main's argv */
    int n_operand;
};

struct example {
    const char *line, *does;
};

enum { COMMAND_EXAMPLES = 4, COMMAND_OPTIONS = 32 };

struct command {
    const char *name;
    const char *operands; /* as usage shows them: "[PROMPT]..."; "" for none */
    int least, most;      /* how many */
    const char *summary;  /* half a sentence */
    const char *text;     /* paragraphs separated by empty lines; `words` in backquotes are typed as they stand */
    struct example example[COMMAND_EXAMPLES];
    enum option_id option[COMMAND_OPTIONS]; /* in the order of help, up to OPTION_END */
    goss_status (*run)(const struct arguments *arguments, goss_error *error);
};

extern const struct option option_table[OPTION_COUNT];
extern const struct command command_table[];
extern const int command_count;

const struct command *command_find(const char *name); /* NULL if there is none */
/* The known name nearest to a mistyped one, or NULL when none is near. */
const char *command_nearest(const char *name);

/* Reads argv (without the program and the command) by the command's table; reorders argv so that operands stand
 * together. GOSS_E_ARGUMENT names the option, what was found and what is allowed. */
goss_status arguments_read(struct arguments *arguments, const struct command *command, int argc, char **argv,
                           goss_error *error);

/* What a value of the option must be: "a whole number from 1 to 1024". */
void option_allowed(const struct option *option, char *text, size_t size);
/* The i-th word of choices, and its length; NULL past the last. */
const char *option_choice(const struct option *option, int i, int *length);
/* The index of the chosen word; the option must be of KIND_CHOICE with a value. */
int arguments_choice(const struct arguments *arguments, enum option_id id);
/* The numbers of a KIND_LIST; *list is malloc'd. */
goss_status arguments_list(const struct arguments *arguments, enum option_id id, int32_t **list, size_t *n,
                           goss_error *error);

goss_status command_tokenize(const struct arguments *arguments, goss_error *error);
goss_status command_detokenize(const struct arguments *arguments, goss_error *error);
goss_status command_render(const struct arguments *arguments, goss_error *error);
goss_status command_parse(const struct arguments *arguments, goss_error *error);
goss_status command_inspect(const struct arguments *arguments, goss_error *error);
goss_status command_pack(const struct arguments *arguments, goss_error *error);
goss_status command_run(const struct arguments *arguments, goss_error *error);
goss_status command_chat(const struct arguments *arguments, goss_error *error);
goss_status command_serve(const struct arguments *arguments, goss_error *error);
goss_status command_score(const struct arguments *arguments, goss_error *error);
goss_status command_bench(const struct arguments *arguments, goss_error *error);
goss_status command_doctor(const struct arguments *arguments, goss_error *error);
goss_status command_help(const struct arguments *arguments, goss_error *error);

#endif
