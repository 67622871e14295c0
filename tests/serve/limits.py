"""Each limit of docs/server.md at its edge, on the running server: what is exactly as large as the limit passes, what is
one larger is refused as documented. Where an edge needs a smaller limit to be reached, tests/net has it:

  request line, headers, their number    tests/net/test_server.c
  a body; all bodies                     here, with the 16 MiB that it may have, and test_server.c; test_server.c
  slow heads, pauses, slow bodies        here, with the 10 s that they may take, and tests/net/test_connections.c
  a whole body, an idle connection       test_connections.c
  a stream that nobody reads             test_connections.c
  connections, those of one address      many.py, and test_connections.c
  requests at work                       here, and test_connections.c
  JSON, numbers of things, schemas       here
  prompt with answer; the queue          here
  WebSockets and their messages          tests/net/test_socket.c"""
import json
import os
import pathlib
import socket
import threading
import time

from serving import LONG, PATIENCE, SLOW, Reader, Server, eventually, make_slow

CHAT, RESPONSES, COMPLETIONS, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/completions", "/v1/messages"
HI = [{"role": "user", "content": "Hi"}]
MIB = 1 << 20
CANARY = "canary-51c7"


def edge(s, path, body, status, code=None, headers=None):
    """Asks with a body, JSON or text, and expects an answer of that kind that repeats nothing of the body's."""
    found, head, answer = s.ask("POST", path, body, headers)
    assert found == status, f"{path} {str(body)[:120]}: {found}, not {status}: {str(answer)[:300]}"
    if status >= 400:
        error = answer["error"]
        assert error["message"] and error["type"], answer
        assert CANARY not in str(answer), answer
        if code:
            assert error["code"] == code, answer
    return head, answer


def chat(more):
    return {"messages": HI, "max_tokens": 1, **more}


def bodies(s):
    """16 MiB pass as a body, and are then too long for the model."""
    frame = '{"prompt":"%s"}'
    fill = 16 * MIB - len(frame) + 2
    edge(s, COMPLETIONS, frame % ("a" * fill), 400, "context_length_exceeded")
    client = socket.create_connection(("127.0.0.1", s.port), timeout=PATIENCE)  # 413 before the body is read
    client.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (16 * MIB + 1))
    assert b" 413 " in client.recv(100)
    client.close()


def json_limits(s):
    def deep(n):
        return '{"messages":[{"role":"user","content":"Hi"}],"max_tokens":1,"x":%s%s}' % ("[" * (n - 1), "]" * (n - 1))

    edge(s, CHAT, deep(64), 200)
    edge(s, CHAT, deep(65), 400, "invalid_json")
    edge(s, CHAT, chat({"x": {str(i): 1 for i in range(4096)}}), 200)
    edge(s, CHAT, chat({"x": {CANARY + str(i): 1 for i in range(4097)}}), 400)
    rest = 8  # values of the body below beside those of x: itself, 2 lists, a message and its 2 members, max_tokens, x's first
    body = '{"messages":[{"role":"user","content":"Hi"}],"max_tokens":1,"x":[%s]}'
    edge(s, CHAT, body % ",".join("1" * (1000000 - rest + 1)), 200)
    edge(s, CHAT, body % ",".join("1" * (1000000 - rest + 2)), 400, "invalid_json")
    for bad in (b'"\xff%s"', b'"\xed\xa0\x80%s"', b'"\\ud800%s"', b'"%s\\udc00\\ud800"', b'"\\u0000%s"', b'1,"max_tokens":"%s"', b"1e999",
                b"NaN", b"Infinity", b"'%s'", b"01", b'"%s', b'"\n%s"', b'"%s"}{'):
        text = b'{"messages":[{"role":"user","content":"Hi"}],"max_tokens":%s}' % bad.replace(b"%s", CANARY.encode())
        edge(s, CHAT, text, 400)
    for wrong in (0, -1, 1.5, 1 << 31, 1 << 63, 1 << 64, 1 << 4000, "5", [], {}, True):
        edge(s, CHAT, chat({"max_tokens": wrong}), 400)


