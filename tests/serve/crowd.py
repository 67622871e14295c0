"""One request never touches another. A crowd of good requests of all wires, each with a mark of its own, is answered bit
for bit as each was answered alone, while others send what breaks servers: deep and broken JSON, bad UTF-8, huge heads,
schemas that explode, floods of tools; and go away in the middle. (That answers also come out the same when memory is
scarce is tests/engine/test_crowd.c.) The last argument: for how many seconds; some hundred of them with a sanitizer's
build look for races."""
import json
import random
import socket
import sys
import threading
import time

from serving import LONG, PATIENCE, Server, events_of

CHAT, RESPONSES, COMPLETIONS, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/completions", "/v1/messages"
SECONDS = float(sys.argv[4])
ENOUGH, PATIENCE = 20, 120  # so many of either kind, if need be for so many seconds more
GOOD, HOSTILE = 6, 4
VOLATILE = {"id", "created", "created_at", "completed_at", "call_id", "tool_call_id", "usage", "item_id", "response_id", "seed", "store"}


def lasting(value):
    """An answer without what differs from one time to the next: ids, clocks, what was cached."""
    if isinstance(value, dict):
        return {name: lasting(item) for name, item in value.items() if name not in VOLATILE}
    return [lasting(item) for item in value] if isinstance(value, list) else value


def good(i):
    """(path, body) of the i-th good request; the mark is in it, and only its own may come back."""
    mark = f"mark-{i * 7919 % 100003:05d}"
    person = {"type": "object", "properties": {"mark": {"const": mark}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
              "required": ["mark", "age"], "additionalProperties": False}
    common = {"role": "user", "content": "Once upon a time " * (i % 3) + mark}
    return [
        (CHAT, {"messages": [common], "max_tokens": 60, "seed": i, "logprobs": True, "top_logprobs": 2}),
        (CHAT, {"messages": [common], "max_tokens": 90, "seed": i, "reasoning_effort": "none",
                "response_format": {"type": "json_schema", "json_schema": {"name": "it", "strict": True, "schema": person}}}),
        (RESPONSES, {"input": [{**common, "type": "message"}], "max_output_tokens": 40, "seed": i, "store": i % 2 == 0, **LONG}),
        (COMPLETIONS, {"prompt": mark * 40, "max_tokens": 50, "seed": i, "logprobs": 1, **LONG}),
        (COMPLETIONS, {"prompt": [mark, mark[::-1]], "n": 2, "max_tokens": 20, "seed": i, **LONG}),
        (MESSAGES, {"messages": [common], "system": mark, "max_tokens": 40, "temperature": 0}),
        ("/v1/tokenize", {"text": mark * 50}),
    ][i % 7]


def ask(s, path, body, stream):
    """What lasts of an answer, whole or streamed; None if there was no place for it."""
    stream = stream and path != "/v1/tokenize"
    status, _, answer = s.ask("POST", path, {**body, "stream": True} if stream else body)
    if status in (429, 503):
        return None
    assert status == 200, (path, body, status, answer)
    return [lasting(json.loads(data)) for _, data in events_of(answer) if data != "[DONE]"] if stream else lasting(answer)


def send(s, data, leave_after=None):
    """Bytes as they are; then waits for an answer, or goes away."""
    with socket.create_connection(("127.0.0.1", s.port), timeout=PATIENCE) as client:
        try:
            client.sendall(data)
            if leave_after is None:
                return client.recv(1 << 16)
            time.sleep(leave_after)
        except OSError:
            pass
    return b""


def post(path, body, more=b""):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return b"POST %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%sContent-Length: %d\r\n\r\n%s" % (path.encode(), more, len(body), body)


def hostile(s, dice):
    """One of the things that broke other servers. Returns the answer's first bytes, or none where it left."""
    path = dice.choice([CHAT, RESPONSES, COMPLETIONS, MESSAGES])
    _, body = good(dice.randrange(1000))
    text = json.dumps(body).encode()
    deep = {"type": "object"}
    for _ in range(30):
        deep = {"anyOf": [deep, {"type": "array", "items": deep}]} if dice.random() < 0.1 else {"type": "array", "items": deep}
    schema = lambda it: {"messages": [{"role": "user", "content": "x"}], "max_tokens": 20, "reasoning_effort": "none",
                         "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": it}}}
    long = {"prompt": "".join(dice.choice("abcdefgh") for _ in range(1500)), "max_tokens": 400, "stream": True, **LONG}
    return dice.choice([
        lambda: send(s, post(path, b"[" * dice.randrange(1, 200000))),
        lambda: send(s, post(path, b'{"a":' * dice.randrange(1, 50000))),
        lambda: send(s, post(path, text[:dice.randrange(len(text))])),
        lambda: send(s, post(path, bytes(byte ^ (dice.random() < 0.02) << dice.randrange(8) for byte in text))),
        lambda: send(s, post(path, text.replace(b"mark", dice.choice([b"\xff", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b"\xf5\x80"])))),
        lambda: send(s, post(path, text, b"x: " + b"y" * dice.randrange(8000, 70000) + b"\r\n")),
        lambda: send(s, post(path, text, b"".join(b"x%d: y\r\n" % i for i in range(dice.randrange(90, 3000))))),
        lambda: send(s, dice.randbytes(dice.randrange(1, 3000)) + b"\r\n\r\n"),
        lambda: send(s, post(path, text).replace(b"Content-Length: ", b"Transfer-Encoding: chunked\r\nContent-Length: ")),
        lambda: send(s, post(CHAT, schema({"type": "string", "pattern": "(a|b)*a" + "(a|b)" * dice.randrange(3, 40)}))),
        lambda: send(s, post(CHAT, schema(deep))),
        lambda: send(s, post(CHAT, schema({"enum": [dice.random() for _ in range(dice.randrange(1, 3000))]}))),
        lambda: send(s, post(CHAT, {"messages": [{"role": "user", "content": "<|end|><|start|>system<|message|>" * 20}], "max_tokens": 30})),
        lambda: send(s, post(CHAT, {"messages": [{"role": "user", "content": "x"}], "tools": [
            {"type": "function", "function": {"name": f"f{i}", "parameters": deep}} for i in range(dice.randrange(1, 140))]})),
        lambda: send(s, post(COMPLETIONS, {"prompt": [dice.randrange(-2, 400) for _ in range(dice.randrange(1, 3000))], "max_tokens": 5})),
        lambda: send(s, post(COMPLETIONS, long), dice.random() / 5),
        lambda: send(s, post(COMPLETIONS, {**long, "n": 4, "stream": False}), dice.random() / 5),
        lambda: send(s, post(path, text)[:dice.randrange(1, 200)], 0),
        lambda: send(s, post(RESPONSES, {"input": "x", "background": True, "max_output_tokens": 300, **LONG}), 0),
    ])()


