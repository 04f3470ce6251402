"""What a saved Keras model says of its layers, reduced to what cannot execute anything before Keras sees it.

A saved configuration names classes and functions that Keras imports and calls, and `Lambda` layers hold byte code. Keras' own safe mode has been
bypassed several times, so nothing is left to it: only layers that the converter knows are let through, each under Keras' own name for it, without
what training alone needs; any other object in the configuration is refused with the layer that holds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converters.errors import ConversionError
from converters.from_keras import activation_layers
from converters.from_keras.onnx_from_keras import LAYERS

_MODELS = ("Functional", "Model", "Sequential")
_LAYERS = {cls.__name__ for cls in LAYERS} | {"InputLayer"}
_ACTIVATION_LAYERS = {cls.__name__ for cls in activation_layers.LAYERS}
_ACTIVATIONS = {*activation_layers.FUNCTIONS, "hard_swish", "swish"}
_TRAINING = ("_initializer", "_regularizer", "_constraint")
# What older versions wrote and Keras 3 does not read -> the only values that mean the same without them.
_OUTDATED: Mapping[str, tuple[Any, ...]] = {
    "force_generator": (False, True),
    "fused": (None, False, True),
    "groups": (1,),
    "ragged": (False,),
    "renorm": (False,),
    "rng_type": ("legacy_stateful", "stateful", "stateless"),
    "time_major": (False,),
    "virtual_batch_size": (None,),
}


def safe_config(config: object, *, major: int, where: str = "") -> dict[str, Any]:
    """Return a configuration that Keras 3 builds the same model from, and that names nothing but its own layers.

    Args:
        config: The decoded JSON of a saved model.
        major: First number of the Keras version that wrote it.
        where: The models that hold it, for messages.

    Raises:
        ConversionError: It holds code, a custom object, or a layer that is not converted; the message names the layer.
    """
    if not isinstance(config, Mapping) or not isinstance(config.get("class_name"), str):
        raise ConversionError(f"expected the configuration of a Keras model, got {str(config)[:80]}")
    if config["class_name"] not in _MODELS:
        raise ConversionError(
            f"expected a functional or sequential model, got class '{config['class_name']}' of {config.get('module') or 'an older Keras'}: {_where(where)}",
            hint="a class of its own is a program: rebuild the model from layers, or export it as a SavedModel and convert that with --trusted",
        )
    _refuse_foreign(config, where or "the model")
    settings = config.get("config")
    if isinstance(settings, list):  # Keras 1 wrote a sequential model as a bare list
        settings = {"name": "sequential", "layers": settings}
    if not isinstance(settings, Mapping) or not isinstance(settings.get("layers"), list):
        raise ConversionError(f"expected a list of layers in {_where(where)}")
    layers = [_safe_layer(layer, major=major, where=where) for layer in settings["layers"]]
    class_name = "Sequential" if config["class_name"] == "Sequential" else "Model"
    if class_name == "Sequential" and layers and layers[0]["class_name"] in _LAYERS - {"InputLayer"} and (shape := _stored_shape(settings["layers"][0])):
        first = {"name": "input", "batch_shape": shape}
        layers.insert(0, {"module": "keras.layers", "class_name": "InputLayer", "config": first, "registered_name": None, "name": "input"})
    kept = {"name": settings.get("name"), "trainable": settings.get("trainable", True), "layers": layers}
    if class_name == "Model":
        ends = {key: settings.get(key) for key in ("input_layers", "output_layers")}
        kept |= {key: _plain(value, f"{key} of {_where(where)}") for key, value in ends.items()}
        if major < 3:
            sequentials = {layer["name"] for layer in layers if layer["class_name"] == "Sequential"}
            kept |= {key: _renumbered(kept[key], sequentials) for key in ends}
            models = sequentials | {layer["name"] for layer in layers if layer["class_name"] == "Model"}
            kept["layers"] = [{**layer, "inbound_nodes": _renumbered(layer.get("inbound_nodes", []), models)} for layer in layers]
    return {"module": "keras", "class_name": class_name, "config": kept, "registered_name": None}


def _safe_layer(layer: object, *, major: int, where: str) -> dict[str, Any]:
    if not isinstance(layer, Mapping) or not isinstance(layer.get("class_name"), str) or not isinstance(layer.get("config"), Mapping | list):
        raise ConversionError(f"expected a layer in {_where(where)}, got {str(layer)[:80]}")
    settings = layer["config"]
    name = str(layer.get("name") or (settings.get("name") if isinstance(settings, Mapping) else "") or layer["class_name"])
    path = f"{where}{name}"
    if layer["class_name"] in _MODELS:
        safe = safe_config(layer, major=major, where=f"{path}/")
    else:
        _refuse_foreign(layer, path)
        if not isinstance(settings, Mapping):
            raise ConversionError(f"layer '{path}' ({layer['class_name']}): expected its settings, got {str(settings)[:80]}")
        if layer["class_name"] not in _LAYERS:
            raise ConversionError(f"layer '{path}' ({layer['class_name']}): no conversion for this layer", hint=f"converted are {', '.join(sorted(_LAYERS))}")
        plain = _safe_settings(settings, layer["class_name"], major, f"layer '{path}' ({layer['class_name']})")
        safe = {"module": "keras.layers", "class_name": layer["class_name"], "config": plain, "registered_name": None}
    if "inbound_nodes" in layer:
        safe["inbound_nodes"] = _plain(layer["inbound_nodes"], f"layer '{path}'", tensors=True)
    return {**safe, "name": name}


def _renumbered(value: Any, models: set[str]) -> Any:
    """Until Keras 3 the first use of a model inside another had number 1; Keras 3 expects 0, but for the ends of functional models."""
    if isinstance(value, list) and len(value) > 2 and isinstance(value[0], str) and value[0] in models and isinstance(value[1], int):
        return [value[0], value[1] - 1, *value[2:]]
    return [_renumbered(inner, models) for inner in value] if isinstance(value, list) else value


def _stored_shape(layer: Mapping[str, Any]) -> Any:
    """Early versions kept the size of a sequential model's input with its first layer."""
    return _plain(layer["config"].get("batch_input_shape"), f"layer '{layer['class_name']}'")


