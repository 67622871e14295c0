#!/usr/bin/env python3
"""Proves the demo's conversion: how far is the folder from engines that read the same GGUF by themselves?

  demo_conversion.py MODEL.gguf FOLDER TEXT .. --work DIR [--gossamer PROGRAM] [--positions N]

FOLDER is what spec/demo/smollm2_to_gptoss.py makes of MODEL.gguf without an adapter. The reference is transformers'
Llama in float32 on the GGUF. Beside it: transformers' GptOss in float32 on FOLDER (the conversion itself), llama.cpp on
the GGUF, and gossamer on FOLDER, with its dense matrices as int8 blocks and as bf16. The texts are cut into windows of
500 tokens. Logits are kept in DIR, so that a run that was stopped goes on. Needs the package accelerate besides those
of README.md."""
import argparse
import json
import pathlib
import subprocess
import sys

import numpy as np

HERE = pathlib.Path(__file__).parent
WINDOW, N_VOCAB = 500, 49152


def windows(folder, texts, positions):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = [i for path in texts for i in tokenizer.encode(path.read_text(encoding="utf-8")).ids][:positions]
    return [ids[at : at + WINDOW] for at in range(0, len(ids), WINDOW)]


def transformers_logits(parts, file, path, **options):
    if not file.exists():
        import torch
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(path, dtype="float32", **options)
        with torch.no_grad():
            np.concatenate([model(torch.tensor([part])).logits[0].numpy() for part in parts]).tofile(file)
    return rows_of(file)


def llama_cpp_logits(parts, work, gguf, threads):
    (work / "prompts.json").write_text(json.dumps(parts))
    command = [sys.executable, HERE / "peer_llama.py", gguf, work / "prompts.json", work, "--threads", str(threads)]
    subprocess.run(command, check=True)
    return np.concatenate([rows_of(work / f"{i}.f32") for i in range(len(parts))])


def gossamer_logits(parts, work, folder, program, dense):
    packed, file = work / f"{dense}.goss", work / "gossamer.f32"
    subprocess.run([program, "pack", folder, "-o", packed, "--dense", dense], check=True)
    rows = []
    for part in parts:
        ids = ",".join(map(str, part))
        subprocess.run([program, "score", "-m", packed, "--ids", ids, "--logits", file], check=True, stdout=subprocess.DEVNULL)
        rows.append(rows_of(file))
    return np.concatenate(rows)


def rows_of(file):
    return np.fromfile(file, "<f4").reshape(-1, N_VOCAB)


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def closeness(reference, other):
    p, q = log_softmax(reference), log_softmax(other)
    kl = (np.exp(p) * (p - q)).sum(-1)
    first = (reference.argmax(-1) == other.argmax(-1)).mean()
    return {"first_choice": round(float(first), 4), "kl_mean": round(float(kl.mean()), 6),
            "logit_difference_max": round(float(np.abs(reference - other).max()), 3)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gguf", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("text", nargs="+", type=pathlib.Path)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--gossamer")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--positions", type=int, default=2000)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    parts = windows(args.folder, args.text, args.positions)
    gguf = args.gguf.resolve()
    reference = transformers_logits(parts, args.work / "reference.f32", gguf.parent, gguf_file=gguf.name)
    report = {"positions": len(reference), "GptOss in transformers": closeness(
        reference, transformers_logits(parts, args.work / "folder.f32", args.folder))}
    for dense in ("q8", "bf16") if args.gossamer else ():
        report[f"gossamer, {dense}"] = closeness(
            reference, gossamer_logits(parts, args.work, args.folder, args.gossamer, dense))
    report["llama.cpp"] = closeness(reference, llama_cpp_logits(parts, args.work, gguf, args.threads))
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
