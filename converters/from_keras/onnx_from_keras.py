"""Keras to ONNX: one function for each layer class, found in one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import onnx
from onnx import helper

from converters.errors import ConversionError
from converters.from_keras import activation_layers, convolution_layers, merge_layers, normalization_layers, pooling_layers, shape_layers
from converters.from_keras.keras_backend import keras
from converters.from_keras.layer_graph import Call, LayerGraph, Order, Value, channels_first, natural

OPSET = 17
IR_VERSION = 8

LAYERS: Mapping[type, Callable[[LayerGraph, Call], Value]] = {
    **activation_layers.LAYERS,
    **convolution_layers.LAYERS,
    **merge_layers.LAYERS,
    **normalization_layers.LAYERS,
    **pooling_layers.LAYERS,
    **shape_layers.LAYERS,
}


def onnx_from_keras(model: Any, *, name: str) -> onnx.ModelProto:
    """Convert a Keras model, as it computes outside training.

    Pictures and volumes become NCHW and NCDHW, dimension 0 of every input and output the free batch `N`; inputs and outputs keep Keras' names.

    Args:
        model: A built functional or sequential `keras.Model`, nested ones too.
        name: Name of the ONNX graph.

    Returns:
        A checked model of opset 17.

    Raises:
        ConversionError: Something in it has no faithful counterpart here; the message names the layer, its class and where it stands.
    """
    if not isinstance(model, _MODELS) or not model.built:
        raise ConversionError(
            f"expected a built functional or sequential model, got {type(model).__name__}",
            hint="a subclassed model is a program: export it as a SavedModel and convert that with --trusted",
        )
    graph = LayerGraph()
    declared = []
    values = []
    for tensor, input_name in zip(model.inputs, input_names(model), strict=True):
        if tensor.dtype != "float32" or None in tensor.shape[1:]:
            raise ConversionError(
                f"input '{input_name}' is {tensor.dtype}{list(tensor.shape)}: expected float32 with every size but the batch fixed",
                hint="build the model with keras.Input(shape=...) of the size that it is used with",
            )
        value, info = graph.add_input(input_name, tuple(tensor.shape[1:]), interface_order(model, len(tensor.shape)))
        values.append(value)
        declared.append(info)
    results = _run(graph, model, values, "")
    outputs = [graph.add_output(key, value, interface_order(model, value.rank)) for key, value in zip(output_names(model), results, strict=True)]
    converted = helper.make_model(
        graph.needed(name, declared, outputs),
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="edge.converters",
    )
    onnx.checker.check_model(converted, full_check=True)
    return converted


def input_names(model: Any) -> list[str]:
    """Return the names of a model's inputs, in its order."""
    return [str(tensor.name) for tensor in model.inputs]


def output_names(model: Any) -> list[str]:
    """Return the names of a model's outputs, in its order: those of the layers that give them, numbered where one gives several."""
    names: list[str] = []
    layers = [model.layers[-1].name] if isinstance(model, keras.Sequential) else model.output_names
    for layer in layers:
        number = sum(name == layer or name.startswith(f"{layer}:") for name in names)
        names.append(f"{layer}:{number}" if number else str(layer))
    return names


def interface_order(model: Any, rank: int) -> Order:
    """Return the order in which ONNX takes an input, or gives an output, of a rank: pictures and volumes with the channels behind the batch."""
    return natural(rank) if rank < 4 or _is_channels_first(model) else channels_first(rank)


_MODELS = (keras.Sequential, type(keras.Model(*[keras.Input((1,))] * 2)))  # the class behind keras.Model(inputs, outputs) has no public name


def _is_channels_first(model: Any) -> bool:
    return any(_is_channels_first(layer) if isinstance(layer, _MODELS) else getattr(layer, "data_format", "") == "channels_first" for layer in model.layers)


def _run(graph: LayerGraph, model: Any, values: list[Value], where: str) -> list[Value]:
    """Walk through a model as Keras does when it calls its layers, on values of the graph."""
    if isinstance(model, keras.Sequential):
        for layer in model.layers:
            values = _call(graph, layer, where)(values[0] if len(values) == 1 else values)
        return values
    results = model._run_through_graph(values, operation_fn=lambda layer: _call(graph, layer, where))
    return list(keras.tree.flatten(results))


def _call(graph: LayerGraph, layer: Any, where: str) -> Callable[..., list[Value]]:
    def call(*args: Any, **settings: Any) -> list[Value]:
        inputs = tuple(keras.tree.flatten(args))
        path = f"{where}{layer.name}"
        empty = Call(layer, path, inputs, ())
        settings.pop("training", None)  # Keras' own inference overrides it too
        if any(value is not None for value in settings.values()) or not all(isinstance(value, Value) for value in inputs):
            raise empty.refuse(f"it is called with {[*args[1:], settings]} beside its input")
        if isinstance(layer, _MODELS):
            return _run(graph, layer, list(inputs), f"{path}/")
        if type(layer) not in LAYERS:
            raise empty.refuse("no conversion for this layer", hint=f"converted are {', '.join(sorted(cls.__name__ for cls in LAYERS))}")
        if layer.compute_dtype != "float32":
            raise empty.refuse(f"it computes in {layer.compute_dtype}, expected float32", hint="rebuild the model without a mixed-precision policy")
        graph.prefix = path
        return [LAYERS[type(layer)](graph, Call(layer, path, inputs, _output_shape(layer, args)))]

    return call


def _output_shape(layer: Any, args: tuple[Any, ...]) -> tuple[int, ...]:
    symbols = [keras.tree.map_structure(lambda value: keras.KerasTensor((None, *value.shape)), argument) for argument in args]
    return tuple(layer.compute_output_spec(*symbols).shape[1:])
