"""Channel counts that fill the blocks of ONNX Runtime's CPU layout, with channels of zeros. What is computed stays the same.

The blocked layout (NCHWc) keeps channels in blocks of 16 with AVX-512 and of 8 with AVX2. Depthwise convolutions and pools of a count between two blocks
leave the layout, at one reordering each way. And networks that grow by appending zero channels (MediaPipe's) append nothing where the block already holds
them. Measured on one thread of an AVX-512 machine: the short-range face detector 1.37 ms as converted, 0.87 ms filled.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

# Whole blocks of 8 too: one rewritten graph for both kinds of processor.
_BLOCK = 16

# Beyond this the added arithmetic costs more than the reorderings: 8 channels made 16 slowed the emotion network by 15 % with AVX-512, by 43 % with AVX2.
_MAX_GROWTH = 4 / 3

# Each output channel comes from the input's channel of the same number alone, and zeros from zeros.
_ZERO_KEEPING = ("Relu", "LeakyRelu", "MaxPool", "AveragePool")


def fill_channel_blocks(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return an equal model whose inner tensors have whole blocks of channels; the given one is not modified.

    Convolutions get weights and biases of zero for the added channels, so that these hold zeros everywhere. Tensors that one operator ties together (a
    depthwise convolution, a pool, an activation, an addition) are filled together, or not at all: not where one of them is an input or output of the network
    or meets any other operator, and not where that costs over a third more channels. A Pad that only appends zero channels vanishes where they are there
    already, becomes a Concat with zeros between whole blocks, and else a convolution with the identity matrix: all three stay in the layout.

    Args:
        model: A canonical model, channels first.

    Returns:
        A new model without the shapes of inner tensors and without unused initializers; a plain copy where nodes have subgraphs, which read tensors that
        their nodes do not name.

    Source: ONNX operators Conv-11, Concat-13 and Pad-13 for what is computed; onnxruntime/core/optimizer/nchwc_transformer.cc for the layout.
    """
    filled = onnx.ModelProto()
    filled.CopyFrom(model)
    if any(attribute.type == onnx.AttributeProto.GRAPH for node in model.graph.node for attribute in node.attribute):
        return filled
    filler = _Filler(model)
    nodes = [replacement for node in model.graph.node for replacement in filler.fill(node)]
    used = filler.ends | {name for node in nodes for name in node.input}
    initializers = [tensor for tensor in (*model.graph.initializer, *filler.initializers) if tensor.name in used]
    del filled.graph.node[:], filled.graph.initializer[:], filled.graph.value_info[:]
    filled.graph.node.extend(nodes)
    filled.graph.initializer.extend(initializers)
    return filled


