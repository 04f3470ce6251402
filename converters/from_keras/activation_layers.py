"""Keras' activations, as functions and as layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from converters.from_keras.keras_backend import array, keras
from converters.from_keras.layer_graph import Call, LayerGraph, Value

Emit = Callable[[LayerGraph, str], str]


def activate(graph: LayerGraph, call: Call, name: str, like: Value) -> Value:
    """Apply the layer's own activation to what it computed.

    Args:
        graph: The graph under construction.
        call: The call of the layer.
        name: What it computed.
        like: Shape and order of that; its name does not matter.

    Raises:
        ConversionError: An activation that is not converted.
    """
    return apply(graph, call, replace(like, name=name), call.layer.activation)


def apply(graph: LayerGraph, call: Call, value: Value, function: Any) -> Value:
    """Apply an activation function, or a layer that is used as one.

    Raises:
        ConversionError: An activation that is not converted.
    """
    if isinstance(function, keras.layers.Layer):
        if type(function) not in LAYERS:
            raise call.refuse(f"no conversion for the activation {type(function).__name__}")
        return LAYERS[type(function)](graph, replace(call, layer=function, inputs=(value,)))
    known = str(getattr(function, "__name__", function))
    if known not in FUNCTIONS or keras.activations.get(known) is not function:
        raise call.refuse(f"no conversion for the activation '{known}'", hint=f"converted are {', '.join(FUNCTIONS)}")
    if known in ("softmax", "log_softmax"):
        return _softmax(graph, value, -1, "Softmax" if known == "softmax" else "LogSoftmax")
    return replace(value, name=FUNCTIONS[known](graph, value.name))


def _plain(op_type: str, **attributes: float) -> Emit:
    return lambda graph, name: graph.add(op_type, [name], **attributes)


def _silu(graph: LayerGraph, name: str) -> str:
    return graph.add("Mul", [name, graph.add("Sigmoid", [name])])


def _gelu(graph: LayerGraph, name: str) -> str:
    """Source: x/2 (1 + erf(x / sqrt 2)), Hendrycks and Gimpel, arXiv 1606.08415."""
    bell = graph.add("Erf", [graph.add("Mul", [name, graph.scalar(1 / math.sqrt(2))])])
    return graph.add("Mul", [graph.add("Mul", [name, graph.scalar(0.5)]), graph.add("Add", [bell, graph.scalar(1.0)])])


def _mish(graph: LayerGraph, name: str) -> str:
    return graph.add("Mul", [name, graph.add("Tanh", [graph.add("Softplus", [name])])])


def _relu6(graph: LayerGraph, name: str) -> str:
    return graph.add("Clip", [name, graph.scalar(0.0), graph.scalar(6.0)])


def _linear(graph: LayerGraph, name: str) -> str:
    del graph
    return name


# Keras' function -> what stands for it. Source of the constants: Keras 3's definitions, where hard_sigmoid(x) = clip(x / 6 + 1/2, 0, 1).
FUNCTIONS: Mapping[str, Emit] = {
    "celu": _plain("Celu", alpha=1.0),
    "elu": _plain("Elu", alpha=1.0),
    "exponential": _plain("Exp"),
    "gelu": _gelu,
    "hard_sigmoid": _plain("HardSigmoid", alpha=1 / 6, beta=0.5),
    "hard_silu": _plain("HardSwish"),
    "leaky_relu": _plain("LeakyRelu", alpha=0.2),
    "linear": _linear,
    "log_softmax": _plain("LogSoftmax"),
    "mish": _mish,
    "relu": _plain("Relu"),
    "relu6": _relu6,
    "selu": _plain("Selu"),
    "sigmoid": _plain("Sigmoid"),
    "silu": _silu,
    "softmax": _plain("Softmax"),
    "softplus": _plain("Softplus"),
    "softsign": _plain("Softsign"),
    "tanh": _plain("Tanh"),
}


def _softmax(graph: LayerGraph, value: Value, axis: int, op_type: str) -> Value:
    return replace(value, name=graph.add(op_type, [value.name], axis=value.position(axis)))


def activation(graph: LayerGraph, call: Call) -> Value:
    """Activation."""
    return apply(graph, call, call.value, call.layer.activation)


def relu(graph: LayerGraph, call: Call) -> Value:
    """ReLU with its threshold, slope below it and upper limit."""
    layer, name = call.layer, call.value.name
    if layer.max_value is not None and not layer.threshold and not layer.negative_slope:  # one node, which runtimes join with the convolution before it
        return replace(call.value, name=graph.add("Clip", [name, graph.scalar(0.0), graph.scalar(layer.max_value)]))
    if layer.threshold:
        limit = graph.scalar(layer.threshold)
        positive = graph.add("Where", [graph.add("Greater", [name, limit]), name, graph.scalar(0.0)])
        below = graph.add("Relu", [graph.add("Sub", [limit, name])])
    else:
        positive, below = graph.add("Relu", [name]), graph.add("Relu", [graph.add("Neg", [name])])
    if layer.max_value is not None:
        positive = graph.add("Min", [positive, graph.scalar(layer.max_value)])
    if layer.negative_slope:
        positive = graph.add("Sub", [positive, graph.add("Mul", [below, graph.scalar(layer.negative_slope)])])
    return replace(call.value, name=positive)


def leaky_relu(graph: LayerGraph, call: Call) -> Value:
    """LeakyReLU."""
    return replace(call.value, name=graph.add("LeakyRelu", [call.value.name], alpha=float(call.layer.negative_slope)))


def elu(graph: LayerGraph, call: Call) -> Value:
    """ELU."""
    return replace(call.value, name=graph.add("Elu", [call.value.name], alpha=float(call.layer.alpha)))


def prelu(graph: LayerGraph, call: Call) -> Value:
    """PReLU: a slope for each element, or for each channel."""
    slope = graph.like(call.value, array(call.layer.alpha), "slope")
    return replace(call.value, name=graph.add("PRelu", [call.value.name, slope]))


def softmax(graph: LayerGraph, call: Call) -> Value:
    """Softmax over one axis."""
    axes = np.atleast_1d(call.layer.axis)
    if len(axes) != 1:
        raise call.refuse(f"softmax over several axes, {axes.tolist()}")
    return _softmax(graph, call.value, int(axes[0]), "Softmax")


LAYERS: Mapping[type, Callable[[LayerGraph, Call], Value]] = {
    keras.layers.Activation: activation,
    keras.layers.ELU: elu,
    keras.layers.LeakyReLU: leaky_relu,
    keras.layers.PReLU: prelu,
    keras.layers.ReLU: relu,
    keras.layers.Softmax: softmax,
}
