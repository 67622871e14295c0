#!/usr/bin/env python3
"""SmolLM2-135M-Instruct (a Llama-shaped GGUF) as a Hugging Face gpt-oss folder, with the adapter that taught it Harmony.

    smollm2_to_gptoss.py MODEL.gguf OUT [--adapter FILE.safetensors]

Nothing is approximated but the rounding to bf16: docs/demo-model.md says why each step is exact. Needs numpy only. The
result is the same bytes on every machine: no matrix product goes through a BLAS, all arithmetic is elementwise."""
import argparse
import json
import os
import struct

import numpy as np

import read_gguf

N_EXPERT = 4  # each FFN is split into 4, all of them active, each weighing exactly 1/4
ALPHA = np.float32(1.702)  # gpt-oss: gate * sigmoid(1.702 gate) * (up + 1)
NO_LIMIT = 1e30  # a swiglu_limit that never binds

# The control tokens of Harmony take special tokens of SmolLM2 that its instruction tuning never used.
CONTROL = {3: "<|start|>", 4: "<|end|>", 5: "<|message|>", 6: "<|channel|>", 7: "<|constrain|>", 8: "<|return|>",
           9: "<|call|>"}
ENDOFTEXT, RETURN, CALL = 0, 8, 9

MATRICES = ("q", "k", "v", "o", "gate", "up", "down")
GGUF_NAMES = {"q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output", "gate": "ffn_gate", "up": "ffn_up",
              "down": "ffn_down"}


