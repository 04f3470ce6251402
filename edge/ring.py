"""The last moments of a face and of a source's sound, by media time: what clips and spectrograms are made of."""

from __future__ import annotations

import bisect
import copy
from typing import Literal

import numpy as np

from edge.errors import SpecMismatch
from edge.frame import Pixels, Samples, Sound
from edge.stage import ClipInput

# A clip is made of the crops nearest to its moments. Where frames lie further apart than one of its spaces, some crops stand for two moments; further apart
# than two, for three and more, which looks like a face that does not move: there the clip starts anew.
_HOLE_STEPS = 2
# Time stamps are rounded, to 90 kHz in MPEG and to 1 ms in Matroska: two of them may lie this much further apart than their frames.
_ROUNDING_NS = 1_000_000
# Halves of frame periods are no whole nanoseconds: two frames whose distances from a moment differ by less are equally near.
_TIE_NS = 1_000
# Sound that has come to within this of a frame's picture goes with it: a tenth of a second is what people notice as wrong lip movement.
# Source: ITU-R BT.1359-1, detectability of sound that comes late, 125 ms.
MAX_SOUND_LAG_NS = 100_000_000
# Sound that came too late a moment ago is on its way still: microphones and streams bring it in pieces of a few hundredths of a second.
_STILL_LATE_NS = 1_000_000_000


class CropRing:
    """The crops of one face for one stage, over as much media time as its clip lasts.

    Args:
        spec: The stage's input.

    Attributes:
        max_space_s: Frames that lie further apart leave a hole, but for the rounding of their times.
    """

    def __init__(self, spec: ClipInput) -> None:
        self._steps_ns = [round(spec.step_s * 1e9 * index) for index in range(spec.n_frames - 1, -1, -1)]
        self.max_space_s = _HOLE_STEPS * spec.step_s
        self._max_space_ns = round(self.max_space_s * 1e9) + _ROUNDING_NS
        self._times_ns: list[int] = []
        self._crops: list[Pixels] = []
        self._since_ns = 0  # where the crops begin that no hole parts
        self._n_holes = 0  # that are not forgotten yet

    def add(self, crop: Pixels, t_media_ns: int) -> None:
        """Take in the crop of a frame; a second one of the same frame takes the first one's place.

        Args:
            crop: uint8[H, W] or uint8[H, W, 3]; kept, not copied.
            t_media_ns: Media time of the frame, not before the last one's.
        """
        if self._times_ns and t_media_ns == self._times_ns[-1]:
            self._crops[-1] = crop
            return
        if self._leaves_a_hole(t_media_ns):
            self._times_ns, self._crops, self._n_holes = [], [], self._n_holes + 1
        if not self._times_ns:
            self._since_ns = t_media_ns
        self._times_ns.append(t_media_ns)
        self._crops.append(crop)
        # The oldest crop that is kept is the last one before the clip begins: it may be the nearest to that moment.
        first = bisect.bisect_right(self._times_ns, t_media_ns - self._steps_ns[0]) - 1
        if first > 0:
            del self._times_ns[:first], self._crops[:first]
        # One hole is made good by the next clip. Where holes come again and again, a clip that got through between them does not: its end would warm up for a
        # frame or two before the next hole.
        if self._is_full() and (self._n_holes == 1 or t_media_ns - self._since_ns >= 2 * self._steps_ns[0]):
            self._n_holes = 0

    def copy(self) -> CropRing:
        """Return a ring of the same crops that may go on on its own."""
        ring = copy.copy(self)
        ring._times_ns, ring._crops = self._times_ns.copy(), self._crops.copy()
        return ring

    def forget_after(self, t_media_ns: int) -> None:
        """Let go of the crops that are younger than a time."""
        first = bisect.bisect_right(self._times_ns, t_media_ns)
        del self._times_ns[first:], self._crops[first:]

    def lapse(self, t_media_ns: int) -> None:
        """Let go of the crops where the face has been missed for so long that the clip starts anew anyway; it is no sign that frames come too slowly."""
        if self._leaves_a_hole(t_media_ns):
            self._times_ns, self._crops = [], []

    @property
    def state(self) -> Literal["ready", "warming_up", "too_slow"]:
        """Whether there is a clip; `too_slow` where holes came one after the other before there was one, until none has come for twice as long as a clip."""
        if self._is_full():
            return "ready"
        return "too_slow" if self._n_holes > 1 else "warming_up"

    def clip(self) -> list[Pixels]:
        """Return as many crops as the clip has, oldest first: those nearest to equally spaced moments that end at the last crop's; the older one of equals."""
        now_ns = self._times_ns[-1]
        return [self._crops[self._nearest(now_ns - back_ns)] for back_ns in self._steps_ns]

    def _leaves_a_hole(self, t_ns: int) -> bool:
        return bool(self._times_ns) and t_ns - self._times_ns[-1] > self._max_space_ns

    def _is_full(self) -> bool:
        n_spaces = len(self._times_ns) - 1
        if n_spaces < 1:
            return False
        span_ns = self._times_ns[-1] - self._times_ns[0]
        # Frames seldom fall on the very moment at which the clip begins: half a frame period is near enough.
        return span_ns + span_ns / n_spaces / 2 >= self._steps_ns[0]

    def _nearest(self, t_ns: int) -> int:
        after = bisect.bisect_left(self._times_ns, t_ns)
        if after == 0:
            return 0
        if after == len(self._times_ns):
            return after - 1
        is_nearer = self._times_ns[after] - t_ns + _TIE_NS < t_ns - self._times_ns[after - 1]
        return after if is_nearer else after - 1


