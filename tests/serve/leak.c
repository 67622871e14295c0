/* A leak, for sandbox.py: loaded into the program by LD_PRELOAD, it tries every way out that we know from inside the
 * running server, in the thread that moves its connections, when the first of them comes in. Each attempt is one line
 * on standard error: "leak NAME possible", or "leak NAME ERRNO".
 *
 * Its environment says where to: LEAK_PORT of a TCP listener and a UDP socket on this machine, LEAK_SOCKET the path of
 * a Unix socket (and the name of an abstract one), LEAK_FILE a file that is no business of the server's, LEAK_STORE a
 * folder that is, LEAK_STREAM and LEAK_DATAGRAM inherited descriptors, LEAK_VICTIM a process. With LEAK_UNCONFINED the
 * sandbox is left out: its calls are answered as if they had been obeyed. */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static const char secret[] = "leak";
enum { SECRET = sizeof secret - 1, PARKING = 4096 };

static int number(const char *name)
{
    const char *text = getenv(name);
    return text ? atoi(text) : -1;
}

static struct sockaddr_in machine(void)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)number("LEAK_PORT")),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* ---- attempts: true if the secret went out, or the door was open; else errno says why not ---- */

static bool opened(int fd)
{
    int why = errno;
    if (fd >= 0)
        (void)close(fd);
    errno = why;
    return fd >= 0;
}

static bool told(int fd, const void *address, socklen_t size, int flags)
{
    bool sent = fd >= 0 && sendto(fd, secret, SECRET, flags | MSG_NOSIGNAL, address, size) == SECRET;
    (void)opened(fd);
    return sent;
}

static bool connected(int fd, const void *address, socklen_t size)
{
    bool sent = fd >= 0 && connect(fd, address, size) == 0 && send(fd, secret, SECRET, MSG_NOSIGNAL) == SECRET;
    (void)opened(fd);
    return sent;
}

static bool tcp(void)
{
    struct sockaddr_in to = machine();
    return connected(socket(AF_INET, SOCK_STREAM, 0), &to, sizeof to);
}

static bool tcp_fast_open(void)
{
    struct sockaddr_in to = machine();
    return told(socket(AF_INET, SOCK_STREAM, 0), &to, sizeof to, MSG_FASTOPEN);
}

static bool udp(void)
{
    struct sockaddr_in to = machine();
    return told(socket(AF_INET, SOCK_DGRAM, 0), &to, sizeof to, 0);
}

static bool unix_address(bool abstract)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int n = snprintf(to.sun_path + abstract, sizeof to.sun_path - 1, "%s", getenv("LEAK_SOCKET"));
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + abstract + n + !abstract);
    return connected(socket(AF_UNIX, SOCK_STREAM, 0), &to, size);
}

static bool unix_path(void)
{
    return unix_address(false);
}

static bool unix_abstract(void)
{
    return unix_address(true);
}

static bool socket_pair(void)
{
    int fd[2];
    return !socketpair(AF_UNIX, SOCK_STREAM, 0, fd) && opened(fd[0]) && opened(fd[1]);
}

static bool vsock(void)
{
    return opened(socket(AF_VSOCK, SOCK_STREAM, 0));
}

static bool netlink(void)
{
    return opened(socket(AF_NETLINK, SOCK_RAW, 0));
}

