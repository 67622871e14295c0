#!/usr/bin/env python3
"""How far are gossamer's logits, and its peers', from transformers in float32?

  closeness.py CHECKPOINT .. --work DIR --gossamer PROGRAM [--lengths 1,16,..] [--seeds N] [--csv FILE]
  closeness.py --read FILE ..

CHECKPOINT is a folder as synth.py makes it: hf/, model-q8_0.gguf, model-bf16.gguf, all with the same weights. Every
engine gets the same random prompts and writes its logits under DIR; those of the peers are reused by a later run with
the same prompts. Of prompts longer than ROWS tokens the last ROWS positions are compared. The table gives, per
checkpoint, length and engine: how often the likeliest token is the reference's, the mean and median of
KL(reference || engine) in nats, and the largest difference of a logit. Rows "from the same weights" take transformers on
the Q8_0 matrices for reference: what rounding the matrices does is no part of them.

The exit status is 1 if gossamer is further from the reference than is wanted: see `verdict`.
"""
import argparse
import csv
import json
import pathlib
import subprocess
import sys

import numpy as np

HERE = pathlib.Path(__file__).parent
ROWS = 400
REFERENCE = "transformers f32"
SAME_WEIGHTS = "transformers f32, Q8_0 weights"  # the reference for engines with Q8_0 matrices, second ruler
PEERS = {  # name: script, model within the checkpoint, options
    REFERENCE: ("reference.py", "hf", ["--dtype", "f32"]),
    "transformers f32, YaRN rounded": ("reference.py", "hf", ["--dtype", "f32", "--truncate-yarn"]),
    SAME_WEIGHTS: ("reference.py", "hf", ["--dtype", "f32", "--q8"]),
    "transformers bf16": ("reference.py", "hf", ["--dtype", "bf16"]),
    "llama.cpp Q8_0": ("peer_llama.py", "model-q8_0.gguf", []),
    "llama.cpp BF16": ("peer_llama.py", "model-bf16.gguf", []),
}
OURS = {  # name: model within the checkpoint, type of its dense matrices
    "gossamer q8, HF folder": ("hf", "q8"),
    "gossamer q8, Q8_0 GGUF": ("model-q8_0.gguf", "q8"),
    "gossamer bf16, HF folder": ("hf", "bf16"),
    "gossamer bf16, BF16 GGUF": ("model-bf16.gguf", "bf16"),
}
SECOND_RULER = ["llama.cpp Q8_0", "gossamer q8, HF folder"]
FROM_SAME = "{}, from the same weights"
RIVALS = {
    "gossamer bf16, HF folder": "llama.cpp BF16",
    FROM_SAME.format("gossamer q8, HF folder"): FROM_SAME.format("llama.cpp Q8_0"),
    "gossamer q8, HF folder": "llama.cpp Q8_0",
}
SHORT, LONG, TIMES_NEARER = 400, 5000, 5
FIELDS = ["checkpoint", "tokens", "prompts", "positions", "engine", "top1", "kl_mean", "kl_median", "max_difference"]


def prompts(lengths, seeds, n_vocab):
    """[(length, ids)]: `seeds` random prompts of every length."""
    return [(length, np.random.default_rng([seed, length]).integers(0, n_vocab, length).tolist())
            for length in lengths for seed in range(seeds)]


def run_peer(name, checkpoint, ids_file, out, threads):
    script, model, options = PEERS[name]
    subprocess.run([sys.executable, HERE / script, checkpoint / model, ids_file, out, "--last", str(ROWS),
                    "--threads", str(threads), *options], check=True)


def run_gossamer(name, checkpoint, ids_file, out, program, threads):
    model, dense = OURS[name]
    packed = out / "model.goss"
    packed.unlink(missing_ok=True)
    subprocess.run([program, "pack", checkpoint / model, "--dense", dense, "-o", packed], check=True,
                   stdout=subprocess.DEVNULL)
    for i, ids in enumerate(json.loads(ids_file.read_text())):
        subprocess.run([program, "score", "-m", packed, "--ids", ",".join(map(str, ids)), "--top", "0",
                        "--threads", str(threads), "--logits", out / f"{i}.f32"], check=True, stdout=subprocess.DEVNULL)
    packed.unlink()