def counts(s):
    def tools(n):
        return [{"type": "function", "function": {"name": f"f{i}"}} for i in range(n)]

    edge(s, CHAT, chat({"tools": tools(128)}), 400, "context_length_exceeded")  # the toy's context is 2,048 bytes
    edge(s, CHAT, chat({"tools": tools(129)}), 400, "invalid_value")
    edge(s, CHAT, chat({"n": 8}), 200)
    edge(s, CHAT, chat({"n": 9}), 400)
    edge(s, CHAT, chat({"stop": [CANARY + str(i) for i in range(16)]}), 200)
    edge(s, CHAT, chat({"stop": [CANARY + str(i) for i in range(17)]}), 400)
    edge(s, CHAT, chat({"logprobs": True, "top_logprobs": 20}), 200)
    edge(s, CHAT, chat({"logprobs": True, "top_logprobs": 21}), 400)
    edge(s, RESPONSES, {"input": "Hi", "max_output_tokens": 1, "top_logprobs": 20}, 200)
    edge(s, RESPONSES, {"input": "Hi", "max_output_tokens": 1, "top_logprobs": 21}, 400)
    edge(s, COMPLETIONS, {"prompt": ["a"] * 16, "max_tokens": 1}, 200)
    edge(s, COMPLETIONS, {"prompt": ["a"] * 17, "max_tokens": 1}, 400)
    edge(s, CHAT, chat({"logit_bias": {str(i): 1 for i in range(320)}}), 200)
    edge(s, CHAT, chat({"logit_bias": {str(i): 1 for i in range(321)}}), 400)


