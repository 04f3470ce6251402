"""What a source of frames is, and what can be asked of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol

from edge.frame import Frame

Rotation = Literal[0, 90, 180, 270]


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """How to open a source.

    Attributes:
        uri: `camera:N`, `camera:/dev/videoN`, `camera:csi[N]`, a path of a clip or picture, `rtsp://...`, or `gst:PIPELINE`.
        size_px: (width, height) asked of a camera; None takes what it offers.
        fps: Rate asked of a camera; None takes what it offers.
        pixel_format: Camera format such as `MJPG`, `YUY2`, `NV12`; None chooses.
        rotate_deg: Clockwise turn that brings the picture upright, on top of the file's own rotation tag.
        mirror: Flip left and right, after the rotation.
        realtime: Play a file at its own speed, newest frame wins; cameras and streams always are.
        sound_rate_hz: Bring the sound to one channel at this rate and hand it out with the frames; None leaves it alone.
        microphone: Where a camera's sound comes from: `default`, or another ALSA device such as `hw:1`; None for no sound. Files and streams bring their
            own, and so does a `gst:PIPELINE` with a branch that ends in an element named `sound`.
        timeout_s: Silence after which a live source counts as lost, and the longest wait for any source's first frame.
    """

    uri: str
    size_px: tuple[int, int] | None = None
    fps: float | None = None
    pixel_format: str | None = None
    rotate_deg: Rotation = 0
    mirror: bool = False
    realtime: bool = False
    sound_rate_hz: int | None = None
    microphone: str | None = None
    timeout_s: float = 10.0


def masked(text: str) -> str:
    """Return an address or a pipeline's text without its passwords, for logs, messages and records."""
    text = re.sub(r"//[^/@\s]*@", "//***@", text)
    return re.sub(r"\b((?:\w+-)?(?:pw|password|passwd))=(\"[^\"]*\"|\S+)", r"\1=***", text)


class Source(Protocol):
    """Frames, one at a time. Iterating opens nothing: an opened source is running. Closing twice is allowed; reading after closing raises `CaptureError`."""

    @property
    def name(self) -> str:
        """Short name for records, such as `camera-0`."""
        ...

    @property
    def description(self) -> str:
        """How the frames are got, for the log: for GStreamer the chosen pipeline in the syntax of `gst-launch-1.0`, without passwords."""
        ...

    @property
    def live(self) -> bool:
        """True where the newest frame wins; False where every frame comes, in order."""
        ...

    @property
    def duration_ns(self) -> int | None:
        """Length in media time, None where unknown."""
        ...

    @property
    def frame_rate(self) -> float | None:
        """Nominal frames a second, None where unknown or variable."""
        ...

    def read(self, timeout_s: float) -> Frame | None:
        """Return the next frame, or None when `timeout_s` passed without one.

        Raises:
            EOFError: The source ended, cleanly.
            CaptureError: It failed.
        """
        ...

    def __iter__(self) -> Iterator[Frame]:
        """Frames until the end."""
        ...

    def close(self) -> None:
        """Stop and free everything."""
        ...

    def __enter__(self) -> Source: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...
