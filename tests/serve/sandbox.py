"""Nothing leaves the server after its start. Shown thrice, and each time that the proof would notice a leak:
by the functions that the program imports, by what a leak inside the running server (leak.c) can do, and by a trace of
the system calls of a session."""
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import threading

from serving import SANITIZED, Server, eventually, program, tests, tools

LEAK = f"{tools}/libserve_leak.so"

# What a program can reach others with. Ours listens, so it makes one socket; `send` writes on a connection that came in,
# `syscall` is Landlock's and AMX's, which the C library has no functions for, and the CUDA backend is loaded before the doors are closed.
WAYS_OUT = """accept accept4 bind connect getaddrinfo gethostbyname gethostbyname2 getnameinfo getpeername getservbyname
    getsockname getsockopt io_uring_setup listen mq_open msgget recvfrom recvmmsg recvmsg res_init res_query res_search
    semget sendmmsg sendmsg sendto send setsockopt shmget shm_open shutdown socket socketpair
    clone daemon dlopen dlmopen dlsym execl execle execlp execv execve execveat execvp execvpe fexecve fork forkpty
    popen posix_spawn posix_spawnp process_vm_readv process_vm_writev ptrace syscall system vfork""".split()
OURS = {"bind", "getsockname", "listen", "send", "setsockopt", "shutdown", "socket", "syscall", "dlopen", "dlsym"}
USERS = {"syscall": {"base/sandbox.c", "cpu/kernels.c"}, "dlopen": {"cuda/load.c"}, "dlsym": {"cuda/load.c"}}

# The ways that every Linux has, so that a leak must be able to take them where no sandbox is.
ALWAYS = {"tcp", "udp", "unix-path", "unix-abstract", "socketpair", "inherited-stream", "inherited-datagram", "process", "program",
          "read-file", "read-file-proc", "read-file-link", "list-folder", "write-file", "cut-file", "make-file", "move-file", "make-pipe",
          "change-mode", "change-times"}
ALL = set(re.findall(r'^    \{"([a-z0-9-]+)", \w+\},$', pathlib.Path(f"{tests}/serve/leak.c").read_text(), re.M))
assert ALWAYS <= ALL, ALWAYS - ALL


def imports(file):
    lines = subprocess.run(["nm", "-D", "--undefined-only", file], check=True, capture_output=True, text=True).stdout.splitlines()
    return {line.split()[1].split("@")[0] for line in lines}


def ways_out(names):
    return names & set(WAYS_OUT) - OURS


def the_program_imports_no_way_out():
    assert {"connect", "sendto", "ptrace"} <= ways_out(imports(LEAK)), "a leak would not be noticed"
    names = imports(program)
    assert "socket" in names and "seccomp_load" in names
    if SANITIZED:
        return  # a sanitizer's runtime is no part of the program
    assert not ways_out(names), ways_out(names)
    sources = pathlib.Path(tests).parent
    for call, users in USERS.items():
        found = {str(file.relative_to(sources / "src")) for file in sources.glob("src/*/*.c") if re.search(rf"\b{call}\(", file.read_text())}
        assert found == users, (call, found)


class Sink:
    """Whoever a leak would talk to: takes whatever comes, and remembers from where."""

    def __init__(self):
        self.got = set()
        self.tcp, self.udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
        self.tcp.bind(("127.0.0.1", 0))
        self.port = self.tcp.getsockname()[1]
        self.udp.bind(("127.0.0.1", self.port))
        self.path, self.abstract = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        self.name = os.path.abspath(f"sink{self.port}")
        self.path.bind(self.name)
        self.abstract.bind(b"\0" + self.name.encode())
        self.inherited, self.pair = socket.socketpair()
        self.datagram = socket.socket(type=socket.SOCK_DGRAM)
        for name in ("tcp", "path", "abstract"):
            getattr(self, name).listen()
            threading.Thread(target=self.accept, args=(name,), daemon=True).start()
        for name in ("udp", "pair"):
            threading.Thread(target=self.take, args=(name, getattr(self, name)), daemon=True).start()

    def accept(self, name):
        while True:
            self.take(name, getattr(self, name).accept()[0], once=True)

    def take(self, name, sock, once=False):
        while sock.recv(100) == b"leak":
            self.got.add(name)
            if once:
                return


