"""What is remembered for clips and spectrograms: which crop stands for which moment, and which samples go with which frame."""

from __future__ import annotations

import numpy as np
import pytest

from edge.errors import SpecMismatch
from edge.frame import Sound
from edge.ring import MAX_SOUND_LAG_NS, CropRing, SoundRing
from edge.stage import BoxRegion, ClipInput

MS = 1_000_000


def spec(n_frames: int = 4, duration_s: float = 0.5) -> ClipInput:
    size = {"size_wh_px": (1, 1), "region": BoxRegion()}
    return ClipInput(tensor="x", color="gray", scale=1.0, n_frames=n_frames, duration_s=duration_s, frames_as="channels", **size)  # type: ignore[arg-type]


def filled(times_ns: list[int], clip: ClipInput | None = None) -> CropRing:
    """A ring of crops of one pixel that says which frame it is."""
    ring = CropRing(clip or spec())
    for number, t_ns in enumerate(times_ns):
        ring.add(np.array([[number]], np.uint8), t_ns)
    return ring


def chosen(ring: CropRing) -> list[int]:
    return [int(crop[0, 0]) for crop in ring.clip()]


def at_rate(fps: float, n: int) -> list[int]:
    return [round(number / fps * 1e9) for number in range(n)]


@pytest.mark.parametrize(
    ("fps", "first", "expected"),
    [
        (30, 15, [0, 5, 10, 15]),
        (24, 12, [0, 4, 8, 12]),
        (10, 5, [0, 2, 3, 5]),  # of 1.67 and 3.33
        (60, 30, [0, 10, 20, 30]),
        (30000 / 1001, 15, [0, 5, 10, 15]),
    ],
)
def test_crops_are_those_nearest_to_equally_spaced_moments(fps: float, first: int, expected: list[int]) -> None:
    assert filled(at_rate(fps, first)).state == "warming_up"
    ring = filled(at_rate(fps, first + 1))
    assert ring.state == "ready"
    assert chosen(ring) == expected
    later = filled(at_rate(fps, first + 40))
    assert chosen(later) == [number + 39 for number in expected]


def test_variable_rates() -> None:
    # The last frame at 1000 ms; wanted are 500, 667, 833 and 1000 ms.
    times_ms = [0, 200, 400, 490, 520, 560, 640, 700, 750, 900, 1000]
    ring = filled([ms * MS for ms in times_ms])
    assert [times_ms[number] for number in chosen(ring)] == [490, 640, 900, 1000]
    # Two frames as near as each other to 500 ms: the older one.
    assert chosen(filled([0, 400 * MS, 600 * MS, 800 * MS, 1000 * MS]))[0] == 1


def test_half_a_frame_period_is_near_enough_to_the_beginning() -> None:
    """At 24 frames a second 13 frames span 0.5 s; half a period more is 0.5208 s."""
    assert filled(at_rate(24, 13), spec(duration_s=0.52)).state == "ready"
    assert filled(at_rate(24, 13), spec(duration_s=0.522)).state == "warming_up"


def test_a_hole_larger_than_two_steps_starts_anew() -> None:
    steady = at_rate(10, 6)
    just = [*steady, steady[-1] + 333 * MS]  # 2 steps are 333.3 ms
    assert filled(just).state == "ready"
    ring = filled([*steady, steady[-1] + 334 * MS])
    assert ring.state == "warming_up"
    assert filled([*steady, *(t_ns + 2_000_000_000 for t_ns in steady)]).state == "ready"


def test_frames_that_never_come_often_enough_are_said_to_be_too_slow() -> None:
    assert [filled(at_rate(2, n)).state for n in (1, 2, 3, 9)] == ["warming_up", "warming_up", "too_slow", "too_slow"]
    recovered = [*at_rate(2, 4), 1600 * MS, 1700 * MS]
    assert filled(recovered).state == "warming_up"


def test_a_second_crop_of_the_same_frame_takes_the_place_of_the_first() -> None:
    ring = filled(at_rate(30, 16))
    ring.add(np.array([[99]], np.uint8), at_rate(30, 16)[-1])
    assert chosen(ring) == [0, 5, 10, 99]


