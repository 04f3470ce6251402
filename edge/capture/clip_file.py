"""What a file can be refused for before GStreamer sees it, which reports some of it late, wrongly or never."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

from edge.errors import CaptureError, SourceNotFound, UnsupportedFormat

_PICTURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\x00", b"MM\x00*")
_MP4_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"}
_EBML = b"\x1a\x45\xdf\xa3"


def check_file(path: Path) -> None:
    """Check that there is a file that can be read and holds something.

    Raises:
        SourceNotFound: There is none.
        CaptureError: It is a directory, or this user may not read it.
        UnsupportedFormat: It is empty.
    """
    try:
        path.stat()
    except OSError as error:
        raise SourceNotFound(f"no such file: {path} ({error.strerror})", hint="expected a clip, a picture, camera:N, rtsp://... or gst:PIPELINE") from error
    if path.is_dir():
        raise CaptureError(f"expected a clip or picture, got a directory: {path}")
    if not os.access(path, os.R_OK):
        raise CaptureError(f"this user may not read {path}", hint=f"chmod a+r {path}")
    if path.is_file() and path.stat().st_size == 0:
        raise UnsupportedFormat(f"the file is empty: {path}")


def is_picture(path: Path) -> bool:
    """Tell whether a file is a JPEG, PNG, WebP, BMP or TIFF by its first bytes; a stream of JPEGs (.mjpeg) is a clip."""
    with path.open("rb") as file:
        start = file.read(12)
    webp = start[:4] == b"RIFF" and start[8:12] == b"WEBP"
    return (webp or start.startswith(_PICTURES)) and path.suffix.lower() not in (".mjpg", ".mjpeg")


def missing_bytes(path: Path) -> int:
    """Return how many bytes of a clip were cut off, 0 where none are missing or the container does not tell.

    GStreamer plays what is left of a file and then reports an ordinary end.

    Raises:
        UnsupportedFormat: An MP4 or MOV without its index, which cannot be played.

    Source: ISO/IEC 14496-12 section 4.2 (MP4), RFC 8794 section 4 (Matroska), the RIFF size field (AVI).
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(12)
        if start[4:8] in _MP4_BOXES:
            end, has_index = _mp4_end(file, size)
            if not has_index:
                cut = f": {end - size} bytes were cut off" if end > size else ""
                raise UnsupportedFormat(f"the clip has no index (moov) and cannot be played{cut}: {path}", hint="copy or record it again")
        elif start[:4] == _EBML:
            end = _matroska_end(file, size)
        elif start[:4] == b"RIFF" and start[8:12] == b"AVI ":
            end = 8 + struct.unpack("<I", start[4:8])[0]
        else:
            end = size
    return max(0, end - size)


def _mp4_end(file: BinaryIO, size: int) -> tuple[int, bool]:
    at, has_index = 0, False
    while at + 8 <= size:
        file.seek(at)
        length, kind, long_length = struct.unpack(">I4sQ", file.read(16).ljust(16, b"\0"))
        has_index |= kind == b"moov"
        if length == 0:  # up to the end of the file
            return size, has_index
        if length == 1:
            length = long_length
        if length < 8:
            return at, has_index
        at += length
    return at, has_index


def _matroska_end(file: BinaryIO, size: int) -> int:
    """End of the first segment; `size` where it was left open, as live recorders do."""
    file.seek(4)
    header = _vint(file)
    file.seek(header or 0, os.SEEK_CUR)
    if file.read(4) != b"\x18\x53\x80\x67":
        return size
    segment = _vint(file)
    return size if segment is None else file.tell() + segment


def _vint(file: BinaryIO) -> int | None:
    """A number of variable length; None where all of its bits are set, which stands for unknown, or where it is none."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    length = 9 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & ((1 << (8 - length)) - 1)]) + file.read(length - 1), "big")
    return None if value == (1 << (7 * length)) - 1 else value
