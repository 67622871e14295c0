"""Answers and calls in the form that a request asks for, on both wires. The toy model says noise, so whatever has a form
got it from the server. Noise rarely finds its way out of reasoning: where nothing opens the answer at once, seeds are
tried until one does."""
import json

from serving import Server

PERSON = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 6}, "age": {"type": "integer", "minimum": 0,
          "maximum": 130}}, "required": ["name", "age"], "additionalProperties": False}
NUMBER = {"type": "object", "properties": {"n": {"enum": [1, 2, 3]}}, "required": ["n"], "additionalProperties": False}
RESPONSES, CHAT = "/v1/responses", "/v1/chat/completions"
SEEDS = range(40)


def ask(s, path, prompt, options, seed, **more):
    """(finish, text, calls as (name, arguments)) of either wire."""
    if path == CHAT:
        answer = s.post(path, {"messages": [{"role": "user", "content": prompt}], "seed": seed, "max_tokens": 700, **options, **more})
        message = answer["choices"][0]["message"]
        calls = [(call["function"]["name"], call["function"]["arguments"]) for call in message.get("tool_calls") or []]
        return answer["choices"][0]["finish_reason"], message["content"] or "", calls
    answer = s.post(path, {"input": prompt, "seed": seed, "max_output_tokens": 700, **options, **more})
    text = "".join(part["text"] for item in answer["output"] if item["type"] == "message" for part in item["content"])
    calls = [(item["name"], item["arguments"]) for item in answer["output"] if item["type"] == "function_call"]
    finish = "length" if answer["status"] == "incomplete" else "tool_calls" if calls else "stop"
    return finish, text, calls


def no_reasoning(path):
    return {"reasoning_effort": "none"} if path == CHAT else {"reasoning": {"effort": "none"}}


def schema_of(path, schema):
    if path == CHAT:
        return {"response_format": {"type": "json_schema", "json_schema": {"name": "it", "strict": True, "schema": schema}}}
    return {"text": {"format": {"type": "json_schema", "name": "it", "strict": True, "schema": schema}}}


def function(path, name, schema, strict):
    inner = {"name": name, "parameters": schema, "strict": strict}
    return {"type": "function", "function": inner} if path == CHAT else {"type": "function", **inner}


def choice_of(path, name):
    return {"type": "function", "function": {"name": name}} if path == CHAT else {"type": "function", "name": name}


def answers_satisfy_their_schema(s, path):
    for seed in range(4):
        finish, text, _ = ask(s, path, "Who?", {**schema_of(path, PERSON), **no_reasoning(path)}, seed)
        assert finish == "stop", (path, finish, text)
        person = json.loads(text)
        assert list(person) == ["name", "age"] and len(person["name"]) <= 6 and 0 <= person["age"] <= 130, text


def a_json_object_is_one(s, path):
    form = {"type": "json_object"}
    options = {"response_format": form} if path == CHAT else {"text": {"format": form}}
    done = 0
    for seed in SEEDS:
        finish, text, _ = ask(s, path, "Some JSON, please", {**options, **no_reasoning(path)}, seed)
        assert text.lstrip()[:1] in ("{", ""), text
        if finish == "stop":
            assert isinstance(json.loads(text), dict)
            done += 1
        if done == 3:
            return
    raise AssertionError("no object was ever complete")


def reasoning_is_free_and_what_follows_is_not(s, path):
    """With reasoning: every answer that comes satisfies the schema, and no turn stops without one."""
    done = 0
    for seed in SEEDS:
        finish, text, _ = ask(s, path, "Who?", schema_of(path, NUMBER), seed)
        assert finish in ("stop", "length"), finish
        if finish == "stop":
            assert json.loads(text)["n"] in (1, 2, 3), text
            done += 1
        if done == 2:
            return
    raise AssertionError("no turn ever ended")


def calls_are_those_that_were_asked_for(s, path):
    tools = [function(path, "get", NUMBER, True), function(path, "put", PERSON, False)]
    done = 0
    for seed in SEEDS:
        for choice in ("required", choice_of(path, "get")):
            finish, text, calls = ask(s, path, "Go", {"tools": tools, "tool_choice": choice, "parallel_tool_calls": False}, seed)
            assert finish in ("tool_calls", "length") and len(calls) <= 1 and (calls or finish == "length"), (finish, text, calls)
            for name, arguments in calls:
                assert name == "get" or choice == "required" and name == "put", name
                if name == "get":
                    assert json.loads(arguments)["n"] in (1, 2, 3), arguments
                    done += 1
        finish, _, calls = ask(s, path, "Go", {"tools": tools, "tool_choice": "none"}, seed, **({"max_tokens": 60} if path == CHAT else {"max_output_tokens": 60}))
        assert not calls
        if done >= 2:
            return
    raise AssertionError("no call was ever complete")


def streams_say_the_same(s):
    body = {"messages": [{"role": "user", "content": "Who?"}], "seed": 3, "max_tokens": 700, **schema_of(CHAT, PERSON), **no_reasoning(CHAT)}
    text = ""
    for _, data in s.stream(CHAT, body)[:-1]:
        for choice in json.loads(data)["choices"]:
            text += choice["delta"].get("content") or ""
    assert text == s.post(CHAT, body)["choices"][0]["message"]["content"]


def batch_mates_change_nothing(s):
    """The same bound turn alone, and as one of four choices, which decode side by side."""
    body = {"messages": [{"role": "user", "content": "Who?"}], "seed": 5, "max_tokens": 700, **schema_of(CHAT, PERSON), **no_reasoning(CHAT)}
    alone = [s.post(CHAT, {**body, "seed": 5 + i})["choices"][0]["message"]["content"] for i in range(4)]
    together = [choice["message"]["content"] for choice in s.post(CHAT, {**body, "n": 4})["choices"]]
    assert alone == together, (alone, together)
    return alone


def what_cannot_be_enforced_is_refused(s, path):
    def refused(options, words):
        body = {"messages": [{"role": "user", "content": "x"}]} if path == CHAT else {"input": "x"}
        status, _, answer = s.ask("POST", path, {**body, **options})
        assert status == 400 and words in answer["error"]["message"], (status, answer)
        assert answer["error"]["param"].endswith(("schema", "parameters", "tool_choice")), answer
        assert answer["error"]["type"] == "invalid_request_error" and answer["error"]["code"] != "context_length_exceeded"

    refused(schema_of(path, {"type": "array", "uniqueItems": True}), "/uniqueItems")
    refused(schema_of(path, {"type": "string", "pattern": "(a|b)*a" + "(a|b)" * 24}), "/pattern")
    refused(schema_of(path, {"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}}), "/properties/a/$ref")
    refused({"tools": [function(path, "f", {"type": "object", "if": {}}, True)]}, "functions.f: schema: /if")
    refused({"tools": [function(path, "f", NUMBER, True)], "tool_choice": choice_of(path, "g")}, "not declared")


with Server("--lookup", "off") as server:
    for wire in (RESPONSES, CHAT):
        answers_satisfy_their_schema(server, wire)
        a_json_object_is_one(server, wire)
        reasoning_is_free_and_what_follows_is_not(server, wire)
        calls_are_those_that_were_asked_for(server, wire)
        what_cannot_be_enforced_is_refused(server, wire)
    streams_say_the_same(server)
    said = batch_mates_change_nothing(server)
with Server("--lookup", "always", "--threads", "2", "--chunk", "7") as server:
    assert batch_mates_change_nothing(server) == said, "lookup, threads or chunks changed a bound answer"
