#!/usr/bin/env python3
"""Logits of Hugging Face transformers' GptOssForCausalLM on a checkpoint folder, in float32 or bfloat16.

  reference.py HF_FOLDER PROMPTS.json OUT_DIR [--dtype f32|bf16] [--last N] [--memory GIB] [--truncate-yarn] [--q8]
  reference.py HF_FOLDER --check

PROMPTS.json is a list of lists of token ids. OUT_DIR/<i>.f32 receives the logits of prompt i as raw little-endian
float32 rows, one row per position, or only the last N rows.

The model code is transformers' own and untouched: masks, rotary embedding, router, experts. Only two things around it
are ours, so that checkpoints larger than memory and long prompts fit: a layer's weights are read from the files when
the layer runs (MXFP4 expanded to float, which is exact), and its eager attention is called on slices of the queries and
on the keys that its mask leaves them. --check compares both with transformers' own loader and unsliced attention.
"""
import argparse
import json
import pathlib
import sys

import numpy as np
import torch
import transformers
from safetensors import safe_open
from transformers.models.gpt_oss import modeling_gpt_oss as gpt_oss

E2M1 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], dtype=torch.float32)
PAIR = torch.stack((E2M1.repeat(16), E2M1.repeat_interleave(16)), dim=-1)  # byte -> its low and its high nibble
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
QUERIES_PER_SLICE = 64
EAGER = gpt_oss.eager_attention_forward


class Files:
    """The tensors of a folder of safetensors shards, by name."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        index = self.folder / "model.safetensors.index.json"
        if index.exists():
            self.file_of = json.loads(index.read_text())["weight_map"]
        else:
            with safe_open(self.folder / "model.safetensors", "pt") as file:
                self.file_of = {name: "model.safetensors" for name in file.keys()}

    def read(self, name):
        with safe_open(self.folder / self.file_of[name], "pt") as file:
            return file.get_tensor(name)

    def names(self, prefix):
        return [name for name in self.file_of if name.startswith(prefix)]


def expand_mxfp4(blocks, scales, dtype):
    """[E, R, C/32, 16] nibble pairs and [E, R, C/32] exponents -> [E, C, R], the transposed form transformers keeps."""
    n_expert, rows, n_block, _ = blocks.shape
    out = torch.empty(n_expert, n_block * 32, rows, dtype=dtype)
    for expert in range(n_expert):
        values = PAIR[blocks[expert].int()].reshape(rows, n_block, 32)
        scale = torch.ldexp(torch.ones(scales[expert].shape), scales[expert].int() - 127)[..., None]
        out[expert] = (values * scale).reshape(rows, -1).T.to(dtype)
    return out


def round_to_q8_0(x):
    """What ggml's Q8_0 keeps of a matrix: d = max|x| / 127 per 32, rounded half away from zero, d as f16."""
    block = x.float().reshape(-1, 32)
    d = block.abs().amax(dim=1, keepdim=True) / 127
    q = torch.where(d > 0, block * (1 / d), 0)
    return (torch.sign(q) * torch.floor(q.abs() + 0.5) * d.half().float()).reshape(x.shape)


def dense_tensor(files, name, dtype, q8):
    x = files.read(name)
    if q8 and x.dim() == 2 and name.endswith("weight") and "router" not in name:
        x = round_to_q8_0(x)
    return x.to(torch.float32 if "norm" in name else dtype)


def layer_weights(files, layer, dtype, q8):
    """The state dict of one GptOssDecoderLayer."""
    prefix, weights = f"model.layers.{layer}.", {}
    for name in files.names(prefix):
        short = name.removeprefix(prefix)
        if short.endswith("_scales"):
            continue
        if short.endswith("_blocks"):
            scales = files.read(name.removesuffix("_blocks") + "_scales")
            weights[short.removesuffix("_blocks")] = expand_mxfp4(files.read(name), scales, dtype)
        else:
            weights[short] = dense_tensor(files, name, dtype, q8)
    return weights


