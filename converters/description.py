"""What a user says of a network of their own: the manifest's words for its input and its outputs, in a TOML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from converters.errors import ConversionError
from edge.package import Manifest, Quality
from edge.stage import ClipInput, CropInput, FrameInput, Output, Stage, Strict

_STAGE = "network"
_GUIDE = "converters/GUIDE.md shows whole examples"


class Description(Strict, frozen=True):
    """A network and its preprocessing.

    Attributes:
        name: Of the package.
        licence: Of the weights.
        input: How the network is fed.
        outputs: How its answers are read.
        description: One line.
        architecture: For a PyTorch `state_dict`: which network it belongs to, such as `resnet18`.
        detector: Package that finds the faces; not used where the input is the whole picture.
        low_confidence: Labels that the network cannot vouch for.
        quality: Limits past which a face's numbers are withheld.
        max_relative_error: Limit of the parity run.
    """

    name: str
    licence: str
    input: CropInput | FrameInput | ClipInput
    outputs: tuple[Output, ...]
    description: str = ""
    architecture: str = ""
    detector: str = "blazeface"
    low_confidence: tuple[str, ...] = ()
    quality: Quality = Quality()
    max_relative_error: float = 1e-3


def read_architecture(path: Path) -> str:
    """Return the architecture that a description names, before the rest of it is looked at; empty where it names none.

    Raises:
        ConversionError: The file cannot be read.
    """
    return str(_table(path).get("architecture", ""))


def read_description(path: Path, *, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Description:
    """Read a description. Where the network has one input, or one output, its name may be left out.

    Args:
        path: The TOML file.
        inputs: Names of the network's inputs.
        outputs: Names of its outputs.

    Raises:
        ConversionError: The file cannot be read, or does not say what it must; the message names the first such place.
    """
    table = _table(path)
    if isinstance(table.get("input"), dict) and len(inputs) == 1:
        table["input"].setdefault("tensor", inputs[0])
    for output in table.get("outputs", []):
        if isinstance(output, dict) and len(outputs) == 1:
            output.setdefault("tensor", outputs[0])
    try:
        return msgspec.convert(table, Description)
    except msgspec.ValidationError as error:
        raise ConversionError(f"{path} does not describe a network: {error}", hint=_GUIDE) from error


def manifest_from(description: Description) -> Manifest:
    """Return the manifest of a described network's package, without the hashes of its files."""
    return Manifest(
        schema="edge.package/1",
        name=description.name,
        task="face-affect",
        description=description.description,
        trained=True,
        licence=description.licence,
        stages=(Stage(name=_STAGE, model=f"{_STAGE}.onnx", input=description.input, outputs=description.outputs),),
        files={},
        detector="" if isinstance(description.input, FrameInput) else description.detector,
        low_confidence=description.low_confidence,
        quality=description.quality,
    )


def _table(path: Path) -> dict[str, Any]:
    try:
        table: Mapping[str, Any] = msgspec.toml.decode(path.read_bytes())
    except OSError as error:
        raise ConversionError(f"the description {path} cannot be read ({error.strerror})", hint=_GUIDE) from error
    except (msgspec.DecodeError, ValueError) as error:
        raise ConversionError(f"{path} is no TOML file: {error}", hint=_GUIDE) from error
    return dict(table)
