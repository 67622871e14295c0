/* What of the machine this process may use: by its affinity mask, and by the limits of its control groups (cgroup v2:
 * its own and all above it), which is how containers and services are held. */
#ifndef BASE_SYSTEM_H
#define BASE_SYSTEM_H

#include <stdint.h>

struct system_limits {
    int cores;                  /* at least 1 */
    uint64_t memory_bytes;      /* UINT64_MAX: unknown, here and below */
    uint64_t memory_free_bytes; /* can be had without swapping: what only keeps files counts as free */
};

/* root: in front of /proc and /sys; "" but in tests. */
void system_limits(const char *root, struct system_limits *limits);

/* The first number after KEY at the begin of a line of a file, in the file's unit; 0 if there is none. */
uint64_t system_field(const char *path, const char *key);

#endif
