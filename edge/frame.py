"""A picture, its two times, and the sound that came with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Samples = NDArray[np.int16]
CaptureTimeFrom = Literal["buffer", "arrival"]


@dataclass(frozen=True, slots=True)
class Sound:
    """A piece of a source's sound.

    Attributes:
        samples: int16[n], one channel, read-only.
        rate_hz: Samples a second.
        t_media_ns: Media time of the first sample, in the same time as the frames'.
    """

    samples: Samples
    rate_hz: int
    t_media_ns: int


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a source, upright, in RGB.

    Attributes:
        seq: Number of the frame in its source, from 0; for a live source overwritten frames have numbers too, so gaps show.
        source: Name of the source, such as `camera-0` or the file's name.
        pixels: uint8[H, W, 3], RGB, C-contiguous, read-only and owned by the frame: it may be kept.
        t_media_ns: Position in the source's own time, from 0. Tracking and smoothing use this and nothing else.
        t_capture_ns: CLOCK_MONOTONIC, when the picture was taken (`buffer`) or reached us (`arrival`).
        t_capture_from: Whose time `t_capture_ns` is.
        paced: True where frames come at the speed of life (cameras, streams, `--realtime`), so that an age has a meaning.
        dropped: Frames of this source that were overwritten since the previous Frame.
        sound: What was heard since the previous Frame, without a gap, up to this one's media time where the source has come that far; what follows a gap comes
            with the next Frame. None where there was none: the source has no sound, or none for this time, or none was asked for.
    """

    seq: int
    source: str
    pixels: Pixels
    t_media_ns: int
    t_capture_ns: int
    t_capture_from: CaptureTimeFrom
    paced: bool
    dropped: int = 0
    sound: Sound | None = None

    @property
    def height_px(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def width_px(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])