def unpermute(weight, n_head):
    """llama.cpp stores the rows of q and k so that RoPE's pairs are neighbours; gpt-oss has them half a head apart."""
    rows, cols = weight.shape
    return weight.reshape(n_head, rows // n_head // 2, 2, cols).swapaxes(1, 2).reshape(rows, cols)


def read_llama(path):
    """-> (metadata, {"embed", "norm", "layers": [{"q".. [out][in], "attn_norm", "mlp_norm"}]}), all float32"""
    metadata, tensors = read_gguf.read(path)
    if metadata["general.architecture"] != "llama" or "output.weight" in tensors:
        raise ValueError(f"{path}: not a Llama-shaped model with a tied head")
    layers = []
    for i in range(metadata["llama.block_count"]):
        layer = {name: tensors[f"blk.{i}.{stored}.weight"] for name, stored in GGUF_NAMES.items()}
        layer["q"] = unpermute(layer["q"], metadata["llama.attention.head_count"])
        layer["k"] = unpermute(layer["k"], metadata["llama.attention.head_count_kv"])
        layer["attn_norm"] = tensors[f"blk.{i}.attn_norm.weight"]
        layer["mlp_norm"] = tensors[f"blk.{i}.ffn_norm.weight"]
        layers.append(layer)
    return metadata, {"embed": tensors["token_embd.weight"], "norm": tensors["output_norm.weight"], "layers": layers}


def read_safetensors(path):
    types = {"I8": "i1", "BF16": "<u2", "F32": "<f4"}
    with open(path, "rb") as f:
        data = f.read()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    return {name: np.frombuffer(data[8 + size :][slice(*entry["data_offsets"])], types[entry["dtype"]])
            .reshape(entry["shape"]) for name, entry in header.items()}


def apply_adapter(llama, adapter):
    """W += sum over k of b[:,k] a[k,:], one rank at a time, so that the order of every sum is fixed. The factors are
    int8 with one scale per vector: the product of two is exact. Also puts in the rows of the control tokens."""
    for name in MATRICES:
        a, b = adapter[f"{name}.a"], adapter[f"{name}.b"]  # [layer][rank][in], [layer][rank][out]
        scale = adapter[f"{name}.scale"]  # [layer][rank]
        for i, layer in enumerate(llama["layers"]):
            total = layer[name].copy()
            for k in range(a.shape[1]):
                total += np.multiply.outer(b[i, k].astype(np.float32), a[i, k].astype(np.float32) * scale[i, k])
            layer[name] = total
    ids = sorted(CONTROL)
    llama["head"] = llama["embed"].copy()
    llama["head"][ids] = adapter["head_rows"]
    llama["embed"][ids] = adapter["embed_rows"]


def bf16(x):
    """float32 -> bf16 bits, round to nearest even"""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def experts_of(layer):
    """silu(g) * u with g, u = Wg x, Wu x becomes gpt-oss's gate' * sigmoid(1.702 gate') * (up' + 1) with
    gate' = g / 1.702 and up' = 1.702 u - 1; each expert takes its quarter of the rows, and 4 times its part of the down
    projection answers the router's 1/4."""
    width, d_model = layer["gate"].shape
    d_ff = width // N_EXPERT
    gate_up = np.empty((N_EXPERT, d_model, 2 * d_ff), np.float32)
    gate_up[:, :, 0::2] = (layer["gate"] / ALPHA).reshape(N_EXPERT, d_ff, d_model).swapaxes(1, 2)
    gate_up[:, :, 1::2] = (layer["up"] * ALPHA).reshape(N_EXPERT, d_ff, d_model).swapaxes(1, 2)
    gate_up_bias = np.zeros((N_EXPERT, 2 * d_ff), np.float32)
    gate_up_bias[:, 1::2] = -1
    down = (layer["down"] * np.float32(N_EXPERT)).T.reshape(N_EXPERT, d_ff, d_model)
    return gate_up, gate_up_bias, down


def gptoss_tensors(llama, n_head):
    """Yields (name, float32 array) in the order of the file."""
    yield "model.embed_tokens.weight", llama["embed"]
    for i, layer in enumerate(llama["layers"]):
        prefix = f"model.layers.{i}."
        d_model = len(layer["attn_norm"])
        yield prefix + "input_layernorm.weight", layer["attn_norm"]
        for name in "qkvo":
            yield f"{prefix}self_attn.{name}_proj.weight", layer[name]
            yield f"{prefix}self_attn.{name}_proj.bias", np.zeros(len(layer[name]), np.float32)
        yield prefix + "self_attn.sinks", np.full(n_head, -np.inf, np.float32)
        yield prefix + "post_attention_layernorm.weight", layer["mlp_norm"]
        yield prefix + "mlp.router.weight", np.zeros((N_EXPERT, d_model), np.float32)
        yield prefix + "mlp.router.bias", np.zeros(N_EXPERT, np.float32)
        gate_up, gate_up_bias, down = experts_of(layer)
        yield prefix + "mlp.experts.gate_up_proj", gate_up
        yield prefix + "mlp.experts.gate_up_proj_bias", gate_up_bias
        yield prefix + "mlp.experts.down_proj", down
        yield prefix + "mlp.experts.down_proj_bias", np.zeros((N_EXPERT, d_model), np.float32)
    yield "model.norm.weight", llama["norm"]
    yield "lm_head.weight", llama.get("head", llama["embed"])


def write_safetensors(path, make):
    """make() yields (name, float32 array): once for the header, once for the bytes, so that one tensor is in memory
    at a time. The file gets its name when it is complete."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, array in make():
        header[name] = {"dtype": "BF16", "shape": list(array.shape), "data_offsets": [at, at + 2 * array.size]}
        at += 2 * array.size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path + ".part", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for _, array in make():
            f.write(bf16(array).tobytes())
        f.flush()
        os.fsync(f.fileno())
    os.replace(path + ".part", path)


def config_of(metadata, llama):
    n_layer, n_head = metadata["llama.block_count"], metadata["llama.attention.head_count"]
    d_model = metadata["llama.embedding_length"]
    return {
        "architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "attention_bias": True,
        "attention_dropout": 0.0, "eos_token_id": RETURN, "pad_token_id": ENDOFTEXT,
        "experts_per_token": N_EXPERT, "num_experts_per_tok": N_EXPERT, "num_local_experts": N_EXPERT,
        "head_dim": d_model // n_head, "hidden_act": "silu", "hidden_size": d_model,
        "intermediate_size": metadata["llama.feed_forward_length"] // N_EXPERT,
        "initial_context_length": metadata["llama.context_length"],
        "layer_types": ["full_attention"] * n_layer, "max_position_embeddings": metadata["llama.context_length"],
        "num_attention_heads": n_head, "num_hidden_layers": n_layer,
        "num_key_value_heads": metadata["llama.attention.head_count_kv"], "output_router_logits": False,
        "rms_norm_eps": 1e-05, "rope_theta": metadata["llama.rope.freq_base"],
        "rope_parameters": {"rope_type": "default", "rope_theta": metadata["llama.rope.freq_base"]},
        "sliding_window": 128, "swiglu_limit": NO_LIMIT, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
        "vocab_size": len(llama["embed"]),
    }


def tokenizer_of(metadata):
    """SmolLM2's byte-level BPE with Harmony's literals: digits one by one, then GPT-2's splitting pattern."""
    tokens = [CONTROL.get(i, text) for i, text in enumerate(metadata["tokenizer.ggml.tokens"])]
    special = [i for i, kind in enumerate(metadata["tokenizer.ggml.token_type"]) if kind == 3]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": tokens[i], "single_word": False, "lstrip": False, "rstrip": False,
                          "normalized": False, "special": True} for i in special],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence",
                          "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level]},
        "post_processor": None, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {text: i for i, text in enumerate(tokens)},
                  "merges": [merge.split(" ") for merge in metadata["tokenizer.ggml.merges"]]},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("gguf")
    parser.add_argument("out")
    parser.add_argument("--adapter")
    options = parser.parse_args()
    metadata, llama = read_llama(options.gguf)
    if options.adapter:
        apply_adapter(llama, read_safetensors(options.adapter))
    os.makedirs(options.out, exist_ok=True)
    generation = {"eos_token_id": [RETURN, ENDOFTEXT, CALL], "pad_token_id": ENDOFTEXT, "do_sample": True}
    for name, content in (("config.json", config_of(metadata, llama)), ("generation_config.json", generation),
                          ("tokenizer.json", tokenizer_of(metadata))):
        with open(os.path.join(options.out, name), "w", encoding="utf-8") as f:
            json.dump(content, f, ensure_ascii=False, indent=1)
    n_head = metadata["llama.attention.head_count"]
    write_safetensors(os.path.join(options.out, "model.safetensors"), lambda: gptoss_tensors(llama, n_head))


if __name__ == "__main__":
    main()