def run(name, checkpoint, ids_file, work, args):
    """The logits of all prompts, in work/name; those of an earlier run with the same prompts are kept if they may be."""
    out = work / name
    done = out / "prompts.json"
    if (name in PEERS or args.reuse) and done.exists() and done.read_bytes() == ids_file.read_bytes():
        return
    print(f"{checkpoint.name}: {name}", file=sys.stderr)
    out.mkdir(parents=True, exist_ok=True)
    done.unlink(missing_ok=True)
    if name in PEERS:
        run_peer(name, checkpoint, ids_file, out, args.threads)
    else:
        run_gossamer(name, checkpoint, ids_file, out, args.gossamer, args.threads)
    done.write_bytes(ids_file.read_bytes())


def log_softmax(x):
    x = x - x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


class Distance:
    """Pooled over the positions of several prompts."""

    def __init__(self):
        self.kl, self.same, self.largest = [], [], 0.0

    def add(self, reference, other, step=64):
        for first in range(0, len(reference), step):
            a, b = (rows[first:first + step].astype(np.float64) for rows in (reference, other))
            if not np.isfinite(b).all():
                raise SystemExit("closeness.py: an engine returned logits that are not finite")
            p, q = log_softmax(a), log_softmax(b)
            self.kl.extend((np.exp(p) * (p - q)).sum(axis=1))
            self.same.extend(a.argmax(axis=1) == b.argmax(axis=1))
            self.largest = max(self.largest, np.abs(a - b).max())

    def row(self):
        return {"positions": len(self.kl), "top1": np.mean(self.same), "kl_mean": np.mean(self.kl),
                "kl_median": np.median(self.kl), "max_difference": self.largest}


def read_rows(file, n_vocab, length):
    rows = np.memmap(file, "<f4", "r").reshape(-1, n_vocab)
    expected = min(length, ROWS)
    if len(rows) not in (expected, length):
        raise SystemExit(f"closeness.py: {file} has {len(rows)} rows, not {expected}")
    return rows[-expected:]


def measure(checkpoint, lengths, args):
    """The rows of the table for one checkpoint."""
    n_vocab = json.loads((checkpoint / "hf/config.json").read_text())["vocab_size"]
    work = args.work / checkpoint.name
    work.mkdir(parents=True, exist_ok=True)
    todo = prompts(lengths, args.seeds, n_vocab)
    ids_file = work / "prompts.json"
    ids_file.write_text(json.dumps([ids for _, ids in todo]))
    engines = [name for name in [*PEERS, *(OURS if args.gossamer else [])] if name not in args.skip]
    for name in engines:
        run(name, checkpoint, ids_file, work, args)
    pairs = [(REFERENCE, name, name) for name in engines[1:]]
    if SAME_WEIGHTS in engines:
        pairs += [(SAME_WEIGHTS, name, FROM_SAME.format(name)) for name in SECOND_RULER if name in engines]
    table = []
    for length in lengths:
        for ruler, name, label in pairs:
            distance = Distance()
            for i, (n, _) in enumerate(todo):
                if n == length:
                    a, b = (read_rows(work / engine / f"{i}.f32", n_vocab, n) for engine in (ruler, name))
                    distance.add(a, b)
            table.append({"checkpoint": checkpoint.name, "tokens": length, "prompts": args.seeds, "engine": label,
                          **distance.row()})
    return table


def pooled(rows, engine, wanted, field):
    """The mean of a field over all positions of the lengths wanted, or None."""
    rows = [row for row in rows if row["engine"] == engine and wanted(row["tokens"])]
    positions = sum(row["positions"] for row in rows)
    return sum(row[field] * row["positions"] for row in rows) / positions if positions else None


