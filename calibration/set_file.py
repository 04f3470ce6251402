"""A calibration set: a folder with `set.toml`, small pictures of one face each, and whole clips for the networks that read clips.

    set.toml       what is in it, from where, under which licence, and the hash of every file
    pictures/      lossless PNG, RGB: one face with room around it, so that the detection and the crop of any package find it again
    clips/         copies of clip files, as they came

`calibration` is what ranges are taken from, `held-out` what a reduced precision is judged by. Nothing of one origin (a clip, a person, a rendered identity, a
picture) is in both.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import msgspec
import numpy as np

from calibration.errors import SetCorrupt, SetNotFound
from edge.frame import Pixels
from edge.package import file_sha256, models_dir
from edge.stage import Strict

MANIFEST = "set.toml"
SET_SCHEMA = "edge.calibration/1"
PICTURES, CLIPS = "pictures", "clips"

Split = Literal["calibration", "held-out"]
SPLITS: tuple[Split, Split] = ("calibration", "held-out")


class Features(Strict, frozen=True):
    """What the runtime says of a face, with the networks of the default package. Sets are chosen to cover it.

    Attributes:
        yaw_deg: As in `edge.result.Pose`.
        pitch_deg: As in `edge.result.Pose`.
        roll_deg: As in `edge.result.Pose`.
        side_px: Long side of the face's box in the source, before the picture was made smaller or larger.
        brightness: Mean gray value of the face's box, 0 to 255.
        contrast: Deviation of its gray values.
        side_light: Mean of its right half less the left one's, in gray values.
        sharpness: See `edge.quality.sharpness`.
        emotion: The likeliest one; empty where the numbers are withheld.
        action_units: Those in [0.01, 1], rounded to hundredths; empty where the numbers are withheld.
        reasons: Why the package would withhold the numbers, as in a result.
    """

    yaw_deg: float
    pitch_deg: float
    roll_deg: float
    side_px: float
    brightness: float
    contrast: float
    side_light: float
    sharpness: float
    emotion: str = ""
    action_units: dict[str, float] = msgspec.field(default_factory=dict)
    reasons: tuple[str, ...] = ()


class Entry(Strict, frozen=True):
    """One file of a set.

    Attributes:
        file: Path in the set.
        sha256: Of the file.
        origin: Who or what is in it; an origin is in one split only.
        source: File, and frame or row, that it comes from.
        licence: Its source's, as whoever built the set stated it; empty where nothing was stated.
        split: Where it belongs.
    """

    file: str
    sha256: str
    origin: str
    source: str
    licence: str
    split: Split


class Item(Entry, frozen=True, kw_only=True):
    """One picture.

    Attributes:
        pixels_sha256: Of its pixels, see `pixels_sha256`.
        source_sha256: Of the pixels of the picture, frame or row that it was cut from.
        features: What the runtime says of it.
    """

    pixels_sha256: str
    source_sha256: str
    features: Features


class Clip(Entry, frozen=True, kw_only=True):
    """One clip file, as it came."""


class MadeBy(Strict, frozen=True):
    """What made a set: versions of libraries, and the hashes of the networks that found and judged the faces."""

    versions: dict[str, str]
    networks: dict[str, str]


class SetManifest(Strict, frozen=True):
    """`set.toml`.

    Attributes:
        name: Of the set.
        made_by: What made it.
        n_looked_at: Pictures, frames and rows that were looked at.
        n_faces: Faces among them that could be used.
        refused: How many were refused, by reason.
        excluded: Names of the files and folders that the set is disjoint from, and the hash of all their pictures' hashes.
        coverage: Pictures by feature, bin and split, see `calibration.coverage`.
        items: Pictures.
        clips: Clip files.
    """

    schema: Literal["edge.calibration/1"]
    name: str
    made_by: MadeBy
    n_looked_at: int
    n_faces: int
    refused: dict[str, int]
    excluded: dict[str, str]
    coverage: dict[str, dict[str, tuple[int, int]]]
    items: tuple[Item, ...]
    clips: tuple[Clip, ...] = ()


@dataclass(frozen=True)
class CalibrationSet:
    """A set whose files are the ones that its manifest names.

    Attributes:
        path: Its folder.
        manifest: What it says.
        sha256: Hash of the manifest, and with it of every file: the identity of the set.
    """

    path: Path
    manifest: SetManifest
    sha256: str

    @property
    def name(self) -> str:
        """Name of the set."""
        return self.manifest.name

    def pictures(self, split: Split) -> list[Pixels]:
        """Return the pictures of a split, uint8[H, W, 3] each, RGB: one face, with room around it as far as its source reached.

        In the order in which they were chosen: the first n cover poses, light and expressions as well as n of them can.

        Raises:
            SetCorrupt: One of them was changed since the set was loaded.
        """
        return [read_picture(self.path / item.file) for item in self.manifest.items if item.split == split]

    def clips(self, split: Split) -> list[Path]:
        """Return the clip files of a split."""
        return [self.path / clip.file for clip in self.manifest.clips if clip.split == split]


def sets_dir() -> Path:
    """Return the folder of the installed sets: `calibration` beside the packages."""
    return models_dir().parent / "calibration"


def set_path(path_or_name: str | Path) -> Path:
    """Return a set's folder; `default` is the installed one unless there is a folder of that name here."""
    path = Path(path_or_name)
    return sets_dir() / "default" if str(path_or_name) == "default" and not path.is_dir() else path


