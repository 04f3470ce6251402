"""Gives a network that was never trained what lets its outputs vary over real pictures: statistics of its layers, and a last layer of fitting scale."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from converters.from_keras.keras_backend import array, keras, run
from converters.original import Array

_N_PICTURES = 16


def settle(model: Any, pictures: Array) -> None:
    """Set the batch normalisations' statistics, and scale the last layer so that the scores in front of the softmax deviate by about 1.

    Args:
        model: A `keras.Model` of one picture whose last layer is dense; changed in place.
        pictures: float32[N, C, H, W], prepared as the network takes them.
    """
    chosen = np.unique(np.linspace(0, len(pictures) - 1, _N_PICTURES).astype(int))
    inputs = [pictures[chosen].transpose(0, 2, 3, 1)]
    norms = [layer for layer in _layers(model) if isinstance(layer, keras.layers.BatchNormalization)]
    dropouts = [layer for layer in _layers(model) if isinstance(layer, keras.layers.Dropout)]
    momenta, rates = [layer.momentum for layer in norms], [layer.rate for layer in dropouts]
    for layer in norms:
        layer.momentum = 0.0  # keep nothing of the statistics before
    for layer in dropouts:
        layer.rate = 0.0  # their noise is none of the pictures' statistics
    run(model, inputs, training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
    for layer, rate in zip(dropouts, rates, strict=True):
        layer.rate = rate
    last = model.layers[-1]
    (features,) = run(keras.Model(model.inputs, last.input), inputs)
    scores = features @ array(last.kernel)
    deviation = np.maximum(scores.std(axis=0), 1e-12)
    last.kernel.assign(array(last.kernel) / deviation)
    last.bias.assign(-scores.mean(axis=0) / deviation)


def _layers(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _layers(layer)
        else:
            yield layer
