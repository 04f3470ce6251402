"""Choosing: farthest first, sources in turn, origins whole, doubles dropped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from calibration.coverage import coverage, point
from calibration.judge import JudgedFace
from calibration.lookalikes import NEARLY_THE_SAME
from calibration.selection import Candidate, KnownPictures, chosen, splits_of, without_doubles
from calibration.set_file import Features, Item, Split

PLAIN = Features(yaw_deg=0.0, pitch_deg=0.0, roll_deg=0.0, side_px=100.0, brightness=120.0, contrast=40.0, side_light=0.0, sharpness=0.5)


def candidate(number: int, features: Features = PLAIN, *, group: int = 0, origin: str = "", split: Split | None = None, gray: float = 0.0) -> Candidate:
    thumbnail = np.zeros(256, np.float32)
    thumbnail[number % 256] = 1000.0
    face = JudgedFace(np.zeros((2, 2, 3), np.uint8), f"{number:064}", features, thumbnail + np.float32(gray))
    return Candidate(face, group, origin or f"origin {number}", f"source {number}", f"{number:064}", split)


def turned(yaw_deg: float) -> Features:
    return msgspec.structs.replace(PLAIN, yaw_deg=yaw_deg)


def test_farthest_first() -> None:
    faces = [candidate(number, turned(yaw)) for number, yaw in enumerate((0.0, 1.0, 2.0, 3.0, 40.0, -40.0, -1.0))]

    assert {40.0, -40.0} < {each.face.features.yaw_deg for each in chosen(faces, 3)}
    assert chosen(faces, 4)[:3] == chosen(faces, 3)
    assert len(chosen(faces, 99)) == len(faces)
    assert chosen([], 5) == []


def test_sources_take_turns_and_one_may_run_out() -> None:
    faces = [candidate(number, turned(number), group=0) for number in range(30)] + [candidate(100 + number, group=1) for number in range(4)]
    groups = [each.group for each in chosen(faces, 20)]
    assert groups.count(1) == 4
    assert groups[:8] == [0, 1] * 4


def test_features_that_differ_clearly_are_a_unit_apart() -> None:
    other = msgspec.structs.replace(PLAIN, yaw_deg=12.0)
    assert np.linalg.norm(point(PLAIN) - point(other)) == pytest.approx(1.0)
    sad, happy = (msgspec.structs.replace(PLAIN, emotion=name) for name in ("sad", "happy"))
    assert np.linalg.norm(point(sad) - point(happy)) == pytest.approx(1.0)
    smile = msgspec.structs.replace(PLAIN, action_units={"AU12": 0.5})
    assert np.linalg.norm(point(PLAIN) - point(smile)) == pytest.approx(1.0)


def test_origins_are_held_out_whole() -> None:
    faces = [candidate(number, origin=f"person {number // 4}") for number in range(200)]
    placed = splits_of(faces)
    held_out = [each for each in faces if placed[each.origin] == "held-out"]
    assert len(held_out) == 40
    assert placed == splits_of(faces[::-1])


def test_a_source_may_say_where_an_origin_belongs_and_one_alone_is_for_calibration() -> None:
    faces = [candidate(0, origin="man", split="held-out"), candidate(1, origin="woman", split="calibration"), candidate(2, origin="clip", group=1)]
    assert splits_of(faces) == {"man": "held-out", "woman": "calibration", "clip": "calibration"}


def test_two_origins_are_one_in_each_split() -> None:
    faces = [candidate(number, origin=f"clip {number % 2}") for number in range(20)]
    assert sorted(splits_of(faces).values()) == ["calibration", "held-out"]


def test_what_looks_the_same_is_taken_once() -> None:
    first, again, other = candidate(0), candidate(0, gray=NEARLY_THE_SAME * 0.9), candidate(0, gray=NEARLY_THE_SAME * 1.1)
    kept, n_doubles = without_doubles([first, again, other])
    assert kept == [first, other]
    assert n_doubles == 1
    assert without_doubles([]) == ([], 0)


def test_a_face_and_its_mirror_image_are_one() -> None:
    left, right = candidate(16 * 3), candidate(16 * 3 + 15)
    assert without_doubles([left, right]) == ([left], 1)
    upside_down = candidate(16 * 12)
    assert without_doubles([left, upside_down]) == ([left, upside_down], 0)


def test_a_copy_is_known_again_whatever_its_file(clip: Callable[[str], Path]) -> None:
    first, other = (cv2.imread(str(clip(name))) for name in ("single_face.jpg", "multi_face.jpg"))
    assert first is not None
    assert other is not None
    jpeg = cv2.imdecode(cv2.imencode(".jpg", first, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR)
    half = cv2.resize(first, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    known = KnownPictures()
    assert not known.seen_before(np.asarray(first, np.uint8), "a", "first")
    assert not known.seen_before(np.asarray(other, np.uint8), "b", "other")
    assert known.seen_before(np.asarray(jpeg, np.uint8), "c", "copy")
    assert known.seen_before(np.asarray(half, np.uint8), "d", "copy")
    assert known.seen_before(np.asarray(jpeg, np.uint8)[:, ::-1], "e", "mirrored copy")
    # Of one origin only the same pixels are a copy: the next frame of a clip is near, too.
    assert not known.seen_before(np.asarray(jpeg, np.uint8), "c", "first")
    assert known.seen_before(np.asarray(jpeg, np.uint8), "c", "first")


def test_coverage_counts_both_splits() -> None:
    def item(features: Features, split: Split) -> Item:
        name = str(features) + split
        return Item(file=name, sha256="", origin=name, source="", licence="", split=split, pixels_sha256="", source_sha256="", features=features)

    happy = msgspec.structs.replace(turned(-40.0), emotion="happy", action_units={"AU12": 0.3, "AU6": 0.29}, reasons=("yaw>35",))
    table = coverage([item(happy, "calibration"), item(turned(-35.0), "calibration"), item(turned(36.0), "held-out")])
    assert table["yaw_deg"] == {"<-35": (1, 0), "-35..-15": (1, 0), "-15..-5": (0, 0), "-5..5": (0, 0), "5..15": (0, 0), "15..35": (0, 0), ">35": (0, 1)}
    assert table["emotion"]["happy"] == (1, 0)
    assert table["action_units"]["AU12"] == (1, 0)
    assert table["action_units"]["AU6"] == (0, 0)
    assert table["withheld"] == {"yes": (1, 0), "no": (1, 1)}
