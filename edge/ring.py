"""The last moments of a face and of a source's sound, by media time: what clips and spectrograms are made of."""

from __future__ import annotations

import bisect
from typing import Literal

import numpy as np

from edge.errors import SpecMismatch
from edge.frame import Pixels, Samples, Sound
from edge.stage import ClipInput

# Where two frames lie further apart than this many spaces of a clip, nearest crops would repeat: the clip starts anew.
_HOLE_STEPS = 2
# Sound that has come to within this of a frame's picture goes with it: a tenth of a second is what people notice as wrong lip movement.
# Source: ITU-R BT.1359-1, detectability of sound that comes late, 125 ms.
MAX_SOUND_LAG_NS = 100_000_000
# Time stamps are rounded, to 90 kHz in MPEG and to 1 ms in Matroska: a piece that lies this close to the end of the one before follows it.
_ROUNDING_S = 0.0015


class CropRing:
    """The crops of one face for one stage, over as much media time as its clip lasts.

    Args:
        spec: The stage's input.

    Attributes:
        max_space_s: Frames that lie further apart leave a hole.
    """

    def __init__(self, spec: ClipInput) -> None:
        self._steps_ns = [round(spec.step_s * 1e9 * index) for index in range(spec.n_frames - 1, -1, -1)]
        self.max_space_s = _HOLE_STEPS * spec.step_s
        self._times_ns: list[int] = []
        self._crops: list[Pixels] = []
        self._n_holes = 0  # in a row

    def add(self, crop: Pixels, t_media_ns: int) -> None:
        """Take in the crop of a frame; a second one of the same frame takes the first one's place.

        Args:
            crop: uint8[H, W] or uint8[H, W, 3]; kept, not copied.
            t_media_ns: Media time of the frame, not before the last one's.
        """
        if self._times_ns and t_media_ns == self._times_ns[-1]:
            self._crops[-1] = crop
            return
        if self._times_ns and t_media_ns - self._times_ns[-1] > self.max_space_s * 1e9:
            self._times_ns, self._crops, self._n_holes = [], [], self._n_holes + 1
        else:
            self._n_holes = 0
        self._times_ns.append(t_media_ns)
        self._crops.append(crop)
        # The oldest crop that is kept is the last one before the clip begins: it may be the nearest to that moment.
        first = bisect.bisect_right(self._times_ns, t_media_ns - self._steps_ns[0]) - 1
        if first > 0:
            del self._times_ns[:first], self._crops[:first]

    @property
    def state(self) -> Literal["ready", "warming_up", "too_slow"]:
        """Whether there is a clip: `too_slow` where the frames come further apart than a clip may have holes."""
        if self._n_holes > 1:
            return "too_slow"
        n_spaces = len(self._times_ns) - 1
        if n_spaces < 1:
            return "warming_up"
        span_ns = self._times_ns[-1] - self._times_ns[0]
        # Frames seldom fall on the very moment at which the clip begins: half a frame period is near enough.
        return "ready" if span_ns + span_ns / n_spaces / 2 >= self._steps_ns[0] else "warming_up"

    def clip(self) -> list[Pixels]:
        """Return as many crops as the clip has, oldest first: those nearest to equally spaced moments that end at the last crop's; the older one of equals."""
        now_ns = self._times_ns[-1]
        return [self._crops[self._nearest(now_ns - back_ns)] for back_ns in self._steps_ns]

    def _nearest(self, t_ns: int) -> int:
        after = bisect.bisect_left(self._times_ns, t_ns)
        if after == 0:
            return 0
        if after == len(self._times_ns):
            return after - 1
        return after if self._times_ns[after] - t_ns < t_ns - self._times_ns[after - 1] else after - 1


# What is remembered of a face, by the stage that needs it.
Rings = dict[str, CropRing]


class SoundRing:
    """The last moments of a source's sound.

    Args:
        rate_hz: Samples a second.
        keep_s: How much is needed at a time.
        max_gap: Fewer missing samples than this are silence; where more are missing, the sound starts anew.
    """

    def __init__(self, *, rate_hz: int, keep_s: float, max_gap: int) -> None:
        self.rate_hz = rate_hz
        self._keep_ns = round(keep_s * 1e9) + 2 * MAX_SOUND_LAG_NS
        self._max_gap = max_gap
        self._start_ns: int | None = None
        self._samples: Samples = np.empty(0, np.int16)

    def add(self, sound: Sound | None, t_media_ns: int) -> None:
        """Take in what came with a frame.

        Args:
            sound: None where nothing came.
            t_media_ns: Media time of the frame; what is too old to be needed from here on is let go.

        Raises:
            SpecMismatch: It has another rate.
        """
        if self._start_ns is None:
            self._start_ns = t_media_ns  # before a tenth of a second nobody can say that there is no sound
        if sound is not None:
            if sound.rate_hz != self.rate_hz:
                raise SpecMismatch(f"expected sound at {self.rate_hz} Hz, got {sound.rate_hz} Hz")
            self._append(sound)
        n_old = min(self._index(t_media_ns - self._keep_ns), len(self._samples))
        if n_old > self.rate_hz:  # now and then, not with every frame: the copy costs more than the memory
            self._samples = self._samples[n_old:].copy()
            self._start_ns += round(n_old * 1e9 / self.rate_hz)

    def reaches(self, t_media_ns: int) -> bool:
        """Whether sound has come up to the frame's time, or nearly."""
        if self._start_ns is None:
            return False
        end_ns = self._start_ns + round(len(self._samples) * 1e9 / self.rate_hz)
        return self._start_ns <= t_media_ns and end_ns >= t_media_ns - MAX_SOUND_LAG_NS

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
        assert self._start_ns is not None
        return round((t_ns - self._start_ns) * self.rate_hz / 1e9)

    def _append(self, sound: Sound) -> None:
        gap = self._index(sound.t_media_ns) - len(self._samples)
        samples = sound.samples
        if len(self._samples) == 0 or abs(gap) >= self._max_gap:
            self._start_ns, self._samples = sound.t_media_ns, samples.copy()
            return
        if abs(gap) <= _ROUNDING_S * self.rate_hz:
            gap = 0
        silence = np.zeros(max(0, gap), np.int16)
        self._samples = np.concatenate([self._samples, silence, samples[max(0, -gap) :]])