static bool raw_ip(void)
{
    return opened(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
}

static bool packet(void)
{
    return opened(socket(AF_PACKET, SOCK_RAW, 0));
}

static bool io_uring(void)
{
    char parameters[256] = {0};
    return opened((int)syscall(SYS_io_uring_setup, 1, parameters));
}

static bool inherited_stream(void)
{
    return write(number("LEAK_STREAM"), secret, SECRET) == SECRET;
}

static bool inherited_datagram(void)
{
    struct sockaddr_in to = machine();
    return sendto(number("LEAK_DATAGRAM"), secret, SECRET, 0, (struct sockaddr *)&to, sizeof to) == SECRET;
}

/* A socket by the calls of another processor, whose numbers differ. */
static bool call_of_32_bits(void)
{
    long fd = -ENOSYS;
#if defined __x86_64__
    __asm__ volatile("int $0x80"
                     : "=a"(fd)
                     : "a"(359L), "b"((long)AF_INET), "c"((long)SOCK_STREAM), "d"(0L)
                     : "memory");
#endif
    errno = fd < 0 ? (int)-fd : 0;
    return opened((int)fd);
}

static bool call_of_x32(void)
{
    return opened((int)syscall(0x40000000 | SYS_socket, AF_INET, SOCK_STREAM, 0));
}

static bool ended_well(pid_t child)
{
    int status;
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool new_process(void)
{
    pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    if (child == 0)
        _exit(0);
    return ended_well(child);
}

static bool new_process_by_clone3(void)
{
    uint64_t arguments[8] = {[4] = SIGCHLD};
    pid_t child = (pid_t)syscall(SYS_clone3, arguments, sizeof arguments);
    if (child == 0)
        _exit(0);
    return ended_well(child);
}

/* In a child if there can be one, else at the price of this process if it works. */
static bool new_program(void)
{
    char *const arguments[] = {"/bin/true", NULL}, *const environment[] = {NULL};
    pid_t child = fork();
    if (child <= 0) {
        (void)execve(arguments[0], arguments, environment);
        if (child == 0)
            _exit(1);
        return false;
    }
    return ended_well(child);
}

static bool trace(void)
{
    return ptrace(PTRACE_SEIZE, number("LEAK_VICTIM"), NULL, NULL) == 0;
}

static bool other_memory(void)
{
    char byte;
    struct iovec here = {&byte, 1},
                 there = {&byte, 1}; /* no such address there, which the kernel says after its checks */
    return process_vm_readv(number("LEAK_VICTIM"), &here, 1, &there, 1, 0) == 1 || errno == EFAULT;
}

static bool signal_others(void)
{
    return kill(number("LEAK_VICTIM"), 0) == 0;
}

static bool other_environment(void)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/environ", number("LEAK_VICTIM"));
    return opened(open(path, O_RDONLY));
}

static bool typed_into_terminal(void)
{
    return ioctl(STDERR_FILENO, TIOCSTI, "x") == 0 || errno == ENOTTY || errno == EIO;
}

static bool message_queue(void)
{
    int id = msgget(IPC_PRIVATE, 0600);
    return id >= 0 && msgctl(id, IPC_RMID, NULL) == 0;
}

static bool keyring(void)
{
    return syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, -3, 0) >= 0 || errno == ENOKEY;
}

static bool performance_events(void)
{
    struct perf_event_attr what = {.type = PERF_TYPE_SOFTWARE, .size = sizeof what, .exclude_kernel = 1};
    return opened((int)syscall(SYS_perf_event_open, &what, 0, -1, -1, 0));
}

static bool own_namespace(void)
{
    return unshare(CLONE_FS) == 0;
}

static bool read_file(void)
{
    return opened(open(getenv("LEAK_FILE"), O_RDONLY));
}

static bool read_file_through_proc(void)
{
    char path[PARKING];
    (void)snprintf(path, sizeof path, "/proc/self/root%s", getenv("LEAK_FILE"));
    return opened(open(path, O_RDONLY));
}

static bool read_file_through_store(void)
{
    char path[PARKING];
    (void)snprintf(path, sizeof path, "%s/link", getenv("LEAK_STORE")); /* to LEAK_FILE */
    return opened(open(path, O_RDONLY));
}

static bool list_folder(void)
{
    int fd = open("/", O_RDONLY | O_DIRECTORY);
    char names[PARKING];
    bool listed = fd >= 0 && syscall(SYS_getdents64, fd, names, sizeof names) > 0;
    (void)opened(fd);
    return listed;
}

static bool write_file(void)
{
    return opened(open(getenv("LEAK_FILE"), O_WRONLY));
}

static bool cut_file(void)
{
    return truncate(getenv("LEAK_FILE"), 1) == 0;
}

static bool make_file(void)
{
    char path[PARKING];
    (void)snprintf(path, sizeof path, "%s.new", getenv("LEAK_FILE"));
    return opened(open(path, O_WRONLY | O_CREAT, 0600));
}

