#!/usr/bin/env python3
"""Makes tests/model/vectors/closeness.{f32,sha256}: transformers' float32 logits of the toy checkpoint that
tests/model/test_closeness.c compares gossamer with.

  make_closeness.py BUILD/tests/model_test_closeness
"""
import argparse
import hashlib
import json
import pathlib
import subprocess
import tempfile

import numpy as np
import torch
from transformers.models.gpt_oss import modeling_gpt_oss as gpt_oss

import reference

VECTORS = pathlib.Path(__file__).parent.parent / "model/vectors"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wanted = json.loads(subprocess.run([args.program, folder], check=True, capture_output=True).stdout)
        reference.check(folder)
        gpt_oss.eager_attention_forward = reference.sliced_attention(reference.EAGER)
        logits = reference.logits(reference.streamed_model(folder, torch.float32, 2**30), wanted["ids"])
        digest = hashlib.sha256((pathlib.Path(folder) / "model.safetensors").read_bytes()).hexdigest()
    VECTORS.mkdir(parents=True, exist_ok=True)
    np.concatenate((logits[:wanted["first"]], logits[-wanted["last"]:])).tofile(VECTORS / "closeness.f32")
    (VECTORS / "closeness.sha256").write_text(digest + "\n")


if __name__ == "__main__":
    main()
