"""Defects of other engines that show in a running server: the rows of tests/api/test_pitfalls_*.c once more, over HTTP,
with the store on disk and the cache of what was said. What ends and who leaves is in ends.py, limits (D4) are in
limits.py, bound answers (S1, S2) in forms.py; the stop tokens (D5) are tests/model/test_config.c's."""
import json
import signal
import time

from serving import LONG, SANITIZED, SLOW, Reader, Server, eventually

CHAT, RESPONSES, COMPLETIONS, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/completions", "/v1/messages"
HI = [{"role": "user", "content": "Hi"}]
PLACE = {"type": "object", "properties": {"n": {"enum": [1, 2, 3]}}, "required": ["n"], "additionalProperties": False}
FUNCTION = {"name": "look", "parameters": PLACE, "strict": True}
SEEDS = range(60)


def called(s):
    """A stored response that ends with a call; noise needs some seeds for that."""
    for seed in SEEDS:
        answer = s.post(RESPONSES, {"input": "Look", "seed": seed, "max_output_tokens": 600, "tools": [{"type": "function", **FUNCTION}],
                                    "tool_choice": "required"})
        calls = [item for item in answer["output"] if item["type"] == "function_call" and item["status"] == "completed"]
        if calls:
            return answer, calls
    raise AssertionError("no call was ever complete")


def A3_calls_and_their_outputs_are_kept_through_a_kill():
    with Server("--store", "kept") as s:
        first, calls = called(s)
        s.stop(signal.SIGKILL, -signal.SIGKILL)
    with Server("--store", "kept") as s:
        outputs = [{"type": "function_call_output", "call_id": call["call_id"], "output": "found"} for call in calls]
        second = s.post(RESPONSES, {"previous_response_id": first["id"], "input": outputs, "max_output_tokens": 3,
                                    "tools": [{"type": "function", **FUNCTION}]})
        used = first["usage"]
        assert second["usage"]["input_tokens"] > used["input_tokens"] + used["output_tokens"], (used, second["usage"])
        items = s.get(f"{RESPONSES}/{second['id']}/input_items?order=asc")["data"]
        assert [item["call_id"] for item in items if item["type"] == "function_call_output"] == [call["call_id"] for call in calls]
        status, _, answer = s.ask("POST", RESPONSES, {"input": outputs, "max_output_tokens": 3})
        assert status == 400 and answer["error"]["code"] == "tool_call_not_found", answer


def last_of(path, events):
    """How a stream ended, which it did once."""
    if path == RESPONSES:
        ends = [name for name, _ in events if name in ("response.completed", "response.incomplete", "response.failed")]
        assert len(ends) == 1 and events[-1][0] == ends[0], ends
        return json.loads(events[-1][1])["response"]["status"]
    if path == MESSAGES:
        assert [name for name, _ in events].count("message_stop") == 1 and events[-1][0] == "message_stop"
        return json.loads(events[-2][1])["delta"]["stop_reason"]
    assert [data for _, data in events].count("[DONE]") == 1 and events[-1][1] == "[DONE]"
    ends = [choice["finish_reason"] for _, data in events[:-1] for choice in json.loads(data)["choices"] if choice["finish_reason"]]
    assert len(ends) == 1, ends
    return ends[0]


def A4_every_stream_ends_once_however_it_ends(s):
    bodies = {RESPONSES: {"input": "Hi", "max_output_tokens": 30}, CHAT: {"messages": HI, "max_tokens": 30},
              COMPLETIONS: {"prompt": "Hi", "max_tokens": 30}, MESSAGES: {"messages": HI, "max_tokens": 30}}
    length = {RESPONSES: "incomplete", CHAT: "length", COMPLETIONS: "length", MESSAGES: "max_tokens"}
    for path, body in bodies.items():
        assert last_of(path, s.stream(path, {**body, **LONG})) == length[path]
    form = {"type": "json_schema", "name": "it", "strict": True, "schema": PLACE}
    bound = {"input": "Hi", "text": {"format": form}, "reasoning": {"effort": "none"}}
    assert last_of(RESPONSES, s.stream(RESPONSES, bound)) == "completed"
    said = s.post(COMPLETIONS, {"prompt": "Hi", "max_tokens": 30, "seed": 1, **LONG})["choices"][0]["text"]
    word = next(letter for letter in said[5:] if letter.isalnum())
    body = {"prompt": "Hi", "max_tokens": 30, "seed": 1, "stop": [word], **LONG}
    assert last_of(COMPLETIONS, s.stream(COMPLETIONS, body)) == "stop"


def A6_the_model_is_described(s):
    models = s.get("/v1/models")
    assert models["data"] == models["models"] and len(models["models"]) == 1
    model = models["models"][0]
    assert (model["id"], model["slug"], model["object"], model["context_window"], model["max_model_len"]) == ("toy", "toy", "model", 2048, 2048)
    assert [level["effort"] for level in model["supported_reasoning_levels"]] == ["low", "medium", "high"]
    for name in ("display_name", "default_reasoning_level", "shell_type", "visibility", "supported_in_api", "priority", "base_instructions",
                 "supports_reasoning_summaries", "support_verbosity", "truncation_policy", "supports_parallel_tool_calls",
                 "experimental_supported_tools", "input_modalities"):
        assert name in model, name


