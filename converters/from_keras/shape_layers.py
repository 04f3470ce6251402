"""Layers that move, cut, pad and enlarge, and those that do nothing outside training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from converters.from_keras.keras_backend import keras
from converters.from_keras.layer_graph import Call, LayerGraph, Value, flattened, reshaped


def identity(graph: LayerGraph, call: Call) -> Value:
    """Layers that act in training alone."""
    del graph
    return call.value


def permute(graph: LayerGraph, call: Call) -> Value:
    """Permute: nothing moves; only what the axes are called changes."""
    value = call.value
    if value.columns is not None:
        value = Value(graph.held(value, (0, 1)), value.shape, (0, 1))
    renamed = {axis: place for place, axis in enumerate((0, *call.layer.dims))}
    return Value(value.name, call.shape, tuple(renamed[axis] for axis in value.order))


def repeat_vector(graph: LayerGraph, call: Call) -> Value:
    """RepeatVector: [N, C] to [N, n, C]."""
    apart = graph.reshape(graph.held(call.value, (0, 1)), [1, *call.value.shape])
    return Value(graph.add("Tile", [apart, graph.integers([1, call.layer.n, 1], "repeats")]), call.shape, (0, 1, 2))


def zero_padding(graph: LayerGraph, call: Call) -> Value:
    """ZeroPadding1D, ZeroPadding2D and ZeroPadding3D."""
    order = call.picture_order()
    cells = [(0, 0), (0, 0), *_pairs(call.layer.padding)]
    amounts = graph.integers([before for before, _ in cells] + [after for _, after in cells], "pads")
    return Value(graph.add("Pad", [graph.held(call.value, order), amounts]), call.shape, order)


def cropping(graph: LayerGraph, call: Call) -> Value:
    """Cropping1D, Cropping2D and Cropping3D."""
    order = call.picture_order()
    cells = _pairs(call.layer.cropping)
    sizes = [call.value.shape[axis - 1] for axis in order[2:]]
    starts = graph.integers([before for before, _ in cells], "starts")
    ends = graph.integers([size - after for size, (_, after) in zip(sizes, cells, strict=True)], "ends")
    axes = graph.integers(range(2, call.value.rank), "axes")
    return Value(graph.add("Slice", [graph.held(call.value, order), starts, ends, axes]), call.shape, order)


def up_sampling(graph: LayerGraph, call: Call) -> Value:
    """UpSampling1D, UpSampling2D and UpSampling3D."""
    order, layer = call.picture_order(), call.layer
    interpolation = getattr(layer, "interpolation", "nearest")
    factors = np.atleast_1d(layer.size)
    sizes = [call.value.shape[axis - 1] * int(factor) for axis, factor in zip(order[2:], factors, strict=True)]
    return Value(_resized(graph, call, sizes, interpolation), call.shape, order)


def resizing(graph: LayerGraph, call: Call) -> Value:
    """Resizing, bilinear or nearest, without antialiasing and without keeping the aspect ratio."""
    layer = call.layer
    for option in ("crop_to_aspect_ratio", "pad_to_aspect_ratio", "antialias"):
        if getattr(layer, option, False):
            raise call.refuse(f"{option}=True is not supported")
    return Value(_resized(graph, call, [layer.height, layer.width], layer.interpolation), call.shape, call.picture_order())


def _resized(graph: LayerGraph, call: Call, sizes: list[int], interpolation: str) -> str:
    order = call.picture_order()
    whole = graph.integers([call.value.shape[order[1] - 1], *sizes], "sizes")
    name = graph.held(call.value, order)
    batch = graph.add("Shape", [name], start=0, end=1)
    inputs = [name, "", "", graph.add("Concat", [batch, whole], axis=0)]
    if interpolation == "nearest" and all(new % call.value.shape[axis - 1] == 0 for axis, new in zip(order[2:], sizes, strict=True)):
        return graph.add("Resize", inputs, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    if interpolation == "bilinear" and len(sizes) == 2:
        return graph.add("Resize", inputs, mode="linear", coordinate_transformation_mode="half_pixel")
    raise call.refuse(f"{interpolation} interpolation to {sizes} is not supported", hint="converted are bilinear, and nearest to a multiple of the size")


def _pairs(setting: Any) -> list[tuple[int, int]]:
    """One pair for each axis; of one axis alone Keras keeps the pair itself."""
    pairs = np.asarray(setting).reshape(-1, 2)
    return [(int(before), int(after)) for before, after in pairs]


_ACT_IN_TRAINING = (
    "ActivityRegularization",
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "Identity",
    "RandomBrightness",
    "RandomContrast",
    "RandomFlip",
    "RandomRotation",
    "RandomTranslation",
    "RandomZoom",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
)

LAYERS: Mapping[type, Callable[[LayerGraph, Call], Value]] = {
    **{getattr(keras.layers, name): identity for name in _ACT_IN_TRAINING},
    keras.layers.Cropping1D: cropping,
    keras.layers.Cropping2D: cropping,
    keras.layers.Cropping3D: cropping,
    keras.layers.Flatten: flattened,
    keras.layers.Permute: permute,
    keras.layers.RepeatVector: repeat_vector,
    keras.layers.Reshape: reshaped,
    keras.layers.Resizing: resizing,
    keras.layers.UpSampling1D: up_sampling,
    keras.layers.UpSampling2D: up_sampling,
    keras.layers.UpSampling3D: up_sampling,
    keras.layers.ZeroPadding1D: zero_padding,
    keras.layers.ZeroPadding2D: zero_padding,
    keras.layers.ZeroPadding3D: zero_padding,
}
