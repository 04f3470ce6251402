"""Drawn pictures into a GStreamer pipeline: what the window and the video file share."""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np

from edge.errors import ConfigError, OutputError
from edge.frame import Pixels
from edge.gst import load_gst, parse_pipeline

_N_QUEUED = 3  # enough to keep an encoder busy, little enough to be seen soon
_POLL_NS = 5_000_000
_FULL_NS = 20_000_000_000  # an element that takes nothing for so long has hung
_END_NS = 30_000_000_000  # a file of an hour is finished within this


class WindowClosed(Exception):
    """The user closed the window: the run should end, and nothing is wrong."""


class PictureStream:
    """An `appsrc` and what comes after it. All methods belong to one thread.

    Args:
        tail: The pipeline after the source, as text.
        pixel_format: What the tail takes; `I420` is converted here, at a quarter of what `videoconvert` costs.
        what: What it is, for messages, such as `the window`.

    Raises:
        MissingDependency: GStreamer or one of its elements is not there.
        ConfigError: An element cannot be started, for example because the display cannot be opened.
    """

    def __init__(self, tail: str, *, pixel_format: Literal["RGB", "I420"], what: str) -> None:
        self._gst = load_gst().Gst
        self._what = what
        self._format = pixel_format
        self._size_wh_px: tuple[int, int] | None = None
        self._last_ns = -1
        self._pipeline: Any = parse_pipeline(f"appsrc name=pictures format=time block=false max-bytes=0 ! {tail}", where=what)
        self._source: Any = self._pipeline.get_by_name("pictures")
        self._bus: Any = self._pipeline.get_bus()
        # READY opens displays and devices, so that a dead one is found before anything runs.
        if self._pipeline.set_state(self._gst.State.READY) == self._gst.StateChangeReturn.FAILURE:
            message = self._bus.timed_pop_filtered(0, self._gst.MessageType.ERROR)
            reason = message.parse_error()[0].message if message is not None else "it did not say why"
            self.close()
            raise ConfigError(f"{what} cannot be opened: {reason}", hint=f"pipeline: {tail}")

    def push(self, pixels: Pixels, t_media_ns: int) -> None:
        """Hand over a picture; waits while the pipeline is busy.

        Args:
            pixels: uint8[H, W, 3], RGB, W a multiple of 8 and H even, as `edge.view.draw.draw` returns them. One of
                another size than the first is scaled to it.
            t_media_ns: When it is shown; a time that does not grow is moved on by a microsecond.

        Raises:
            WindowClosed: The user closed the window.
            OutputError: The pipeline failed or hangs.
        """
        size = (pixels.shape[1], pixels.shape[0])
        if self._size_wh_px is None:
            self._start(size)
        elif size != self._size_wh_px:
            pixels = np.asarray(cv2.resize(pixels, self._size_wh_px, interpolation=cv2.INTER_AREA), np.uint8)
        self._wait_for_room()
        t_ns = max(t_media_ns, self._last_ns + 1000)
        raw = cv2.cvtColor(pixels, cv2.COLOR_RGB2YUV_I420) if self._format == "I420" else pixels
        buffer = self._gst.Buffer.new_wrapped(np.ascontiguousarray(raw).tobytes())
        buffer.pts = t_ns
        if self._last_ns >= 0:
            buffer.duration = t_ns - self._last_ns
        self._last_ns = t_ns
        self._source.push_buffer(buffer)
        self._raise_failure(0)

    def finish(self) -> None:
        """End the stream and wait until everything has been written.

        Raises:
            WindowClosed: The user closed the window.
            OutputError: The pipeline failed or hangs.
        """
        if self._size_wh_px is None:
            return
        self._source.end_of_stream()
        if not self._raise_failure(_END_NS):
            raise OutputError(f"{self._what} did not end within {_END_NS / 1e9:.0f} s", hint="GST_DEBUG=3 edge-run ... says more")

    def close(self) -> None:
        """Stop the pipeline, whatever it is doing. Closing twice is allowed."""
        self._pipeline.set_state(self._gst.State.NULL)

    def _start(self, size_wh_px: tuple[int, int]) -> None:
        width, height = size_wh_px
        # The frame rate is nominal: times are those of the buffers. Without one x264enc gives the last frame no duration, and players leave it out.
        # OpenCV's I420 is BT.601 with limited range; without the caps saying so a player would guess by the size of the picture.
        colorimetry = ",colorimetry=bt601" if self._format == "I420" else ""
        caps = f"video/x-raw,format={self._format},width={width},height={height},framerate=30/1,pixel-aspect-ratio=1/1{colorimetry}"
        self._source.set_property("caps", self._gst.Caps.from_string(caps))
        self._size_wh_px = size_wh_px
        self._pipeline.set_state(self._gst.State.PLAYING)
        self._raise_failure(0)

    def _wait_for_room(self) -> None:
        assert self._size_wh_px is not None
        width, height = self._size_wh_px
        frame_bytes = width * height * 3 // (2 if self._format == "I420" else 1)
        waited_ns = 0
        # Polled, not `block=true`: a push that blocks in a pipeline that has failed never comes back.
        while self._source.get_property("current-level-bytes") >= _N_QUEUED * frame_bytes:
            self._raise_failure(_POLL_NS)
            waited_ns += _POLL_NS
            if waited_ns >= _FULL_NS:
                raise OutputError(f"{self._what} has taken no picture for {_FULL_NS / 1e9:.0f} s", hint="GST_DEBUG=3 edge-run ... says more")

    def _raise_failure(self, wait_ns: int) -> bool:
        """Raise what the bus reports within the time; True where it reports the end of the stream."""
        message = self._bus.timed_pop_filtered(wait_ns, self._gst.MessageType.ERROR | self._gst.MessageType.EOS)
        if message is None:
            return False
        if message.type == self._gst.MessageType.EOS:
            return True
        error, _ = message.parse_error()
        if "closed" in error.message.lower() or "quit requested" in error.message.lower():
            raise WindowClosed(error.message)
        raise OutputError(f"{self._what} failed: {error.message}", hint="GST_DEBUG=3 edge-run ... says more")
