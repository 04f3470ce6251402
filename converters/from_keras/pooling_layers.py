"""Pooling layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from converters.from_keras.convolution_layers import pads
from converters.from_keras.keras_backend import keras
from converters.from_keras.layer_graph import Call, LayerGraph, Value

Function = Callable[[LayerGraph, Call], Value]


def _pool(op_type: str, **attributes: Any) -> Function:
    def pool(graph: LayerGraph, call: Call) -> Value:
        layer, order = call.layer, call.picture_order()
        kernel, strides = list(layer.pool_size), list(layer.strides)
        sizes = [call.value.shape[axis - 1] for axis in order[2:]]
        before, after = pads(call, sizes, kernel, strides, [1] * len(kernel))
        if op_type == "AveragePool" and before != after:
            raise call.refuse(
                "Keras on PyTorch repeats the edge where this padding is uneven, TensorFlow leaves it out of the mean: nothing here can confirm a conversion",
                hint="export the model from TensorFlow as a SavedModel and convert that with --trusted",
            )
        name = graph.add(op_type, [graph.held(call.value, order)], kernel_shape=kernel, strides=strides, pads=[*before, *after], **attributes)
        return Value(name, call.shape, order)

    return pool


def _global(op_type: str) -> Function:
    def pool(graph: LayerGraph, call: Call) -> Value:
        order = call.picture_order()
        name = graph.add(op_type, [graph.held(call.value, order)])
        if call.layer.keepdims:
            return Value(name, call.shape, order)
        return Value(graph.reshape(name, call.shape), call.shape, (0, 1))

    return pool


# Average pooling leaves padded cells out of the mean, as TensorFlow does.
_AVERAGE, _MAX = _pool("AveragePool", count_include_pad=0), _pool("MaxPool")
_GLOBAL_AVERAGE, _GLOBAL_MAX = _global("GlobalAveragePool"), _global("GlobalMaxPool")

LAYERS: Mapping[type, Function] = {
    keras.layers.AveragePooling1D: _AVERAGE,
    keras.layers.AveragePooling2D: _AVERAGE,
    keras.layers.AveragePooling3D: _AVERAGE,
    keras.layers.GlobalAveragePooling1D: _GLOBAL_AVERAGE,
    keras.layers.GlobalAveragePooling2D: _GLOBAL_AVERAGE,
    keras.layers.GlobalAveragePooling3D: _GLOBAL_AVERAGE,
    keras.layers.GlobalMaxPooling1D: _GLOBAL_MAX,
    keras.layers.GlobalMaxPooling2D: _GLOBAL_MAX,
    keras.layers.GlobalMaxPooling3D: _GLOBAL_MAX,
    keras.layers.MaxPooling1D: _MAX,
    keras.layers.MaxPooling2D: _MAX,
    keras.layers.MaxPooling3D: _MAX,
}
