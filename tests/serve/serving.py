"""What the scripts of this folder share: a server of the toy model, and requests to it with nothing but the standard
library. usage of each script: SCRIPT PROGRAM TESTS TOOLS (see tests/CMakeLists.txt), in an empty folder that is HOME."""
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

program, tests, tools = sys.argv[1:4]
# Builds with a sanitizer are slow, and keep memory that was freed.
SANITIZED = any(name in pathlib.Path(program).read_bytes() for name in (b"__asan_init", b"__tsan_init"))
PATIENCE = 600 if SANITIZED else 60


def make_toy():
    if not pathlib.Path("toy").exists():
        subprocess.run([f"{tools}/make_toy", "hf", "toy"], check=True)


# A model that takes some 10 ms a token, and what keeps an answer from ending before its limit: no control token comes.
SLOW = ("-m", "slow", "--lookup", "off") + (() if SANITIZED else ("--isa", "scalar"))
LONG = {"logit_bias": {str(id): -100 for id in range(259, 280)}}


def make_slow():
    if not pathlib.Path("slow").exists():
        subprocess.run([f"{tools}/make_toy", "hf", "slow", "large"], check=True)


class Server:
    """A running server; its log is in self.log."""

    def __init__(self, *options, wrap=(), env=None, fds=()):
        make_toy()
        if "slow" in options:
            make_slow()
        self.log = f"log{time.monotonic_ns()}"
        # LeakSanitizer looks into the process by ways that the sandbox has closed.
        env = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0", "TSAN_OPTIONS": "atexit_sleep_ms=0", **(env or {})}
        self.process = subprocess.Popen(
            [*wrap, program, "serve", "-m", "toy", "--port", "0", "--context", "2048", "--threads", "1", *options],
            stdout=subprocess.PIPE, stderr=open(self.log, "wb"), env=env, pass_fds=fds)
        first = self.process.stdout.readline().decode()
        assert " at http" in first, f"no address: {first} {self.errors()}"
        self.port = int(first.split("/v1")[0].rsplit(":", 1)[1])
        self.headers = {}  # of get() and metric()
        self.greeting = first + "".join(self.process.stdout.readline().decode() for _ in range(3))

    def errors(self):
        return pathlib.Path(self.log).read_text(errors="replace")

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def ask(self, method, path, body=None, headers=None):
        """(status, headers, JSON or text)"""
        connection = self.connect()
        connection.request(method, path, json.dumps(body) if isinstance(body, (dict, list)) else body, headers or {})
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        is_json = answer.getheader("content-type", "").startswith("application/json")
        return answer.status, answer.headers, json.loads(data) if is_json and data else data.decode()

    def post(self, path, body, headers=None):
        status, _, answer = self.ask("POST", path, body, headers)
        assert status == 200, f"{path} {body}: {status} {answer}"
        return answer

    def get(self, path):
        status, _, answer = self.ask("GET", path, headers=self.headers)
        assert status == 200, f"{path}: {status} {answer}"
        return answer

    def stream(self, path, body, headers=None):
        """The events of a stream: a list of (name, data)."""
        status, head, text = self.ask("POST", path, {**body, "stream": True}, headers)
        assert status == 200 and head["content-type"].startswith("text/event-stream"), f"{status} {text}"
        return events_of(text)

    def metric(self, name):
        for line in self.get("/metrics").splitlines():
            if line.startswith(f"gossamer_{name} "):
                return float(line.split()[1])
        raise AssertionError(f"no metric {name}")

    def labelled(self, name, label):
        for line in self.get("/metrics").splitlines():
            if line.startswith(f"gossamer_{name}{{") and f'="{label}"' in line:
                return float(line.split()[1])
        raise AssertionError(f"no metric {name} of {label}")

    def stop(self, number=signal.SIGTERM, status=0):
        self.process.send_signal(number)
        found = self.process.wait(30)
        assert found == status, f"ended with {found}, not {status}: {self.errors()}"

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if kind:
            print(self.errors()[-2000:], file=sys.stderr)


class Reader:
    """A request whose answer is read as it comes, in a thread of its own. self.text is what came so far, head and all, a
    character for each byte."""

    def __init__(self, server, path, body, headers=None, read=True):
        self.text, self.socket = "", socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
        data = json.dumps(body).encode()
        head = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        self.socket.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(data)}\r\n"
                            f"{head}\r\n".encode() + data)
        self.thread = threading.Thread(target=self.take, daemon=True)
        if read:
            self.thread.start()

    def take(self):
        try:
            while data := self.socket.recv(1 << 16):
                self.text += data.decode("latin-1")
        except OSError:
            pass

    def whole(self):
        self.thread.join(PATIENCE)
        return self.text

    def events(self):
        """Of a stream that is over, which must not have broken off."""
        rest, body = self.whole().encode("latin-1").split(b"\r\n\r\n", 1)[1], b""
        while rest:
            size, rest = rest.split(b"\r\n", 1)
            body, rest, size = body + rest[:int(size, 16)], rest[int(size, 16) + 2:], int(size, 16)
        assert size == 0, f"it broke off: {self.text[-200:]!r}"
        return events_of(body.decode())

    def shut(self):
        self.socket.shutdown(socket.SHUT_WR)

    def leave(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def events_of(text):
    events = []
    for block in text.split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if lines:
            fields = dict(line.split(": ", 1) for line in lines)
            events.append((fields.get("event"), fields["data"]))
    return events


def eventually(what, seconds=PATIENCE):
    """Waits until what() is true."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)
