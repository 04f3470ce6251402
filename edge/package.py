"""Model packages: a folder with `package.toml`, ONNX networks and the evidence of how they were made.

The manifest says everything that the runtime must know to feed a network and to read its answer: see `edge.stage`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from edge.errors import PackageCorrupt, PackageError, PackageNotFound, PackageRefused
from edge.result import ACTION_UNITS, EMOTIONS
from edge.stage import ClipInput, CropInput, Landmarks, Scores, Stage, Strict
from edge.stage_rules import stage_problems

MANIFEST = "package.toml"
PACKAGE_SCHEMA = "edge.package/1"

Precision = Literal["fp32", "fp16", "int8"]
# Those that `python -m converters quantize` adds.
Reduced = Literal["fp16", "int8"]


class Quality(Strict, frozen=True):
    """Limits past which a face's numbers are withheld (`low_quality`), each with the reason it gives. None: no such limit.

    Attributes:
        max_yaw_deg: `yaw>N`.
        max_pitch_deg: `pitch>N`.
        min_eye_distance_px: `small`, in frame pixels.
        min_sharpness: `blur`, see `edge.quality.sharpness`.
    """

    max_yaw_deg: float | None = None
    max_pitch_deg: float | None = None
    min_eye_distance_px: float | None = None
    min_sharpness: float | None = None


class Origin(Strict, frozen=True):
    """Where a network comes from: file, the pinned registry package that holds it, its hash, framework and licence."""

    file: str
    package: str
    sha256: str
    framework: str
    licence: str
    url: str


class Manifest(Strict, frozen=True):
    """`package.toml`.

    Attributes:
        detector: Name of the package that finds faces for this one; empty where the stages need none.
        files: SHA-256 of every file beside the manifest.
        low_confidence: Labels that the package cannot vouch for: the contract's, or its own.
        not_offered: Labels of the contract that it does not give at all, with the reason.
        cpu_only: Why no GPU engine can hold the networks (trees, say); empty where one can.
        precisions: Beside fp32, each precision that the package offers, and in it the precision of each stage's network: what would lose too much stays `fp32`.
        keep_fp32: By stage, the nodes that compute in FP32 wherever the others compute in FP16.
        evidence: SHA-256 of the report of each run that stands behind the package.
    """

    schema: Literal["edge.package/1"]
    name: str
    task: Literal["face-affect", "face-detection"]
    description: str
    trained: bool
    licence: str
    stages: tuple[Stage, ...]
    files: dict[str, str]
    origins: tuple[Origin, ...] = ()
    detector: str = ""
    low_confidence: tuple[str, ...] = ()
    not_offered: dict[str, str] = msgspec.field(default_factory=dict)
    quality: Quality = Quality()
    cpu_only: str = ""
    precisions: dict[Reduced, dict[str, Precision]] = msgspec.field(default_factory=dict)
    keep_fp32: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    evidence: dict[str, str] = msgspec.field(default_factory=dict)


class Package(msgspec.Struct, frozen=True):
    """A checked package.

    Attributes:
        path: Its folder.
        manifest: What it says.
        sha256: Hash of the manifest, and with it of every file: the identity of the package.
    """

    path: Path
    manifest: Manifest
    sha256: str

    @property
    def name(self) -> str:
        """Name of the package."""
        return self.manifest.name

    def detector_path(self) -> Path:
        """Return the folder of the detection package that this one names: beside it, or among the installed packages."""
        beside = self.path.parent / self.manifest.detector
        return beside if (beside / MANIFEST).exists() else models_dir() / self.manifest.detector

    @property
    def offers(self) -> tuple[Precision, ...]:
        """The precisions that the package can run in."""
        return ("fp32", *self.manifest.precisions)

    def require_offered(self, precision: Precision) -> None:
        """Check that the package can run in a precision.

        Raises:
            PackageNotFound: It cannot.
        """
        if precision not in self.offers:
            raise PackageNotFound(
                f"package '{self.name}' has no {precision} networks: it offers {', '.join(self.offers)}",
                hint=f"--precision fp32, or add them on a workstation: python -m converters quantize {self.name} --precision {precision} --calibration default",
            )

    def stage_precision(self, stage: Stage, precision: Precision) -> Precision:
        """Return the precision of a stage's network where the package runs in one.

        Raises:
            PackageNotFound: The package does not offer it.
        """
        self.require_offered(precision)
        return "fp32" if precision == "fp32" else self.manifest.precisions[precision][stage.name]

    def model_path(self, stage: Stage, precision: Precision = "fp32") -> Path:
        """Return the ONNX file that a stage runs where the package runs in a precision: `mesh.int8.onnx`, or `mesh.onnx` where it stays in FP32.

        Raises:
            PackageNotFound: The package does not offer the precision.
        """
        return self.path / model_file(stage, self.stage_precision(stage, precision))


def model_file(stage: Stage, precision: Precision) -> str:
    """Return the name of a stage's network of a precision: `mesh.onnx`, `mesh.fp16.onnx`, `mesh.int8.onnx`."""
    return stage.model if precision == "fp32" else f"{stage.model.removesuffix('.onnx')}.{precision}.onnx"


