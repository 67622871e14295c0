"""Drives gossamer through a pseudo terminal as a person would: terminal.py PROGRAM run|chat, in a folder that holds
`toy`. HOME is a scratch folder."""
import errno
import fcntl
import glob
import json
import os
import pty
import select
import signal
import stat
import struct
import sys
import termios

PATIENCE = 60  # seconds; generous, for sanitizers on a busy machine


class Terminal:
    def __init__(self, *command):
        self.seen = ""
        self.all = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm"
            os.execv(command[0], command)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))

    def read(self, seconds):
        """Takes in what the program wrote; false when it has closed the terminal."""
        ready, _, _ = select.select([self.fd], [], [], seconds)
        if not ready:
            os.kill(self.pid, signal.SIGKILL)
            raise AssertionError(f"nothing came for {seconds:.0f} s; there was {self.seen[-600:]!r}")
        try:
            data = os.read(self.fd, 65536)
        except OSError as error:
            if error.errno != errno.EIO:  # what Linux says when the other side is closed
                raise
            data = b""
        self.all += data
        self.seen += data.decode(errors="replace")
        return bool(data)

    def expect(self, text):
        """Waits for text and forgets everything up to it."""
        while text not in self.seen:
            if not self.read(PATIENCE):
                raise AssertionError(f"{text!r} did not come; there was {self.seen[-600:]!r}")
        before, self.seen = self.seen.split(text, 1)
        return before

    def send(self, text):
        os.write(self.fd, text.encode())

    def prompt(self):
        """Waits for the prompt; from then on no key may be lost to the terminal's line mode."""
        before = self.expect(">\x1b[0m ")
        assert not termios.tcgetattr(self.fd)[3] & (termios.ICANON | termios.ECHO), "a prompt in line mode"
        return before

    def ask(self, line):
        """Types a line and returns what is on the screen until the next prompt."""
        self.send(line + "\r")
        return self.prompt()

    def end(self):
        while self.read(PATIENCE):
            pass
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)


def check_run(program):
    # With this seed the toy says a bell; it must be seen and not heard.
    for seed in range(40):
        answer = Terminal(program, "run", "-m", "toy", "--seed", str(seed), "hello there")
        assert answer.end() == 0
        body = answer.all.replace(b"\x1b[0m", b"").replace(b"\x1b[2m", b"").replace(b"\r\x1b[K", b"")
        controls = [c for c in body if c < 32 and c not in b"\r\n\t"]
        assert not controls, (seed, body)
        if "\N{SYMBOL FOR BELL}" in answer.all.decode(errors="replace"):
            break
    else:
        raise AssertionError("no seed makes the toy ring the bell: the test shows nothing")

    answer = Terminal(program, "run", "-m", "toy", "--context", "131072", "--isa", "scalar", "a" * 100000)
    answer.expect("reading")
    answer.send("\x03")
    assert answer.end() == 130


def check_chat(program, *options):
    chat = Terminal(program, "chat", "-m", "toy", "--context", "131072", "--max-tokens", "12", *options)
    chat.expect("effort medium")
    chat.prompt()

    screen = chat.ask("/help")
    for word in ("/new", "/retry", "/effort", "/system", "/reasoning", "/unfold", "/history", "/save", "/quit"):
        assert word in screen, screen
    assert "effort: low" in chat.ask("/effort low")
    assert "is not none, low" in chat.ask("/effort huge")
    assert "there is no command '/nonsense'" in chat.ask("/nonsense")
    assert "instructions set" in chat.ask("/system Be brief.")
    assert "Be brief." in chat.ask("/system")
    assert "reasoning: fold" in chat.ask("/reasoning fold")
    chat.send("/reas\t")
    chat.expect("oning")
    assert "reasoning: hide" in chat.ask("hide")

    assert "of the context used" in chat.ask("first question")
    chat.send("second \\\r")
    assert "of the context used" in chat.ask("question")
    chat.send('"""\rthird\r\r')
    chat.send("question\r")
    assert "of the context used" in chat.ask('"""')
    chat.send("pasted: \x1b[200~four\rlines\x1b[201~")
    chat.expect("[paste 1]")
    assert "of the context used" in chat.ask("")
    assert "of the context used" in chat.ask("Grüße 你好")
    assert "of the context used" in chat.ask("/retry")
    screen = chat.ask("/history")
    for text in ("first question", "second \r\nquestion", "third\r\n\r\nquestion", "pasted: four\r\nlines", "Grüße 你好"):
        assert text in screen, (text, screen)

    assert "saved" in chat.ask("/save copy.json")

    chat.send("half a line\x03")  # Ctrl-C at the prompt drops the line
    chat.expect("leaves")
    chat.prompt()
    chat.send("\x1b[200~" + "long " * 8000 + "\x1b[201~\r")  # .. and during an answer stops the answer alone
    chat.expect("reading")
    chat.send("\x03")
    assert "stopped" in chat.prompt()
    assert "a new conversation" in chat.ask("/new")
    assert "of the context used" in chat.ask("after the interruption")
    chat.send("\x04")
    assert chat.end() == 0

    copy = json.load(open("copy.json"))
    asked = [message["content"] for message in copy["messages"] if message["role"] == "user"]
    asked = [text if isinstance(text, str) else text[0]["text"] for text in asked]
    assert asked[:5] == ["first question", "second \nquestion", "third\n\nquestion", "pasted: four\nlines", "Grüße 你好"], asked
    return copy


def check_chats(program):
    copy = check_chat(program)
    first, kept = sorted(glob.glob(os.environ["HOME"] + "/.local/share/gossamer/chats/*.json"))
    assert stat.S_IMODE(os.stat(first).st_mode) == 0o600
    assert json.load(open(first))["messages"][: len(copy["messages"])] == copy["messages"]

    chat = Terminal(program, "chat", "-m", "toy", "--context", "131072", "--max-tokens", "12", "--continue")
    chat.prompt()
    screen = chat.ask("/history")
    assert "after the interruption" in screen and kept in screen
    assert "Be brief." in chat.ask("/system")
    chat.send("\x1b[A")  # the up arrow brings back what was asked
    chat.expect("after the interruption")
    assert "of the context used" in chat.ask(" indeed")
    assert "a new conversation" in chat.ask("/new")
    assert "nothing was said yet" in chat.ask("/history")
    chat.send("/quit\r")
    assert chat.end() == 0
    assert "after the interruption indeed" in open(kept).read()

    # A given file is made, and continued.
    for n in (1, 2):
        chat = Terminal(program, "chat", "-m", "toy", "--max-tokens", "4", "--history", "mine.json", "--fold-reasoning")
        chat.prompt()
        chat.ask(f"question {n}")
        chat.send("\x04")
        assert chat.end() == 0
    assert stat.S_IMODE(os.stat("mine.json").st_mode) == 0o600
    assert "question 1" in open("mine.json").read() and "question 2" in open("mine.json").read()

    # Being ended from outside is being interrupted.
    chat = Terminal(program, "chat", "-m", "toy", "--no-history")
    chat.prompt()
    os.kill(chat.pid, signal.SIGHUP)
    assert chat.end() != 0
    assert len(glob.glob(os.environ["HOME"] + "/.local/share/gossamer/chats/*.json")) == 2


if __name__ == "__main__":
    {"run": check_run, "chat": check_chats}[sys.argv[2]](sys.argv[1])
