"""A user's own checkpoint to a package: what the file is, which network it belongs to, what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from converters.description import Description, check_name, manifest_from, read_description
from converters.errors import ConversionError
from converters.export import export_networks
from converters.known_packages import NAMES
from converters.original import Array, Original
from converters.registry import Say
from converters.systems.known import KNOWN, named
from edge.errors import ConfigError, require
from edge.package import Manifest, models_dir
from edge.stage import Stage, input_shapes

_HDF5 = b"\x89HDF\r\n"
_ZIP = b"PK\x03\x04"
_TORCH_BEFORE_1_6 = b"\x80\x02\x8a\x0al\xfc\x9cF"
_PICKLES = (".pkl", ".pickle", ".joblib", ".sav")
_INPUT, _OUTPUT = "input", "output"  # of networks whose framework does not name them

# Reads the description once the names of the network's inputs and outputs are known.
_Describe = Callable[[tuple[str, ...], tuple[str, ...]], Description]


def export_checkpoint(path: Path, *, system: str | None, description: Path | None, trusted: bool, folder: Path | None, say: Say) -> Path:
    """Make a package of a checkpoint.

    Args:
        path: The file; or the folder of a SavedModel, or of what `converters train` wrote.
        system: The system whose weights it holds, or a variant such as `resnet-22-blocks33-e2`; or
        description: the TOML file that says what its network is fed and what it says.
        trusted: It may be a program.
        folder: Where the package goes; None: among the installed packages, under the description's or the file's name.
        say: Takes progress lines.

    Returns:
        The package's folder.

    Raises:
        ConfigError: Neither or both of system and description are given; there is no such system; something else lies where the package would go.
        MissingDependency: The framework is not installed.
        ConversionError: The file, or the description, cannot be used; the message names the first thing that does not fit.
        ParityFailure: The converted network does not compute what the checkpoint does.
    """
    if not path.exists():
        raise ConversionError(f"no such system and no such file: {path}", hint="python -m converters list shows the systems")
    if (system is None) == (description is None):
        raise ConfigError(
            f"expected either --system or --description with the checkpoint {path}, got {'neither' if system is None else 'both'}",
            hint="--system names one that `python -m converters list` shows; converters/GUIDE.md shows how to describe a network of your own",
        )
    if system is not None:
        if trusted:
            raise ConfigError("--trusted is for programs; with --system a checkpoint holds weights alone", hint="a program is exported with --description")
        manifest, originals, limit = _of_system(path, system, path.stem if folder is None else folder.absolute().name)
    else:
        assert description is not None
        original, described, cpu_only = _described(path, description, trusted=trusted)
        manifest, limit = manifest_from(described, cpu_only=cpu_only), described.max_relative_error
        originals = {manifest.stages[0].name: original}
    if manifest.name in NAMES or named(manifest.name) is not None:
        raise ConfigError(f"'{manifest.name}' is the name of another package", hint="take a name of your own: -o FOLDER, or `name` in the description")
    return export_networks(manifest, originals, limit=limit, folder=folder or models_dir() / manifest.name, say=say)


def _of_system(path: Path, system: str, name: str) -> tuple[Manifest, dict[str, Original], float]:
    row = named(system)
    if row is None:
        variants = "resnet-22-blocksN with N from 8 to 60, or resnet18-22, inceptionv4-22, inception-resnet-22 with -e2 (rule E2) behind"
        raise ConfigError(f"no system '{system}'", hint=f"choose one of {', '.join(KNOWN)}; or {variants}")
    if row.trained and not path.is_dir():
        raise ConversionError(
            f"expected the folder that training '{system}' wrote, got the file {path}", hint="your own estimator: --description, see converters/GUIDE.md"
        )
    require("torch", install="make frameworks", why=f"the system '{system}'")
    check_name(name, where=str(path))
    # What the network has learned is its owner's to say; that it was trained is taken on the word of whoever calls it a checkpoint.
    manifest = msgspec.structs.replace(
        row.manifest(), name=name, trained=True, licence=f"that of {path.name}", description=f"{row.description} Weights: {path.name}."
    )
    return manifest, row.load(path), row.max_relative_error


def _described(path: Path, description: Path, *, trusted: bool) -> tuple[Original, Description, str]:
    """The network, what is said of it, and why no GPU can hold it."""

    def describe(inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Description:
        return read_description(description, inputs=inputs, outputs=outputs)

    if path.is_dir():
        return *_saved_model(path, describe, trusted=trusted), ""
    with path.open("rb") as file:
        start = file.read(8)
    suffix = path.suffix.lower()
    # torch.save writes what it is told to, some say .pkl: what is in it decides.
    if suffix == ".skops" or (suffix in _PICKLES and not start.startswith((_ZIP, _TORCH_BEFORE_1_6))):
        require("skops", install="make frameworks", why="a checkpoint of scikit-learn")
        return _sklearn(path, describe)
    if suffix == ".tflite" or start[4:8] == b"TFL3":
        return *_tflite(path, describe), ""
    require("torch", install="make frameworks", why="a checkpoint of PyTorch or Keras")
    if suffix in (".keras", ".h5", ".hdf5") or start.startswith(_HDF5):
        return *_keras(path, describe), ""
    return *_torch(path, describe, trusted=trusted), ""


def _keras(path: Path, describe: _Describe) -> tuple[Original, Description]:
    from converters.from_keras.keras_file import load_keras
    from converters.from_keras.keras_original import KerasOriginal
    from converters.from_keras.onnx_from_keras import input_names, output_names
    from edge.package import file_sha256

    model = load_keras(path)
    described = describe(tuple(input_names(model)), tuple(output_names(model)))
    _refuse_architecture(described, path)
    return KerasOriginal(model, name=described.name, sha256=file_sha256(path)), described


def _saved_model(path: Path, describe: _Describe, *, trusted: bool) -> tuple[Original, Description]:
    from converters.from_keras.saved_model import SavedModelOriginal

    return _describe_graph(SavedModelOriginal(path, name=path.name, trusted=trusted), path, describe)


def _sklearn(path: Path, describe: _Describe) -> tuple[Original, Description, str]:
    from converters.from_sklearn.sklearn_original import SklearnOriginal

    described = describe((_INPUT,), (_OUTPUT,))
    original = SklearnOriginal.from_file(path, _stage(described))
    _refuse_architecture(described, path)
    has_trees = any(domain.domain == "ai.onnx.ml" for domain in original.to_onnx().opset_import)
    return original, described, "TensorRT has no operators of classical machine learning, such as decision trees" if has_trees else ""


def _tflite(path: Path, describe: _Describe) -> tuple[Original, Description]:
    from converters.from_tflite.litert_run import TfliteOriginal
    from converters.from_tflite.tflite_model import read_tflite

    content = path.read_bytes()
    try:
        read_tflite(content)
    except ConversionError as error:
        raise ConversionError(f"{path}: {error.args[0]}", hint=error.hint) from error
    except Exception as error:  # a damaged flatbuffer can fail in any way
        raise ConversionError(f"{path} is damaged or was cut off ({type(error).__name__})", hint="copy it again from where it was made") from error
    return _describe_graph(TfliteOriginal(content, name=path.stem), path, describe)


def _describe_graph(original: Original, path: Path, describe: _Describe) -> tuple[Original, Description]:
    graph = original.to_onnx().graph
    described = describe(tuple(value.name for value in graph.input), tuple(value.name for value in graph.output))
    _refuse_architecture(described, path)
    return original, described


def _torch(path: Path, describe: _Describe, *, trusted: bool) -> tuple[Original, Description]:
    from converters.from_torch.torch_file import open_torch_file
    from converters.systems.torch_networks.architectures import DESCRIBED

    file = open_torch_file(path, trusted=trusted)
    described = describe((_INPUT,), (_OUTPUT,))
    stage = _stage(described)
    # Of a described stage only the batch is free.
    example: dict[str, Array] = {tensor: np.zeros((2, *map(int, filter(None, shape))), np.float32) for tensor, shape in input_shapes(stage.input).items()}
    inputs, outputs = tuple(example), tuple(dict.fromkeys(output.tensor for output in stage.outputs))
    if file.kind != "state_dict":
        _refuse_architecture(described, path)
        if file.kind == "program":
            return file.original(inputs=inputs, outputs=outputs, name=described.name), described
        return file.original(inputs=inputs, outputs=outputs, example=example, name=described.name), described
    architecture = described.architecture
    if architecture not in DESCRIBED:
        raise ConversionError(
            f"{path} holds weights alone: expected `architecture` in the description, got '{architecture}'",
            hint=f"one of {', '.join(name for name in DESCRIBED if '-blocks' not in name)}, resnet-8-blocks to resnet-60-blocks;"
            " any other network as a program: torch.export.save, and --trusted",
        )
    if len(outputs) > 1:
        raise ConversionError(
            f"the description names the output tensors {', '.join(outputs)}: '{architecture}' has one", hint="leave `tensor` out, and say `columns`"
        )
    n_outputs = max(output.columns[1] if output.columns else len(output.labels) for output in described.outputs)
    module = DESCRIBED[architecture](next(iter(example.values())).shape[1], n_outputs)
    return file.original(module, inputs=inputs, outputs=outputs, example=example, name=architecture), described


def _refuse_architecture(described: Description, path: Path) -> None:
    if described.architecture:
        raise ConversionError(
            f"the description names the architecture '{described.architecture}', but {path} holds its own", hint="leave `architecture` out of the description"
        )


def _stage(described: Description) -> Stage:
    return manifest_from(described).stages[0]
