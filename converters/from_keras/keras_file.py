"""Loads what Keras saved, `.keras` and HDF5, without executing anything that the file holds."""

from __future__ import annotations

import json
import re
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any

import h5py

from converters.errors import ConversionError
from converters.from_keras.keras_backend import array, keras
from converters.from_keras.keras_config import safe_config

_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"
_MEMBERS = {"config.json", "metadata.json", "model.weights.h5"}
_KERAS_RAISES = (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)


def load_keras(path: Path) -> Any:
    """Load a whole model.

    Args:
        path: A `.keras` file, or an HDF5 file with architecture and weights.

    Returns:
        A built `keras.Model`.

    Raises:
        ConversionError: The file is none of these, is damaged, holds weights alone, or refers to code, custom objects or layers that are not converted.
    """
    with _opened(path) as (config, major, weights):
        if config is None:
            raise ConversionError(
                f"{path} holds weights without an architecture",
                hint="name the system whose weights they are, or save the whole model: model.save('model.keras')",
            )
        model = _built(safe_config(config, major=major), path)
        _load_weights(model, weights, path)
    return model


def load_weights_into(model: Any, path: Path) -> None:
    """Load the weights of a model of known architecture.

    Args:
        model: A built `keras.Model`; its weights are replaced.
        path: A `.keras` or HDF5 file with that architecture's weights, alone or with a whole model around them.

    Raises:
        ConversionError: As in `load_keras`; or the file is of another architecture: the message names the first mismatch.
    """
    with _opened(path) as (config, major, weights):
        if config is None:
            _load_weights(model, weights, path)
            return
        source = _built(safe_config(config, major=major), path)
        _load_weights(source, weights, path)
    for number, (mine, theirs) in enumerate(zip_longest(model.weights, source.weights)):
        if mine is None or theirs is None or mine.name != theirs.name or mine.shape != theirs.shape:
            raise ConversionError(f"weight {number}: expected {_named(mine)}, got {_named(theirs)}, in {path}", hint="the file is of another architecture")
    for mine, theirs in zip(model.weights, source.weights, strict=True):
        mine.assign(array(theirs))


