#!/usr/bin/env python3
"""spec/model.py, the model in numpy, against transformers in float32 on a Hugging Face folder.

  check_model.py HF_FOLDER [--length N]
"""
import argparse
import pathlib
import sys

import numpy as np
import torch

import reference

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent.parent / "spec"))
import model  # noqa: E402

BOUND = 2e-4  # float32 sums in two orders; the logits of synth.py's checkpoints reach 10


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--length", type=int, default=400)
    args = parser.parse_args()
    n_vocab = reference.read_config(args.folder).vocab_size
    ids = np.random.default_rng(0).integers(0, n_vocab, args.length).tolist()
    expected = reference.logits(reference.streamed_model(args.folder, torch.float32, 2**32), ids)
    difference = np.abs(np.asarray(model.forward(model.Weights(args.folder), ids)) - expected).max()
    print(f"largest difference of a logit: {difference:.2e}")
    sys.exit(0 if difference < BOUND else "check_model.py: spec/model.py is not transformers' model")


if __name__ == "__main__":
    main()
