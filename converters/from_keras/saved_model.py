"""A TensorFlow SavedModel: a program, so that it runs only where the user says that it is trusted, and in a process of its own.

TensorFlow's own converter makes TFLite of it, ours makes ONNX of that, and TensorFlow is what the parity run compares with.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from converters.errors import ConversionError
from converters.from_tflite.onnx_from_tflite import onnx_from_tflite
from converters.original import Array
from edge.errors import MissingDependency

TENSORFLOW = f"{'tensorflow-cpu' if platform.machine() == 'x86_64' else 'tensorflow'}==2.21.0"  # on ARM there is one build alone
_CHILD = Path(__file__).with_name("tensorflow_child.py")
_TIMEOUT_S = 600


class SavedModelOriginal:
    """Implements `converters.original.Original`. Its inputs and outputs have the names of the SavedModel's `serving_default` signature.

    Args:
        folder: The SavedModel.
        name: Name of the ONNX graph.
        trusted: The user says that it may run.

    Raises:
        ConversionError: The folder is no SavedModel, it is not trusted, or TensorFlow cannot convert it.
        MissingDependency: No Python with TensorFlow.
    """

    def __init__(self, folder: Path, *, name: str, trusted: bool) -> None:
        if not (folder / "saved_model.pb").is_file():
            raise ConversionError(f"expected a SavedModel, a folder with saved_model.pb, got {folder}")
        if not trusted:
            raise ConversionError(
                f"a SavedModel is a program that runs with your rights, and it is not said to be trusted: {folder}",
                hint="where you know who made it: --trusted; a .keras file of the same model needs no trust",
            )
        self._folder, self._name = folder, name
        self._python = tensorflow_python()
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "model.tflite"
            said = self._run_child("convert", path)
            converted = onnx_from_tflite(path.read_bytes(), name=name)
        self._version = str(said["version"])
        self._model = _renamed(converted, {**said["inputs"], **said["outputs"]})

    @property
    def framework(self) -> str:
        """TensorFlow with its version."""
        return f"TensorFlow {self._version}"

    @property
    def sha256(self) -> str:
        """Hash of the folder's files and their names."""
        digest = hashlib.sha256()
        for path in sorted(path for path in self._folder.rglob("*") if path.is_file()):
            digest.update(path.relative_to(self._folder).as_posix().encode())
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run it in TensorFlow.

        Args:
            inputs: float32[N, ...] by input name, pictures NCHW.

        Returns:
            float32[N, ...] by output name, pictures NCHW.

        Raises:
            ConversionError: TensorFlow fails.
        """
        with tempfile.TemporaryDirectory() as scratch:
            fed, got = Path(scratch) / "inputs.npz", Path(scratch) / "outputs.npz"
            np.savez(fed, allow_pickle=False, **{name: values.transpose(0, 2, 3, 1) if values.ndim == 4 else values for name, values in inputs.items()})
            self._run_child("run", fed, got)
            with np.load(got, allow_pickle=False) as outputs:
                return {name: outputs[name].transpose(0, 3, 1, 2) if outputs[name].ndim == 4 else outputs[name] for name in outputs.files}

    def to_onnx(self) -> onnx.ModelProto:
        """Return what was converted."""
        return self._model

    def _run_child(self, task: str, *files: Path) -> dict[str, Any]:
        command = [str(self._python), str(_CHILD), task, str(self._folder), *map(str, files)]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S, env=environment)
        except subprocess.TimeoutExpired as error:
            raise ConversionError(f"TensorFlow did not {task} {self._folder} within {_TIMEOUT_S} s", hint="convert it on a faster machine") from error
        if done.returncode != 0:
            said = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode} and said nothing"])[-1]
            raise ConversionError(f"TensorFlow cannot {task} {self._folder}: {said[:300]}")
        answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return answer


def tensorflow_python() -> Path:
    """Return a Python that has TensorFlow: this one, or that of the environment kept for it in the user's cache.

    Raises:
        MissingDependency: There is none; the hint makes one.
    """
    if importlib.util.find_spec("tensorflow") is not None:
        return Path(sys.executable)
    folder = tensorflow_folder()
    if not any(folder.glob("lib/python3*/site-packages/tensorflow/__init__.py")):  # a download that broke off leaves an interpreter alone
        raise MissingDependency(
            f"a SavedModel needs TensorFlow (about 1.6 GB), which is neither installed nor found in {folder}",
            hint=f"make tensorflow   or: {sys.executable} -m venv {folder} && {folder}/bin/pip install {TENSORFLOW}",
        )
    return folder / "bin" / "python"


def tensorflow_folder() -> Path:
    """Return where the environment with TensorFlow is looked for."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge" / "tensorflow"


def _renamed(model: onnx.ModelProto, names: Mapping[str, str]) -> onnx.ModelProto:
    """Give the network's ends the signature's names."""
    for value in [*model.graph.input, *model.graph.output]:
        value.name = names[value.name]
    for node in model.graph.node:
        for ends in (node.input, node.output):
            ends[:] = [names.get(name, name) for name in ends]
    onnx.checker.check_model(model, full_check=True)
    return model
