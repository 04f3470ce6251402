"""Documents 000 and 001: EfficientNetV2-B2 over a whole picture, alone or with Gram matrices of feature maps; two classes, sadness or not.

The documents give the idea of the Gram modules and the accuracies, not the figures' content: which layers are tapped, how wide a module is and which
activations it has are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from converters.from_keras.keras_backend import keras

SIZE_PX = 256

# Layers of the backbone whose feature maps a module takes: the end of a block, shallow to deep.
_TAPS = {2: ("block3c_add", "block5f_add"), 3: ("block2c_add", "block3c_add", "block5f_add"), 4: ("block2c_add", "block3c_add", "block4d_add", "block5f_add")}
_ZHANG_TAPS = ("block2c_add", "block3c_add")

_CHANNELS = 32
_FEATURES = 64


def effnetv2b2() -> Any:
    """Return the baseline: the backbone, its mean over the picture, one dense layer.

    Returns:
        Picture [N, 256, 256, 3] to probabilities [N, 2], sadness first.
    """
    backbone = _backbone()
    return _classifier(backbone, [_deep(backbone)], "effnetv2b2-sadness")


def effnetv2b2_gram(n_modules: int) -> Any:
    """Return the backbone with Gram modules on shallow and deep layers.

    A module narrows its feature maps by a 1x1 convolution, takes their Gram matrix and reads it by a dense layer, with an activation after each.

    Args:
        n_modules: 2, 3 or 4.

    Returns:
        As `effnetv2b2`.
    """
    backbone = _backbone()
    modules = [_gram_module(backbone.get_layer(tap).output, f"gram{number}") for number, tap in enumerate(_TAPS[n_modules], start=1)]
    return _classifier(backbone, [_deep(backbone), *modules], f"effnetv2b2-gram{n_modules}")


def zhang_multilevel() -> Any:
    """Return the network that the documents compare with: Gram matrices of shallow layers as they are, beside the deep features.

    Source: Zhang et al. 2022, doi 10.1117/12.2623414, as far as the documents describe it, on their backbone.

    Returns:
        As `effnetv2b2`.
    """
    layers = keras.layers
    backbone = _backbone()
    levels = []
    for number, tap in enumerate(_ZHANG_TAPS, start=1):
        gram = _gram(backbone.get_layer(tap).output, f"level{number}")
        levels.append(layers.Dense(2 * _FEATURES, activation="relu", name=f"level{number}_dense")(layers.Flatten(name=f"level{number}_flatten")(gram)))
    together = layers.Concatenate(name="levels")([_deep(backbone), *levels])
    return _classifier(backbone, [layers.Dense(4 * _FEATURES, activation="relu", name="fusion")(together)], "zhang-multilevel")


def _backbone() -> Any:
    return keras.applications.EfficientNetV2B2(
        include_top=False, weights=None, input_tensor=keras.Input((SIZE_PX, SIZE_PX, 3), name="picture"), include_preprocessing=False
    )


def _deep(backbone: Any) -> Any:
    return keras.layers.GlobalAveragePooling2D(name="deep")(backbone.output)


def _classifier(backbone: Any, features: Sequence[Any], name: str) -> Any:
    layers = keras.layers
    together = layers.Concatenate(name="features")(list(features)) if len(features) > 1 else features[0]
    kept = layers.Dropout(0.2, name="dropout")(together)
    return keras.Model(backbone.input, layers.Dense(2, activation="softmax", name="probabilities")(kept), name=name)


def _gram_module(maps: Any, name: str) -> Any:
    layers = keras.layers
    narrow = layers.Conv2D(_CHANNELS, 1, use_bias=False, name=f"{name}_conv")(maps)
    active = layers.Activation("swish", name=f"{name}_swish")(layers.BatchNormalization(name=f"{name}_bn")(narrow))
    matrix = layers.Activation("tanh", name=f"{name}_tanh")(_gram(active, name))
    return layers.Dense(_FEATURES, activation="swish", name=f"{name}_dense")(layers.Flatten(name=f"{name}_flatten")(matrix))


def _gram(maps: Any, name: str) -> Any:
    """The product of the maps with each other, [N, C, C], over the number of cells so that it does not depend on the picture's size."""
    layers = keras.layers
    _, height, width, channels = maps.shape
    rows = layers.Reshape((height * width, channels), name=f"{name}_rows")(maps)
    return layers.Rescaling(1 / (height * width), name=f"{name}_mean")(layers.Dot(axes=(1, 1), name=f"{name}_product")([rows, rows]))
