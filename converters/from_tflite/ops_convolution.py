"""TFLite operators that slide a window or multiply by a matrix: convolutions, pools, fully connected layers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from converters.from_tflite.ops_elementwise import activate
from converters.from_tflite.tflite_model import Operator
from converters.graph_builder import NCHW, GraphBuilder

_SAME, _VALID = 0, 1  # schema.fbs, enum Padding


def conv_2d(graph: GraphBuilder, operator: Operator) -> None:
    """Conv; or MatMul where the input holds its channels last and a 1x1 window needs them nowhere else."""
    source, weight = operator.inputs[:2]
    out_channels, height, width, in_channels = graph.shape(weight)
    if graph.shape(source)[3] != in_channels:
        raise operator.refuse(f"grouped convolution ({graph.shape(source)[3]} channels in, {in_channels} in the filter) is not supported")
    window = _window(graph, operator, (height, width), _dilations(graph, operator))
    source, window["pads"] = _merged_padding(graph, operator, window["pads"])
    pointwise = height == width == 1 and window["strides"] == [1, 1] and not any(window["pads"])
    if pointwise and graph.order(source)[-1] == 3 and graph.moves(source, NCHW):
        _channels_last_matmul(graph, operator)
        return
    inputs = [graph.value(operator, source, NCHW), graph.weight(operator, weight, NCHW, quantized=graph.tensor(source).quantized)]
    name = graph.add("Conv", [*inputs, *_bias(graph, operator, out_channels)], kernel_shape=[height, width], **window)
    graph.set(operator, activate(graph, operator, name), NCHW)


def _channels_last_matmul(graph: GraphBuilder, operator: Operator) -> None:
    source, weight = operator.inputs[:2]
    shape, order = graph.shape(source), graph.order(source)
    # Axes of size 1 go to the front, so that the product has one matrix for each picture and not one for each row.
    rows = [axis for axis in order[1:-1] if shape[axis] != 1]
    tokens = (0, *(axis for axis in order[1:-1] if axis not in rows), *rows, 3)
    matrix = graph.weight(operator, weight, (3, 0), quantized=graph.tensor(source).quantized)
    name = graph.add("MatMul", [graph.value(operator, source, tokens), matrix])
    if bias := _bias(graph, operator, graph.shape(weight)[0]):
        name = graph.add("Add", [name, *bias])
    graph.set(operator, activate(graph, operator, name), tokens)


def depthwise_conv_2d(graph: GraphBuilder, operator: Operator) -> None:
    """Conv with one group for each input channel. TFLite numbers the output channels as ONNX does: those of one input channel together."""
    source, weight = operator.inputs[:2]
    _, height, width, out_channels = graph.shape(weight)
    in_channels = graph.shape(source)[3]
    if graph.option(operator, "depthMultiplier") * in_channels != out_channels:
        raise operator.refuse(f"option depthMultiplier={operator.options['depthMultiplier']} does not fit {in_channels} channels in and {out_channels} out")
    window = _window(graph, operator, (height, width), _dilations(graph, operator))
    source, window["pads"] = _merged_padding(graph, operator, window["pads"])
    inputs = [graph.value(operator, source, NCHW), graph.weight(operator, weight, (3, 0, 1, 2), quantized=graph.tensor(source).quantized)]
    name = graph.add("Conv", [*inputs, *_bias(graph, operator, out_channels)], kernel_shape=[height, width], group=in_channels, **window)
    graph.set(operator, activate(graph, operator, name), NCHW)


def max_pool_2d(graph: GraphBuilder, operator: Operator) -> None:
    """MaxPool."""
    _pool(graph, operator, "MaxPool")


def average_pool_2d(graph: GraphBuilder, operator: Operator) -> None:
    """AveragePool that, like TFLite, counts no padding."""
    _pool(graph, operator, "AveragePool", count_include_pad=0)


def fully_connected(graph: GraphBuilder, operator: Operator) -> None:
    """Gemm over everything but the batch; MatMul where the axes before the last are kept."""
    source, weight = operator.inputs[:2]
    shape, (out_size, in_size) = graph.shape(source), graph.shape(weight)
    if graph.option(operator, "weightsFormat"):
        raise operator.refuse(f"option weightsFormat={operator.options['weightsFormat']} is not supported")
    order = tuple(range(len(shape)))
    name = graph.value(operator, source, order)
    matrix = graph.weight(operator, weight, (1, 0), quantized=graph.tensor(source).quantized)
    bias = _bias(graph, operator, out_size)
    if graph.option(operator, "keepNumDims") and len(shape) > 2:
        name = graph.add("MatMul", [name, matrix])
        name = graph.add("Add", [name, *bias]) if bias else name
    elif math.prod(shape) == in_size:
        name = name if len(shape) == 2 else graph.reshape(name, [in_size])
        name = graph.add("Gemm", [name, matrix, *bias])
    else:
        raise operator.refuse(f"an input of shape {list(shape)} has more than one row of {in_size} values, which would mix with the batch")
    graph.set(operator, activate(graph, operator, name), tuple(range(len(graph.shape(operator.outputs[0])))))


def _pool(graph: GraphBuilder, operator: Operator, op_type: str, **attributes: Any) -> None:
    size = (graph.option(operator, "filterHeight"), graph.option(operator, "filterWidth"))
    window = _window(graph, operator, size, [1, 1])
    del window["dilations"]  # AveragePool of opset 17 knows none
    name = graph.add(op_type, [graph.value(operator, operator.inputs[0], NCHW)], kernel_shape=list(size), **window, **attributes)
    graph.set(operator, activate(graph, operator, name), NCHW)


def _window(graph: GraphBuilder, operator: Operator, size: tuple[int, int], dilations: list[int]) -> dict[str, list[int]]:
    """Strides, dilations and pads. SAME pads so that out = ceil(in / stride), the odd pixel at the bottom and right.

    Source: tensorflow/lite/kernels/padding.h, ComputePaddingWithOffset.
    """
    strides = [graph.option(operator, "strideH"), graph.option(operator, "strideW")]
    padding = graph.option(operator, "padding")
    if padding == _VALID:
        return {"strides": strides, "dilations": dilations, "pads": [0, 0, 0, 0]}
    if padding != _SAME:
        raise operator.refuse(f"option padding={padding} is not supported")
    before, after = [], []
    for length, extent, stride, dilation in zip(graph.shape(operator.inputs[0])[1:3], size, strides, dilations, strict=True):
        total = max((math.ceil(length / stride) - 1) * stride + (extent - 1) * dilation + 1 - length, 0)
        before.append(total // 2)
        after.append(total - total // 2)
    return {"strides": strides, "dilations": dilations, "pads": [*before, *after]}


def _dilations(graph: GraphBuilder, operator: Operator) -> list[int]:
    return [graph.option(operator, "dilationHFactor"), graph.option(operator, "dilationWFactor")]


def _merged_padding(graph: GraphBuilder, operator: Operator, pads: list[int]) -> tuple[int, list[int]]:
    """A zero PAD of height and width in front of a convolution is the convolution's own padding."""
    source = operator.inputs[0]
    producer = graph.producers.get(source)
    if producer is None or producer.name != "PAD":
        return source, pads
    (top_left, bottom_right) = graph.constant(producer, producer.inputs[1]).T
    if top_left[0] or top_left[3] or bottom_right[0] or bottom_right[3]:
        return source, pads
    extra = [top_left[1], top_left[2], bottom_right[1], bottom_right[2]]
    return producer.inputs[0], [int(own + more) for own, more in zip(pads, extra, strict=True)]


def _bias(graph: GraphBuilder, operator: Operator, size: int) -> list[str]:
    """Biases are float32 whatever the weights are: TensorRT refuses INT32 biases behind a DequantizeLinear."""
    if len(operator.inputs) < 3 or operator.inputs[2] < 0:
        return []
    bias = graph.constant(operator, operator.inputs[2])
    return [graph.initializer(bias.astype(np.float32).reshape(size), "bias")]