def load_set(path_or_name: str | Path) -> CalibrationSet:
    """Load a set and check the hash of every file in it.

    Args:
        path_or_name: Its folder, or `default`.

    Raises:
        SetNotFound: There is none.
        SetCorrupt: A file is missing or was changed, or the manifest contradicts itself.
    """
    folder = set_path(path_or_name)
    try:
        text = (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise SetNotFound(
            f"no calibration set at {folder} ({error.strerror})",
            hint="python -m calibration build default   or, from your own: python -m calibration build PICTURES CLIPS -o SET",
        ) from error
    try:
        manifest = msgspec.toml.decode(text, type=SetManifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        raise SetCorrupt(f"{folder / MANIFEST} is not a manifest of schema {SET_SCHEMA}: {error}", hint="build the set again") from error
    _check_manifest(manifest, folder)
    for entry in (*manifest.items, *manifest.clips):
        _check_file(folder / entry.file, entry.sha256)
    return CalibrationSet(folder, manifest, hashlib.sha256(text).hexdigest())


def pixels_sha256(rgb: Pixels) -> str:
    """Return the hash of a picture's pixels: the same for a PNG, a row of an array and a gray copy in RGB, whatever the file.

    Args:
        rgb: uint8[H, W, 3], RGB.
    """
    digest = hashlib.sha256(np.array(rgb.shape, "<i4").tobytes())
    digest.update(np.ascontiguousarray(rgb).tobytes())
    return digest.hexdigest()


def read_picture(path: Path) -> Pixels:
    """Read a picture of a set, uint8[H, W, 3], RGB.

    Raises:
        SetCorrupt: It is damaged.
    """
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise SetCorrupt(f"the picture {path} cannot be read", hint="build the set again")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def _check_manifest(manifest: SetManifest, folder: Path) -> None:
    entries: list[Entry] = [*manifest.items, *manifest.clips]
    files = [entry.file for entry in entries]
    for file in files:
        if Path(file).is_absolute() or ".." in Path(file).parts:
            raise SetCorrupt(f"{folder / MANIFEST} names {file}, which lies outside the set", hint="build the set again")
    if len(set(files)) < len(files):
        raise SetCorrupt(f"{folder / MANIFEST} names a file twice", hint="build the set again")
    splits: dict[str, Split] = {}
    for entry in entries:
        if splits.setdefault(entry.origin, entry.split) != entry.split:
            raise SetCorrupt(f"{folder / MANIFEST}: '{entry.origin}' is both in calibration and in held-out", hint="build the set again")
    # Under other names and origins, too.
    for entry in entries:
        for sha256 in (entry.sha256, *((entry.pixels_sha256, entry.source_sha256) if isinstance(entry, Item) else ())):
            if splits.setdefault(sha256, entry.split) != entry.split:
                raise SetCorrupt(f"{folder / MANIFEST}: the content of {entry.file} is both in calibration and in held-out", hint="build the set again")


def _check_file(path: Path, expected: str) -> None:
    try:
        found = file_sha256(path)
    except OSError as error:
        raise SetCorrupt(f"{path} is named by the set's manifest but cannot be read ({error.strerror})", hint="build the set again") from error
    if found != expected:
        raise SetCorrupt(f"expected SHA-256 {expected}, got {found}, for {path}", hint="the file is damaged or was changed: build the set again")
