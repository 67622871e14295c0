#include "base/sandbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- Landlock ---- */

/* As of version 6; older headers know only the first field, older kernels take zeros for the rest. */
struct ruleset {
    uint64_t files, tcp, scoped;
};

/* Bits that headers of version 2 lack. */
enum { FILE_TRUNCATE = 1 << 14, FILE_IOCTL = 1 << 15, TCP_BIND_CONNECT = 3, SCOPE_SOCKETS_SIGNALS = 3 };
enum {
    FILE_BITS_1 = (1 << 13) - 1,
    READ = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
    WRITE = READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |
            FILE_TRUNCATE,
    OF_FILES = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE |
               FILE_TRUNCATE | FILE_IOCTL /* the rights that a rule for a file, not a folder, may hold */
};

static int landlock_version(void)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, LANDLOCK_CREATE_RULESET_VERSION);
    return version > 0 ? (int)version : 0;
}

static struct ruleset everything(int version)
{
    struct ruleset set = {.files = FILE_BITS_1};
    set.files |= version >= 2 ? LANDLOCK_ACCESS_FS_REFER : 0;
    set.files |= version >= 3 ? FILE_TRUNCATE : 0;
    set.files |= version >= 5 ? FILE_IOCTL : 0;
    set.tcp = version >= 4 ? TCP_BIND_CONNECT : 0;
    set.scoped = version >= 6 ? SCOPE_SOCKETS_SIGNALS : 0;
    return set;
}

static goss_status allow(int ruleset, const char *path, uint64_t rights, uint64_t known, goss_error *error)
{
    struct stat found;
    struct landlock_path_beneath_attr rule = {.allowed_access = rights & known};
    rule.parent_fd = open(path, O_PATH | O_CLOEXEC);
    if (rule.parent_fd < 0)
        return errno == ENOENT ? GOSS_OK : error_errno(error, path, "cannot open it for the sandbox");
    if (fstat(rule.parent_fd, &found) || !S_ISDIR(found.st_mode))
        rule.allowed_access &= OF_FILES;
    goss_status status = GOSS_OK;
    if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0))
        status = error_errno(error, path, "Landlock does not take it");
    (void)close(rule.parent_fd);
    return status;
}

static goss_status confine_files(const struct sandbox_rules *rules, int version, goss_error *error)
{
    struct ruleset set = everything(version);
    int fd = (int)syscall(SYS_landlock_create_ruleset, &set, sizeof set, 0);
    if (fd < 0)
        return error_errno(error, "Landlock", "cannot make a set of rules");
    goss_status status = GOSS_OK;
    for (size_t i = 0; !status && i < rules->n_readable; i++)
        status = allow(fd, rules->readable[i], READ, set.files, error);
    for (size_t i = 0; !status && i < rules->n_writable; i++)
        status = allow(fd, rules->writable[i], WRITE, set.files, error);
    if (!status && syscall(SYS_landlock_restrict_self, fd, 0))
        status = error_errno(error, "Landlock", "cannot enter");
    (void)close(fd);
    return status;
}

/* ---- seccomp ---- */

enum { SOCKET_TYPES = 15 }; /* the bits of a socket's type that are no flags */

/* Refused whatever their arguments: what makes connections, starts or touches other programs, changes the system, or
 * could do any of that out of seccomp's sight. */
static const int refused[] = {
    SCMP_SYS(socket),
    SCMP_SYS(connect),
    SCMP_SYS(bind),
    SCMP_SYS(listen),
    SCMP_SYS(sendmmsg),
    SCMP_SYS(io_uring_setup),
    SCMP_SYS(io_uring_enter),
    SCMP_SYS(io_uring_register),
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
    SCMP_SYS(fork),
    SCMP_SYS(vfork),
    SCMP_SYS(ptrace),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(pidfd_open),
    SCMP_SYS(pidfd_getfd),
    SCMP_SYS(kcmp),
    SCMP_SYS(mq_open),
    SCMP_SYS(msgget),
    SCMP_SYS(msgsnd),
    SCMP_SYS(semget),
    SCMP_SYS(shmget),
    SCMP_SYS(shmat),
    SCMP_SYS(bpf),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(add_key),
    SCMP_SYS(request_key),
    SCMP_SYS(keyctl),
    SCMP_SYS(unshare),
    SCMP_SYS(setns),
    SCMP_SYS(mount),
    SCMP_SYS(umount2),
    SCMP_SYS(move_mount),
    SCMP_SYS(open_tree),
    SCMP_SYS(fsopen),
    SCMP_SYS(fsmount),
    SCMP_SYS(fspick),
    SCMP_SYS(mount_setattr),
    SCMP_SYS(pivot_root),
    SCMP_SYS(chroot),
    SCMP_SYS(open_by_handle_at),
    SCMP_SYS(name_to_handle_at),
    SCMP_SYS(mknod),
    SCMP_SYS(mknodat),
    /* owners, rights, times and notes of files, which Landlock leaves alone */
    SCMP_SYS(chmod),
    SCMP_SYS(fchmodat),
    SCMP_SYS(chown),
    SCMP_SYS(lchown),
    SCMP_SYS(fchownat),
    SCMP_SYS(setxattr),
    SCMP_SYS(lsetxattr),
    SCMP_SYS(fsetxattr),
    SCMP_SYS(removexattr),
    SCMP_SYS(lremovexattr),
    SCMP_SYS(fremovexattr),
    SCMP_SYS(utime),
    SCMP_SYS(utimes),
    SCMP_SYS(futimesat),
    SCMP_SYS(utimensat),
    SCMP_SYS(swapon),
    SCMP_SYS(swapoff),
    SCMP_SYS(reboot),
    SCMP_SYS(kexec_load),
    SCMP_SYS(kexec_file_load),
    SCMP_SYS(init_module),
    SCMP_SYS(finit_module),
    SCMP_SYS(delete_module),
    SCMP_SYS(acct),
    SCMP_SYS(quotactl),
    SCMP_SYS(settimeofday),
    SCMP_SYS(clock_settime),
    SCMP_SYS(sethostname),
    SCMP_SYS(setdomainname),
    SCMP_SYS(personality),
    SCMP_SYS(iopl),
    SCMP_SYS(ioperm),
    SCMP_SYS(modify_ldt),
};