def schemas(s):
    def form(schema):
        return {"messages": HI, "max_tokens": 1, "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}}

    def nested(n):  # schemas inside each other
        schema = {"type": "integer"}
        for _ in range(n - 1):
            schema = {"type": "array", "items": schema}
        return schema

    edge(s, CHAT, form(nested(32)), 200)
    head, answer = edge(s, CHAT, form(nested(33)), 400)
    assert "32" in answer["error"]["message"] and answer["error"]["code"] != "context_length_exceeded", answer
    bare = len(json.dumps({"description": "", "type": "integer"}))
    edge(s, CHAT, form({"description": "d" * (256 * 1024 - bare), "type": "integer"}), 400, "context_length_exceeded")  # it is shown
    head, answer = edge(s, CHAT, form({"description": "d" * (256 * 1024 - bare + 1), "type": "integer"}), 400)
    assert "262144" in answer["error"]["message"] and answer["error"]["code"] != "context_length_exceeded", answer


def contexts(s):
    """2,048 positions hold a prompt and the answer to it."""
    ids = [65] * 2047
    edge(s, COMPLETIONS, {"prompt": ids, "max_tokens": 1}, 200)
    edge(s, COMPLETIONS, {"prompt": ids, "max_tokens": 2}, 400, "context_length_exceeded")
    edge(s, COMPLETIONS, {"prompt": ids + [65], "max_tokens": 1}, 400, "context_length_exceeded")
    used = s.post(CHAT, chat({}))["usage"]["prompt_tokens"]
    room = 2048 - used
    answer = s.post(CHAT, {"messages": [{"role": "user", "content": "Hi" + "x" * (room - 2)}], "max_tokens": 2})
    assert answer["usage"]["prompt_tokens"] == 2046
    _, answer = edge(s, CHAT, {"messages": [{"role": "user", "content": "Hi" + "x" * (room - 1)}], "max_tokens": 2}, 400, "context_length_exceeded")
    assert "2047" in answer["error"]["message"] and "2048" in answer["error"]["message"], answer
    _, answer = edge(s, RESPONSES, {"input": "Hi" + "x" * 2048, "truncation": "auto", "max_output_tokens": 16}, 400, "context_length_exceeded")
    answer = s.post(RESPONSES, {"input": "Hi" + "x" * (room - 20), **LONG})  # no limit of its own: it ends with the context
    assert answer["status"] == "incomplete" and answer["usage"]["total_tokens"] <= 2048, answer


def fill(s, body, n, headers=None):
    """Four requests at work and n in line."""
    work = []
    for count, gauge in ((4, "turns_running"), (n, "turns_waiting")):
        work += [Reader(s, COMPLETIONS, {**body, "seed": i}, headers) for i in range(count)]
        eventually(lambda: s.metric(gauge) == count)
    return work


def queue():
    """Four run and 64 wait; of one key 32."""
    body = {"prompt": "Hi", "max_tokens": 1500, **LONG}
    with Server(*SLOW, "--no-store") as s:
        work = fill(s, body, 64)
        head, _ = edge(s, COMPLETIONS, body, 503)
        assert 1 <= int(head["retry-after"]) <= 60
        head, _ = edge(s, MESSAGES, {"messages": HI, "max_tokens": 5}, 503)
        refused = s.metric("turns_refused_total")
        work.pop().leave()
        eventually(lambda: s.metric("turns_waiting") == 63)
        work.append(Reader(s, COMPLETIONS, body))
        eventually(lambda: s.metric("turns_waiting") == 64)
        assert s.metric("turns_refused_total") == refused == 2
        for reader in work:
            reader.leave()
    pathlib.Path("keys").write_text("alice sk-aaaaaaaaaaaaaaaaaaaaaa\nbob sk-bbbbbbbbbbbbbbbbbbbbbb\n")
    os.chmod("keys", 0o600)
    with Server(*SLOW, "--no-store", "--api-key-file", "keys") as s:
        alice, bob = ({"Authorization": f"Bearer sk-{letter * 22}"} for letter in "ab")
        s.headers = bob
        work = fill(s, body, 32, alice)
        head, _ = edge(s, COMPLETIONS, body, 429, "rate_limit_exceeded", alice)
        assert int(head["retry-after"]) >= 1
        other = Reader(s, COMPLETIONS, body, headers=bob)
        eventually(lambda: s.metric("turns_waiting") == 33)
        work.pop(0).leave()  # the free place goes to who has none
        eventually(lambda: s.metric("turns_waiting") == 32)
        for reader in work:
            reader.leave()
        eventually(lambda: s.metric("turns_waiting") == 0)
        assert s.metric("turns_running") == 1, "the other key was not the next"
        other.leave()


def requests_at_work():
    """256 at once, /health the last of them. One that was answered counts until its thread has ended, so whoever is refused
    meanwhile is replaced."""
    with Server("-m", "slow", "--no-store", "--parallel", "64", "--queue", "192") as s:
        work = []

        def are_at_work(n):
            work[:] = [reader for reader in work if reader.thread.is_alive()]
            work.extend(Reader(s, COMPLETIONS, {"prompt": "Hi", "max_tokens": 1500, **LONG}) for _ in range(n - len(work)))
            time.sleep(0.3)
            return all(reader.thread.is_alive() for reader in work)

        eventually(lambda: are_at_work(255))
        eventually(lambda: s.ask("GET", "/health")[0] == 200)
        eventually(lambda: are_at_work(256))
        assert {s.ask("GET", "/health")[0] for _ in range(20)} == {503}
        work.pop().leave()
        eventually(lambda: s.ask("GET", "/health")[0] == 200)
        for reader in work:
            reader.leave()


def slow_clients(s):
    """Each in a connection of its own, all at once: (what is sent, how often a byte follows, when the end is due)."""
    post = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"
    cases = {"nothing": (b"", 0, 10), "half a head": (b"GET /health HTT", 0, 10), "a head byte by byte": (b"GET /health HTTP/1.1\r\nx: ", 0.5, 10),
             "a pause in the body": (post + b"{", 0, 10), "a body byte by byte": (post, 0.05, 10)}
    found = {}

    def run(name):
        sent, pause, _ = cases[name]
        start, answer = time.monotonic(), b""
        client = socket.create_connection(("127.0.0.1", s.port), timeout=pause or 30)
        client.sendall(sent)
        while True:
            try:
                data = client.recv(1000)
                answer += data
                if not data:
                    break
            except TimeoutError:
                client.sendall(b"a")
            except ConnectionError:
                break
        found[name] = time.monotonic() - start, answer.split(b"\r\n")[0]

    threads = [threading.Thread(target=run, args=(name,), daemon=True) for name in cases]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join(30)
    for name, (_, _, due) in cases.items():
        took, line = found[name]
        assert line == b"HTTP/1.1 408 Request Timeout" and due - 0.1 < took < due + 5, (name, took, line)
    yield


make_slow()
with Server() as server:
    slow = slow_clients(server)
    next(slow)
    bodies(server)
    json_limits(server)
    counts(server)
    schemas(server)
    contexts(server)
    queue()
    requests_at_work()
    next(slow)
    assert CANARY not in server.errors()
    server.stop()