def test_a_ring_holds_no_more_than_its_clip() -> None:
    ring = filled(at_rate(30, 250))
    assert len(ring._crops) == len(ring._times_ns) == 16


def sound(start: int, n: int, *, rate_hz: int = 1000, shift_ns: int = 0) -> Sound:
    """A thousand samples a second, each of which says its own time in ms."""
    return Sound(samples=np.arange(start, start + n, dtype=np.int16), rate_hz=rate_hz, t_media_ns=start * MS + shift_ns)


def sound_ring() -> SoundRing:
    return SoundRing(rate_hz=1000, keep_s=0.5, max_gap=50)


def heard(ring: SoundRing, t_ms: int, duration_s: float = 0.5) -> tuple[int, int] | None:
    window = ring.window(t_ms * MS, duration_s)
    if window is None:
        return None
    assert len(window) == round(duration_s * 1000)
    return int(window[0]), int(window[-1])


def test_the_window_ends_at_the_frame() -> None:
    ring = sound_ring()
    for frame in range(30):  # 40 ms each
        ring.add(sound(frame * 40, 40), frame * 40 * MS)
        t_ms = frame * 40
        assert heard(ring, t_ms) == ((t_ms - 500, t_ms - 1) if t_ms >= 500 else None)


def test_it_ends_where_the_sound_has_come_to_if_that_is_near() -> None:
    ring = sound_ring()
    ring.add(sound(0, 600), 600 * MS)
    assert heard(ring, 550) == (50, 549)
    assert heard(ring, 699) == (100, 599)
    assert ring.reaches(600 * MS + MAX_SOUND_LAG_NS)
    assert not ring.reaches(600 * MS + MAX_SOUND_LAG_NS + 1)
    assert heard(ring, 701) is None
    silent = sound_ring()
    assert not silent.reaches(0)
    for t_ms in (0, 40, 80, 120):
        silent.add(None, t_ms * MS)
        assert silent.reaches(t_ms * MS) == (t_ms <= 100)
        assert heard(silent, t_ms) is None
    late = sound_ring()
    late.add(sound(300, 600), 0)
    assert not late.reaches(299 * MS)  # sound that begins after the frame does not go with it


def test_few_missing_samples_are_silence_and_many_are_a_new_beginning() -> None:
    ring = sound_ring()
    ring.add(sound(0, 300), 300 * MS)
    ring.add(sound(349, 251), 600 * MS)
    window = ring.window(600 * MS, 0.5)
    assert window is not None
    assert window[199] == 299
    assert (window[200:249] == 0).all()
    assert window[249] == 349
    ring.add(sound(650, 200), 850 * MS)
    assert heard(ring, 850, 0.2) == (650, 849)
    assert heard(ring, 850, 0.3) is None


def test_overlaps_and_rounded_times_leave_no_trace() -> None:
    ring = sound_ring()
    ring.add(sound(0, 300), 300 * MS)
    ring.add(sound(290, 100), 390 * MS)  # ten samples twice
    for start in range(390, 590, 10):
        ring.add(sound(start, 10, shift_ns=MS if start % 20 else -MS), 590 * MS)
    window = ring.window(590 * MS, 0.5)
    assert window is not None
    assert (np.diff(window) == 1).all()
    ring.add(sound(0, 100), 590 * MS)  # the source has gone back
    assert heard(ring, 100, 0.1) == (0, 99)


def test_sound_that_is_too_old_is_let_go() -> None:
    ring = sound_ring()
    for frame in range(700):
        ring.add(sound(frame * 40, 40), frame * 40 * MS)
    assert len(ring._samples) <= 1000 + 740
    assert heard(ring, 699 * 40) == (699 * 40 - 500, 699 * 40 - 1)
    ring.add(None, 60_000 * MS)
    assert not ring.reaches(60_000 * MS)


def test_another_rate_is_refused() -> None:
    with pytest.raises(SpecMismatch, match="expected sound at 1000 Hz, got 8000 Hz"):
        sound_ring().add(sound(0, 10, rate_hz=8000), 0)
