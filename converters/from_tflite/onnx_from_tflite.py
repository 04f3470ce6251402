"""TFLite to ONNX: one function for each operator, found in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
from onnx import helper

from converters.errors import ConversionError
from converters.from_tflite import ops_convolution, ops_elementwise, ops_shape
from converters.from_tflite.layer_norm import fuse_layer_norms
from converters.from_tflite.ops_elementwise import Function
from converters.from_tflite.tflite_model import TfliteModel, read_tflite
from converters.graph_builder import GraphBuilder

OPSET = 17
IR_VERSION = 8

OPERATORS: Mapping[str, Function] = {
    "ADD": ops_elementwise.binary("Add"),
    "AVERAGE_POOL_2D": ops_convolution.average_pool_2d,
    "CONCATENATION": ops_shape.concatenation,
    "CONV_2D": ops_convolution.conv_2d,
    "DENSIFY": ops_shape.densify,
    "DEPTHWISE_CONV_2D": ops_convolution.depthwise_conv_2d,
    "DEPTH_TO_SPACE": ops_shape.depth_to_space,
    "DEQUANTIZE": ops_shape.dequantize,
    "DIV": ops_elementwise.binary("Div"),
    "FULLY_CONNECTED": ops_convolution.fully_connected,
    "HARD_SWISH": ops_elementwise.unary("HardSwish"),
    "LEAKY_RELU": ops_elementwise.leaky_relu,
    "LOGISTIC": ops_elementwise.unary("Sigmoid"),
    "MAX_POOL_2D": ops_convolution.max_pool_2d,
    "MEAN": ops_shape.reduction("ReduceMean"),
    "MUL": ops_elementwise.binary("Mul"),
    "NEG": ops_elementwise.unary("Neg"),
    "PAD": ops_shape.pad,
    "PRELU": ops_elementwise.prelu,
    "QUANTIZE": ops_shape.quantize,
    "RELU": ops_elementwise.unary("Relu"),
    "RELU6": ops_elementwise.relu6,
    "RESHAPE": ops_shape.reshape,
    "RESIZE_BILINEAR": ops_shape.resize_bilinear,
    "RSQRT": ops_elementwise.rsqrt,
    "SOFTMAX": ops_elementwise.softmax,
    "SQRT": ops_elementwise.unary("Sqrt"),
    "SQUARED_DIFFERENCE": ops_elementwise.squared_difference,
    "STRIDED_SLICE": ops_shape.strided_slice,
    "SUB": ops_elementwise.binary("Sub"),
    "SUM": ops_shape.reduction("ReduceSum"),
    "TANH": ops_elementwise.unary("Tanh"),
    "TRANSPOSE": ops_shape.transpose,
}


def onnx_from_tflite(content: bytes, *, name: str, outputs: Sequence[str] = ()) -> onnx.ModelProto:
    """Convert a TFLite network.

    Pictures become NCHW, dimension 0 of every input and output the free batch `N`, a 1x1 picture at an output a vector [N, C]. All inputs and
    outputs are real-valued float32: where the source stores 8-bit integers, a QuantizeLinear and DequantizeLinear pair rounds as it does.

    Args:
        content: The TFLite file's bytes.
        name: Name of the ONNX graph.
        outputs: Names of the outputs to keep, in this order; empty keeps all. What only the others need is left out.

    Returns:
        A checked model of opset 17.

    Raises:
        ConversionError: Something in it has no faithful counterpart here; the message names operator, tensor and option.
    """
    model = read_tflite(content)
    graph = GraphBuilder(model)
    for index in model.inputs:
        if graph.shape(index)[:1] != (1,):
            raise ConversionError(f"input tensor {index} has shape {list(graph.shape(index))}: dimension 0 must be a batch of 1")
        graph.add_input(index)
    for operator in model.operators:
        if operator.name not in OPERATORS:
            raise operator.refuse("no conversion for this operator", hint=f"supported: {', '.join(OPERATORS)}")
        with graph.converting(operator):
            OPERATORS[operator.name](graph, operator)
    converted = helper.make_model(
        fuse_layer_norms(graph.finish(name=name, outputs=_kept(model, outputs))),
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="edge.converters",
    )
    onnx.checker.check_model(converted, full_check=True)
    return converted


def _kept(model: TfliteModel, names: Sequence[str]) -> list[int]:
    indices = {model.tensors[index].name: index for index in model.outputs}
    if unknown := [name for name in names if name not in indices]:
        raise ConversionError(f"the network has no output {unknown}; it has {list(indices)}")
    return [indices[name] for name in names or indices]
