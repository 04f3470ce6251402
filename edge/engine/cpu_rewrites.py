"""Rewrites of a canonical graph into forms that ONNX Runtime's CPU kernels run fast. What is computed stays the same, up to float32's rounding.

On x86-64 ONNX Runtime computes convolutions in a blocked channel layout (NCHWc). An operator that does not know the layout costs one reordering before
and one after it; the operators below come between nearly all convolutions of MediaPipe's networks, and as convolutions of their own they cost far less.
Measured on one thread of an AVX-512 machine: face mesh 8.6 ms as converted, 4.7 ms rewritten.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edge.engine.cpu_channels import fill_channel_blocks

_BLOCKED_LAYOUT = ("x86_64", "AMD64")


def rewrite_for_cpu(model: onnx.ModelProto, *, machine: str = "") -> onnx.ModelProto:
    """Return an equal model for the CPU provider; the given one is not modified.

    Args:
        model: A canonical model, channels first.
        machine: Processor family as `platform.machine()` names it; empty for this one. Where it has no blocked layout nothing is rewritten.

    Returns:
        A new model. A PRelu with one slope a for each channel is x + (1 - a) max(-x, 0), each factor a depthwise 1x1 convolution. Channel counts and Pads that
        append channels are those of `fill_channel_blocks`.

    Source: ONNX operator PRelu-16 for what is computed; onnxruntime/core/optimizer/nchwc_transformer.cc for the layout.
    """
    rewritten = onnx.ModelProto()
    rewritten.CopyFrom(model)
    if (machine or platform.machine()) not in _BLOCKED_LAYOUT:
        return rewritten
    rewriter = _Rewriter(rewritten)
    nodes = [replacement for node in model.graph.node for replacement in rewriter.rewrite(node)]
    del rewritten.graph.node[:]
    rewritten.graph.node.extend(nodes)
    return fill_channel_blocks(rewritten)


class _Rewriter:
    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        inferred = onnx.shape_inference.infer_shapes(model).graph
        shapes = {value.name: [size.dim_value for size in value.type.tensor_type.shape.dim] for value in (*inferred.input, *inferred.value_info)}
        self._channels = {name: shape[1] for name, shape in shapes.items() if len(shape) == 4 and shape[1] > 0}

    def rewrite(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        if node.op_type == "PRelu" and (slopes := self._channel_slopes(node)) is not None:
            yield from self._prelu(node, slopes)
        else:
            yield node

    def _channel_slopes(self, node: onnx.NodeProto) -> NDArray[np.float32] | None:
        tensor = self._constants.get(node.input[1])
        if tensor is None or len(tensor.dims) != 3 or tuple(tensor.dims[1:]) != (1, 1) or node.input[0] not in self._channels:
            return None
        return np.broadcast_to(numpy_helper.to_array(tensor).reshape(-1), self._channels[node.input[0]])

    def _prelu(self, node: onnx.NodeProto, slopes: NDArray[np.float32]) -> Iterator[onnx.NodeProto]:
        source, output = node.input[0], node.output[0]
        yield self._depthwise(source, f"{output}/negated", -np.ones(len(slopes), np.float32))
        yield helper.make_node("Relu", [f"{output}/negated"], [f"{output}/below"], name=f"{output}/below")
        yield self._depthwise(f"{output}/below", f"{output}/raised", 1 - slopes)
        yield helper.make_node("Add", [f"{output}/raised", source], [output], name=output)

    def _depthwise(self, source: str, output: str, factors: NDArray[np.float32]) -> onnx.NodeProto:
        weight = f"{output}/weight"
        self._graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(factors.reshape(-1, 1, 1, 1)), weight))
        return helper.make_node("Conv", [source, weight], [output], name=output, group=len(factors), kernel_shape=[1, 1])
