/* What is left of a machine of 64 GiB and however many cores this one has, in control groups of other limits. */
#include "base/system.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "support/test.h"

#define GIB(n) ((uint64_t)(n) << 30)
#define OWN "/sys/fs/cgroup/site.slice/desk.service"

struct tree {
    char root[32];
};

static void put(const struct tree *tree, const char *path, const char *text)
{
    goss_error error;
    char whole[256], folder[256];
    (void)snprintf(whole, sizeof whole, "%s%s", tree->root, path);
    (void)snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(whole, '/') - whole), whole);
    assert_int_equal(file_make_directories(folder, &error), GOSS_OK);
    FILE *file = fopen(whole, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static struct system_limits limits_of(const struct tree *tree)
{
    struct system_limits limits;
    system_limits(tree->root, &limits);
    return limits;
}

static int set_up(void **state)
{
    struct tree *tree = calloc(1, sizeof *tree);
    assert_non_null(tree);
    (void)strcpy(tree->root, "/tmp/goss-XXXXXX");
    assert_non_null(mkdtemp(tree->root));
    put(tree, "/proc/meminfo", "MemTotal:       67108864 kB\nMemFree: 1 kB\nMemAvailable:   50331648 kB\n");
    put(tree, "/proc/self/cgroup", "4:memory:/elsewhere\n0::/site.slice/desk.service\n");
    *state = tree;
    return 0;
}

static int tear_down(void **state)
{
    char command[64];
    struct tree *tree = *state;
    (void)snprintf(command, sizeof command, "rm -r %s", tree->root);
    assert_int_equal(system(command), 0);
    free(tree);
    return 0;
}

static void without_groups_the_machine_is_the_limit(void **state)
{
    struct system_limits limits = limits_of(*state);
    assert_true(limits.cores >= 1);
    assert_int_equal(limits.memory_bytes, GIB(64));
    assert_int_equal(limits.memory_free_bytes, GIB(48));
    struct tree nothing = {"/nonexistent"};
    limits = limits_of(&nothing);
    assert_int_equal(limits.memory_bytes, UINT64_MAX);
    assert_int_equal(limits.memory_free_bytes, UINT64_MAX);
    system_limits("", &limits);
    assert_true(limits.memory_free_bytes > 0 && limits.memory_free_bytes < limits.memory_bytes);
}

static void a_group_s_memory_is_the_limit(void **state)
{
    put(*state, OWN "/memory.max", "17179869184\n");
    put(*state, OWN "/memory.current", "12884901888\n");
    assert_int_equal(limits_of(*state).memory_bytes, GIB(16));
    assert_int_equal(limits_of(*state).memory_free_bytes, GIB(4));
    put(*state, OWN "/memory.stat", "anon 1\nactive_file 1073741824\ninactive_file 2147483648\nfile 1\n");
    assert_int_equal(limits_of(*state).memory_free_bytes, GIB(7)); /* 3 GiB only keep files */
    put(*state, OWN "/memory.max", "max\n");
    assert_int_equal(limits_of(*state).memory_bytes, GIB(64));
    assert_int_equal(limits_of(*state).memory_free_bytes, GIB(48));
}

static void the_group_above_counts_too(void **state)
{
    put(*state, OWN "/memory.max", "17179869184\n");
    put(*state, OWN "/memory.current", "1073741824\n");
    put(*state, "/sys/fs/cgroup/site.slice/memory.max", "34359738368\n");
    put(*state, "/sys/fs/cgroup/site.slice/memory.current", "34359738368\n");
    assert_int_equal(limits_of(*state).memory_bytes, GIB(16));
    assert_int_equal(limits_of(*state).memory_free_bytes, 0);
}

/* In a container the own group is the root of what can be seen. */
static void the_root_of_a_container_counts(void **state)
{
    put(*state, "/proc/self/cgroup", "0::/\n");
    put(*state, "/sys/fs/cgroup/memory.max", "8589934592\n");
    put(*state, "/sys/fs/cgroup/cpu.max", "100000 100000\n");
    assert_int_equal(limits_of(*state).memory_bytes, GIB(8));
    assert_int_equal(limits_of(*state).cores, 1);
}

static void a_quota_of_cores_is_rounded_up(void **state)
{
    int cores = limits_of(*state).cores;
    put(*state, OWN "/cpu.max", "max 100000\n");
    assert_int_equal(limits_of(*state).cores, cores);
    put(*state, OWN "/cpu.max", "50000 100000\n");
    assert_int_equal(limits_of(*state).cores, 1);
    put(*state, OWN "/cpu.max", "150000 100000\n");
    assert_int_equal(limits_of(*state).cores, cores < 2 ? cores : 2);
    put(*state, "/sys/fs/cgroup/site.slice/cpu.max", "1000 100000\n");
    assert_int_equal(limits_of(*state).cores, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(without_groups_the_machine_is_the_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_group_s_memory_is_the_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_group_above_counts_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_root_of_a_container_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_quota_of_cores_is_rounded_up, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
