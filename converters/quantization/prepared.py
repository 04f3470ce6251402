"""The graph that is quantised: every node has a name, and what TensorRT folds into a convolution is folded already.

What is computed stays the same, up to float32's rounding. Folding comes first because weights are quantised: the grid must fit the weights that will run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

_Vector = NDArray[np.float64]


def named(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return an equal model whose nodes all have names of their own; the given one is not modified.

    Names that only one node bears stay. Others are the operator and the node's first output, which no other node has.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    counts = Counter(node.name for node in result.graph.node)
    taken = {name for name, count in counts.items() if name and count == 1}
    for node in result.graph.node:
        if node.name not in taken or counts[node.name] > 1:
            name = f"{node.op_type}:{node.output[0]}"
            while name in taken:
                name += "'"
            taken.add(name)
            node.name = name
    return result


def prepared(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return an equal model with named nodes, constants as initializers, and everything folded that a convolution can hold.

    A BatchNormalization, or a Mul or Add with one constant for each channel, goes into the convolution before it where nothing else reads what that gives; a
    Pad with zeros goes into the convolution after it. The convolution keeps its name. Identities vanish.

    Args:
        model: A canonical model, channels first; it is not modified.
    """
    result = named(model)
    _constants_to_initializers(result)
    if not any(attribute.type == onnx.AttributeProto.GRAPH for node in result.graph.node for attribute in node.attribute):
        _drop_identities(result)
        _Folder(result).fold()
    used = {name for node in result.graph.node for name in node.input} | {value.name for value in result.graph.output}
    kept = [tensor for tensor in result.graph.initializer if tensor.name in used]
    del result.graph.initializer[:], result.graph.value_info[:]
    result.graph.initializer.extend(kept)
    return result


def _constants_to_initializers(model: onnx.ModelProto) -> None:
    kept = []
    for node in model.graph.node:
        value = next((attribute.t for attribute in node.attribute if attribute.name == "value"), None)
        if node.op_type == "Constant" and value is not None:
            tensor = model.graph.initializer.add()
            tensor.CopyFrom(value)
            tensor.name = node.output[0]
        else:
            kept.append(node)
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _drop_identities(model: onnx.ModelProto) -> None:
    ends = {value.name for value in (*model.graph.input, *model.graph.output)}
    instead: dict[str, str] = {}
    kept = []
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = instead.get(name, name)
        if node.op_type == "Identity" and node.output[0] not in ends:
            instead[node.output[0]] = node.input[0]
        else:
            kept.append(onnx.NodeProto.FromString(node.SerializeToString()))
    del model.graph.node[:]
    model.graph.node.extend(kept)


class _Folder:
    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self._constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        self._readers = Counter(name for node in model.graph.node for name in node.input)
        self._readers.update(value.name for value in model.graph.output)

    def fold(self) -> None:
        kept: dict[str, onnx.NodeProto] = {}  # by first output
        for node in self._graph.node:
            source = kept.get(node.input[0]) if node.input else None
            if node.op_type == "Conv" and source is not None and self._is_zero_pad(source) and "auto_pad" not in _attributes(node):
                self._take_padding(node, source)
                del kept[source.output[0]]
            conv, factors = self._folds_into(node, kept)
            if conv is not None:
                self._scale(conv, *factors)
                del kept[conv.output[0]]
                conv.output[0] = node.output[0]
                kept[conv.output[0]] = conv
            else:
                kept[node.output[0]] = node
        nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept.values()]
        del self._graph.node[:]
        self._graph.node.extend(nodes)

    def _folds_into(self, node: onnx.NodeProto, before: Mapping[str, onnx.NodeProto]) -> tuple[onnx.NodeProto | None, tuple[_Vector, _Vector]]:
        nothing = None, (np.zeros(0), np.zeros(0))
        for name in node.input:
            conv = before.get(name)
            if conv is not None and conv.op_type == "Conv" and self._readers[name] == 1 and self._constants.keys() >= {*conv.input[1:]} - {""}:
                factors = self._factors(node, name, len(self._constants[conv.input[1]]), self._constants[conv.input[1]].ndim)
                return (conv, factors) if factors is not None else nothing
        return nothing

    def _factors(self, node: onnx.NodeProto, source: str, channels: int, rank: int) -> tuple[_Vector, _Vector] | None:
        """Factor and summand of each channel, float64[C], where the node is nothing but these."""
        others = [name for name in node.input if name != source]
        if not others or not self._constants.keys() >= set(others):
            return None
        if node.op_type == "BatchNormalization" and node.input[0] == source and len(node.output) == 1:
            scale, bias, mean, variance = (self._constants[name].astype(np.float64) for name in others)
            epsilon = next((attribute.f for attribute in node.attribute if attribute.name == "epsilon"), 1e-5)
            factor = scale / np.sqrt(variance + epsilon)
            return factor, bias - mean * factor
        if node.op_type in ("Mul", "Add") and len(others) == 1:
            value = self._constants[others[0]].astype(np.float64)
            one_for_each = value.size == channels and value.shape[-(rank - 1) :] == (channels, *[1] * (rank - 2))
            if one_for_each or (value.size == 1 and value.ndim <= rank):
                vector = np.broadcast_to(value.reshape(-1), channels)
                return (vector, np.zeros(channels)) if node.op_type == "Mul" else (np.ones(channels), vector)
        return None

    def _scale(self, conv: onnx.NodeProto, factor: _Vector, summand: _Vector) -> None:
        weight = self._constants[conv.input[1]].astype(np.float64)
        bias = self._constants[conv.input[2]].astype(np.float64) if len(conv.input) > 2 and conv.input[2] else np.zeros(len(weight))
        # Never in place: another convolution may share the tensor.
        del conv.input[1:]
        conv.input.append(self._add(f"{conv.name}/folded_weight", weight * factor.reshape(-1, *[1] * (weight.ndim - 1))))
        conv.input.append(self._add(f"{conv.name}/folded_bias", bias * factor + summand))

    def _is_zero_pad(self, node: onnx.NodeProto) -> bool:
        if node.op_type != "Pad" or self._readers[node.output[0]] != 1 or len(node.input) > 3 or node.input[1] not in self._constants:
            return False
        if _attributes(node).get("mode", b"constant") != b"constant":
            return False
        value = node.input[2] if len(node.input) == 3 else ""
        if value and (value not in self._constants or self._constants[value].any()):
            return False
        amounts = self._constants[node.input[1]].reshape(2, -1)
        return bool((amounts >= 0).all() and not amounts[:, :2].any())

    def _take_padding(self, conv: onnx.NodeProto, pad: onnx.NodeProto) -> None:
        amounts = self._constants[pad.input[1]].reshape(2, -1)[:, 2:].reshape(-1)
        pads = [int(own + added) for own, added in zip(_attributes(conv).get("pads", [0] * len(amounts)), amounts, strict=True)]
        kept = [onnx.AttributeProto.FromString(attribute.SerializeToString()) for attribute in conv.attribute if attribute.name != "pads"]
        del conv.attribute[:]
        conv.attribute.extend([*kept, helper.make_attribute("pads", pads)])
        conv.input[0] = pad.input[0]

    def _add(self, name: str, value: _Vector) -> str:
        while name in self._constants:
            name += "'"
        self._constants[name] = value.astype(np.float32)
        self._graph.initializer.append(numpy_helper.from_array(self._constants[name], name))
        return name


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
