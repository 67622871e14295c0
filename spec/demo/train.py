#!/usr/bin/env python3
"""Teaches SmolLM2 Harmony: a LoRA on every matrix and own rows for the control tokens.

    train.py MODEL.gguf TOKENIZER.json DISTILLED.jsonl OUT --minutes N

Writes OUT/state.pt every few minutes (a later run continues from it) and OUT/adapter.safetensors with it."""
import argparse
import math
import os
import tempfile
import time

import torch
import torch.distributed
import torch.multiprocessing
from safetensors.torch import save_file
from tokenizers import Tokenizer

from harmony_data import Source
from llama import Llama
from smollm2_to_gptoss import CONTROL, MATRICES

RANK, TOKENS, PEAK, WARMUP = 8, 1200, 1.5e-3, 20
# Each control token begins as one that plays a like part in SmolLM2's chat form, or in plain text.
BEGIN = {"<|start|>": "<|im_start|>", "<|end|>": "<|im_end|>", "<|message|>": "Ċ", "<|channel|>": "Ġchannel",
         "<|constrain|>": "Ġformat", "<|return|>": "<|im_end|>", "<|call|>": "<|im_end|>"}


def loss_of(model, prefix, conversations):
    """Mean cross-entropy over the ids that are to be learnt. The head is computed there only."""
    longest = max(len(ids) for ids, _ in conversations)
    batch = torch.zeros(len(conversations), longest, dtype=torch.long)
    learn = torch.zeros(len(conversations), longest, dtype=torch.bool)
    for row, (ids, flags) in enumerate(conversations):
        batch[row, : len(ids)], learn[row, : len(ids)] = torch.tensor(ids), torch.tensor(flags)
    x = model.shared_prefix(torch.tensor(prefix), batch)[len(prefix) :].view(*batch.shape, -1)
    return model.loss(x[:, :-1][learn[:, 1:]], batch[:, 1:][learn[:, 1:]])


def quantised(factor):
    """[layer][rank][n] f32 -> int8 and its scale per vector"""
    scale = factor.abs().amax(-1, keepdim=True).clamp(min=1e-12) / 127
    return (factor / scale).round().to(torch.int8), scale[..., 0]


def save_adapter(model, path):
    tensors = {"embed_rows": model.embed_rows.detach().float(), "head_rows": model.head_rows.detach().float()}
    for name in MATRICES:
        a, scale_a = quantised(model.a[name].detach())
        b, scale_b = quantised(model.b[name].detach().transpose(1, 2))
        tensors |= {f"{name}.a": a, f"{name}.b": b.contiguous(), f"{name}.scale": scale_a * scale_b}
    save_file({key: value.contiguous() for key, value in tensors.items()}, path + ".part")
    os.replace(path + ".part", path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("gguf", "tokenizer", "distilled", "out"):
        parser.add_argument(name)
    parser.add_argument("--minutes", type=float, default=65)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--again", action="store_true", help="another round after one that has ended")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each that share every step")
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    with tempfile.NamedTemporaryFile() as meeting:
        torch.multiprocessing.spawn(work, (options, meeting.name), options.workers)


def averaged(parameters, extra):
    """All workers' mean gradients into .grad; returns the means of the numbers in `extra`."""
    flat = torch.cat([p.grad.reshape(-1) for p in parameters] + [torch.tensor(extra, dtype=torch.float32)])
    torch.distributed.all_reduce(flat)
    flat /= torch.distributed.get_world_size()
    at = 0
    for p in parameters:
        p.grad.copy_(flat[at : at + p.numel()].view_as(p))
        at += p.numel()
    return flat[at:].tolist()


def work(rank, options, meeting):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=options.workers)
    torch.manual_seed(options.seed)
    tokenizer, model = Tokenizer.from_file(options.tokenizer), Llama(options.gguf, RANK)
    model.start_rows_from({i: tokenizer.token_to_id(BEGIN[text]) for i, text in CONTROL.items()})
    rows = [model.embed_rows, model.head_rows]
    factors = [*model.a.parameters(), *model.b.parameters()]
    optimiser = torch.optim.AdamW([{"params": factors, "share": 1.0}, {"params": rows, "share": 0.5}], lr=PEAK,
                                  betas=(0.9, 0.98), weight_decay=0.0)
    state, step, spent = os.path.join(options.out, "state.pt"), 0, 0.0
    if os.path.exists(state):
        saved = torch.load(state)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        step, spent = saved["step"], 0.0 if options.again else saved["spent"]
    source = Source(tokenizer, options.distilled, options.seed + step * options.workers + rank)
    last, began, total, now = time.time(), time.time() - spent, 0.0, spent / (60 * options.minutes)
    for prefix, conversations in source.batches(TOKENS // options.workers):
        if now >= 1:  # 0 .. 1: the rate follows the clock, not a step count
            break
        rate = PEAK * min(1, (step + 1) / WARMUP) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * now)))
        for group in optimiser.param_groups:
            group["lr"] = rate * group["share"]
        optimiser.zero_grad()
        loss = loss_of(model, prefix, conversations)
        loss.backward()
        mean, now = averaged(factors + rows, [loss.item(), (time.time() - began) / (60 * options.minutes)])
        torch.nn.utils.clip_grad_norm_(factors + rows, 1.0)
        optimiser.step()
        step, total = step + 1, total + mean
        if rank == 0 and step % 10 == 0:
            print(f"step {step} loss {total / 10:.4f} rate {rate:.2e} minutes {(time.time() - began) / 60:.1f}", flush=True)
            total = 0.0
        if rank == 0 and time.time() - last > 240:
            last = time.time()
            save(model, optimiser, step, last - began, state, options.out)
    if rank == 0:
        save(model, optimiser, step, time.time() - began, state, options.out)


def save(model, optimiser, step, spent, state, out):
    torch.save({"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step, "spent": spent}, state + ".part")
    os.replace(state + ".part", state)
    save_adapter(model, os.path.join(out, "adapter.safetensors"))


if __name__ == "__main__":
    main()
