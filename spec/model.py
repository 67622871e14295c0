#!/usr/bin/env python3
"""gpt-oss in numpy: the model as a page to read, in float32, one prompt at a time, nothing cached.

  model.py FOLDER --ids 1,2,3        the three likeliest next ids after each position
  model.py --check VECTORS.json      the tiny checkpoint inside VECTORS.json against its logits, hidden states, choices

FOLDER is a Hugging Face folder (sharded or not; MXFP4 or bf16 experts) or an original/ folder. Matrices are [out, in]
and y = W x. This program says what is computed, docs/arithmetic.md how gossamer rounds it.
"""
import argparse
import base64
import json
import math
import pathlib
import tempfile

import numpy as np

E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)


# ---- files ---------------------------------------------------------------------------------------------------------

class Tensors:
    """All tensors of the safetensors files in a folder, as float32 (U8 stays U8), read when asked for."""

    def __init__(self, folder):
        self.place = {}  # name -> (file, dtype, shape, offset)
        for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
            with open(path, "rb") as file:
                size = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(size))
            for name, t in header.items():
                if name != "__metadata__":
                    self.place[name] = (path, t["dtype"], t["shape"], 8 + size + t["data_offsets"][0])

    def __contains__(self, name):
        return name in self.place

    def __getitem__(self, name):
        path, dtype, shape, offset = self.place[name]
        stored = {"U8": np.uint8, "BF16": np.uint16, "F16": np.float16, "F32": np.float32}[dtype]
        raw = np.fromfile(path, stored, math.prod(shape), offset=offset).reshape(shape)
        if dtype == "BF16":
            return (raw.astype(np.uint32) << 16).view(np.float32)
        return raw if dtype == "U8" else raw.astype(np.float32)


def mxfp4(blocks, scales):
    """[.., C/32, 16] bytes of two values each, low nibble first, and [.., C/32] exponents -> [.., C]."""
    pairs = np.stack([E2M1[blocks & 15], E2M1[blocks >> 4]], axis=-1)
    values = np.ldexp(pairs.reshape(*blocks.shape[:-1], 32), scales.astype(np.int32)[..., None] - 127)
    return values.reshape(*blocks.shape[:-2], -1).astype(np.float32)


def read_config(folder):
    """The names of either config.json, as one set."""
    c = json.loads((pathlib.Path(folder) / "config.json").read_text())
    rope = c.get("rope_scaling") or c.get("rope_parameters") or {}
    n_layer = c["num_hidden_layers"]
    kinds = c.get("layer_types") or ["sliding_attention", "full_attention"] * n_layer
    return argparse.Namespace(
        n_layer=n_layer, n_head=c["num_attention_heads"], n_kv_head=c["num_key_value_heads"], head_dim=c["head_dim"],
        n_active=c.get("num_experts_per_tok") or c.get("experts_per_token"),
        window=c["sliding_window"], sliding=[kind == "sliding_attention" for kind in kinds[:n_layer]],
        eps=c.get("rms_norm_eps", 1e-5), limit=c.get("swiglu_limit", 7.0),
        theta=rope.get("rope_theta") or c.get("rope_theta", 150000.0),
        factor=rope.get("factor") or c.get("rope_scaling_factor", 32.0),
        beta_fast=rope.get("beta_fast") or c.get("rope_ntk_beta", 32.0),
        beta_slow=rope.get("beta_slow") or c.get("rope_ntk_alpha", 1.0),
        context=rope.get("original_max_position_embeddings") or c.get("initial_context_length", 4096))


