"""Gives a network that was never trained what lets its outputs vary over real pictures: statistics of its layers, and a last layer of fitting scale."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from converters.errors import ConversionError
from converters.from_keras.keras_backend import array, keras, one_thread, run
from converters.original import Array

_N_PICTURES = 16  # enough for the statistics of a layer; all of them at 299x299 would take gigabytes


def settle(model: Any, pictures: Array) -> None:
    """Set the batch normalisations' statistics, and scale the last layer so that the scores in front of the softmax have mean 0 and deviation 1.

    Args:
        model: A `keras.Model` of one picture whose last layer is dense; changed in place.
        pictures: float32[N, C, H, W], prepared as the network takes them.

    Raises:
        ConversionError: The pictures are fewer than two, or a score does not differ between them.
    """
    if len(pictures) < 2:
        raise ConversionError(f"an untrained network needs at least 2 real inputs to set its statistics from, got {len(pictures)}")
    chosen = np.unique(np.linspace(0, len(pictures) - 1, _N_PICTURES).astype(int))
    inputs = [pictures[chosen].transpose(0, 2, 3, 1)]
    with one_thread():  # sums in another order would give other weights
        _set_statistics(model, inputs)
        _spread_scores(model, inputs)


def _set_statistics(model: Any, inputs: list[Array]) -> None:
    norms = [layer for layer in _layers(model) if isinstance(layer, keras.layers.BatchNormalization)]
    dropouts = [layer for layer in _layers(model) if isinstance(layer, keras.layers.Dropout)]
    momenta, rates = [layer.momentum for layer in norms], [layer.rate for layer in dropouts]
    for layer in norms:
        layer.momentum = 0.0  # keep nothing of the statistics before
        # Centred on 0, every ReLU would cut half of what it gets, and a hundred of them in a row multiply rounding errors a thousandfold.
        layer.beta.assign(np.ones(layer.beta.shape, np.float32))
    for layer in dropouts:
        layer.rate = 0.0  # their noise is none of the pictures' statistics
    run(model, inputs, training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
    for layer, rate in zip(dropouts, rates, strict=True):
        layer.rate = rate


def _spread_scores(model: Any, inputs: list[Array]) -> None:
    last = model.layers[-1]
    (features,) = run(keras.Model(model.inputs, last.input), inputs)
    scores = features @ array(last.kernel)
    mean, deviation = scores.mean(axis=0), scores.std(axis=0)
    if not (deviation > 1e-6 * np.abs(scores).max()).all():
        raise ConversionError(
            f"an untrained network's outputs do not differ over the {len(scores)} inputs that its statistics are set from", hint="take pictures that differ"
        )
    last.kernel.assign(array(last.kernel) / deviation)
    last.bias.assign(-mean / deviation)


def _layers(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _layers(layer)
        else:
            yield layer
