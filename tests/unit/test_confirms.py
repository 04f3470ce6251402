"""When two readings in a row are of one and the same face."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edge.affect import FaceReading, confirms, eye_shift
from edge.face import Face
from edge.stage import Landmarks

LIMITS = Landmarks(tensor="points", left_eye=(0, 1), right_eye=(2, 3), axes=(4, 5, 6, 7), admit_presence=0.8, admit_eye_shift=0.05)


def reading(*, presence: float = 0.9, moved_px: float = 0.0, distance_px: float = 40.0, present: bool = True) -> FaceReading:
    eyes_px = np.array([[30.0, 40.0 + moved_px], [30.0 + distance_px, 40.0 + moved_px]])
    return FaceReading(face=Face(box_ltrb_px=(10.0, 10.0, 90.0, 90.0), eyes_px=eyes_px, score=1.0), presence=presence, rings={}, present=present)


def test_the_shift_of_the_eyes_is_counted_in_their_distance() -> None:
    assert eye_shift(reading(), reading(moved_px=3)) == pytest.approx(3 / 40)
    assert eye_shift(reading(distance_px=0), reading()) == math.inf


@pytest.mark.parametrize(
    ("first", "second", "let_in"),
    [
        (reading(), reading(), True),
        (reading(presence=0.8), reading(presence=0.8, moved_px=2), True),
        (reading(presence=0.79), reading(), False),
        (reading(), reading(presence=0.79), False),
        (reading(), reading(moved_px=2.1), False),
        (reading(), reading(present=False), False),
        (reading(present=False), reading(), False),
        (reading(), reading(presence=math.nan), False),
        (reading(), reading(moved_px=math.nan), False),
        (reading(distance_px=0), reading(distance_px=0), False),
    ],
)
def test_both_readings_must_be_sure_and_agree(first: FaceReading, second: FaceReading, let_in: bool) -> None:
    assert confirms(first, second, LIMITS) is let_in
