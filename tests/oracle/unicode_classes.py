#!/usr/bin/env python3
"""Compares the character classes of src/text/unicode_tables.c with those of the regular expressions of tiktoken and of Hugging
Face tokenizers, for every scalar value: unicode_classes.py. Needs: pip install tiktoken tokenizers."""
import pathlib
import re
import sys

import tiktoken
from tokenizers import Regex, pre_tokenizers

BITS = {r"[\p{Lu}\p{Lt}]": 1, r"\p{Ll}": 2, r"[\p{Lm}\p{Lo}]": 4, r"\p{M}": 8, r"\p{N}": 16, r"\s": 32 | 64}
TEXT = "".join(chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)


def table(source, name):
    size, body = re.search(rf"{name}\[(\d+)\] = {{(.*?)}};", source, re.S).groups()
    values = [0] * int(size)
    for first, last, value in re.findall(r"\[(\d+)(?: \.\.\. (\d+))?\] = (\d+)", body):
        values[int(first) : int(last or first) + 1] = [int(value)] * (int(last or first) + 1 - int(first))
    return values


def tiktoken_class(expression):
    """What an expression does not match, tiktoken drops."""
    encoding = tiktoken.Encoding("class", pat_str=expression, mergeable_ranks={bytes([i]): i for i in range(256)}, special_tokens={})
    return set(bytes(encoding.encode_ordinary(TEXT)).decode())


def tokenizers_class(expression):
    split = pre_tokenizers.Split(Regex(expression), "removed", invert=True)
    return set("".join(piece for piece, _ in split.pre_tokenize_str(TEXT)))


source = (pathlib.Path(__file__).resolve().parent.parent.parent / "src/text/unicode_tables.c").read_text()
index, leaf = table(source, "unicode_index"), table(source, "unicode_leaf")
different = 0
for expression, bits in BITS.items():
    ours = {c for c in TEXT if leaf[index[ord(c) >> 7] << 7 | ord(c) & 127] & bits}
    counts = [len(ours ^ peer(expression)) for peer in (tiktoken_class, tokenizers_class)]
    print(f"{expression}: {len(ours)} characters; different in tiktoken {counts[0]}, in tokenizers {counts[1]}")
    different += sum(counts)
sys.exit(different > 0)
