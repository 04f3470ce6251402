"""Weights that the repository keeps in FP16, half the size of what a network computes with."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

# Tensors with fewer numbers stay as they are.
LARGE = 256


def stored(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the network with its large float32 weights in FP16, each behind a Cast; it stays a graph that any runtime can read.

    Args:
        model: With float32 weights; it is not modified.
    """
    kept = onnx.ModelProto()
    kept.CopyFrom(model)
    casts = []
    for tensor in kept.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size >= LARGE:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.fp16"))
            casts.append(helper.make_node("Cast", [f"{name}.fp16"], [name], name=f"{name}.cast", to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *kept.graph.node]
    del kept.graph.node[:]
    kept.graph.node.extend(nodes)
    onnx.checker.check_model(kept, full_check=True)
    return kept


def computing(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return what `stored` was given, but for the rounding: float32 weights, and no Cast before them."""
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    tensors = {tensor.name: tensor for tensor in plain.graph.initializer}
    nodes = []
    for node in plain.graph.node:
        source = tensors.get(node.input[0]) if node.op_type == "Cast" else None
        if source is not None and source.data_type == onnx.TensorProto.FLOAT16:
            source.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(source).astype(np.float32), node.output[0]))
        else:
            nodes.append(node)
    del plain.graph.node[:]
    plain.graph.node.extend(nodes)
    onnx.checker.check_model(plain, full_check=True)
    return plain
