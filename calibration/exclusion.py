"""Data that a set must not know: what accuracy is measured on. Told by the hash of pixels, whatever the file that holds them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from calibration.pixel_arrays import read_pixel_array
from calibration.set_file import SetManifest, pixels_sha256
from calibration.sources import Say, Source, open_sources
from edge.capture import SourceSettings, open_source
from edge.package import file_sha256


@dataclass(frozen=True)
class Exclusion:
    """Hashes of what must not be in a set.

    Attributes:
        hashes: Of the pixels of each picture, row and frame, and of each clip's file.
        digests: Name of each excluded file or folder, and the hash of its hashes.
    """

    hashes: frozenset[str]
    digests: Mapping[str, str]


def read_exclusion(texts: Sequence[str], *, say: Say) -> Exclusion:
    """Hash every picture, every row of an array and every frame of a clip.

    Args:
        texts: Files and folders, as in `calibration.sources.open_sources`.
        say: Takes a line for each.

    Raises:
        SourceNotFound: There is nothing at such a path.
        ConfigError: An array cannot be read.
        CaptureError: A picture or clip cannot be read: nobody could say that the set is disjoint from it.
    """
    hashes: set[str] = set()
    digests = {}
    for text in texts:
        source = open_sources(text, licence="", origins="file")
        own = _hashes(source)
        say(f"excluded: {len(own)} pictures of {text}")
        if line := source.unread_line():
            say(line)
        name = Path(text).name
        digests[name if name not in digests else text] = hashlib.sha256("\n".join(sorted(own)).encode()).hexdigest()
        hashes |= own
    return Exclusion(frozenset(hashes), digests)


def shared_with(manifest: SetManifest, exclusion: Exclusion) -> list[str]:
    """Return the files of a set that are, or were cut from, something excluded."""
    items = [item.file for item in manifest.items if exclusion.hashes & {item.pixels_sha256, item.source_sha256}]
    return items + [clip.file for clip in manifest.clips if clip.sha256 in exclusion.hashes]


def _hashes(source: Source) -> set[str]:
    hashes: set[str] = set()
    for array in (read_pixel_array(each) for each in source.arrays):
        hashes |= {pixels_sha256(array.picture(row)) for row in array.rows.tolist()}
    for origin in (*source.pictures, *source.clips):
        with open_source(SourceSettings(str(origin.path))) as frames:
            hashes |= {pixels_sha256(frame.pixels) for frame in frames}
    return hashes | {file_sha256(clip.path) for clip in source.clips}
