"""Rewrites a published model into one that ONNX Runtime runs more than twice as fast, with the same answers.

    optimise.py FROM.onnx TO.onnx embedder|liveness

models/fetch.py runs this for each [[convert]] of models.toml. Needs the packages of
scripts/requirements-models.txt.

ONNX Runtime is fast at convolutions in its blocked layout (16 channels a block with AVX-512, 8 with AVX2, 4 and
more with NEON), into which it folds a Relu and one addition. It leaves that layout, and copies the tensor both
ways, for a PRelu, for a number of channels that fills no whole block, and for a Mul by one number a channel. Each
rewrite below takes one such break away. Each is an identity over the real numbers; only rounding differs, by about
1e-6 of the values (tests/optimised_models.rs holds it to that on real faces).

The bytes written depend on the bytes read and the versions of numpy, onnx and protobuf, which are pinned, and on
nothing else; models.toml pins their sum for every kind of machine. So all arithmetic here is elementwise in
float64 (add, subtract, multiply, divide, square root: exactly defined by IEEE 754), each step a numpy call of its
own that no compiler fuses with the next, and is rounded to float32 once at the end. The one sum over many terms
is a loop in a fixed order: a matrix product, and numpy's own sums, add in an order that depends on the
processor. Tensors are written as little-endian bytes, attributes by name, nodes and tensors by number.

Exit codes: 0 written, 1 not written (the reason is on stderr), 2 wrong usage.
"""

import argparse
import os
import sys

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import helper, numpy_helper

BLOCK = 16  # channels of ONNX Runtime's widest block, a multiple of every narrower one

# Side of the input and length of the output.
KINDS = {"embedder": (112, 512), "liveness": (128, 3)}


class ModelError(Exception):
    """The model is not built as the rewrites expect: another file, or another version of it."""


class Op:
    """One operation: its kind, names of its inputs, name of its one output, attributes."""

    def __init__(self, kind, inputs, output, **attributes):
        self.kind, self.inputs, self.output, self.attributes = kind, list(inputs), output, attributes


class Graph:
    """A model: its operations in the order in which they run, and its constant tensors by name."""

    def __init__(self, path):
        model = onnx.load(path)
        onnx.checker.check_model(model)
        graph = model.graph
        self.constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        names = [i.name for i in graph.input if i.name not in self.constants]
        if len(names) != 1 or len(graph.output) != 1:
            raise ModelError(f"expected one input and one output, found {names} and {[o.name for o in graph.output]}")
        self.input, self.output, self.ops, self.serial = names[0], graph.output[0].name, [], 0
        alias = {}
        for node in graph.node:
            if len(node.output) != 1:
                raise ModelError(f"node {node.name} has {len(node.output)} outputs, expected one")
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            inputs = [alias.get(i, i) for i in node.input]
            if node.op_type == "Constant":
                self.constants[node.output[0]] = numpy_helper.to_array(attributes["value"])
            elif node.op_type == "Identity":
                alias[node.output[0]] = inputs[0]
            else:
                self.ops.append(Op(node.op_type, inputs, node.output[0], **attributes))

    def name(self, stem):
        """A name that nothing in the model bears."""
        self.serial += 1
        return f"menshen/{stem}/{self.serial}"

    def constant(self, array):
        name = self.name("constant")
        self.constants[name] = np.ascontiguousarray(array)
        return name

    def producer(self, name):
        for op in self.ops:
            if op.output == name:
                return op
        raise ModelError(f"nothing in the model computes {name!r}")

    def consumers(self, name):
        return [op for op in self.ops if name in op.inputs]

    def replace(self, op, *new):
        at = self.ops.index(op)
        self.ops[at:at + 1] = new

    def conv(self, source, output, weights, bias, **attributes):
        """A Conv of `source`, not yet in the graph."""
        return Op("Conv", [source, self.constant(weights.astype(np.float32)), self.constant(bias.astype(np.float32))],
                  output, kernel_shape=list(weights.shape[2:]), **attributes)

    def weights(self, op):
        """Weights [out, in / group, height, width] and bias [out] of a Conv."""
        weights = self.constants[op.inputs[1]]
        return weights, self.constants[op.inputs[2]] if len(op.inputs) > 2 else np.zeros(len(weights), np.float32)

    def set_weights(self, op, weights, bias):
        op.inputs = [op.inputs[0], self.constant(weights.astype(np.float32)), self.constant(bias.astype(np.float32))]

    def is_depthwise(self, op):
        """A Conv of each channel by itself."""
        return op.kind == "Conv" and op.attributes.get("group", 1) > 1 and self.constants[op.inputs[1]].shape[1] == 1

    def drop_unused(self):
        """Removes every operation that the output does not depend on."""
        wanted, kept = {self.output}, []
        for op in reversed(self.ops):
            if op.output in wanted:
                kept.append(op)
                wanted.update(op.inputs)
        self.ops = kept[::-1]

    def save(self, path, input_shape, output_shape):
        """Checks the model and writes it, its operations and tensors numbered in order."""
        self.drop_unused()
        names, nodes, tensors = {n: n for n in (self.input, self.output, "")}, [], []
        for op in self.ops:
            for i in op.inputs:
                if i not in names and i in self.constants:
                    names[i] = f"w{len(tensors)}"
                    tensors.append(numpy_helper.from_array(np.ascontiguousarray(self.constants[i]), names[i]))
            names.setdefault(op.output, f"t{len(nodes)}")
            nodes.append(helper.make_node(op.kind, [names[i] for i in op.inputs], [names[op.output]], f"n{len(nodes)}",
                                          **dict(sorted(op.attributes.items()))))

        def value(name, shape):
            return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)

        graph = helper.make_graph(nodes, "menshen", [value(self.input, input_shape)],
                                  [value(self.output, output_shape)], tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8,
                                  producer_name="menshen")
        onnx.checker.check_model(model)
        onnx.shape_inference.infer_shapes(model, strict_mode=True)
        with open(path, "wb") as out:
            out.write(model.SerializeToString(deterministic=True))
            out.flush()
            os.fsync(out.fileno())