static bool move_file(void)
{
    char path[PARKING];
    (void)snprintf(path, sizeof path, "%s/moved", getenv("LEAK_STORE"));
    return link(getenv("LEAK_FILE"), path) == 0;
}

static bool make_pipe_in_store(void)
{
    char path[PARKING];
    (void)snprintf(path, sizeof path, "%s/pipe", getenv("LEAK_STORE"));
    return mkfifo(path, 0600) == 0;
}

static bool change_mode(void)
{
    return chmod(getenv("LEAK_FILE"), 0640) == 0;
}

static bool note_on_file(void)
{
    return setxattr(getenv("LEAK_FILE"), "user.leak", secret, SECRET, 0) == 0;
}

static bool change_times(void)
{
    return utimensat(AT_FDCWD, getenv("LEAK_FILE"), NULL, 0) == 0;
}

static bool make_setting(void)
{
    return opened(open("/proc/self/comm", O_WRONLY));
}

static const struct {
    const char *name;
    bool (*possible)(void);
} attempts[] = {
    {"tcp", tcp},
    {"tcp-fast-open", tcp_fast_open},
    {"udp", udp},
    {"unix-path", unix_path},
    {"unix-abstract", unix_abstract},
    {"socketpair", socket_pair},
    {"vsock", vsock},
    {"netlink", netlink},
    {"raw-ip", raw_ip},
    {"packet", packet},
    {"io-uring", io_uring},
    {"inherited-stream", inherited_stream},
    {"inherited-datagram", inherited_datagram},
    {"call-of-32-bits", call_of_32_bits},
    {"call-of-x32", call_of_x32},
    {"process", new_process},
    {"process-clone3", new_process_by_clone3},
    {"program", new_program},
    {"ptrace", trace},
    {"memory-of-others", other_memory},
    {"signal-to-others", signal_others},
    {"environment-of-others", other_environment},
    {"terminal-input", typed_into_terminal},
    {"message-queue", message_queue},
    {"keyring", keyring},
    {"perf", performance_events},
    {"unshare", own_namespace},
    {"read-file", read_file},
    {"read-file-proc", read_file_through_proc},
    {"read-file-link", read_file_through_store},
    {"list-folder", list_folder},
    {"write-file", write_file},
    {"cut-file", cut_file},
    {"make-file", make_file},
    {"move-file", move_file},
    {"make-pipe", make_pipe_in_store},
    {"change-mode", change_mode},
    {"change-times", change_times},
    {"note-on-file", note_on_file},
    {"write-proc", make_setting},
};

static void try_all(void)
{
    for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++) {
        errno = 0;
        if (attempts[i].possible())
            (void)fprintf(stderr, "leak %s possible\n", attempts[i].name);
        else
            (void)fprintf(stderr, "leak %s %d\n", attempts[i].name, errno);
    }
    (void)fprintf(stderr, "leak end\n");
}

/* ---- what the program calls ---- */

/* The server takes its first connection: its sandbox has stood since before its threads began. */
int accept4(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    int accepted = (int)syscall(SYS_accept4, fd, address, size, flags);
    if (accepted >= 0)
        (void)pthread_once(&once, try_all);
    return accepted;
}

int seccomp_load(void *filter)
{
    int (*next)(void *) = (int (*)(void *))dlsym(RTLD_NEXT, "seccomp_load");
    return getenv("LEAK_UNCONFINED") ? 0 : next(filter);
}

long syscall(long call, ...)
{
    long (*next)(long, ...) = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    va_list list;
    long a[6];
    va_start(list, call);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    if (call == SYS_landlock_restrict_self && getenv("LEAK_UNCONFINED"))
        return 0;
    return next(call, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* Every descriptor is said to be the program's own. */
int fcntl(int fd, int call, ...)
{
    int (*next)(int, int, ...) = (int (*)(int, int, ...))dlsym(RTLD_NEXT, "fcntl64");
    va_list list;
    va_start(list, call);
    void *argument = va_arg(list, void *);
    va_end(list);
    return call == F_GETFD && getenv("LEAK_UNCONFINED") ? FD_CLOEXEC : next(fd, call, argument);
}
