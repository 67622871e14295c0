"""Every route and wire over HTTP: what streams says the same as what does not, stored responses, and refusals."""
import json
import os
import pathlib
import signal

from serving import Server, eventually

ROUTES = [("GET", "/metrics"), ("GET", "/v1/models"), ("GET", "/v1/models/toy"), ("POST", "/v1/responses"),
          ("GET", "/v1/responses"), ("POST", "/v1/responses/compact"), ("POST", "/v1/responses/input_tokens"),
          ("GET", "/v1/responses/resp_x"), ("DELETE", "/v1/responses/resp_x"), ("POST", "/v1/responses/resp_x/cancel"),
          ("GET", "/v1/responses/resp_x/input_items"), ("POST", "/v1/chat/completions"), ("POST", "/v1/completions"),
          ("POST", "/v1/messages"), ("POST", "/v1/messages/count_tokens"), ("POST", "/v1/tokenize"),
          ("POST", "/v1/detokenize")]
CANARY = "canary-7d1f"


def every_route_asks_for_a_key():
    pathlib.Path("keys").write_text("alice sk-aaaaaaaaaaaaaaaaaaaaaa\nbob sk-bbbbbbbbbbbbbbbbbbbbbb\n")
    os.chmod("keys", 0o600)
    alice, bob = ({"Authorization": f"Bearer sk-{letter * 22}"} for letter in "ab")
    with Server("--api-key-file", "keys") as s:
        for method, path in ROUTES:
            for verb in ("GET", "POST", "DELETE", "PUT", "OPTIONS", "HEAD"):
                assert s.ask(verb, path)[0] == 401, (verb, path)
            status, headers, _ = s.ask(method, path, {} if method == "POST" else None, alice)
            assert status not in (401, 405), (method, path, status)
            status, headers, _ = s.ask("PUT", path, headers=alice)
            assert status == 405 and headers["allow"], (path, status)
        assert s.ask("GET", "/health")[0] == 200 and s.ask("GET", "/health/")[0] == 401
        assert s.ask("GET", "/v1/nothing", headers=alice)[0] == 404
        mine = s.post("/v1/responses", {"input": "Hello", "max_output_tokens": 4}, alice)
        assert s.ask("GET", f"/v1/responses/{mine['id']}", headers=alice)[0] == 200
        assert s.ask("GET", f"/v1/responses/{mine['id']}", headers=bob)[0] == 404
        assert s.ask("DELETE", f"/v1/responses/{mine['id']}", headers=bob)[0] == 404
        assert s.ask("POST", "/v1/responses", {"input": "x", "previous_response_id": mine["id"]}, bob)[0] in (400, 404)
        assert " alice POST /v1/responses 200" in s.errors() and "sk-" not in s.errors()


def chat_streams_what_it_says(s):
    body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 30, "seed": 5, "logprobs": True, "n": 2,
            "reasoning_effort": "none"}
    whole = s.post("/v1/chat/completions", body)
    text, reasons = ["", ""], [None, None]
    events = s.stream("/v1/chat/completions", {**body, "stream_options": {"include_usage": True}})
    assert events[-1] == (None, "[DONE]")
    for _, data in events[:-1]:
        chunk = json.loads(data)
        for choice in chunk["choices"]:
            text[choice["index"]] += choice["delta"].get("content") or ""
            reasons[choice["index"]] = choice["finish_reason"] or reasons[choice["index"]]
    assert text == [choice["message"]["content"] or "" for choice in whole["choices"]], (text, whole)
    assert reasons == [choice["finish_reason"] for choice in whole["choices"]]
    assert chunk["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]
    assert whole["choices"][0]["message"]["content"] != whole["choices"][1]["message"]["content"]


def choices_begin_from_one_prompt_however_soon_the_first_ends(s):
    body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 20, "seed": 5, "n": 4}
    first = [choice["message"] for choice in s.post("/v1/chat/completions", body)["choices"]]
    for _ in range(40):
        assert [choice["message"] for choice in s.post("/v1/chat/completions", body)["choices"]] == first


def responses_stream_what_they_say(s):
    body = {"input": "Hello", "max_output_tokens": 30, "seed": 6, "reasoning": {"effort": "none"}}
    whole = s.post("/v1/responses", body)
    events = [(name, json.loads(data)) for name, data in s.stream("/v1/responses", body)]
    assert [data["sequence_number"] for _, data in events] == list(range(len(events)))
    assert all(name == data["type"] for name, data in events)
    last = [name for name, _ in events if name in ("response.completed", "response.incomplete", "response.failed")]
    assert len(last) == 1 and events[-1][0] == last[0]
    said = lambda response: [[part.get("text") for part in item.get("content") or []] for item in response["output"]]
    assert said(events[-1][1]["response"]) == said(whole)
    assert events[-1][1]["response"]["usage"]["output_tokens"] == whole["usage"]["output_tokens"]


def other_wires_answer(s):
    assert s.post("/v1/completions", {"prompt": ["a", "b"], "n": 2, "max_tokens": 3, "seed": 1})["choices"][3]["index"] == 3
    answer = s.post("/v1/messages", {"model": "toy", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]})
    assert answer["type"] == "message" and answer["stop_reason"] in ("end_turn", "max_tokens")
    count = s.post("/v1/messages/count_tokens", {"model": "toy", "messages": [{"role": "user", "content": "Hi"}]})
    for path, body in (("/v1/messages", {"max_tokens": 5}), ("/v1/messages/count_tokens", {}), ("/v1/messages", {})):
        headers = s.ask("POST", path, {"messages": [{"role": "user", "content": "Hi"}], **body})[1]
        assert headers["request-id"] and headers["request-id"] == headers["x-request-id"], headers
    usage = answer["usage"]
    assert count["input_tokens"] == usage["input_tokens"] + usage["cache_read_input_tokens"]
    events = s.stream("/v1/messages", {"model": "toy", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]})
    assert events[0][0] == "message_start" and events[-1][0] == "message_stop"
    tokens = s.post("/v1/tokenize", {"text": "Hello"})["tokens"]
    assert s.post("/v1/detokenize", {"tokens": tokens})["text"] == "Hello"
    assert s.get("/v1/models")["data"][0]["id"] == "toy" and s.get("/v1/models/toy")["id"] == "toy"
    assert s.ask("GET", "/v1/models/other")[0] == 404