def spatial_sizes(graph, side):
    """(height, width) of every four-dimensional tensor."""
    sizes = {graph.input: (side, side)}
    for op in graph.ops:
        if not op.inputs or op.inputs[0] not in sizes:
            continue
        source = sizes[op.inputs[0]]
        if op.kind == "Conv":
            kernel = graph.constants[op.inputs[1]].shape[2:]
            pads, strides = op.attributes.get("pads", [0] * 4), op.attributes.get("strides", [1, 1])
            plain = op.attributes.get("auto_pad", b"NOTSET") == b"NOTSET"
            if op.attributes.get("dilations", [1, 1]) != [1, 1] or not plain:
                raise ModelError(f"Conv {op.output}: dilation and auto_pad are not expected")
            sizes[op.output] = tuple((source[i] + pads[i] + pads[i + 2] - kernel[i]) // strides[i] + 1 for i in (0, 1))
        elif op.kind == "GlobalAveragePool":
            sizes[op.output] = (1, 1)
        elif op.kind in ("PRelu", "Relu", "Sigmoid", "Add", "Mul"):
            sizes[op.output] = source
    return sizes


def pad_channels(graph):
    """Fills channels up to whole blocks between a Conv and the Conv that reads it.

    The added channels have weights and bias 0, so they hold 0, and PRelu(0) = Relu(0) = 0; depthwise Convs between
    have weights 0 for them, and so has the reader. Adding zeros changes no sum."""
    for op in list(graph.ops):
        if op.kind != "Conv" or graph.is_depthwise(op):
            continue
        extra = -len(graph.constants[op.inputs[1]]) % BLOCK
        # Conv, activation, depthwise Conv, activation, … up to the next dense Conv: only where there is one.
        chain = [op]
        while extra:
            readers = graph.consumers(chain[-1].output)
            if len(readers) != 1 or readers[0].kind not in ("Conv", "PRelu", "Relu"):
                extra = 0
                break
            chain.append(readers[0])
            if readers[0].kind == "Conv" and not graph.is_depthwise(readers[0]):
                break
        if not extra:
            continue
        for member in chain:
            if member.kind == "PRelu":
                slope = graph.constants[member.inputs[1]].reshape(-1)
                member.inputs[1] = graph.constant(np.pad(slope, (0, extra)).reshape(-1, 1, 1))
            elif member.kind == "Conv":
                weights, bias = graph.weights(member)
                if member is chain[-1]:
                    weights = np.pad(weights, ((0, 0), (0, extra), (0, 0), (0, 0)))
                else:
                    if graph.is_depthwise(member):
                        member.attributes["group"] += extra
                    weights, bias = np.pad(weights, ((0, extra), (0, 0), (0, 0), (0, 0))), np.pad(bias, (0, extra))
                graph.set_weights(member, weights, bias)


def replace_prelu(graph):
    """PRelu after a Conv becomes Relu and one factor a channel. With slope a < 1 and x what the Conv gives:

        PRelu(x) = a x + (1 - a) Relu(x) = a / (1 - a) x' + Relu(x'),    x' = (1 - a) x.

    (x >= 0: a x + (1 - a) x = x; x < 0: a x.) Scaling x is scaling the Conv's weights and bias; the factor is a
    1x1 depthwise Conv, into which the addition folds. For a > 1 the same is done to
    -PRelu(x) = -a / (a - 1) x' + Relu(x'), x' = (a - 1) x; the Convs that read it take the sign into their weights:
    a convolution is linear in each input channel, zero padding included."""
    for op in [o for o in graph.ops if o.kind == "PRelu"]:
        source, readers = graph.producer(op.inputs[0]), graph.consumers(op.output)
        if source.kind != "Conv" or len(graph.consumers(source.output)) != 1 or any(r.kind != "Conv" for r in readers):
            raise ModelError(f"PRelu {op.output}: expected between Convs")
        slope = graph.constants[op.inputs[1]].reshape(-1).astype(np.float64)
        if np.abs(1 - slope).min() < 1e-3:
            raise ModelError(f"PRelu {op.output}: a slope is too near 1 to divide by its distance from 1")
        sign, rest = np.where(slope > 1, -1.0, 1.0), np.abs(1 - slope)
        weights, bias = graph.weights(source)
        graph.set_weights(source, weights.astype(np.float64) * rest.reshape(-1, 1, 1, 1), bias.astype(np.float64) * rest)
        bent, line = graph.name("bent"), graph.name("line")
        graph.replace(op, Op("Relu", [source.output], bent),
                      graph.conv(source.output, line, (sign * slope / rest).reshape(-1, 1, 1, 1),
                                 np.zeros(len(slope)), group=len(slope)),
                      Op("Add", [line, bent], op.output))
        if (sign < 0).any():
            for reader in readers:
                weights, bias = graph.weights(reader)
                shape = (-1, 1, 1, 1) if graph.is_depthwise(reader) else (1, -1, 1, 1)
                graph.set_weights(reader, weights * sign.reshape(shape), bias)


def widen_gates(graph, sizes):
    """Squeeze-and-excitation multiplies [N, C, H, W] by a gate [N, C, 1, 1]. ONNX Runtime leaves the blocked layout
    for a Mul that broadcasts, and not for one of equal shapes; so the gate is enlarged to H x W by a
    nearest-neighbour Resize, which only copies it."""
    for op in [o for o in graph.ops if o.kind == "Mul"]:
        gate = next((i for i in op.inputs if graph.producer(i).kind == "Sigmoid"), None)
        if gate is None or sizes[gate] != (1, 1):
            raise ModelError(f"Mul {op.output}: expected one input to be a gate")
        other = next(i for i in op.inputs if i != gate)
        wide = graph.name("gate")
        scales = graph.constant(np.array([1, 1, *sizes[other]], np.float32))
        graph.replace(op, Op("Resize", [gate, "", scales], wide, mode="nearest",
                             coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
                      Op("Mul", [other, wide], op.output))


def fold_linear_tail(graph):
    """MatMul, BatchNormalization, MatMul with nothing between are one linear map: multiplied out into a Gemm."""
    first, norm, last = graph.ops[-3:]
    if [first.kind, norm.kind, last.kind] != ["MatMul", "BatchNormalization", "MatMul"]:
        raise ModelError("expected the model to end in MatMul, BatchNormalization, MatMul")
    gamma, beta, mean, variance = (graph.constants[i].astype(np.float64) for i in norm.inputs[1:])
    factor = gamma / np.sqrt(variance + norm.attributes.get("epsilon", 1e-5))
    shift = beta - mean * factor
    into, out = (graph.constants[o.inputs[1]].astype(np.float64) for o in (first, last))
    weights, bias = np.zeros((len(into), out.shape[1])), np.zeros(out.shape[1])
    # One hidden number after the other, so that the order of each sum is this one on every machine.
    for k, row in enumerate(out):
        weights += (into[:, k] * factor[k])[:, None] * row
        bias += shift[k] * row
    graph.ops[-3:] = [Op("Gemm", [first.inputs[0], graph.constant(weights.astype(np.float32)),
                                  graph.constant(bias.astype(np.float32))], last.output)]


def optimise(graph, path, side, width):
    """Writes the faster form of a model from [1, 3, side, side] to [1, width]."""
    pad_channels(graph)
    widen_gates(graph, spatial_sizes(graph, side))
    replace_prelu(graph)
    for op in graph.ops:
        if op.kind == "Reshape":  # computed from the batch, which is one face
            op.inputs[1] = graph.constant(np.array([1, -1], np.int64))
    if graph.ops[-1].kind == "MatMul":
        fold_linear_tail(graph)
    graph.save(path, [1, 3, side, side], [1, width])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", metavar="FROM.onnx")
    parser.add_argument("target", metavar="TO.onnx")
    parser.add_argument("kind", choices=KINDS)
    options = parser.parse_args()
    try:
        optimise(Graph(options.source), options.target, *KINDS[options.kind])
    except (ModelError, OSError, DecodeError, onnx.checker.ValidationError,
            onnx.shape_inference.InferenceError) as error:
        print(f"{options.source}: not rewritten: {error}", file=sys.stderr)
        return 1
    except (LookupError, ValueError, TypeError) as error:  # a rewrite met something that it does not know
        print(f"{options.source}: not rewritten: not built like the published {options.kind}: {error!r}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
