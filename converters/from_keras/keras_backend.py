"""The one place that imports Keras, so that its backend is chosen before, and that runs its models."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

os.environ["KERAS_BACKEND"] = "torch"  # whatever the user's own work runs on

import keras

# The user's keras.json must not decide what a network computes.
keras.config.set_floatx("float32")
keras.config.set_epsilon(1e-7)
keras.config.set_image_data_format("channels_last")

__all__ = ["FRAMEWORK", "array", "keras", "one_thread", "run"]

FRAMEWORK = f"Keras {keras.__version__} on PyTorch {torch.__version__}"

_BATCH = 8


def array(variable: Any) -> NDArray[np.float32]:
    """Return a Keras variable, or a tensor of its backend, as float32."""
    tensor = getattr(variable, "value", variable)
    # Keras' own way asks NumPy to copy a tensor, which warns with NumPy 2.
    return np.asarray(tensor.detach().cpu().numpy() if isinstance(tensor, torch.Tensor) else tensor, np.float32)


def run(model: Any, inputs: Sequence[NDArray[np.float32]], *, training: bool = False) -> list[NDArray[np.float32]]:
    """Run a model without keeping gradients.

    Args:
        model: A built `keras.Model`.
        inputs: float32[N, ...] for each input, in Keras' own axis order.
        training: Compute as in training, where batch normalisations take (and keep) the statistics of the inputs: all of them at once. Otherwise the
            inputs go through in small batches.

    Returns:
        float32[N, ...] for each output, in Keras' own axis order.
    """
    n_inputs = len(inputs[0])
    size = n_inputs if training else _BATCH
    batches = []
    for start in range(0, n_inputs, size):
        batch = [torch.from_numpy(np.ascontiguousarray(values[start : start + size])) for values in inputs]
        with torch.no_grad():
            results = model(batch if len(batch) > 1 else batch[0], training=training)
        batches.append([array(result) for result in keras.tree.flatten(results)])
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread, where the order of sums must not depend on the machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
