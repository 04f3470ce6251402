"""What is remembered of a face that is missed: its clips, for as long as they can go on."""

from __future__ import annotations

import numpy as np
import pytest

from edge.face import Face
from edge.ring import CropRing, Rings
from edge.smooth import Unsmoothed
from edge.stage import BoxRegion, ClipInput
from edge.track import REMEMBER_NS, Track, Tracker

MS = 1_000_000


def face_at(x: float, side: float = 40) -> Face:
    return Face((x - side / 2, 30, x + side / 2, 30 + side), np.array([[x - side / 5, 45], [x + side / 5, 45]]), 0.9)


def spec(step_ms: int) -> ClipInput:
    size = {"size_wh_px": (1, 1), "region": BoxRegion()}
    return ClipInput(tensor="x", color="gray", scale=1.0, n_frames=4, duration_s=3 * step_ms / 1000, frames_as="channels", **size)  # type: ignore[arg-type]


def rings_of(t_ms: int, *, step_ms: int = 50, first_ms: int | None = None) -> Rings:
    """What frames up to a time, one each 25 ms, put by: crops of one pixel that tell their time in units of 25 ms."""
    ring = CropRing(spec(step_ms))
    for each_ms in range(t_ms if first_ms is None else first_ms, t_ms + 1, 25):
        ring.add(np.array([[each_ms // 25]], np.uint8), each_ms * MS)
    return {"clip": ring}


def clip_of(track: Track, name: str = "clip") -> list[int] | None:
    ring = track.rings[name]
    return [int(crop[0, 0]) for crop in ring.clip()] if ring.state == "ready" else None


def followed(until_ms: int = 500, **settings: int) -> tuple[Tracker, Track]:
    """A face that was seen from 0 to a time."""
    tracker = Tracker(Unsmoothed, max_faces=8)
    track = tracker.start(face_at(50), 0, rings_of(until_ms, first_ms=0, **settings))
    tracker.update(track, face_at(50), until_ms * MS)
    return tracker, track


def found(tracker: Tracker, face: Face, t_ms: int, specs: dict[str, int] | None = None) -> Track:
    """The track of a face that is found, read and admitted."""
    ((face, rings),) = tracker.newcomers([face], t_ms * MS)
    for name, step_ms in (specs or {"clip": 50}).items():
        rings.setdefault(name, CropRing(spec(step_ms))).add(np.array([[t_ms // 25]], np.uint8), t_ms * MS)
    return tracker.start(face, t_ms * MS, rings)


def test_a_face_missed_in_one_frame_keeps_its_clip() -> None:
    tracker, track = followed()
    assert clip_of(track) == [14, 16, 18, 20]
    tracker.lose(track, 525 * MS)
    assert found(tracker, face_at(52), 550) is track
    assert clip_of(track) == [16, 18, 20, 22]


def test_a_face_lost_and_found_in_the_same_frame_keeps_its_clip_but_not_the_crop_without_it() -> None:
    tracker, track = followed()
    track.rings["clip"].add(np.array([[99]], np.uint8), 525 * MS)
    tracker.lose(track, 525 * MS)
    assert found(tracker, face_at(52), 550) is track
    assert clip_of(track) == [16, 18, 20, 22]
    tracker.update(track, face_at(52), 550 * MS)
    tracker.lose(track, 575 * MS)
    found(tracker, face_at(52), 575)
    assert clip_of(track) == [17, 19, 20, 23]  # 21 was missed: of its neighbours the older one


@pytest.mark.parametrize(("back_ms", "kept"), [(575, True), (600, True), (625, False), (900, False)])
def test_the_clip_is_kept_for_two_of_its_spaces(back_ms: int, kept: bool) -> None:
    tracker, track = followed()
    tracker.lose(track, 525 * MS)
    assert found(tracker, face_at(52), back_ms) is track
    assert (clip_of(track) is not None) == kept


def test_each_clip_is_kept_by_its_own_measure() -> None:
    tracker, track = followed()
    track.rings["long"] = rings_of(500, first_ms=0, step_ms=100)["clip"]
    tracker.lose(track, 525 * MS)
    found(tracker, face_at(52), 700, {"clip": 50, "long": 100, "other": 50})
    assert clip_of(track) is None
    assert clip_of(track, "long") == [16, 20, 20, 28]
    assert set(track.rings) == {"clip", "long", "other"}


def test_what_may_be_somebody_else_gets_no_crops_of_the_other() -> None:
    tracker, track = followed()
    tracker.lose(track, 525 * MS)
    again = found(tracker, face_at(72), 525)  # near, but hardly overlapping
    assert again.number == track.number
    assert clip_of(again) is None


def test_a_face_that_is_not_admitted_leaves_no_crop() -> None:
    tracker, track = followed()
    tracker.lose(track, 525 * MS)
    ((_, rings),) = tracker.newcomers([face_at(52)], 525 * MS)
    rings["clip"].add(np.array([[99]], np.uint8), 525 * MS)
    assert found(tracker, face_at(52), 550) is track
    assert clip_of(track) == [16, 18, 20, 22]


def test_a_clip_goes_on_in_one_face_only() -> None:
    tracker, track = followed()
    tracker.lose(track, 525 * MS)
    (_, kept), (_, fresh) = tracker.newcomers([face_at(40), face_at(68)], 525 * MS)
    assert (set(kept), fresh) == ({"clip"}, {})


def test_a_face_that_comes_and_goes_is_no_sign_that_frames_come_too_slowly() -> None:
    tracker, track = followed(until_ms=100)
    for seen_ms in range(300, 3000, 200):
        tracker.lose(track, (seen_ms - 175) * MS)
        assert found(tracker, face_at(50), seen_ms) is track
        tracker.update(track, face_at(50), seen_ms * MS)
        assert track.rings["clip"].state == "warming_up"


def test_frames_that_come_too_slowly_are_still_known_when_a_face_comes_back() -> None:
    tracker, track = followed(until_ms=0)
    for seen_ms in range(200, 1000, 200):
        tracker.update(track, face_at(50), seen_ms * MS)
        track.rings["clip"].add(np.zeros((1, 1), np.uint8), seen_ms * MS)
    assert track.rings["clip"].state == "too_slow"
    tracker.lose(track, 1000 * MS)
    assert found(tracker, face_at(50), 1200) is track
    assert track.rings["clip"].state == "too_slow"


def n_crops(tracker: Tracker) -> int:
    return sum(len(ring._crops) for track in [*tracker.active, *tracker._lost] for ring in track.rings.values())


def test_lost_faces_hold_no_crops_for_longer_than_they_may_be_needed() -> None:
    tracker, track = followed()
    other = tracker.start(face_at(300), 500 * MS, rings_of(500, first_ms=0))
    n_of_one = len(other.rings["clip"]._crops)
    tracker.lose(track, 525 * MS)
    for now_ms in range(525, 650, 25):
        other.rings["clip"].add(np.zeros((1, 1), np.uint8), now_ms * MS)
        tracker.update(other, face_at(300), now_ms * MS)
        tracker.forget(now_ms * MS)
        assert n_crops(tracker) == (2 * n_of_one if now_ms <= 600 else n_of_one)
    tracker.lose(other, 650 * MS)
    tracker.forget(725 * MS)
    assert n_crops(tracker) == n_of_one
    tracker.forget(750 * MS)
    assert n_crops(tracker) == 0
    tracker.forget(500 * MS + REMEMBER_NS)
    assert tracker._lost == [track, other]
    tracker.forget(625 * MS + REMEMBER_NS)
    assert tracker._lost == [other]
    tracker.forget(625 * MS + REMEMBER_NS + 1)
    assert tracker._lost == []
