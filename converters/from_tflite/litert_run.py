"""A TFLite network in LiteRT."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from ai_edge_litert import interpreter as litert
from numpy.typing import NDArray

from converters.errors import ParityFailure
from converters.from_tflite.onnx_from_tflite import onnx_from_tflite
from converters.original import Array


class TfliteOriginal:
    """A TFLite file.

    Args:
        content: The file's bytes.
        name: Name of the ONNX graph.
        outputs: The output tensors that are wanted; empty: all.
    """

    def __init__(self, content: bytes, *, name: str = "network", outputs: Sequence[str] = ()) -> None:
        self._content, self._name, self._outputs = content, name, outputs

    @property
    def framework(self) -> str:
        """What runs it, with version."""
        return f"LiteRT {importlib.metadata.version('ai-edge-litert')}"

    @property
    def sha256(self) -> str:
        """Hash of the file."""
        return hashlib.sha256(self._content).hexdigest()

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run it; see `run_tflite`."""
        return run_tflite(self._content, inputs)

    def to_onnx(self) -> onnx.ModelProto:
        """Convert it; see `onnx_from_tflite`."""
        return onnx_from_tflite(self._content, name=self._name, outputs=self._outputs)


def run_tflite(content: bytes, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Run a TFLite network with LiteRT, one input after the other, on one thread.

    Args:
        content: The TFLite file's bytes.
        inputs: float32[N, ...] by input name, pictures NCHW, real-valued: quantised inputs are rounded to their grid here.

    Returns:
        float32[N, ...] by output name, real-valued, pictures NCHW.

    Raises:
        ParityFailure: The names are not the network's.
    """
    interpreter = litert.Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    details = {detail["name"]: detail for detail in interpreter.get_input_details()}
    if details.keys() != inputs.keys():
        raise ParityFailure(f"expected the inputs {sorted(details)}, got {sorted(inputs)}")
    rows: dict[str, list[Array]] = {detail["name"]: [] for detail in interpreter.get_output_details()}
    for number in range(len(next(iter(inputs.values())))):
        for name, detail in details.items():
            one = inputs[name][number : number + 1]
            interpreter.set_tensor(detail["index"], _stored(one.transpose(0, 2, 3, 1) if one.ndim == 4 else one, detail))
        interpreter.invoke()
        for detail in interpreter.get_output_details():
            rows[detail["name"]].append(_real(interpreter.get_tensor(detail["index"]), detail))
    return {name: np.stack(values) for name, values in rows.items()}


def _stored(real: Array, detail: Mapping[str, Any]) -> NDArray[Any]:
    dtype = np.dtype(detail["dtype"])
    if dtype == np.float32:
        return np.ascontiguousarray(real)
    scale, zero = detail["quantization"]
    bounds = np.iinfo(dtype)
    return np.asarray(np.clip(np.round(real / np.float32(scale)) + zero, bounds.min, bounds.max), dtype)


def _real(stored: NDArray[Any], detail: Mapping[str, Any]) -> Array:
    scale, zero = detail["quantization"]
    real = stored.astype(np.float32) if np.dtype(detail["dtype"]) == np.float32 else (stored.astype(np.float32) - zero) * np.float32(scale)
    real = real.transpose(0, 3, 1, 2) if real.ndim == 4 else real
    return np.asarray(real[0] if real.shape[:1] == (1,) else real, np.float32)
