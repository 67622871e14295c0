#!/usr/bin/env python3
"""What prompt lookup gains on a model that says what real texts say:

    bench/lookup.py build/bench_lookup NAME=MODEL.goss... [--bytes 3000] [--rounds 1] [--csv OUT]

Edits are changes that this repository has seen: the prompt is the old file, the answer the beginning of the new one.
Prose is documentation: the prompt is how it begins, the answer how it goes on. The model computes every step and is
made to say the answer, so random weights of any size will do. Plain decoding and decoding with lookup take turns step
by step. Prints how often guesses are right, then tokens a second of both and the ratio.
"""
import argparse
import csv
import json
import pathlib
import subprocess
import sys
import tempfile

EDITS = [("d0b01a8", "apps/chat_file.c"), ("a29269c", "src/engine/engine.h"), ("cf3dbd2", "src/base/pool.c")]
PROSE = ["docs/arithmetic.md", "docs/harmony.md"]
COLUMNS = ["model", "case", "tokens", "steps", "drafted", "accepted", "off_tokens_per_s", "auto_tokens_per_s", "ratio"]


def git(*words):
    return subprocess.run(["git", *words], check=True, capture_output=True, text=True).stdout


def cases():
    for commit, name in EDITS:
        yield f"edit {name}", "Apply the change and print the whole file.\n" + git("show", f"{commit}^:{name}"), \
            git("show", f"{commit}:{name}")
    for name in PROSE:
        text = git("show", f"d0b01a8:{name}")
        yield f"prose {name}", text[:2000], text[2000:]


def lines(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{command} failed")
    return [json.loads(line) for line in done.stdout.splitlines()]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tool")
    parser.add_argument("models", nargs="+", metavar="NAME=MODEL.goss")
    parser.add_argument("--bytes", type=int, default=3000, help="of each answer")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--csv")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for case, prompt, answer in cases():
            paths = [pathlib.Path(folder, f"{len(files)}.{part}") for part in ("prompt", "answer")]
            paths[0].write_text(prompt)
            paths[1].write_text(answer[:options.bytes])
            files[case] = [str(path) for path in paths]
        for kind in ("edit", "prose"):
            for line in lines([options.tool, "count"] + sum((f for c, f in files.items() if c.startswith(kind)), [])):
                print(kind, line)
        for model in options.models:
            name, path = model.split("=", 1)
            for case, texts in files.items():
                results = lines([options.tool, "forced", path, str(options.rounds)] + texts)
                for off, auto in zip(results[::2], results[1::2]):
                    if not auto["same"]:
                        sys.exit(f"{name}, {case}: other ids with lookup")
                    rows.append([name, case, auto["tokens"], auto["steps"], auto["drafted"], auto["accepted"],
                                 off["tokens_per_s"], auto["tokens_per_s"], auto["ratio"]])
                    print(*rows[-1], flush=True)
    if options.csv:
        with open(options.csv, "w", newline="") as file:
            csv.writer(file).writerows([COLUMNS] + rows)


if __name__ == "__main__":
    main()
