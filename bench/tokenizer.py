#!/usr/bin/env python3
"""Times gossamer's tokenizer beside tiktoken's, one thread each, in turn in one run:

    bench/tokenizer.py build/bench_tokenizer o200k_base.tiktoken NAME=TEXTFILE... [--rounds 15] [--csv OUT]

Prints the median CPU seconds of both, megabytes a second and the ratio; the ids' count must be equal. CPU time, so that
other work on the machine disturbs both alike. Needs: pip install tiktoken.
"""
import argparse
import base64
import csv
import os
import platform
import statistics
import subprocess
import time

import tiktoken

BLANKS = r"\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
TAIL = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
O200K = (rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{TAIL}|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{TAIL}"
         rf"|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{BLANKS}")


def processor():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.machine()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tool")
    parser.add_argument("ranks")
    parser.add_argument("texts", nargs="+", metavar="NAME=FILE")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--csv")
    arguments = parser.parse_args()
    ranks = {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, open(arguments.ranks, "rb"))}
    peer = tiktoken.Encoding("o200k_base", pat_str=O200K, mergeable_ranks=ranks, special_tokens={})
    rows = []
    for name, path in (item.split("=", 1) for item in arguments.texts):
        text, megabytes = open(path, encoding="utf-8").read(), os.path.getsize(path) / 1e6
        tool = subprocess.Popen([arguments.tool, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        opening, ours, theirs = float(tool.stdout.readline()), [], []
        for _ in range(arguments.rounds + 1):  # the first warms both up
            tool.stdin.write("\n")
            tool.stdin.flush()
            seconds, count = tool.stdout.readline().split()
            begin = time.process_time()
            ids = peer.encode_ordinary(text)
            theirs.append(time.process_time() - begin)
            ours.append(float(seconds))
            assert int(count) == len(ids), "different ids"
        tool.stdin.close()
        tool.wait()
        mine, other = statistics.median(ours[1:]), statistics.median(theirs[1:])
        rows.append({"text": name, "megabytes": f"{megabytes:.2f}", "tokens": len(ids), "rounds": arguments.rounds,
                     "gossamer_s": f"{mine:.4f}", "tiktoken_s": f"{other:.4f}", "gossamer_MB_s": f"{megabytes / mine:.1f}",
                     "tiktoken_MB_s": f"{megabytes / other:.1f}", "ratio": f"{other / mine:.2f}",
                     "open_ms": f"{1e3 * opening:.1f}", "tiktoken": tiktoken.__version__, "cpu": processor()})
        print(", ".join(f"{key} {value}" for key, value in rows[-1].items()))
    if arguments.csv:
        with open(arguments.csv, "w", newline="") as out:
            writer = csv.DictWriter(out, rows[0])
            writer.writeheader()
            writer.writerows(rows)


main()
