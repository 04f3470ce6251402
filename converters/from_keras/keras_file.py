"""Loads what Keras saved, `.keras` and HDF5, without executing anything that the file holds."""

from __future__ import annotations

import json
import re
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from converters.errors import ConversionError
from converters.from_keras.keras_backend import array, keras, run
from converters.from_keras.keras_config import safe_config
from converters.from_keras.onnx_from_keras import LAYERS
from converters.from_keras.shape_layers import identity

_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"
_MEMBERS = {"config.json", "metadata.json", "model.weights.h5"}
_LAYER_GROUPS = ("layers/", "_layer_checkpoint_dependencies/")  # where Keras 3, and Keras 2 in the same layout, keep them; the optimizer is beside
_ANOTHER = "the file is of another architecture"
_WHOLE = "save the whole model: model.save('model.keras')"
# What zip, HDF5 and JSON readers raise.
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, KeyError, RecursionError, UnicodeDecodeError, json.JSONDecodeError)
_STATISTICS = ("gamma", "beta", "moving_mean", "moving_variance")  # of one size, so that only their names tell them apart
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
                hint=f"name the system whose weights they are, or {_WHOLE}",
            )
        model = _built(safe_config(config, major=major), path)
        _load_weights(model, weights, path)
    return model


def load_weights_into(model: Any, path: Path) -> None:
    """Load the weights of a model of known architecture.

    Args:
        model: A built `keras.Model`; its weights are replaced. After an error they are of no use.
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
            raise ConversionError(f"weight {number}: expected {_named(mine)}, got {_named(theirs)}, in {path}", hint=_ANOTHER)
    for mine, theirs in zip(model.weights, source.weights, strict=True):
        mine.assign(array(theirs))
    _require_same_function(model, source, path)


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
    except _DAMAGE as error:
        raise _damaged(error, path) from error


def _damaged(error: BaseException, path: Path) -> ConversionError:
    return ConversionError(f"the file is damaged or cut short ({error}): {path}", hint="copy it again from where it was made")


def _unzipped(path: Path, folder: Path) -> tuple[object, int, Path]:
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        if unknown := sorted(names - _MEMBERS):
            raise ConversionError(f"expected {', '.join(sorted(_MEMBERS))} in the file, got {', '.join(unknown[:3])} too: {path}")
        if missing := sorted({"config.json", "model.weights.h5"} - names):
            raise ConversionError(f"{' and '.join(missing)} missing in {path}", hint="save the model again with model.save('model.keras')")
        metadata = json.loads(archive.read("metadata.json")) if "metadata.json" in names else {}
        config = json.loads(archive.read("config.json"))
        return config, _major(metadata.get("keras_version") if isinstance(metadata, dict) else None, 3), Path(archive.extract("model.weights.h5", folder))


def _hdf5_config(path: Path) -> tuple[object, int]:
    with h5py.File(path, "r") as file:
        config, version = file.attrs.get("model_config"), file.attrs.get("keras_version")
        return None if config is None else json.loads(_text(config)), _major(None if version is None else _text(version), 1)


def _major(version: object, unsaid: int) -> int:
    number = re.match(r"\d+", str(version))
    return int(number.group()) if number else unsaid


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
        names = _require_plain(file, path)
        legacy = file if _names(file, "layer_names") else file.get("model_weights", file)
        is_legacy = bool(_names(legacy, "layer_names"))
        if is_legacy:
            _require_same_layers(model, legacy, path)
    mine = [(number, weight) for number, weight in enumerate(model.weights) if weight.dtype == "float32"]
    for _, weight in mine:
        weight.assign(np.full(weight.shape, np.nan, np.float32))  # so that what Keras skips is found below
    reason = ""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it skips something
        named = Path(folder) / ("model.h5" if is_legacy else "model.weights.h5")  # Keras tells the two layouts by the name alone
        named.symlink_to(weights.resolve())
        try:
            model.load_weights(str(named))
        except _KERAS_RAISES as error:
            reason = _reason(error)
    for number, weight in mine:
        if not np.isfinite(array(weight)).all():
            why = reason or "the file holds nothing for it, or values that are no finite numbers"
            raise ConversionError(f"weight {number}, {_named(weight)}, cannot be filled: {why}: {path}", hint=_ANOTHER)
    if reason:
        raise ConversionError(f"the weights do not fit the architecture: {reason}: {path}", hint=_ANOTHER)
    if not is_legacy and len(names) != len(mine):
        raise ConversionError(f"the file holds {len(names)} arrays of weights, the architecture takes {len(mine)}: {path}", hint=_ANOTHER)


def _require_plain(file: h5py.File, path: Path) -> list[str]:
    """Return the names of the arrays of layers' weights; raise where there is anything but numbers that the file itself holds."""
    links: dict[str, object] = {}
    items: dict[str, Any] = {}
    try:
        file.visititems_links(links.__setitem__)  # collected first: h5py loses what a visitor raises
        for name, link in links.items():
            if not isinstance(link, h5py.HardLink):
                raise ConversionError(f"'{name}' points out of its place ({type(link).__name__}), which weights have no need of: {path}")
        file.visititems(items.__setitem__)
    except (RuntimeError, SystemError) as error:  # so h5py ends on addresses that lead nowhere
        raise _damaged(error, path) from error
    arrays = {name: item for name, item in items.items() if isinstance(item, h5py.Dataset)}
    for name, item in arrays.items():
        if item.dtype.kind not in "fiu" or item.external or item.is_virtual:
            raise ConversionError(f"'{name}' holds {item.dtype}, or what another file holds, where weights are numbers: {path}")
    return [name for name, item in arrays.items() if item.dtype.kind == "f" and name.startswith(_LAYER_GROUPS)]


