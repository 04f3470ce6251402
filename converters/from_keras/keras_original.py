"""A Keras model, ready to run in Keras and to be converted."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

from converters.from_keras.keras_backend import FRAMEWORK, array, run
from converters.from_keras.onnx_from_keras import input_names, interface_order, onnx_from_keras, output_names
from converters.original import Array


class KerasOriginal:
    """Implements `converters.original.Original`.

    Args:
        model: A built functional or sequential `keras.Model`.
        name: Name of the ONNX graph.
        sha256: Hash of the file that it was loaded from; empty: of its weights.
    """

    def __init__(self, model: Any, *, name: str, sha256: str = "") -> None:
        self.model = model
        self._name = name
        self._sha256 = sha256

    @property
    def framework(self) -> str:
        """Keras and its backend, with versions."""
        return FRAMEWORK

    @property
    def sha256(self) -> str:
        """Hash of the file, or of the weights in the model's order."""
        if not self._sha256:
            digest = hashlib.sha256()
            for weight in self.model.weights:
                digest.update(np.ascontiguousarray(array(weight)).tobytes())
            self._sha256 = digest.hexdigest()
        return self._sha256

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run it in Keras.

        Args:
            inputs: float32[N, ...] by input name, pictures NCHW.

        Returns:
            float32[N, ...] by output name, pictures NCHW.
        """
        ordered = [inputs[name] for name in input_names(self.model)]
        results = run(self.model, [values.transpose(np.argsort(interface_order(self.model, values.ndim))) for values in ordered])
        outputs = [values.transpose(interface_order(self.model, values.ndim)) for values in results]
        return dict(zip(output_names(self.model), outputs, strict=True))

    def to_onnx(self) -> onnx.ModelProto:
        """Convert it.

        Raises:
            ConversionError: A layer cannot be converted; the message names it.
        """
        return onnx_from_keras(self.model, name=self._name)
