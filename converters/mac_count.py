"""How much a network computes: multiplications with a sum behind them, counted in its ONNX graph."""

from __future__ import annotations

import math

import onnx

from converters.errors import ConversionError

# They multiply and sum in ways that are not counted here: better no number than a wrong one.
_UNCOUNTED = frozenset({"LSTM", "GRU", "RNN", "Einsum", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "If", "Loop", "Scan"})

_Shapes = dict[str, tuple[int, ...]]


def count_macs(model: onnx.ModelProto, *, batch: int) -> int:
    """Count multiply-accumulates.

    A convolution and a matrix product cost one for each number that goes into the sum behind each output; nothing else counts: no bias, no normalisation (it is
    mostly folded into the convolution before it), no activation, pool or addition. torchinfo, whose figures document 002 prints, counts the weights of
    convolutions the same way and adds one for each parameter of all other layers and for each bias: less than 0.1 % in these networks.

    Args:
        model: With one free dimension, the batch, in front of every input.
        batch: Its size.

    Returns:
        The number for one batch.

    Raises:
        ConversionError: An operator that cannot be counted, or one whose sizes do not follow from the graph; the message names it.
    """
    shapes = _shapes(model, batch)
    total = 0
    for node in model.graph.node:
        if node.op_type in _UNCOUNTED:
            raise ConversionError(f"cannot count the multiplications of '{node.name}', which is {node.op_type}")
        if node.op_type in _COUNTED:
            total += _COUNTED[node.op_type](node, shapes)
    return total


def _convolution(node: onnx.NodeProto, shapes: _Shapes) -> int:
    weight = _shape(node, node.input[1], shapes)
    return math.prod(_shape(node, node.output[0], shapes)) * math.prod(weight[1:])  # the weight's second size is already that of one group


def _transposed_convolution(node: onnx.NodeProto, shapes: _Shapes) -> int:
    weight = _shape(node, node.input[1], shapes)
    return math.prod(_shape(node, node.input[0], shapes)) * math.prod(weight[1:])


def _product(node: onnx.NodeProto, shapes: _Shapes) -> int:
    transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    left = _shape(node, node.input[0], shapes)
    return math.prod(_shape(node, node.output[0], shapes)) * left[0 if transposed else -1]


_COUNTED = {"Conv": _convolution, "ConvTranspose": _transposed_convolution, "Gemm": _product, "MatMul": _product}


def _shape(node: onnx.NodeProto, name: str, shapes: _Shapes) -> tuple[int, ...]:
    if name not in shapes:
        raise ConversionError(f"cannot count the multiplications of '{node.name}' ({node.op_type}): the sizes of '{name}' do not follow from the graph")
    return shapes[name]


def _shapes(model: onnx.ModelProto, batch: int) -> _Shapes:
    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    del sized.graph.value_info[:]  # sizes that were noted for the free batch
    for value in (*sized.graph.input, *sized.graph.output):
        for dim in value.type.tensor_type.shape.dim[:1]:
            dim.dim_value = batch
    inferred = onnx.shape_inference.infer_shapes(sized, strict_mode=True, data_prop=True).graph
    shapes: _Shapes = {tensor.name: tuple(tensor.dims) for tensor in inferred.initializer}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        dims = value.type.tensor_type.shape.dim
        if all(dim.HasField("dim_value") for dim in dims):
            shapes[value.name] = tuple(dim.dim_value for dim in dims)
    return shapes
