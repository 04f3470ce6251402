"""Which tensors are quantised, and which of them share a scale: as TensorRT fuses them.

Convolutions and products of matrices compute in INT8; so their inputs and weights are quantised, not what they give, which often goes on at a higher precision.
At the addition of a residual block TensorRT fuses the convolution that ends the main branch with the addition: only the other input is quantised. What moves
numbers without computing (a pool's maximum, a concatenation) runs in INT8 between those that do, where one scale holds before and behind it.

Source: https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/work-quantized-types.html for what TensorRT fuses; NVIDIA Model Optimizer's
modelopt/onnx/quantization for narrow layers.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection
from typing import Any

import msgspec
import onnx
from onnx import helper

from converters.errors import ConversionError

# INT8 kernels work on so many channels at once; fewer run faster in FP16. Source: NVIDIA Model Optimizer, modelopt/onnx/quantization/graph_utils.py.
_LEAST_CHANNELS = 16
_CHANNEL_STEP = 8

# They move numbers, or choose among them: what comes out has the scale of what goes in.
_MOVING = ("MaxPool", "Concat", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose")
_AVERAGING = ("GlobalAveragePool", "AveragePool")
_CLAMPING = ("Relu", "Clip")
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


class Weight(msgspec.Struct, frozen=True):
    """A weight to be quantised.

    Attributes:
        tensor: Its name.
        axis: Its dimension that has a scale for each of its places: that of the outputs.
    """

    tensor: str
    axis: int


class Placement(msgspec.Struct, frozen=True):
    """What is quantised.

    Attributes:
        nodes: Names of the nodes that compute in INT8, in graph order.
        readers: By the name of a tensor: the nodes that read it quantised, in graph order.
        groups: Tensors of `readers` that share one scale; every one is in one group.
        weights: By the name of the node.
        sums: Tensors in float that are added to a quantised one.
    """

    nodes: tuple[str, ...]
    readers: dict[str, tuple[str, ...]]
    groups: tuple[tuple[str, ...], ...]
    weights: dict[str, Weight]
    sums: tuple[str, ...]


def quantisable(model: onnx.ModelProto) -> tuple[str, ...]:
    """Return the names of the nodes that would compute in INT8 where none is left out, in graph order; of a prepared model, see `prepared`."""
    graph = _Graph(model)
    return tuple(node.name for node in model.graph.node if node.op_type in _WEIGHTED and not graph.reason_for_float(node))


def place(model: onnx.ModelProto, *, skip: Collection[str] = ()) -> Placement:
    """Decide what is quantised.

    Args:
        model: A prepared model, see `prepared`.
        skip: Names of nodes that compute in float.

    Raises:
        ConversionError: Nothing can be quantised; the message says why.
    """
    graph = _Graph(model)
    reasons = {node.name: graph.reason_for_float(node) for node in model.graph.node if node.op_type in _WEIGHTED}
    chosen = [node for node in model.graph.node if reasons.get(node.name) == "" and node.name not in skip]
    if not chosen:
        counts = Counter(f"with {reason}" if reason else "left out as asked" for reason in reasons.values())
        why = "; ".join(f"{count} {reason}" for reason, count in counts.items()) or "it has no convolution and no product of matrices"
        raise ConversionError(f"nothing to quantise: {why}", hint="INT8 brings nothing here: use fp16 or fp32")
    placer = _Placer(graph, chosen, skip)
    return Placement(
        nodes=tuple(node.name for node in chosen),
        readers=placer.readers(),
        groups=placer.groups(),
        weights={node.name: Weight(node.input[1], _output_axis(node)) for node in chosen},
        sums=tuple(placer.sums),
    )


class _Graph:
    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = list(model.graph.node)
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.producers = {name: node for node in self.nodes for name in node.output}
        self.consumers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                self.consumers[name].append(node)
        self.inputs = {value.name for value in model.graph.input}
        self.outputs = {value.name for value in model.graph.output}
        inferred = onnx.shape_inference.infer_shapes(model).graph
        values = (*inferred.input, *inferred.value_info, *inferred.output)
        shapes = {value.name: [size.dim_value for size in value.type.tensor_type.shape.dim] for value in values}
        # What follows from means over the picture, up to where that meets the picture again: products of a matrix with a vector, which INT8 does not speed up.
        self._means: set[str] = set()
        for node in self.nodes:
            if node.op_type in ("GlobalAveragePool", "ReduceMean") or not self._means.isdisjoint(node.input):
                self._means |= {name for name in node.output if set(shapes.get(name, [0])[2:]) <= {1}}
        # How many weighted layers lie before a tensor, at most.
        self.depth: dict[str, int] = {}
        for node in self.nodes:
            before = max((self.depth.get(name, 0) for name in node.input), default=0)
            self.depth.update(dict.fromkeys(node.output, before + (node.op_type in _WEIGHTED)))

    def reason_for_float(self, node: onnx.NodeProto) -> str:
        """Why a weighted node computes in float; empty where it need not."""
        weight = self.constants.get(node.input[1])
        if weight is None or node.input[0] in self.constants:
            return "weights that are computed"
        if node.op_type == "ConvTranspose":
            return "a transposed convolution, whose INT8 form some TensorRT builds compute wrong"
        n_in, n_out = self._channels(node, list(weight.dims))
        if node.op_type == "Conv":
            if len(weight.dims) not in (4, 5):
                return "a convolution along one dimension"
            if node.input[0] in self._means:
                return "one mean for each channel as input"
            first = node.input[0] in self.inputs
            if _narrow(n_out) or (_narrow(n_in) and not first):
                return f"fewer than {_LEAST_CHANNELS} channels"
        elif len(weight.dims) != 2 or _attributes(node).get("transA", 0):
            return "factors of another form than a layer's"
        elif min(n_in, n_out) < _LEAST_CHANNELS:
            return f"fewer than {_LEAST_CHANNELS} channels"
        return "the network's answers as its output" if self._is_last(node) else ""

    def fuses(self, tensor: str, quantised: Collection[str]) -> bool:
        """Whether a tensor comes from a quantised layer, through nothing but what TensorRT fuses with it or runs in INT8."""
        node = self.producers.get(tensor)
        if node is None:
            return False
        if node.op_type in _CLAMPING:
            return self.fuses(node.input[0], quantised)
        return node.name in quantised or (node.op_type in ("Add", *_MOVING) and any(self.fuses(name, quantised) for name in node.input))

    def _channels(self, node: onnx.NodeProto, shape: list[int]) -> tuple[int, int]:
        if node.op_type == "Conv":
            return shape[1] * _attributes(node).get("group", 1), shape[0]
        return (shape[1], shape[0]) if _output_axis(node) == 0 else (shape[0], shape[-1])

    def _is_last(self, node: onnx.NodeProto) -> bool:
        """Whether an answer of the network depends on it through no further layer."""
        seen, queue = set(), [node.output[0]]
        while queue:
            name = queue.pop()
            if name in self.outputs:
                return True
            if name not in seen:
                seen.add(name)
                queue.extend(output for reader in self.consumers[name] if reader.op_type not in _WEIGHTED for output in reader.output)
        return False


class _Placer:
    def __init__(self, graph: _Graph, chosen: list[onnx.NodeProto], skip: Collection[str]) -> None:
        self._graph = graph
        self._chosen = {node.name for node in chosen}
        self._readers: dict[str, set[str]] = defaultdict(set)
        self._leader: dict[str, str] = {}
        self.sums: list[str] = []
        for node in chosen:
            self._read(node.input[0], node)
        for node in graph.nodes:
            if node.op_type == "Add" and node.name not in skip:
                self._place_residual(node)
        for node in graph.nodes:
            if node.op_type in _AVERAGING and node.name not in skip:
                self._place_average(node)

    def readers(self) -> dict[str, tuple[str, ...]]:
        order = [*self._graph.inputs, *self._graph.producers]
        names = [node.name for node in self._graph.nodes]
        return {tensor: tuple(name for name in names if name in self._readers[tensor]) for tensor in order if tensor in self._readers}

    def groups(self) -> tuple[tuple[str, ...], ...]:
        groups: dict[str, list[str]] = defaultdict(list)
        for tensor in self.readers():
            groups[self._lead(tensor)].append(tensor)
        return tuple(tuple(group) for group in groups.values())

    def _read(self, tensor: str, reader: onnx.NodeProto) -> None:
        """Let a node read a tensor quantised, and what moves the tensor's numbers run in INT8 with it."""
        known = tensor in self._readers
        self._readers[tensor].add(reader.name)
        node = self._graph.producers.get(tensor)
        if known or node is None or node.op_type not in _MOVING:
            return
        for source in node.input if node.op_type == "Concat" else node.input[:1]:
            if source not in self._graph.constants:
                self._leader[self._lead(source)] = self._lead(tensor)
                self._read(source, node)

    def _lead(self, tensor: str) -> str:
        while (leader := self._leader.get(tensor, tensor)) != tensor:
            tensor = leader
        return tensor

    def _place_residual(self, node: onnx.NodeProto) -> None:
        sources = [name for name in node.input if name not in self._graph.constants]
        if len(set(sources)) < 2:
            return
        ends = [name for name in sources if self._ends_branch(name)]
        if ends:
            main = max(ends, key=lambda name: self._graph.depth[name])
            self._read(next(name for name in sources if name != main), node)
            self.sums.append(main)

    def _ends_branch(self, tensor: str) -> bool:
        node = self._graph.producers.get(tensor)
        return node is not None and node.name in self._chosen and node.op_type == "Conv" and len(self._graph.consumers[tensor]) == 1

    def _place_average(self, node: onnx.NodeProto) -> None:
        source = node.input[0]
        alone = len(self._graph.consumers[source]) == 1 and self._graph.fuses(source, self._chosen)
        if alone or source in self._readers:
            self._read(source, node)


def _narrow(channels: int) -> bool:
    return channels < _LEAST_CHANNELS and channels % _CHANNEL_STEP > 0


def _output_axis(node: onnx.NodeProto) -> int:
    if node.op_type == "Gemm" and not _attributes(node).get("transB", 0):
        return 1
    return 1 if node.op_type == "MatMul" else 0


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
