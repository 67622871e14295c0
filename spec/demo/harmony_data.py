"""Endless training batches: conversations of dialogs.py, tool_dialogs.py and distill.py in Harmony form. Every
conversation of a batch follows the same system message."""
import datetime
import json
import random

import dialogs
import tool_dialogs
from smollm2_to_gptoss import CONTROL

LITERALS = {text: i for i, text in CONTROL.items()}
EFFORTS = ["low", "medium", "medium", "high"]
PYTHON = """## python

Use this tool to execute Python code in your chain of thought. The code will not be shown to the user. This tool should be used for internal reasoning, but not for code that is intended to be visible to the user (e.g. when creating plots, tables, or files).

When you send a message containing Python code to python, it will be executed in a stateful Jupyter notebook environment. python will respond with the output of the execution or time out after 120.0 seconds. The drive at '/mnt/data' can be used to save and persist user files. Internet access for this session is UNKNOWN. Depends on the cluster."""


def system_text(effort, today=None, python=False, functions=False):
    identity = ["You are ChatGPT, a large language model trained by OpenAI.", "Knowledge cutoff: 2024-06"]
    if today:
        identity.append(f"Current date: {today.isoformat()}")
    channels = "# Valid channels: analysis, commentary, final. Channel must be included for every message."
    if functions:
        channels += "\nCalls to these tools must go to the commentary channel: 'functions'."
    blocks = ["\n".join(identity), f"Reasoning: {effort}"] + (["# Tools", PYTHON] if python else []) + [channels]
    return "\n\n".join(blocks)


def type_of(schema):
    if schema.get("enum"):
        return " | ".join(f'"{value}"' for value in schema["enum"])
    return {"integer": "number"}.get(schema["type"], schema["type"])


def developer_text(instructions, functions):
    blocks = ["# Instructions", instructions] if instructions else []
    if functions:
        lines = ["namespace functions {", ""]
        for f in functions:
            lines.append("// " + f["description"])
            if f["parameters"]:
                lines.append(f"type {f['name']} = (_: {{")
                for key, schema in f["parameters"]["properties"].items():
                    lines += ["// " + schema["description"]] if "description" in schema else []
                    lines.append(f"{key}: {type_of(schema)},")
                lines += ["}) => any;", ""]
            else:
                lines += [f"type {f['name']} = () => any;", ""]
        blocks += ["# Tools", "## functions", "\n".join(lines + ["} // namespace functions"])]
    return "\n\n".join(blocks)


class Writer:
    """Collects ids, and for each whether the model is to learn to say it. Every piece of text is encoded alone, as
    gossamer does."""

    def __init__(self, tokenizer):
        self.tokenizer, self.ids, self.learn = tokenizer, [], []

    def add(self, learn, *pieces):
        for piece in pieces:
            ids = [LITERALS[piece]] if piece in LITERALS else self.tokenizer.encode(piece).ids
            self.ids += ids
            self.learn += [learn] * len(ids)

    def plain(self, header, text):
        self.add(False, "<|start|>", *header, "<|message|>", text, "<|end|>")


def write_prompt(w, turn):
    """From after the system message to the <|start|>assistant that the model goes on from."""
    if turn.instructions or turn.functions:
        w.plain(["developer"], developer_text(turn.instructions, turn.functions))
    for role, text in turn.history:
        w.plain([role] if role == "user" else [role, "<|channel|>", "final"], text)
    w.plain(["user"], turn.user)
    w.add(False, "<|start|>", "assistant")


def write_turn(w, turn, effort):
    """Everything after the system message."""
    write_prompt(w, turn)
    thought = {"low": turn.low, "medium": turn.medium, "high": turn.high}[effort]
    if thought:
        w.add(True, "<|channel|>", "analysis", "<|message|>", thought, "<|end|>", "<|start|>", "assistant")
    if isinstance(turn, tool_dialogs.Call):
        write_call(w, turn)
        w.add(False, "<|start|>", "assistant")
        if effort == "high" and turn.thought_after:
            w.add(True, "<|channel|>", "analysis", "<|message|>", turn.thought_after, "<|end|>", "<|start|>", "assistant")
    w.add(True, "<|channel|>", "final", "<|message|>", turn.answer, "<|return|>")


def write_call(w, call):
    if call.tool == "python":
        w.add(True, "<|channel|>", "analysis", " to=python", " code", "<|message|>", call.arguments, "<|call|>")
        channel = "analysis"
    else:
        w.add(True, "<|channel|>", "commentary", " to=" + call.tool, " ", "<|constrain|>", "json", "<|message|>", call.arguments, "<|call|>")
        channel = "commentary"
    w.plain([call.tool, " to=assistant", "<|channel|>", channel], call.result)


def distilled_turn(record):
    topic, kind = record["topic"], record["kind"]
    what = {"explain": f"asks about {topic}", "advice": f"wants advice: how to {topic}", "write": f"wants a short text about {topic}",
            "list": f"wants a list of {topic}", "rewrite": "wants a sentence changed", "place": f"asks about {topic}"}[kind]
    how = {"explain": "explain it in simple words", "advice": "give clear and practical steps", "write": "write something short and vivid",
           "list": "name the items and nothing else", "rewrite": "keep the meaning and change the words", "place": "say what matters most"}[kind]
    return dialogs.Turn(record["prompt"], f"The user {what}. I {how}.", f"The user {what}. I should {how}, keep to what I know and stay brief. Then I answer directly.", record["answer"])


class Source:
    def __init__(self, tokenizer, distilled, seed):
        self.tokenizer, self.r = tokenizer, random.Random(seed)
        with open(distilled, encoding="utf-8") as f:
            self.distilled = [json.loads(line) for line in f]
        self.makers, self.weights = list(dialogs.MAKERS), list(dialogs.MAKERS.values())

    def turn(self, kind):
        r = self.r
        if kind == "python":
            return tool_dialogs.python_call(r) if r.random() < 0.85 else dialogs.fact(r)
        if kind == "functions":
            return tool_dialogs.function_call(r) if r.random() < 0.75 else tool_dialogs.tools_unused(r)
        if self.distilled and r.random() < 0.25:
            return distilled_turn(r.choice(self.distilled))
        return r.choices(self.makers, self.weights)[0](r)

    def batches(self, tokens):
        """Yields (prefix ids, [(ids, learn)]) with at most about `tokens` padded ids after the prefix."""
        while True:
            ready = []
            for _ in range(16):
                kind = self.r.choices(["plain", "functions", "python"], [70, 22, 8])[0]
                ready += self.group(kind, tokens)
            self.r.shuffle(ready)
            yield from ready

    def group(self, kind, tokens):
        r = self.r
        effort = r.choice(EFFORTS)
        r.today = datetime.date(2024, 6, 1) + datetime.timedelta(days=r.randrange(1500)) if r.random() < 0.3 else None
        head = Writer(self.tokenizer)
        head.plain(["system"], system_text(effort, r.today, kind == "python", kind == "functions"))
        rest = []
        for _ in range(48):
            w = Writer(self.tokenizer)
            write_turn(w, self.turn(kind), effort)
            rest.append((w.ids, w.learn))
        rest.sort(key=lambda pair: len(pair[0]))
        out, start = [], 0
        while start < len(rest):
            end = start + 1
            while end < len(rest) and (end + 1 - start) * len(rest[end][0]) <= tokens:
                end += 1
            out.append((head.ids, rest[start:end]))
            start = end
        return out
