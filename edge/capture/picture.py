"""A picture file as a source of one frame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from edge.capture.pixels import upright
from edge.capture.source import SourceSettings
from edge.clock import monotonic_ns
from edge.errors import CaptureError, UnsupportedFormat
from edge.frame import Frame, Pixels


class PictureSource:
    """One frame, upright by its EXIF orientation; transparency is ignored, 16 bits become 8.

    Raises:
        UnsupportedFormat: It is damaged.
    """

    live = False
    duration_ns = None
    frame_rate = None

    def __init__(self, settings: SourceSettings) -> None:
        path = Path(settings.uri)
        self.name = path.name
        self.description = f"picture {path}"
        encoded = path.read_bytes()
        if encoded.startswith(b"\xff\xd8") and b"\xff\xd9" not in encoded[encoded.rfind(b"\xff\xda") :]:
            # libjpeg paints the missing part gray and says so on stderr only.
            raise UnsupportedFormat(f"the JPEG has no end: it was cut off: {path}", hint="copy it again")
        bgr = _decoded(encoded)
        if bgr is None:
            raise UnsupportedFormat(f"the picture is damaged, or of a kind that OpenCV does not read: {path}", hint="copy it again, or convert it to PNG")
        rgb = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
        self._pixels = upright(rgb, rotate_deg=settings.rotate_deg, mirror=settings.mirror)
        self._pixels.flags.writeable = False
        self._n_read = 0
        self._closed = False

    def read(self, timeout_s: float) -> Frame:  # noqa: ARG002 - a picture is there at once
        """Return the picture, once.

        Args:
            timeout_s: Not needed.

        Raises:
            EOFError: It was read already.
            CaptureError: The source is closed.
        """
        if self._closed:
            raise CaptureError(f"{self.name} is closed")
        if self._n_read:
            raise EOFError(f"{self.name} is one picture")
        self._n_read = 1
        return Frame(seq=0, source=self.name, pixels=self._pixels, t_media_ns=0, t_capture_ns=monotonic_ns(), t_capture_from="arrival", paced=False)

    def __iter__(self) -> Iterator[Frame]:
        """The picture."""
        if not self._n_read:
            yield self.read(0.0)

    def close(self) -> None:
        """Nothing is held."""
        self._closed = True

    def __enter__(self) -> PictureSource:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _decoded(encoded: bytes) -> Pixels | None:
    """uint8[H, W, 3] in OpenCV's order, upright. OpenCV's own complaints about damaged files stay off the terminal."""
    level = cv2.getLogLevel()
    cv2.setLogLevel(0)
    try:
        bgr = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    finally:
        cv2.setLogLevel(level)
    return None if bgr is None else np.asarray(bgr, np.uint8)