@contextmanager
def _opened(path: Path) -> Iterator[tuple[object, int, Path]]:
    """The configuration (None: there is none), the version that wrote it, and an HDF5 file that holds the weights."""
    if path.is_dir():
        raise ConversionError(f"expected a .keras or HDF5 file, got the folder {path}", hint="a SavedModel is a program: it needs --trusted")
    try:
        with path.open("rb") as file:
            start = file.read(len(_HDF5))
    except OSError as error:
        raise ConversionError(f"{path} cannot be read ({error.strerror})") from error
    try:
        if start.startswith(_ZIP):
            with tempfile.TemporaryDirectory() as folder:
                yield _unzipped(path, Path(folder))
        elif start == _HDF5:
            yield *_hdf5_config(path), path
        else:
            raise ConversionError(
                f"expected a .keras file (zip) or HDF5, got a file that begins with {start[:8]!r}: {path}",
                hint="pickles are never loaded; save the model again with model.save('model.keras')",
            )
    except (zipfile.BadZipFile, OSError, KeyError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConversionError(f"the file is damaged or cut short ({error}): {path}", hint="copy it again from where it was made") from error


def _unzipped(path: Path, folder: Path) -> tuple[object, int, Path]:
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        if unknown := sorted(names - _MEMBERS):
            raise ConversionError(f"expected {', '.join(sorted(_MEMBERS))} in the file, got {', '.join(unknown[:3])} too: {path}")
        if missing := sorted({"config.json", "model.weights.h5"} - names):
            raise ConversionError(f"{' and '.join(missing)} missing in {path}", hint="save the model again with model.save('model.keras')")
        metadata = json.loads(archive.read("metadata.json")) if "metadata.json" in names else {}
        config = json.loads(archive.read("config.json"))
        return config, _major(metadata.get("keras_version", "3")), Path(archive.extract("model.weights.h5", folder))


def _hdf5_config(path: Path) -> tuple[object, int]:
    with h5py.File(path, "r") as file:
        config, version = file.attrs.get("model_config"), file.attrs.get("keras_version", "1")
        return None if config is None else json.loads(config), _major(version.decode() if isinstance(version, bytes) else str(version))


def _major(version: str) -> int:
    return int(re.match(r"\d+", version).group()) if re.match(r"\d+", version) else 1  # type: ignore[union-attr]


def _built(config: dict[str, Any], path: Path) -> Any:
    _probe(config, "", path)
    try:
        model = keras.saving.deserialize_keras_object(config, safe_mode=True)
    except _KERAS_RAISES as error:
        raise ConversionError(f"Keras cannot connect the layers ({_reason(error)}): {path}") from error
    if not model.built:
        raise ConversionError(f"the size of the model's input is not stored: {path}", hint="call it once, or give it keras.Input(shape=...), and save it again")
    return model


def _probe(config: dict[str, Any], where: str, path: Path) -> None:
    """Make each layer alone first, so that the one that fails can be named."""
    for layer in config["config"]["layers"]:
        if layer["module"] == "keras":
            _probe(layer, f"{where}{layer['name']}/", path)
            continue
        try:
            keras.saving.deserialize_keras_object(layer, safe_mode=True)
        except _KERAS_RAISES as error:
            raise ConversionError(
                f"layer '{where}{layer['name']}' ({layer['class_name']}): Keras {keras.__version__} cannot read its settings ({_reason(error)}): {path}"
            ) from error


def _load_weights(model: Any, weights: Path, path: Path) -> None:
    with h5py.File(weights, "r") as file:
        file.visititems_links(lambda name, link: _require_hard(name, link, path))
        file.visititems(lambda name, item: _require_numbers(name, item, path))
        legacy = file.get("model_weights", file) if "layer_names" not in file.attrs else file
        is_legacy = "layer_names" in legacy.attrs
        if is_legacy:
            _require_same_layers(model, legacy, path)
    with tempfile.TemporaryDirectory() as folder:
        named = Path(folder) / ("model.h5" if is_legacy else "model.weights.h5")  # Keras tells the two layouts by the name alone
        named.symlink_to(weights.resolve())
        try:
            model.load_weights(str(named))
        except _KERAS_RAISES as error:
            raise ConversionError(f"the weights do not fit the architecture: {_reason(error)}: {path}", hint="the file is of another architecture") from error


def _require_hard(name: str, link: object, path: Path) -> None:
    if not isinstance(link, h5py.HardLink):
        raise ConversionError(f"'{name}' points out of its place ({type(link).__name__}), which weights have no need of: {path}")


def _require_numbers(name: str, item: Any, path: Path) -> None:
    if isinstance(item, h5py.Dataset) and (item.dtype.kind not in "fiu" or item.external or item.is_virtual):
        raise ConversionError(f"'{name}' holds {item.dtype}, or what another file holds, where weights are numbers: {path}")


def _require_same_layers(model: Any, group: Any, path: Path) -> None:
    saved = [_text(name) for name in group.attrs["layer_names"] if len(group[_text(name)].attrs.get("weight_names", ()))]
    mine = [layer.name for layer in model.layers if layer.weights]
    for number, (expected, got) in enumerate(zip_longest(mine, saved, fillvalue="nothing")):
        if _stem(expected) != _stem(got):
            raise ConversionError(
                f"layer {number} with weights: expected '{expected}', got '{got}', in {path}",
                hint="the file is of another architecture, or renames layers",
            )


def _stem(name: str) -> str:
    """Keras numbers the layers that it names itself through the whole session."""
    return re.sub(r"_\d+$", "", name)


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _named(weight: Any) -> str:
    return "nothing" if weight is None else f"'{weight.path}' {list(weight.shape)}"


def _reason(error: Exception) -> str:
    """Keras puts the reason last, behind the whole configuration, where it says that an exception was encountered."""
    return " ".join(str(error).split("Exception encountered:")[-1].split())[:300]
