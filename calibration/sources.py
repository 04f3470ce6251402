"""What a set is made from: every picture, row of an array and chosen frame of a clip, one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import cv2
import numpy as np

from calibration.pixel_arrays import PixelArray, names_an_array, path_of, read_pixel_array
from calibration.set_file import Split
from edge.capture import SourceSettings, open_source
from edge.capture.clip_file import is_picture
from edge.errors import CaptureError, SourceNotFound, UnsupportedFormat
from edge.frame import Pixels

Say = Callable[[str], None]
OriginRule = Literal["file", "folder"]
_Thing = TypeVar("_Thing")

# A clip of ten seconds has a face in a new place about as often.
_FRAMES_OF_A_CLIP = 240
_PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
_CLIP_SUFFIXES = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"}


@dataclass(frozen=True)
class Seen:
    """A picture that may hold faces.

    Attributes:
        rgb: uint8[H, W, 3]; None where it could not be read.
        origin: Who or what is in it: pictures of one origin stay together.
        source: File, and frame or row.
        split: Where the origin belongs, if its source says so.
        clip: The clip that it is a frame of.
        problem: Why it could not be read.
    """

    rgb: Pixels | None
    origin: str
    source: str
    split: Split | None = None
    clip: Path | None = None
    problem: str = ""


@dataclass(frozen=True)
class Origin:
    """A file whose pictures stay together."""

    path: Path
    name: str
    split: Split | None = None


@dataclass(frozen=True)
class Rows:
    """Rows of an array.

    Attributes:
        array: The array.
        name: What its rows are called by.
        origin: Whose pictures all of them are; empty where each row is an origin of its own.
    """

    array: PixelArray
    name: str
    origin: str = ""


@dataclass(frozen=True)
class Source:
    """One of the things that a set is made from; each gives an equal share of the set where it can.

    Attributes:
        name: As the user wrote it, without the folder that it lies in.
        licence: As the user stated it; empty where nothing was stated.
        pictures: Picture files.
        clips: Clip files.
        arrays: NumPy files.
        unread: Files of a folder that are none of these.
        made: Makes pictures that lie in no file of their own.
    """

    name: str
    licence: str
    pictures: tuple[Origin, ...] = ()
    clips: tuple[Origin, ...] = ()
    arrays: tuple[Rows, ...] = ()
    unread: tuple[Path, ...] = ()
    made: Callable[[], Iterator[Seen]] | None = None

    def unread_line(self) -> str:
        """Return a line that says which files were not read; empty where all were."""
        kinds = Counter(path.suffix.lower() or path.name for path in self.unread)
        hint = "; name arrays of an .npz with their key" if ".npz" in kinds else ""
        return f"{self.name}: not read: {', '.join(f'{n} {kind}' for kind, n in sorted(kinds.items()))}{hint}" if kinds else ""

    def look(self, n: int) -> Iterator[Seen]:
        """Yield about `n` pictures, evenly spread over what there is.

        Raises:
            MissingDependency: GStreamer cannot read clips here.
        """
        if self.made is not None:
            yield from self.made()
        kinds = bool(self.pictures) + bool(self.clips) + bool(self.arrays)
        for origin in evenly(self.pictures, n // max(1, kinds)):
            yield _picture(origin)
        for origin in self.clips:
            yield from _frames(origin, min(_FRAMES_OF_A_CLIP, max(1, n // kinds // len(self.clips))))
        for rows in self.arrays:
            for row in evenly(rows.array.rows.tolist(), max(1, n // kinds // len(self.arrays))):
                name = f"{rows.name} row {row}"
                yield Seen(rows.array.picture(row), rows.origin or name, name)


def open_sources(text: str, *, licence: str, origins: OriginRule) -> Source:
    """Find what a user's SOURCE names: a folder (searched with all its sub-folders), a picture, a clip or a NumPy file.

    Args:
        text: A path; of a NumPy file with key and rows where need be.
        licence: What the user says of it.
        origins: `file`: each picture and each row of an array is an origin of its own; `folder`: those of a folder belong together, as those of a person do.

    Raises:
        SourceNotFound: There is nothing at that path, or nothing in that folder that pictures can be read from.
        ConfigError: An array cannot be read: said before any picture is looked at.
    """
    path = path_of(text) if names_an_array(text) else Path(text)
    if not path.exists():
        raise SourceNotFound(f"no such file or folder: {path}", hint="a source is a folder, a picture, a clip, an array (.npy, .npz) or `default`")
    if names_an_array(text):
        array = read_pixel_array(text)
        return Source(array.name, licence, arrays=(Rows(array, array.name),))
    if path.is_file():
        one = (Origin(path, path.name),)
        is_one = path.suffix.lower() in _PICTURE_SUFFIXES or is_picture(path)
        return Source(path.name, licence, pictures=one) if is_one else Source(path.name, licence, clips=one)
    # A link to nothing is a picture that cannot be read.
    there = [file for file in sorted(path.rglob("*")) if file.is_file() or (file.is_symlink() and not file.exists())]
    files = [file for file in there if not any(part.startswith(".") for part in file.relative_to(path).parts)]

    def of(suffixes: set[str], *, rule: OriginRule) -> tuple[Origin, ...]:
        return tuple(Origin(file, _origin(file, path, rule)) for file in files if file.suffix.lower() in suffixes)

    def rows(file: Path) -> Rows:
        return Rows(read_pixel_array(str(file)), _origin(file, path, "file"), _origin(file, path, "folder") if origins == "folder" else "")

    read = {*_PICTURE_SUFFIXES, *_CLIP_SUFFIXES, ".npy"}
    source = Source(
        path.resolve().name,
        licence,
        pictures=of(_PICTURE_SUFFIXES, rule=origins),
        clips=of(_CLIP_SUFFIXES, rule=origins),
        arrays=tuple(rows(file) for file in files if file.suffix.lower() == ".npy"),
        unread=tuple(file for file in files if file.suffix.lower() not in read),
    )
    if not (source.pictures or source.clips or source.arrays):
        raise SourceNotFound(f"no pictures ({', '.join(sorted(_PICTURE_SUFFIXES))}), clips or .npy arrays in the folder {path}", hint="name another folder")
    return source


def evenly(things: Sequence[_Thing], n: int) -> Sequence[_Thing]:
    """Return `n` of the things, evenly spread, or all where there are no more."""
    return things if len(things) <= n else [things[round(place)] for place in np.linspace(0, len(things) - 1, n)]


def read_picture_file(path: Path) -> Pixels:
    """Read a picture, uint8[H, W, 3], RGB.

    Raises:
        SourceNotFound: There is none.
        UnsupportedFormat: A TIFF of other numbers than whole ones of 8 or 16 bits: nothing says which of them is white.
        CaptureError: It cannot be read.
        MissingDependency: GStreamer is not installed.
    """
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.suffix.lower() in (".tif", ".tiff") else None
    if stored is not None and stored.dtype not in (np.uint8, np.uint16):
        raise UnsupportedFormat(f"expected whole numbers of 8 or 16 bits, got {stored.dtype}: {path}", hint="write it again as a PNG")
    with open_source(SourceSettings(str(path))) as source:
        (frame,) = source
    return frame.pixels


def _origin(file: Path, folder: Path, rule: OriginRule) -> str:
    relative = file.relative_to(folder.parent) if folder.name else file.relative_to(folder)
    return relative.as_posix() if rule == "file" else relative.parent.as_posix()


def _picture(origin: Origin) -> Seen:
    name = origin.path.name
    try:
        return Seen(read_picture_file(origin.path), origin.name, name, origin.split)
    except CaptureError as error:
        return Seen(None, origin.name, name, problem=str(error.args[0]))


def _frames(origin: Origin, n: int) -> Iterator[Seen]:
    """Frames of a clip, equally spaced in time; what comes before a damaged part counts."""
    try:
        with open_source(SourceSettings(str(origin.path))) as source:
            step_ns = (source.duration_ns or 0) / n
            due_ns, n_taken = 0.0, 0
            for frame in source:
                if frame.t_media_ns >= due_ns and n_taken < n:
                    due_ns, n_taken = due_ns + step_ns, n_taken + 1
                    yield Seen(frame.pixels, origin.name, f"{origin.path.name} frame {frame.seq}", origin.split, origin.path)
    except CaptureError as error:
        yield Seen(None, origin.name, origin.path.name, problem=str(error.args[0]))
