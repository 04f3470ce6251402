"""A running GStreamer pipeline as a source of frames.

Everything happens in the thread that calls `read`, but for the decoding itself and for one pad probe of a few microseconds where the newest frame wins:
it numbers the frames before any is overwritten, so that the gaps are known.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections import deque
from collections.abc import Iterator
from itertools import count
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from edge.capture.pipelines import MICROPHONE, SOUND_DECODER, TAILS, Plan
from edge.capture.pixels import RawLayout, RgbConverter, combined_turn, upright
from edge.capture.sound import SoundBranch
from edge.capture.source import Rotation, SourceSettings, masked
from edge.clock import monotonic_ns
from edge.errors import CaptureError, CaptureTimeout, EdgeError, SourceLost, UnsupportedFormat
from edge.frame import CaptureTimeFrom, Frame, Pixels, Sound
from edge.gst import error_from, load_gst, mapped_bytes, missing_decoder, parse_pipeline

_MS = 1_000_000
_SLICE_NS = 100 * _MS  # the longest wait without a look at signals and errors
_OPENING_NS = 10 * _MS
_LAST_FRAMES_NS = 300 * _MS  # frames that are still being decoded when an error arrives
# A buffer's time counts as the capture time unless its age makes no sense; clocks of drivers jitter by less than this.
_MIN_AGE_NS = -5 * _MS
_MAX_AGE_NS = 60_000 * _MS
_N_NUMBERED = 1024
_FULL_RANGE = 1  # Source: GST_VIDEO_COLOR_RANGE_0_255; its name is no Python name
# Source: the values of GST_TAG_IMAGE_ORIENTATION; `flip` is a mirror after the turn.
_TURNS: dict[str, tuple[Rotation, bool]] = {
    "rotate-0": (0, False),
    "rotate-90": (90, False),
    "rotate-180": (180, False),
    "rotate-270": (270, False),
    "flip-rotate-0": (0, True),
    "flip-rotate-90": (90, True),
    "flip-rotate-180": (180, True),
    "flip-rotate-270": (270, True),
}


class GstSource:
    """Frames of a pipeline.

    Args:
        settings: What was asked for.
        plan: The pipeline.
        n_missing_bytes: Bytes that are missing at the end of a file.

    Raises:
        MissingDependency: An element or a decoder is not installed.
        SourceNotFound: It does not exist.
        UnsupportedFormat: It cannot be read right.
        CaptureTimeout: No frame came within `settings.timeout_s`.
        CaptureError: It cannot be opened.
    """

    def __init__(self, settings: SourceSettings, plan: Plan, *, n_missing_bytes: int = 0) -> None:
        self._gst, _, self._gst_video, _ = load_gst()
        self._timeout_ns = round(settings.timeout_s * 1e9)
        self._n_missing_bytes = n_missing_bytes
        self._failure: Any = None
        self._silent_since_ns: int | None = None
        self._n_read = 0
        self._seq = -1
        self._t_media_ns = -1
        self._origin_ns: int | None = None
        self._arrivals: deque[tuple[int, int]] = deque(maxlen=_N_NUMBERED)
        self._caps: Any = None
        self._sound: SoundBranch | None = None
        self.frame_rate: float | None = None
        self.duration_ns: int | None = None
        pipeline = parse_pipeline(plan.text, where=plan.where, hint=plan.hint)
        # Whatever becomes of this object, the pipeline is stopped: at close, when it is forgotten, or when Python ends.
        self._stop = weakref.finalize(self, pipeline.set_state, self._gst.State.NULL)
        self._pipeline: Any = pipeline
        self._sink: Any = pipeline.get_by_name("frames")
        self._pad: Any = self._sink.get_static_pad("sink")
        self._bus: Any = pipeline.get_bus()
        # The domain of `time.monotonic_ns`, whatever clock a sound card or a network offers.
        clock = self._gst.SystemClock.obtain()
        clock.set_property("clock-type", self._gst.ClockType.MONOTONIC)
        pipeline.use_clock(clock)
        try:
            self._plan = self._start(plan)
            if plan.sound and plan.sound_rate_hz is not None:
                self._sound = SoundBranch(pipeline, rate_hz=plan.sound_rate_hz, may_wait=not self.live)
            self._wait_for_format()
        except BaseException:
            self.close()
            raise
        info = self._gst_video.VideoInfo.new_from_caps(self._pad.get_current_caps())
        self.frame_rate = info.fps_n / info.fps_d if info.fps_n > 0 else None
        known, duration_ns = self._sink.query_duration(self._gst.Format.TIME)
        if known and duration_ns > 0 and self._plan.pace != "newest":
            self.duration_ns = duration_ns

    @property
    def name(self) -> str:
        """Short name for records."""
        return self._plan.name

    @property
    def description(self) -> str:
        """The pipeline, in the syntax of `gst-launch-1.0`; without passwords."""
        return masked(self._plan.text)

    @property
    def live(self) -> bool:
        """True where the newest frame wins."""
        return self._plan.pace != "every"

    def read(self, timeout_s: float) -> Frame | None:
        """Return the next frame, or None when `timeout_s` passed without one.

        Raises:
            EOFError: A file or a finite pipeline ended.
            SourceLost: A camera or stream ended, or a file is damaged or cut off from here on.
            CaptureTimeout: Nothing came for `timeout_s` of the settings.
            UnsupportedFormat: The pictures changed to something that cannot be read right.
            CaptureError: The source failed otherwise, or is closed.
        """
        if not self._stop.alive:
            raise CaptureError(f"{self.name} is closed")
        deadline_ns = monotonic_ns() + round(timeout_s * 1e9)
        while True:
            sample = self._pull(max(0, min(deadline_ns - monotonic_ns(), _SLICE_NS)))
            if sample is not None:
                self._silent_since_ns = None
                return self._frame(sample)
            now_ns = monotonic_ns()
            self._silent_since_ns = self._silent_since_ns or now_ns
            if self._failure is not None or self._sink.is_eos():
                raise self._end()
            if now_ns - self._silent_since_ns > self._timeout_ns:
                raise CaptureTimeout(f"{self._position()}: no frame for {self._timeout_ns / 1e9:g} s", hint="check the cable, the network and the power")
            if now_ns >= deadline_ns:
                return None

    def __iter__(self) -> Iterator[Frame]:
        """Frames until the end."""
        while True:
            try:
                frame = self.read(1.0)
            except EOFError:
                return
            if frame is not None:
                yield frame

    def close(self) -> None:
        """Stop the pipeline and free what it holds.

        Of a V4L2 camera, GStreamer 1.22 itself keeps one descriptor open until the process ends: it unrefs its buffer pool once too seldom.
        """
        self._stop()

    def __enter__(self) -> GstSource:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _start(self, plan: Plan) -> Plan:
        """Set the pipeline going; returns the plan, for only now it is known whether a pipeline of the user's is live."""
        gst = self._gst
        if plan.pace != "every":
            self._number_frames()
        change = self._pipeline.set_state(gst.State.PAUSED)
        if change == gst.StateChangeReturn.NO_PREROLL and plan.pace != "newest":
            if plan.pace == "every":
                self._number_frames()
            plan = dataclasses.replace(plan, pace="newest")
            for name, settings in TAILS["newest"].items():
                element = self._pipeline.get_by_name(name)
                for setting in settings.split() if element is not None else ():
                    gst.util_set_object_arg(element, *setting.split("="))
        if change != gst.StateChangeReturn.FAILURE:
            self._pipeline.set_state(gst.State.PLAYING)
        return plan

    def _number_frames(self) -> None:
        arrivals, numbers, keep = self._arrivals, count(), self._gst.PadProbeReturn.OK

        def number(_pad: Any, info: Any) -> Any:
            arrivals.append((next(numbers), info.get_buffer().pts))
            return keep

        self._pipeline.get_by_name("waiting").get_static_pad("sink").add_probe(self._gst.PadProbeType.BUFFER, number)

    def _wait_for_format(self) -> None:
        """Wait until a first frame has come, or is about to where none is kept; by then everything that can be missing has been found missing."""
        kinds = self._gst.MessageType
        deadline_ns = monotonic_ns() + self._timeout_ns
        missing: list[tuple[str, str]] = []
        while not (self._plan.pace == "newest" and self._pad.has_current_caps()):
            message = self._bus.timed_pop_filtered(_OPENING_NS, kinds.ERROR | kinds.EOS | kinds.ASYNC_DONE | kinds.ELEMENT)
            if message is not None and message.type == kinds.ERROR:
                raise self._error(message)
            if message is not None and message.type == kinds.ELEMENT:
                missing += filter(None, [missing_decoder(message)])
            elif message is not None:
                break
            if self._sound is not None:
                self._sound.check(missing, where=self._plan.where, opened=False)
                self._sound.make_room()
            if monotonic_ns() > deadline_ns:
                hint = "check address, power and cable; a file may be damaged"
                raise CaptureTimeout(f"{self._plan.where}: no picture within {self._timeout_ns / 1e9:g} s", hint=hint)
        if self._sound is not None:
            self._sound.check(missing, where=self._plan.where, opened=True)
        if self._sink.is_eos():
            raise self._end()

    def _pull(self, wait_ns: int) -> Any:
        sample = self._sink.try_pull_sample(wait_ns)
        # Also empties the bus, which would grow for as long as the source runs.
        message = self._bus.pop_filtered(self._gst.MessageType.ERROR)
        self._failure = self._failure or message
        if sample is None and self._sound is not None:
            self._sound.make_room()
        if sample is None and self._failure is not None and not self._sink.is_eos():
            sample = self._sink.try_pull_sample(_LAST_FRAMES_NS)
        return sample

    def _end(self) -> Exception:
        if self._failure is not None:
            return self._error(self._failure)
        if not self._n_read:
            return UnsupportedFormat(
                f"{self._plan.where} ended before its first picture", hint="`gst-discoverer-1.0 FILE` shows what a file holds, or that it is damaged"
            )
        if self._plan.endless and self._plan.pace == "newest":
            return SourceLost(f"{self._position()}: the stream ended", hint="check the camera or server; a stream has no end of its own")
        if self._n_missing_bytes:
            return SourceLost(f"{self._position()}: the rest was cut off ({self._n_missing_bytes} bytes are missing)", hint="copy or record the file again")
        return EOFError(f"{self.name} ended")

    def _error(self, message: Any) -> EdgeError:
        where, culprit = self._position(), message.src
        if culprit.get_name() == MICROPHONE:
            where = f"the microphone {culprit.get_property('device')}"
        elif culprit.get_name() == SOUND_DECODER:
            where = f"the sound of {where}"
        return error_from(message, where=where, lost=self._n_read > 0, of_sound=where != self._position())

    def _position(self) -> str:
        return f"{self._plan.where} after {self._n_read} frames, at {self._t_media_ns / 1e9:.3f} s" if self._n_read else self._plan.where

    def _frame(self, sample: Any) -> Frame:
        arrival_ns = monotonic_ns()
        caps, buffer = sample.get_caps(), sample.get_buffer()
        if self._caps is None or hash(caps) != hash(self._caps):
            self._follow(caps)
        running_ns: int | None = None
        if buffer.pts != self._gst.CLOCK_TIME_NONE:
            running_ns = sample.get_segment().to_running_time(self._gst.Format.TIME, buffer.pts)
        pixels = self._rgb(buffer)
        pixels.flags.writeable = False
        t_capture_ns, t_capture_from = self._capture_time(running_ns, arrival_ns)
        previous_seq, self._seq = self._seq, self._number(buffer.pts)
        self._t_media_ns = self._media_time(running_ns)
        self._n_read += 1
        return Frame(
            seq=self._seq,
            source=self.name,
            pixels=pixels,
            t_media_ns=self._t_media_ns,
            t_capture_ns=t_capture_ns,
            t_capture_from=t_capture_from,
            paced=self.live,
            dropped=self._seq - previous_seq - 1,
            sound=self._heard(),
        )

    def _heard(self) -> Sound | None:
        if self._sound is None:
            return None
        return self._sound.take(self._t_media_ns, origin_ns=self._origin_ns or 0, failing=self._failure is not None)

    def _follow(self, caps: Any) -> None:
        """Take over a format, at the start or when it changes on the way; frames then simply have another size."""
        info = self._gst_video.VideoInfo.new_from_caps(caps)
        where = self._position()
        if info.interlace_mode != self._gst_video.VideoInterlaceMode.PROGRESSIVE:
            raise UnsupportedFormat(f"{where}: its pictures are interlaced ({info.finfo.name})", hint="gst:... ! deinterlace makes whole pictures of them")
        _, red, blue = self._gst_video.video_color_matrix_get_Kr_Kb(info.colorimetry.matrix)
        self._layout = RawLayout(
            pixel_format=info.finfo.name,
            width_px=info.width,
            height_px=info.height,
            strides=tuple(info.stride),
            offsets=tuple(info.offset),
            luma_weights=(red, blue),
            full_range=int(info.colorimetry.range) == _FULL_RANGE,
        )
        self._converter = RgbConverter(self._layout)
        self.frame_rate = info.fps_n / info.fps_d if info.fps_n > 0 else None
        self._square_px = (round(info.width * info.par_n / info.par_d), info.height)
        self._turn = combined_turn(self._tagged_turn(), (self._plan.rotate_deg, self._plan.mirror))
        self._caps = caps  # kept, so that no other caps can come to lie at its address

    def _tagged_turn(self) -> tuple[Rotation, bool]:
        """The turn that the file asks for. Read from the tag and done on RGB: `videoflip` takes as long and hides it from the log."""
        index = 0
        while (event := self._pad.get_sticky_event(self._gst.EventType.TAG, index)) is not None:
            found, orientation = event.parse_tag().get_string("image-orientation")
            if found:
                return _TURNS[orientation]
            index += 1
        return 0, False

    def _rgb(self, buffer: Any) -> Pixels:
        meta = self._gst_video.buffer_get_video_meta(buffer)
        if meta is not None and (tuple(meta.stride), tuple(meta.offset)) != (self._layout.strides, self._layout.offsets):
            self._layout = dataclasses.replace(self._layout, strides=tuple(meta.stride), offsets=tuple(meta.offset))
            self._converter = RgbConverter(self._layout)
        with mapped_bytes(buffer) as memory:
            rgb = self._converter(memory)
        if self._square_px[0] != rgb.shape[1]:
            rgb = np.asarray(cv2.resize(rgb, self._square_px, interpolation=cv2.INTER_LINEAR), np.uint8)
        return upright(rgb, rotate_deg=self._turn[0], mirror=self._turn[1])

    def _capture_time(self, running_ns: int | None, arrival_ns: int) -> tuple[int, CaptureTimeFrom]:
        if self.live and running_ns is not None:
            taken_ns = self._pipeline.get_base_time() + running_ns
            if _MIN_AGE_NS <= arrival_ns - taken_ns <= _MAX_AGE_NS:
                return taken_ns, "buffer"
        return arrival_ns, "arrival"

    def _number(self, pts: int) -> int:
        number = 0
        while self._arrivals and self._arrivals[0][1] <= pts:
            number = self._arrivals.popleft()[0]
        return max(number, self._seq + 1)

    def _media_time(self, running_ns: int | None) -> int:
        if running_ns is None and self.frame_rate is None:
            raise UnsupportedFormat(f"{self._position()}: neither the frames have times nor the stream a frame rate", hint="gst:... ! videorate gives it one")
        expected_ns = self._t_media_ns + round(1e9 / self.frame_rate) if self._n_read and self.frame_rate else self._t_media_ns + 1
        if running_ns is None:
            return expected_ns
        if self._origin_ns is None:
            self._origin_ns = running_ns - expected_ns
        return max(running_ns - self._origin_ns, self._t_media_ns + 1)