def leak_out(unconfined):
    """What each attempt came to inside a server, as {name: "possible" or the errno}, and who heard of it."""
    sink = Sink()
    victim = subprocess.Popen(["sleep", "60"])
    shutil.rmtree("kept", ignore_errors=True)
    os.mkdir("kept")
    file = pathlib.Path(os.path.abspath("private"))
    file.write_text("nobody's business")
    pathlib.Path("private.new").unlink(missing_ok=True)
    os.symlink(file, "kept/link")
    env = {"LD_PRELOAD": LEAK, "LEAK_PORT": str(sink.port), "LEAK_SOCKET": sink.name, "LEAK_FILE": str(file), "LEAK_STORE": "kept",
           "LEAK_STREAM": str(sink.inherited.fileno()), "LEAK_DATAGRAM": str(sink.datagram.fileno()), "LEAK_VICTIM": str(victim.pid),
           "ASAN_OPTIONS": "detect_leaks=0:verify_asan_link_order=0", **({"LEAK_UNCONFINED": "1"} if unconfined else {})}
    try:
        with Server("--store", "kept", env=env, fds=(sink.inherited.fileno(), sink.datagram.fileno())) as s:
            assert "refused by the kernel" in s.greeting, s.greeting
            s.get("/health")
            eventually(lambda: "leak end" in s.errors())
            assert s.post("/v1/responses", {"input": "Hello", "max_output_tokens": 5})["id"]
            s.stop()
            found = dict(re.findall(r"^leak (\S+) (\S+)$", s.errors(), re.M))
    finally:
        victim.kill()
        victim.wait()
    assert set(found) == ALL, set(found) ^ ALL
    return found, sink.got, "confined to the store" in s.greeting


def the_kernel_refuses_every_way_out():
    free, heard, _ = leak_out(unconfined=True)
    possible = {name for name in free if free[name] == "possible"}
    assert ALWAYS <= possible, f"without a sandbox not possible: {[(name, free[name]) for name in ALWAYS - possible]}"
    assert heard == {"tcp", "udp", "path", "abstract", "pair"}, heard
    print("cannot be tried on this machine:", ", ".join(f"{name} ({free[name]})" for name in sorted(ALL - possible)) or "nothing")
    found, heard, files = leak_out(unconfined=False)
    assert not heard, f"the leak reached {heard}"
    out = {name for name in found if found[name] == "possible"}
    if not files:  # the server has said so: this kernel has no Landlock
        out -= {name for name in out if "file" in name or name in ("list-folder", "write-proc", "environment-of-others")}
    if landlock() < 6:
        out.discard("signal-to-others")
    if landlock() < 3:
        out.discard("cut-file")
    assert not out, f"the sandbox leaves open: {sorted(out)}"


def landlock():
    import ctypes
    return ctypes.CDLL(None).syscall(444, None, 0, 1)


READABLE = ("/proc/self/", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/sys/vm/overcommit_memory", "/sys/devices/system/cpu",
            "/sys/fs/cgroup", "/dev/urandom", "/etc/localtime")
CALLS = "%network,%process,io_uring_setup,ptrace,unshare,msgget,openat,open,seccomp,landlock_restrict_self"


