"""The FP16 and INT8 networks of a package that the repository holds: graphs without the weights, which follow from the network in FP32.

So a tenth of a megabyte stands for twenty. What is put together again is, byte for byte, what was judged: the card of `quantize` names its hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from calibration.whole_folder import in_one_step
from converters.errors import ConversionError
from converters.quantization.card import CARD, Card, StageCard, offered, read_card
from converters.quantization.prepared import prepared
from converters.stored_weights import LARGE
from edge.errors import PackageRefused
from edge.package import Package, Precision, Reduced

FOLDER = "precisions"
_KEEP_FP32 = "keep_fp32.json"
# Of a tensor that was left out, with the name of the one in FP32 that it follows from.
_FOLLOWS = "follows from "
_DTYPES = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16}
_HINT = "make them again: python -m converters quantize default --calibration default --precision all --store converters/trained/default"


@dataclass(frozen=True)
class StoredPrecisions:
    """Precisions beside FP32, ready to go into a package.

    Attributes:
        offered: As `precisions` of `edge.package.Manifest`.
        keep_fp32: As there.
        networks: By the name of the file.
        card: What they lose: the package's `card.json`.
    """

    offered: dict[Reduced, dict[str, Precision]]
    keep_fp32: dict[str, tuple[str, ...]]
    networks: Mapping[str, bytes]
    card: bytes


def without_weights(model: onnx.ModelProto, fp32: onnx.ModelProto) -> onnx.ModelProto:
    """Return the network without those large weights that are the ones in FP32, or these rounded to FP16. Others, as of a grid's scales, stay.

    Args:
        model: In FP16 or INT8; it is not modified.
        fp32: The network that it was made from.
    """
    known = {_key(numpy_helper.to_array(tensor).astype(dtype)): tensor.name for tensor in _large(prepared(fp32)) for dtype in _DTYPES.values()}
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for tensor in _large(result):
        source = known.get(_key(numpy_helper.to_array(tensor)))
        if source is not None:
            tensor.CopyFrom(TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, doc_string=f"{_FOLLOWS}{source}"))
    return result


def with_weights(stripped: onnx.ModelProto, fp32: onnx.ModelProto) -> onnx.ModelProto:
    """Return the network that `without_weights` was given.

    Args:
        stripped: What it returned; it is not modified.
        fp32: The network that the weights are taken from.

    Raises:
        ConversionError: The network in FP32 lacks a weight, or has it in another shape.
    """
    weights = {tensor.name: tensor for tensor in prepared(fp32).graph.initializer}
    result = onnx.ModelProto()
    result.CopyFrom(stripped)
    for tensor in result.graph.initializer:
        if tensor.doc_string.startswith(_FOLLOWS):
            source = weights.get(tensor.doc_string.removeprefix(_FOLLOWS))
            if source is None or list(source.dims) != list(tensor.dims):
                raise ConversionError(f"the network in FP32 has no weight of the shape {list(tensor.dims)} that '{tensor.name}' follows from", hint=_HINT)
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(source).astype(_DTYPES[tensor.data_type]), tensor.name))
    return result


def store_precisions(package: Package, folder: Path) -> Path:
    """Write what makes a package's precisions out of its networks in FP32. What was there is replaced in one step, or stays.

    Args:
        package: With precisions beside FP32, and the card that `quantize` wrote.
        folder: Gets a folder `precisions`.

    Returns:
        That folder.

    Raises:
        PackageRefused: The package runs in FP32 alone, or has no card.
        ConversionError: A network is not put together again as it was.
    """
    manifest = package.manifest
    if not manifest.precisions:
        raise PackageRefused(f"package '{package.name}' offers no precision beside fp32", hint="python -m converters quantize makes them")
    card = read_card(package.path)
    if card is None:
        raise PackageRefused(f"the {CARD} of package '{package.name}' cannot be read", hint="python -m converters quantize writes it")
    plain = {stage.name: onnx.load(package.model_path(stage)) for stage in manifest.stages}

    def fill(new: Path) -> None:
        new.mkdir()
        for name, stage in _judged(card):
            stripped = without_weights(onnx.load(package.path / stage.file), plain[name])
            (new / stage.file).write_bytes(stripped.SerializeToString(deterministic=True))
        (new / CARD).write_bytes((package.path / CARD).read_bytes())
        (new / _KEEP_FP32).write_bytes(msgspec.json.format(msgspec.json.encode(manifest.keep_fp32), indent=1) + b"\n")
        _load(new, plain)

    in_one_step(folder / FOLDER, fill)
    return folder / FOLDER


def load_precisions(folder: Path, models: Mapping[str, onnx.ModelProto]) -> StoredPrecisions | None:
    """Read what `store_precisions` wrote, and put the networks together.

    Args:
        folder: See there.
        models: The networks in FP32, by the name of their stage.

    Returns:
        None where nothing is stored: the package runs in FP32 alone.

    Raises:
        ConversionError: A file cannot be read, or a network is not the one that was judged.
    """
    return _load(folder / FOLDER, models) if (folder / FOLDER).exists() else None


def _load(folder: Path, models: Mapping[str, onnx.ModelProto]) -> StoredPrecisions:
    try:
        content = (folder / CARD).read_bytes()
        card = msgspec.json.decode(content, type=Card)
        keep_fp32 = msgspec.json.decode((folder / _KEEP_FP32).read_bytes(), type=dict[str, tuple[str, ...]])
        stripped = {stage.file: onnx.load_model_from_string((folder / stage.file).read_bytes()) for _, stage in _judged(card)}
    except Exception as error:  # protobuf's are of no common kind
        raise ConversionError(f"the precisions in {folder} cannot be read: {error}", hint=_HINT) from error
    networks = {}
    for name, stage in _judged(card):
        _require_same(stage.fp32_sha256, models[name].SerializeToString(), f"{folder / stage.file} was made from another network in FP32")
        networks[stage.file] = with_weights(stripped[stage.file], models[name]).SerializeToString()
        _require_same(stage.sha256, networks[stage.file], f"{folder / stage.file} is not the network that was judged")
    return StoredPrecisions(offered(card), keep_fp32, networks, content)


def _judged(card: Card) -> list[tuple[str, StageCard]]:
    """The networks that are offered, with the name of their stage."""
    return [(name, stage) for precision in offered(card) for name, stage in card.precisions[precision].stages.items() if stage.file]


def _require_same(expected: str, content: bytes, problem: str) -> None:
    if (found := hashlib.sha256(content).hexdigest()) != expected:
        raise ConversionError(f"{problem}: expected SHA-256 {expected}, got {found}", hint=_HINT)


def _large(model: onnx.ModelProto) -> Iterator[TensorProto]:
    for tensor in model.graph.initializer:
        if tensor.data_type in _DTYPES and int(np.prod(tensor.dims)) >= LARGE:
            yield tensor


def _key(values: np.ndarray[tuple[int, ...], np.dtype[np.floating]]) -> tuple[str, tuple[int, ...], bytes]:
    return values.dtype.name, values.shape, hashlib.sha256(values.tobytes()).digest()