class _Filler:
    def __init__(self, model: onnx.ModelProto) -> None:
        self.initializers: list[onnx.TensorProto] = []
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.ends = {value.name for value in (*model.graph.input, *model.graph.output)}
        inferred = onnx.shape_inference.infer_shapes(model).graph
        values = (*inferred.input, *inferred.value_info, *inferred.output)
        shapes = {value.name: [size.dim_value for size in value.type.tensor_type.shape.dim] for value in values}
        self._channels = {name: shape[1] for name, shape in shapes.items() if len(shape) == 4 and shape[1] > 0}
        self._filled = self._filled_channels(model)
        self._instead: dict[str, str] = {}  # output of a vanished Pad: its input

    def fill(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """Yield what takes the node's place. Nodes come in the order of the graph."""
        filled = onnx.NodeProto()
        filled.CopyFrom(node)
        for place, name in enumerate(node.input):
            filled.input[place] = self._instead.get(name, name)
        if self._appends_channels(node):
            yield from self._append(filled)
        else:
            if self._has_weights(node):
                self._fill_weights(filled)
            yield filled

    def _filled_channels(self, model: onnx.ModelProto) -> dict[str, int]:
        filled = {name: -(-channels // _BLOCK) * _BLOCK for name, channels in self._channels.items()}
        left_alone = self.ends | {name for name, channels in self._channels.items() if filled[name] > channels * _MAX_GROWTH}
        groups = {name: {name} for name in self._channels}
        for node in model.graph.node:
            tensors = [name for name in (*node.input, *node.output) if name and name not in self._constants]
            if not groups.keys() >= set(tensors):
                left_alone.update(tensors)
            elif self._ties_channels(node):
                group = set().union(*(groups[name] for name in tensors))
                groups.update(dict.fromkeys(group, group))
            elif not self._frees_channels(node):
                left_alone.update(tensors)
        return {name: filled[name] if group.isdisjoint(left_alone) else self._channels[name] for name, group in groups.items()}

    def _frees_channels(self, node: onnx.NodeProto) -> bool:
        """Whether the input may have added zero channels where the output has none, and the other way round."""
        return (self._has_weights(node) and _attributes(node).get("group", 1) == 1) or self._appends_channels(node)

    def _ties_channels(self, node: onnx.NodeProto) -> bool:
        """Whether zero channels added to every input make zero channels of the output, and change nothing else."""
        if node.op_type == "Conv":
            return self._has_weights(node) and _attributes(node).get("group", 1) == self._channels[node.input[0]] == self._channels[node.output[0]]
        if node.op_type == "Add":
            return len({self._channels.get(name) for name in (*node.input, *node.output)}) == 1
        if node.op_type == "Clip":
            low, high = (numpy_helper.to_array(self._constants[name]) if name else 0 for name in [*node.input[1:], "", ""][:2])
            return bool(low <= 0 <= high)
        return node.op_type in _ZERO_KEEPING

    def _has_weights(self, node: onnx.NodeProto) -> bool:
        return node.op_type == "Conv" and self._channels.keys() >= {node.input[0], node.output[0]} and self._constants.keys() >= {*node.input[1:]} - {""}

    def _appends_channels(self, node: onnx.NodeProto) -> bool:
        if node.op_type != "Pad" or any(node.input[2:]) or not self._channels.keys() >= {node.input[0], node.output[0]}:
            return False
        if node.input[1] not in self._constants or _attributes(node).get("mode", b"constant") != b"constant":
            return False
        amounts = numpy_helper.to_array(self._constants[node.input[1]]).tolist()
        return amounts.pop(5) > 0 and not any(amounts)

    def _append(self, pad: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        source, output = pad.input[0], pad.output[0]
        before, after = self._filled[source], self._filled[output]
        if before == after and output not in self.ends:
            self._instead[output] = source
        elif before < after and before % _BLOCK == after % _BLOCK == 0:
            # The batch is free, so no constant holds these zeros; a convolution without weights makes them for a fraction of the identity's arithmetic.
            yield self._convolution(source, f"{output}/zeros", np.zeros((after - before, before), np.float32))
            yield helper.make_node("Concat", [source, f"{output}/zeros"], [output], name=output, axis=1)
        else:
            yield self._convolution(source, output, np.eye(after, before, dtype=np.float32))

    def _convolution(self, source: str, output: str, matrix: NDArray[np.float32]) -> onnx.NodeProto:
        weight = self._constant(f"{output}/weight", matrix[:, :, None, None])
        return helper.make_node("Conv", [source, weight], [output], name=output, kernel_shape=[1, 1])

    def _fill_weights(self, node: onnx.NodeProto) -> None:
        weight, *bias = (numpy_helper.to_array(self._constants[name]) for name in node.input[1:] if name)
        # Counted from the weight: where a Pad vanished, the input's own channels are fewer than the weight's.
        added = [self._filled[node.output[0]] - weight.shape[0], self._filled[node.input[0]] - weight.shape[1]]
        for attribute in node.attribute:
            if attribute.name == "group" and attribute.i > 1:
                # Depthwise where anything is added: one input channel for each output channel.
                attribute.i, added[1] = attribute.i + added[0], 0
        if any(added):
            node.input[1] = self._constant(f"{node.output[0]}/filled_weight", np.pad(weight, [(0, added[0]), (0, added[1]), (0, 0), (0, 0)]))
            if bias:
                node.input[2] = self._constant(f"{node.output[0]}/filled_bias", np.pad(bias[0], (0, added[0])))

    def _constant(self, name: str, array: NDArray[np.generic]) -> str:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
