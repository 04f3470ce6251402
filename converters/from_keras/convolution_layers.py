"""Layers with a kernel: convolutions and dense layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.from_keras.activation_layers import activate
from converters.from_keras.keras_backend import array, keras
from converters.from_keras.layer_graph import Call, LayerGraph, Value, natural


def pads(call: Call, sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilation: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return how many cells are padded before and after each axis.

    Source: TensorFlow's rule for `same`: as many outputs as strides begin within the input; where the padding is odd, the larger half comes after.

    Args:
        call: The layer; its `padding` is asked.
        sizes: Cells along each axis.
        kernel: Its size along each axis.
        strides: Along each axis.
        dilation: Along each axis.

    Raises:
        ConversionError: A padding of another name.
    """
    spans = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
    if call.layer.padding == "valid":
        return [0] * len(spans), [0] * len(spans)
    if call.layer.padding == "causal":
        return spans, [0] * len(spans)
    if call.layer.padding != "same":
        raise call.refuse(f"padding '{call.layer.padding}' is not supported")
    totals = [max((math.ceil(n / s) - 1) * s + span + 1 - n, 0) for n, s, span in zip(sizes, strides, spans, strict=True)]
    return [total // 2 for total in totals], [total - total // 2 for total in totals]


def conv(graph: LayerGraph, call: Call) -> Value:
    """Conv1D, Conv2D and Conv3D, grouped and dilated too."""
    weight = np.moveaxis(array(call.layer.kernel), (-1, -2), (0, 1))
    return _finish(graph, call, _convolved(graph, call, weight, groups=int(call.layer.groups), bias=_bias(graph, call)))


def depthwise_conv(graph: LayerGraph, call: Call) -> Value:
    """DepthwiseConv1D and DepthwiseConv2D."""
    weight = _depthwise(array(call.layer.kernel))
    return _finish(graph, call, _convolved(graph, call, weight, groups=_channels(call), bias=_bias(graph, call)))


def separable_conv(graph: LayerGraph, call: Call) -> Value:
    """SeparableConv1D and SeparableConv2D: depthwise, then 1x1."""
    depthwise = _convolved(graph, call, _depthwise(array(call.layer.depthwise_kernel)), groups=_channels(call), bias=[])
    weight = np.moveaxis(array(call.layer.pointwise_kernel), (-1, -2), (0, 1))
    return _finish(graph, call, graph.add("Conv", [depthwise, graph.initializer(weight, "weight"), *_bias(graph, call)]))


def conv_transpose(graph: LayerGraph, call: Call) -> Value:
    """Conv1DTranspose, Conv2DTranspose and Conv3DTranspose.

    Source: the gradient of the convolution with the same settings, as TensorFlow defines it.
    """
    layer = call.layer
    if layer.output_padding is not None:
        raise call.refuse("output_padding is not supported")
    order = call.picture_order()
    weight = np.moveaxis(array(layer.kernel), (-1, -2), (0, 1))  # (in, out, ...)
    strides, dilation = _each(layer.strides, layer.rank), _each(layer.dilation_rate, layer.rank)
    spans = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilation, strict=True)]
    if layer.padding == "valid":
        before, after = [0] * layer.rank, [min(span - s, 0) for span, s in zip(spans, strides, strict=True)]
    elif layer.padding == "same":
        totals = [span - s for span, s in zip(spans, strides, strict=True)]
        before = [max(total, 0) // 2 for total in totals]
        after = [total - half for total, half in zip(totals, before, strict=True)]
    else:
        raise call.refuse(f"padding '{layer.padding}' is not supported")
    name = graph.add(
        "ConvTranspose",
        [graph.held(call.value, order), graph.initializer(weight, "weight"), *_bias(graph, call)],
        strides=strides,
        dilations=dilation,
        pads=[*before, *(max(cells, 0) for cells in after)],
        output_padding=[max(-cells, 0) for cells in after],
    )
    return _finish(graph, call, name)


def dense(graph: LayerGraph, call: Call) -> Value:
    """Dense; over the last axis where there are several."""
    layer, value = call.layer, call.value
    if layer.quantization_mode is not None or getattr(layer, "lora_enabled", False):
        raise call.refuse("quantised and LoRA weights are not supported", hint="save the model with its weights merged, in float32")
    kernel = array(layer.kernel)
    if value.rank == 2:
        weight = graph.initializer(kernel if value.columns is None else kernel[value.columns], "weight")
        name = graph.add("Gemm", [value.name, weight, *_bias(graph, call)])
    else:
        name = graph.add("MatMul", [graph.held(value, natural(value.rank)), graph.initializer(kernel, "weight")])
        if bias := _bias(graph, call):
            name = graph.add("Add", [name, *bias])
    return activate(graph, call, name, Value(name, call.shape, natural(value.rank)))


def _convolved(graph: LayerGraph, call: Call, weight: NDArray[np.float32], *, groups: int, bias: Sequence[str]) -> str:
    layer, order, rank = call.layer, call.picture_order(), weight.ndim - 2
    strides, dilation = _each(layer.strides, rank), _each(layer.dilation_rate, rank)
    sizes = [call.value.shape[axis - 1] for axis in order[2:]]
    before, after = pads(call, sizes, weight.shape[2:], strides, dilation)
    inputs = [graph.held(call.value, order), graph.initializer(weight, "weight"), *bias]
    return graph.add("Conv", inputs, strides=strides, dilations=dilation, pads=[*before, *after], group=groups, kernel_shape=list(weight.shape[2:]))


def _finish(graph: LayerGraph, call: Call, name: str) -> Value:
    return activate(graph, call, name, Value(name, call.shape, call.picture_order()))


def _depthwise(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """(..., channels, multiplier) to (channels * multiplier, 1, ...)."""
    return np.moveaxis(kernel, (-2, -1), (0, 1)).reshape(-1, 1, *kernel.shape[:-2])


def _channels(call: Call) -> int:
    return call.value.shape[call.picture_order()[1] - 1]


def _bias(graph: LayerGraph, call: Call) -> list[str]:
    return [graph.initializer(array(call.layer.bias), "bias")] if call.layer.use_bias else []


def _each(setting: Any, rank: int) -> list[int]:
    return [int(number) for number in np.broadcast_to(setting, (rank,))]


LAYERS: Mapping[type, Callable[[LayerGraph, Call], Value]] = {
    keras.layers.Conv1D: conv,
    keras.layers.Conv1DTranspose: conv_transpose,
    keras.layers.Conv2D: conv,
    keras.layers.Conv2DTranspose: conv_transpose,
    keras.layers.Conv3D: conv,
    keras.layers.Conv3DTranspose: conv_transpose,
    keras.layers.Dense: dense,
    keras.layers.DepthwiseConv1D: depthwise_conv,
    keras.layers.DepthwiseConv2D: depthwise_conv,
    keras.layers.SeparableConv1D: separable_conv,
    keras.layers.SeparableConv2D: separable_conv,
}
