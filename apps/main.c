/* gossamer: one program, one command per file of this folder. Here a command is found, run, and its outcome turned into
 * an exit status: 0 success, 1 failure, 2 wrong usage, 130 interrupted (143 by SIGTERM). */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "fault.h"
#include "help.h"
#include "terminal.h"

enum { EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_SIGNAL = 128 };

static int exit_of(goss_status status)
{
    switch (status) {
    case GOSS_OK: return 0;
    case GOSS_E_ARGUMENT: return EXIT_USAGE;
    case GOSS_E_CANCELLED: return EXIT_SIGNAL + (interrupted() ? interrupted() : SIGINT);
    default: return EXIT_FAILED;
    }
}

static int unknown_command(const char *name)
{
    const char *near = command_nearest(name);
    (void)fprintf(stderr, "gossamer: there is no command '%.100s'", name);
    if (near)
        (void)fprintf(stderr, "; did you mean '%s'?", near);
    (void)fputs("\nTry 'gossamer help'.\n", stderr);
    return EXIT_USAGE;
}

static int run(const struct command *command, int argc, char **argv)
{
    struct arguments arguments;
    struct terminal terminal;
    goss_error error;
    goss_status status = arguments_read(&arguments, command, argc, argv, &error);
    if (status) {
        (void)fprintf(stderr, "gossamer %s: %s\nTry 'gossamer %s --help'.\n", command->name, error.text, command->name);
        return exit_of(status);
    }
    if (arguments.value[OPTION_HELP].given) {
        terminal_open(&terminal, stdout, COLOR_AUTO);
        help_command(&terminal, command);
        return 0;
    }
    status = command->run(&arguments, &error);
    if (status)
        (void)fprintf(stderr, "gossamer %s: %s\n", command->name, error.text);
    return exit_of(status);
}

int main(int argc, char **argv)
{
    struct terminal terminal;
    int outcome = 0;
    terminal_open(&terminal, stdout, COLOR_AUTO);
    faults_name_files();
    (void)signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of writing, reported below */
    if (argc < 2) {
        terminal_open(&terminal, stderr, COLOR_AUTO);
        help_overview(&terminal);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        (void)puts("gossamer " GOSS_VERSION);
    } else if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        help_overview(&terminal);
    } else {
        const struct command *command = command_find(argv[1]);
        if (!command)
            return unknown_command(argv[1]);
        outcome = run(command, argc - 2, argv + 2);
    }
    errno = 0;
    if ((fflush(stdout) || ferror(stdout)) && outcome == 0) {
        if (errno != EPIPE)
            (void)fprintf(stderr, "gossamer: cannot write the output: %s\n", strerror(errno));
        outcome = EXIT_FAILED;
    }
    return outcome;
}