def verdict(table):
    """llama.cpp's distance over ours, on the same weights: at least 1 up to SHORT tokens, TIMES_NEARER from LONG on."""
    ok = True
    spans = ((lambda n: n <= SHORT, 1), (lambda n: n >= LONG, TIMES_NEARER))
    print(f"| checkpoint | gossamer's form | up to {SHORT} tokens (wanted: 1) | from {LONG} (wanted: {TIMES_NEARER}) |")
    print("| --- | --- | --- | --- |")
    for checkpoint in dict.fromkeys(row["checkpoint"] for row in table):
        rows = [row for row in table if row["checkpoint"] == checkpoint]
        for ours, rival in RIVALS.items():
            cells = []
            for wanted, least in spans:
                pairs = [(pooled(rows, rival, wanted, field), pooled(rows, ours, wanted, field))
                         for field in ("kl_mean", "kl_median")]
                ratios = [a / b for a, b in pairs if a is not None and b is not None]
                ok = ok and all(ratio >= least for ratio in ratios)
                cells.append(" / ".join(f"{ratio:.2f}" + ("" if ratio >= least else " (missed)") for ratio in ratios))
            if any(cells):
                print(f"| {checkpoint} | {ours.removeprefix('gossamer ')} | " + " | ".join(cells) + " |")
    return ok


def print_table(table):
    """A table per checkpoint: a row per engine, a column per length."""
    for checkpoint in dict.fromkeys(row["checkpoint"] for row in table):
        rows = [row for row in table if row["checkpoint"] == checkpoint]
        lengths = list(dict.fromkeys(row["tokens"] for row in rows))
        print(f"{checkpoint}: top-1, mean KL / median KL, largest difference\n")
        print("| tokens | " + " | ".join(map(str, lengths)) + " |\n| --- |" + " --- |" * len(lengths))
        for engine in dict.fromkeys(row["engine"] for row in rows):
            at = {row["tokens"]: row for row in rows if row["engine"] == engine}
            cells = [f"{100 * row['top1']:.1f} %, {row['kl_mean']:.1e} / {row['kl_median']:.1e}, "
                     f"{row['max_difference']:.2f}" if row else "" for row in map(at.get, lengths)]
            print(f"| {engine} | " + " | ".join(cells) + " |")
        print()


def read_table(path):
    with open(path, newline="") as file:
        return [{key: value if key in ("checkpoint", "engine") else int(value) if key in ("tokens", "prompts", "positions")
                 else float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def write_table(path, table):
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        for row in table:
            writer.writerow({key: f"{v:.6g}" if isinstance(v, float) else v for key, v in row.items()})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="*", type=pathlib.Path)
    parser.add_argument("--read", action="append", help="print the tables of this CSV instead of running anything")
    parser.add_argument("--work", type=pathlib.Path, default="closeness", help="folder for the logits")
    parser.add_argument("--gossamer", help="the program; without it only the peers are compared")
    parser.add_argument("--lengths", default="1,16,128,400,1000,5000,6000")
    parser.add_argument("--seeds", type=int, default=3, help="prompts of each length")
    parser.add_argument("--reuse", action="store_true", help="keep gossamer's logits of an earlier run, too")
    parser.add_argument("--skip", action="append", default=[], choices=[*list(PEERS)[1:], *OURS], help="leave out an engine")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--csv", type=pathlib.Path)
    args = parser.parse_args()
    lengths = [int(n) for n in args.lengths.split(",")]
    if args.read:
        table = [row for path in args.read for row in read_table(path)]
    else:
        table = [row for checkpoint in args.checkpoint for row in measure(checkpoint, lengths, args)]
    if args.csv:
        write_table(args.csv, table)
    print_table(table)
    sys.exit(0 if verdict(table) else 1)


if __name__ == "__main__":
    main()