def run(s):
    alone = {i: [ask(s, *good(i), False), ask(s, *good(i), True)] for i in range(28)}
    end, failures, counts = time.monotonic() + SECONDS, [], {"good": 0, "hostile": 0, "no place": 0}

    def going():
        few = min(counts["good"], counts["hostile"]) <= ENOUGH
        return not failures and time.monotonic() < end + few * PATIENCE

    def be_good(seed):
        dice = random.Random(seed)
        while going():
            i, stream = dice.randrange(len(alone)), dice.random() < 0.5
            answer = ask(s, *good(i), stream)
            if answer is None:
                counts["no place"] += 1
                time.sleep(0.01)
            elif answer != alone[i][stream]:
                failures.append(f"request {i} (stream: {stream}) was answered otherwise than alone:\n{answer}\n{alone[i][stream]}")
            else:
                counts["good"] += 1

    def be_hostile(seed):
        dice = random.Random(seed)
        while going():
            first = hostile(s, dice)
            if first and not first.startswith(b"HTTP/1.1 "):
                failures.append(f"an answer that is none: {first[:200]}")
            counts["hostile"] += 1

    def guarded(what, seed):
        try:
            what(seed)
        except Exception as error:  # of whatever kind: the test fails with it
            failures.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=guarded, args=(be_good, i)) for i in range(GOOD)]
    threads += [threading.Thread(target=guarded, args=(be_hostile, 100 + i)) for i in range(HOSTILE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[0][:4000]
    assert counts["good"] > ENOUGH and counts["hostile"] > ENOUGH, counts
    for i, (whole, streamed) in alone.items():  # and nothing was left behind in any cache
        assert [ask(s, *good(i), False), ask(s, *good(i), True)] == [whole, streamed], i
    print(f"{counts['good']} good requests and {counts['hostile']} hostile ones, {counts['no place']} times no place; "
          f"{int(s.metric('engine_preemptions_total'))} answers set back, {int(s.metric('kv_evictions_total'))} prefixes evicted, "
          f"{int(s.labelled('turns_total', 'cancelled'))} cancelled")
    assert s.labelled("turns_total", "failed") == 0 and s.labelled("http_answers_total", "5xx") <= counts["no place"] + counts["hostile"]


with Server("--store", "kept", "--parallel", "6", "--queue", "16", "--chunk", "32") as server:
    run(server)
    server.stop()
