#include "machine.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/system.h"
#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

/* The text after "KEY : " in the first line of the file that begins with KEY; "" if there is none. */
static void file_field(const char *path, const char *key, char *text, size_t size)
{
    char line[256];
    FILE *file = fopen(path, "re");
    text[0] = 0;
    while (file && !text[0] && fgets(line, sizeof line, file)) {
        const char *value = strchr(line, ':');
        if (strncmp(line, key, strlen(key)) != 0 || !value)
            continue;
        value += 1 + strspn(value + 1, " \t");
        (void)snprintf(text, size, "%.*s", (int)strcspn(value, "\n"), value);
    }
    if (file)
        (void)fclose(file);
}

#if defined(__x86_64__)
static void instruction_sets(struct machine *machine)
{
    int n = 0;
#define HAS(name)                                                                                                      \
    if (__builtin_cpu_supports(name))                                                                                  \
    machine->instruction_sets[n++] = name
    __builtin_cpu_init();
    HAS("sse4.2");
    HAS("avx");
    HAS("fma");
    HAS("avx2");
    HAS("avx512f");
    HAS("avx512bw");
    HAS("avx512vl");
    HAS("avx512vnni");
#undef HAS
    machine->instruction_sets[n] = NULL;
}
#elif defined(__aarch64__)
static void instruction_sets(struct machine *machine)
{
    unsigned long has = getauxval(AT_HWCAP);
    int n = 0;
    if (has & HWCAP_ASIMD)
        machine->instruction_sets[n++] = "neon";
    if (has & HWCAP_ASIMDHP)
        machine->instruction_sets[n++] = "fp16";
    if (has & HWCAP_ASIMDDP)
        machine->instruction_sets[n++] = "dotprod";
    if (getauxval(AT_HWCAP2) & HWCAP2_I8MM)
        machine->instruction_sets[n++] = "i8mm";
    machine->instruction_sets[n] = NULL;
}
#else
static void instruction_sets(struct machine *machine)
{
    machine->instruction_sets[0] = NULL;
}
#endif

void machine_read(struct machine *machine)
{
    static const int cache[MACHINE_CACHES] = {_SC_LEVEL1_DCACHE_SIZE, _SC_LEVEL2_CACHE_SIZE, _SC_LEVEL3_CACHE_SIZE,
                                              _SC_LEVEL4_CACHE_SIZE};
    struct system_limits limits;
    system_limits("", &limits);
    *machine = (struct machine){
        .cores = limits.cores, .memory_bytes = limits.memory_bytes, .memory_free_bytes = limits.memory_free_bytes};
    file_field("/proc/cpuinfo", "model name", machine->processor, sizeof machine->processor);
    if (!machine->processor[0])
        (void)snprintf(machine->processor, sizeof machine->processor, "unknown processor");
    for (int i = 0; i < MACHINE_CACHES; i++) {
        long bytes = sysconf(cache[i]);
        machine->cache_bytes[i] = bytes > 0 ? (uint64_t)bytes : 0;
    }
    instruction_sets(machine);
}

uint64_t peak_memory_bytes(void)
{
    return system_field("/proc/self/status", "VmHWM:") << 10;
}

void peak_memory_reset(void)
{
    FILE *file = fopen("/proc/self/clear_refs", "we");
    if (!file)
        return;
    (void)fputs("5", file); /* proc(5): resets VmHWM */
    (void)fclose(file);
}