def A7_no_fault_is_answered_200(s):
    """Every path, with what it cannot take."""
    for path in (RESPONSES, CHAT, COMPLETIONS, MESSAGES, "/v1/messages/count_tokens", "/v1/tokenize", "/v1/detokenize"):
        for body in ("", "{}", "null", "[]", "{", '"x"', '{"stream": true}', '{"input": 5, "messages": 5, "prompt": {}, "text": 5, "tokens": 5}'):
            status, head, answer = s.ask("POST", path, body)
            assert status == 400 and head["content-type"] == "application/json" and answer["error"]["message"], (path, body, status, answer)


def R3_reasoning_is_returned_under_both_names(s):
    for seed in SEEDS:
        body = {"messages": HI, "max_tokens": 200, "seed": seed}
        message = s.post(CHAT, body)["choices"][0]["message"]
        if message["reasoning"]:
            break
    assert message["reasoning"] and message["reasoning"] == message["reasoning_content"], "no reasoning, or under one name"
    deltas = {"reasoning": "", "reasoning_content": ""}
    for _, data in s.stream(CHAT, body)[:-1]:
        for choice in json.loads(data)["choices"]:
            for name in deltas:
                deltas[name] += choice["delta"].get(name) or ""
    assert deltas == {name: message[name] for name in deltas}


def R4_a_resent_call_goes_on_from_its_sampled_tokens(s):
    """As clients do it: the assistant's message comes back as text. Noise has texts that other tokens spell too, so only
    what was sampled can be found in the cache, to its last token."""
    tools = [{"type": "function", "function": FUNCTION}]
    for seed in SEEDS:
        body = {"messages": HI, "max_tokens": 600, "seed": seed, "tools": tools, "tool_choice": "required", "parallel_tool_calls": False}
        first = s.post(CHAT, body)
        choice = first["choices"][0]
        if choice["finish_reason"] == "tool_calls":
            break
    recalled = s.metric("recalled_answers_total")
    call = choice["message"]["tool_calls"][0]
    again = [*HI, choice["message"], {"role": "tool", "tool_call_id": call["id"], "content": "found"}]
    second = s.post(CHAT, {"messages": again, "max_tokens": 3, "tools": tools})["usage"]
    assert s.metric("recalled_answers_total") == recalled + 1
    used = first["usage"]["total_tokens"]
    assert used - 2 <= second["prompt_tokens_details"]["cached_tokens"] <= used, (used, second)


def S3_a_call_that_is_forced_again_is_made_and_warned_of(s):
    tools = [{"type": "function", "function": FUNCTION}]
    history = [*HI, {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "look", "arguments": '{"n":1}'}}]},
               {"role": "tool", "tool_call_id": "c", "content": "found"}]
    named = {"type": "function", "function": {"name": "look"}}
    for messages, choice, warned in ((HI, "required", False), (history, "auto", False), (history, "required", True), (history, named, True),
                                     ([*history, *HI], "required", False)) * 5:
        status, head, answer = s.ask("POST", CHAT, {"messages": messages, "tools": tools, "tool_choice": choice, "max_tokens": 3})
        assert status == 200 and (head["x-gossamer-warning"] is not None) == warned, (choice, answer)


def health_is_answered_at_once_whatever_the_model_does():
    """While a long prompt is read in steps of some seconds, and while answers are made."""
    with Server(*SLOW, "--no-store") as s:
        readers = [Reader(s, COMPLETIONS, {"prompt": f"{i}" * 1500, "max_tokens": 400, **LONG}) for i in range(3)]
        eventually(lambda: s.metric("turns_running") == 3)
        waits = []
        for _ in range(60):
            start = time.monotonic()
            assert s.get("/health") == {"status": "ok"}
            assert s.get("/v1/models")["data"]
            waits.append(time.monotonic() - start)
            time.sleep(0.01)
        assert s.metric("turns_running") == 3, "the model had nothing to do"
        assert SANITIZED or sorted(waits)[45] < 0.25, sorted(waits)
        for reader in readers:
            reader.leave()


A3_calls_and_their_outputs_are_kept_through_a_kill()
with Server("--store", "kept") as server:
    A4_every_stream_ends_once_however_it_ends(server)
    A6_the_model_is_described(server)
    A7_no_fault_is_answered_200(server)
    R3_reasoning_is_returned_under_both_names(server)
    R4_a_resent_call_goes_on_from_its_sampled_tokens(server)
    S3_a_call_that_is_forced_again_is_made_and_warned_of(server)
    server.stop()
health_is_answered_at_once_whatever_the_model_does()