# What is remembered of a face, by the stage that needs it.
Rings = dict[str, CropRing]


class SoundRing:
    """The last moments of a source's sound, as far back as nothing is missing. What is a gap, and what only a rounded time, the source decides.

    Args:
        rate_hz: Samples a second.
        keep_s: How much is needed at a time.
    """

    def __init__(self, *, rate_hz: int, keep_s: float) -> None:
        self.rate_hz = rate_hz
        self._keep_ns = round(keep_s * 1e9) + 2 * MAX_SOUND_LAG_NS
        self._samples: Samples = np.empty(0, np.int16)
        self._end_ns: int | None = None  # where the samples end
        self._frame_ns: int | None = None
        self._late_ns: int | None = None

    def add(self, sound: Sound | None, t_media_ns: int) -> None:
        """Take in what came with a frame.

        Args:
            sound: Samples that begin where the last ones ended, or else start anew; None where nothing came.
            t_media_ns: Media time of the frame; what is too old to be needed from here on is let go.

        Raises:
            SpecMismatch: It has another rate.
        """
        if self._end_ns is None:
            self._end_ns = t_media_ns  # before a tenth of a second nobody can say that there is no sound
        if sound is not None:
            if sound.rate_hz != self.rate_hz:
                raise SpecMismatch(f"expected sound at {self.rate_hz} Hz, got {sound.rate_hz} Hz")
            follows = len(self._samples) > 0 and self._n(sound.t_media_ns - self._end_ns) == 0
            self._samples = np.concatenate([self._samples, sound.samples]) if follows else sound.samples.copy()
            self._end_ns = sound.t_media_ns + self._ns(len(sound.samples))
            if self._frame_ns is not None and sound.t_media_ns < self._frame_ns - MAX_SOUND_LAG_NS:
                self._late_ns = t_media_ns  # the frame before this one waited for it in vain
        self._frame_ns = t_media_ns
        n_old = min(self._index(t_media_ns - self._keep_ns), len(self._samples))
        if n_old > self.rate_hz:  # now and then, not with every frame: the copy costs more than the memory
            self._samples = self._samples[n_old:].copy()

    def reaches(self, t_media_ns: int) -> bool:
        """Whether sound has come up to the frame's time, or nearly."""
        if self._end_ns is None:
            return False
        return self._end_ns - self._ns(len(self._samples)) <= t_media_ns <= self._end_ns + MAX_SOUND_LAG_NS

    def is_late(self, t_media_ns: int) -> bool:
        """Whether, within the last second, sound came more than `MAX_SOUND_LAG_NS` after a frame that it goes with; False where it has ended."""
        return self._late_ns is not None and t_media_ns - self._late_ns <= _STILL_LATE_NS

    def window(self, t_media_ns: int, duration_s: float) -> Samples | None:
        """Return the sound that goes with a frame.

        Args:
            t_media_ns: Media time of the frame.
            duration_s: How much.

        Returns:
            int16[round(duration_s * rate_hz)], ending at the frame's time or where the sound has come to; None where there is not that much, or where it does
            not reach the frame.
        """
        if not self.reaches(t_media_ns):
            return None
        end = min(self._index(t_media_ns), len(self._samples))
        start = end - round(duration_s * self.rate_hz)
        return self._samples[start:end] if start >= 0 else None

    def _index(self, t_ns: int) -> int:
        assert self._end_ns is not None
        return len(self._samples) + self._n(t_ns - self._end_ns)

    def _n(self, ns: int) -> int:
        return round(ns * self.rate_hz / 1e9)

    def _ns(self, n_samples: int) -> int:
        return round(n_samples * 1e9 / self.rate_hz)
