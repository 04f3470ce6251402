"""TFLite operators that work value by value, or along one axis without changing the shape."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from converters.from_tflite.tflite_model import Operator
from converters.graph_builder import GraphBuilder, Order

Function = Callable[[GraphBuilder, Operator], None]

# schema.fbs, enum ActivationFunctionType. Its TANH and SIGN_BIT are refused: LiteRT's own kernels leave them out without a word.
_NONE, _RELU, _RELU_N1_TO_1, _RELU6 = 0, 1, 2, 3


def activate(graph: GraphBuilder, operator: Operator, name: str) -> str:
    """Append the operator's fused activation and return the result's name.

    Raises:
        ConversionError: The activation is not known.
    """
    activation = graph.option(operator, "fusedActivationFunction")
    if activation == _NONE:
        return name
    if activation == _RELU:
        return graph.add("Relu", [name])
    if activation in (_RELU_N1_TO_1, _RELU6):
        low, high = (-1.0, 1.0) if activation == _RELU_N1_TO_1 else (0.0, 6.0)
        return _clip(graph, name, low, high)
    raise operator.refuse(f"option fusedActivationFunction={activation} is not supported")


def unary(op_type: str) -> Function:
    """Return the function of an operator that is one ONNX node on one input, in whatever axis order it comes."""

    def convert(graph: GraphBuilder, operator: Operator) -> None:
        order = graph.order(operator.inputs[0])
        graph.set(operator, graph.add(op_type, [graph.value(operator, operator.inputs[0], order)]), order)

    return convert


def binary(op_type: str) -> Function:
    """Return the function of an operator that is one ONNX node on two inputs, with a fused activation."""

    def convert(graph: GraphBuilder, operator: Operator) -> None:
        order, names = _operands(graph, operator)
        name = graph.add(op_type, names)
        graph.set(operator, activate(graph, operator, name) if operator.options else name, order)

    return convert


def relu6(graph: GraphBuilder, operator: Operator) -> None:
    """Clip."""
    order = graph.order(operator.inputs[0])
    graph.set(operator, _clip(graph, graph.value(operator, operator.inputs[0], order), 0.0, 6.0), order)


def rsqrt(graph: GraphBuilder, operator: Operator) -> None:
    """Sqrt, then Reciprocal."""
    order = graph.order(operator.inputs[0])
    graph.set(operator, graph.add("Reciprocal", [graph.add("Sqrt", [graph.value(operator, operator.inputs[0], order)])]), order)


def squared_difference(graph: GraphBuilder, operator: Operator) -> None:
    """Sub, then Mul of the result with itself."""
    order, names = _operands(graph, operator)
    difference = graph.add("Sub", names)
    graph.set(operator, graph.add("Mul", [difference, difference]), order)


def prelu(graph: GraphBuilder, operator: Operator) -> None:
    """PRelu with its slopes in the input's axis order."""
    source, slope = operator.inputs
    order = graph.order(source)
    slopes = graph.weight(operator, slope, order[1:], quantized=False)
    graph.set(operator, graph.add("PRelu", [graph.value(operator, source, order), slopes]), order)


def leaky_relu(graph: GraphBuilder, operator: Operator) -> None:
    """LeakyRelu."""
    order = graph.order(operator.inputs[0])
    alpha = float(graph.option(operator, "alpha"))
    graph.set(operator, graph.add("LeakyRelu", [graph.value(operator, operator.inputs[0], order)], alpha=alpha), order)


def softmax(graph: GraphBuilder, operator: Operator) -> None:
    """Softmax along TFLite's last axis, wherever that axis lies now."""
    source = operator.inputs[0]
    order = graph.order(source)
    name = graph.value(operator, source, order)
    beta = graph.option(operator, "beta")
    if beta != 1.0:
        name = graph.add("Mul", [name, graph.initializer(np.array(beta, np.float32), "beta")])
    graph.set(operator, graph.add("Softmax", [name], axis=order.index(len(order) - 1)), order)


def _clip(graph: GraphBuilder, name: str, low: float, high: float) -> str:
    return graph.add("Clip", [name, graph.initializer(np.array(low, np.float32), "low"), graph.initializer(np.array(high, np.float32), "high")])


def _operands(graph: GraphBuilder, operator: Operator) -> tuple[Order, list[str]]:
    """Both inputs in the axis order of the larger activation; constants follow it."""
    rank = len(graph.shape(operator.outputs[0]))
    activations = [index for index in operator.inputs if not graph.is_constant(index)]
    if not activations:
        raise operator.refuse("all inputs are constants, which is not supported")
    if lower := [index for index in activations if len(graph.shape(index)) != rank]:
        raise operator.refuse(f"tensor {lower[0]} has fewer axes than the output: only constants are broadcast to more axes")
    order = graph.order(max(activations, key=lambda index: int(np.prod(graph.shape(index)))))
    return order, [graph.value(operator, index, order) for index in operator.inputs]
