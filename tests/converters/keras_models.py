"""A small Keras model, and a file of it as Keras 2 wrote them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from converters.from_keras.keras_backend import array, keras, run

L = keras.layers


def small_model(n_classes: int = 3) -> Any:
    keras.utils.set_random_seed(3)
    picture = keras.Input((9, 8, 3), name="picture")
    body = keras.Sequential(
        [keras.Input((9, 8, 3)), L.Conv2D(4, 3, strides=2, activation="relu", kernel_regularizer="l2", name="conv"), L.BatchNormalization(name="bn")],
        name="body",
    )
    maps = L.Conv2D(4, 1, activation=L.LeakyReLU(0.1), name="head")(body(L.RandomFlip(name="flip")(picture)))
    return keras.Model(picture, L.Dense(n_classes, activation="softmax", name="scores")(L.Flatten(name="flatten")(maps)))


def answers(model: Any) -> Any:
    return run(model, [np.random.default_rng(0).normal(size=(4, 9, 8, 3)).astype(np.float32)])[0]


def legacy_file(path: Path, *, version: str = "2.15.0") -> Any:
    """Write a model as Keras 2 did: a sequential model inside a functional one, sizes and options under their old names."""
    model = small_model()
    old = {"name": "conv", "batch_input_shape": [None, 9, 8, 3], "filters": 4, "kernel_size": [3, 3], "strides": [2, 2], "activation": "relu", "groups": 1}
    layers: list[dict[str, Any]] = [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 9, 8, 3], "dtype": "float32", "sparse": False, "ragged": False, "name": "picture"}},
        {
            "class_name": "Sequential",
            "config": {
                "name": "body",
                "layers": [
                    {"class_name": "Conv2D", "config": {**old, "kernel_initializer": {"class_name": "GlorotUniform", "config": {"seed": None}}}},
                    {"class_name": "BatchNormalization", "config": {"name": "bn", "axis": [3], "epsilon": 0.001, "renorm": False}},
                ],
            },
        },
        {"class_name": "Conv2D", "config": {"name": "head", "filters": 4, "kernel_size": [1, 1], "activation": "linear"}},
        {"class_name": "LeakyReLU", "config": {"name": "leaky", "alpha": 0.1}},
        {"class_name": "Flatten", "config": {"name": "flatten"}},
        {"class_name": "Dense", "config": {"name": "scores", "units": 3, "activation": "softmax"}},
    ]
    nodes: list[Any] = [[], [[["picture", 0, 0, {}]]], [[["body", 1, 0, {}]]], [[["head", 0, 0, {}]]], [[["leaky", 0, 0, {}]]], [[["flatten", 0, 0, {}]]]]
    for layer, inbound in zip(layers, nodes, strict=True):
        layer |= {"name": layer["config"]["name"], "inbound_nodes": inbound}
    config = {"name": "model", "layers": layers, "input_layers": [["picture", 0, 0]], "output_layers": [["scores", 0, 0]]}
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": config})
        file.attrs["keras_version"] = version
        group = file.create_group("model_weights")
        weighted = [layer for layer in model.layers if layer.weights]
        group.attrs["layer_names"] = [layer.name.encode() for layer in weighted]
        for layer in weighted:
            inner = group.create_group(layer.name)
            weights = layer.trainable_weights + layer.non_trainable_weights
            inner.attrs["weight_names"] = [f"{number}:0".encode() for number in range(len(weights))]
            for number, weight in enumerate(weights):
                inner[f"{number}:0"] = array(weight)
    return model
