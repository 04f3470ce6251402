"""Layers that take several values."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from converters.from_keras.keras_backend import keras
from converters.from_keras.layer_graph import Call, LayerGraph, Value, natural
from converters.from_keras.normalization_layers import unit_length

Function = Callable[[LayerGraph, Call], Value]


def _elementwise(op_type: str) -> Function:
    def merge(graph: LayerGraph, call: Call) -> Value:
        if len({value.rank for value in call.inputs}) > 1:
            raise call.refuse(f"inputs of different rank: {[list(value.shape) for value in call.inputs]}")
        order = call.value.order
        total, *others = [graph.held(value, order) for value in call.inputs]
        for other in others:
            total = graph.add(op_type, [total, other])
        return Value(total, call.shape, order)

    return merge


def average(graph: LayerGraph, call: Call) -> Value:
    """Average."""
    total = _elementwise("Add")(graph, call)
    return Value(graph.add("Mul", [total.name, graph.scalar(1 / len(call.inputs))]), total.shape, total.order)


def concatenate(graph: LayerGraph, call: Call) -> Value:
    """Concatenate along one axis."""
    order = call.value.order
    names = [graph.held(value, order) for value in call.inputs]
    return Value(graph.add("Concat", names, axis=call.value.position(int(call.layer.axis))), call.shape, order)


def dot(graph: LayerGraph, call: Call) -> Value:
    """Dot along one axis of each of two vectors or of two matrices, such as a Gram matrix."""
    first, second = call.inputs
    axes = np.broadcast_to(call.layer.axes, (2,))
    if first.rank != second.rank or first.rank > 3 or 0 in axes:
        raise call.refuse(f"axes {axes.tolist()} of {list(first.shape)} and {list(second.shape)}: only two vectors or two matrices are supported")
    one, other = int(axes[0]) % first.rank, int(axes[1]) % second.rank
    if first.rank == 2:
        names = [graph.held(value, (0, 1)) for value in (first, second)]
        names = _normalized(graph, call, names, [1, 1])
        return Value(graph.add("ReduceSum", [graph.add("Mul", names), graph.integers([1], "axes")], keepdims=1), call.shape, (0, 1))
    names = [graph.held(first, (0, 3 - one, one)), graph.held(second, (0, other, 3 - other))]
    return Value(graph.add("MatMul", _normalized(graph, call, names, [2, 1])), call.shape, natural(3))


def _normalized(graph: LayerGraph, call: Call, names: list[str], axes: list[int]) -> list[str]:
    if not call.layer.normalize:
        return names
    return [unit_length(graph, name, [axis], floor=keras.config.epsilon()) for name, axis in zip(names, axes, strict=True)]


LAYERS: Mapping[type, Function] = {
    keras.layers.Add: _elementwise("Add"),
    keras.layers.Average: average,
    keras.layers.Concatenate: concatenate,
    keras.layers.Dot: dot,
    keras.layers.Maximum: _elementwise("Max"),
    keras.layers.Minimum: _elementwise("Min"),
    keras.layers.Multiply: _elementwise("Mul"),
    keras.layers.Subtract: _elementwise("Sub"),
}
