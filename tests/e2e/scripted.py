#!/usr/bin/env python3
"""A model that always plays the same part, as a Hugging Face folder: it reasons, calls a function, and when the answer
to the call is in its prompt, it gives its final answer. So clients meet every form of output without real weights.

  scripted.py FOLDER GOSSAMER --final TEXT [--reasoning TEXT] [--call NAME ARGUMENTS]

The weights are a chain: every token of the part has a dimension of its own, and the head maps each token's dimension to
its successor. Where the successor depends on what happened before (after <|channel|> and <|message|>), two attention
heads look for two tokens in the context, the last one of the reasoning (prompts must not hold it) and <|call|>, and
raise a flag for each. Since a chain knows only its last token, no token may come twice: texts are cut into pieces of
the vocabulary that all differ.
Needs nothing but the standard library; the folder has some 200 MB, nearly all of them holes."""
import argparse
import json
import pathlib
import struct
import subprocess

VOCABULARY, WIDTH, HEAD, FF, EXPERTS = 201088, 256, 64, 64, 4
RETURN, CONSTRAIN, CHANNEL, START, END, MESSAGE, CALL = 200002, 200003, 200005, 200006, 200007, 200008, 200012
REASONED, CALLED = WIDTH - 2, WIDTH - 1  # the dimensions of the flags
SLOW = HEAD // 2 - 1  # the pair of dimensions that the rotary embedding turns least
CERTAIN = 20.0  # large enough for every other token to be out of the question at temperature 1
TEXT_TOKENS = 199998


def vocabulary(program):
    """{bytes: id} of all tokens of text."""
    ids = []
    for i in range(TEXT_TOKENS):
        ids += [i, END]
    out = subprocess.run([program, "detokenize", "--special"], input=json.dumps(ids).encode(), stdout=subprocess.PIPE, check=True)
    pieces = out.stdout.split(b"<|end|>")[:TEXT_TOKENS]
    return {piece: i for i, piece in enumerate(pieces)}


class Part:
    """The tokens of a part, each with a dimension, and the rules that lead from one to the next."""

    def __init__(self, tokens):
        self.tokens, self.dimension, self.head = tokens, {}, {}

    def add(self, token):
        assert token not in self.dimension, "a token comes twice"
        self.dimension[token] = len(self.dimension)
        assert len(self.dimension) < REASONED, "the part is too long"

    def cut(self, text):
        """text in pieces that no other text of the part uses; found by trying the longest first, with a way back."""
        data, used, path, begin = text.encode(), set(self.dimension), [], 0
        lengths = [min(12, len(data))]
        while begin < len(data):
            length = lengths.pop()
            while length and ((i := self.tokens.get(data[begin:begin + length])) is None or i in used):
                length -= 1
            if length:
                path.append((begin, length, i))
                used.add(i)
                begin += length
                lengths += [length - 1, min(12, len(data) - begin)]
                continue
            assert path, f"no way to cut {text!r} into different tokens"
            begin, _, i = path.pop()
            used.remove(i)
        ids = [i for _, _, i in path]
        for i in ids:
            self.add(i)
        return ids

    def follow(self, token, after, certainty=1.0, flags=()):
        row = self.head.setdefault(token, {})
        row[self.dimension[after]] = certainty * CERTAIN
        for flag, weight in flags:
            row[flag] = weight * CERTAIN

    def chain(self, ids):
        for after, token in zip(ids, ids[1:]):
            self.follow(token, after)


def make_part(program, final, reasoning, call):
    """A flag adds to the likelihood of its branch wherever it is raised, yet never as much as the token that follows."""
    part = Part(vocabulary(program))
    for token in (CHANNEL, MESSAGE, START, END, RETURN, CALL, CONSTRAIN):
        part.add(token)
    assistant, analysis, final_channel = (part.cut(word)[0] for word in ("assistant", "analysis", "final"))
    part.chain([END, START, assistant, CHANNEL])
    thought, answer = part.cut(reasoning), part.cut(final)
    part.follow(analysis, CHANNEL)
    part.follow(thought[0], MESSAGE)
    part.chain(thought + [END])
    part.follow(MESSAGE, analysis)
    part.follow(MESSAGE, final_channel)
    last = CALLED if call else REASONED  # what must have happened before the answer
    part.follow(final_channel, CHANNEL, 0.8, [(last, 0.8)])
    part.follow(answer[0], MESSAGE, 0.8, [(last, 0.8)])
    part.chain(answer + [RETURN])
    if call:
        header, json_type = part.cut(f"commentary to=functions.{call[0]} "), part.cut("json")
        arguments = part.cut(call[1])
        part.follow(header[0], CHANNEL, 0.8, [(REASONED, 0.6)])
        part.follow(arguments[0], MESSAGE, 0.8, [(REASONED, 0.6)])
        part.chain([*header, CONSTRAIN, *json_type, MESSAGE])
        part.chain(arguments + [CALL])
    return part, {0: part.dimension[thought[-1]], 1: part.dimension[CALL]}


