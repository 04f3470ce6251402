"""A network that we trained, as the repository stores it: its weights in FP16, and what it answered in PyTorch to a few pictures before it was exported.

Who makes a package of it needs no PyTorch, and sees all the same that it computes what was trained: a broken file cannot pass.
"""

from __future__ import annotations

import hashlib
import io
import lzma
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import onnx

from converters.errors import ConversionError
from converters.original import Array
from converters.stored_weights import computing, stored
from edge import crop
from edge.frame import Pixels
from edge.stage import CropInput, Stage

ANSWERS = "answers.npz"
CARD = "card.json"
# The network lies packed, and is hashed unpacked: the same network whatever packed it.
PACKED = ".xz"
# Weights of two bytes: what is alike stands two bytes apart.
_PACKING = ({"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 3, "lp": 1, "pb": 1},)
_CROPS = "crops"  # in ANSWERS; everything else in it is an output of the network
_HINT = "the checkout is not whole: git status shows what was changed, git checkout mends it"


class _Card(msgspec.Struct, frozen=True):
    """What this file reads of a card, whatever else stands in it."""

    files: dict[str, str]
    versions: dict[str, str]


class RecordedOriginal:
    """What the network answered in PyTorch, on the machine that exported it.

    Args:
        model: The network.
        framework: What ran it, with version.
        sha256: Of the file of its weights.
        inputs: float32[N, ...] by input name.
        answers: float32[N, ...] by output name.
    """

    def __init__(self, model: onnx.ModelProto, framework: str, sha256: str, inputs: Mapping[str, Array], answers: Mapping[str, Array]) -> None:
        self.framework, self.sha256 = framework, sha256
        self.inputs = inputs
        self._model, self._answers = model, answers

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return the recorded answers.

        Args:
            inputs: Those that were recorded.

        Raises:
            ConversionError: Other inputs, of which nothing was recorded.
        """
        if inputs.keys() != self.inputs.keys() or not all(np.array_equal(values, self.inputs[name]) for name, values in inputs.items()):
            raise ConversionError("a recorded network answers to the inputs that were recorded alone", hint="compare it on `inputs`")
        return dict(self._answers)

    def to_onnx(self) -> onnx.ModelProto:
        """Return the network as it was exported, its weights rounded to FP16 and in FP32 again."""
        return self._model


def store_network(model: onnx.ModelProto, crops: Pixels, answers: Mapping[str, Array], path: Path) -> dict[str, str]:
    """Write a network and what it answered in its own framework.

    Args:
        model: The network in FP32, as it is exported.
        crops: uint8[N, H, W], gray: pictures that may be given away.
        answers: float32[N, ...] by output name: what the framework computed of these pictures.
        path: Where the network goes, packed, with `.xz` added to the name; the answers lie beside it.

    Returns:
        SHA-256 of each file by its name, for the card.
    """
    recorded = io.BytesIO()
    np.savez_compressed(recorded, allow_pickle=False, **{_CROPS: crops}, **answers)
    files = {path.name: stored(model).SerializeToString(), ANSWERS: recorded.getvalue()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(path.name + PACKED).write_bytes(lzma.compress(files[path.name], filters=_PACKING))
    (path.parent / ANSWERS).write_bytes(files[ANSWERS])
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def stored_sha256(folder: Path, stage: Stage) -> str:
    """Return the hash that the card gives for a stage's network.

    Raises:
        ConversionError: The card cannot be read, or does not name the network.
    """
    return _listed(_read_card(folder), stage.model, folder)


def load_stored(folder: Path, stage: Stage) -> RecordedOriginal:
    """Read a network that `store_network` wrote, with weights in FP32 again.

    Args:
        folder: Where it lies, with its answers and its card.
        stage: What it is fed: the pictures are brought to that by the runtime's own code, so that a wrong scale shows.

    Raises:
        ConversionError: A file is missing or is not the one that the card names; the stage takes no crop.
    """
    spec = stage.input
    if not isinstance(spec, CropInput):
        raise ConversionError(f"stage '{stage.name}': expected a crop as its input, got {type(spec).__name__}: no answers are recorded for anything else")
    card = _read_card(folder)
    model = computing(onnx.load_model_from_string(_read(card, stage.model, folder)))
    with np.load(io.BytesIO(_read(card, ANSWERS, folder)), allow_pickle=False) as arrays:
        recorded = {name: arrays[name] for name in arrays.files}
    inputs = {spec.tensor: crop.batch(list(recorded.pop(_CROPS)), spec)}
    return RecordedOriginal(model, f"PyTorch {card.versions['torch']}, recorded", card.files[stage.model], inputs, recorded)


def _read_card(folder: Path) -> _Card:
    try:
        return msgspec.json.decode((folder / CARD).read_bytes(), type=_Card)
    except (OSError, msgspec.MsgspecError) as error:
        raise ConversionError(f"{folder / CARD} cannot be read as the card of a network: {error}", hint=_HINT) from error


def _listed(card: _Card, name: str, folder: Path) -> str:
    if name not in card.files:
        raise ConversionError(f"{folder / CARD} names no {name}, only {', '.join(card.files) or 'no file at all'}", hint=_HINT)
    return card.files[name]


def _read(card: _Card, name: str, folder: Path) -> bytes:
    expected = _listed(card, name, folder)
    try:
        content = (folder / name).read_bytes() if name == ANSWERS else lzma.decompress((folder / (name + PACKED)).read_bytes())
    except lzma.LZMAError as error:
        raise ConversionError(f"{folder / (name + PACKED)} is damaged: {error}", hint=_HINT) from error
    except OSError as error:
        raise ConversionError(f"{folder / name} is named by its card and cannot be read ({error.strerror})", hint=_HINT) from error
    if (found := hashlib.sha256(content).hexdigest()) != expected:
        raise ConversionError(f"expected SHA-256 {expected}, got {found}, for {folder / name}", hint=_HINT)
    return content
