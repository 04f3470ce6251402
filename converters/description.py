"""What a user says of a network of their own: the manifest's words for its input and its outputs, in a TOML file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from converters.errors import ConversionError
from edge.errors import PackageError
from edge.package import Manifest, Quality, check_manifest
from edge.stage import BoxRegion, ClipAudioInput, ClipInput, CropInput, FrameInput, Named, Stage, Strict, role_of

_STAGE = "network"
_DETECTOR = "blazeface"  # the only one
_GUIDE = "converters/GUIDE.md shows whole examples"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_MAX_SIDE_PX = 2048  # the comparison holds 48 crops at once
# A limit over this would let a wrong network pass.
_MAX_LIMIT = 0.1
# What a manifest may leave out: there, left out means the neutral value; here it could as well have been forgotten.
_NEUTRAL = {
    "offset": "offset = 0.0 where nothing is added to the scaled pixels",
    "equalize": "equalize = false where the histogram is left as it is",
    "expand": "expand = 1.0 where the crop is as large as the face's box",
    "stretch": "stretch = true resizes the square around the face to the crop, false lets the crop's long side reach further",
    "level_eyes": "level_eyes = true turns the crop so that the eyes are level, false does not",
}


class Description(Strict, frozen=True):
    """A network and its preprocessing.

    Attributes:
        name: Of the package: letters, digits, `.`, `_`, `-`.
        licence: Of the weights.
        input: How the network is fed. What a manifest may leave out must be said: offset, equalize, and the region's expand and level_eyes.
        outputs: How its answers are read.
        description: One line.
        architecture: For a PyTorch `state_dict`: which network it belongs to, such as `resnet18`.
        low_confidence: Labels that the network cannot vouch for.
        quality: Limits past which a face's numbers are withheld.
        max_relative_error: Limit of the parity run, at most 0.1.
    """

    name: str
    licence: str
    input: CropInput | FrameInput | ClipInput | ClipAudioInput
    outputs: tuple[Named, ...]
    description: str = ""
    architecture: str = ""
    low_confidence: tuple[str, ...] = ()
    quality: Quality = Quality()
    max_relative_error: float = 1e-3


def read_description(path: Path, *, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Description:
    """Read a description. Where the network has one input, or one output, its name may be left out.

    Args:
        path: The TOML file.
        inputs: Names of the network's inputs.
        outputs: Names of its outputs.

    Raises:
        ConversionError: The file cannot be read, does not say what it must, or contradicts itself; the message names the first such place.
    """
    table = _table(path)
    given = table.get("input")
    if isinstance(given, dict) and len(inputs) == 1:
        given.setdefault("tensor", inputs[0])
    listed = table.get("outputs")
    for output in listed if isinstance(listed, list) else []:
        if isinstance(output, dict) and len(outputs) == 1:
            output.setdefault("tensor", outputs[0])
    try:
        described = msgspec.convert(table, Description)
    except msgspec.ValidationError as error:
        raise ConversionError(f"{path} does not describe a network: {str(error).replace('$.', '')}", hint=_GUIDE) from error
    _check(described, table["input"], path)
    return described


def manifest_from(description: Description, *, cpu_only: str = "") -> Manifest:
    """Return the manifest of a described network's package, without the hashes of its files.

    Args:
        description: What its owner says of it.
        cpu_only: Why no GPU engine can hold it; empty where one can.
    """
    return Manifest(
        schema="edge.package/1",
        name=description.name,
        task="face-affect",
        description=description.description,
        trained=True,
        licence=description.licence,
        stages=(Stage(name=_STAGE, model=f"{_STAGE}.onnx", input=description.input, outputs=description.outputs),),
        files={},
        detector="" if isinstance(description.input, FrameInput) else _DETECTOR,
        low_confidence=description.low_confidence,
        quality=description.quality,
        cpu_only=cpu_only,
    )


def check_name(name: str, *, where: str) -> None:
    """Check that a package's name can be a folder's.

    Raises:
        ConversionError: It cannot.
    """
    if not _NAME.fullmatch(name):
        raise ConversionError(f"{where}: expected a name of letters, digits, '.', '_' and '-' for the package, got '{name}'", hint="such as my-resnet18")


def _check(described: Description, table: Mapping[str, Any], path: Path) -> None:
    check_name(described.name, where=str(path))
    spec = described.input
    needed = [("input", table, "offset"), ("input", table, "equalize")]
    if not isinstance(spec, FrameInput):
        width, height = spec.size_wh_px
        of_box = ("expand", "level_eyes") + (("stretch",) if width != height else ())
        needed += [("input.region", table["region"], key) for key in (of_box if isinstance(spec.region, BoxRegion) else ("level_eyes",))]
    for place, given, key in needed:
        if key not in given:
            raise ConversionError(f"{path} does not say `{key}` of `{place}`", hint=f"what the network was trained with, only you know: {_NEUTRAL[key]}")
    if max(spec.size_wh_px) > _MAX_SIDE_PX:
        raise ConversionError(f"{path}: size_wh_px: expected at most {_MAX_SIDE_PX} pixels, got {list(spec.size_wh_px)}", hint="width first, then height")
    if not 0 < described.max_relative_error <= _MAX_LIMIT:
        raise ConversionError(f"{path}: max_relative_error: expected more than 0 and at most {_MAX_LIMIT}, got {described.max_relative_error:g}", hint=_GUIDE)
    manifest = manifest_from(described)
    try:
        check_manifest(msgspec.structs.replace(manifest, files={stage.model: "" for stage in manifest.stages}), where=str(path))
    except PackageError as error:
        raise ConversionError(str(error.args[0]), hint=_GUIDE) from error
    _check_columns(described, path)


def _check_columns(described: Description, path: Path) -> None:
    taken: dict[tuple[str, int], str] = {}
    for output in described.outputs:
        role = role_of(output)
        for column in range(*(output.columns or (0, len(output.labels)))):
            if other := taken.get((output.tensor, column)):
                raise ConversionError(
                    f"{path}: {other} and {role} both read column {column} of '{output.tensor}'", hint="columns = [first, one past the last], counted from 0"
                )
            taken[output.tensor, column] = role


def _table(path: Path) -> dict[str, Any]:
    try:
        table: Mapping[str, Any] = msgspec.toml.decode(path.read_bytes())
    except OSError as error:
        raise ConversionError(f"the description {path} cannot be read ({error.strerror})", hint=_GUIDE) from error
    except (msgspec.DecodeError, ValueError) as error:
        raise ConversionError(f"{path} is no TOML file: {error}", hint=_GUIDE) from error
    return dict(table)