static int refuse_some_arguments(scmp_filter_ctx filter)
{
    const uint32_t no = SCMP_ACT_ERRNO(EPERM);
    /* clone3's arguments lie in memory that seccomp cannot read; told that it is missing, the C library uses clone. */
    int result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    if (!result) /* threads only */
        result = seccomp_rule_add(filter, no, SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
    if (!result) /* to an address: a datagram, or a connection that begins with data */
        result = seccomp_rule_add(filter, no, SCMP_SYS(sendto), 1, SCMP_A4(SCMP_CMP_NE, 0, 0));
    if (!result)
        result =
            seccomp_rule_add(filter, no, SCMP_SYS(sendto), 1, SCMP_A3(SCMP_CMP_MASKED_EQ, MSG_FASTOPEN, MSG_FASTOPEN));
    if (!result)
        result =
            seccomp_rule_add(filter, no, SCMP_SYS(sendmsg), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, MSG_FASTOPEN, MSG_FASTOPEN));
    if (!result) /* typing into the terminal that it was started from */
        result = seccomp_rule_add(filter, no, SCMP_SYS(ioctl), 1, SCMP_A1(SCMP_CMP_EQ, TIOCSTI, 0));
    return result;
}

/* All of them, or all but pairs of local streams, which lead nowhere else. */
static int refuse_pairs(scmp_filter_ctx filter, bool but_streams)
{
    const uint32_t no = SCMP_ACT_ERRNO(EPERM);
    if (!but_streams)
        return seccomp_rule_add(filter, no, SCMP_SYS(socketpair), 0);
    int result = seccomp_rule_add(filter, no, SCMP_SYS(socketpair), 1, SCMP_A0(SCMP_CMP_NE, AF_UNIX, 0));
    for (uint64_t type = 0; !result && type <= SOCKET_TYPES; type++)
        if (type != SOCK_STREAM)
            result =
                seccomp_rule_add(filter, no, SCMP_SYS(socketpair), 1, SCMP_A1(SCMP_CMP_MASKED_EQ, SOCKET_TYPES, type));
    return result;
}

static goss_status refuse_calls(bool pairs_of_streams, goss_error *error)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    if (!filter)
        return error_memory(error, 0, "a seccomp filter");
    int result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1); /* all threads */
    if (!result) /* calls by another processor's numbers; by default they would end the thread and leave its locks shut
                  */
        result = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(EPERM));
    for (size_t i = 0; !result && i < sizeof refused / sizeof *refused; i++)
        if (refused[i] >= 0) /* below 0: this processor has no such call */
            result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), refused[i], 0);
    if (!result)
        result = refuse_some_arguments(filter);
    if (!result)
        result = refuse_pairs(filter, pairs_of_streams);
    if (!result)
        result = seccomp_load(filter);
    seccomp_release(filter);
    if (result) {
        errno = -result;
        return error_errno(error, "seccomp", "cannot refuse system calls");
    }
    return GOSS_OK;
}

/* ---- descriptors ---- */

/* What whoever started the program left open, but for the standard streams: a connection or a pipe would be a way out
 * that needs no call refused below. Ours all have FD_CLOEXEC, and those cannot have it. */
static goss_status close_inherited(goss_error *error)
{
    DIR *folder = opendir("/proc/self/fd");
    if (!folder)
        return error_errno(error, "/proc/self/fd", "cannot list what is open");
    for (const struct dirent *entry; (entry = readdir(folder));) {
        int fd = (int)strtol(entry->d_name, NULL, 10), flags = fcntl(fd, F_GETFD);
        if (fd > STDERR_FILENO && flags >= 0 && !(flags & FD_CLOEXEC))
            (void)close(fd);
    }
    (void)closedir(folder);
    return GOSS_OK;
}

/* ---- all of it ---- */

void sandbox_probe(struct sandbox_report *report)
{
    report->calls = prctl(PR_GET_SECCOMP, 0, 0, 0, 0) >= 0;
    report->landlock = landlock_version();
    report->tcp = report->landlock >= 4;
}

goss_status sandbox_enter(const struct sandbox_rules *rules, struct sandbox_report *report, goss_error *error)
{
    sandbox_probe(report);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return error_errno(error, "the sandbox", "cannot give up privileges");
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* no core file holds what people asked */
    goss_status status = close_inherited(error);
    if (!status && report->landlock)
        status = confine_files(rules, report->landlock, error);
    if (!status && report->calls)
        status = refuse_calls(rules->pairs_of_streams, error);
    return status;
}
