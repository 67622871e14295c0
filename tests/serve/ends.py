"""How the server ends: signals while answers are under way, a model file that is cut short. And what it does when its
clients do: one that goes away ends its answer before the next step of the model, wherever it was."""
import json
import os
import pathlib
import signal
import socket
import threading
import time

from serving import LONG, SANITIZED, SLOW, Reader, Server, eventually, make_slow

HI = [{"role": "user", "content": "Hi"}]
LAST = {"/v1/responses": ("response.completed", "response.incomplete", "response.failed"), "/v1/messages": ("message_stop",)}


def long_streams(s):
    """An answer under way on each wire."""
    bodies = {"/v1/responses": {"input": "Hi", "max_output_tokens": 1500, "store": True}, "/v1/messages": {"messages": HI, "max_tokens": 1500},
              "/v1/chat/completions": {"messages": HI, "max_tokens": 1500}, "/v1/completions": {"prompt": "Hi", "max_tokens": 1500}}
    readers = {path: Reader(s, path, {**body, **LONG, "stream": True}) for path, body in bodies.items()}
    for reader in readers.values():
        eventually(lambda: reader.text.count("data:") > 3)
    return readers


def ends_well(path, reader):
    """With the last event of its wire, once."""
    events = reader.events()
    names = [name for name, _ in events]
    if path in LAST:
        assert sum(name in LAST[path] for name in names) == 1 and names[-1] in LAST[path], names[-3:]
    else:
        assert events[-1][1] == "[DONE]", events[-1]
        assert any(choice.get("finish_reason") for choice in json.loads(events[-2][1])["choices"]), events[-2]


def refused(s):
    """Nobody new gets in."""
    try:
        socket.create_connection(("127.0.0.1", s.port), timeout=2).close()
        return False
    except (ConnectionRefusedError, ConnectionResetError):  # reset: it was in the queue when the socket was closed
        return True


def a_signal_lets_short_answers_finish():
    with Server("--store", "kept") as s:
        idle = s.connect()
        idle.request("GET", "/health")
        assert idle.getresponse().read()
        reader = Reader(s, "/v1/responses", {"input": "Hi", "max_output_tokens": 60 if SANITIZED else 600, "stream": True, **LONG})
        eventually(lambda: "response.output_item.added" in reader.text)
        s.process.send_signal(signal.SIGTERM)
        eventually(lambda: refused(s))
        try:  # who was connected before is told
            idle.request("POST", "/v1/chat/completions", json.dumps({"messages": HI}))
            assert idle.getresponse().status == 503
        except (ConnectionError, OSError):
            pass
        assert s.process.wait(15) == 0, s.errors()
        ends_well("/v1/responses", reader)
        assert "response.incomplete" in reader.text and '"reason":"max_output_tokens"' in reader.text, "it was not let finish"


def a_signal_ends_long_answers_in_time_and_properly():
    with Server(*SLOW, "--store", "kept") as s:
        readers = long_streams(s)
        begun = s.post("/v1/responses", {"input": "Hi", "background": True, "max_output_tokens": 1500, **LONG})["id"]
        start = time.monotonic()
        s.process.send_signal(signal.SIGTERM)
        assert s.process.wait(30) == 0, s.errors()
        took = time.monotonic() - start
        assert 9.5 < took < 20, f"the drain took {took:.1f} s"
        for path, reader in readers.items():
            ends_well(path, reader)
    with Server("--store", "kept") as s:  # what was stored says how it ended
        assert s.get(f"/v1/responses/{begun}")["status"] in ("cancelled", "incomplete", "failed")


def a_second_signal_ends_it_at_once():
    with Server(*SLOW) as s:
        reader = Reader(s, "/v1/completions", {"prompt": "Hi", "max_tokens": 1500, **LONG, "stream": True})
        eventually(lambda: reader.text.count("data:") > 3)
        s.process.send_signal(signal.SIGTERM)
        eventually(lambda: "stopping" in s.errors())
        start = time.monotonic()
        s.process.send_signal(signal.SIGINT)
        assert s.process.wait(5) == 130 and time.monotonic() - start < 5


def a_model_file_cut_short_is_named():
    os.system("cp -r slow cut")
    with Server("-m", "cut") as s:
        assert s.post("/v1/completions", {"prompt": "Hi", "max_tokens": 3})["choices"]
        file = str(max(pathlib.Path(os.environ["HOME"]).rglob("*.gossamer"), key=os.path.getctime))
        os.truncate(file, 4096)
        try:
            s.ask("POST", "/v1/completions", {"prompt": "Hi", "max_tokens": 100, **LONG})
        except (ConnectionError, OSError):
            pass
        assert s.process.wait(10) == 1, s.process.returncode
        assert f"gossamer: {file}: cannot be read any more" in s.errors(), s.errors()


