#!/usr/bin/env python3
"""How far are gossamer's logits, and its peers', from transformers in float32?

  closeness.py CHECKPOINT .. --work DIR --gossamer PROGRAM [--lengths 1,16,..] [--seeds N] [--csv FILE]

CHECKPOINT is a folder as synth.py makes it: hf/, model-q8_0.gguf, model-bf16.gguf, all with the same weights. Every
engine gets the same random prompts and writes its logits under DIR; those of the peers are reused by a later run with
the same prompts. Of prompts longer than ROWS tokens the last ROWS positions are compared. The table gives, per
checkpoint, length and engine: how often the likeliest token is the reference's, the mean and median of
KL(reference || engine) in nats, and the largest difference of a logit.

The run fails if gossamer is further from the reference than llama.cpp on the same weights: see `verdict`.
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
PEERS = {  # name: script, model within the checkpoint, options
    REFERENCE: ("reference.py", "hf", ["--dtype", "f32"]),
    "transformers f32, YaRN rounded": ("reference.py", "hf", ["--dtype", "f32", "--truncate-yarn"]),
    "transformers f32, Q8_0 weights": ("reference.py", "hf", ["--dtype", "f32", "--q8"]),
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
RIVALS = {"gossamer q8, HF folder": "llama.cpp Q8_0", "gossamer bf16, HF folder": "llama.cpp BF16"}
SHORT, LONG, TIMES_NEARER = 400, 5000, 5
FIELDS = ["checkpoint", "tokens", "prompts", "positions", "engine", "top1", "kl_mean", "kl_median", "max_difference"]


def prompts(lengths, seeds, n_vocab):
    """[(length, ids)]: `seeds` random prompts of every length."""
    return [(length, np.random.default_rng([seed, length]).integers(0, n_vocab, length).tolist())
            for length in lengths for seed in range(seeds)]


def run_peer(name, checkpoint, ids_file, out, threads):
    script, model, options = PEERS[name]
    done = out / "prompts.json"
    if done.exists() and done.read_bytes() == ids_file.read_bytes():
        return
    out.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, HERE / script, checkpoint / model, ids_file, out, "--last", str(ROWS),
                    "--threads", str(threads), *options], check=True)
    done.write_bytes(ids_file.read_bytes())


def run_gossamer(name, checkpoint, ids, out, program, threads):
    model, dense = OURS[name]
    out.mkdir(parents=True, exist_ok=True)
    packed = out / "model.goss"
    packed.unlink(missing_ok=True)
    subprocess.run([program, "pack", checkpoint / model, "--dense", dense, "-o", packed], check=True,
                   stdout=subprocess.DEVNULL)
    for i, prompt in enumerate(ids):
        rows = out / f"{i}.f32"
        subprocess.run([program, "score", "-m", packed, "--ids", ",".join(map(str, prompt)), "--top", "0",
                        "--threads", str(threads), "--logits", rows], check=True, stdout=subprocess.DEVNULL)
    packed.unlink()


def log_softmax(x):
    x = x - x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


class Distance:
    """Pooled over the positions of several prompts."""

    def __init__(self):
        self.kl, self.same, self.largest = [], [], 0.0

    def add(self, reference, other, n_vocab, step=64):
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
    engines = [name for name in PEERS if name not in args.skip]
    for name in engines:
        print(f"{checkpoint.name}: {name}", file=sys.stderr)
        run_peer(name, checkpoint, ids_file, work / name, args.threads)
    for name in OURS if args.gossamer else []:
        print(f"{checkpoint.name}: {name}", file=sys.stderr)
        run_gossamer(name, checkpoint, [ids for _, ids in todo], work / name, args.gossamer, args.threads)
        engines.append(name)
    table = []
    for length in lengths:
        for name in engines[1:]:
            distance = Distance()
            for i, (n, _) in enumerate(todo):
                if n == length:
                    a, b = (read_rows(work / engine / f"{i}.f32", n_vocab, n) for engine in (REFERENCE, name))
                    distance.add(a, b, n_vocab)
            table.append({"checkpoint": checkpoint.name, "tokens": length, "prompts": args.seeds, "engine": name,
                          **distance.row()})
    return table


def pooled(table, engine, wanted, field):
    """The mean of a field over all positions of the lengths wanted."""
    rows = [row for row in table if row["engine"] == engine and wanted(row["tokens"])]
    positions = sum(row["positions"] for row in rows)
    return sum(row[field] * row["positions"] for row in rows) / positions if positions else None


def verdict(table):
    """Ours against llama.cpp on the same weights: no further up to SHORT tokens, TIMES_NEARER at LONG and beyond."""
    ok = True
    for ours, rival in RIVALS.items():
        for what, wanted, factor in ((f"up to {SHORT} tokens", lambda n: n <= SHORT, 1),
                                     (f"from {LONG} tokens", lambda n: n >= LONG, TIMES_NEARER)):
            for field in ("kl_mean", "kl_median"):
                a, b = pooled(table, ours, wanted, field), pooled(table, rival, wanted, field)
                if a is None or b is None:
                    continue
                good = a * factor <= b
                ok &= good
                print(f"{'ok  ' if good else 'FAIL'} {what}, {field}: {ours} {a:.3g}, {rival} {b:.3g}, "
                      f"{b / a:.2f} times nearer (wanted: {factor})")
    return ok


def print_table(table):
    """A table per checkpoint: a row per engine, a column per length."""
    for checkpoint in dict.fromkeys(row["checkpoint"] for row in table):
        rows = [row for row in table if row["checkpoint"] == checkpoint]
        lengths = list(dict.fromkeys(row["tokens"] for row in rows))
        print(f"{checkpoint}: top-1, mean KL / median KL, largest difference\n")
        print("| tokens | " + " | ".join(map(str, lengths)) + " |\n| --- |" + " --- |" * len(lengths))
        for engine in dict.fromkeys(row["engine"] for row in rows):
            cells = [f"{100 * row['top1']:.1f} %, {row['kl_mean']:.1e} / {row['kl_median']:.1e}, "
                     f"{row['max_difference']:.2f}" for row in rows if row["engine"] == engine]
            print(f"| {engine} | " + " | ".join(cells) + " |")
        print()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="+", type=pathlib.Path)
    parser.add_argument("--work", type=pathlib.Path, required=True, help="folder for the logits")
    parser.add_argument("--gossamer", help="the program; without it only the peers are compared")
    parser.add_argument("--lengths", default="1,16,128,400,1000,5000,6000")
    parser.add_argument("--seeds", type=int, default=3, help="prompts of each length")
    parser.add_argument("--skip", action="append", default=[], choices=list(PEERS)[1:], help="leave out a peer")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--csv", type=pathlib.Path)
    args = parser.parse_args()
    lengths = [int(n) for n in args.lengths.split(",")]
    table = [row for checkpoint in args.checkpoint for row in measure(checkpoint, lengths, args)]
    if args.csv:
        with open(args.csv, "w", newline="") as file:
            writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
            writer.writeheader()
            for row in table:
                writer.writerow({key: f"{v:.6g}" if isinstance(v, float) else v for key, v in row.items()})
    print_table(table)
    sys.exit(0 if verdict(table) else 1)


if __name__ == "__main__":
    main()
