"""Small networks with the joints that quantisation meets: written as ONNX, seeded, with the numbers of a trained network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[np.float32]


class SmallGraph:
    """A graph under construction, opset 17, with one float32 input `x` and a free batch."""

    def __init__(self, *shape: int, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._input = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape])

    def constant(self, values: Any, name: str = "") -> str:
        name = name or f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Add a node whose output has its name."""
        name = name or f"{operator.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, [*inputs], [name], name=name, **attributes))
        return name

    def conv(self, source: str, n_in: int, n_out: int, *, kernel: int = 3, bias: bool = True, name: str = "", group: int = 1, **attributes: Any) -> str:
        """Add a convolution that keeps the size of the picture and about the size of the numbers."""
        weight = self.rng.normal(0, np.sqrt(2 / (n_in // group * kernel**2)), (n_out, n_in // group, kernel, kernel))
        inputs = [self.constant(weight.astype(np.float32))] + ([self.constant(self.rng.normal(0, 0.1, n_out).astype(np.float32))] if bias else [])
        attributes = {"pads": [kernel // 2] * 4, **attributes}
        return self.node("Conv", source, *inputs, name=name, kernel_shape=[kernel, kernel], group=group, **attributes)

    def gemm(self, source: str, n_in: int, n_out: int, *, name: str = "") -> str:
        weight = self.rng.normal(0, np.sqrt(1 / n_in), (n_out, n_in)).astype(np.float32)
        return self.node("Gemm", source, self.constant(weight), self.constant(np.zeros(n_out, np.float32)), name=name, transB=1)

    def head(self, source: str, channels: int, *, name: str = "head") -> str:
        """Add a mean and a last layer, which stays in float."""
        flat = self.node("Flatten", self.node("GlobalAveragePool", source, name=f"{name}_mean"), name=f"{name}_flat")
        return self.gemm(flat, channels, 22, name=name)

    def batch_norm(self, source: str, channels: int, *, name: str = "") -> str:
        numbers = [self.rng.uniform(0.5, 2, channels), *self.rng.normal(0, 0.2, (2, channels)), self.rng.uniform(0.5, 2, channels)]
        return self.node("BatchNormalization", source, *(self.constant(values.astype(np.float32)) for values in numbers), name=name)

    def model(self, *outputs: str, opset: int = 17) -> onnx.ModelProto:
        ends = [onnx.ValueInfoProto(name=name) for name in outputs]
        graph = helper.make_graph(self.nodes, "small", [self._input], ends, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        del model.graph.output[:]
        model.graph.output.extend(inferred.graph.output)
        onnx.checker.check_model(model, full_check=True)
        return model


def residual_network() -> onnx.ModelProto:
    """A stem, a pool, a plain and a widening residual block, and a head: a ResNet in small, gray 32x32 to 22 numbers."""
    g = SmallGraph(1, 32, 32)
    stem = g.node("Relu", g.conv("x", 1, 16, name="stem"), name="stem_relu")
    pool = g.node("MaxPool", stem, name="pool", kernel_shape=[2, 2], strides=[2, 2])
    main = g.conv(g.node("Relu", g.conv(pool, 16, 16, name="a1"), name="a1_relu"), 16, 16, name="a2")
    a = g.node("Relu", g.node("Add", main, pool, name="a_add"), name="a")
    main = g.conv(g.node("Relu", g.conv(a, 16, 32, name="b1"), name="b1_relu"), 32, 32, name="b2")
    b = g.node("Relu", g.node("Add", main, g.conv(a, 16, 32, kernel=1, name="b_short"), name="b_add"), name="b")
    return g.model(g.head(b, 32))


def pictures(n: int = 24, *shape: int, seed: int = 1) -> Array:
    """float32[n, *shape], smooth as pictures are, about -1 to 1; of 1x32x32 by default."""
    channels, height, width = shape or (1, 32, 32)
    rng = np.random.default_rng(seed)
    coarse = rng.normal(0, 0.6, (n, channels, 4, 4))
    return np.asarray(np.kron(coarse, np.ones((1, 1, height // 4, width // 4))) + rng.normal(0, 0.1, (n, channels, height, width)), np.float32)


def run(model: onnx.ModelProto, x: Array, *tensors: str, optimized: bool = False) -> list[Array]:
    """Run it in ONNX Runtime and return outputs, or inner tensors by name; not the input, whose memory ONNX Runtime 1.23 does not keep."""
    assert "x" not in tensors
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    own = [value.name for value in model.graph.output]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors if name not in own)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [np.asarray(values) for values in session.run([*(tensors or own)], {"x": x})]


def noise_ratio_db(true: Array, got: Array) -> float:
    """Signal to noise in dB; the signal is what varies over the inputs."""
    return float(10 * np.log10((true - true.mean(axis=0)).var() / ((true.astype(np.float64) - got) ** 2).mean()))


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def makers(model: onnx.ModelProto, node_name: str) -> Sequence[str]:
    """The operators that give what a node reads; `input` and `constant` where none does."""
    found = {name: node.op_type for node in model.graph.node for name in node.output}
    found.update({tensor.name: "constant" for tensor in model.graph.initializer})
    (node,) = (node for node in model.graph.node if node.name == node_name)
    return [found.get(name, "input") for name in node.input]
