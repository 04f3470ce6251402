"""Data that a set must not know: what accuracy is measured on. Told by its pixels, and by likeness where it was encoded again, scaled or mirrored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calibration.lookalikes import THUMBNAIL_PX, Thumbnail, looks_like_one_of, thumbnail
from calibration.set_file import CalibrationSet, pixels_sha256, read_picture
from calibration.sources import Say, Source, open_sources, read_picture_file
from edge.capture import SourceSettings, open_source
from edge.errors import CaptureError
from edge.frame import Pixels
from edge.package import file_sha256

# A thumbnail with less deviation than this shows nothing, as a clip that begins in black: it is like all others of its kind.
_PLAIN = 3.0


@dataclass(frozen=True)
class Exclusion:
    """What must not be in a set.

    Attributes:
        hashes: Of the pixels of each picture, row and frame, and of each clip's file.
        thumbnails: float32[N, 256], of each picture, row and frame that shows something.
        digests: Name of each excluded file or folder, and the hash of its hashes.
    """

    hashes: frozenset[str]
    thumbnails: Thumbnail
    digests: Mapping[str, str]

    def shows(self, rgb: Pixels) -> bool:
        """Return whether a picture, uint8[H, W, 3], or its mirror image looks the same as something excluded."""
        one = thumbnail(rgb)
        return not _is_plain(one) and looks_like_one_of(one, self.thumbnails)

    def is_in_clip(self, path: Path) -> bool:
        """Return whether any frame of a clip looks the same as something excluded; what comes after a damaged part cannot be seen by anybody."""
        try:
            with open_source(SourceSettings(str(path))) as frames:
                return any(self.shows(frame.pixels) for frame in frames)
        except CaptureError:
            return False


def read_exclusion(texts: Sequence[str], *, say: Say) -> Exclusion:
    """Look at every picture, every row of an array and every frame of a clip.

    Args:
        texts: Files and folders, as in `calibration.sources.open_sources`.
        say: Takes a line for each.

    Raises:
        SourceNotFound: There is nothing at such a path.
        ConfigError: An array cannot be read.
        CaptureError: A picture or clip cannot be read: nobody could say that the set is disjoint from it.
    """
    hashes: set[str] = set()
    thumbnails: list[Thumbnail] = []
    digests = {}
    for text in texts:
        source = open_sources(text, licence="", origins="file")
        own: set[str] = set()
        for rgb in _pictures(source):
            own.add(pixels_sha256(rgb))
            thumbnails.append(thumbnail(rgb))
        own |= {file_sha256(clip.path) for clip in source.clips}
        say(f"excluded: {len(own)} pictures of {text}")
        if line := source.unread_line():
            say(line)
        name = Path(text).name
        digests[name if name not in digests else text] = hashlib.sha256("\n".join(sorted(own)).encode()).hexdigest()
        hashes |= own
    shown = [each for each in thumbnails if not _is_plain(each)]
    return Exclusion(frozenset(hashes), np.array(shown, np.float32).reshape(-1, THUMBNAIL_PX**2), digests)


def shared_with(found: CalibrationSet, exclusion: Exclusion) -> list[str]:
    """Return the files of a set that are, look like or were cut from something excluded, or have a frame of it.

    A picture that was cut from a copy with other pixels is not told from another: of what a picture was cut from the set holds the hash alone.
    """
    if not exclusion.hashes:
        return []
    items = [
        item.file
        for item in found.manifest.items
        if exclusion.hashes & {item.pixels_sha256, item.source_sha256} or exclusion.shows(read_picture(found.path / item.file))
    ]
    return items + [clip.file for clip in found.manifest.clips if clip.sha256 in exclusion.hashes or exclusion.is_in_clip(found.path / clip.file)]


def _pictures(source: Source) -> Iterator[Pixels]:
    for array in (rows.array for rows in source.arrays):
        yield from (array.picture(row) for row in array.rows.tolist())
    yield from (read_picture_file(origin.path) for origin in source.pictures)
    for clip in source.clips:
        with open_source(SourceSettings(str(clip.path))) as frames:
            yield from (frame.pixels for frame in frames)


def _is_plain(one: Thumbnail) -> bool:
    return float((one**2).mean()) < _PLAIN**2
