#!/usr/bin/env python3
"""models/optimise.py on small models of the published models' build: same answers, same bytes, clear refusals.

The answers are computed by ONNX's reference evaluator, which shares nothing with ONNX Runtime or the rewriting.
The real models on real faces are tests/optimised_models.rs.
"""

import hashlib
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

OPTIMISE = Path(__file__).resolve().parent.parent / "models/optimise.py"


def random(seed):
    r = np.random.default_rng(seed)
    return lambda *shape: r.standard_normal(shape).astype(np.float32)


class Builder:
    def __init__(self, seed):
        self.random, self.nodes, self.tensors = random(seed), [], []

    def tensor(self, array):
        self.tensors.append(numpy_helper.from_array(np.asarray(array, np.float32), f"c{len(self.tensors)}"))
        return self.tensors[-1].name

    def op(self, kind, *inputs, **attributes):
        self.nodes.append(helper.make_node(kind, list(inputs), [f"v{len(self.nodes)}"], **attributes))
        return self.nodes[-1].output[0]

    def conv(self, source, into, out, kernel, **attributes):
        group = attributes.get("group", 1)
        weights = self.random(out, into // group, kernel, kernel) / np.sqrt(kernel * kernel * into / group)
        return self.op("Conv", source, self.tensor(weights), self.tensor(self.random(out)),
                       kernel_shape=[kernel, kernel], **attributes)

    def prelu(self, source, slopes):
        return self.op("PRelu", source, self.tensor(np.reshape(slopes, (-1, 1, 1))))

    def reshape(self, source, shape):
        self.tensors.append(numpy_helper.from_array(np.array(shape, np.int64), f"s{len(self.tensors)}"))
        return self.op("Reshape", source, self.tensors[-1].name)

    def save(self, path, side, width, outputs=1):
        self.nodes[-1].output[0] = "output"
        values = [helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, [1, width])]
        if outputs == 2:
            values.append(helper.make_tensor_value_info("v0", onnx.TensorProto.FLOAT, [1, 12, 7, 7]))
        graph = helper.make_graph(
            self.nodes, "small", [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [1, 3, side, side])],
            values, self.tensors)
        # Before operator set 14 the reference evaluator takes every BatchNormalization for one in training.
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8), path)


def slopes(n):
    """Below 0, between 0 and 1, 0, and above 1."""
    return np.resize([-0.3, 0.25, 0.0, 1.7, 0.9], n)


def embedder(path, slopes=slopes, outputs=1):
    b = Builder(1)
    x = b.prelu(b.conv("input", 3, 12, 16, strides=[16, 16]), slopes(12))
    x = b.prelu(b.conv(x, 12, 12, 3, group=12, pads=[1, 1, 1, 1]), slopes(12))
    x = b.op("Add", b.conv(x, 12, 16, 1), b.conv(x, 12, 16, 1))
    x = b.conv(b.op("GlobalAveragePool", x), 16, 512, 1)
    b.reshape(x, [1, 512])
    b.save(path, 112, 512, outputs)


def liveness(path):
    b = Builder(2)
    x = b.prelu(b.conv("input", 3, 16, 16, strides=[16, 16]), slopes(16))
    x = b.conv(x, 16, 16, 1)
    gate = b.op("Relu", b.conv(b.op("GlobalAveragePool", x), 16, 4, 1))
    x = b.op("Mul", x, b.op("Sigmoid", b.conv(gate, 4, 16, 1)))
    x = b.reshape(b.conv(x, 16, 8, 8), [1, 8])
    x = b.op("MatMul", x, b.tensor(b.random(8, 6)))
    x = b.op("BatchNormalization", x, *(b.tensor(v) for v in (b.random(6), b.random(6), b.random(6), b.random(6) ** 2)))
    b.op("MatMul", x, b.tensor(b.random(6, 3)))
    b.save(path, 128, 3)


class Optimise(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.top = Path(folder.name)
        self.source, self.target = self.top / "published.onnx", self.top / "fast.onnx"

    def run_on(self, kind, target=None):
        return subprocess.run([sys.executable, str(OPTIMISE), str(self.source), str(target or self.target), kind],
                              capture_output=True, text=True)

    def refused(self, kind, word):
        done = self.run_on(kind)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(word, done.stderr)
        self.assertIn("published.onnx", done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        self.assertFalse(self.target.exists())

    def test_same_answers_without_what_is_slow(self):
        for kind, build, side in (("embedder", embedder, 112), ("liveness", liveness, 128)):
            build(self.source)
            done = self.run_on(kind)
            self.assertEqual(done.returncode, 0, done.stderr)
            models = [ReferenceEvaluator(str(path)) for path in (self.source, self.target)]
            for seed in range(3):
                picture = random(10 + seed)(1, 3, side, side)
                published, fast = (m.run(None, {"input": picture})[0] for m in models)
                self.assertEqual(published.shape, fast.shape)
                # Two roundings of sums of hundreds of terms: far above 1e-5 of the largest, the rewriting is wrong.
                np.testing.assert_allclose(fast, published, rtol=0, atol=1e-5 * np.abs(published).max())
            kinds = {n.op_type for n in onnx.load(self.target).graph.node}
            self.assertFalse(kinds & {"PRelu", "BatchNormalization", "MatMul"}, kinds)

    def test_same_bytes_again(self):
        embedder(self.source)
        sums = set()
        for name in ("one.onnx", "two.onnx"):
            self.assertEqual(self.run_on("embedder", self.top / name).returncode, 0)
            sums.add(hashlib.sha256((self.top / name).read_bytes()).digest())
        self.assertEqual(len(sums), 1)

    def test_another_kind_of_model_is_refused(self):
        liveness(self.source)
        self.refused("embedder", "512")

    def test_a_slope_that_cannot_be_divided_by_is_refused(self):
        embedder(self.source, slopes=lambda n: np.ones(n))
        self.refused("embedder", "too near 1")

    def test_two_outputs_are_refused(self):
        embedder(self.source, outputs=2)
        self.refused("embedder", "one output")

    def test_what_is_no_model_or_not_there_is_refused(self):
        self.refused("embedder", "published.onnx")
        self.source.write_bytes(b"\x08\xff" * 1000)
        self.refused("embedder", "not rewritten")


if __name__ == "__main__":
    unittest.main()
