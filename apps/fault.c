#include "fault.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

/* All of this runs in a signal handler: nothing but system calls and the stack. */

enum { NAME_BYTES = PATH_MAX + 32 };

/* /proc/self/maps, a byte at a time. */
struct maps {
    int fd;
    ssize_t n, at;
    char bytes[4096];
};

static int maps_next(struct maps *maps)
{
    if (maps->at == maps->n) {
        maps->n = read(maps->fd, maps->bytes, sizeof maps->bytes);
        maps->at = 0;
    }
    if (maps->n <= 0)
        return maps->n = maps->at = 0, -1;
    return (unsigned char)maps->bytes[maps->at++];
}

/* Reads hexadecimal digits; *after is the byte that ends them. */
static uintptr_t maps_number(struct maps *maps, int *after)
{
    uintptr_t value = 0;
    for (;;) {
        int c = maps_next(maps);
        bool digit = c >= '0' && c <= '9', letter = c >= 'a' && c <= 'f';
        if (!digit && !letter)
            return *after = c, value;
        value = value << 4 | (uintptr_t)(digit ? c - '0' : c - 'a' + 10);
    }
}

/* The file mapped at an address: lines are "from-to rights offset device inode   /name". */
static bool maps_find(struct maps *maps, uintptr_t address, char name[static NAME_BYTES])
{
    int c = 0;
    while (c >= 0) {
        uintptr_t from = maps_number(maps, &c), to = maps_number(maps, &c);
        size_t n = 0;
        while (c >= 0 && c != '\n' && c != '/')
            c = maps_next(maps);
        for (; c >= 0 && c != '\n'; c = maps_next(maps))
            if (n < NAME_BYTES - 1)
                name[n++] = (char)c;
        name[n] = 0;
        if (address >= from && address < to)
            return n > 0;
    }
    return false;
}

static void say(const char *text)
{
    ssize_t written = write(STDERR_FILENO, text, strlen(text));
    (void)written;
}

static void bus_error(int number, siginfo_t *info, void *context)
{
    char name[NAME_BYTES];
    struct maps maps = {.fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC)};
    (void)context;
    if (!maps_find(&maps, (uintptr_t)info->si_addr, name)) {
        (void)signal(number, SIG_DFL);
        (void)raise(number);
        return;
    }
    if (isatty(STDERR_FILENO))
        say("\r\033[K");
    say("gossamer: ");
    say(name);
    say(": cannot be read any more: the file became shorter, or its disk failed\n");
    _exit(1);
}

void faults_name_files(void)
{
    struct sigaction action = {.sa_sigaction = bus_error, .sa_flags = SA_SIGINFO};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGBUS, &action, NULL);
}
