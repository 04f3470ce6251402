"""Layers that scale and shift: by statistics that were learned, by those of the input, or by constants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from converters.from_keras.keras_backend import array, keras
from converters.from_keras.layer_graph import Call, LayerGraph, Order, Value, natural


def batch_normalization(graph: LayerGraph, call: Call) -> Value:
    """BatchNormalization with its moving statistics."""
    layer, value = call.layer, call.value
    order = _axis_first(int(np.atleast_1d(layer.axis)[0]), value.rank)
    mean, variance = array(layer.moving_mean), array(layer.moving_variance)
    scale = array(layer.gamma) if layer.scale else np.ones_like(mean)
    shift = array(layer.beta) if layer.center else np.zeros_like(mean)
    name = value.name if value.columns is not None else graph.held(value, order)

    def constant(numbers: NDArray[np.float32], role: str) -> str:
        return graph.initializer(numbers if value.columns is None else numbers[value.columns], role)

    statistics = [constant(scale, "scale"), constant(shift, "shift"), constant(mean, "mean"), constant(variance, "variance")]
    return replace(value, name=graph.add("BatchNormalization", [name, *statistics], epsilon=float(layer.epsilon)), order=order)


def layer_normalization(graph: LayerGraph, call: Call) -> Value:
    """LayerNormalization over the last axes."""
    layer, value = call.layer, call.value
    axes = sorted(int(axis) % value.rank for axis in np.atleast_1d(layer.axis))
    if axes != list(range(value.rank - len(axes), value.rank)):
        raise call.refuse(f"axes {axes} of {value.rank}: only the last ones are supported")
    if getattr(layer, "rms_scaling", False):
        raise call.refuse("rms_scaling is not supported")
    order, shape = natural(value.rank), [value.shape[axis - 1] for axis in axes]
    scale = array(layer.gamma) if layer.scale else np.ones(shape, np.float32)
    shift = array(layer.beta) if layer.center else np.zeros(shape, np.float32)
    constants = [graph.initializer(scale, "scale"), graph.initializer(shift, "shift")]
    name = graph.add("LayerNormalization", [graph.held(value, order), *constants], axis=axes[0], epsilon=float(layer.epsilon))
    return Value(name, value.shape, order)


def group_normalization(graph: LayerGraph, call: Call) -> Value:
    """GroupNormalization: an instance normalisation of each group, then a scale and a shift for each channel."""
    layer, value = call.layer, call.value
    order = _axis_first(int(layer.axis), value.rank)
    channels = value.shape[order[1] - 1]
    groups = channels if layer.groups == -1 else int(layer.groups)
    apart = graph.reshape(graph.held(value, order), [groups, -1])
    ones, zeros = graph.initializer(np.ones(groups, np.float32), "ones"), graph.initializer(np.zeros(groups, np.float32), "zeros")
    normal = graph.add("InstanceNormalization", [apart, ones, zeros], epsilon=float(layer.epsilon))
    name = graph.reshape(normal, [value.shape[axis - 1] for axis in order[1:]])
    each = (1, channels, *[1] * (value.rank - 2))
    if layer.scale:
        name = graph.add("Mul", [name, graph.initializer(array(layer.gamma).reshape(each), "scale")])
    if layer.center:
        name = graph.add("Add", [name, graph.initializer(array(layer.beta).reshape(each), "shift")])
    return Value(name, value.shape, order)


def unit_normalization(graph: LayerGraph, call: Call) -> Value:
    """UnitNormalization: each vector along the axes gets length 1."""
    axes = [call.value.position(int(axis)) for axis in np.atleast_1d(call.layer.axis)]
    return replace(call.value, name=unit_length(graph, call.value.name, axes, floor=1e-12))


def unit_length(graph: LayerGraph, name: str, axes: list[int], *, floor: float) -> str:
    """Divide by the length along axes of the ONNX value, or by `floor` where it is shorter."""
    length = graph.add("ReduceL2", [name], axes=axes, keepdims=1)
    return graph.add("Div", [name, graph.add("Max", [length, graph.scalar(floor)])])


def rescaling(graph: LayerGraph, call: Call) -> Value:
    """Rescaling: `x * scale + offset`."""
    scaled = graph.add("Mul", [call.value.name, graph.like(call.value, np.asarray(call.layer.scale), "scale")])
    return replace(call.value, name=graph.add("Add", [scaled, graph.like(call.value, np.asarray(call.layer.offset), "offset")]))


def normalization(graph: LayerGraph, call: Call) -> Value:
    """Normalization with a mean and a variance that are constants or were adapted."""
    layer, value = call.layer, call.value
    if layer.mean is None or layer.variance is None:
        raise call.refuse("mean and variance were never set")
    mean, deviation = array(layer.mean), np.maximum(np.sqrt(array(layer.variance)), np.float32(keras.config.epsilon()))
    at_mean, by = graph.like(value, mean, "mean"), graph.like(value, deviation, "deviation")
    if layer.invert:
        return replace(value, name=graph.add("Add", [graph.add("Mul", [value.name, by]), at_mean]))
    return replace(value, name=graph.add("Div", [graph.add("Sub", [value.name, at_mean]), by]))


def _axis_first(axis: int, rank: int) -> Order:
    axis %= rank
    return (0, axis, *(other for other in range(1, rank) if other != axis))


LAYERS: Mapping[type, Callable[[LayerGraph, Call], Value]] = {
    keras.layers.BatchNormalization: batch_normalization,
    keras.layers.GroupNormalization: group_normalization,
    keras.layers.LayerNormalization: layer_normalization,
    keras.layers.Normalization: normalization,
    keras.layers.Rescaling: rescaling,
    keras.layers.UnitNormalization: unit_normalization,
}
