"""ONNX Runtime: the CPU engine everywhere, CUDA where its provider is installed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnxruntime

from edge.engine.cpu_int8 import for_cpu_int8, is_canonical_int8
from edge.engine.cpu_rewrites import rewrite_for_cpu
from edge.engine.engine import Array, check_feeds
from edge.errors import EngineError, InferenceFailed, PackageError

# ONNX Runtime's own threads beyond these gave nothing on networks of this size; on two cores a second one fights with the video decoder.
_MAX_THREADS = 4


def default_threads() -> int:
    """Return how many threads a network gets: half of the cores that this process may use, at least one, at most four."""
    return max(1, min(_MAX_THREADS, len(os.sched_getaffinity(0)) // 2))


class OrtEngine:
    """One network in ONNX Runtime.

    Args:
        path: The ONNX file, already checked against its package.
        cuda: Use the CUDA provider. Falling back to the CPU is an error then, never silent.
        threads: Threads of one inference on the CPU.

    Raises:
        PackageError: It takes or gives something else than float32 tensors.
        EngineError: The file cannot be loaded, or CUDA was asked for and cannot be had.
    """

    notes: Sequence[str] = ()

    def __init__(self, path: Path, *, cuda: bool, threads: int) -> None:
        self._where = path.name
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Processors without VNNI saturate sums of unsigned times signed products, silently: this takes slower, right kernels there. VNNI does not need it.
        options.add_session_config_entry("session.x64quantprecision", "1")
        # Idle threads that spin take the decoder's core.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = ["CUDAExecutionProvider", "CPUExecutionProvider"] if cuda else ["CPUExecutionProvider"]
        try:
            # CUDA takes the canonical graph as it is; the rewrites serve the CPU's kernels.
            model = str(path) if cuda else for_cpu(onnx.load(path)).SerializeToString()
            self._session: onnxruntime.InferenceSession | None = onnxruntime.InferenceSession(model, options, providers=providers)
        except Exception as error:  # ONNX Runtime and protobuf raise many kinds; all mean the same here
            raise EngineError(
                f"ONNX Runtime cannot load {path}: {_first_line(error)}", hint="make the package again: python -m converters pull --force NAME"
            ) from error
        if cuda and self._session.get_providers()[0] != "CUDAExecutionProvider":
            raise EngineError(
                f"the CUDA provider of ONNX Runtime did not start for {path.name}",
                hint="onnxruntime-gpu needs the CUDA and cuDNN versions in its documentation; --engine onnxruntime on the CPU: pip install onnxruntime",
            )
        for node in (*self._session.get_inputs(), *self._session.get_outputs()):
            if node.type != "tensor(float)":
                raise PackageError(f"{path}: expected float32 tensors, got {node.type} for '{node.name}'", hint="convert the network with float32 in and out")
        self._inputs = {node.name: _shape(node) for node in self._session.get_inputs()}
        self._outputs = {node.name: _shape(node) for node in self._session.get_outputs()}
        processor = "CUDA" if cuda else f"CPU, {threads} thread{'s' if threads > 1 else ''}"
        self._description = f"onnxruntime {onnxruntime.__version__} {processor}"

    @property
    def description(self) -> str:
        """Version and processor."""
        return self._description

    @property
    def input_shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        """Shape by input name; None stands for a free dimension."""
        return self._inputs

    @property
    def output_shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        """Shape by output name; None stands for a dimension that depends on the input."""
        return self._outputs

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the network; see `edge.engine.engine.Engine.run`.

        Raises:
            SpecMismatch: A name, shape or dtype is not the network's.
            InferenceFailed: ONNX Runtime failed, or the engine was closed.
        """
        if self._session is None:
            raise InferenceFailed(f"{self._where}: the engine is closed", hint="make a new one")
        check_feeds(feeds, self._inputs, where=self._where)
        try:
            return dict(zip(self._outputs, self._session.run(list(self._outputs), dict(feeds)), strict=True))
        except Exception as error:
            raise InferenceFailed(f"{self._where}: ONNX Runtime failed: {_first_line(error)}", hint="edge-doctor shows the versions in use") from error

    def close(self) -> None:
        """Free the network."""
        self._session = None


def cuda_available() -> bool:
    """Whether this build of ONNX Runtime has the CUDA provider."""
    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def for_cpu(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model in the form that the CPU provider runs fast; the given one is not modified.

    Args:
        model: Of any precision. FP16 is for GPUs: on a CPU it is run to be judged, not to be fast, and stays as it is.
    """
    if any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer):
        return model
    return for_cpu_int8(model) if is_canonical_int8(model) else rewrite_for_cpu(model)


def _shape(node: Any) -> tuple[int | None, ...]:
    return tuple(size if isinstance(size, int) else None for size in node.shape)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