class Weights:
    """A checkpoint under one set of names, whichever layout it has."""

    def __init__(self, folder):
        self.t, self.config = Tensors(folder), read_config(folder)
        self.original = "unembedding.weight" in self.t

    def top(self, name):
        names = {"embedding": ("model.embed_tokens.weight", "embedding.weight"),
                 "norm": ("model.norm.weight", "norm.scale"), "head": ("lm_head.weight", "unembedding.weight")}
        return self.t[names[name][self.original]]

    def layer(self, i):
        return self.layer_original(f"block.{i}.") if self.original else self.layer_hf(f"model.layers.{i}.")

    def layer_original(self, p):
        t, mlp = self.t, p + "mlp."
        return argparse.Namespace(
            attn_norm=t[p + "attn.norm.scale"], qkv=t[p + "attn.qkv.weight"], qkv_bias=t[p + "attn.qkv.bias"],
            sinks=t[p + "attn.sinks"], out=t[p + "attn.out.weight"], out_bias=t[p + "attn.out.bias"],
            mlp_norm=t[mlp + "norm.scale"], router=t[mlp + "gate.weight"], router_bias=t[mlp + "gate.bias"],
            w1=mxfp4(t[mlp + "mlp1_weight.blocks"], t[mlp + "mlp1_weight.scales"]), b1=t[mlp + "mlp1_bias"],
            w2=mxfp4(t[mlp + "mlp2_weight.blocks"], t[mlp + "mlp2_weight.scales"]), b2=t[mlp + "mlp2_bias"])

    def layer_hf(self, p):
        t, attn, mlp = self.t, p + "self_attn.", p + "mlp."

        def experts(name):  # bf16 exports hold [expert, in, out]
            if name + "_blocks" in t:
                return mxfp4(t[name + "_blocks"], t[name + "_scales"])
            return np.swapaxes(t[name], 1, 2)

        return argparse.Namespace(
            attn_norm=t[p + "input_layernorm.weight"], sinks=t[attn + "sinks"],
            qkv=np.concatenate([t[f"{attn}{x}_proj.weight"] for x in "qkv"]),
            qkv_bias=np.concatenate([t[f"{attn}{x}_proj.bias"] for x in "qkv"]),
            out=t[attn + "o_proj.weight"], out_bias=t[attn + "o_proj.bias"],
            mlp_norm=t[p + "post_attention_layernorm.weight"],
            router=t[mlp + "router.weight"], router_bias=t[mlp + "router.bias"],
            w1=experts(mlp + "experts.gate_up_proj"), b1=t[mlp + "experts.gate_up_proj_bias"],
            w2=experts(mlp + "experts.down_proj"), b2=t[mlp + "experts.down_proj_bias"])


# ---- the model -----------------------------------------------------------------------------------------------------

def rms_norm(x, gain, eps):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True, dtype=np.float32) + np.float32(eps)) * gain


def rope_tables(c, n):
    """cos and sin of [n, head_dim / 2] angles, times YaRN's concentration. The limits are not rounded."""
    half = c.head_dim // 2
    i = np.arange(half, dtype=np.float64)
    frequency = c.theta ** (-i / half)

    def dimension(turns):
        return half * math.log(c.context / (turns * 2 * math.pi)) / math.log(c.theta)

    low, high = dimension(c.beta_fast), dimension(c.beta_slow)
    ramp = np.clip((i - low) / (high - low), 0, 1)
    inv = (frequency * (1 - ramp) + frequency / c.factor * ramp).astype(np.float32)
    angle = np.arange(n, dtype=np.float32)[:, None] * inv
    concentration = np.float32(0.1 * math.log(c.factor) + 1)
    return np.cos(angle) * concentration, np.sin(angle) * concentration


