"""Quantised weights as the INT8 numbers that they are, without the float32 ones that the canonical graph keeps them in."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper


def with_int8_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return an equal model in which every QuantizeLinear of a constant is done; the given one is not modified.

    Source: https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html: rounded half to even, saturated.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    kept = []
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and constants.keys() >= set(node.input):
            values, scale, zero = (numpy_helper.to_array(constants[name]) for name in node.input)
            limits = np.iinfo(zero.dtype)
            steps = np.rint(values / along_axis(scale, node, values.ndim)) + along_axis(zero, node, values.ndim).astype(np.float32)
            result.graph.initializer.append(numpy_helper.from_array(np.clip(steps, limits.min, limits.max).astype(zero.dtype), node.output[0]))
        else:
            kept.append(node)
    used = {name for node in kept for name in node.input}
    initializers = [tensor for tensor in result.graph.initializer if tensor.name in used]
    kept_initializers = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in initializers]
    del result.graph.node[:], result.graph.initializer[:]
    result.graph.node.extend(kept)
    result.graph.initializer.extend(kept_initializers)
    return result


def along_axis(values: NDArray[np.generic], node: onnx.NodeProto, rank: int) -> NDArray[np.generic]:
    """Shape the scales or zero points of a QuantizeLinear or DequantizeLinear so that they spread over its tensor.

    Args:
        values: float32[n] or int8[n], n along the node's axis; or float32[] or int8[].
        node: The QuantizeLinear or DequantizeLinear.
        rank: Dimensions of the tensor.

    Returns:
        float32[n, 1, ...] or int8[n, 1, ...]; or as it is.
    """
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1) % max(rank, 1)
    return values.reshape(-1, *[1] * (rank - 1 - axis)) if values.ndim else values
