#!/usr/bin/env python3
"""How well does the adapter speak Harmony? Asks new questions of every kind at three efforts. MODEL is any packed demo.

    evaluate.py MODEL.gguf TOKENIZER.json ADAPTER GOSSAMER MODEL [--count N] [--temperature T] [--seed N] [--show N]

The model runs in PyTorch; `gossamer parse` reads what it says, so a repair here is one there. Prints a table: share of
turns without repairs, of turns that end by themselves, and of right answers (the text of the template, or for a call the
right function with the right arguments). Calls get their result, and the answer after it counts too."""
import argparse
import collections
import datetime
import json
import random
import subprocess

import torch
from tokenizers import Tokenizer

import dialogs
import tool_dialogs
from harmony_data import LITERALS, Writer, system_text, write_prompt
from llama import Llama

STOPS = {LITERALS["<|return|>"], LITERALS["<|call|>"], 0}
LONGEST = 120
KINDS = {"addition": dialogs.addition, "subtraction": dialogs.subtraction, "product": dialogs.product,
         "quotient": dialogs.quotient, "story": dialogs.story, "units": dialogs.units, "fact": dialogs.fact,
         "calendar": dialogs.calendar, "letters": dialogs.letters, "extraction": dialogs.extraction,
         "memory": dialogs.memory, "list": dialogs.list_items, "instructed": dialogs.instructed,
         "identity": dialogs.identity, "greeting": dialogs.greeting,
         "function": tool_dialogs.function_call, "no function": tool_dialogs.tools_unused,
         "python": tool_dialogs.python_call}
FREE = {"list", "identity", "greeting", "instructed"}  # more than one answer is right: only the form is judged


def ask(model, tokenizer, turns, options, seed):
    """-> for each (turn, effort) the ids it says"""
    prompts = []
    for kind, effort, turn, today, more in turns:
        w = Writer(tokenizer)
        w.plain(["system"], system_text(effort, today, kind == "python", kind in ("function", "no function")))
        write_prompt(w, turn)
        prompts.append(w.ids + more)
    out = []
    for at in range(0, len(prompts), 32):
        state = torch.Generator().manual_seed(seed + at)
        out += model.generate(prompts[at : at + 32], STOPS, LONGEST, options.temperature, 1.0, state)
    return out


def parse(options, ids):
    ended = bool(ids) and ids[-1] in STOPS
    done = subprocess.run([options.gossamer, "parse", "-m", options.model], input=json.dumps({"ids": ids, "role": "assistant"}), check=True,
                          capture_output=True, text=True)
    return ended, json.loads(done.stdout)


def text_of(message):
    content = message["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def is_right(kind, turn, messages):
    last = messages[-1] if messages else {"content": ""}
    if isinstance(turn, tool_dialogs.Call):
        if last.get("recipient") != turn.tool:
            return False
        try:
            return text_of(last) == turn.arguments or json.loads(text_of(last)) == json.loads(turn.arguments)
        except ValueError:
            return False
    if kind in FREE:
        return last.get("channel") == "final" and bool(text_of(last))
    return last.get("channel") == "final" and text_of(last).strip() == turn.answer


def result_ids(tokenizer, turn):
    """What follows a call: its result, and the start of the answer."""
    w = Writer(tokenizer)
    w.plain([turn.tool, " to=assistant", "<|channel|>", "analysis" if turn.tool == "python" else "commentary"], turn.result)
    w.add(False, "<|start|>", "assistant")
    return w.ids


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("gguf", "tokenizer", "adapter", "gossamer", "model"):
        parser.add_argument(name)
    parser.add_argument("--count", type=int, default=4, help="questions of a kind at each effort")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=20241)
    parser.add_argument("--show", type=int, default=0, help="print this many wrong or repaired turns")
    options, r = parser.parse_args(), random.Random()
    r.seed(options.seed)
    tokenizer, model = Tokenizer.from_file(options.tokenizer), Llama(options.gguf, adapter=options.adapter)
    turns = []
    for kind, make in KINDS.items():
        for effort in ("low", "medium", "high"):
            for _ in range(options.count):
                r.today = datetime.date(2025, 1, 1) + datetime.timedelta(days=r.randrange(900)) if r.random() < 0.3 else None
                turns.append((kind, effort, make(r), r.today, []))
    said = ask(model, tokenizer, turns, options, options.seed)
    after = [(*t[:4], ids + result_ids(tokenizer, t[2])) for t, ids in zip(turns, said) if isinstance(t[2], tool_dialogs.Call)]
    table, shown = collections.defaultdict(lambda: [0] * 5), 0

    def count(kind, effort, turn, ids, right_of):
        nonlocal shown
        ended, read = parse(options, ids)
        clean, right = not read["repairs"] and ended, right_of(read["messages"])
        thought = any(m.get("channel") == "analysis" and not m.get("recipient") for m in read["messages"])
        for row in (kind, "all, " + effort, "all"):
            table[row] = [a + b for a, b in zip(table[row], (1, not read["repairs"], ended, right, thought))]
        if (not right or not clean) and shown < options.show:
            shown += 1
            print(f"[{kind}, {effort}] {turn.user!r}\n  says {tokenizer.decode(ids, skip_special_tokens=False)!r}\n  "
                  f"right {turn.answer!r} {read['repairs']}")

    for (kind, effort, turn, _, _), ids in zip(turns, said):
        count(kind, effort, turn, ids, lambda messages, k=kind, t=turn: is_right(k, t, messages))
    for (kind, effort, turn, _, _), ids in zip(after, ask(model, tokenizer, after, options, options.seed + 1)):
        plain = dialogs.Turn(turn.user, "", "", turn.answer)
        count(kind + ", answer", effort, turn, ids, lambda messages, t=plain: is_right("", t, messages))
    print(f"{'kind':24}{'turns':>6}{'clean':>8}{'ended':>8}{'right':>8}{'thought':>9}")
    for row, (n, *figures) in table.items():
        print(f"{row:24}{n:6}" + "".join(f"{100 * f / n:7.1f}%" for f in figures))


if __name__ == "__main__":
    main()
