#!/usr/bin/env python3
"""Logits of llama.cpp on a GGUF file, through the low-level half of the package llama-cpp-python.

  peer_llama.py MODEL.gguf PROMPTS.json OUT_DIR [--last N] [--cache f16|f32]

Same input and output as reference.py. Settings are the library's defaults (flash attention chosen by it, f16 cache,
batches of 512) except for the context, which is as long as the prompt needs, and the repacked weight buffers, which are
off: their AMX kernel crashed on small Q8_0 matrices (llama-cpp-python 0.3.36).
"""
import argparse
import ctypes
import json
import pathlib

import llama_cpp
import numpy as np

BATCH = 512
GGML_TYPE = {"f32": 0, "f16": 1}


@llama_cpp.llama_log_callback
def silent(_level, _text, _data):
    pass


def logits(model, n_vocab, ids, last, cache, threads):
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = -(-len(ids) // 256) * 256
    params.n_batch = params.n_ubatch = BATCH
    params.n_outputs_max = BATCH
    params.type_k = params.type_v = GGML_TYPE[cache]
    params.n_threads = params.n_threads_batch = threads
    context = llama_cpp.llama_init_from_model(model, params)
    if not context:
        raise SystemExit("peer_llama.py: the library refuses the context")
    first = max(0, len(ids) - last) if last else 0
    rows = np.empty((len(ids) - first, n_vocab), "<f4")
    batch = llama_cpp.llama_batch_init(BATCH, 0, 1)
    for start in range(0, len(ids), BATCH):
        batch.n_tokens = min(BATCH, len(ids) - start)
        for i in range(batch.n_tokens):
            batch.token[i], batch.pos[i], batch.logits[i] = ids[start + i], start + i, start + i >= first
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
        if llama_cpp.llama_decode(context, batch) != 0:
            raise SystemExit("peer_llama.py: the library fails to decode")
        for i in range(max(0, first - start), batch.n_tokens):
            row = llama_cpp.llama_get_logits_ith(context, i)
            rows[start + i - first] = np.ctypeslib.as_array(row, (n_vocab,))
    llama_cpp.llama_batch_free(batch)
    llama_cpp.llama_free(context)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("prompts")
    parser.add_argument("out")
    parser.add_argument("--last", type=int, default=0, help="rows to write, 0: all")
    parser.add_argument("--cache", choices=GGML_TYPE, default="f16")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    params = llama_cpp.llama_model_default_params()
    params.use_extra_bufts = False
    model = llama_cpp.llama_model_load_from_file(args.model.encode(), params)
    if not model:
        raise SystemExit(f"peer_llama.py: the library refuses {args.model}")
    n_vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    for i, ids in enumerate(json.loads(pathlib.Path(args.prompts).read_text())):
        rows = logits(model, n_vocab, ids, args.last, args.cache, args.threads)
        rows.tofile(pathlib.Path(args.out) / f"{i}.f32")


if __name__ == "__main__":
    main()