def sliced_attention(eager):
    """transformers' eager attention, called on QUERIES_PER_SLICE queries at a time and on the keys between the first
    and the last that transformers' own mask lets any of them see."""

    def attention(module, query, key, value, attention_mask, **options):
        if attention_mask is None:
            return eager(module, query, key, value, None, **options)
        outputs = []
        for first in range(0, query.shape[2], QUERIES_PER_SLICE):
            part = slice(first, first + QUERIES_PER_SLICE)
            mask = attention_mask[:, :, part]
            seen = (mask == 0).flatten(0, -2).any(dim=0).nonzero().flatten()
            keys = slice(int(seen[0]), int(seen[-1]) + 1)
            outputs.append(eager(module, query[:, :, part], key[:, :, keys], value[:, :, keys], mask[..., keys],
                                 **options)[0])
        return torch.cat(outputs, dim=1), None

    return attention


def read_config(folder, truncate_yarn=False):
    config = transformers.AutoConfig.from_pretrained(folder, attn_implementation="eager")
    config._experts_implementation = "eager"
    if config.pad_token_id is not None and config.pad_token_id >= config.vocab_size:
        config.pad_token_id = None  # a small test vocabulary
    if truncate_yarn:
        config.rope_parameters["truncate"] = True
    return config


def streamed_model(folder, dtype, memory, truncate_yarn=False, q8=False):
    """A GptOssForCausalLM whose layers are read when they run, and kept if all of them fit in `memory` bytes."""
    files, config = Files(folder), read_config(folder, truncate_yarn)
    with torch.device("meta"):
        model = gpt_oss.GptOssForCausalLM(config).to(dtype)
    model.model.rotary_emb = gpt_oss.GptOssRotaryEmbedding(config)
    top = ("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight")
    model.load_state_dict({name: dense_tensor(files, name, dtype, q8) for name in top}, strict=False, assign=True)
    size = sum(p.numel() * p.element_size() for p in model.model.layers.parameters())

    def load(layer, _):
        if next(layer.parameters()).is_meta:
            layer.load_state_dict(layer_weights(files, layer.self_attn.layer_idx, dtype, q8), assign=True)

    def drop(layer, _, __):
        layer.to("meta")

    for layer in model.model.layers:
        layer.register_forward_pre_hook(load)
        if size > memory:
            layer.register_forward_hook(drop)
    return model.eval()


def logits(model, ids, last=0):
    with torch.no_grad():
        out = model(torch.tensor([ids]), use_cache=False, logits_to_keep=min(last, len(ids)) if last else 0)
    return out.logits[0].float().numpy().astype("<f4")


def check(folder):
    """Our loading must give the bits of transformers' own; our slicing may change the rounding of sums in float32."""
    ids = np.random.default_rng(0).integers(0, read_config(folder).vocab_size, 300).tolist()
    for name, dtype in DTYPES.items():
        own = transformers.AutoModelForCausalLM.from_pretrained(
            folder, config=read_config(folder), dtype=torch.bfloat16,
            quantization_config=transformers.Mxfp4Config(dequantize=True)).eval()
        own.config._experts_implementation = "eager"
        expected = logits(own.float() if dtype == torch.float32 else own, ids)
        got = {"our loader": logits(streamed_model(folder, dtype, 0), ids)}
        if dtype == torch.float32:
            gpt_oss.eager_attention_forward = sliced_attention(EAGER)
            got["our loader and sliced attention"] = logits(streamed_model(folder, dtype, 0), ids)
            gpt_oss.eager_attention_forward = EAGER
        for what, x in got.items():
            difference = np.abs(x - expected).max()
            print(f"{name}: {what}: largest difference to transformers' own: {difference}")
            if difference > (0 if what == "our loader" else 1e-4):
                sys.exit("reference.py: the streamed model is not transformers' model")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("prompts", nargs="?")
    parser.add_argument("out", nargs="?")
    parser.add_argument("--dtype", choices=DTYPES, default="f32")
    parser.add_argument("--last", type=int, default=0, help="rows to write, 0: all")
    parser.add_argument("--memory", type=float, default=6, help="GiB that layers may stay in memory with")
    parser.add_argument("--truncate-yarn", action="store_true", help="round the YaRN limits, as llama.cpp does")
    parser.add_argument("--q8", action="store_true", help="round the dense matrices to Q8_0 first")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.check:
        return check(args.folder)
    gpt_oss.eager_attention_forward = sliced_attention(EAGER)
    model = streamed_model(args.folder, DTYPES[args.dtype], args.memory * 2**30, args.truncate_yarn, args.q8)
    for i, ids in enumerate(json.loads(pathlib.Path(args.prompts).read_text())):
        logits(model, ids, args.last).tofile(pathlib.Path(args.out) / f"{i}.f32")


if __name__ == "__main__":
    main()