def trace(env=None):
    """The calls of a session of a server after its sandbox stands, one a line."""
    with Server("--store", "kept", wrap=("strace", "-D", "-f", "-qq", "-e", "signal=none", "-e", f"trace={CALLS}", "-o", "trace"), env=env) as s:
        s.get("/health")
        s.post("/v1/responses", {"input": "Hello", "max_output_tokens": 5})
        s.stream("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5})
        s.stream("/v1/messages", {"max_tokens": 5, "messages": [{"role": "user", "content": "http://127.0.0.1:1/ \\\\evil\\share"}]})
        image = {"type": "input_image", "image_url": "http://127.0.0.1:1/cat.png"}
        s.ask("POST", "/v1/responses", {"input": [{"role": "user", "content": [image]}]})
        s.ask("POST", "/v1/responses", {"input": "x", "tools": [{"type": "web_search"}, {"type": "mcp", "server_label": "s", "server_url": "http://127.0.0.1:1"}]})
        s.ask("POST", "/v1/chat/completions", "[" * 1000)
        s.ask("GET", "/v1/nothing", headers={"Host": "evil.example"})
        connection = s.connect()  # goes away in the middle
        connection.request("POST", "/v1/chat/completions", json.dumps({"messages": [{"role": "user", "content": "Hi"}], "stream": True}))
        connection.close()
        s.stop()
    eventually(lambda: "exit_group(0)" in pathlib.Path("trace").read_text(errors="replace"))
    text = pathlib.Path("trace").read_text(errors="replace")
    lines = [line.split(None, 1)[1] for line in text.splitlines()]
    start = max(i for i, line in enumerate(lines) if line.startswith("seccomp(SECCOMP_SET_MODE_FILTER") and line.endswith("= 0"))
    assert any(line.startswith("landlock_restrict_self") for line in lines[:start]) or landlock() < 1
    return lines[start + 1:]


def suspicious(line):
    """Of a call after the sandbox: whether it could be the beginning of a way out. Only root sees what its pointers lead to,
    since the process has given up being looked into."""
    harmless = ("accept4(", "accept(", "getsockname(", "getsockopt(", "setsockopt(", "recv", "shutdown(", "getpeername(", "exit(", "exit_group(",
                "<...", "+++", "kill(", "tgkill(", "wait4(", "rt_sig")
    if line.startswith(harmless):
        return False
    if line.startswith(("sendto(", "sendmsg(")):  # on a connection that came in: no address
        return not re.search(r"NULL, 0\)? *(=|<)", line) if line.startswith("sendto(") else "msg_name=NULL" not in line and "{" in line
    if line.startswith(("clone(", "clone3(")):  # a thread, or told that clone3 is missing
        return "CLONE_THREAD" not in line and not line.startswith("clone3(0x")
    if line.startswith(("open(", "openat(")):
        path = (re.search(r'"([^"]*)"', line) or ["", "kept/"])[1]
        return "= -1" not in line and not path.startswith((*READABLE, os.path.abspath("kept"), "kept/"))
    return True


def a_trace_of_a_session_shows_no_way_out():
    if not shutil.which("strace") or subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], capture_output=True).returncode:
        print("no strace here, or it may not trace: that part is left out")
        return
    lines = trace()
    assert sum(line.startswith("accept4(") for line in lines) >= 9 and any(line.startswith("sendto(") for line in lines) , "that was no session"
    found = [line for line in lines if suspicious(line)]
    assert not found, found
    sink = Sink()
    leaky = trace({"LD_PRELOAD": LEAK, "LEAK_PORT": str(sink.port), "LEAK_SOCKET": sink.name, "LEAK_FILE": "/none", "LEAK_STORE": "/none",
                   "LEAK_VICTIM": str(os.getpid()), "ASAN_OPTIONS": "detect_leaks=0:verify_asan_link_order=0"})
    found = " ".join(line for line in leaky if suspicious(line))
    for call in ("socket(AF_INET, SOCK_STREAM", "socket(AF_INET, SOCK_DGRAM", "socket(AF_UNIX", "socket(AF_VSOCK", "socketpair(", "io_uring_setup(",
                 "execve(", "ptrace(", "unshare(", "msgget("):
        assert call in found, f"the trace would not show {call}"


the_program_imports_no_way_out()
the_kernel_refuses_every_way_out()
a_trace_of_a_session_shows_no_way_out()
