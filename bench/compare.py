#!/usr/bin/env python3
"""gossamer beside llama.cpp and ik_llama.cpp on one GGUF, in turns:

    bench/compare.py MODEL.gguf --csv OUT.csv --gossamer build/gossamer [--llama PATH/llama-bench] [--ik PATH/llama-bench]
        [--isa SET] [--prefill 128,512,2048] [--depth 0,8192] [--rounds 3] [--repeat 1] [--threads 2] [--busy 0]

Every test of every round runs each engine once, so that a clock that moves moves for all of them; who goes first changes
from round to round. --isa caps gossamer alone: give binaries of the peers that are built alike. --llama-options and
--ik-options are handed on (ik_llama.cpp: "-rtr 1" packs the weights for speed when it starts). With --busy so many other
programs want a core all the while.

A row of the CSV is one run. `limit` is what this machine's bare rates, which gossamer measures around each of its own
figures, allow for that test: the int8 rate for prompts, the rate of reading memory for answers; in tokens/s, so that
tokens_per_s / limit is a share for every engine; empty if gossamer computed on a GPU. Rows are added to a file that is
there. bench/plot.py shows them.
"""
import argparse
import contextlib
import csv
import datetime
import json
import pathlib
import platform
import subprocess
import sys

COLUMNS = ["date", "machine", "model", "isa", "threads", "test", "n", "round", "engine", "tokens_per_s", "limit", "busy"]
ANSWER = 32  # tokens, as many as `gossamer bench` decodes


def run(command):
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{command} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def gossamer(options, test, n):
    """Tokens/s of each repetition, and the limit."""
    lengths = ["--prefill", n, "--depth", ""] if test == "prefill" else ["--prefill", "", "--depth", n]
    report = json.loads(run([options.gossamer, "bench", "-m", options.model, "--no-cold", "--json", "--threads", options.threads,
                             "--repeat", options.repeat, "--seconds", 3600, *lengths,
                             *(["--isa", options.isa] if options.isa else []), *options.gossamer_options.split()]))
    row, = report[test]
    share = row["int8_rate_share" if test == "prefill" else "memory_rate_share"]
    return row["runs"], share and row["tokens_per_second"]["median"] / share


def llama_bench(program, more, options, lengths):
    out = run([program, "-m", options.model, "-t", options.threads, "-r", options.repeat, "-o", "json", *lengths, *more.split()])
    row = json.loads(out[out.index("["):])[-1]
    return row["samples_ts"], None


def llama(options, test, n):
    lengths = ["-p", n, "-n", 0] if test == "prefill" else ["-p", 0, "-n", ANSWER, "-d", n]
    return llama_bench(options.llama, options.llama_options, options, lengths)


def ik(options, test, n):
    lengths = ["-p", n, "-n", 0] if test == "prefill" else ["-p", 0, "-n", 0, "-gp", f"{n},{ANSWER}"] if n else ["-p", 0, "-n", ANSWER]
    return llama_bench(options.ik, options.ik_options, options, lengths)


def cpu_name():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def arguments(rounds):
    """What the comparisons' command lines share."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--csv", required=True)
    parser.add_argument("--gossamer", required=True)
    parser.add_argument("--llama")
    parser.add_argument("--gossamer-options", default="")
    parser.add_argument("--llama-options", default="")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--machine", default=cpu_name())
    parser.add_argument("--name", help="of the model")
    return parser


def circumstances(options):
    """The columns that they share."""
    return {"date": datetime.date.today().isoformat(), "machine": options.machine,
            "model": options.name or pathlib.Path(options.model).parent.name, "threads": options.threads}


@contextlib.contextmanager
def rows_added(path, columns):
    """Gives a function that adds a row to a CSV, which gets its header if it is new."""
    path = pathlib.Path(path)
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if new:
            writer.writeheader()

        def add(row):
            writer.writerow(row)
            file.flush()

        yield add


def numbers(text):
    return [int(word) for word in text.split(",") if word]


def compare(options, engines, tests):
    with rows_added(options.csv, COLUMNS) as add:
        for number in range(options.rounds):
            for test, n in tests:
                limit = None
                rows = []
                for name, engine in engines[number % len(engines):] + engines[:number % len(engines)]:
                    runs, measured = engine(options, test, n)
                    limit = measured or limit
                    rows += [{"engine": name, "tokens_per_s": f"{rate:.2f}"} for rate in runs]
                common = circumstances(options) | {"isa": options.isa or "best", "test": test, "n": n, "round": number,
                                                   "limit": f"{limit:.2f}" if limit else "", "busy": options.busy}
                for row in rows:
                    add(common | row)
                print(test, n, *([f"limit {limit:.1f}"] if limit else []),
                      *(f"{row['engine']} {row['tokens_per_s']}" for row in rows), flush=True)


def main():
    parser = arguments(rounds=3)
    parser.add_argument("--ik")
    parser.add_argument("--ik-options", default="")
    parser.add_argument("--isa", default="")
    parser.add_argument("--prefill", default="128,512,2048")
    parser.add_argument("--depth", default="0,8192")
    parser.add_argument("--repeat", type=int, default=1, help="within a run")
    parser.add_argument("--busy", type=int, default=0, help="other programs that compute meanwhile")
    options = parser.parse_args()
    engines = [("gossamer", gossamer)] + [(f.__name__, f) for f in (llama, ik) if getattr(options, f.__name__)]
    tests = [("prefill", n) for n in numbers(options.prefill)] + [("decode", n) for n in numbers(options.depth)]
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(options.busy)]
    try:
        compare(options, engines, tests)
    finally:
        for other in others:
            other.kill()


if __name__ == "__main__":
    main()