def rotate(x, cos, sin):
    """x [n, heads, head_dim]: element i turns with element i + head_dim / 2."""
    a, b = np.split(x, 2, axis=-1)
    cos, sin = cos[:, None], sin[:, None]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def attention(c, w, x, sliding, tables):
    n, d = len(x), c.head_dim
    qkv = rms_norm(x, w.attn_norm, c.eps) @ w.qkv.T + w.qkv_bias
    q, k, v = np.split(qkv.reshape(n, -1, d), [c.n_head, c.n_head + c.n_kv_head], axis=1)
    q, k = rotate(q, *tables), rotate(k, *tables)
    group = c.n_head // c.n_kv_head  # query head h reads key head h // group
    k, v = np.repeat(k, group, axis=1), np.repeat(v, group, axis=1)
    scores = np.einsum("qhd,khd->hqk", q, k) / np.float32(math.sqrt(d))
    distance = np.arange(n)[:, None] - np.arange(n)  # of query and key
    seen = (distance >= 0) & (distance < (c.window if sliding else n))
    scores = np.where(seen, scores, -np.inf)
    sinks = w.sinks[:, None, None]  # one more logit, without a value and without the scale
    top = np.maximum(scores.max(axis=-1, keepdims=True), sinks)
    weights = np.exp(scores - top)
    weights /= weights.sum(axis=-1, keepdims=True) + np.exp(sinks - top)
    out = np.einsum("hqk,khd->qhd", weights, v).reshape(n, -1)
    return x + out @ w.out.T + w.out_bias


def swiglu(h, limit):
    gate, up = np.minimum(h[..., 0::2], limit), np.clip(h[..., 1::2], -limit, limit)
    return gate / (1 + np.exp(np.float32(-1.702) * gate)) * (up + 1)


def experts(c, w, x):
    """Also returns the chosen experts, [n][n_active], the greatest logit first."""
    m = rms_norm(x, w.mlp_norm, c.eps)
    logits = m @ w.router.T + w.router_bias
    chosen = np.argsort(-logits, axis=-1, kind="stable")[:, :c.n_active]
    weights = np.exp(np.take_along_axis(logits, chosen, axis=-1) - logits.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    out = x.copy()
    for expert in np.unique(chosen):
        rows, slots = np.nonzero(chosen == expert)
        h = swiglu(m[rows] @ w.w1[expert].T + w.b1[expert], np.float32(c.limit))
        out[rows] += weights[rows, slots, None] * (h @ w.w2[expert].T + w.b2[expert])
    return out, chosen


def forward(weights, ids, look=lambda name, value: None):
    """Logits [len(ids), vocabulary]. look is shown the residual stream and the chosen experts on the way."""
    c = weights.config
    x, tables = weights.top("embedding")[ids], rope_tables(c, len(ids))
    for i in range(c.n_layer):
        w = weights.layer(i)
        x = attention(c, w, x, c.sliding[i], tables)
        look(f"after_attn.{i}", x)
        x, chosen = experts(c, w, x)
        look(f"choice.{i}", chosen)
        look(f"after_block.{i}", x)
    return rms_norm(x, weights.top("norm"), c.eps) @ weights.top("head").T


# ---- commands ------------------------------------------------------------------------------------------------------

def check(path):
    vectors, seen = json.loads(pathlib.Path(path).read_text()), {}
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "model.safetensors").write_bytes(base64.b64decode(vectors["file_base64"]))
        (pathlib.Path(folder) / "config.json").write_text(json.dumps(vectors["config"]))
        logits = forward(Weights(folder), vectors["ids"], seen.__setitem__)
    worst = np.abs(logits - np.array(vectors["logits_f32"])).max()
    hidden = max(np.abs(seen[name][-1] - np.array(want)).max() for name, want in vectors["hidden"].items())
    same = all((np.sort(seen[f"choice.{i}"]) == np.sort(np.array(want))).all() for i, want in vectors["router_choice"])
    print(f"greatest difference: logits {worst:.2g}, hidden states {hidden:.2g}; same experts: {same}")
    return worst < 1e-4 and hidden < 1e-3 and same


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--ids", type=lambda text: [int(x) for x in text.split(",")])
    parser.add_argument("--check", metavar="VECTORS.json")
    args = parser.parse_args()
    if args.check:
        raise SystemExit(not check(args.check))
    if not args.folder or not args.ids:
        parser.error("FOLDER and --ids are needed")
    logits = forward(Weights(args.folder), args.ids)
    for position, row in enumerate(logits):
        best = np.argsort(-row, kind="stable")[:3]
        print(position, args.ids[position], *(f"{i}:{row[i]:.4f}" for i in best))


if __name__ == "__main__":
    main()
