/* What this machine is, as the operating system tells it, and what of it this process may use. */
#ifndef APPS_MACHINE_H
#define APPS_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

enum { MACHINE_CACHES = 4 };

struct machine {
    char processor[128];
    int cores;                                /* base/system.h */
    uint64_t cache_bytes[MACHINE_CACHES];     /* level 1 data, level 2, 3, 4; 0 where unknown */
    uint64_t memory_bytes, memory_free_bytes; /* base/system.h */
    const char *instruction_sets[16];         /* that matter here; NULL ends the list */
};

void machine_read(struct machine *machine);

uint64_t peak_memory_bytes(void); /* of this process since its start or the last reset; mapped files count */
void peak_memory_reset(void);     /* where the system allows it */

#endif
