"""Each step of spec/demo/smollm2_to_gptoss.py against the plain formula that it has to preserve."""
import pathlib
import struct
import sys
import tempfile
import unittest

import numpy as np

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "spec" / "demo"))
import read_gguf
import smollm2_to_gptoss as conversion

RANDOM = np.random.default_rng(1)


def normal(*shape):
    return RANDOM.standard_normal(shape, np.float32)


def f32_of(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


class Conversion(unittest.TestCase):
    def test_experts_at_a_quarter_each_equal_the_whole_ffn(self):
        layer = {"gate": normal(64, 32), "up": normal(64, 32), "down": normal(32, 64)}
        x = normal(32).astype(np.float64)
        gate = layer["gate"] @ x
        expected = layer["down"] @ (gate / (1 + np.exp(-gate)) * (layer["up"] @ x))
        gate_up, bias, down = conversion.experts_of(layer)
        total = 0
        for e in range(conversion.N_EXPERT):
            h = x @ gate_up[e] + bias[e]
            total += 0.25 * (h[0::2] / (1 + np.exp(-1.702 * h[0::2])) * (h[1::2] + 1)) @ down[e]
        np.testing.assert_allclose(total, expected, rtol=1e-4, atol=1e-4)

    def test_half_split_rope_after_the_row_order_is_undone_equals_interleaved_rope_before(self):
        heads, size = 2, 8
        stored, x, angle = normal(heads * size, 16), normal(16), normal(size // 2)
        cos, sin = np.cos(angle), np.sin(angle)
        a, b = np.moveaxis((stored @ x).reshape(heads, size // 2, 2), -1, 0)
        interleaved = np.stack([a * cos - b * sin, b * cos + a * sin])
        a, b = np.moveaxis((conversion.unpermute(stored, heads) @ x).reshape(heads, 2, size // 2), 1, 0)
        np.testing.assert_allclose(np.stack([a * cos - b * sin, b * cos + a * sin]), interleaved, rtol=1e-5, atol=1e-5)

    def test_an_adapter_adds_its_product_and_sets_the_control_rows(self):
        names, rank = conversion.MATRICES, 3
        llama = {"embed": normal(12, 4), "layers": [{name: normal(6, 5) for name in names} for _ in range(2)]}
        before = [{name: layer[name].copy() for name in names} for layer in llama["layers"]]
        rows = len(conversion.CONTROL)
        adapter = {"embed_rows": normal(rows, 4), "head_rows": normal(rows, 4)}
        for name in names:
            adapter[f"{name}.a"] = RANDOM.integers(-127, 128, (2, rank, 5), np.int8)
            adapter[f"{name}.b"] = RANDOM.integers(-127, 128, (2, rank, 6), np.int8)
            adapter[f"{name}.scale"] = normal(2, rank) * np.float32(1e-4)
        conversion.apply_adapter(llama, adapter)
        for i, layer in enumerate(llama["layers"]):
            for name in names:
                product = np.einsum("ko,k,ki->oi", adapter[f"{name}.b"][i].astype(np.float64), adapter[f"{name}.scale"][i],
                                    adapter[f"{name}.a"][i].astype(np.float64))
                np.testing.assert_allclose(layer[name], before[i][name] + product, rtol=1e-4, atol=1e-4)
                self.assertEqual(layer[name].dtype, np.float32)
        np.testing.assert_array_equal(llama["embed"][sorted(conversion.CONTROL)], adapter["embed_rows"])
        np.testing.assert_array_equal(llama["head"][sorted(conversion.CONTROL)], adapter["head_rows"])

    def test_bf16_rounds_to_nearest_and_ties_to_even(self):
        x = np.array([1, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -np.inf, 0], np.float32)
        expected = np.array([1, 1, 1 + 2**-6, 1 + 2**-7, -np.inf, 0], np.float32)
        np.testing.assert_array_equal(f32_of(conversion.bf16(x)), expected)

    def test_q4_1_and_q8_0_blocks_are_read_as_ggml_writes_them(self):
        scale, low = np.float16(0.5), np.float16(-3)
        quants = np.arange(32, dtype=np.uint8) % 16
        raw = np.frombuffer(scale.tobytes() + low.tobytes() + (quants[:16] | quants[16:] << 4).tobytes(), np.uint8)
        np.testing.assert_array_equal(read_gguf.dequantise(raw, read_gguf.Q4_1, 32), quants * np.float32(0.5) - 3)
        signed = np.arange(-16, 16, dtype=np.int8)
        raw = np.frombuffer(scale.tobytes() + signed.tobytes(), np.uint8)
        np.testing.assert_array_equal(read_gguf.dequantise(raw, read_gguf.Q8_0, 32), signed * np.float32(0.5))

    def test_a_cut_off_file_is_refused_by_name(self):
        with tempfile.NamedTemporaryFile(suffix=".gguf") as f:
            f.write(b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + struct.pack("<Q", 1 << 40))
            f.flush()
            with self.assertRaisesRegex(ValueError, f"{f.name}: cut off"):
                read_gguf.read(f.name)


if __name__ == "__main__":
    unittest.main()
