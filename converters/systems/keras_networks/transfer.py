"""Document 002: an ImageNet body without its top, then flatten, dropout, batch normalisation and a dense layer over five emotions."""

from __future__ import annotations

from typing import Any

from converters.from_keras.keras_backend import keras

SIZE_PX = 299

_N_EMOTIONS = 5
_DROPOUT = 0.2  # ours: the document does not state it, and it does nothing outside training


def inceptionv3() -> Any:
    """Return the InceptionV3 network, 22,982,437 parameters.

    Returns:
        Crop [N, 299, 299, 3] to probabilities [N, 5].
    """
    return _with_head(keras.applications.InceptionV3(include_top=False, weights=None, input_shape=(SIZE_PX, SIZE_PX, 3)), "inceptionv3-5")


def mobilenetv2() -> Any:
    """Return the MobileNetV2 network, 3,409,989 parameters.

    Returns:
        Crop [N, 299, 299, 3] to probabilities [N, 5].
    """
    return _with_head(keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(SIZE_PX, SIZE_PX, 3)), "mobilenetv2-5")


def _with_head(body: Any, name: str) -> Any:
    layers = keras.layers
    crop = keras.Input((SIZE_PX, SIZE_PX, 3), name="crop")
    vector = layers.Dropout(_DROPOUT, name="dropout")(layers.Flatten(name="flatten")(body(crop)))
    normal = layers.BatchNormalization(name="batch_normalization")(vector)
    return keras.Model(crop, layers.Dense(_N_EMOTIONS, activation="softmax", name="probabilities")(normal), name=name)