def steps_after(s, leave):
    """Steps of the model that begin after leave(), until nothing is at work."""
    leave()
    before = s.metric("engine_steps_total")  # at the earliest a moment after
    eventually(lambda: s.metric("turns_running") + s.metric("turns_waiting") == 0)
    time.sleep(0.1)
    return s.metric("engine_steps_total") - before


def pages_return(s):
    assert s.metric("kv_pages_free") + s.metric("kv_pages_cached") == s.metric("kv_pages"), "pages are missing"


def one_that_leaves_ends_its_answer(s):
    cancelled = s.labelled("turns_total", "cancelled")
    for path, more in (("/v1/chat/completions", {"messages": HI, "stream": True}), ("/v1/chat/completions", {"messages": HI}),
                       ("/v1/responses", {"input": "Hi", "stream": True}), ("/v1/completions", {"prompt": "Hi", "n": 4})):
        limit = "max_output_tokens" if path == "/v1/responses" else "max_tokens"
        reader = Reader(s, path, {limit: 1500, **more, **LONG})
        eventually(lambda: s.metric("turns_running") == more.get("n", 1) and s.metric("kv_pages_free") < s.metric("kv_pages"))
        time.sleep(0.05)
        steps = steps_after(s, reader.leave)
        assert steps <= 2, f"{steps} steps after the client of {path} had left"
        cancelled += more.get("n", 1)
        assert s.labelled("turns_total", "cancelled") == cancelled
        pages_return(s)


def one_that_leaves_in_its_prompt_ends_that(s):
    """With 16 tokens a step the prompt takes 110 steps."""
    reader = Reader(s, "/v1/completions", {"prompt": "".join(chr(97 + i * i % 26) for i in range(1760)), "max_tokens": 8})
    start = s.metric("engine_steps_total")
    eventually(lambda: s.metric("engine_steps_total") > start + 3)
    tokens = s.metric("answer_tokens_total")
    steps = steps_after(s, reader.leave)
    assert steps <= 2, f"{steps} steps after the client had left"
    assert s.metric("answer_tokens_total") == tokens and s.metric("engine_steps_total") < start + 100
    pages_return(s)


def one_that_leaves_the_queue_leaves_its_place(s):
    """Four run, three wait, these leave: who runs does not notice, and the places are free."""
    cancelled = s.labelled("turns_total", "cancelled")
    work = [Reader(s, "/v1/completions", {"prompt": "Hi", "max_tokens": 1500, "seed": i, **LONG}) for i in range(4)]
    eventually(lambda: s.metric("turns_running") == 4)
    waiting = [Reader(s, "/v1/completions", {"prompt": "Hi", "max_tokens": 1500, "stream": i > 0, **LONG}) for i in range(3)]
    eventually(lambda: s.metric("turns_waiting") == 3)
    waiting[0].leave()
    waiting[1].shut()  # the sending side alone counts as the same
    waiting[2].leave()
    eventually(lambda: s.metric("turns_waiting") == 0)
    assert s.labelled("turns_total", "cancelled") == cancelled + 3 and s.metric("turns_running") == 4
    steps = steps_after(s, lambda: [reader.leave() for reader in work])
    assert steps <= 3, f"{steps} steps after all four had left"
    pages_return(s)


def one_that_leaves_early_costs_nothing(s):
    """In its head, in its body, and as soon as it has asked."""
    answer = b'POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40\r\n\r\n{"prompt":"Hi","max_tokens":1000,"n":2} '
    for cut in (0, 5, 30, 60, 75, len(answer) - 1, len(answer)):
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", s.port)) as client:
                client.sendall(answer[:cut])
    eventually(lambda: s.metric("turns_running") + s.metric("turns_waiting") == 0, 3)
    eventually(lambda: s.metric("http_requests") == s.metric("http_connections") == 1, 3)  # the one that asks
    pages_return(s)


a_signal_lets_short_answers_finish()
make_slow()
drain = threading.Thread(target=a_signal_ends_long_answers_in_time_and_properly)  # it mostly waits
failures = []
threading.excepthook = lambda what: failures.append(what) or threading.__excepthook__(what)
drain.start()
a_second_signal_ends_it_at_once()
a_model_file_cut_short_is_named()
with Server(*SLOW, "--chunk", "16") as server:
    one_that_leaves_ends_its_answer(server)
    one_that_leaves_in_its_prompt_ends_that(server)
    one_that_leaves_the_queue_leaves_its_place(server)
    one_that_leaves_early_costs_nothing(server)
    server.stop()
drain.join()
assert not failures
