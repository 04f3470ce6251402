"""What a set is made from: every picture, row of an array and chosen frame of a clip, one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from calibration.pixel_arrays import names_an_array, path_of, read_pixel_array
from calibration.set_file import Split
from edge.capture import SourceSettings, open_source
from edge.capture.clip_file import is_picture
from edge.errors import CaptureError, SourceNotFound
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
class Source:
    """One of the things that a set is made from; each gives an equal share of the set where it can.

    Attributes:
        name: As the user wrote it, without the folder that it lies in.
        licence: As the user stated it; empty where nothing was stated.
        pictures: Picture files.
        clips: Clip files.
        arrays: NumPy files with key and rows, each row an origin of its own.
        unread: Files of a folder that are none of these.
        made: Makes pictures that lie in no file of their own.
    """

    name: str
    licence: str
    pictures: tuple[Origin, ...] = ()
    clips: tuple[Origin, ...] = ()
    arrays: tuple[str, ...] = ()
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
            ConfigError: An array cannot be read.
            MissingDependency: GStreamer cannot read clips here.
        """
        if self.made is not None:
            yield from self.made()
        kinds = bool(self.pictures) + bool(self.clips) + bool(self.arrays)
        for origin in evenly(self.pictures, n // max(1, kinds)):
            yield _picture(origin)
        for origin in self.clips:
            yield from _frames(origin, min(_FRAMES_OF_A_CLIP, max(1, n // kinds // len(self.clips))))
        for text in self.arrays:
            array = read_pixel_array(text)
            for row in evenly(array.rows.tolist(), max(1, n // kinds // len(self.arrays))):
                yield Seen(array.picture(row), f"{array.name} row {row}", f"{array.name} row {row}")


def open_sources(text: str, *, licence: str, origins: OriginRule) -> Source:
    """Find what a user's SOURCE names: a folder (searched with all its sub-folders), a picture, a clip or a NumPy file.

    Args:
        text: A path; of a NumPy file with key and rows where need be.
        licence: What the user says of it.
        origins: `file`: each picture is an origin of its own; `folder`: those of one folder belong together, as pictures of one person do.

    Raises:
        SourceNotFound: There is nothing at that path, or nothing in that folder that pictures can be read from.
    """
    path = path_of(text) if names_an_array(text) else Path(text)
    if not path.exists():
        raise SourceNotFound(f"no such file or folder: {path}", hint="a source is a folder, a picture, a clip, an array (.npy, .npz) or `default`")
    if names_an_array(text):
        return Source(Path(text).name, licence, arrays=(text,))
    if path.is_file():
        one = (Origin(path, path.name),)
        is_one = path.suffix.lower() in _PICTURE_SUFFIXES or is_picture(path)
        return Source(path.name, licence, pictures=one) if is_one else Source(path.name, licence, clips=one)
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)]

    def of(suffixes: set[str], *, rule: OriginRule) -> tuple[Origin, ...]:
        return tuple(Origin(file, _origin(file, path, rule)) for file in files if file.suffix.lower() in suffixes)

    read = {*_PICTURE_SUFFIXES, *_CLIP_SUFFIXES, ".npy"}
    source = Source(
        path.resolve().name,
        licence,
        pictures=of(_PICTURE_SUFFIXES, rule=origins),
        clips=of(_CLIP_SUFFIXES, rule=origins),
        arrays=tuple(str(file) for file in files if file.suffix.lower() == ".npy"),
        unread=tuple(file for file in files if file.suffix.lower() not in read),
    )
    if not (source.pictures or source.clips or source.arrays):
        raise SourceNotFound(f"no pictures ({', '.join(sorted(_PICTURE_SUFFIXES))}), clips or .npy arrays in the folder {path}", hint="name another folder")
    return source


def evenly(things: Sequence[_Thing], n: int) -> Sequence[_Thing]:
    """Return `n` of the things, evenly spread, or all where there are no more."""
    return things if len(things) <= n else [things[round(place)] for place in np.linspace(0, len(things) - 1, n)]


def _origin(file: Path, folder: Path, rule: OriginRule) -> str:
    relative = file.relative_to(folder.parent) if folder.name else file.relative_to(folder)
    return relative.as_posix() if rule == "file" else relative.parent.as_posix()


def _picture(origin: Origin) -> Seen:
    name = origin.path.name
    try:
        with open_source(SourceSettings(str(origin.path))) as source:
            (frame,) = source
    except CaptureError as error:
        return Seen(None, origin.name, name, problem=str(error.args[0]))
    return Seen(frame.pixels, origin.name, name, origin.split)


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
