"""What is remembered for clips and spectrograms: which crop stands for which moment, and which samples go with which frame."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

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


@pytest.mark.parametrize(("fps", "n_frames", "duration_s"), [(30, 3, 0.5), (30, 16, 0.75), (30, 16, 0.625), (60, 16, 0.625), (60, 16, 1.125), (12, 16, 0.625)])
def test_of_two_frames_that_are_as_near_the_older_is_taken(fps: int, n_frames: int, duration_s: float) -> None:
    """Half a frame period is no whole nanosecond: whatever the rounding, each clip is made of frames as far back as the one before it."""
    clip = spec(n_frames=n_frames, duration_s=duration_s)
    periods = [round(duration_s * fps * index / (n_frames - 1), 6) for index in range(n_frames - 1, -1, -1)]
    assert any(each % 1 == 0.5 for each in periods)
    back = [math.floor(each + 0.5) for each in periods]
    for n in range(90, 120):
        assert [n - 1 - number for number in chosen(filled(at_rate(fps, n), clip))] == back


def test_a_hole_larger_than_two_steps_starts_anew() -> None:
    steady = at_rate(10, 6)
    for extra_ms in (333, 334):  # 2 steps are 333.3 ms; times that are rounded to milliseconds may lie one further apart
        assert filled([*steady, steady[-1] + extra_ms * MS]).state == "ready"
    ring = filled([*steady, steady[-1] + 335 * MS])
    assert ring.state == "warming_up"
    assert filled([*steady, *(t_ns + 2_000_000_000 for t_ns in steady)]).state == "ready"


@pytest.mark.parametrize("fps", [12, 15, 30])
@pytest.mark.parametrize("start_ns", [0, 7 * MS + 1])
@pytest.mark.parametrize("rounded", [round, math.floor, math.ceil])
@pytest.mark.parametrize("unit_ns", [1, 100_000 / 9, MS])
def test_frames_exactly_two_spaces_apart_leave_no_hole(fps: int, start_ns: int, rounded: Callable[[float], int], unit_ns: float) -> None:
    """16 frames over 15 spaces of half a frame period, with times in nanoseconds, in 90 kHz as in MPEG, and in milliseconds as in Matroska."""
    clip = spec(n_frames=16, duration_s=15 / (2 * fps))
    times_ns = [round(rounded((start_ns + number * 1e9 / fps) / unit_ns) * unit_ns) for number in range(4 * fps)]
    states = [filled(times_ns[: n + 1], clip).state for n in range(len(times_ns))]
    assert states[:7] == ["warming_up"] * 7
    assert set(states[8:]) == {"ready"}
    # One frame less in 25 and the limit is passed.
    too_slow = filled([round(each * 25 / 24) for each in times_ns], clip)
    assert too_slow.state == "too_slow"


def states_of(times_ns: list[int], clip: ClipInput) -> list[str]:
    ring, states = CropRing(clip), list[str]()
    for t_ns in times_ns:
        ring.add(np.zeros((1, 1), np.uint8), t_ns)
        states.append(ring.state)
    return states


def test_frames_that_never_come_often_enough_are_said_to_be_too_slow() -> None:
    assert states_of(at_rate(2, 9), spec()) == ["warming_up"] * 2 + ["too_slow"] * 7
    # Until there is a clip, and where it ends before nothing was missing for twice as long.
    recovered = [*at_rate(2, 4), *(1500 * MS + round(number * 1e8) for number in range(1, 10))]
    assert states_of(recovered, spec()) == ["warming_up"] * 2 + ["too_slow"] * 6 + ["ready"] * 5
    for extra, expected in ((0, "too_slow"), (1, "warming_up")):
        longer = [*recovered, *(recovered[-1] + round(number * 1e8) for number in range(1, extra + 1))]
        again = [longer[-1] + 5_000_000_000 + t_ns for t_ns in at_rate(10, 6)]
        assert states_of([*longer, *again], spec())[-6:] == [expected] * 5 + ["ready"]


def test_one_pause_after_the_other_warms_up_anew() -> None:
    """Each time there is a clip before the next one."""
    steady = at_rate(10, 6)
    pauses = [t_ns + 2_000_000_000 * number for number in range(4) for t_ns in steady]
    assert states_of(pauses, spec()) == (["warming_up"] * 5 + ["ready"]) * 4


def test_some_frames_that_come_too_late_are_too_slow_as_well() -> None:
    """16 frames over 0.625 s allow 83.3 ms."""
    clip = spec(n_frames=16, duration_s=0.625)
    every_third = [150 * (number // 3) * MS + (0, 90, 120)[number % 3] * MS for number in range(60)]
    assert states_of(every_third, clip) == ["warming_up"] * 4 + ["too_slow"] * 56

    kept = np.random.default_rng(0).random(2000) < 0.5
    states = states_of([t_ns for t_ns, keep in zip(at_rate(30, 2000), kept, strict=True) if keep], clip)
    assert states.count("too_slow") > len(states) * 0.9
    # They do not warm up for a frame between two holes: what gets through is a clip.
    runs = [state for state, _ in itertools.groupby(states)]
    assert runs == ["warming_up", *(["too_slow", "ready"] * len(runs))[: len(runs) - 1]]


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
    return SoundRing(rate_hz=1000, keep_s=0.5)


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


@pytest.mark.parametrize("gap", [1, 40, 400, -1, -200])
def test_sound_that_does_not_follow_starts_anew(gap: int) -> None:
    """What is a gap the source has decided: not even a sample is made up, or taken away."""
    ring = sound_ring()
    ring.add(sound(0, 600), 600 * MS)
    assert heard(ring, 600) == (100, 599)
    ring.add(sound(600 + gap, 500), (1100 + gap) * MS)
    assert heard(ring, 1100 + gap) == (600 + gap, 1099 + gap)
    assert heard(ring, 1100 + gap, 0.501) is None


def test_times_are_those_of_samples_to_the_nanosecond() -> None:
    """At 44.1 kHz no sample begins on a whole nanosecond; three hours of pieces follow each other all the same."""
    rate_hz, piece = 44_100, np.zeros(44_101 * 4, np.int16)
    ring = SoundRing(rate_hz=rate_hz, keep_s=1.0)
    for number in range(2700):
        ring.add(Sound(piece, rate_hz, round(number * len(piece) * 1e9 / rate_hz)), round((number + 1) * len(piece) * 1e9 / rate_hz))
        assert len(ring._samples) > rate_hz or number == 0


def lateness(lag_ms: int, piece_ms: int, *, until_ms: int = 3000) -> list[str]:
    """What is said at 30 frames a second of sound that comes in pieces, `lag_ms` after its last sample, up to a time."""
    ring, n_heard, said = sound_ring(), 0, []
    for number in range(150):
        t_ms = number * 100 // 3
        n_come = max(0, (min(t_ms - lag_ms, until_ms) // piece_ms) * piece_ms)
        ring.add(sound(n_heard, n_come - n_heard) if n_come > n_heard else None, t_ms * MS)
        n_heard = n_come
        said.append("ok" if ring.reaches(t_ms * MS) else "late" if ring.is_late(t_ms * MS) else "none")
    return said


@pytest.mark.parametrize(("lag_ms", "piece_ms"), [(110, 10), (95, 20), (80, 40), (150, 100), (30, 200), (600, 20)])
def test_sound_that_comes_late_is_not_missing(lag_ms: int, piece_ms: int) -> None:
    said = lateness(lag_ms, piece_ms)
    first = (lag_ms + piece_ms + 200) * 30 // 1000  # until it has come a few times nobody can tell
    assert set(said[first:90]) <= {"ok", "late"}
    assert "late" in said[first:90]
    # It has ended: a second later it is no longer late.
    assert set(said[90 + (lag_ms + piece_ms + 1000) * 30 // 1000 + 2 :]) == {"none"}


@pytest.mark.parametrize(("lag_ms", "piece_ms"), [(0, 1), (50, 10), (0, 33)])
def test_sound_that_ends_is_not_late(lag_ms: int, piece_ms: int) -> None:
    assert [state for state, _ in itertools.groupby(lateness(lag_ms, piece_ms))] == ["ok", "none"]


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