def _refuse_foreign(thing: Mapping[str, Any], path: str) -> None:
    class_name, module, registered = thing["class_name"], thing.get("module"), thing.get("registered_name")
    if class_name in ("Lambda", "TFOpLambda"):
        raise ConversionError(
            f"layer '{path}' ({class_name}): it holds Python code, which is not executed",
            hint="rebuild the model with Keras' own layers in its place, or export it as a SavedModel and convert that with --trusted",
        )
    if (module is not None and str(module).split(".")[0] not in ("keras", "tf_keras")) or registered not in (None, class_name):
        raise ConversionError(
            f"layer '{path}' ({class_name}): it is not one of Keras' own (module {module}, registered as {registered}), and nothing of it is imported",
            hint="rebuild the model with Keras' own layers in its place, or export it as a SavedModel and convert that with --trusted",
        )


def _safe_settings(settings: Mapping[str, Any], class_name: str, major: int, what: str) -> dict[str, Any]:
    safe: dict[str, Any] = {}
    for key, value in settings.items():
        if key.endswith(_TRAINING) or (key in _OUTDATED and value in _OUTDATED[key]):
            continue
        if key == "activation":
            safe[key] = _activation(value, major, what)
        elif key == "dtype":
            _require_float32(value, what)
        elif key == "batch_input_shape":
            if class_name == "InputLayer":
                safe["batch_shape"] = _plain(value, what)
        elif key == "alpha" and class_name == "LeakyReLU":
            safe["negative_slope"] = _plain(value, what)
        elif key == "axis" and class_name == "BatchNormalization" and isinstance(value, list) and len(value) == 1:
            safe[key] = value[0]
        else:
            safe[key] = _plain(value, what)
    return safe


def _activation(value: object, major: int, what: str) -> Any:
    if isinstance(value, Mapping) and str(value.get("class_name")) in _ACTIVATION_LAYERS:
        return _safe_layer(value, major=major, where=f"{what}, activation ")
    if value == "hard_sigmoid" and major < 3:
        raise ConversionError(
            f"{what}: hard_sigmoid was clip(x / 5 + 1/2, 0, 1) before Keras 3 and is clip(x / 6 + 1/2, 0, 1) since",
            hint="train it again with Keras 3, or export it as a SavedModel with the Keras that made it and convert that with --trusted",
        )
    if value is not None and (not isinstance(value, str) or value not in _ACTIVATIONS):
        raise ConversionError(f"{what}: no conversion for the activation {str(value)[:80]}", hint=f"converted are {', '.join(sorted(_ACTIVATIONS))}")
    return value


def _require_float32(value: object, what: str) -> None:
    policy = value.get("config") if isinstance(value, Mapping) else {"name": value}
    name = policy.get("name") if isinstance(policy, Mapping) else policy
    if name not in (None, "float32"):
        raise ConversionError(f"{what}: it computes in {name}, expected float32", hint="rebuild the model without a mixed-precision policy")


def _plain(value: Any, what: str, *, tensors: bool = False) -> Any:
    """Return plain JSON unchanged; the only objects let through are Keras' arrays of numbers and, between layers, its symbolic tensors."""
    if isinstance(value, Mapping):
        if "class_name" in value and value["class_name"] not in ("__numpy__", *(("__keras_tensor__",) if tensors else ())):
            raise ConversionError(f"{what}: it refers to an object of class '{value['class_name']}', which is not created")
        return {key: _plain(inner, what, tensors=tensors) for key, inner in value.items()}
    return [_plain(inner, what, tensors=tensors) for inner in value] if isinstance(value, list) else value


def _where(where: str) -> str:
    return where.rstrip("/") or "the model"
