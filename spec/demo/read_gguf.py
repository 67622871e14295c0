"""A small GGUF reader: metadata and tensors of one file, dequantised to float32. Knows the types that the demo's file
holds (F32, Q8_0, Q4_1) and refuses others by name. https://github.com/ggml-org/ggml/blob/master/docs/gguf.md"""
import struct

import numpy as np

SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
STRING, ARRAY = 8, 9
F32, Q4_1, Q8_0 = 0, 3, 8


class Reader:
    """Walks the header; every read is checked against the bytes that exist."""

    def __init__(self, data, name):
        self.data, self.name, self.at = data, name, 0

    def take(self, n):
        if n > len(self.data) - self.at:
            raise ValueError(f"{self.name}: cut off at byte {self.at}, {n} more are needed")
        self.at += n
        return self.data[self.at - n : self.at]

    def scalar(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def string(self):
        return self.take(self.scalar("<Q")).tobytes().decode()

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            element, n = self.scalar("<I"), self.scalar("<Q")
            if element == ARRAY:
                raise ValueError(f"{self.name}: nested arrays are not supported")
            return [self.value(element) for _ in range(n)]
        if kind not in SCALARS:
            raise ValueError(f"{self.name}: unknown metadata type {kind}")
        return self.scalar(SCALARS[kind])


def dequantise(raw, kind, n):
    """raw: uint8, n values of one of the three types -> float32 [n]"""
    if kind == F32:
        return raw.view("<f4")
    if kind == Q8_0:  # blocks of 32: f16 scale, 32 int8
        block = raw.reshape(n // 32, 34)
        scale = block[:, :2].copy().view("<f2").astype(np.float32)
        return (scale * block[:, 2:].view(np.int8)).reshape(n)
    # Q4_1, blocks of 32: f16 scale, f16 minimum, 16 bytes whose low nibbles are values 0..15 and high ones 16..31
    block = raw.reshape(n // 32, 20)
    scale, low = (block[:, i : i + 2].copy().view("<f2").astype(np.float32) for i in (0, 2))
    quants = np.concatenate([block[:, 4:] & 15, block[:, 4:] >> 4], axis=1)
    return (scale * quants + low).reshape(n)


def read(path):
    """-> (metadata dict, tensors dict of float32 arrays in row-major shape)"""
    data = np.memmap(path, np.uint8, "r")
    reader = Reader(data, path)
    if reader.take(4).tobytes() != b"GGUF" or reader.scalar("<I") != 3:
        raise ValueError(f"{path}: not a GGUF file of version 3")
    n_tensor, n_value = reader.scalar("<Q"), reader.scalar("<Q")
    metadata = {}
    for _ in range(n_value):
        key = reader.string()
        metadata[key] = reader.value(reader.scalar("<I"))
    infos = []
    for _ in range(n_tensor):
        name = reader.string()
        shape = [reader.scalar("<Q") for _ in range(reader.scalar("<I"))][::-1]  # the file has the fastest first
        infos.append((name, shape, reader.scalar("<I"), reader.scalar("<Q")))
    alignment = metadata.get("general.alignment", 32)
    start = -(-reader.at // alignment) * alignment
    tensors = {}
    for name, shape, kind, offset in infos:
        n = int(np.prod(shape))
        size = {F32: 4 * n, Q8_0: n // 32 * 34, Q4_1: n // 32 * 20}.get(kind)
        if size is None:
            raise ValueError(f"{path}: tensor {name} has type {kind}; F32, Q8_0 and Q4_1 are supported")
        reader.at = start + offset
        tensors[name] = dequantise(np.array(reader.take(size)), kind, n).reshape(shape)
    return metadata, tensors
