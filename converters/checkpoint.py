"""A user's own checkpoint to a package: what the file is, which network it belongs to, what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from converters.description import Description, manifest_from, read_architecture, read_description
from converters.errors import ConversionError
from converters.export import export_networks, manifest_of
from converters.original import Array, Original
from converters.registry import Say
from converters.systems.known import KNOWN
from edge.errors import ConfigError, require
from edge.package import Manifest, models_dir
from edge.stage import ActionUnits, Emotions, Scores, Stage, input_shapes

_HDF5 = b"\x89HDF\r\n"
_ZIP = b"PK\x03\x04"
_INPUT, _OUTPUT = "input", "output"  # of networks whose framework does not name them

# Reads the description once the names of the network's inputs and outputs are known.
_Describe = Callable[[tuple[str, ...], tuple[str, ...]], Description]


def export_checkpoint(path: Path, *, system: str | None, description: Path | None, trusted: bool, folder: Path | None, say: Say) -> Path:
    """Make a package of a checkpoint.

    Args:
        path: The file, or the folder of a SavedModel.
        system: The system whose weights it holds; or
        description: the TOML file that says what its network is fed and what it says.
        trusted: It may be a program.
        folder: Where the package goes; None: among the installed packages, under the description's or the file's name.
        say: Takes progress lines.

    Returns:
        The package's folder.

    Raises:
        ConfigError: Neither or both of system and description are given, or there is no such system.
        MissingDependency: The framework is not installed.
        ConversionError: The file, or the description, cannot be used; the message names the first thing that does not fit.
        ParityFailure: The converted network does not compute what the checkpoint does.
    """
    if (system is None) == (description is None):
        raise ConfigError(
            f"expected either --system or --description with the checkpoint {path}, got {'neither' if system is None else 'both'}",
            hint="--system names one that `python -m converters list` shows; converters/GUIDE.md shows how to describe a network of your own",
        )
    if not path.exists():
        raise ConversionError(f"no such system and no such file: {path}", hint="python -m converters list shows the systems")
    if system is not None:
        name = folder.name if folder is not None else path.stem
        manifest, originals, limit = _of_system(path, system, name)
    else:
        assert description is not None
        original, described = _described(path, description, trusted=trusted)
        manifest, limit = manifest_from(described), described.max_relative_error
        originals = {manifest.stages[0].name: original}
    return export_networks(manifest, originals, limit=limit, folder=folder or models_dir() / manifest.name, say=say)


def _of_system(path: Path, system: str, name: str) -> tuple[Manifest, dict[str, Original], float]:
    row = KNOWN.get(system)
    if row is None:
        raise ConfigError(f"no system '{system}'", hint=f"choose one of {', '.join(KNOWN)}")
    if row.load is None:
        raise ConfigError(f"the system '{system}' takes no checkpoint of yours", hint=f"train it again: python -m converters train {system} --data FILE")
    require("torch", install="make frameworks", why=f"the system '{system}'")
    # What the network has learned is its owner's to say; that it was trained is taken on the word of whoever calls it a checkpoint.
    manifest = msgspec.structs.replace(
        manifest_of(row), name=name, trained=True, licence=f"that of {path.name}", description=f"{row.description} Weights: {path.name}."
    )
    return manifest, row.load(path), row.max_relative_error


def _described(path: Path, description: Path, *, trusted: bool) -> tuple[Original, Description]:
    def describe(inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Description:
        return read_description(description, inputs=inputs, outputs=outputs)

    if path.is_dir():
        require("keras", install="make frameworks", why="a SavedModel")
        return _saved_model(path, describe, trusted=trusted)
    with path.open("rb") as file:
        start = file.read(8)
    if path.suffix in (".skops", ".pkl", ".pickle", ".joblib", ".sav"):
        require("skops", install="make frameworks", why="a checkpoint of scikit-learn")
        return _sklearn(path, describe)
    if path.suffix == ".tflite" or start[4:8] == b"TFL3":
        return _tflite(path, describe)
    require("torch", install="make frameworks", why="a checkpoint of PyTorch or Keras")
    if path.suffix in (".keras", ".h5", ".hdf5") or start.startswith(_HDF5):
        return _keras(path, describe)
    return _torch(path, describe, read_architecture(description), trusted=trusted)


def _keras(path: Path, describe: _Describe) -> tuple[Original, Description]:
    from converters.from_keras.keras_file import load_keras
    from converters.from_keras.keras_original import KerasOriginal
    from converters.from_keras.onnx_from_keras import input_names, output_names
    from edge.package import file_sha256

    model = load_keras(path)
    described = describe(tuple(input_names(model)), tuple(output_names(model)))
    return KerasOriginal(model, name=described.name, sha256=file_sha256(path)), described


def _saved_model(path: Path, describe: _Describe, *, trusted: bool) -> tuple[Original, Description]:
    from converters.from_keras.saved_model import SavedModelOriginal

    original = SavedModelOriginal(path, name=path.name, trusted=trusted)
    return original, _describe_graph(original, describe)


def _sklearn(path: Path, describe: _Describe) -> tuple[Original, Description]:
    from converters.from_sklearn.sklearn_original import SklearnOriginal

    described = describe((_INPUT,), (_OUTPUT,))
    return SklearnOriginal.from_file(path, _stage(described)), described


def _tflite(path: Path, describe: _Describe) -> tuple[Original, Description]:
    from converters.from_tflite.litert_run import TfliteOriginal

    original = TfliteOriginal(path.read_bytes(), name=path.stem)
    return original, _describe_graph(original, describe)


def _describe_graph(original: Original, describe: _Describe) -> Description:
    graph = original.to_onnx().graph
    return describe(tuple(value.name for value in graph.input), tuple(value.name for value in graph.output))


def _torch(path: Path, describe: _Describe, architecture: str, *, trusted: bool) -> tuple[Original, Description]:
    from converters.from_torch.torch_file import open_torch_file
    from converters.systems.torch_networks.architectures import ARCHITECTURES

    file = open_torch_file(path, trusted=trusted)
    described = describe((_INPUT,), (_OUTPUT,))
    stage = _stage(described)
    example: dict[str, Array] = {tensor: np.zeros([2, *(size or 1 for size in shape[1:])], np.float32) for tensor, shape in input_shapes(stage.input).items()}
    inputs, outputs = tuple(example), tuple(dict.fromkeys(output.tensor for output in stage.outputs))
    if file.kind == "program":
        return file.original(inputs=inputs, outputs=outputs, name=described.name), described
    if file.kind == "torchscript":
        return file.original(inputs=inputs, outputs=outputs, example=example, name=described.name), described
    if architecture not in ARCHITECTURES:
        raise ConversionError(
            f"{path} holds weights alone: expected `architecture` in the description, got '{architecture}'",
            hint=f"one of {', '.join(name for name in ARCHITECTURES if '-blocks' not in name)}, resnet-N-blocks; or save a program: torch.export.save",
        )
    named = [output for output in stage.outputs if isinstance(output, Emotions | Scores | ActionUnits)]
    if not named:
        raise ConversionError("expected at least one output with labels in the description", hint="converters/GUIDE.md shows whole examples")
    n_outputs = max(output.columns[1] if output.columns else len(output.labels) for output in named)
    module = ARCHITECTURES[architecture](next(iter(example.values())).shape[1], n_outputs)
    return file.original(module, inputs=inputs, outputs=outputs, example=example, name=architecture), described


def _stage(described: Description) -> Stage:
    return manifest_from(described).stages[0]
