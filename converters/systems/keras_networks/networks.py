"""The table of the Keras networks, and how one is made untrained or loaded from a user's file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from converters.from_keras.keras_backend import keras
from converters.from_keras.keras_file import load_weights_into
from converters.from_keras.keras_original import KerasOriginal
from converters.original import Array
from converters.systems.keras_networks import sadness, transfer
from converters.systems.keras_networks.untrained import settle
from edge.package import file_sha256

NETWORKS: Mapping[str, Callable[[], Any]] = {
    "effnetv2b2-gram2": partial(sadness.effnetv2b2_gram, 2),
    "effnetv2b2-gram3": partial(sadness.effnetv2b2_gram, 3),
    "effnetv2b2-gram4": partial(sadness.effnetv2b2_gram, 4),
    "effnetv2b2-sadness": sadness.effnetv2b2,
    "inceptionv3-5": transfer.inceptionv3,
    "mobilenetv2-5": transfer.mobilenetv2,
    "zhang-multilevel": sadness.zhang_multilevel,
}


def untrained(name: str, pictures: Array, seed: int) -> KerasOriginal:
    """Make a network with seeded weights whose outputs vary over real pictures.

    Args:
        name: A key of `NETWORKS`.
        pictures: float32[N, 3, H, W], prepared as the network takes them.
        seed: Of the weights.

    Raises:
        ConversionError: The pictures are fewer than two, or do not differ.
    """
    keras.utils.set_random_seed(seed)
    model = NETWORKS[name]()
    settle(model, pictures)
    return KerasOriginal(model, name=name)


def loaded(name: str, path: Path) -> KerasOriginal:
    """Make a network with the weights of a `.keras` or HDF5 file.

    Args:
        name: A key of `NETWORKS`.
        path: The file; a whole model of that architecture, or its weights alone.

    Raises:
        ConversionError: The file cannot be loaded safely, or is of another architecture.
    """
    model = NETWORKS[name]()
    load_weights_into(model, path)
    return KerasOriginal(model, name=name, sha256=file_sha256(path))
