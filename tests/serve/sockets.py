"""The Responses API over WebSockets: the same events as over HTTP, one response after the other, what is remembered and
what is not, and clients that leave, wait or ask for the wrong thing."""
import base64
import json
import os
import pathlib
import signal
import socket
import ssl
import struct
import subprocess
import time

from serving import Server, eventually

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class Socket:
    """A WebSocket client."""

    def __init__(self, server, headers=(), tls=None):
        self.stream = socket.create_connection(("127.0.0.1", server.port), 60)
        if tls:
            self.stream = tls.wrap_socket(self.stream, server_hostname="localhost")
        key = base64.b64encode(os.urandom(16)).decode()
        lines = ["GET /v1/responses HTTP/1.1", "Host: localhost", "Upgrade: websocket", "Connection: Upgrade",
                 "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", *headers, "", ""]
        self.stream.sendall("\r\n".join(lines).encode())
        head = b""
        while not head.endswith(b"\r\n\r\n") and (byte := self.stream.recv(1)):
            head += byte
        self.status = int(head.split()[1])

    def send_frame(self, opcode, payload):
        mask = os.urandom(4)
        n = len(payload)
        size, form = (n, "!BB") if n < 126 else (126, "!BBH") if n < 65536 else (127, "!BBQ")
        head = struct.pack(form, 128 | opcode, 128 | size, *([n] if n > 125 else []))
        self.stream.sendall(head + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload)))

    def exactly(self, n):
        data = b""
        while len(data) < n:
            part = self.stream.recv(n - len(data))
            assert part, "the connection is over"
            data += part
        return data

    def frame(self):
        first, n = self.exactly(2)
        n = struct.unpack("!H", self.exactly(2))[0] if n == 126 else struct.unpack("!Q", self.exactly(8))[0] if n == 127 else n
        return first & 15, self.exactly(n)

    def create(self, **body):
        self.send_frame(TEXT, json.dumps({"type": "response.create", **body}).encode())

    def events(self):
        """Up to the terminal one or an error."""
        found = []
        while not found or found[-1]["type"] not in ("response.completed", "response.incomplete", "response.failed", "error"):
            opcode, payload = self.frame()
            assert opcode in (TEXT, PING), (opcode, payload)
            if opcode == TEXT:
                found.append(json.loads(payload))
        return found

    def ask(self, **body):
        self.create(**body)
        return self.events()

    def refusal(self, **body):
        event = self.ask(**body)[-1]
        assert event["type"] == "error" and event["status"] >= 400, event
        return event["error"]["code"]

    def close(self):
        self.stream.close()


def long_body(s):
    """A request whose answer goes on for long; the seed makes it the same each time."""
    for seed in range(50):
        body = {"input": "Hello", "max_output_tokens": 1700, "seed": seed}
        if s.post("/v1/responses", body)["usage"]["output_tokens"] > 1500:
            return body
    raise AssertionError("every answer is short")


def a_socket_gives_the_events_of_a_stream(s):
    body = {"input": "Hello", "max_output_tokens": 30, "seed": 5}
    ws = Socket(s)
    assert ws.status == 101
    over_socket = ws.ask(**body)
    over_http = [json.loads(data) for _, data in s.stream("/v1/responses", body)]
    assert [e["type"] for e in over_socket] == [e["type"] for e in over_http]
    assert [e["sequence_number"] for e in over_socket] == list(range(len(over_socket)))
    text = [[e.get("delta") for e in events if "delta" in e] for events in (over_socket, over_http)]
    assert "".join(text[0]) == "".join(text[1])
    stored = s.get(f"/v1/responses/{over_socket[-1]['response']['id']}")
    assert stored == over_socket[-1]["response"], stored
    ids = {e["response"]["id"] for _ in range(3) for e in ws.ask(**body) if "response" in e}
    assert len(ids) == 3, ids
    ws.close()


def messages_sent_together_are_answered_one_after_the_other(s):
    ws = Socket(s)
    for seed in range(4):
        ws.create(input="Hello", max_output_tokens=8, seed=seed, store=False)
    for seed in range(4):
        events = ws.events()
        assert {e["response"]["seed"] for e in events if "response" in e} == {seed}, events
    ws.close()


def an_unstored_response_goes_on_where_it_was_made_and_only_there(s):
    ws, other = Socket(s), Socket(s)
    first = ws.ask(input="Hello", max_output_tokens=8, store=False)[-1]["response"]
    assert s.ask("GET", f"/v1/responses/{first['id']}")[0] == 404
    assert other.refusal(input="x", previous_response_id=first["id"]) == "previous_response_not_found"
    second = ws.ask(input="More", max_output_tokens=8, previous_response_id=first["id"])[-1]["response"]
    assert second["store"] is False and second["usage"]["input_tokens"] > first["usage"]["total_tokens"], second
    answer = {"type": "function_call_output", "call_id": "call_none", "output": ""}
    assert ws.refusal(input=[answer], previous_response_id=second["id"], store=False) == "tool_call_not_found"
    assert ws.refusal(input="x", previous_response_id=second["id"], store=False) == "previous_response_not_found"
    assert ws.ask(input="x", max_output_tokens=4)[-1]["type"] == "response.incomplete"
    ws.close()
    other.close()


