"""The sound branch of a running pipeline: its samples in order, each once, with their times."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from edge.errors import UnsupportedFormat
from edge.frame import Samples, Sound
from edge.gst import load_gst, mapped_bytes, no_decoder

_S = 1_000_000_000
# Containers round times, to a millisecond and more, and clocks drift against each other: up to here samples are counted, beyond it their times count. What is
# a gap is decided here alone: a `Sound` that does not begin at the sample where the last one ended comes after a gap.
# Source: the default of `alignment-threshold` of GStreamer's audio sinks.
_JITTER_NS = _S // 25
# How long a picture of a file waits for sound that lies so far behind it in the file that the demuxer does not get there.
_PATIENCE_NS = 2 * _S
# What is taken in of a file whose sound comes long before its pictures, or of a user's pipeline that makes sound without end.
_ROOM_NS = 600 * _S
# What is kept of a live source whose times jump more often than it has pictures.
_BACKLOG_NS = 10 * _S


class _Piece(NamedTuple):
    start_ns: int
    samples: Samples
    follows: bool  # where the one before it ended


class SoundBranch:
    """Takes what was heard up to a time from `samples`, the appsink at the end of a sound branch.

    Args:
        pipeline: Gst.Pipeline with the elements `hearing` and `samples`, and, where it reads a file, the decodebin `decoder`.
        rate_hz: Rate that `samples` asks for.
        may_wait: Wait for sound that is still being decoded: of a file, not of a live source.
    """

    def __init__(self, pipeline: Any, *, rate_hz: int, may_wait: bool) -> None:
        gst = load_gst().Gst
        self._no_time, self._time_format = gst.CLOCK_TIME_NONE, gst.Format.TIME
        self._sink: Any = pipeline.get_by_name("samples")
        self._entry: Any = pipeline.get_by_name("hearing").get_static_pad("sink")
        self._decoder: Any = pipeline.get_by_name("decoder")
        self._rate_hz = rate_hz
        self._may_wait = may_wait
        self._gave_up = False
        self._here: deque[_Piece] = deque()
        # What was pulled last: samples without a gap, from a running time on.
        self._run_start_ns = 0
        self._n_in_run = 0

    def check(self, missing: Sequence[tuple[str, str]], *, where: str, opened: bool) -> None:
        """Check, while the pipeline opens, that what it holds is decoded.

        Args:
            missing: Names and kinds of the decoders that were found missing.
            where: The source in messages.
            opened: A first picture has come.

        Raises:
            MissingDependency: The decoder of the sound, or of the pictures, is not installed.
            UnsupportedFormat: There are no pictures, only sound.
        """
        of_sound = [name for name, kind in missing if kind == "audio"]
        of_pictures = [name for name, kind in missing if kind != "audio"]
        if opened and of_sound and not self._entry.is_linked():
            raise no_decoder(f"the sound of {where}", *of_sound)
        # Sound flows only after everything that can be decoded was found.
        if opened or self._decoder is None or not self._sink.get_static_pad("sink").has_current_caps():
            return
        if not any(pad.query_caps(None).get_structure(0).get_name().startswith("video/") for pad in self._decoder.srcpads):
            raise no_decoder(where, *of_pictures) if of_pictures else UnsupportedFormat(f"{where} holds no video, only sound")

    def make_room(self) -> None:
        """Take in what has come, where pictures are waited for: they may lie behind sound that its appsink has no room for, and one thread brings both."""
        n_most = self._rate_hz * _ROOM_NS // _S
        while self._may_wait and sum(len(piece.samples) for piece in self._here) < n_most:
            sample = self._sink.try_pull_sample(0)
            if sample is None:
                return
            self._add(sample.get_buffer(), sample.get_segment())

    def take(self, until_ns: int, *, origin_ns: int, failing: bool) -> Sound | None:
        """Return the samples before a time that were not taken yet, up to the next gap: what follows a gap comes with the next call.

        Args:
            until_ns: Media time; a sample that begins then is left.
            origin_ns: Running time of the pipeline at which media time is 0.
            failing: The pipeline has failed, and sends nothing any more.

        Returns:
            At least one sample; None where there is none, or no sound at all.
        """
        if not self._entry.is_linked():
            return None
        until_ns += origin_ns
        self._gather(until_ns, patience_ns=_PATIENCE_NS if self._may_wait and not failing else 0)
        taken: list[_Piece] = []
        while self._here and self._here[0].start_ns < until_ns and (not taken or self._here[0].follows):
            piece = self._here.popleft()
            n = math.ceil((until_ns - piece.start_ns) * self._rate_hz / _S)
            if n < len(piece.samples):
                self._here.appendleft(_Piece(piece.start_ns + self._ns(n), piece.samples[n:], follows=True))
            taken.append(piece._replace(samples=piece.samples[:n]))
        if not taken:
            return None
        samples = np.concatenate([piece.samples for piece in taken])
        samples.flags.writeable = False
        return Sound(samples=samples, rate_hz=self._rate_hz, t_media_ns=taken[0].start_ns - origin_ns)

    def _gather(self, until_ns: int, *, patience_ns: int) -> None:
        """Pull until a time or the end is reached; of a live source, what is there."""
        while self._end_ns() < until_ns:
            sample = self._sink.try_pull_sample(0 if self._gave_up else patience_ns)
            if sample is None:
                # Having waited in vain once, wait no more until the sound has come to its picture again.
                self._gave_up = not self._sink.is_eos()
                return
            self._add(sample.get_buffer(), sample.get_segment())
        self._gave_up = False

    def _add(self, buffer: Any, segment: Any) -> None:
        with mapped_bytes(buffer) as memory:
            samples = memory.view(np.int16).copy()
        start_ns = self._end_ns()
        if buffer.pts != self._no_time:
            # Decoders cut off what an edit list leaves out; a buffer that still begins before its segment has a time before it.
            sign, running_ns = segment.to_running_time_full(self._time_format, buffer.pts)
            start_ns = sign * running_ns
        ahead_ns = start_ns - self._end_ns()
        follows = self._n_in_run > 0 and abs(ahead_ns) <= _JITTER_NS
        if not follows:
            # Time never goes back: of what overlaps, the first is kept.
            n_heard = max(0, self._n(-ahead_ns)) if self._n_in_run else 0
            samples = samples[n_heard:]
            if not len(samples):
                return
            self._run_start_ns, self._n_in_run = start_ns + self._ns(n_heard), 0
        self._here.append(_Piece(self._end_ns(), samples, follows))
        self._n_in_run += len(samples)
        while not self._may_wait and self._end_ns() - self._here[0].start_ns > _BACKLOG_NS:
            self._here.popleft()

    def _end_ns(self) -> int:
        return self._run_start_ns + self._ns(self._n_in_run)

    def _ns(self, n_samples: int) -> int:
        return round(n_samples * _S / self._rate_hz)

    def _n(self, ns: int) -> int:
        return round(ns * self._rate_hz / _S)