# ---- the checkpoint


def tensors(part, markers):
    """(name, type, shape, {flat index: value})"""
    eye = 1.0 / WIDTH**0.5  # undoes the norm of a vector with a single one
    yield "model.embed_tokens.weight", (VOCABULARY, WIDTH), {t * WIDTH + d: 1.0 for t, d in part.dimension.items()}
    yield "lm_head.weight", (VOCABULARY, WIDTH), {t * WIDTH + d: v for t, row in part.head.items() for d, v in row.items()}
    yield "model.norm.weight", (WIDTH,), dict.fromkeys(range(WIDTH), 1.0)
    for layer in range(2):
        looks = layer == 1  # the first layer sees no further than its window
        name = f"model.layers.{layer}."
        ones = dict.fromkeys(range(WIDTH), 1.0)
        yield name + "input_layernorm.weight", (WIDTH,), ones
        yield name + "post_attention_layernorm.weight", (WIDTH,), ones
        for i, (key, rows, columns) in enumerate((("q", 2 * HEAD, WIDTH), ("k", 2 * HEAD, WIDTH), ("v", 2 * HEAD, WIDTH), ("o", WIDTH, 2 * HEAD))):
            weight, bias = {}, {}
            for head, marker in markers.items() if looks else ():
                if key == "q":
                    bias[head * HEAD + SLOW] = 32.0
                elif key == "k":
                    weight[(head * HEAD + SLOW) * WIDTH + marker] = 1.0
                elif key == "v":
                    weight[head * HEAD * WIDTH + marker] = eye
                else:
                    weight[(REASONED + head) * columns + head * HEAD] = 1.0
            yield f"{name}self_attn.{key}_proj.weight", (rows, columns), weight
            yield f"{name}self_attn.{key}_proj.bias", (rows,), bias
        yield name + "self_attn.sinks", (2,), {}
        yield name + "mlp.router.weight", (EXPERTS, WIDTH), {}
        yield name + "mlp.router.bias", (EXPERTS,), {}
        for key, rows, columns in (("gate_up_proj", 2 * FF, WIDTH), ("down_proj", WIDTH, FF)):
            full = f"{name}mlp.experts.{key}"
            yield full + "_blocks", (EXPERTS, rows, columns // 32, 16), {}
            yield full + "_scales", (EXPERTS, rows, columns // 32), {}
            yield full + "_bias", (EXPERTS, rows), {}


def bf16(value):
    return struct.pack("<f", value)[2:]


def write(folder, part, markers):
    folder.mkdir(parents=True, exist_ok=True)
    header, offset, places = {"__metadata__": {"format": "pt"}}, 0, []
    for name, shape, values in tensors(part, markers):
        is_bytes = name.endswith(("_blocks", "_scales"))
        size = 1 if is_bytes else 2
        for n in shape:
            size *= n
        header[name] = {"dtype": "U8" if is_bytes else "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        places.append((offset, values))
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        base = file.tell()
        for place, values in places:
            for index, value in values.items():
                file.seek(base + place + 2 * index)
                file.write(bf16(value))
        file.truncate(base + offset)
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["GptOssForCausalLM"], "attention_bias": True, "experts_per_token": EXPERTS, "head_dim": HEAD,
        "hidden_act": "silu", "hidden_size": WIDTH, "initial_context_length": 4096, "intermediate_size": FF,
        "layer_types": ["sliding_attention", "full_attention"], "max_position_embeddings": 131072,
        "model_type": "gpt_oss", "num_attention_heads": 2, "num_experts_per_tok": EXPERTS, "num_hidden_layers": 2,
        "num_key_value_heads": 2, "num_local_experts": EXPERTS, "rms_norm_eps": 1e-05,
        "quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": [
            "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]},
        "rope_scaling": {"beta_fast": 32.0, "beta_slow": 1.0, "factor": 32.0, "original_max_position_embeddings": 4096,
                         "rope_type": "yarn", "truncate": False},
        "rope_theta": 150000, "sliding_window": 128, "swiglu_limit": 7.0, "tie_word_embeddings": False,
        "eos_token_id": RETURN, "vocab_size": VOCABULARY}))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", type=pathlib.Path)
    p.add_argument("gossamer")
    p.add_argument("--final", required=True)
    p.add_argument("--reasoning", default="I should look, evidently")
    p.add_argument("--call", nargs=2, metavar=("NAME", "ARGUMENTS"))
    a = p.parse_args()
    write(a.folder, *make_part(a.gossamer, a.final, a.reasoning, a.call))


if __name__ == "__main__":
    main()