def an_input_can_be_sent_ahead(s):
    ws = Socket(s)
    ahead = ws.ask(input="Hello " * 20, store=False, generate=False)
    assert [e["type"] for e in ahead] == ["response.created", "response.in_progress", "response.completed"], ahead
    assert ahead[-1]["response"]["output"] == [] and ahead[-1]["response"]["usage"]["output_tokens"] == 0
    alone = ws.ask(input="And now?", max_output_tokens=4, store=False)[-1]["response"]
    ahead = ws.ask(input="Hello " * 20, generate=False)[-1]["response"]
    after = ws.ask(input="And now?", max_output_tokens=4, previous_response_id=ahead["id"])[-1]["response"]
    assert after["usage"]["input_tokens"] >= alone["usage"]["input_tokens"] + 20, (alone["usage"], after["usage"])
    ws.close()


def messages_that_make_no_sense_leave_the_socket_open(s):
    ws = Socket(s)
    ws.send_frame(TEXT, b"{")
    assert ws.events()[-1]["error"]["code"] == "invalid_json"
    assert ws.refusal(type="session.update") == "unsupported_event"
    assert ws.refusal(input="x", stream=False) == "invalid_value"
    assert ws.refusal(input="x " * 4000) == "context_length_exceeded"
    assert ws.ask(input="x", max_output_tokens=4)[-1]["type"] == "response.incomplete"
    ws.close()


def a_ping_is_answered_during_an_answer_and_leaving_ends_it(s):
    for leave in (lambda ws: ws.close(), lambda ws: ws.send_frame(CLOSE, b"\x03\xe8")):
        ws = Socket(s)
        ws.create(**long)
        assert ws.frame()[0] == TEXT
        ws.send_frame(PING, b"busy?")
        while (frame := ws.frame())[0] == TEXT:
            pass
        assert frame == (PONG, b"busy?")
        cancelled = s.metric('turns_total{finish="cancelled"}')
        leave(ws)
        eventually(lambda: s.metric('turns_total{finish="cancelled"}') > cancelled)
        ws.close()
    eventually(lambda: " GET /v1/responses 101 " in s.errors())


def strangers_get_no_socket():
    pathlib.Path("keys").write_text("alice sk-aaaaaaaaaaaaaaaaaaaaaa\nbob sk-bbbbbbbbbbbbbbbbbbbbbb\n")
    os.chmod("keys", 0o600)
    alice, bob = ([f"Authorization: Bearer sk-{letter * 22}"] for letter in "ab")
    with Server("--api-key-file", "keys") as s:
        assert Socket(s).status == 401
        assert Socket(s, [*alice, "Origin: http://evil.example"]).status == 403
        ws = Socket(s, alice)
        mine = ws.ask(input="Hello", max_output_tokens=4)[-1]["response"]
        theirs = Socket(s, bob)
        assert theirs.refusal(input="x", previous_response_id=mine["id"]) == "previous_response_not_found"
        assert s.ask("GET", "/v1/responses", headers={"Authorization": alice[0][15:]})[0] == 426


def tls_carries_a_socket():
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
                    "2", "-subj", "/CN=localhost", "-keyout", "tls.key", "-out", "tls.crt"], check=True, capture_output=True)
    tls = ssl.create_default_context(cafile="tls.crt")
    tls.check_hostname = False
    with Server("--tls-cert", "tls.crt", "--tls-key", "tls.key") as s:
        ws = Socket(s, tls=tls)
        assert ws.status == 101
        for seed in range(3):
            assert ws.ask(input="Hello" * 50, max_output_tokens=20, seed=seed)[-1]["type"] == "response.incomplete"
        ws.send_frame(CLOSE, b"\x03\xe8")
        assert ws.frame() == (CLOSE, b"\x03\xe8")
        gone = Socket(s, tls=tls)
        gone.create(**long)
        gone.frame()
        gone.close()
        eventually(lambda: s.errors().count(" 101 ") == 2)
        idle = Socket(s, tls=tls)
        began = time.monotonic()
        s.process.send_signal(signal.SIGTERM)
        assert idle.frame() == (CLOSE, b"\x03\xe9")
        assert s.process.wait(20) == 0 and time.monotonic() - began < 8


def stopping_ends_answers_with_their_last_event(s):
    idle, ws = Socket(s), Socket(s)
    ws.create(**long)
    assert ws.frame()[0] == TEXT
    s.process.send_signal(signal.SIGTERM)
    assert idle.frame() == (CLOSE, b"\x03\xe9")
    assert ws.events()[-1]["type"] == "response.incomplete"
    assert ws.frame() == (CLOSE, b"\x03\xe9")
    assert s.process.wait(30) == 0


with Server() as server:
    long = long_body(server)
    for test in (a_socket_gives_the_events_of_a_stream, messages_sent_together_are_answered_one_after_the_other,
                 an_unstored_response_goes_on_where_it_was_made_and_only_there,
                 an_input_can_be_sent_ahead, messages_that_make_no_sense_leave_the_socket_open, a_ping_is_answered_during_an_answer_and_leaving_ends_it,
                 stopping_ends_answers_with_their_last_event):
        test(server)
        print("ok  ", test.__name__)
for test in (strangers_get_no_socket, tls_carries_a_socket):
    test()
    print("ok  ", test.__name__)
