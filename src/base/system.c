#include "base/system.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATH_ROOM = 4096, LINE_ROOM = 512 };

uint64_t system_field(const char *path, const char *key)
{
    char line[LINE_ROOM];
    unsigned long long number = 0;
    size_t n = strlen(key);
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    while (fgets(line, sizeof line, file))
        if (strncmp(line, key, n) == 0 && sscanf(line + n, "%llu", &number) == 1)
            break;
    (void)fclose(file);
    return number;
}

/* ---- one control group: FOLDER/NAME ---- */

struct group {
    char folder[PATH_ROOM];
};

static uint64_t group_number(const struct group *group, const char *name, const char *key)
{
    char path[PATH_ROOM + 32];
    (void)snprintf(path, sizeof path, "%s/%s", group->folder, name);
    return system_field(path, key);
}

/* "QUOTA PERIOD" in microseconds, or "max PERIOD". A part of a core counts as one. */
static void limit_cores(const struct group *group, struct system_limits *limits)
{
    char path[PATH_ROOM + 32];
    long quota = 0, period = 0;
    (void)snprintf(path, sizeof path, "%s/cpu.max", group->folder);
    FILE *file = fopen(path, "re");
    if (!file)
        return;
    if (fscanf(file, "%ld %ld", &quota, &period) == 2 && quota > 0 && period > 0) {
        long cores = (quota - 1) / period + 1;
        if (cores < limits->cores)
            limits->cores = (int)cores;
    }
    (void)fclose(file);
}

/* Bytes, or "max", which reads as no number. */
static void limit_memory(const struct group *group, struct system_limits *limits)
{
    uint64_t most = group_number(group, "memory.max", "");
    if (most == 0)
        return;
    uint64_t used = group_number(group, "memory.current", "");
    uint64_t files =
        group_number(group, "memory.stat", "inactive_file ") + group_number(group, "memory.stat", "active_file ");
    used = used > files ? used - files : 0;
    uint64_t left = most > used ? most - used : 0;
    if (most < limits->memory_bytes)
        limits->memory_bytes = most;
    if (left < limits->memory_free_bytes)
        limits->memory_free_bytes = left;
}

/* The folder of the process's own group; the root's if it cannot be told. */
static void own_group(const char *root, struct group *group)
{
    char path[PATH_ROOM], line[PATH_ROOM / 2];
    (void)snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    (void)snprintf(group->folder, sizeof group->folder, "%s/sys/fs/cgroup", root);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, "0::/", 4) != 0) /* other lines are of cgroup v1 */
            continue;
        line[strcspn(line, "\n")] = 0;
        size_t n = strlen(group->folder);
        (void)snprintf(group->folder + n, sizeof group->folder - n, "%s", line[4] ? line + 3 : "");
        break;
    }
    if (file)
        (void)fclose(file);
}

/* UINT64_MAX if it is not there. */
static uint64_t kibibytes(const char *path, const char *key)
{
    uint64_t number = system_field(path, key);
    return number ? number << 10 : UINT64_MAX;
}

void system_limits(const char *root, struct system_limits *limits)
{
    char path[PATH_ROOM];
    struct group group;
    cpu_set_t set;
    limits->cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    (void)snprintf(path, sizeof path, "%s/proc/meminfo", root);
    limits->memory_bytes = kibibytes(path, "MemTotal:");
    limits->memory_free_bytes = kibibytes(path, "MemAvailable:");
    own_group(root, &group);
    size_t top = strlen(root) + strlen("/sys/fs/cgroup");
    for (;;) {
        limit_cores(&group, limits);
        limit_memory(&group, limits);
        char *last = strrchr(group.folder, '/');
        if (strlen(group.folder) <= top || !last)
            break;
        *last = 0;
    }
    if (limits->cores < 1)
        limits->cores = 1;
}