def models_dir() -> Path:
    """Return the folder of the installed packages: `$EDGE_MODELS`, else `$XDG_DATA_HOME/edge/models`, else `~/.local/share/edge/models`."""
    if folder := os.environ.get("EDGE_MODELS"):
        return Path(folder)
    # Unlike Path.home(), expanduser() bears a service without a home; the root keeps what it then returns from meaning a folder of whoever started it.
    return Path(os.environ.get("XDG_DATA_HOME") or Path("/", os.path.expanduser("~"), ".local/share")) / "edge" / "models"


def load_package(name_or_dir: str | Path, *, allow_untrained: bool = False) -> Package:
    """Load a package and check every hash and cross-reference in it.

    Args:
        name_or_dir: A name under `models_dir()`, or a folder (anything with a path separator, or an existing folder).
        allow_untrained: Accept a network that was never trained, for latency work.

    Raises:
        PackageNotFound: No such package.
        PackageCorrupt: A file is missing or is not the one that was packed.
        PackageError: The manifest cannot be read or contradicts itself.
        PackageRefused: It is untrained and that was not allowed.
    """
    folder = Path(name_or_dir) if os.sep in str(name_or_dir) or Path(name_or_dir).is_dir() else models_dir() / name_or_dir
    path = folder / MANIFEST
    try:
        text = path.read_bytes()
    except OSError as error:
        raise PackageNotFound(
            f"no model package at {folder} ({error.strerror})",
            hint=f"python -m converters pull {folder.name}   or --model DIR with a folder that holds {MANIFEST}",
        ) from error
    try:
        manifest = msgspec.toml.decode(text, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        raise PackageError(f"{path} is not a manifest of schema {PACKAGE_SCHEMA}: {error}", hint="make the package again with python -m converters") from error
    check_manifest(manifest, where=str(path))
    for name, expected in manifest.files.items():
        _check_file(folder / name, expected)
    if not manifest.trained and not allow_untrained:
        raise PackageRefused(
            f"package '{manifest.name}' was never trained: its numbers mean nothing", hint="--allow-untrained runs it all the same, to measure latency"
        )
    return Package(path=folder, manifest=manifest, sha256=hashlib.sha256(text).hexdigest())


def check_manifest(manifest: Manifest, *, where: str) -> None:
    """Check what types alone cannot: names that must exist, labels that must be known, sizes and ranges.

    Raises:
        PackageError: Something contradicts; the message names it.
    """

    def refuse(problem: str) -> None:
        raise PackageError(f"{where}: {problem}", hint="correct the manifest, or make the package again with python -m converters")

    for problem in stage_problems(manifest.stages, detects=manifest.task == "face-detection", detector=manifest.detector):
        refuse(problem)
    for stage in manifest.stages:
        if stage.model not in manifest.files:
            refuse(f"stage '{stage.name}' names {stage.model}, which is not listed under [files]")
    for problem in _precision_problems(manifest):
        refuse(problem)
    outputs = [output for stage in manifest.stages for output in stage.outputs]
    own = {label for output in outputs if isinstance(output, Scores) for label in output.labels}
    for label in (*manifest.low_confidence, *manifest.not_offered):
        if label not in {*ACTION_UNITS, *EMOTIONS, *own}:
            refuse(f"'{label}' is neither an action unit or an emotion of the contract nor a label of the package's own")
    limits = manifest.quality
    if not any(isinstance(output, Landmarks) for output in outputs) and (limits.max_yaw_deg, limits.max_pitch_deg) != (None, None):
        refuse("quality limits the pose, which no stage tells: it takes landmarks")
    if limits.min_sharpness is not None and not any(isinstance(stage.input, CropInput | ClipInput) for stage in manifest.stages):
        refuse("quality limits the sharpness of a crop, and no stage takes one")


def _precision_problems(manifest: Manifest) -> Iterator[str]:
    stages = {stage.name: stage for stage in manifest.stages}
    for offered, of_stages in manifest.precisions.items():
        if of_stages.keys() != stages.keys():
            yield f"precisions.{offered} expects a line for each stage ({', '.join(stages)}), got {', '.join(of_stages) or 'none'}"
            continue
        for name, precision in of_stages.items():
            if model_file(stages[name], precision) not in manifest.files:
                yield f"precisions.{offered} names {model_file(stages[name], precision)}, which is not listed under [files]"
        if offered not in of_stages.values():
            yield f"precisions.{offered}: no stage has a network of that precision"
    if unknown := manifest.keep_fp32.keys() - stages.keys():
        yield f"keep_fp32 names a stage '{min(unknown)}' that does not exist"


def _check_file(path: Path, expected: str) -> None:
    try:
        found = file_sha256(path)
    except OSError as error:
        raise PackageCorrupt(f"{path} is named by its manifest but cannot be read ({error.strerror})", hint="make the package again") from error
    if found != expected:
        raise PackageCorrupt(f"expected SHA-256 {expected}, got {found}, for {path}", hint="the file is damaged or was changed: make the package again")


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