def _require_same_function(model: Any, source: Any, path: Path) -> None:
    """Layers without weights, such as activations and scales, make another network of the same weights: a picture of noise shows them."""
    expected, got = ([tuple(tensor.shape[1:]) for tensor in network.inputs] for network in (model, source))
    if len(expected) != len(got) or any(not _takes(theirs, mine) for mine, theirs in zip(expected, got, strict=True)):
        raise ConversionError(f"expected inputs {expected}, got {got}, in {path}", hint=_ANOTHER)
    noise = np.random.default_rng(0)
    inputs = [noise.uniform(-1, 1, (2, *shape)).astype(np.float32) for shape in expected]
    for number, (mine, theirs) in enumerate(zip_longest(run(model, inputs), run(source, inputs))):
        if mine is None or theirs is None or mine.shape != theirs.shape or not np.allclose(mine, theirs, rtol=1e-3, atol=1e-5):
            raise ConversionError(
                f"the weights fit, but output {number} is another one than the file's own model gives: {path}", hint=_difference(model, source)
            )


def _takes(open_shape: tuple[int | None, ...], shape: tuple[int, ...]) -> bool:
    return len(open_shape) == len(shape) and all(allowed in (None, size) for allowed, size in zip(open_shape, shape, strict=True))


def _difference(model: Any, source: Any) -> str:
    for mine, theirs in zip_longest(_layers(model), _layers(source), fillvalue="nothing"):
        if mine != theirs:
            return f"the first layer that differs: expected {mine}, got {theirs}"
    return "its layers are of the same kinds, with other settings or connections"


def _layers(model: Any) -> Iterator[str]:
    """What kind of layers a model has, in its order, without those that do nothing here."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _layers(layer)
        elif not isinstance(layer, keras.layers.InputLayer) and LAYERS.get(type(layer)) is not identity:
            activation = getattr(getattr(layer, "activation", None), "__name__", "")
            yield f"{type(layer).__name__} {activation}".strip()


def _require_same_layers(model: Any, group: h5py.Group, path: Path) -> None:
    saved = [name for name in _names(group, "layer_names") if _names(group[name], "weight_names")]
    mine = [layer for layer in model.layers if layer.weights]
    for number, (layer, name) in enumerate(zip_longest(mine, saved)):
        if layer is None or name is None or _stem(layer.name) != _stem(name):
            expected = _quoted(None if layer is None else layer.name)
            raise ConversionError(f"layer {number} with weights: expected {expected}, got {_quoted(name)}, in {path}", hint=f"{_ANOTHER}, or renames layers")
        _require_same_weights(layer, group[name], path)


def _require_same_weights(layer: Any, group: h5py.Group, path: Path) -> None:
    """Look at sizes, and at names where sizes do not tell: this layout has the weights of frozen layers behind the others."""
    saved = _names(group, "weight_names")
    mine = layer.trainable_weights + layer.non_trainable_weights
    for number, (weight, name) in enumerate(zip_longest(mine, saved)):
        got = name and f"'{name}' {list(group[name].shape)}"
        kind = name and name.split("/")[-1].split(":")[0]
        if weight is None or name is None or tuple(weight.shape) != group[name].shape or (kind in _STATISTICS and kind != weight.name):
            raise ConversionError(
                f"layer '{layer.name}', weight {number}: expected {_named(weight)}, got {got or 'nothing'}, in {path}",
                hint=f"{_ANOTHER}, or other layers were frozen when it was saved: {_WHOLE}",
            )


def _quoted(name: str | None) -> str:
    return "nothing" if name is None else f"'{name}'"


def _names(group: h5py.Group, key: str) -> list[str]:
    """Keras cuts a list that HDF5 cannot hold in one attribute into numbered ones."""
    parts = [key] if key in group.attrs else [f"{key}{number}" for number in range(len(group.attrs)) if f"{key}{number}" in group.attrs]
    return [_text(name) for part in parts for name in np.atleast_1d(group.attrs[part])]


def _stem(name: str) -> str:
    """Keras numbers the layers that it names itself through the whole session."""
    return re.sub(r"_\d+$", "", name)


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _named(weight: Any) -> str:
    return "nothing" if weight is None else f"'{weight.path}' {list(weight.shape)}"


def _reason(error: Exception) -> str:
    """Keras puts the reason behind the whole configuration, or between the layer and all layers that it could not fill, and whole tensors behind it."""
    text = str(error).split("Exception encountered:")[-1].split("Example error message for object ")[-1]
    return " ".join(re.split(r"List of objects that could not|Target variable:", text)[0].split())[:300]