def refusals_say_why(s):
    def refused(path, body, status, code):
        found, _, answer = s.ask("POST", path, body)
        assert (found, answer["error"].get("code")) == (status, code), (path, found, answer)
        assert CANARY not in str(answer)

    long = {"messages": [{"role": "user", "content": CANARY * 1000}]}
    refused("/v1/chat/completions", long, 400, "context_length_exceeded")
    assert s.ask("POST", "/v1/chat/completions", '{"messages": [}')[0] == 400
    assert s.ask("POST", "/v1/chat/completions", "[" * 100000)[0] == 400
    assert s.ask("POST", "/v1/chat/completions", {"messages": [], "temperature": CANARY})[0] == 400
    assert s.ask("POST", "/v1/responses", {"input": "x", "previous_response_id": "resp_nothing"})[0] in (400, 404)
    assert s.ask("GET", "/v1/chat/completions", headers={"Host": "evil.example"})[0] == 403
    assert s.ask("POST", "/v1/chat/completions", "{}", {"Origin": "http://evil.example", "Content-Type": "text/plain"})[0] == 403
    assert s.ask("GET", "/v1/../health")[0] == 404 and s.ask("GET", "/v1/models/..%2f..")[0] == 404


def responses_are_stored_and_continued(s):
    first = s.post("/v1/responses", {"input": "Hello", "max_output_tokens": 8, "seed": 1})
    path = f"/v1/responses/{first['id']}"
    assert s.get(path)["output"] == first["output"]
    assert s.get(path + "/input_items")["data"][0]["role"] == "user"
    assert s.ask("GET", path + "/input_items?limit=0")[0] == 400
    second = s.post("/v1/responses", {"input": "More", "previous_response_id": first["id"], "max_output_tokens": 8})
    assert second["previous_response_id"] == first["id"]
    assert second["usage"]["input_tokens_details"]["cached_tokens"] > 0
    assert s.ask("POST", path + "/cancel", "")[0] == 400
    assert s.ask("DELETE", path)[2]["deleted"] is True
    assert s.ask("GET", path)[0] == 404 and s.ask("DELETE", path)[0] == 404
    unkept = s.post("/v1/responses", {"input": "Hello", "max_output_tokens": 8, "store": False})
    assert s.ask("GET", f"/v1/responses/{unkept['id']}")[0] == 404
    return second["id"]


def a_background_response_is_polled_and_cancelled(s):
    begun = s.post("/v1/responses", {"input": "Hello", "background": True, "max_output_tokens": 10})
    assert begun["status"] in ("queued", "in_progress"), begun["status"]
    path = f"/v1/responses/{begun['id']}"
    eventually(lambda: s.get(path)["status"] in ("completed", "incomplete"))
    begun = s.post("/v1/responses", {"input": "Hello", "background": True, "logit_bias": {}, "max_output_tokens": 1800})
    path = f"/v1/responses/{begun['id']}"
    status, _, answer = s.ask("POST", path + "/cancel", "")
    assert (status, answer.get("status")) == (200, "cancelled") or status == 400, answer
    if status == 200:
        eventually(lambda: s.metric("turns_running") == 0)
        assert s.get(path)["status"] == "cancelled"


def stored_responses_survive_a_kill():
    with Server("--store", "kept") as s:
        ids = [s.post("/v1/responses", {"input": f"Hello {i}", "max_output_tokens": 5})["id"] for i in range(5)]
        begun = s.post("/v1/responses", {"input": "Hello", "background": True, "max_output_tokens": 1800})["id"]
        s.stop(signal.SIGKILL, -signal.SIGKILL)
    for file in pathlib.Path("kept").iterdir():
        assert file.stat().st_mode & 0o077 == 0, f"others can read {file}"
    with Server("--store", "kept") as s:
        assert all(s.get(f"/v1/responses/{id}")["id"] == id for id in ids)
        assert s.get(f"/v1/responses/{begun}")["status"] in ("failed", "completed", "incomplete")
        more = s.post("/v1/responses", {"input": "More", "previous_response_id": ids[4], "max_output_tokens": 5})
        assert more["previous_response_id"] == ids[4]


def without_a_store_nothing_is_written():
    before = set(pathlib.Path(".").rglob("*"))
    with Server("--no-store") as s:
        answer = s.post("/v1/responses", {"input": CANARY, "max_output_tokens": 4})
        assert s.ask("GET", f"/v1/responses/{answer['id']}")[0] == 404
        s.stop()
        assert CANARY not in s.errors()
    assert {str(p) for p in set(pathlib.Path(".").rglob("*")) - before} == {s.log}


every_route_asks_for_a_key()
with Server("--store", "kept") as server:
    chat_streams_what_it_says(server)
    choices_begin_from_one_prompt_however_soon_the_first_ends(server)
    responses_stream_what_they_say(server)
    other_wires_answer(server)
    refusals_say_why(server)
    responses_are_stored_and_continued(server)
    a_background_response_is_polled_and_cancelled(server)
    server.stop()
stored_responses_survive_a_kill()
without_a_store_nothing_is_written()
